"""Codecs and formats of the wire protocols; nothing here does I/O."""
