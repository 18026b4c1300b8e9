"""Decoding with msgspec into the project's errors: one place that turns a wrong shape into `ProtocolChanged`.

Structs in this room name the fields as the wire does. Unknown fields are skipped, unknown words in text fields are
kept; a missing or wrong-typed required field raises, naming the field and the difference, never its value: replies of
private calls and frames of the user stream may hold secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Generic, TypeVar

import msgspec
from msgspec import Meta, Raw

from actors.errors import ProtocolChanged
from actors.exchange.numbers import amount_hook

T = TypeVar("T")

TEXT_MAX = 200  # of the exchange's own words in our errors

Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]  # ms since 1970 UTC, at most the year 9999
Counter = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Id = Annotated[str, Meta(min_length=1, max_length=64)] | Counter
"""An identifier: text or number on the wire (wire § 1.3), text inside (`text_of`)."""
Word = Annotated[str, Meta(max_length=64)]
"""A name or a status word; unknown ones are kept."""


class Shape(Generic[T]):
    """A decoder of one kind of message, built once; a few µs per message."""

    def __init__(self, kind: Any, *, of: str) -> None:
        """kind: the type T, unions too. of: what the message is, for errors: "agg-trades (wire § 3.1)"."""
        self.of = of
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind, dec_hook=amount_hook, float_hook=str)

    def read(self, data: bytes | Raw) -> T:
        """Raises: ProtocolChanged."""
        try:
            return self._decoder.decode(data)
        except msgspec.ValidationError as error:
            raise changed(self.of, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise changed(self.of, f"no readable JSON ({type(error).__name__})") from None


class RowShape(Generic[T]):
    """A list whose rows are judged one by one, so that one odd row does not hide hundreds of good ones."""

    def __init__(self, kind: Any, *, of: str) -> None:
        self._shape: Shape[T] = Shape(kind, of=of)

    def read(self, rows: Iterable[Raw]) -> tuple[list[T], list[str]]:
        """The good rows, and what is wrong with each of the others.

        Raises: ProtocolChanged, the first difference, when there are rows and none of them is good.
        """
        good: list[T] = []
        wrong: list[str] = []
        first: ProtocolChanged | None = None
        for number, raw in enumerate(rows):
            try:
                good.append(self._shape.read(raw))
            except ProtocolChanged as error:
                first = first or error
                wrong.append(f"row {number}: {error.what}")
        if first is not None and not good:
            raise first
        return good, wrong


def changed(of: str, what: str) -> ProtocolChanged:
    return ProtocolChanged(
        redact(what), where=of, do="compare with a fresh capture; nothing is traded on a message we cannot read"
    )


def text_of(identifier: str | int) -> str:
    return identifier if type(identifier) is str else str(identifier)


_SETTING = re.compile(r"([\w-]{1,64})=([^\s;,&]{4,})|((?i:cookie|token|key|secret|authorization|session))\s*:\s*(\S.*)")
_NUMBERISH = re.compile(r"[0-9.]+", re.ASCII).fullmatch
_LONG = re.compile(r"[A-Za-z0-9+/_%.=-]{20,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]+")


def redact(text: str) -> str:
    """Foreign words made fit for a log: one line, bounded, nothing that looks like a cookie, token or listen key.

    Masked: the value of `name=value` (unless a number), what follows `Cookie:` and the like, and any run of 20 or more
    token characters with a digit in it.
    """
    line = _CONTROL.sub(" ", text[: 4 * TEXT_MAX])
    line = _SETTING.sub(_mask, line)
    line = _LONG.sub(lambda match: "***" if any(char.isdigit() for char in match[0]) else match[0], line)
    return line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 1] + "…"


def _mask(match: re.Match[str]) -> str:
    name, value, header = match[1], match[2], match[3]
    if header is not None:
        return f"{header}: ***"  # to the end of the line: a Cookie header has many parts
    return match[0] if _NUMBERISH(value) else f"{name}=***"
