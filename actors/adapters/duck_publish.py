"""Publishing: files that other programs read while the daemon writes its own.

A part (a UTC day, or the catalogue) that changed is written whole to a file beside it, made durable and renamed over
the old one; readers keep the inode they have. The rows come out of the live database through our own connection,
because no handle of the live file but DuckDB's may ever be closed in this process. Which parts changed stands in the
table `unpublished`, so a crash forgets none.

Nothing outside depends on how `publish` makes a part; a private shadow of the day, to which only changed rows are
applied (design § 6), can take the place of `_write`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import duckdb

from actors.adapters import duck_views
from actors.adapters.duck_dir import PUBLISHED_MODE, StateDir, disk_trouble, sync_directory, sync_file
from actors.adapters.duck_schema import CATALOGUE, DAY_MS, DAY_OF, day_text
from actors.errors import StoreError

STORAGE_VERSION = "v1.4.0"  # what DuckDB 1.4 and everything after it can read
_CATALOGUE_FILE = "catalogue.duckdb"
_NEW = ".new"


class Publisher:
    """The published files of one state directory. Everything here blocks.

    All may raise duckdb.Error; the caller knows what that means for the open database.
    """

    def __init__(self, directory: StateDir, instance: str) -> None:
        self._analytics = directory.analytics
        self._instance = instance
        self.files = 0  # written so far

    def start(self) -> None:
        """Removes what an interrupted publication left. Raises: StoreError."""
        with disk_trouble(self._analytics):
            for leftover in self._analytics.glob(f".*{_NEW}*"):
                leftover.unlink()

    def pending(self, connection: duckdb.DuckDBPyConnection, now_ms: int) -> list[int]:
        """Parts that changed, newest first; some day and the catalogue are always there, for the views."""
        parts = {part for (part,) in connection.execute("SELECT part FROM unpublished").fetchall()}
        if not self._days():
            parts.add(now_ms // DAY_MS)
        if not (self._analytics / _CATALOGUE_FILE).exists():
            parts.add(CATALOGUE)
        return sorted(parts, reverse=True)

    def publish(self, connection: duckdb.DuckDBPyConnection, part: int) -> None:
        """Raises: StoreError; what was published before is untouched, and the part stays pending."""
        if part == CATALOGUE:
            self._write(connection, _CATALOGUE_FILE, self._catalogue())
        else:
            self._write(connection, f"day_{day_text(part)}.duckdb", self._day(part))
        connection.execute("DELETE FROM unpublished WHERE part = $1", [part]).fetchall()

    def write_scripts(self) -> None:
        """views.sql and views-1.4.sql, when their text changed (a new day, another place). Raises: StoreError."""
        texts = {
            "views.sql": duck_views.glob_script(self._analytics),
            "views-1.4.sql": duck_views.attach_script(self._analytics, self._days()),
        }
        with disk_trouble(self._analytics):
            for name, text in texts.items():
                script = self._analytics / name
                if script.exists() and script.read_text() == text:
                    continue
                new = self._analytics / f".{name}{_NEW}"
                new.write_text(text)
                new.chmod(PUBLISHED_MODE)
                new.rename(script)

    def _day(self, day: int) -> list[str]:
        statements = []
        for table, columns in duck_views.PUBLISHED.items():
            names = ", ".join(f'"{name}"' for name in columns)
            statements.append(
                f"CREATE TABLE published.{table} AS SELECT {self._instance_column}, {names} FROM {table}"
                f" WHERE {_belongs(DAY_OF[table], day)} ORDER BY {duck_views.ORDER[table]}"
            )
        statements.extend(f"CREATE VIEW published.{name} AS {sql}" for name, sql in duck_views.VIEWS.items())
        return statements

    def _catalogue(self) -> list[str]:
        return [
            f"CREATE TABLE published.{name} AS SELECT {self._instance_column}, {rest}"
            for name, rest in duck_views.CATALOGUE_TABLES.items()
        ]

    def _write(self, connection: duckdb.DuckDBPyConnection, name: str, statements: Sequence[str]) -> None:
        """A whole file: written beside its place, durable, then renamed."""
        new = self._analytics / f".{name}{_NEW}"
        log = new.with_name(f"{new.name}.wal")
        with disk_trouble(new):
            for leftover in (new, log):
                leftover.unlink(missing_ok=True)
        _run(connection, f"ATTACH {duck_views.text(str(new))} AS published (STORAGE_VERSION '{STORAGE_VERSION}')")
        try:
            for statement in ("BEGIN", *statements, "COMMIT", "CHECKPOINT published"):
                _run(connection, statement)
        except BaseException:
            _abandon(connection)
            raise
        _run(connection, "DETACH published")
        if log.exists():
            raise StoreError("a published file kept a log of its own", where=str(log), do="see if the disk is full")
        with disk_trouble(new):
            new.chmod(PUBLISHED_MODE)
            sync_file(new)
            new.rename(self._analytics / name)
            sync_directory(self._analytics)
        self.files += 1

    def _days(self) -> list[str]:
        return sorted(file.stem.removeprefix("day_") for file in self._analytics.glob("day_*.duckdb"))

    @property
    def _instance_column(self) -> str:
        return f"{duck_views.text(self._instance)} AS instance"


def _belongs(column: str, day: int) -> str:
    if column == "day":
        return f"day = DATE '{day_text(day)}'"
    start_us = day * DAY_MS * 1000
    return f"{column} >= make_timestamptz({start_us}) AND {column} < make_timestamptz({start_us + DAY_MS * 1000})"


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    connection.execute(statement).fetchall()


def _abandon(connection: duckdb.DuckDBPyConnection) -> None:
    """Gives up the attached file, in whatever state it is; the error that led here is on its way already."""
    for statement in ("ROLLBACK", "DETACH published"):
        with contextlib.suppress(duckdb.Error):  # no transaction any more, or it is detached by the failure
            _run(connection, statement)
