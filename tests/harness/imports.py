"""What imports what, read from the source text: nothing is executed.

Relative imports are resolved; an import inside a function counts like any other, since the rule is
about what a package may know, not about when it loads it.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (ROOT / "runtime", ROOT / "images")


@dataclass(frozen=True)
class Import:
    """`source` is the importing module, `target` the imported one, both dotted."""

    source: str
    target: str
    line: int


def module_name(path: Path, base: Path) -> str:
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _targets(node: ast.AST, package: list[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = package[: len(package) - node.level + 1] if node.level else []
        origin = ".".join([*start, *([node.module] if node.module else [])])
        yield from (f"{origin}.{alias.name}" for alias in node.names)


def imports_of(path: Path, base: Path) -> list[Import]:
    name = module_name(path, base)
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    return [
        Import(name, target, getattr(node, "lineno", 0))
        for node in ast.walk(ast.parse(path.read_text()))
        for target in _targets(node, package)
    ]


def all_imports() -> list[Import]:
    return [
        found
        for base in SOURCES
        for path in sorted(base.rglob("*.py"))
        if path.relative_to(base).parts[0].startswith("skerry")
        for found in imports_of(path, base)
    ]
