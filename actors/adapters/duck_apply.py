"""From the journal to the typed tables, in one transaction that also empties the journal.

It runs inside the database (no row passes through Python), on its own cursor, so that commits go on meanwhile. The
order of writing decides: of several rows with one key the last counts in an "upsert" table, the first in a "once"
table, and a retracted fill is gone unless it was written again after that.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import duckdb

from actors import rows
from actors.adapters.duck_schema import (
    CATALOGUE,
    DAY_OF,
    IN_CATALOGUE,
    KINDS,
    Column,
    Kind,
    RejectedRow,
    columns,
    key_text,
    quoted,
    to_line,
)

ROWS_MAX: Final = 20_000  # of one transaction: about 60 MB inside the database, a quarter of a second
_KIND = {kind.__name__: kind for kind in KINDS}
_RETRACT = rows.RetractFill.__name__


def apply(connection: duckdb.DuckDBPyConnection) -> bool:
    """Applies the oldest rows of the journal, at most ROWS_MAX; True if it was all. Inside an open transaction.

    Raises: duckdb.Error; the transaction is then void and the journal as it was.
    """
    first, newest = connection.execute("SELECT min(seq), max(seq) FROM journal").fetchall()[0]
    if newest is None:
        return True
    last = min(newest, first + ROWS_MAX - 1)
    found = connection.execute("SELECT DISTINCT kind, day FROM journal WHERE seq <= $1", [last]).fetchall()
    days = {day for _, day in found if day is not None}
    kinds = {kind for kind, _ in found}
    if _RETRACT in kinds:
        days |= _retract(connection, last)
    for name in sorted(kinds - {_RETRACT}):
        kind = _KIND[name]
        if kind.TABLE in DAY_OF:
            days |= _note_changes(connection, kind, last)
        connection.execute(_insert_sql(kind, retracting=_RETRACT in kinds), [last]).fetchall()
    _leave_journal(connection, last)
    if any(_KIND[name].TABLE in IN_CATALOGUE for name in kinds):
        days.add(CATALOGUE)
    _mark_unpublished(connection, days)
    return bool(last == newest)


def set_aside(connection: duckdb.DuckDBPyConnection, at_ms: int) -> int:
    """Applies the journal row by row and moves those that fail to rejected_rows. Returns how many did.

    They were acknowledged, so this means a hole in the border of duck_schema.py; but nothing is lost, and the rows of
    everybody else go on. Raises: duckdb.Error, when it is not the data.
    """
    bad = 0
    for (seq,) in connection.execute("SELECT seq FROM journal ORDER BY seq").fetchall():
        connection.execute("BEGIN").fetchall()
        try:
            _apply_one(connection, seq)
        except BAD_DATA as error:
            connection.execute("ROLLBACK").fetchall()
            _reject_one(connection, seq, str(error), at_ms)
            bad += 1
        else:
            connection.execute("COMMIT").fetchall()
    return bad


BAD_DATA: Final = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException)
"""What DuckDB raises when it is a row that is wrong, and not the disk, the database or our SQL."""


def _apply_one(connection: duckdb.DuckDBPyConnection, seq: int) -> None:
    """All rows before seq have left the journal, so `seq <= $1` is this one."""
    ((name, day),) = connection.execute("SELECT kind, day FROM journal WHERE seq = $1", [seq]).fetchall()
    kind = _KIND[name]
    days = {CATALOGUE if day is None else day}
    if kind is rows.RetractFill:
        days |= _retract(connection, seq)
    else:
        if kind.TABLE in DAY_OF:
            days |= _note_changes(connection, kind, seq)
        connection.execute(_insert_sql(kind, retracting=False), [seq]).fetchall()
    _mark_unpublished(connection, days)
    _leave_journal(connection, seq)


def _reject_one(connection: duckdb.DuckDBPyConnection, seq: int, reason: str, at_ms: int) -> None:
    connection.execute("BEGIN").fetchall()
    ((kind, document),) = connection.execute("SELECT kind, document FROM journal WHERE seq = $1", [seq]).fetchall()
    kept = RejectedRow(rejected_at=at_ms, number=seq, kind=kind, row=document, reason=ascii(reason)[1:-1])
    connection.execute("DELETE FROM journal WHERE seq = $1", [seq]).fetchall()
    connection.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", to_line(seq, kept)).fetchall()
    connection.execute(_insert_sql(RejectedRow, retracting=False), [seq]).fetchall()
    _leave_journal(connection, seq)
    connection.execute("COMMIT").fetchall()


def _retract(connection: duckdb.DuckDBPyConnection, last: int) -> set[int]:
    """Deletes the retracted fills; returns their days."""
    gone = connection.execute(_RETRACT_SQL, [last]).fetchall()
    if gone:
        changes = [(day, rows.FillRow.TABLE, key_text(key)) for day, *key in gone]
        parts, tables, keys = zip(*changes, strict=True)
        connection.execute(_CHANGED_SQL, [list(parts), list(tables), list(keys)]).fetchall()
    return {day for day, *_ in gone}


def _note_changes(connection: duckdb.DuckDBPyConnection, kind: Kind, last: int) -> set[int]:
    """Notes which rows of which days the publisher has to bring up to date; returns days that rows leave."""
    connection.execute(
        f"INSERT INTO changed_rows SELECT DISTINCT day, '{kind.TABLE}', key FROM journal"
        f" WHERE kind = '{kind.__name__}' AND seq <= $1",
        [last],
    ).fetchall()
    if kind.TABLE not in _MOVABLE:
        return set()
    moved = connection.execute(_moved_sql(kind), [last]).fetchall()
    if moved:
        parts, keys = zip(*moved, strict=True)
        connection.execute(_CHANGED_SQL, [list(parts), [kind.TABLE] * len(parts), list(keys)]).fetchall()
    return {day for day, _ in moved}


_CHANGED_SQL = (
    "INSERT INTO changed_rows SELECT unnest(CAST($1 AS INTEGER[])), unnest(CAST($2 AS VARCHAR[])),"
    " unnest(CAST($3 AS VARCHAR[]))"
)


def _leave_journal(connection: duckdb.DuckDBPyConnection, last: int) -> None:
    connection.execute("DELETE FROM journal WHERE seq <= $1", [last]).fetchall()
    connection.execute("UPDATE applied SET seq = $1", [last]).fetchall()


def _mark_unpublished(connection: duckdb.DuckDBPyConnection, parts: set[int]) -> None:
    if parts:
        connection.execute(
            "INSERT OR IGNORE INTO unpublished SELECT unnest(CAST($1 AS INTEGER[]))", [sorted(parts)]
        ).fetchall()


_MOVABLE = ("orders", "pairs")
"""Tables whose key does not hold the day: a later version of a row may belong to another one (created_at is ours
until the exchange has told its own). Both days are then published anew. A fill is never changed."""


@cache
def _insert_sql(kind: Kind, *, retracting: bool) -> str:
    chosen, conflict = ("max_by", "REPLACE") if kind.MODE == "upsert" else ("min_by", "IGNORE")
    written_again = ""
    if retracting and kind is rows.FillRow:
        written_again = (
            " AND seq > coalesce((SELECT max(r.seq) FROM journal r"
            f" WHERE r.kind = '{_RETRACT}' AND r.key = journal.key AND r.seq <= $1), -1)"
        )
    names = ", ".join(quoted(column.name) for column in columns(kind))
    values = ", ".join(_value(column) for column in columns(kind))
    return (
        f"INSERT OR {conflict} INTO {kind.TABLE} ({names}) SELECT {values} FROM ("
        f"SELECT from_json_strict({chosen}(document, seq), '{_shape(kind)}') AS d FROM journal"
        f" WHERE kind = '{kind.__name__}' AND seq <= $1{written_again} GROUP BY key)"
    )


_RETRACT_SQL = (
    "DELETE FROM fills USING (SELECT DISTINCT from_json_strict(document,"
    ' \'{"user":"VARCHAR","symbol":"VARCHAR","fill_id":"VARCHAR"}\') AS d'
    f" FROM journal WHERE kind = '{_RETRACT}' AND seq <= $1)"
    ' WHERE fills."user" = d."user" AND fills.symbol = d.symbol AND fills.fill_id = d.fill_id'
    ' RETURNING CAST(epoch_ms(fills.exchange_time) // 86400000 AS INTEGER), fills."user", fills.symbol, fills.fill_id'
)


@cache
def _moved_sql(kind: Kind) -> str:
    """(day, key) of rows that leave a day, because their newer version belongs to another one."""
    table, day = kind.TABLE, quoted(DAY_OF[kind.TABLE])
    same = " AND ".join(f"{table}.{quoted(name)} = d.{quoted(name)}" for name in kind.KEY)
    old = f"CAST(epoch_ms({table}.{day}) // 86400000 AS INTEGER)"
    return (
        f"SELECT DISTINCT {old}, key FROM {table} JOIN (SELECT day AS new_day, key, from_json_strict(document,"
        f" '{_shape(kind)}') AS d FROM journal WHERE kind = '{kind.__name__}' AND seq <= $1) ON {same}"
        f" WHERE {old} <> new_day"
    )


def _shape(kind: Kind) -> str:
    """What from_json_strict shall read: amounts and blobs as the text that they are in JSON, times as ms."""
    fields = ",".join(f'"{column.name}":"{_JSON_TYPE.get(column.type, column.type)}"' for column in columns(kind))
    return "{" + fields + "}"


_JSON_TYPE = {"DECIMAL(38,18)": "VARCHAR", "BLOB": "VARCHAR", "DATE": "VARCHAR", "TIMESTAMPTZ": "BIGINT"}


def _value(column: Column) -> str:
    field = f"d.{quoted(column.name)}"
    if column.type == "TIMESTAMPTZ":
        return f"make_timestamptz({field} * 1000)"
    if column.type == "BLOB":
        return f"from_base64({field})"
    if column.type in ("DECIMAL(38,18)", "DATE"):
        return f"CAST({field} AS {column.type})"
    return field
