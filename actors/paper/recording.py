"""Reads files of real trades: what happened, when, at what price relative to the first, for how much money.

Two CSV forms, plain, .gz or .zip (one file inside):
    with a header, as in ../shared/market/: agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,
        is_buyer_maker, columns in any order, further ones ignored
    without, as the exchange publishes its aggTrades: the same seven columns, or eight with "best match" at the end
Times are Unix ms or µs, told apart by their size (the exchange changed from one to the other). `is_buyer_maker` true
means that the aggressor sold.
"""

from __future__ import annotations

import gzip
import io
import re
import zipfile
import zlib
from array import array
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import IO, NoReturn

from msgspec import Struct

from actors.errors import ConfigError

RATIO_UNIT = 10**12  # a price is kept as ratio to the first one in these parts: finer than any tick
NOTIONAL_UNIT = 10**8  # money in parts of the quote asset
WORD_MAX = 2**63 - 1  # an array's element
ROWS_MAX = 20_000_000  # 25 bytes each
LINE_MAX = 1_000  # bytes; real lines have about 80
STEP_BACK_MS_MAX = 1_000  # ids order the trades; a time that is a little earlier is taken for the one before

COLUMNS = ("price", "quantity", "transact_time", "is_buyer_maker")
PLACES = (1, 2, 5, 6)  # of these, in files without a header
WHOLE_FORM = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")
TIME = re.compile(r"[0-9]{13}|[0-9]{16}")
TRUTH = {"true": True, "false": False}


class Recording(Struct, frozen=True):
    """Trades in order; four columns of equal length, at least two rows, the last later than the first.

    at_ms: since the first trade. ratio: price / first price, in 1/RATIO_UNIT. notional: price × quantity in the quote
    asset, in 1/NOTIONAL_UNIT. sold: 1 if the aggressor sold.
    """

    name: str
    at_ms: Sequence[int]
    ratio: Sequence[int]
    notional: Sequence[int]
    sold: Sequence[int]

    @property
    def span_ms(self) -> int:
        return self.at_ms[-1]


def read_recording(name: str, data: bytes) -> Recording:
    """The trades of a file.

    Args:
        name: what errors call the file; its ending decides nothing, the content does.
        data: its bytes.
    Raises: ConfigError, naming file, line and column.
    """
    rows = _Rows(name)
    try:
        with _opened(name, data) as stream:
            for line in _lines(name, stream):
                rows.take(line)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise ConfigError(f"damaged archive: {error}", where=name, do="fetch the file again") from error
    return rows.recording()


def _opened(name: str, data: bytes) -> IO[bytes] | gzip.GzipFile:
    if data.startswith(b"\x1f\x8b"):
        return gzip.open(io.BytesIO(data))
    if not data.startswith(b"PK"):
        return io.BytesIO(data)
    archive = zipfile.ZipFile(io.BytesIO(data))
    inside = archive.infolist()
    if len(inside) != 1:
        raise ConfigError(f"{len(inside)} files in the archive", where=name, do="give one with a single CSV file")
    if inside[0].flag_bits & 1:
        raise ConfigError("the archive is encrypted", where=name, do="unpack it first")
    return archive.open(inside[0])


def _lines(name: str, stream: IO[bytes] | gzip.GzipFile) -> Iterator[str]:
    number = 0
    while raw := stream.readline(LINE_MAX):
        number += 1
        where = f"{name} line {number}"
        if len(raw) == LINE_MAX:
            raise ConfigError(f"line longer than {LINE_MAX} bytes", where=where, do="give a CSV file of trades")
        try:
            yield raw.decode().strip("\ufeff\r\n ")
        except UnicodeDecodeError:
            raise ConfigError("not a text file", where=where, do="give a CSV file, plain, .gz or .zip") from None


