"""Adapters that feed the core: each turns one way of seeing traffic into calls on a `Recorder`."""
