"""All checks, in the order of their sections; a new file in `checks/` is all it takes to add one.

No module of this package loads the engine's library or asks anything when it is imported.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping

import skerry.check.checks
from skerry.base.errors import SkerryError
from skerry.check.model import Check, Section


def all_checks() -> list[Check]:
    """Return every check; an id that is there twice is a bug and raises."""
    package = skerry.check.checks
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    found: list[Check] = [check for module in modules for check in module.CHECKS]
    ids = [check.id for check in found]
    if len(set(ids)) != len(ids):
        raise SkerryError(f"two checks have the id {max(ids, key=ids.count)!r}")
    order = list(Section)
    known = {check.id: check for check in found}
    return sorted(found, key=lambda check: (order.index(check.section), _depth(check, known)))


def _depth(check: Check, known: Mapping[str, Check]) -> int:
    """Return how many checks stand before this one, so that causes are told before effects."""
    return max((1 + _depth(known[name], known) for name in check.needs), default=0)


def choose(checks: list[Check], wanted: Iterable[str], unwanted: Iterable[str]) -> list[Check]:
    """Return the checks with the ids wanted (none named: all) but without the others.

    Raises: SkerryError for an id that is none, with the nearest one.
    """
    known = [check.id for check in checks]
    wanted, unwanted = list(wanted), list(unwanted)
    for name in (*wanted, *unwanted):
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else "see: skerry check-list"
            raise SkerryError(f"{name!r} is not the id of a check; {hint}")
    chosen = [check for check in checks if not wanted or check.id in wanted]
    return [check for check in chosen if check.id not in unwanted]