class _Rows:
    """Takes line after line, keeps the columns."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._line = 0
        self._places: tuple[int, ...] = ()
        self._width = 0
        self._first_price = Decimal(0)
        self._first_ms = 0
        self._at_ms, self._ratio, self._notional, self._sold = array("q"), array("q"), array("q"), array("b")

    def take(self, line: str) -> None:
        self._line += 1
        if not line:
            return
        cells = [cell.strip() for cell in line.split(",")]
        if not self._places:
            self._width = len(cells)
            if not NUMBER.fullmatch(cells[0]):
                self._places = self._header(cells)
                return
            self._places = self._headless(cells)
        if len(cells) != self._width:
            self._wrong(f"{len(cells)} columns instead of {self._width}", "", "repair or cut the line")
        if len(self._at_ms) == ROWS_MAX:
            self._wrong(f"more than {ROWS_MAX} trades", "", "cut the file")
        self._row(*(cells[place] for place in self._places))

    def _header(self, cells: list[str]) -> tuple[int, ...]:
        names = [cell.lower() for cell in cells]
        if "bid" in names or "ask" in names or "best_bid_price" in names:
            remedy = "give the aggTrades file of the same time"
            self._wrong("this file holds best bids and asks, not trades", "", remedy)
        for column in COLUMNS:
            if column not in names:
                self._wrong("column missing in the header", column, f"give a file with {WHOLE_FORM}")
        return tuple(names.index(column) for column in COLUMNS)

    def _headless(self, cells: list[str]) -> tuple[int, ...]:
        if len(cells) not in (7, 8):
            self._wrong(f"{len(cells)} columns without a header", "", "give aggTrades: 7 or 8 columns, or a header")
        if cells[5].lower() in TRUTH and TIME.fullmatch(cells[4]):
            self._wrong("these are single trades", "", "give the aggTrades file of the same time")
        return PLACES

    def _row(self, price_text: str, quantity_text: str, time_text: str, sold_text: str) -> None:
        price, quantity = self._number("price", price_text), self._number("quantity", quantity_text)
        at_ms = self._time_ms(time_text)
        sold = TRUTH.get(sold_text.lower())
        if sold is None:
            self._wrong(f"{sold_text[:40]!r} is neither true nor false", "is_buyer_maker", "repair the value")
        if not self._at_ms:
            self._first_price, self._first_ms = price, at_ms
        ratio = int(price * RATIO_UNIT / self._first_price)
        notional = int(price * quantity * NOTIONAL_UNIT)
        if not 0 < ratio <= WORD_MAX:
            self._wrong(
                f"{price} is out of all proportion to the first price {self._first_price}", "price", "cut there"
            )
        if notional > WORD_MAX:
            self._wrong(f"{price} x {quantity} is too much money", "quantity", "repair or cut the line")
        self._at_ms.append(at_ms - self._first_ms)
        self._ratio.append(ratio)
        self._notional.append(notional)
        self._sold.append(sold)

    def _number(self, column: str, text: str) -> Decimal:
        value = Decimal(text) if NUMBER.fullmatch(text) else Decimal(0)
        if not value:
            self._wrong(f"{text[:40]!r} is not a positive decimal number", column, "repair or remove the line")
        return value

    def _time_ms(self, text: str) -> int:
        if not TIME.fullmatch(text):
            what = f"{text[:40]!r} is neither Unix ms (13 digits) nor µs (16)"
            self._wrong(what, "transact_time", "convert the times")
        at_ms = int(text) if len(text) == 13 else int(text) // 1000
        before_ms = self._first_ms + self._at_ms[-1] if self._at_ms else at_ms
        if at_ms < before_ms - STEP_BACK_MS_MAX:
            self._wrong(f"{before_ms - at_ms} ms earlier than before", "transact_time", "sort the file by time")
        return max(at_ms, before_ms)

    def _wrong(self, what: str, column: str, do: str) -> NoReturn:
        where = f"{self._name} line {self._line}" + (f" column {column}" if column else "")
        raise ConfigError(what, where=where, do=do)

    def recording(self) -> Recording:
        if len(self._at_ms) < 2 or not self._at_ms[-1]:
            moments = len(set(self._at_ms))
            what = f"{len(self._at_ms)} trades at {moments} moments cannot be replayed"
            raise ConfigError(what, where=self._name, do="give a file of trades that spans some time")
        return Recording(self._name, self._at_ms, self._ratio, self._notional, self._sold)
