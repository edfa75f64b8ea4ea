"""config.toml, whole: any bytes are reported or planned, and a plan holds what apply promises."""

import tomllib
from dataclasses import replace
from pathlib import Path

from skerry.config.build import build
from skerry.config.document import read
from skerry.config.plan import make_plan
from skerry.config.seal import seal
from skerry.config.site import Site
from skerry.config.vault import Kept

_GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "config"

ALLOWED = ()
SEEDS = tuple(sorted({path.read_bytes() for path in _GOLDEN.glob("*/config.toml")}))


class _Files:
    """Every file that a configuration names is there."""

    def read(self, path: str) -> bytes:
        return b'a = "b"\n'


def one(data: bytes) -> None:
    """Check, seal and plan; the sealed text means the same and holds no secret."""
    document = read(data, "fuzz")
    if document.problems:
        return
    sealed = seal(document, Site("machine"), _Files(), present=False)
    if sealed.problems:
        return
    site = replace(Site("machine"), files=sealed.files)
    plan = make_plan(build(sealed.tables, "1.2.3"), site)
    for name, planned in plan.files.items():
        if name.endswith(".toml"):
            tomllib.loads(planned.data.decode())
    again = read(sealed.text.encode(), "fuzz", sealed.secrets)
    if again.problems:
        raise AssertionError(f"the sealed text has problems: {again.problems[0]}")
    kept = {
        name: Kept(entry.tag, entry.sealer)
        for name, entry in sealed.vault.entries.items()
        if entry.tag is not None
    }
    if seal(again, Site("machine"), _Files(), kept=kept, present=False).tables != sealed.tables:
        raise AssertionError("the sealed text means something else")
