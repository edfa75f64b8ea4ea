"""Takes secrets out of text: those that are known, and what looks like one.

Known are the values that documents keep under keys for secrets (`Scrubber.learn`); each is replaced
in every form in which it is usually written. What looks like one: private keys, credentials in
URLs and headers, tokens of known services, values that follow a telling name, long random words.
More is masked than need be: a word too few in a log costs a question, a key in it an appliance.
A line longer than `LINE_CHARACTERS` is cut, so that no secret is torn at the edge of a block.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MASK = "***"
LINE_CHARACTERS = 64 * 1024
_BLOCK_BYTES = 64 * 1024
_SHORTEST = 5
"""A shorter word would be masked in the middle of other words."""

_KEYWORDS = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|credential|cookie|auth[_-]?key"
    r"|(?:api|access|account|private|shared|signing|primary|secondary|symmetric|group|master"
    r"|encryption|storage|license)[_-]?key"
    r"|connection[_-]?string|(?<![a-z])(?:auth|sas|psk|pin|sig|signature)(?![a-z])|[_-]key(?![a-z])"
)
SECRET_NAME = re.compile(_KEYWORDS, re.IGNORECASE)
"""Names whose values are secrets."""

_VALUE = r'(?:\\+".*?\\+"|\\+".*|"(?:[^"\\\n]|\\.)*"?|\'[^\'\n]*\'?|[^\s"\']+)'
_REST = r"[\w.$-]{0,64}+"
"""Of a name, after its keyword. Bounded, as all here is: no line may make a rule slow."""

_TOKENS = (
    r"(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
    r"|glpat-[\w-]{16,}|xox[abeprs]-[\w-]{10,}|AIza[\w-]{30,}|[sr]k_(?:live|test)_\w{10,}"
    r"|npm_\w{30,}|hf_\w{20,}|dckr_pat_[\w-]{10,}|AGE-SECRET-KEY-1\w+|SG\.[\w-]{10,}\.[\w-]{10,}"
    r"|ya29\.[\w-]{10,}|(?<![\w-])eyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)*)"
    r"|\$(?:1|2[abxy]?|5|6|y|7|gy|apr1|argon2\w*)\$[^\s:\"']{8,}"
)
_KEY = r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|$)"
_HEADER = (
    r"((?:proxy-)?authorization|set-cookie|cookie|x-registry-auth|x-api-key)"
    r"(\\{0,8}[\"']?[ \t]{0,8}[:=][ \t]*).*"
)
_SCHEME = r"\b(bearer|basic|digest|negotiate)([ \t]+)[\w.~+/=-]{8,}"
_FLAG = rf"((?<![\w-])--?[\w-]{{0,64}}?(?:{_KEYWORDS})[\w-]{{0,64}}+[ \t]+){_VALUE}"
_PAIR = rf"((?:{_KEYWORDS}){_REST}\\{{0,8}}[\"']?[ \t]{{0,8}}(?:=>|:=|[:=])[ \t]*){_VALUE}"
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(_KEY), MASK),
    (re.compile(_HEADER, re.IGNORECASE), rf"\1\2{MASK}"),
    (re.compile(_SCHEME, re.IGNORECASE), rf"\1\2{MASK}"),
    (re.compile(_FLAG, re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(_PAIR, re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(_TOKENS), MASK),
)
_STEM_WORDS = (
    "pass pwd secret token credential cookie key connection auth sas psk pin sig bearer basic"
    " digest negotiate akia asia gh glpat- xox aiza k_live_ k_test_ npm_ hf_ dckr_ sg. ya29. eyj $"
)
_STEMS = tuple(_STEM_WORDS.split())
"""In small letters; a line without any of them is none of the rules' business, which saves time."""

_URL = re.compile(r"://[^\s\"'<>]+")
_LONG_WORD = re.compile(r"(?<![\w+/-])[\w+/-]{32,}={0,2}")
_PATH_PART = 20
_PEM = re.compile(r"-----(BEGIN|END) [A-Z0-9 ]*PRIVATE KEY-----")


class Scrubber:
    """Masks secrets; `learn` makes one known to everything that is scrubbed afterwards."""

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._sorted: tuple[str, ...] = ()

    def learn(self, secret: str) -> None:
        """Mask a text wherever it appears; one line of it is a secret as well."""
        for word in {secret, *secret.splitlines()}:
            if len(word.strip()) >= _SHORTEST:
                self._forms |= _forms(word.strip())
        self._sorted = tuple(sorted(self._forms, key=len, reverse=True))

    def text(self, text: str) -> str:
        """Return a text without its secrets."""
        return "\n".join(self._clean(line) for line in _without_keys(text.split("\n")))

    def blocks(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Return a stream without its secrets, whole lines at a time."""
        block: list[str] = []
        size = 0
        for line in _without_keys(_lines(chunks)):
            block.append(line)
            size += len(line)
            if size >= _BLOCK_BYTES:
                yield self._block(block)
                block, size = [], 0
        if block:
            yield self._block(block)

    def _block(self, lines: list[str]) -> bytes:
        return (self._clean("\n".join(lines)) + "\n").encode()

    def _clean(self, text: str) -> str:
        for form in self._sorted:
            if form in text:
                text = text.replace(form, MASK)
        text = _URL.sub(_without_user, text)
        text = "\n".join(map(_ruled, text.split("\n")))
        return _LONG_WORD.sub(_unless_harmless, text)


def looks_random(text: str) -> bool:
    """Tell whether a text is a key rather than a word: long, of mixed letters and digits."""
    mixed = any(map(str.isupper, text)) and any(map(str.islower, text))
    return mixed and any(map(str.isdigit, text))


def _forms(secret: str) -> set[str]:
    encoded = secret.encode()
    return {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        quote(secret, safe=""),
        base64.b64encode(encoded).decode().rstrip("="),
        encoded.hex(),
    }


def _ruled(line: str) -> str:
    lower = line.lower()
    if any(stem in lower for stem in _STEMS):
        for rule, instead in _RULES:
            line = rule.sub(instead, line)
    return line


def _without_user(found: "re.Match[str]") -> str:
    _, at, host = found.group().rpartition("@")
    return f"://{MASK}@{host}" if at else host


def _unless_harmless(found: "re.Match[str]") -> str:
    word = found.group()
    if not looks_random(word):
        return word
    if word.startswith("/"):
        parts = (part for part in word.split("/") if len(part) >= _PATH_PART)
        return MASK if any(map(looks_random, parts)) else word
    return MASK


def _without_keys(lines: Iterable[str]) -> Iterator[str]:
    """Leave private keys in PEM out, which go over many lines."""
    inside = False
    for line in lines:
        marks = list(_PEM.finditer(line)) if "PRIVATE KEY" in line else []
        if inside:
            if marks and marks[-1].group(1) == "END":
                inside = False
        elif marks and marks[-1].group(1) == "BEGIN":
            inside = True
            yield line[: marks[-1].start()] + MASK
        else:
            yield line


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Return lines; what a line has beyond `LINE_CHARACTERS` is dropped with its last word."""
    rest, dropping = b"", False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not dropping:
                yield _shortened(line)
            dropping = False
        if len(rest) > LINE_CHARACTERS:
            if not dropping:
                yield _shortened(rest)
            rest, dropping = b"", True
    if rest and not dropping:
        yield _shortened(rest)


def _shortened(line: bytes) -> str:
    text = line[:LINE_CHARACTERS].decode("utf-8", "replace")
    if len(line) <= LINE_CHARACTERS:
        return text
    return text.rpartition(" ")[0] + " [line cut]"
