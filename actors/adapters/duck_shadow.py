"""SQL of a day's file: made whole, or brought up to date row by row. Pure text; duck_publish.py runs it.

`changed_rows` names the rows of a day that were written since it was published. Whatever happened to them, their place
in the day's file follows from the live tables alone: what the file has of them is deleted, what the live tables have
of them in this day is inserted. So it may be done twice, and a row that moved to another day or was retracted goes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache

from actors.adapters import duck_views
from actors.adapters.duck_schema import DAY_MS, DAY_OF, TABLES, Column, Kind, columns, day_text, quoted

FILE = "published"
"""Under this name the file is attached."""

WHOLE = ("audit",)
"""Made anew with each change, because what is published of it has no key: an operator's acts, some ten a day."""

_KINDS = {kind.TABLE: kind for kind in TABLES}


def begin_day(instance: str) -> tuple[str, ...]:
    """Statements that make the day's tables, without rows, in an empty file."""
    return tuple(
        f"CREATE TABLE {FILE}.{table} AS {_select(instance, table)} WHERE false" for table in duck_views.PUBLISHED
    )


def fill_table(instance: str, table: str, day: int, slices: int) -> Iterator[str]:
    """Statements that put the day's rows into a table, sorted within each slice of the day's time."""
    for number in range(slices):
        part = belongs(table, day) if slices == 1 else _within(table, day, number, slices)
        yield f"INSERT INTO {FILE}.{table} {_select(instance, table)} WHERE {part} ORDER BY {duck_views.ORDER[table]}"


def end_day(day: int) -> tuple[str, ...]:
    """Statements that add the day's sums and the views."""
    sums = f"CREATE TABLE {FILE}.{duck_views.TOTALS} AS {_totals(day)}"
    return (sums, *(f"CREATE VIEW {FILE}.{name} AS {sql}" for name, sql in duck_views.VIEWS.items()))


@cache
def form(instance: str) -> str:
    """Changes when files of a day are made in another way: then none of an earlier version may be built upon."""
    parts = (*begin_day(instance), *end_day(0), *(duck_views.ORDER[table] for table in duck_views.PUBLISHED))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def make_catalogue(instance: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TABLE {FILE}.{name} AS SELECT {duck_views.text(instance)} AS instance, {rest}"
        for name, rest in duck_views.CATALOGUE_TABLES.items()
    )


def update_table(instance: str, table: str, day: int, after: int = -1) -> tuple[str, ...]:
    """Statements that bring one table of the day's file up to date with the `changed_rows` after this rowid."""
    insert = f"INSERT INTO {FILE}.{table} {_select(instance, table)}"
    if table in WHOLE:
        order = duck_views.ORDER[table]
        return f"DELETE FROM {FILE}.{table}", f"{insert} WHERE {belongs(table, day)} ORDER BY {order}"
    kind = _KINDS[table]
    keys = {column.name: column for column in columns(kind) if column.name in kind.KEY}
    parts = ", ".join(f"{_key_part(keys[name], n)} AS k{n}" for n, name in enumerate(kind.KEY))
    return (
        f"CREATE OR REPLACE TEMP TABLE changed_keys AS SELECT DISTINCT {parts} FROM changed_rows"
        f" WHERE part = {day} AND \"table\" = '{table}' AND rowid > {after}",
        f"DELETE FROM {FILE}.{table} USING changed_keys WHERE {_same(kind)}",
        f"{insert} SEMI JOIN changed_keys ON ({_same(kind)}) WHERE {belongs(table, day)}"
        f" ORDER BY {duck_views.ORDER[table]}",
        "DROP TABLE changed_keys",
    )


def update_totals(day: int) -> tuple[str, ...]:
    """Statements that make the day's sums anew, after fills or pairs changed."""
    return f"DELETE FROM {FILE}.{duck_views.TOTALS}", f"INSERT INTO {FILE}.{duck_views.TOTALS} {_totals(day)}"


def _totals(day: int) -> str:
    return duck_views.totals(f"{FILE}.fills", f"{FILE}.pairs", day_text(day))


def belongs(table: str, day: int) -> str:
    """The condition under which a row belongs to this day."""
    if DAY_OF[table] == "day":
        return f"day = DATE '{day_text(day)}'"
    return _within(table, day, 0, 1)


def _within(table: str, day: int, number: int, slices: int) -> str:
    column, day_us = quoted(DAY_OF[table]), DAY_MS * 1000
    from_us, to_us = (day * day_us + day_us * each // slices for each in (number, number + 1))
    return f"{column} >= make_timestamptz({from_us}) AND {column} < make_timestamptz({to_us})"


def _select(instance: str, table: str) -> str:
    names: Sequence[str] = duck_views.PUBLISHED[table]
    return f"SELECT {duck_views.text(instance)} AS instance, {', '.join(map(quoted, names))} FROM {table}"


def _same(kind: Kind) -> str:
    return " AND ".join(f"{quoted(name)} = k{n}" for n, name in enumerate(kind.KEY))


def _key_part(column: Column, n: int) -> str:
    """One value of the journal's key (a JSON array) as the column holds it."""
    value = f"(key->>{n})"
    if column.type == "TIMESTAMPTZ":
        return f"make_timestamptz(CAST({value} AS BIGINT) * 1000)"
    return f"CAST({value} AS {column.type})"
