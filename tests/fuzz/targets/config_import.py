"""`skerry config import`: any YAML or TOML becomes our config.toml, or is refused."""

import tomllib
from pathlib import Path

from skerry.config.importing import NotImportableError, import_toml
from skerry.config.legacy import import_yaml

_GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "import"

ALLOWED = (NotImportableError,)
SEEDS = tuple(path.read_bytes() for path in sorted(_GOLDEN.glob("*/config.*")))


def one(data: bytes) -> None:
    """Both readers see it; what they write is TOML, and importing that changes nothing."""
    for text in _texts(data):
        tomllib.loads(text)
        if import_toml(text.encode(), "1").text != text:
            raise AssertionError("importing the result changes it")


def _texts(data: bytes) -> list[str]:
    texts = []
    for read in (import_toml, lambda data, version: import_yaml(data, version, _nowhere)):
        try:
            texts.append(read(data, "1").text)
        except NotImportableError:
            continue
    return texts


def _nowhere(_path: str) -> bool:
    return False
