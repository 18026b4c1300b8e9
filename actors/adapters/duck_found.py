"""Published days that the open database did not make: what is left of records that it lost, or never had.

Publishing makes a day's file anew from the live tables, where it is not the very file that was made last. After
--accept-lost-records, a restored backup or a removed live/ that would destroy the only place of some rows. So before
anything is published, each file that the database does not know is looked at:

    ours      the database has rows of that day and lost none: a kill came between the renaming and its note, or
              somebody changed the file; it is made anew
    adopted   the day is over, and no row of it is live (or reconciling does not reach back that far): from now on the
              day has left, and the file is where its records are (duck_retention.py)
    kept      all else: copied to analytics/kept/, where no view looks, before it is made anew from the live tables.
              If records were lost, what the file has of closed pairs is taken back into these tables first: it was
              published after it had been acknowledged. Pairs that were open or unwound are left to reconciling
    missing   of a day whose rows are live: it is made anew
    unusable  a damaged file, or one without our tables: moved to analytics/kept/, because it would break the views

Nobody trades yet, so no fill can have come again from the exchange under another id. The catalogue of a database that
lost its users is kept, too.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from actors.adapters import duck_shadow, duck_views
from actors.adapters.duck_dir import (
    ANALYTICS_MODE,
    PUBLISHED_MODE,
    disk_trouble,
    make_directory,
    sync_directory,
    sync_file,
)
from actors.adapters.duck_schema import DAY_MS, TABLES, day_text, quoted

RECONCILED_MS: Final = 2 * DAY_MS
"""A trader that starts looks at its orders of 48 hours (duck_loading.OWN_ORDERS_MS); older days stay as they are."""


class Found(Struct, frozen=True):
    """Days as text: adopted, and those of which a file is in analytics/kept/ now."""

    adopted: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def take_in(connection: duckdb.DuckDBPyConnection, analytics: Path, instance: str, now_ms: int, *, lost: bool) -> Found:
    """Looks at every published day. lost: the database is known to lack rows that it once had.

    Raises: StoreError, the disk refused; duckdb.Error.
    """
    strange = []  # (day, its file, has it live rows)
    known = {day: (made_of, left) for day, made_of, left in connection.execute(_KNOWN).fetchall()}
    files = duck_views.day_files(analytics)
    for day in sorted({*known, *files}):
        made_of, left = known.get(day, (None, False))
        file = files.get(day)
        if left or (file and made_of and _of_disk(made_of) == _of_disk(stamp(file, instance))):
            continue
        live = _is_live(connection, day)
        if file is not None and (lost or not live):
            strange.append((day, file, live))
        elif live and made_of is not None:
            _publish_again(connection, day)
    alone = lost or not connection.execute(_HAS_USERS).fetchall()
    catalogue = analytics / duck_views.CATALOGUE_FILE
    if not strange and not (alone and catalogue.exists()):
        return Found()
    with duckdb.connect(config={"threads": "1", "memory_limit": "64MB"}) as apart:
        if alone and _holds(apart, catalogue, _CATALOGUE):
            _keep(catalogue, analytics / "kept", moved=False)
        looked_at = [(day, file, live, _holds(apart, file, _DAY)) for day, file, live in strange]
    adopted, kept, lacking = [], [], []
    for day, file, live, holds in looked_at:
        ended_ms = (day + 1) * DAY_MS
        if holds and ended_ms <= now_ms and (not live or ended_ms + RECONCILED_MS <= now_ms):
            _adopt(connection, day, stamp(file, instance), now_ms)
            adopted.append(day_text(day))
        elif holds is not False:
            place = _keep(file, analytics / "kept", moved=holds is None)
            if lost and holds:
                lacking.append(place)
            _publish_again(connection, day)
            kept.append(day_text(day))
    for tables in (("pairs",), ("orders", "fills", "state_changes", "user_days", "price_1s")):
        for place in lacking:
            _take_back(connection, place, tables)
    return Found(tuple(adopted), tuple(kept))


def stamp(file: Path, instance: str) -> str:
    """Tells a file that we wrote from any other, and the way in which it was made. Raises: StoreError."""
    with disk_trouble(file):
        found = file.stat()
    return f"{found.st_size} {found.st_mtime_ns} {duck_shadow.form(instance)}"


def form_of(made_of: str) -> str:
    """The last part of a stamp: files with the same one have the same tables."""
    return made_of.rpartition(" ")[2]


def _of_disk(made_of: str) -> str:
    """Without the way in which it was made: a final day is not made anew because this otod makes them otherwise."""
    return made_of.rpartition(" ")[0]


def _publish_again(connection: duckdb.DuckDBPyConnection, day: int) -> None:
    connection.execute(f"INSERT OR IGNORE INTO unpublished VALUES ({day})").fetchall()


_KNOWN: Final = "SELECT part, file, left_at IS NOT NULL FROM days"
_HAS_USERS: Final = "SELECT 1 FROM users UNION ALL SELECT 1 FROM journal LIMIT 1"
_CATALOGUE: Final[dict[str, tuple[str, ...]]] = {"users": ("user",), "configurations": ("user",)}
_DAY: Final[dict[str, tuple[str, ...]]] = {**duck_views.PUBLISHED, duck_views.TOTALS: ("instance", "day")}


def _is_live(connection: duckdb.DuckDBPyConnection, day: int) -> bool:
    """Has the database any row of the day, be it in the journal?"""
    places = [f"FROM {table} WHERE {duck_shadow.belongs(table, day)}" for table in duck_views.PUBLISHED]
    places.append(f"FROM journal WHERE day = {day}")
    ((found,),) = connection.execute(f"SELECT {' OR '.join(f'EXISTS ({place})' for place in places)}").fetchall()
    return bool(found)


def _holds(apart: duckdb.DuckDBPyConnection, file: Path, tables: Mapping[str, Sequence[str]]) -> bool | None:
    """Are there rows in this file? None: it cannot be used. In a database of its own, which it cannot harm."""
    some = (
        f"(SELECT count(*) FROM (SELECT {', '.join(map(quoted, names))} FROM found.{table} LIMIT 1))"
        for table, names in tables.items()
    )
    try:
        apart.execute(f"ATTACH {duck_views.text(str(file))} AS found (READ_ONLY)")
        ((count,),) = apart.execute(f"SELECT {' + '.join(some)}").fetchall()
    except duckdb.Error:
        return None
    finally:
        apart.execute("DETACH DATABASE IF EXISTS found")
    return bool(count)


def _adopt(connection: duckdb.DuckDBPyConnection, day: int, made_of: str, now_ms: int) -> None:
    at = f"make_timestamptz({now_ms * 1000})"
    for statement in (
        "BEGIN",
        f"INSERT INTO days VALUES ({day}, {at}, {at}, false, {duck_views.text(made_of)}) ON CONFLICT (part) DO UPDATE"
        " SET final_at = excluded.final_at, left_at = excluded.left_at, emptied = false, file = excluded.file",
        # What a restored backup had still to publish is in the file already, perhaps in a later version.
        f"DELETE FROM changed_rows WHERE part = {day}",
        f"DELETE FROM unpublished WHERE part = {day}",
        "COMMIT",
    ):
        connection.execute(statement).fetchall()


def _take_back(connection: duckdb.DuckDBPyConnection, file: Path, tables: Sequence[str]) -> None:
    """Rows of closed pairs, and those that belong to none; pairs come first, for they say which rows these are."""
    connection.execute(f"ATTACH {duck_views.text(str(file))} AS found (READ_ONLY)").fetchall()
    try:
        for table in tables:
            names = [name for name in duck_views.PUBLISHED[table] if name not in _KEYS[table]]
            select = f"SELECT {', '.join(map(quoted, (*_KEYS[table], *names)))} FROM found.{table} WHERE {_OURS[table]}"
            if table == "pairs":
                names += ["working_order_id", "pending_order_id", "sales"]
                joined = f"({select}) AS p JOIN ({_IDS}) AS ids ON {_SAME}"
                select = f"SELECT p.*, ids.* EXCLUDE (u, i), '[]' AS sales FROM {joined}"
            newer = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in names)
            known = f"UPDATE SET {newer}" if table in ("pairs", "orders") else "NOTHING"
            connection.execute(f"INSERT INTO {table} BY NAME {select} ON CONFLICT DO {known}").fetchall()
    finally:
        connection.execute("DETACH found").fetchall()


_KEYS: Final = {kind.TABLE: kind.KEY for kind in TABLES}
_OF_CLOSED: Final = '("user", pair_id) IN (SELECT (p."user", p.pair_id) FROM pairs AS p WHERE p.status = \'closed\')'
_OURS: Final = {
    "pairs": "status = 'closed'",
    "orders": _OF_CLOSED,
    "fills": _OF_CLOSED,
    "state_changes": "true",
    "user_days": "true",
    "price_1s": "true",
}
_IDS: Final = """
    SELECT "user" AS u, pair_id AS i, max(order_id) FILTER (WHERE leg = 'working') AS working_order_id,
           max(order_id) FILTER (WHERE leg = 'pending') AS pending_order_id
    FROM found.orders WHERE pair_id IS NOT NULL GROUP BY ALL
    HAVING count(*) = 2 AND working_order_id IS NOT NULL AND pending_order_id IS NOT NULL"""
"""What a trader has to know of a pair beside what is published: which orders are its legs. Pairs that unwound have more
orders, and more to know of them; they stay in the kept file alone."""
_SAME: Final = 'p."user" = ids.u AND p.pair_id = ids.i'


def _keep(file: Path, kept: Path, *, moved: bool) -> Path:
    """Under the first name that is free: day_2026-11-20.1.duckdb."""
    with disk_trouble(kept):
        make_directory(kept, ANALYTICS_MODE)
        number = next(n for n in range(1, 10_000) if not (kept / f"{file.stem}.{n}.duckdb").exists())
        place = kept / f"{file.stem}.{number}.duckdb"
        if moved:
            file.rename(place)
        else:
            new = kept / f".{file.name}.new"
            shutil.copyfile(file, new)
            new.chmod(PUBLISHED_MODE)
            sync_file(new)
            new.rename(place)
        sync_directory(kept)
    return place
