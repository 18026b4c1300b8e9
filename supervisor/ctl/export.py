"""`otoctl export`: the published records as Parquet, hive-partitioned by day and user, for engines that read no DuckDB.

    DIR/fills/day=2026-11-20/user=alice/here-0.parquet

The file's name begins with the instance, so several daemons may export into one directory, or copies of their exports
may be laid over one another: the rows of one are never those of another, and `instance` tells them apart. Exporting
again replaces what this daemon exported of a day before; a day that did not change since is left alone. A daemon that
was renamed publishes the days that are not final under its new name: what it exported of them under the old one is told
(and not removed: a copy of a daemon's records looks the same).

Decimals stay DECIMAL(38,18), times are UTC in microseconds. Rows without a user (audit of the system, price_1s) stand
in the partition user=__HIVE_DEFAULT_PARTITION__, which engines read as NULL.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from actors.adapters.duck_views import ORDER, PUBLISHED, day_files, text
from supervisor.ctl.client import EXIT_FAILED, EXIT_USAGE, Trouble
from supervisor.ctl.published import MEND, damage

MARKER: Final = "_exported"
"""Beside each day of a table and instance: modification time and size of the day file it was made of."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")


class Exported(Struct, frozen=True, kw_only=True):
    """days: written now; kept: those that had not changed. rows: written, by table. also_as: (day, instance, pattern of
    its files) where rows of a day that was written now are in the directory under another name, too."""

    days: int
    kept: int
    rows: dict[str, int]
    also_as: list[tuple[str, str, str]]


def export(analytics: Path, target: Path) -> Exported:
    """Writes every published day that changed since it was exported. Raises: Trouble."""
    import duckdb

    days = list(day_files(analytics).values())
    if target.resolve().is_relative_to(analytics.resolve()):
        raise Trouble("the target lies among the published files\n  -> name another directory", EXIT_USAGE)
    if not days:
        raise Trouble(f"no published days in {analytics}", EXIT_FAILED)
    written, rows, damaged = 0, dict.fromkeys(PUBLISHED, 0), []
    also_as: list[tuple[str, str, str]] = []
    for file in days:
        try:
            counts = _export_day(file, target)
            also_as += _also_as(file, target) if counts is not None else ()
        except (OSError, duckdb.Error) as error:
            why = damage(file, tuple(PUBLISHED))
            if why is None:
                hint = "export again; what was written is whole"
                raise Trouble(f"{file.name}: {error}\n  -> {hint}", EXIT_FAILED) from None
            damaged.append(f"{file}: {why}")  # it keeps no other day from being exported
            continue
        if counts is not None:
            written += 1
            for table, count in counts.items():
                rows[table] += count
    if damaged:
        raise Trouble("\n     ".join(damaged) + f"\n  -> all other days are exported; {MEND}", EXIT_FAILED)
    return Exported(days=written, kept=len(days) - written, rows=rows, also_as=also_as)


def _export_day(file: Path, target: Path) -> dict[str, int] | None:
    """Rows written by table; None if the day is as it was."""
    import duckdb

    day = file.stem.removeprefix("day_")
    stat = file.stat()
    made_of = f"{stat.st_mtime_ns} {stat.st_size}"
    counts = {}
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        instances = [name for (name,) in connection.execute(_INSTANCES).fetchall()]
        markers = [target / MARKER / f"{_safe(instance)}-{day}" for instance in instances]
        if markers and all(marker.is_file() and marker.read_text() == made_of for marker in markers):
            return None
        for table in PUBLISHED:
            counts[table] = sum(_export_table(connection, table, instance, day, target) for instance in instances)
    for marker in markers:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(made_of)
    return counts


_INSTANCES: Final = " UNION ".join(f"SELECT instance FROM {table}" for table in PUBLISHED) + " ORDER BY 1"


def _export_table(connection: Any, table: str, instance: str, day: str, target: Path) -> int:
    """Into a directory beside it first: who reads meanwhile sees the day as it was, or as it is."""
    new = target / f".{table}-{_safe(instance)}-{day}"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    columns = ", ".join(f'"{name}"' for name in ("instance", *PUBLISHED[table]) if name not in ("day", "user"))
    user = '"user"' if "user" in PUBLISHED[table] else 'CAST(NULL AS VARCHAR) AS "user"'
    connection.execute(
        f"COPY (SELECT {columns}, DATE '{day}' AS day, {user} FROM {table} WHERE instance = {text(instance)}"
        f" ORDER BY {_order(table)}) TO {text(str(new))} (FORMAT parquet, COMPRESSION zstd,"
        f' PARTITION_BY (day, "user"), FILENAME_PATTERN {text(_safe(instance) + "-{i}")}, OVERWRITE_OR_IGNORE)'
    ).fetchall()
    ((count,),) = connection.execute(f"SELECT count(*) FROM {table} WHERE instance = {text(instance)}").fetchall()
    home = target / table / f"day={day}"
    made = {file.relative_to(new / f"day={day}") for file in new.rglob("*.parquet")}
    for name in made:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (new / f"day={day}" / name).replace(home / name)
    for earlier in set(_files_of(home, instance)) - {home / name for name in made}:
        earlier.unlink()
    shutil.rmtree(new)
    return int(count)


def _files_of(home: Path, instance: str) -> Iterator[Path]:
    """What this instance exported of this day before."""
    form = re.compile(re.escape(_safe(instance)) + r"-\d+\.parquet")
    return (file for file in home.glob("user=*/*.parquet") if form.fullmatch(file.name))


def _also_as(file: Path, target: Path) -> Iterator[tuple[str, str, str]]:
    """Other names under which fills of this day were exported."""
    import duckdb

    day = file.stem.removeprefix("day_")
    home = target / "fills" / f"day={day}"
    with duckdb.connect(str(file), read_only=True) as connection:
        names = [name for (name,) in connection.execute(_INSTANCES).fetchall()]
        ours = {each for name in names for each in _files_of(home, name)}
        others = sorted(text(str(each)) for each in home.glob("user=*/*.parquet") if each not in ours)
        if not others:
            return
        found = connection.execute(
            f"SELECT DISTINCT instance FROM read_parquet([{', '.join(others)}], hive_partitioning = true)"
            ' SEMI JOIN fills USING ("user", symbol, order_id, fill_id, exchange_time) ORDER BY 1'
        ).fetchall()
    for (name,) in found:
        safe = shlex.quote(_safe(name))
        yield day, name, f"{shlex.quote(str(target))}/*/day={day}/user=*/{safe}-[0-9]*.parquet"


def _order(table: str) -> str:
    """The published order, as far as the columns are published."""
    return ORDER[table].replace(", audit_id", "")


def _safe(instance: str) -> str:
    """An instance as part of a file name. What could lead out of the directory is replaced, and the name then marked,
    so that no two instances write the same file."""
    safe = _UNSAFE.sub("_", instance)
    return safe if safe == instance != "" else f"{safe}~{sha256(instance.encode()).hexdigest()[:8]}"
