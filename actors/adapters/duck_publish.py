"""Publishing: files that other programs read while the daemon writes its own.

A part (a UTC day, or the catalogue) that changed is written to a file beside it, made durable and renamed over the old
one; readers keep the inode they have. The rows come out of the live database through our own connection, because no
handle of the live file but DuckDB's may ever be closed in this process. What changed stands in the tables `unpublished`
and `changed_rows`, so a crash forgets nothing.

Writing a day of a million fills whole takes seconds of CPU, so today has a private shadow in live/shadow/: the changed
rows are applied to it, it is checkpointed, and its copy is what gets the day's name. The cost follows the change, not
the day. A shadow lives no longer than the process; the next one begins with a copy of the published file, if that is
the very file that we wrote. Where a day has to be written whole it is done in steps, so that questions wait for one.

    open     the day goes on, a pair of it is open, or less than FINAL_AFTER_MS have passed: published from the shadow
    final    written whole and sorted once more, then its file stays as it is, byte for byte; a late row reopens it
    left     final, and its rows leave the live database (duck_retention.py): a late row is put into a copy of its file
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from actors.adapters import duck_found, duck_retention, duck_shadow, duck_totals, duck_views
from actors.adapters.duck_dir import PUBLISHED_MODE, StateDir, disk_trouble, sync_directory, sync_file
from actors.adapters.duck_schema import CATALOGUE, DAY_MS, day_text
from actors.errors import StoreError

STORAGE_VERSION: Final = "v1.4.0"  # what DuckDB 1.4 and everything after it can read
FINAL_AFTER_MS: Final = 15 * 60_000  # after a day's end, and after the last of its pairs was closed
SLICE_ROWS: Final = 125_000  # a row group (122,880), which goes straight into the file; a step takes 0.15 s of CPU
SHADOWS_MAX: Final = 2  # today, and around midnight yesterday
TOTALS: Final = -2  # a part beside the days and CATALOGUE; always pending, and mostly nothing is to be done
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
        self._distrusted: set[int] = set()  # days whose last publication failed: they are made anew
        self._shadows: list[int] = []  # days whose shadow is what was published last, the latest at the end
        self._totals = duck_totals.Totals(directory.analytics)
        self._forms: set[str | None] = {None}  # ways in which the days that are there were made; None: not known
        self.files = 0  # written so far

    def start(self) -> None:
        """Removes what an interrupted publication left. Raises: StoreError."""
        self._distrusted.clear()
        self._shadows.clear()
        with disk_trouble(self._analytics):
            for leftover in (*self._analytics.glob(f".*{_NEW}*"), *self._shadow_dir.iterdir()):
                leftover.unlink()

    def take_in(self, connection: duckdb.DuckDBPyConnection, now_ms: int, *, lost: bool) -> duck_found.Found:
        """Before anything is published: see duck_found.py. Raises: StoreError."""
        return duck_found.take_in(connection, self._analytics, self._instance, now_ms, lost=lost)

    def pending(self, connection: duckdb.DuckDBPyConnection, now_ms: int) -> list[int]:
        """Parts to publish, newest first: changed ones, and one day that has become final.

        Some day and the catalogue are always there, for the views.
        """
        parts = {part for (part,) in connection.execute("SELECT part FROM unpublished").fetchall()}
        days = duck_views.day_files(self._analytics)
        if not days:
            parts.add(now_ms // DAY_MS)
        if not (self._analytics / duck_views.CATALOGUE_FILE).exists():
            parts.add(CATALOGUE)
        final = {part for (part,) in connection.execute("SELECT part FROM days WHERE final_at IS NOT NULL").fetchall()}
        ended = [day for day in days if day * DAY_MS + DAY_MS + FINAL_AFTER_MS <= now_ms]
        for day in sorted(set(ended) - final - parts):
            if self._standing(connection, day, now_ms).final:
                parts.add(day)
                break  # one at a time: each is written whole
        return sorted(parts, reverse=True)

    def publishing(self, connection: duckdb.DuckDBPyConnection, part: int, now_ms: int) -> Generator[None, None, None]:
        """Publishes a part in steps, between which the connection may be used for other things. Close it in any case.

        Raises: StoreError; what was published before is untouched, and the part stays pending.
        """
        published = f"DELETE FROM unpublished WHERE part = {part}"
        if part == TOTALS:
            yield from self._publishing_totals(connection)
        elif part == CATALOGUE:
            new = self._fresh(self._analytics / f".{duck_views.CATALOGUE_FILE}{_NEW}")
            with _attached(connection, new):
                _together(connection, duck_shadow.make_catalogue(self._instance))
            self._install(new, duck_views.CATALOGUE_FILE)
            _run(connection, published)
        else:
            try:
                noted = yield from self._publishing_day(connection, part, now_ms)
                # One transaction: each costs a sync of the log that commits wait for, too.
                _together(connection, (noted, f"DELETE FROM changed_rows WHERE part = {part}", published))
            except BaseException:
                self._distrusted.add(part)
                self._forget_shadow(part)
                raise
            self._distrusted.discard(part)

    def write_scripts(self) -> None:
        """views.sql and views-1.4.sql, when their text changed (a new day, another place). Raises: StoreError."""
        texts = {
            "views.sql": duck_views.glob_script(
                self._analytics, through=self._totals.through, alike=len(self._forms) == 1 and None not in self._forms
            ),
            "views-1.4.sql": duck_views.attach_script(self._analytics),
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

    def _publishing_day(
        self, connection: duckdb.DuckDBPyConnection, day: int, now_ms: int
    ) -> Generator[None, None, str]:
        """Its result: the statement that notes it in the table `days`."""
        name = f"day_{day_text(day)}.duckdb"
        shadow = self._shadow_dir / name
        new = self._fresh(self._analytics / f".{name}{_NEW}")
        standing = self._standing(connection, day, now_ms)
        final = standing.final
        if standing.left:
            self._copy(self._published(name), new)
            self._update(connection, new, day)
        elif final:
            changed = yield from self._making(connection, new, day)
            final = not changed  # else it was no end yet: the next publication writes it again
            self._forget_shadow(day)
        else:
            if day not in self._shadows and self._may_build_upon(connection, day, name):
                self._copy(self._analytics / name, self._fresh(shadow))
                self._remember_shadow(day)
            if day in self._shadows:
                self._update(connection, shadow, day)
            else:
                yield from self._making(connection, self._fresh(shadow), day)
            self._copy(shadow, new)
            self._remember_shadow(day)
        self._install(new, name)
        final_at = f"make_timestamptz({now_ms * 1000})" if final else "NULL"
        made_of = duck_found.stamp(self._analytics / name, self._instance)
        return (
            f"INSERT INTO days VALUES ({day}, {final_at}, NULL, false, {duck_views.text(made_of)})"
            " ON CONFLICT (part) DO UPDATE SET final_at = excluded.final_at, emptied = false, file = excluded.file"
        )

    def _publishing_totals(self, connection: duckdb.DuckDBPyConnection) -> Generator[None, None, None]:
        known = connection.execute("SELECT part, file, final_at IS NOT NULL FROM days").fetchall()
        forms = {day: duck_found.form_of(made_of) for day, made_of, _ in known if made_of is not None}
        with disk_trouble(self._analytics):
            self._forms = {forms.get(day) for day in duck_views.day_files(self._analytics)}
            work = self._totals.work(day for day, _, final in known if final)
        if work is None:
            return
        new = self._fresh(self._analytics / f".{duck_views.TOTALS_FILE}{_NEW}")
        try:
            if not work.anew:
                self._copy(self._analytics / duck_views.TOTALS_FILE, new)
            with _attached(connection, new):
                _together(connection, duck_totals.begin(self._instance, work))
                for files in duck_totals.batches(self._analytics, work):
                    yield
                    self._take(connection, files)
        except BaseException:
            self._totals.distrust()
            raise
        self._install(new, duck_views.TOTALS_FILE)
        self._totals.note(work)

    def _take(self, connection: duckdb.DuckDBPyConnection, files: list[Path]) -> None:
        """A file that cannot be read has no sums: nobody else can read that day either, but all the others."""
        try:
            _together(connection, duck_totals.take(files))
        except duckdb.Error:
            readable = [file for file in files if duck_retention.readable(connection, file, duck_views.IN_TOTALS)]
            if len(readable) == len(files):
                raise
            if readable:
                _together(connection, duck_totals.take(readable))

    def _making(self, connection: duckdb.DuckDBPyConnection, file: Path, day: int) -> Generator[None, None, bool]:
        """The whole day, slice by slice; then what changed meanwhile. Its result: did anything?"""
        ((before,),) = connection.execute("SELECT coalesce(max(rowid), -1) FROM changed_rows").fetchall()
        with _attached(connection, file):
            _together(connection, duck_shadow.begin_day(self._instance))
            for table in duck_views.PUBLISHED:
                rows = f"SELECT count(*) FROM {table} WHERE {duck_shadow.belongs(table, day)}"
                ((count,),) = connection.execute(rows).fetchall()
                slices = 1 if table == "user_days" else count // SLICE_ROWS + 1
                for statement in duck_shadow.fill_table(self._instance, table, day, slices):
                    yield
                    _run(connection, statement)
                    if slices > 1:  # else it all comes at the end, in one long step
                        yield
                        _run(connection, f"CHECKPOINT {duck_shadow.FILE}")
            yield
            updates = self._updates(connection, day, after=before)
            _together(connection, (*updates, *duck_shadow.end_day(day)))
        return bool(updates)

    def _update(self, connection: duckdb.DuckDBPyConnection, file: Path, day: int) -> None:
        updates = self._updates(connection, day)
        with _attached(connection, file):
            _together(connection, [*updates, *duck_shadow.update_totals(day)] if updates else ())

    def _may_build_upon(self, connection: duckdb.DuckDBPyConnection, day: int, name: str) -> bool:
        """After a restart: is the published file just what we published, so that it only lacks what changed since?"""
        if day in self._distrusted or not (self._analytics / name).exists():
            return False
        known = connection.execute(f"SELECT file FROM days WHERE part = {day}").fetchall()
        return known == [(duck_found.stamp(self._analytics / name, self._instance),)]

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

    def _updates(self, connection: duckdb.DuckDBPyConnection, day: int, *, after: int = -1) -> list[str]:
        found = connection.execute(
            f'SELECT DISTINCT "table" FROM changed_rows WHERE part = {day} AND rowid > {after}'
        ).fetchall()
        tables = sorted(table for (table,) in found)
        return [text for each in tables for text in duck_shadow.update_table(self._instance, each, day, after)]

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

    def _install(self, new: Path, name: str) -> None:
        """Durable, then renamed to its name."""
        with disk_trouble(new):
            new.chmod(PUBLISHED_MODE)
            sync_file(new)
            new.rename(self._analytics / name)
            sync_directory(self._analytics)
        self.files += 1


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.wal")


@contextmanager
def _attached(connection: duckdb.DuckDBPyConnection, file: Path) -> Iterator[None]:
    """The file is there to be written to, and afterwards all of it is in the file, nothing in a log beside it."""
    version = f"(STORAGE_VERSION '{STORAGE_VERSION}')"
    _run(connection, f"ATTACH {duck_views.text(str(file))} AS {duck_shadow.FILE} {version}")
    try:
        yield
        _run(connection, f"CHECKPOINT {duck_shadow.FILE}")
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # it is detached by the failure
            _run(connection, f"DETACH {duck_shadow.FILE}")
        raise
    _run(connection, f"DETACH {duck_shadow.FILE}")
    if _log_of(file).exists():
        raise StoreError("a published file kept a log of its own", where=str(file), do="see if the disk is full")


def _together(connection: duckdb.DuckDBPyConnection, statements: Sequence[str]) -> None:
    _run(connection, "BEGIN")
    try:
        for statement in (*statements, "COMMIT"):
            _run(connection, statement)
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # a COMMIT that failed has rolled back already
            _run(connection, "ROLLBACK")
        raise


def _run(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    connection.execute(statement).fetchall()
