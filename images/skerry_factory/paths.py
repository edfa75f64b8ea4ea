"""Where the parts of the checkout are that a build reads.

The factory runs from a checkout (an editable installation): roles, playbooks and definitions are
files of the repository, not of the package.
"""

from dataclasses import dataclass
from pathlib import Path

import skerry_factory


@dataclass(frozen=True)
class Checkout:
    """The folders of one checkout."""

    root: Path

    @classmethod
    def of_package(cls) -> "Checkout":
        """Return the checkout that this package is part of."""
        return cls(Path(skerry_factory.__file__).resolve().parents[2])

    @property
    def definitions(self) -> Path:
        return self.root / "images" / "linux"

    @property
    def roles(self) -> Path:
        return self.root / "roles"

    @property
    def playbooks(self) -> Path:
        return self.root / "playbooks"

    @property
    def output(self) -> Path:
        """Default parent of build results."""
        return self.root / "out"


def package_data(name: str) -> Path:
    """Return the path of a file in the package's `data` folder."""
    return Path(skerry_factory.__file__).resolve().parent / "data" / name
