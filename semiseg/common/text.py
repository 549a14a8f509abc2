"""Wording of messages for people: how many, the first of many, and the nearest known name; whether they see a bar."""

import difflib
import sys
from collections.abc import Iterable


def counted(count: int, noun: str) -> str:
    """``1 image``, ``3 images``; for nouns whose plural ends in s."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def has_terminal() -> bool:
    """Whether progress can be drawn. (Without a standard error, as in a service, there is none.)"""
    return sys.stderr is not None and sys.stderr.isatty()


def shortened(items: Iterable[object], most: int = 3, separator: str = ", ") -> str:
    """The first ``most`` items, and how many more there are: ``a, b, c, ... and 6 more``."""
    return separator.join(first_lines(items, most))


def first_lines(items: Iterable[object], most: int, noun: str = "") -> list[str]:
    """The same as lines; ``noun``: what the others are, ``... and 6 more files``."""
    lines = [str(item) for item in items]
    others = [f"... and {len(lines) - most} more {noun}".rstrip()] if len(lines) > most else []
    return lines[:most] + others


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest known name, else the list of known names."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else f"; known here: {', '.join(sorted(names))}"


def not_utf8(content: bytes) -> str:
    """What text is that cannot be read as UTF-8, and what to do."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:1000]:
        return "UTF-16, as some editors on Windows save it, or no text; save it as UTF-8"
    return (
        f"{_first_that_is_not_utf8(content)} is no UTF-8 (Latin-1 or Windows-1252?); save it as UTF-8: "
        "iconv -f WINDOWS-1252 -t UTF-8 IN > OUT"
    )


def _first_that_is_not_utf8(content: bytes) -> str:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            line.decode()
        except UnicodeDecodeError:
            return f"line {number} ({line.decode('ascii', 'backslashreplace')[:80]!r})".replace("\\\\", "\\")
    return "it"
