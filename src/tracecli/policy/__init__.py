"""Policies: what applies to a request, and why."""
