"""The device package of Skerry: native runtime, application runtime and the `skerry` command."""

__version__ = "0.1.0"
