"""Where each key path of a TOML text stands: its key, and its value from first to last character.

The text must be TOML that tomllib accepts. Values come from tomllib, positions from here, and a
property test keeps the two together: the text of a value, parsed alone, is the value at its path.
"""

import tomllib
from dataclasses import dataclass, field

from skerry.config.problems import Finding, KeyPath, Position, Problem, key_text

_BLANK = " \t\r\n"
_KEY_END = "=.]" + _BLANK


@dataclass(frozen=True)
class Span:
    """The text of one value: offsets of its first character and of the one after its last."""

    start: int
    end: int


@dataclass
class Locations:
    """Offsets of the keys and values of one text."""

    text: str
    keys: dict[KeyPath, int] = field(default_factory=dict)
    values: dict[KeyPath, Span] = field(default_factory=dict)

    def position(self, offset: int) -> Position:
        """Turn an offset into line and column."""
        before = self.text[:offset]
        return Position(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)

    def key(self, path: KeyPath) -> Position:
        """Return where a key stands; for a path that is not in the text, its nearest parent."""
        while path and path not in self.keys:
            if path in self.values:
                return self.position(self.values[path].start)
            path = path[:-1]
        return self.position(self.keys[path]) if path else Position(1, 1)

    def value(self, path: KeyPath) -> Position:
        """Return where a value stands; tables made by headers stand at their key."""
        return self.position(self.values[path].start) if path in self.values else self.key(path)

    def problem(self, finding: Finding, file: str) -> Problem:
        """Give a finding its place in this text, which stands in a file."""
        place = self.key(finding.path) if finding.on_key else self.value(finding.path)
        return Problem(
            file,
            place.line,
            place.column,
            key_text(finding.path),
            finding.message,
            finding.expected,
            finding.suggestion,
        )


def locate(text: str) -> Locations:
    """Find every key and value of a valid TOML text."""
    return _Scanner(text).scan()


class _Scanner:
    """One pass over the text; `_at` is the offset of the next character to read."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._found = Locations(text)
        self._tables: dict[KeyPath, int] = {}  # arrays of tables: how many elements so far

    def scan(self) -> Locations:
        table: KeyPath = ()
        self._skip()
        while self._at < len(self._text):
            if self._text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._skip()
        return self._found

    def _skip(self) -> None:
        """Move over blanks, line ends and comments."""
        while self._at < len(self._text):
            if self._text[self._at] == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif self._text[self._at] in _BLANK:
                self._at += 1
            else:
                return

    def _header(self) -> KeyPath:
        array = self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        keys = self._dotted_key()
        self._at = self._text.index("]", self._at) + (2 if array else 1)
        path: KeyPath = ()
        for index, (name, offset) in enumerate(keys):
            path += (name,)
            self._found.keys.setdefault(path, offset)
            if array and index == len(keys) - 1:
                self._tables[path] = self._tables.get(path, 0) + 1
                path += (self._tables[path] - 1,)
                self._found.keys[path] = offset
            elif path in self._tables:
                path += (self._tables[path] - 1,)
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for name, offset in self._dotted_key():
            path += (name,)
            self._found.keys.setdefault(path, offset)
        self._at = self._text.index("=", self._at) + 1
        self._skip()
        self._value(path)

    def _dotted_key(self) -> list[tuple[str, int]]:
        keys = []
        while True:
            self._skip()
            offset = self._at
            keys.append((self._key_name(), offset))
            self._skip()
            if not self._text.startswith(".", self._at):
                return keys
            self._at += 1

    def _key_name(self) -> str:
        start = self._at
        if self._text[start] in "\"'":
            self._string()
            name: str = tomllib.loads(f"x = {self._text[start : self._at]}")["x"]
            return name
        while self._text[self._at] not in _KEY_END:
            self._at += 1
        return self._text[start : self._at]

    def _value(self, path: KeyPath) -> None:
        start = self._at
        first = self._text[start]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._plain()
        self._found.values[path] = Span(start, self._at)

    def _string(self) -> None:
        quote = self._text[self._at]
        long = self._text.startswith(quote * 3, self._at)
        mark = quote * 3 if long else quote
        self._at += len(mark)
        while not self._text.startswith(mark, self._at):
            self._at += 2 if quote == '"' and self._text[self._at] == "\\" else 1
        self._at += len(mark)
        # up to two quotes more belong to the content of a multi-line string
        while long and self._text.startswith(quote, self._at):
            self._at += 1

    def _array(self, path: KeyPath) -> None:
        self._at += 1
        self._skip()
        index = 0
        while self._text[self._at] != "]":
            self._value((*path, index))
            index += 1
            self._comma()
        self._at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        self._skip()
        while self._text[self._at] != "}":
            self._pair(path)
            self._comma()
        self._at += 1

    def _comma(self) -> None:
        self._skip()
        if self._text[self._at] == ",":
            self._at += 1
            self._skip()

    def _plain(self) -> None:
        """Move over a number, boolean or date; a date and its time may be parted by one blank."""
        start = self._at
        while self._at < len(self._text) and self._text[self._at] not in ",]}#\n":
            self._at += 1
        self._at = start + len(self._text[start : self._at].rstrip())
