"""Signs the folder of an image, and tells of a folder whether it is as it was signed.

A verdict is `good` or what is wrong, in this order: `unsigned`, `wrong key` (or changed sums: the
two cannot be told apart), `changed` (files missing, changed or too many). Nothing of an image is
read before its signature holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from skerry.base.files import read_limited, write_atomic
from skerry_factory.errors import FactoryError
from skerry_factory.signing.keys import PublicKey, Signer, fingerprint, is_signed_by
from skerry_factory.signing.sums import (
    SIGNATURE,
    SUMS,
    digests_of,
    format_sums,
    parse_sums,
    read_folder,
)

MAX_SUMS_BYTES = 16 << 20
MAX_SIGNATURE_BYTES = 4096


class Standing(StrEnum):
    """What came of a verification."""

    GOOD = "good"
    UNSIGNED = "unsigned"
    WRONG_KEY = "wrong key"
    CHANGED = "changed"


@dataclass(frozen=True)
class Verdict:
    """What is known of a folder; the three lists hold paths in it."""

    standing: Standing
    key: str
    files: int = 0
    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        return self.standing is Standing.GOOD

    def lines(self, folder: Path) -> list[str]:
        """Return the verdict for people, the reason of every refusal included."""
        short = f"{self.key[:16]}…"
        match self.standing:
            case Standing.GOOD:
                return [f"good: {self.files} files of {folder} are as signed with {short}"]
            case Standing.UNSIGNED:
                return [f"unsigned: {folder} has no {SUMS} with {SIGNATURE}; build it with --sign"]
            case Standing.WRONG_KEY:
                return [f"wrong key: the signature of {folder}/{SUMS} was not made with {short}, "
                        "or the list was changed afterwards"]  # fmt: skip
        found = {"missing": self.missing, "changed": self.changed, "extra": self.extra}
        lines = [f"{what}: {name}" for what, names in found.items() for name in names]
        return [*lines, f"changed: {folder} is not as it was signed with {short}"]


def sign_folder(folder: Path, signer: Signer) -> str:
    """Sign all files of a folder; returns the fingerprint of the key."""
    unsign(folder)
    found = read_folder(folder)
    if not found.files or found.others:
        what = f"{found.others[0]} is no plain file" if found.others else "it has no files"
        raise FactoryError(f"{folder} cannot be signed: {what}")
    sums = format_sums(digests_of(found.files))
    signature = signer.sign(sums)
    if not is_signed_by(signer.public, sums, signature):
        raise FactoryError("the signature does not hold under its own public key; look at the key")
    write_atomic(folder / SUMS, sums, mode=0o644)
    write_atomic(folder / SIGNATURE, signature, mode=0o644)
    return fingerprint(signer.public)


def unsign(folder: Path) -> None:
    """Remove a signature, whose files are about to change."""
    for name in (SIGNATURE, SUMS):
        (folder / name).unlink(missing_ok=True)


def verify_folder(folder: Path, public: PublicKey) -> Verdict:
    """Compare a folder with what was signed."""
    found, key = read_folder(folder), fingerprint(public)
    if not ((folder / SUMS).is_file() and (folder / SIGNATURE).is_file()):
        return Verdict(Standing.UNSIGNED, key)
    sums = read_limited(folder / SUMS, MAX_SUMS_BYTES)
    if not is_signed_by(public, sums, read_limited(folder / SIGNATURE, MAX_SIGNATURE_BYTES)):
        return Verdict(Standing.WRONG_KEY, key)
    return _compared(parse_sums(sums), found.files, found.others, key)


def require_good(folder: Path, public: PublicKey) -> None:
    """Raise FactoryError with the verdict when a folder is not as it was signed."""
    verdict = verify_folder(folder, public)
    if not verdict.good:
        raise FactoryError("\n".join(verdict.lines(folder)))


def _compared(
    signed: Mapping[str, str], files: Mapping[str, Path], others: tuple[str, ...], key: str
) -> Verdict:
    here = digests_of({name: path for name, path in files.items() if name in signed})
    missing = tuple(name for name in signed if name not in files)
    changed = tuple(name for name, digest in here.items() if digest != signed[name])
    extra = (*(name for name in files if name not in signed), *others)
    wrong = missing or changed or extra
    standing = Standing.CHANGED if wrong else Standing.GOOD
    return Verdict(standing, key, len(signed), missing, changed, extra)
