"""The root of Skerry's exceptions.

SkerryError         something a person is told: what, which value, what was expected, what to do
 +- SettingsError   the settings of a service cannot be used (exit status 153)

Each domain derives its own few classes from SkerryError, split by what a caller can do.
"""


class SkerryError(Exception):
    """A condition with a message for people; every domain's errors derive from it."""


class SettingsError(SkerryError):
    """Settings that cannot be used; starting again does not help until they are changed."""
