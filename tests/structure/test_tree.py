"""The tree itself: file lengths, READMEs, links, diagrams, no names of machines or registries."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

MAX_LINES = 500
"""For files that people read as code; data tables and generated files are not code."""

CODE_SUFFIXES = {".py", ".yml", ".yaml", ".sh", ".j2"}

# Written in pieces, so that this file does not hold what it looks for.
FOREIGN = re.compile(
    "|".join(
        [
            r"\b(?:deb|security|ftp|snapshot|archive|cdn-fastly)\.debian" + r"\.org",
            r"\b(?:test\.)?pypi" + r"\.org",
            r"pythonhosted" + r"\.org",
            r"registry\.npmjs" + r"\.org",
            r"archive\.ubuntu" + r"\.com",
            r"(?:^|[\s\"'=(:])/work" + r"/",
            r"(?:^|[\s\"'=(:])/home/[a-z]+/",
        ]
    ),
    re.MULTILINE,
)

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
MERMAID = re.compile(r"^```mermaid\n(.*?)^```", re.MULTILINE | re.DOTALL)
DIAGRAM = re.compile(
    r"^(flowchart|sequenceDiagram|stateDiagram-v2|graph|classDiagram|gantt|timeline|C4\w+)\b"
)


def tracked() -> list[Path]:
    """Every file of the tree: what git tracks and what it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def text_of(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError:
        return ""


def pages() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def foreign_names(text: str) -> list[str]:
    return [found.group().strip() for found in FOREIGN.finditer(text)]


def test_files_stay_short() -> None:
    """No file of code is longer than 500 lines."""
    lengths = {
        str(path.relative_to(ROOT)): len(text_of(path).splitlines())
        for path in tracked()
        if path.suffix in CODE_SUFFIXES
    }
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_file_names_a_registry_or_a_machine() -> None:
    """Where packages come from and where a checkout lies is no business of the tree."""
    found = {
        str(path.relative_to(ROOT)): names
        for path in tracked()
        if (names := foreign_names(text_of(path)))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text", ["URIs: x://deb.debian" + ".org/debian", "cd /work" + "/main", "pypi" + ".org"]
)
def test_planted_names_are_found(text: str) -> None:
    """The search for registries and machine paths finds planted ones."""
    assert foreign_names(text) != []


def test_every_top_level_folder_has_a_readme() -> None:
    """Each folder of the first level says what lives in it."""
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if path.parent != ROOT}
    visible = sorted(folder for folder in folders if not folder.startswith("."))
    assert [folder for folder in visible if not (ROOT / folder / "README.md").is_file()] == []


def test_links_between_pages_resolve() -> None:
    """Every relative link of every page leads to a file of the tree."""
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages()
        for target in LINK.findall(text_of(page))
        if not target.startswith(("http://", "https://", "#", "mailto:"))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []


def test_every_diagram_is_one() -> None:
    """Each Mermaid block starts with a kind of diagram and has a body."""
    for page in pages():
        for block in MERMAID.findall(text_of(page)):
            assert DIAGRAM.match(block), f"{page.name}: {block[:60]!r}"
            assert len(block.strip().splitlines()) > 1, f"{page.name}: a diagram without content"
