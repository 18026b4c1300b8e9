"""Retention: rows of days that are final may leave the live database; their published file then is where they are.

They leave in slices, one before each checkpoint: deleting costs about 15 µs of CPU a row, beside the commits and not
before them, and the checkpoint after it, which commits do wait for, takes some 20 ms (tests/bench/publish.py). What a
restart may need stays: days of the last 48 hours at least, pairs that are not closed (their day is not final), each
user's newest state change, synthetic fills (they may yet be retracted), audit and user_days, which are few.

Questions about the records find everything all the same: the views recorded_… read what has left from the
published files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import duckdb

from actors.adapters import duck_views
from actors.adapters.duck_schema import DAY_MS, DAY_OF, day_text, quoted
from actors.adapters.duck_shadow import belongs

SLICE_ROWS: Final = 10_000  # of all tables together: 0.15 s of CPU during which questions wait
LIVE_DAYS_MIN: Final = 2  # a trader looks at its orders of 48 hours when it starts (duck_loading.OWN_ORDERS_MS)

LEAVING: Final[dict[str, str]] = {
    "fills": "source <> 'synthetic'",
    "orders": "true",
    "pairs": "status = 'closed'",
    "state_changes": 'seq < (SELECT max(newer.seq) FROM state_changes newer WHERE newer."user" = state_changes."user")',
    "price_1s": "true",
}
"""Table -> which of a final day's rows may leave."""

_LIVE_ONLY: Final = {"pairs": "'[]' AS sales"}
"""Columns that a published table lacks and that may not be empty."""


def trim(connection: duckdb.DuckDBPyConnection, live_days: int, now_ms: int, rows_max: int = SLICE_ROWS) -> int:
    """Deletes one slice of the oldest final day older than live_days; returns how many rows. 0 days: none, for ever.

    In one transaction, which also notes that the day has begun to leave: from then on its file is never made anew from
    the live tables. A day with changes that are not published yet stays. Raises: duckdb.Error; nothing was deleted.
    """
    if live_days == 0:
        return 0
    oldest = now_ms // DAY_MS - max(live_days, LIVE_DAYS_MIN)
    found = connection.execute(
        "SELECT part FROM days WHERE final_at IS NOT NULL AND NOT emptied AND part < $1"
        " AND part NOT IN (SELECT part FROM unpublished) ORDER BY part LIMIT 1",
        [oldest],
    ).fetchall()
    if not found:
        return 0
    ((day,),) = found
    connection.execute("BEGIN").fetchall()
    try:
        deleted = _delete(connection, day, rows_max)
        connection.execute(
            "UPDATE days SET left_at = coalesce(left_at, make_timestamptz($2 * 1000)), emptied = $3 WHERE part = $1",
            [day, now_ms, deleted == 0],
        ).fetchall()
    except BaseException:
        connection.execute("ROLLBACK").fetchall()
        raise
    connection.execute("COMMIT").fetchall()
    return deleted


def _delete(connection: duckdb.DuckDBPyConnection, day: int, rows_max: int) -> int:
    deleted = 0
    for table, may_leave in LEAVING.items():
        left = rows_max - deleted
        if left <= 0:
            break
        these = f"{belongs(table, day)} AND {may_leave}"
        column = quoted(DAY_OF[table])
        # The slice is cut by time: a list of row ids would make the database scan the whole table.
        ((until_us,),) = connection.execute(
            f"SELECT max(at_us) FROM (SELECT epoch_us({column}) AS at_us FROM {table} WHERE {these} LIMIT {left})"
        ).fetchall()
        if until_us is not None:
            ((count,),) = connection.execute(
                f"DELETE FROM {table} WHERE {these} AND {column} <= make_timestamptz({until_us})"
            ).fetchall()
            deleted += count
    return deleted


def make_views(connection: duckdb.DuckDBPyConnection, analytics: Path) -> bool:
    """(Re)makes the temporary views recorded_fills, recorded_orders … of this connection: all rows, wherever they are.

    Of those that left only published columns are known, and a day whose file cannot be read is missing: records of
    the past shall not keep the daemon from its work (the publisher tells, should such a day have to change). Returns:
    do these views read any file?
    """
    found = connection.execute("SELECT part FROM days WHERE left_at IS NOT NULL ORDER BY part").fetchall()
    days = [day for (day,) in found if _file(day, analytics).exists()]
    try:
        _make_views(connection, days, analytics)
    except duckdb.Error:
        days = [day for day in days if readable(connection, _file(day, analytics))]
        _make_views(connection, days, analytics)
    return bool(days)


def _make_views(connection: duckdb.DuckDBPyConnection, days: Sequence[int], analytics: Path) -> None:
    for table in LEAVING:
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW recorded_{table} AS {_recorded(table, days, analytics)}"
        ).fetchall()
        if days:
            connection.execute(f"SELECT 1 FROM recorded_{table} LIMIT 0").fetchall()


def readable(connection: duckdb.DuckDBPyConnection, file: Path, whole: Sequence[str] = ()) -> bool:
    """Is this a day's file that can be read, these tables of it to their last value?"""
    name = duck_views.text(str(file))
    try:
        connection.execute(f"SELECT count(*) FROM read_duckdb([{name}], table_name = 'fills')").fetchall()
        for table in whole:
            rows = f"read_duckdb([{name}], table_name = '{table}')"
            connection.execute(f"SELECT max(hash(COLUMNS(*))) FROM {rows}").fetchall()
    except duckdb.Error:
        return False
    return True


def _file(day: int, analytics: Path) -> Path:
    return analytics / f"day_{day_text(day)}.duckdb"


def _recorded(table: str, days: Sequence[int], analytics: Path) -> str:
    if not days:
        return f"SELECT * FROM {table}"
    files = ", ".join(duck_views.text(str(_file(day, analytics))) for day in days)
    number = f"CAST(epoch_ms({quoted(DAY_OF[table])}) // {DAY_MS} AS INTEGER)"
    extra = f", {_LIVE_ONLY[table]}" if table in _LIVE_ONLY else ""
    return (
        f"SELECT * FROM {table} WHERE {number} NOT IN ({', '.join(map(str, days))}) UNION ALL BY NAME"
        f" SELECT * EXCLUDE (instance){extra} FROM read_duckdb([{files}], table_name = '{table}')"
    )
