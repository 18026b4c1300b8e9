"""Tables of the live database, derived from the structs of actors/rows.py, and the border that rows must pass.

A commit appends rows to one table, the `journal`, as JSON; the typed tables are brought up to it a moment later, and
before anything is read (duck_apply.py). Measured: an insert costs about 1 ms per table whatever its size, so a group
of ten rows in four tables took 11 ms as typed inserts and takes 0.7 ms as one append. The journal is in the
write-ahead log like any table: an acknowledged row is durable, and an apply that was cut short starts again.

So a row must be known to fit its table before it is acknowledged: `to_line` checks types by reading the JSON back,
and amounts and times against the ranges of DECIMAL(38,18) and TIMESTAMPTZ. More than 18 decimals are refused, never
rounded.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Context, Decimal
from functools import cache
from types import NoneType
from typing import Any, ClassVar, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from actors import rows
from actors.errors import StoreRefused
from actors.rows import Mode, Row

SCHEMA_VERSION: Final = 4
"""Changing a row of actors/rows.py or a table here changes the schema: count this up, and see duck_migrations.py."""

FRACTION_DIGITS: Final = 18
INTEGER_DIGITS: Final = 20
SUMMED: Final = ("quote_quantity", "buy_quote", "wear", "wear_fee")
SUMMED_DIGITS: Final = 15
"""What published sums are made of (duck_views.totals) must leave room for the sum, and for the multiplier: one absurd
amount would otherwise keep the day of everybody from being published. Nobody trades 10^15 USDT at once."""
MUL_POINT_MAX: Final = Decimal(10) ** 8  # with 2 decimals it fits DECIMAL(10,2), so quote × mul_point fits 38 digits
MUL_POINT_STEP: Final = Decimal("0.01")
TIME_MAX_MS: Final = 253_402_300_800_000  # the year 10000
DAY_MS: Final = 86_400_000

_EXACT = Context(prec=200)  # the default context would round long amounts
_ENCODE = msgspec.json.Encoder()

SqlType = Literal["VARCHAR", "BIGINT", "BOOLEAN", "BLOB", "DATE", "TIMESTAMPTZ", "DECIMAL(38,18)"]
Kind: TypeAlias = Any
"""The class of a row: a struct with TABLE, KEY and MODE."""
Line = tuple[int, str, int | None, str, str]
"""One row of the journal: seq, kind (the struct's name), day number of the row or None, key, document (JSON)."""


class RejectedRow(Struct, frozen=True, kw_only=True):
    """A row that could not be written, kept for whoever looks into it. row: its text, as far as it has one."""

    TABLE: ClassVar[str] = "rejected_rows"
    KEY: ClassVar[tuple[str, ...]] = ("rejected_at", "number")
    MODE: ClassVar[Mode] = "once"
    rejected_at: int
    number: int  # seq of the journal: only tells rows of one moment apart
    kind: str
    row: str
    reason: str


class Column(Struct, frozen=True):
    name: str
    type: SqlType
    optional: bool


KINDS: Final[tuple[Kind, ...]] = (*get_args(Row), RejectedRow)
TABLES: Final[tuple[Kind, ...]] = tuple(kind for kind in KINDS if kind is not rows.RetractFill)
DAY_OF: Final[dict[str, str]] = {
    "fills": "exchange_time",
    "orders": "created_at",
    "pairs": "intent_at",
    "state_changes": "happened_at",
    "audit": "happened_at",
    "user_days": "day",
    "price_1s": "second",
}
"""Which column says to what UTC day a row belongs (contract § 5); other tables belong to no day."""

PUBLISHING_TABLES: Final = (
    # Which rows make a day unpublished: key is that of the journal; one row may stand here several times.
    'CREATE TABLE changed_rows (part INTEGER NOT NULL, "table" VARCHAR NOT NULL, key VARCHAR NOT NULL)',
    # Every published day. final_at: nothing is expected to change any more. left_at: since then its rows leave this
    # file, and its published file is the only place of what has left; emptied: all that may leave has left.
    "CREATE TABLE days (part INTEGER PRIMARY KEY, final_at TIMESTAMPTZ, left_at TIMESTAMPTZ, emptied BOOLEAN NOT NULL)",
)
"""New in version 2."""
PUBLISHED_FILE: Final = "ALTER TABLE days ADD COLUMN file VARCHAR"
"""New in version 3: by what a day's file is known again as the one that was published last."""
SYSTEM_TABLES: Final = (
    "CREATE TABLE schema_version (version INTEGER NOT NULL, since_at TIMESTAMPTZ NOT NULL)",
    "CREATE TABLE meta (name VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)",
    "CREATE TABLE generation (number BIGINT NOT NULL)",
    "CREATE TABLE journal (seq BIGINT NOT NULL, kind VARCHAR NOT NULL, day INTEGER, key VARCHAR NOT NULL,"
    " document VARCHAR NOT NULL)",
    "CREATE TABLE applied (seq BIGINT NOT NULL)",  # of the newest row that has left the journal
    "CREATE TABLE unpublished (part INTEGER PRIMARY KEY)",  # a day number, or CATALOGUE
    *PUBLISHING_TABLES,
    PUBLISHED_FILE,
)
CATALOGUE: Final = -1
IN_CATALOGUE: Final = ("users", "configs", "tokens", "instruments")
"""Tables that catalogue.duckdb shows; a change of one makes the part CATALOGUE unpublished."""


def ddl() -> tuple[str, ...]:
    """The statements that make an empty live database of SCHEMA_VERSION, the rows of the system tables left out."""
    return (*SYSTEM_TABLES, *(_create(kind) for kind in TABLES))


@cache
def columns(kind: Kind) -> tuple[Column, ...]:
    return tuple(_column(field) for field in msgspec.structs.fields(kind))


def to_line(seq: int, row: Any) -> Line:
    """A row of the journal, exact and sure to fit. Raises: StoreRefused, naming table, key and value."""
    kind: Kind = type(row)
    if kind not in KINDS:
        raise StoreRefused(f"{kind.__name__} is no row", do="send a row of actors/rows.py")
    border = _border(kind)
    try:
        row = border.checked(row)
        document = _ENCODE.encode(row)
        border.decoder.decode(document)
    except (_OutOfRange, msgspec.ValidationError, TypeError, ValueError, OverflowError) as error:
        raise StoreRefused(
            f"this row can never be written: {error}",
            where=f"{kind.TABLE} {[getattr(row, name) for name in kind.KEY]!a}"[:300],
            do="correct its sender; the row is kept in rejected_rows",
        ) from error
    return seq, kind.__name__, border.day(row), key_of(row), document.decode()


def rejected(seq: int, row: Any, reason: str, at_ms: int) -> Line:
    """The journal row that keeps a refused row."""
    text = ascii(row)[:20_000]  # ascii: the reason for refusing may be text that has no UTF-8
    reason = ascii(reason)[1:-1]
    return to_line(seq, RejectedRow(rejected_at=at_ms, number=seq, kind=type(row).__name__, row=text, reason=reason))


def key_of(row: Any) -> str:
    """The same text for two rows of a table exactly if their keys are equal."""
    return key_text([getattr(row, name) for name in row.KEY])


def key_text(values: Sequence[str | int]) -> str:
    """The key of a row in the journal and in changed_rows: a JSON array."""
    return _ENCODE.encode(values).decode()


def select_list(kind: Kind) -> str:
    """Columns of a table such that `from_record` makes the struct of them.

    No time stamp is fetched as such (the client would need another package for its zone), no decimal either (its text
    is exact and needs no context).
    """
    return ", ".join(_FETCH.get(column.type, "{}").format(quoted(column.name)) for column in columns(kind))


def from_record(kind: Kind, record: tuple[Any, ...]) -> Any:
    values = {}
    for column, value in zip(columns(kind), record, strict=True):
        values[column.name] = plain_decimal(value) if value is not None and column.type == "DECIMAL(38,18)" else value
    return kind(**values)


def plain_decimal(text: str) -> Decimal:
    """The database's text of a decimal, without its trailing zeros: "48.024100000000000000" → Decimal("48.0241")."""
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def day_number(day: str) -> int:
    """Days since 1970 of "2026-11-20"; what the journal and unpublished_days call a day."""
    return datetime.date.fromisoformat(day).toordinal() - _EPOCH


def day_text(number: int) -> str:
    return datetime.date.fromordinal(number + _EPOCH).isoformat()


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_EPOCH = datetime.date(1970, 1, 1).toordinal()
_FETCH: dict[SqlType, str] = {
    "DECIMAL(38,18)": "CAST({} AS VARCHAR)",
    "TIMESTAMPTZ": "epoch_ms({})",
    "DATE": "CAST({} AS VARCHAR)",
}


class _OutOfRange(Exception):
    """What is wrong with one field."""


class _Border:
    """What one kind of row is held against."""

    def __init__(self, kind: Kind) -> None:
        self.decoder = msgspec.json.Decoder(kind, strict=True)
        self.decimals = [column.name for column in columns(kind) if column.type == "DECIMAL(38,18)"]
        self.times = [column.name for column in columns(kind) if column.type == "TIMESTAMPTZ"]
        self.counts = [column.name for column in columns(kind) if column.type == "BIGINT"]
        self.dates = [column.name for column in columns(kind) if column.type == "DATE"]
        self.day_column = DAY_OF.get(kind.TABLE) if kind is not rows.RetractFill else None

    def checked(self, row: Any) -> Any:
        """The row, with amounts in plain notation."""
        plain: dict[str, Decimal] = {}
        for name in self.decimals:
            value = getattr(row, name)
            if value is not None:
                exact = _fitting(name, value)
                if exact is not value:
                    plain[name] = exact
        for name in self.counts:
            count = getattr(row, name)
            if count is not None and (type(count) is not int or not -(2**63) <= count < 2**63):
                raise _OutOfRange(f"{name} {count!r} is no whole number of 64 bits")
        for name in self.times:
            at_ms = getattr(row, name)
            if at_ms is not None and (type(at_ms) is not int or not 0 <= at_ms < TIME_MAX_MS):
                raise _OutOfRange(f"{name} {at_ms!r} is no time in ms since 1970")
        for name in self.dates:
            day = getattr(row, name)
            if day_text(day_number(day)) != day:
                raise _OutOfRange(f"{name} {day!r} is not written YYYY-MM-DD")
        return msgspec.structs.replace(row, **plain) if plain else row

    def day(self, row: Any) -> int | None:
        if self.day_column is None:
            return None
        value = getattr(row, self.day_column)
        return day_number(value) if isinstance(value, str) else int(value) // DAY_MS


@cache
def _border(kind: Kind) -> _Border:
    return _Border(kind)


def _fitting(name: str, value: Decimal) -> Decimal:
    """The value in a notation that the database reads, or _OutOfRange. Never another value."""
    if not isinstance(value, Decimal):
        raise _OutOfRange(f"{name} {value!r} is not a Decimal")
    if not value.is_finite():
        raise _OutOfRange(f"{name} {value} is not a number")
    digits = SUMMED_DIGITS if name in SUMMED else INTEGER_DIGITS
    if value and value.adjusted() >= digits:
        raise _OutOfRange(f"{name} {value} has more than {digits} digits before the point")
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), value
    if name == "mul_point" and not (0 <= value < MUL_POINT_MAX and value % MUL_POINT_STEP == 0):
        raise _OutOfRange(f"mul_point {value} is not within 0 and {MUL_POINT_MAX} with two decimals")
    if -FRACTION_DIGITS <= exponent <= 0:
        return value
    if not value:
        return Decimal(0)
    # Zeros at the end are no decimals: 1.0000000000000000000 fits, and 1E+3 is written out.
    cut = value.quantize(Decimal(1).scaleb(max(-FRACTION_DIGITS, min(exponent, 0))), context=_EXACT)
    if cut != value:
        raise _OutOfRange(f"{name} {value} has more than {FRACTION_DIGITS} decimals")
    return cut


def _column(field: msgspec.structs.FieldInfo) -> Column:
    options = get_args(field.type)
    optional = NoneType in options
    type_ = next(option for option in options if option is not NoneType) if optional else field.type
    sql: SqlType
    if field.name.endswith("_at") or field.name in ("exchange_time", "second"):
        assert type_ is int, field
        sql = "TIMESTAMPTZ"
    elif field.name == "day":
        sql = "DATE"
    else:
        sql = _SQL.get(type_, "VARCHAR")
        assert sql != "VARCHAR" or type_ is str or all(isinstance(word, str) for word in get_args(type_)), field
    return Column(field.name, sql, optional)


_SQL: dict[Any, SqlType] = {int: "BIGINT", bool: "BOOLEAN", bytes: "BLOB", Decimal: "DECIMAL(38,18)"}


def _create(kind: Kind) -> str:
    lines = [f"{quoted(c.name)} {c.type}{'' if c.optional else ' NOT NULL'}" for c in columns(kind)]
    lines.append(f"PRIMARY KEY ({', '.join(quoted(name) for name in kind.KEY)})")
    return f"CREATE TABLE {kind.TABLE} ({', '.join(lines)})"
