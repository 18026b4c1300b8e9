"""The paper exchange's journal: what it must not forget, one JSON line per call that changed something.

A line holds the new values of whatever changed, whole objects, so that reading a journal is writing each object down
where it belongs; order matters, repetition does not. A line is one step of the exchange: after any prefix of lines the
accounts are consistent. A line with `snapshot` stands for all lines before it (compaction). A torn last line is what a
kill in mid-write leaves: nobody was told what it holds, so it is dropped; damage elsewhere is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec
from msgspec import Struct

from actors.errors import IntegrityError
from actors.paper.accounts import AccountRow, Credit
from actors.paper.orders import Fill, Order


class Key(Struct, kw_only=True):
    """A listen key. ended: it is dead (expired, replaced, killed) and only kept until it is forgotten."""

    key: str
    account: str
    issued_ms: int
    expires_ms: int
    ended: bool = False


class Late(Struct, frozen=True, kw_only=True):
    """A placement that takes effect later than its request (fault late_acceptance)."""

    number: int
    account: str
    path: str
    body: str
    due_ms: int


class Entry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line. ids: counter → the last number that may have been used. done: credits and late placements now over."""

    at: int
    snapshot: bool = False
    accounts: list[AccountRow] = []
    orders: list[Order] = []
    fills: list[Fill] = []
    keys: list[Key] = []
    credits: list[Credit] = []
    late: list[Late] = []
    done: list[int] = []
    ids: dict[str, int] = {}
    ledger: dict[str, dict[str, Decimal]] = {}  # deposited, external, fees: asset → amount
    prices: dict[str, Decimal] = {}  # symbol → last price, every few seconds
    self_matches: list[tuple[str, int, int]] = []


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    return _encoder.encode(entry) + b"\n"


def decode(lines: Iterable[bytes]) -> Iterator[Entry]:
    """Entries of the journal, oldest first.

    Raises: IntegrityError, when a line other than a torn last one cannot be read.
    """
    torn: tuple[int, str] | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if torn:
            raise IntegrityError(
                f"unreadable journal entry: {torn[1]}",
                where=f"paper exchange, line {torn[0]}",
                do="restore the journal from a copy, or start afresh with an empty paper directory",
            )
        try:
            entry = _decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            torn = (number, str(error))
        else:
            if not line.endswith(b"\n"):
                return  # whole, but unfinished: it was still being written, so no reply had left
            yield entry
