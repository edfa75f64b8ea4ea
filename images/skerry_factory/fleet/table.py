"""Devices from a CSV file, also one that a spreadsheet has saved.

Handled: a byte-order mark of UTF-8, semicolons or tabs instead of commas, a first line `sep=;`,
empty rows, blanks around a cell. Refused by name, with line and column: UTF-16, other encodings,
unknown or repeated columns, rows of another length.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from skerry.config.problems import Problem
from skerry.config.words import nearest

LABEL = "label."
DELIMITERS = ",;\t"
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Row:
    """One row: its cells by column, empty ones left out, and where they stand."""

    line: int
    cells: Mapping[str, str]
    places: Mapping[str, int]


class TableError(Exception):
    """A file that is no table; holds every problem found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def read_table(file: Path, columns: Sequence[str], required: Sequence[str]) -> list[Row]:
    """Read the rows of a table; `label.NAME` may stand beside the columns. Raises: TableError."""
    return parse_table(file.read_bytes(), str(file), columns, required)


def parse_table(
    data: bytes, file: str, columns: Sequence[str], required: Sequence[str]
) -> list[Row]:
    """Read the rows of a table from its bytes; `file` is its name in messages."""
    text = _text(data, file)
    first, _, rest = text.partition("\n")
    start = 0
    if first.lower().startswith("sep="):
        start, text, first = 1, rest, rest.partition("\n")[0]
    rows = list(_rows(text, _delimiter(first), file, start))
    if not rows:
        raise TableError([Problem(file, 1, 1, "", "no rows", "a first row of column names")])
    names = rows[0][1]
    problems = _header_problems(file, rows[0][0], names, columns, required)
    found = []
    for line, cells in rows[1:]:
        if not any(cells):
            continue
        if len(cells) != len(names):
            message = f"{len(cells)} cells"
            problems.append(Problem(file, line, 1, "", message, f"{len(names)}, as in row 1"))
            continue
        present = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
        found.append(Row(line, present, {name: at + 1 for at, name in enumerate(names)}))
    if problems:
        raise TableError(problems)
    return found


def _rows(text: str, delimiter: str, file: str, start: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each row with the line that it ends in."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            yield start + reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        line = max(1, start + reader.line_num)
        raise TableError([Problem(file, line, 1, "", str(error), "CSV (RFC 4180)")]) from error


def _text(data: bytes, file: str) -> str:
    if len(data) > MAX_BYTES:
        raise TableError([Problem(file, 1, 1, "", f"{len(data)} bytes", f"at most {MAX_BYTES}")])
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        message = "UTF-16, which spreadsheets call 'Unicode text'"
        raise TableError([Problem(file, 1, 1, "", message, "'CSV UTF-8'; save it as that")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        expected = "'CSV UTF-8'; save it as that"
        raise TableError([Problem(file, line, column, "", message, expected)]) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise TableError([Problem(file, line, 1, "", "a zero byte", "a text file")])
    return text


def _delimiter(header: str) -> str:
    return max(DELIMITERS, key=header.count) if any(d in header for d in DELIMITERS) else ","


def _header_problems(
    file: str, line: int, names: Sequence[str], columns: Sequence[str], required: Sequence[str]
) -> list[Problem]:
    problems = []
    for at, name in enumerate(names, 1):
        if name in names[: at - 1]:
            problems.append(Problem(file, line, at, name, "a second column of that name"))
        elif name not in columns and not (name.startswith(LABEL) and len(name) > len(LABEL)):
            near = nearest(name, columns)
            expected = f"one of {', '.join(columns)} or {LABEL}NAME"
            problems.append(Problem(file, line, at, name, "unknown column", expected, near))
    missing = [name for name in required if name not in names]
    problems += [Problem(file, line, 1, name, "no such column", name) for name in missing]
    return problems
