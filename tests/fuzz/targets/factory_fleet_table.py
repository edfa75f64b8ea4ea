"""Tables of devices: read or refused, and read the same when written again as plain CSV."""

import csv
import io

from skerry_factory.fleet.table import Row, TableError, parse_table

COLUMNS = ("id", "hostname", "address")
ALLOWED = (TableError,)
SEEDS = (
    b"id,hostname,label.hall\npress-1,a.example,3\n",
    b"\xef\xbb\xbfid;address\r\npress-1;10.0.0.1/24\r\n;;\r\n",
    b'sep=;\nid;label.x\n"a;b";"c\nd"\n',
    b"id\thostname\nx\ty\n",
)


def one(data: bytes) -> None:
    """Read; what was found is found again in the plain form."""
    rows = read(data)
    if not rows:
        return
    names = list(rows[0].places)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(names)
    writer.writerows([row.cells.get(name, "") for name in names] for row in rows)
    again = read(text.getvalue().encode())
    if [row.cells for row in again] != [row.cells for row in rows]:
        raise AssertionError(f"{text.getvalue()!r} is another table")


def read(data: bytes) -> list[Row]:
    return parse_table(data, "devices.csv", COLUMNS, ["id"])
