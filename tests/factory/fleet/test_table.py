"""Tables of devices: what a spreadsheet does to CSV is handled, or refused by name."""

from pathlib import Path

import pytest

from skerry_factory.fleet.table import TableError, read_table

COLUMNS = ("id", "hostname")
PLAIN = "id,hostname,label.hall\npress-1,a.example,3\npress-2,,\n"


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").replace("\n", "\r\n").encode("utf-8-sig"),
        b"sep=;\r\n" + PLAIN.replace(",", ";").encode(),
        (PLAIN + ",,\n\n").encode(),
        PLAIN.replace("press-1", '" press-1 "').encode(),
    ],
    ids=["plain", "mark", "semicolons", "tabs", "sep line", "empty rows", "quotes and blanks"],
)
def test_what_spreadsheets_write_is_read(tmp_path: Path, data: bytes) -> None:
    """However it was saved, the same cells come out."""
    file = tmp_path / "devices.csv"
    file.write_bytes(data)
    cells = [dict(row.cells) for row in read_table(file, COLUMNS, ["id"])]
    assert cells == [
        {"id": "press-1", "hostname": "a.example", "label.hall": "3"},
        {"id": "press-2"},
    ]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", ":1:1: no rows"),
        (PLAIN.encode("utf-16"), ":1:1: UTF-16, which spreadsheets call 'Unicode text'"),
        (b"id,label.hall\npress-1,H\xf6he\n", ":2:10: byte 0xf6 is not UTF-8"),
        (b"id\npress\x001\n", ":2:1: a zero byte"),
        (b"id,hostnme\nx,y\n", ":1:2: hostnme: unknown column"),
        (b"id,hostnme\nx,y\n", "did you mean 'hostname'?"),
        (b"id,id\nx,y\n", ":1:2: id: a second column of that name"),
        (b"hostname\nx\n", ":1:1: id: no such column"),
        (b"id,hostname\npress-1\n", ":2:1: 1 cells; expected 2, as in row 1"),
        (b'id\n"press-1\n', ":2:1: unexpected end of data"),
    ],
    ids=[
        "empty", "utf-16", "another encoding", "zero byte", "unknown column", "suggestion",
        "twice", "no id", "short row", "open quote",
    ],
)  # fmt: skip
def test_what_is_no_table_is_told_by_name(tmp_path: Path, data: bytes, told: str) -> None:
    """A wrong file is refused at its line and column."""
    file = tmp_path / "devices.csv"
    file.write_bytes(data)
    with pytest.raises(TableError) as refused:
        read_table(file, COLUMNS, ["id"])
    assert told in str(refused.value)
