"""Publishing: files that other programs read while the daemon writes its own.

A part (a UTC day, or the catalogue) that changed is written to a file beside it, made durable and renamed over the old
one; readers keep the inode they have. The rows come out of the live database through our own connection, because no
handle of the live file but DuckDB's may ever be closed in this process. What changed stands in the tables `unpublished`
and `changed_rows`, so a crash forgets nothing.

Writing a day of a million fills whole takes seconds of CPU, so today has a private shadow in live/shadow/: the changed
rows are applied to it, it is checkpointed, and its copy is what gets the day's name. The cost follows the change, not
the day. A shadow lives no longer than the process; the first publication of the next one writes the day whole.

    open     the day goes on, a pair of it is open, or less than FINAL_AFTER_MS have passed: published from the shadow
    final    written whole and sorted once more, then its file stays as it is, byte for byte; a late row reopens it
    left     final, and its rows leave the live database (duck_retention.py): a late row is put into a copy of its file
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from actors.adapters import duck_shadow, duck_views
from actors.adapters.duck_dir import PUBLISHED_MODE, StateDir, disk_trouble, sync_directory, sync_file
from actors.adapters.duck_schema import CATALOGUE, DAY_MS, day_number, day_text
from actors.errors import StoreError

STORAGE_VERSION: Final = "v1.4.0"  # what DuckDB 1.4 and everything after it can read
FINAL_AFTER_MS: Final = 15 * 60_000  # after a day's end, and after the last of its pairs was closed
SHADOWS_MAX: Final = 2  # today, and around midnight yesterday
_CATALOGUE_FILE = "catalogue.duckdb"
_NEW = ".new"


class Standing(Struct, frozen=True):
    """How a day stands: `final` by what the rows say now, `left` by the table `days`."""

    final: bool
    left: bool


class Publisher:
    """The published files of one state directory. Everything here blocks.

    All may raise duckdb.Error; the caller knows what that means for the open database.
    """

    def __init__(self, directory: StateDir, instance: str) -> None:
        self._analytics = directory.analytics
        self._shadow_dir = directory.shadow
        self._instance = instance
        self._shadows: list[int] = []  # days whose shadow is what was published last, the latest at the end
        self.files = 0  # written so far

    def start(self) -> None:
        """Removes what an interrupted publication left. Raises: StoreError."""
        self._shadows.clear()
        with disk_trouble(self._analytics):
            for leftover in (*self._analytics.glob(f".*{_NEW}*"), *self._shadow_dir.iterdir()):
                leftover.unlink()

    def pending(self, connection: duckdb.DuckDBPyConnection, now_ms: int) -> list[int]:
        """Parts to publish, newest first: changed ones, and one day that has become final.

        Some day and the catalogue are always there, for the views.
        """
        parts = {part for (part,) in connection.execute("SELECT part FROM unpublished").fetchall()}
        days = self._days()
        if not days:
            parts.add(now_ms // DAY_MS)
        if not (self._analytics / _CATALOGUE_FILE).exists():
            parts.add(CATALOGUE)
        final = {part for (part,) in connection.execute("SELECT part FROM days WHERE final_at IS NOT NULL").fetchall()}
        ended = [day for day in map(day_number, days) if day * DAY_MS + DAY_MS + FINAL_AFTER_MS <= now_ms]
        for day in sorted(set(ended) - final - parts):
            if self._standing(connection, day, now_ms).final:
                parts.add(day)
                break  # one at a time: each is written whole
        return sorted(parts, reverse=True)

    def publish(self, connection: duckdb.DuckDBPyConnection, part: int, now_ms: int) -> None:
        """Raises: StoreError; what was published before is untouched, and the part stays pending."""
        if part == CATALOGUE:
            new = self._fresh(self._analytics / f".{_CATALOGUE_FILE}{_NEW}")
            self._fill(connection, new, duck_shadow.make_catalogue(self._instance))
            self._install(new, _CATALOGUE_FILE)
        else:
            try:
                self._publish_day(connection, part, now_ms)
            except BaseException:
                self._forget_shadow(part)
                raise
            _run(connection, f"DELETE FROM changed_rows WHERE part = {part}")
        _run(connection, f"DELETE FROM unpublished WHERE part = {part}")

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

    # -- a day

    def _publish_day(self, connection: duckdb.DuckDBPyConnection, day: int, now_ms: int) -> None:
        name = f"day_{day_text(day)}.duckdb"
        shadow = self._shadow_dir / name
        new = self._fresh(self._analytics / f".{name}{_NEW}")
        standing = self._standing(connection, day, now_ms)
        if standing.left:
            self._copy(self._published(name), new)
            self._fill(connection, new, self._updates(connection, day))
        elif standing.final:
            self._fill(connection, new, duck_shadow.make_day(self._instance, day))
            self._forget_shadow(day)
        else:
            if day in self._shadows:
                self._fill(connection, shadow, self._updates(connection, day))
            else:
                self._fill(connection, self._fresh(shadow), duck_shadow.make_day(self._instance, day))
            self._copy(shadow, new)
            self._remember_shadow(day)
        self._install(new, name)
        final_at = f"make_timestamptz({now_ms * 1000})" if standing.final else "NULL"
        _run(
            connection,
            f"INSERT INTO days VALUES ({day}, {final_at}, NULL, false)"
            " ON CONFLICT (part) DO UPDATE SET final_at = excluded.final_at, emptied = false",
        )

    def _standing(self, connection: duckdb.DuckDBPyConnection, day: int, now_ms: int) -> Standing:
        left = connection.execute(f"SELECT 1 FROM days WHERE part = {day} AND left_at IS NOT NULL").fetchall()
        ended = day * DAY_MS + DAY_MS + FINAL_AFTER_MS <= now_ms
        if left or not ended:
            return Standing(final=ended, left=bool(left))
        ((open_pairs, closed_ms),) = connection.execute(
            "SELECT count(*) FILTER (WHERE status <> 'closed'), epoch_ms(max(closed_at)) FROM pairs"
            f" WHERE {duck_shadow.belongs('pairs', day)}"
        ).fetchall()
        return Standing(final=not open_pairs and (closed_ms or 0) + FINAL_AFTER_MS <= now_ms, left=False)

    def _updates(self, connection: duckdb.DuckDBPyConnection, day: int) -> list[str]:
        found = connection.execute(f'SELECT DISTINCT "table" FROM changed_rows WHERE part = {day}').fetchall()
        tables = sorted(table for (table,) in found)
        updates = [text for table in tables for text in duck_shadow.update_table(self._instance, table, day)]
        return [*updates, *duck_shadow.update_totals(day)] if {"fills", "pairs"} & set(tables) else updates

    def _published(self, name: str) -> Path:
        """Raises: StoreError, it is missing, and its rows are nowhere else."""
        file = self._analytics / name
        if not file.exists():
            raise StoreError(
                "this day's rows have left the live database, and its published file is missing",
                where=str(file),
                do="put it back from a backup; the changes that it lacks are kept until then",
            )
        return file

    def _remember_shadow(self, day: int) -> None:
        self._shadows = [*(each for each in self._shadows if each != day), day]
        for oldest in self._shadows[:-SHADOWS_MAX]:
            self._forget_shadow(oldest)

    def _forget_shadow(self, day: int) -> None:
        self._shadows = [each for each in self._shadows if each != day]
        with disk_trouble(self._shadow_dir):
            self._unlink(self._shadow_dir / f"day_{day_text(day)}.duckdb")

    # -- files

    def _fresh(self, file: Path) -> Path:
        with disk_trouble(file):
            self._unlink(file)
        return file

    def _unlink(self, file: Path) -> None:
        for each in (file, _log_of(file)):
            each.unlink(missing_ok=True)

    def _copy(self, source: Path, new: Path) -> None:
        with disk_trouble(new):
            shutil.copyfile(source, new)

    def _fill(self, connection: duckdb.DuckDBPyConnection, file: Path, statements: Sequence[str]) -> None:
        """Runs the statements on the attached file, in one transaction; nothing is left in a log of its own."""
        with _attached(connection, file):
            for statement in ("BEGIN", *statements, "COMMIT", f"CHECKPOINT {duck_shadow.FILE}"):
                _run(connection, statement)
        if _log_of(file).exists():
            raise StoreError("a published file kept a log of its own", where=str(file), do="see if the disk is full")

    def _install(self, new: Path, name: str) -> None:
        """Durable, then renamed to its name."""
        with disk_trouble(new):
            new.chmod(PUBLISHED_MODE)
            sync_file(new)
            new.rename(self._analytics / name)
            sync_directory(self._analytics)
        self.files += 1

    def _days(self) -> list[str]:
        return sorted(file.stem.removeprefix("day_") for file in self._analytics.glob("day_*.duckdb"))


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, file: Path) -> Iterator[None]:
    version = f"(STORAGE_VERSION '{STORAGE_VERSION}')"
    _run(connection, f"ATTACH {duck_views.text(str(file))} AS {duck_shadow.FILE} {version}")
    try:
        yield
    except BaseException:
        for statement in ("ROLLBACK", f"DETACH {duck_shadow.FILE}"):
            with contextlib.suppress(duckdb.Error):  # no transaction any more, or it is detached by the failure
                _run(connection, statement)
        raise
    _run(connection, f"DETACH {duck_shadow.FILE}")


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    connection.execute(statement).fetchall()
