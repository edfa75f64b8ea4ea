"""Twins of devices and modules: what the hub wants of them, what they report."""
