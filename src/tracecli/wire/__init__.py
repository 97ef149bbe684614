"""Byte formats of the wire: bytes in, values out, split anywhere. No I/O, no clock; bad bytes raise nothing."""
