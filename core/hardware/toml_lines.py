"""Where each key of a TOML text stands, so that a fault can be told with its line. Reads in one pass, whatever comes.

It also bounds what a text may hold before the real parser sees it, whose time grows faster than the text with the
length of dotted keys, and which recurses into nested values.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from core.errors import InvalidInput

Path = tuple[str | int, ...]
MAX_KEYS = 150_000
MAX_DEPTH = 16

# Strings end where they end, or with the text or the line: what is not closed is the parser's to refuse.
_TOKEN = re.compile(
    r"""
    (?P<comment>\#[^\n]*)
    |(?P<long>\"{3}(?:[^"\\]|\\.|"(?!""))*(?:"{3,5})?|'{3}(?:[^']|'(?!''))*(?:'{3,5})?)
    |(?P<string>"(?:[^"\\\n]|\\[^\n])*"?|'[^'\n]*'?)
    |(?P<word>[^\s\#"'=\[\]{},.]+)
    |(?P<mark>[=\[\]{},.\n])
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENING, _CLOSING = {"[", "{"}, {"]", "}"}


@dataclass
class _Reading:
    """What has been seen so far. `open` holds the brackets of the value that is being read, outermost first."""

    lines: dict[Path, int] = field(default_factory=dict)
    table: Path = ()
    key: list[str] = field(default_factory=list)
    value: Path | None = None
    header: int = 0  # brackets of the table's header that is being read
    open: list[str] = field(default_factory=list)
    dots: int = 0
    commas: int = 0
    keys: int = 0
    tables: Counter[Path] = field(default_factory=Counter)

    def begin_line(self) -> None:
        """A statement ends with its line, unless a bracket is open."""
        if not self.open:
            self.key, self.value, self.header, self.dots = [], None, 0, 0

    def word(self, text: str, line: int) -> None:
        """A word or a string: part of a key, or of a value."""
        if self.value is None:
            self.key.append(text)
        elif self.open and self.open[0] == "[" and len(self.open) == 1:
            self._element(line)

    def mark(self, text: str, line: int) -> None:
        """A bracket, comma, dot or equals sign."""
        if self.value is not None:
            self._inside_value(text, line)
        elif text == ".":
            self.dots += 1
            if self.dots >= MAX_DEPTH:
                raise _too_deep(line)
        elif text == "=":
            self._begin_value(line)
        elif text == "[" and not self.key:
            self.header += 1
        elif text == "]" and self.header:
            self._end_header(line)

    def _begin_value(self, line: int) -> None:
        self.value = (*self.table, *self.key)
        self.lines.setdefault(self.value, line)
        self.key, self.commas = [], 0
        self._count(line)

    def _end_header(self, line: int) -> None:
        if not self.key:
            return
        named = _resolved(tuple(self.key), self.tables)
        if self.header > 1:
            self.tables[named] += 1
            named = (*named, self.tables[named] - 1)
        self.table, self.key = named, []
        self.lines.setdefault(named, line)
        self._count(line)

    def _inside_value(self, text: str, line: int) -> None:
        if text in _OPENING:
            if len(self.open) == 1 and self.open[0] == "[":
                self._element(line)
            self.open.append(text)
            if len(self.open) > MAX_DEPTH:
                raise _too_deep(line)
        elif text in _CLOSING and self.open:
            self.open.pop()
        elif text == "," and len(self.open) == 1:
            self.commas += 1
        elif text == "=":
            self._count(line)

    def _element(self, line: int) -> None:
        if self.value is not None:
            self.lines.setdefault((*self.value, self.commas), line)

    def _count(self, line: int) -> None:
        self.keys += 1
        if self.keys > MAX_KEYS:
            raise InvalidInput(
                f"line {line}: there are more than {MAX_KEYS:,} keys", hint="describe one target", line=line
            )


def _resolved(named: tuple[str, ...], tables: Counter[Path]) -> Path:
    """A header inside an array of tables means the array's last one."""
    path: Path = ()
    for part in named[:-1]:
        path = (*path, part)
        if tables[path]:
            path = (*path, tables[path] - 1)
    return (*path, named[-1])


def _too_deep(line: int) -> InvalidInput:
    return InvalidInput(
        f"line {line}: nested more than {MAX_DEPTH} levels deep", hint="a target has three levels", line=line
    )


def key_lines(text: str) -> dict[Path, int]:
    """Line, from 1, of every table, key and element of an array. InvalidInput for more than a target can need."""
    reading, line = _Reading(), 1
    for token in _TOKEN.finditer(text):
        kind, found = token.lastgroup, token.group()
        if found == "\n":
            line += 1
            reading.begin_line()
        elif kind == "mark":
            reading.mark(found, line)
        elif kind in ("word", "string"):
            reading.word(found.strip("\"'") if kind == "string" else found, line)
        elif kind == "long":
            line += found.count("\n")
    return reading.lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of a key; where it is missing, that of the table it should be in. None for the text as a whole."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None
