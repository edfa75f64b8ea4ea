"""The table of endorsement keys beside fleet.toml: what `skerry-factory collect` has gathered.

A CSV file with the columns id and endorsement_key, by id; written whole or not at all.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from skerry.base.files import write_atomic
from skerry_factory.errors import DefinitionError
from skerry_factory.fleet.table import TableError, read_table

COLUMNS = ("id", "endorsement_key")


def read_keys(file: Path) -> dict[str, str]:
    """Return the keys by device; none when the file is not there. Raises: DefinitionError."""
    if not file.is_file():
        return {}
    try:
        rows = read_table(file, COLUMNS, COLUMNS)
    except TableError as error:
        raise DefinitionError([str(p) for p in error.problems], "no key was read") from error
    return {
        row.cells["id"]: row.cells["endorsement_key"]
        for row in rows
        if "id" in row.cells and "endorsement_key" in row.cells
    }


def write_keys(file: Path, keys: Mapping[str, str]) -> None:
    """Write the table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(sorted(keys.items()))
    write_atomic(file, text.getvalue().encode(), mode=0o644)
