"""The file of a secret for modules: what `skerry config apply` leaves, edged seals in its place.

    SKERRY-SECRET 1 <clear | keyd | tpm> <keyd | tpm> <over or ->\\n
    <the value, or what the sealer made of it>

The first word tells what the content is, the second who shall seal it. `over` is the tag of the
value that a hand-given one stands above.
"""

import re
from dataclasses import dataclass, field, replace

from skerry.base.errors import SkerryError

MAX_BYTES = 64 * 1024
SEALERS = ("keyd", "tpm")
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")
_LINE = re.compile(rb"SKERRY-SECRET 1 (clear|keyd|tpm) (keyd|tpm) ([0-9a-f]{32}|-)\n")


class SecretFileError(SkerryError):
    """A file that holds no secret in a form that this version knows."""


@dataclass(frozen=True)
class SecretFile:
    """The content of such a file; `data` is the value itself while `form` is "clear"."""

    form: str
    sealer: str
    data: bytes = field(repr=False)
    over: str | None = None

    def sealed(self, data: bytes) -> "SecretFile":
        """Return the same secret in sealed form."""
        return replace(self, form=self.sealer, data=data)

    def dump(self) -> bytes:
        line = f"SKERRY-SECRET 1 {self.form} {self.sealer} {self.over or '-'}\n"
        return line.encode("ascii") + self.data


def load(content: bytes) -> SecretFile:
    """Take the content of a file apart. Raises: SecretFileError."""
    line = _LINE.match(content)
    if line is None:
        raise SecretFileError("is no secret that this version knows")
    form, sealer, over = (word.decode("ascii") for word in line.groups())
    return SecretFile(form, sealer, content[line.end() :], None if over == "-" else over)


def is_name(text: str) -> bool:
    """Tell whether a text may name a secret, and so a file that is not hidden."""
    return _NAME.fullmatch(text) is not None
