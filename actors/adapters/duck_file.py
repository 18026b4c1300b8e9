"""The open database file: what one incarnation of the store works on. Everything here blocks.

`writer` appends to the journal and checkpoints, `reader` does everything else; each is used by one thread at a time,
and both may be busy at once. `_behind` is what they share: true while the journal may hold rows that the typed tables
lack. The writer sets it after a commit, the reader clears it before it takes its snapshot, so it errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import duckdb

from actors.adapters import duck_apply, duck_retention
from actors.adapters.duck_before import BeforeImage, put_back
from actors.adapters.duck_dir import Acknowledged, StateDir, disk_trouble, sync_directory
from actors.adapters.duck_migrations import migrate
from actors.adapters.duck_schema import SCHEMA_VERSION, Line, ddl, rejected, to_line
from actors.errors import IntegrityError, StoreError, StoreLost, StoreRefused

T = TypeVar("T")

CHECKPOINT_SPARE_BYTES: Final = 16 * 2**20
"""Free space a checkpoint needs beside the size of the log: one that fails half way costs the open database."""

ACCEPT: Final = "restore live/ from a backup, or start with --accept-lost-records to reconcile with the exchange"

MEND: Final = "otoctl query names the file; move it away or put it back from a backup, then restart otod"

Settings = dict[str, str | bool | int | float | list[str]]


def settings(threads: int, memory_limit: str) -> Settings:
    """How the file is opened. The log is moved into the database by our checkpoint alone, and nothing is fetched."""
    return {
        "threads": str(threads),
        "memory_limit": memory_limit,
        "checkpoint_threshold": "1TB",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


class OpenFile:
    """Opens or makes the database. Raises: IntegrityError, damaged, foreign or behind its marker; StoreError."""

    def __init__(
        self,
        directory: StateDir,
        config: Settings,
        *,
        identity: str,
        instance: str,
        now_ms: int,
        accept_lost_records: bool,
    ) -> None:
        self.directory = directory
        self.generation = 0
        self.lost_records = False
        self._left = False  # do questions read the files of days that have left?
        self.committed_rows = self.refused_rows = self.set_aside_rows = self.trimmed_rows = 0
        self._path = str(directory.database)
        self._seq = 0
        self._behind = True  # the journal may hold what an earlier life committed and did not apply
        marker = directory.read_marker()
        self._check_files(marker, accept_lost_records)
        self.mended_blocks = put_back(directory)
        with _opening(self._path):
            self.writer = duckdb.connect(self._path, config=config)
        self._before = BeforeImage(directory)
        self._acknowledged = Acknowledged(directory.acknowledged)
        try:
            with duck_trouble(self._path):
                # Ours comes with a new generation; and a file that is refused below stays as it is.
                self.writer.execute("PRAGMA disable_checkpoint_on_shutdown").fetchall()
                self._check_or_create(identity, instance, now_ms)
                self._prepare_connections()
                loss = self._find_loss(marker)
            self.lost_records = loss is not None
            if loss is not None and not accept_lost_records:
                where = str(directory.live)
                raise IntegrityError(f"acknowledged records are missing: {loss}", where=where, do=ACCEPT)
            self._next_generation(at_least=marker)
            self._acknowledged.note(self._seq)
        except BaseException:
            self._acknowledged.close()
            self.writer.close()
            self._before.close()
            raise

    def disconnect(self) -> None:
        self.reader.close()
        self.writer.close()
        self._before.close()
        self._acknowledged.close()

    def write(self, groups: Sequence[Sequence[Any]], now_ms: int) -> tuple[StoreRefused | None, ...]:
        """One append, one transaction, one fsync for all groups; a group with a row that cannot fit is left out.

        Raises: StoreError, nothing was made durable; StoreLost.
        """
        lines: list[Line] = []
        verdicts = tuple(self._encode(group, lines, now_ms) for group in groups)
        if lines:
            try:
                with duck_trouble(self._path):
                    self._journal.append_rows(lines)
                    self._journal.flush()
            except StoreError:
                self._journal.clear()
                raise
            self._behind = True
            self.committed_rows += len(lines)
            self._acknowledged.note(self._seq)
        return verdicts

    def read(self, ask: Callable[[duckdb.DuckDBPyConnection], T], now_ms: int) -> T:
        """What `ask` finds, with every acknowledged row in its place.

        Rows that the typed tables lack are applied in the same transaction. If that cannot be kept for want of space
        the answer is right all the same: the rows are durable in the journal, and will be applied with a later one.
        """
        return self._caught_up(ask, now_ms, kept=False)

    def catch_up(self, now_ms: int) -> None:
        """Brings the typed tables up to the journal. Raises: StoreError, StoreLost; no row is lost by either."""
        if self._behind:
            self._caught_up(lambda connection: None, now_ms, kept=True)

    def checkpoint(self, *, last: bool = False) -> None:
        """The log goes into the file; then the next generation opens the new log, before anything is acknowledged.

        last: nothing more will be written, so no log is opened. Raises: StoreError, StoreLost.
        """
        log = self.directory.log_bytes()
        if self.directory.free_bytes() < log + CHECKPOINT_SPARE_BYTES:
            raise StoreError(
                f"too little free space to move {log} bytes of log into the database",
                where=self._path,
                do="free space on this disk",
            )
        with duck_trouble(self._path):
            self._before.take(self.writer)
            self.writer.execute("CHECKPOINT").fetchall()
        if not last:
            self._next_generation()

    def trim(self, live_days: int, now_ms: int) -> int:
        """One slice of old days leaves (duck_retention.py). Raises: StoreError, StoreLost."""
        with duck_trouble(self._path):
            deleted = duck_retention.trim(self.reader, live_days, now_ms)
            if deleted:
                self._make_views()
        self.trimmed_rows += deleted
        return deleted

    def note_days(self) -> None:
        """Days have left otherwise than by trim: questions look for them in their files from now on."""
        with duck_trouble(self._path):
            self._make_views()

    def _make_views(self) -> None:
        self._left = duck_retention.make_views(self.reader, self.directory.analytics)

    def _caught_up(self, ask: Callable[[duckdb.DuckDBPyConnection], T], now_ms: int, *, kept: bool) -> T:
        with duck_trouble(self._path):
            while True:
                behind, self._behind = self._behind, False
                self._execute("BEGIN")
                try:
                    complete = not behind or duck_apply.apply(self.reader)
                except duck_apply.BAD_DATA:
                    self._roll_back(behind)
                    self.set_aside_rows += duck_apply.set_aside(self.reader, now_ms)
                    continue
                except BaseException:
                    self._roll_back(behind)
                    raise
                if complete:
                    return self._conclude(ask, behind, kept=kept)
                self._execute("COMMIT")
                self._behind = True

    def _conclude(self, ask: Callable[[duckdb.DuckDBPyConnection], T], behind: bool, *, kept: bool) -> T:
        try:
            with self._asking():
                found = ask(self.reader)
        except BaseException:
            self._roll_back(behind)
            raise
        try:
            self._execute("COMMIT")
        except duckdb.TransactionException:  # rolled back already
            self._behind = True
            if kept:
                raise
        return found

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """A question that meets a damaged file of a day that has left, or is wrong in itself, fails for itself: the
        database is sound. Were it to kill the incarnation, it would be asked of the next one, and kill that, too.
        """
        try:
            yield
        except duckdb.Error as error:
            analytics, line = str(self.directory.analytics), _first_line(error)
            if analytics in line or (self._left and _rotten(error)):
                raise StoreError(f"records of a past day cannot be read: {line}", where=analytics, do=MEND) from error
            if isinstance(error, _TROUBLES) or _rotten(error):
                raise
            raise StoreRefused(f"this cannot be answered: {line}", do="ask for something else") from error

    def _roll_back(self, behind: bool) -> None:
        self._behind = self._behind or behind
        self._execute("ROLLBACK")

    def _execute(self, sql: str) -> None:
        self.reader.execute(sql).fetchall()

    def _encode(self, group: Sequence[Any], lines: list[Line], now_ms: int) -> StoreRefused | None:
        """Adds a group to the lines; or, if a row of it is refused, what keeps the whole group in rejected_rows."""
        ours: list[Line] = []
        try:
            for row in group:
                ours.append(to_line(self._next_seq(), row))
        except StoreRefused as refusal:
            lines.extend(rejected(self._next_seq(), row, str(refusal), now_ms) for row in group)
            self.refused_rows += len(group)
            return refusal
        lines.extend(ours)
        return None

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def _check_files(self, marker: int, accept_lost_records: bool) -> None:
        """What can be seen before DuckDB makes an empty database where none is."""
        if self.directory.database.exists():
            return
        if marker == 0 and not self.directory.log.exists():
            return
        if not accept_lost_records:
            raise IntegrityError(
                "the database file is missing, its marker or log is there", where=self._path, do=ACCEPT
            )
        if self.directory.log.exists():  # it belongs to the lost file, and nothing is deleted here
            with disk_trouble(self.directory.log):
                self.directory.log.rename(self.directory.log.with_name(f"otod.duckdb.wal.lost-{marker}"))
                sync_directory(self.directory.live)

    def _check_or_create(self, identity: str, instance: str, now_ms: int) -> None:
        found = {name for (name,) in self.writer.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        if not found:
            self._create(identity, instance, now_ms)
            return
        if not {"schema_version", "meta", "generation", "journal"} <= found:
            raise IntegrityError(
                "this is not a database of otod",
                where=self._path,
                do="move it away or use another --state-dir",
            )
        ((version,),) = self.writer.execute("SELECT max(version) FROM schema_version").fetchall()
        if not 1 <= version <= SCHEMA_VERSION:
            raise IntegrityError(
                f"the database has schema version {version}, this otod knows {SCHEMA_VERSION}",
                where=self._path,
                do="start the version of otod that wrote it",
            )
        meta = dict(self.writer.execute("SELECT name, value FROM meta").fetchall())
        if meta["identity"] != identity:
            raise IntegrityError(
                f"this state directory belongs to the exchange {meta['identity']!r}, not to {identity!r}",
                where=str(self.directory.root),
                do="use another --state-dir for this exchange, or correct mode and hosts in the configuration",
            )
        if version < SCHEMA_VERSION:
            migrate(self.writer, version, now_ms)
        if meta["instance"] != instance:
            self.writer.execute("UPDATE meta SET value = $1 WHERE name = 'instance'", [instance]).fetchall()

    def _create(self, identity: str, instance: str, now_ms: int) -> None:
        self.writer.execute("BEGIN").fetchall()
        for statement in ddl():
            self.writer.execute(statement).fetchall()
        self.writer.execute(
            "INSERT INTO schema_version VALUES ($1, make_timestamptz($2 * 1000))", [SCHEMA_VERSION, now_ms]
        ).fetchall()
        self.writer.execute(
            "INSERT INTO meta VALUES ('identity', $1), ('instance', $2)", [identity, instance]
        ).fetchall()
        self.writer.execute("INSERT INTO generation VALUES (0)").fetchall()
        self.writer.execute("INSERT INTO applied VALUES (0)").fetchall()
        self.writer.execute("COMMIT").fetchall()

    def _prepare_connections(self) -> None:
        self.writer.execute("SET GLOBAL TimeZone = 'UTC'").fetchall()
        ((self._seq,),) = self.writer.execute(
            "SELECT greatest((SELECT max(seq) FROM applied), (SELECT coalesce(max(seq), 0) FROM journal))"
        ).fetchall()
        self.reader = self.writer.cursor()
        self._make_views()
        self._journal = self.writer.appender("journal")

    def _find_loss(self, marker: int) -> str | None:
        """What shows that acknowledged rows are missing."""
        ((generation,),) = self.writer.execute("SELECT number FROM generation").fetchall()
        if generation < marker:
            return f"generation {marker} was reached, the database is at {generation} (its log is gone, or it is older)"
        if self._seq < self._acknowledged.found:
            return f"row {self._acknowledged.found} was written, the database ends at row {self._seq} (its log was cut)"
        return None

    def _next_generation(self, at_least: int = 0) -> None:
        """Commits the number (which makes the new log), then the marker; write_marker makes the log's name durable."""
        with duck_trouble(self._path):
            ((self.generation,),) = self.writer.execute(
                "UPDATE generation SET number = greatest(number, $1) + 1 RETURNING number", [at_least]
            ).fetchall()
        self.directory.write_marker(self.generation)


@contextmanager
def duck_trouble(where: str, *, attached: bool = False) -> Iterator[None]:
    """Tells a disk that is full or failing (StoreError) from a database that gave up (StoreLost).

    attached: the work is on a file beside ours; if that one gives up it is made anew, and ours goes on.
    Every other error of DuckDB passes: it is a bug of ours, and a new incarnation shall start from the file.
    """
    try:
        yield
    except _GAVE_UP as error:
        raise StoreLost(f"the database gave up: {_first_line(error)}", where=where, do="open it again") from error
    except _DISK as error:
        if "has been invalidated" in str(error) and not attached:
            raise StoreLost(f"the database gave up: {_first_line(error)}", where=where, do="open it again") from error
        raise StoreError(f"not written: {_first_line(error)}", where=where, do="free or repair the disk") from error
    except duckdb.Error as error:
        if not _rotten(error):
            raise
        if attached:
            raise StoreError(f"a published file is damaged: {_first_line(error)}", where=where, do=MEND) from error
        raise StoreLost(f"the database is damaged: {_first_line(error)}", where=where, do=ACCEPT) from error


_GAVE_UP: Final = (duckdb.FatalException, duckdb.InternalException)
_DISK: Final = (duckdb.TransactionException, duckdb.IOException, duckdb.OutOfMemoryException)
_TROUBLES: Final = (*_GAVE_UP, *_DISK)
_BUSY: Final = ("Could not set lock", "Conflicting lock")
_PLACE: Final = ("Permission denied", "Read-only file system", "No space left", "File too large", "Input/output error")


@contextmanager
def _opening(path: str) -> Iterator[None]:
    """Tells apart: somebody else has it open, the place is unusable (a restart may help), it is damaged (exit 78)."""
    try:
        yield
    except duckdb.Error as error:
        line = _first_line(error)
        if any(word in line for word in _BUSY):
            do = "close the other program that has it open"
            raise StoreError(f"the database is in use: {line}", where=path, do=do) from error
        if any(word in line for word in _PLACE):
            raise StoreError(f"the database cannot be opened: {line}", where=path, do="repair the disk") from error
        raise IntegrityError(
            f"the database or its log is damaged: {line}",
            where=path,
            do="nothing was changed; keep a copy, then restore live/ from a backup, or move the damaged file away"
            " and start with --accept-lost-records",
        ) from error


def _rotten(error: duckdb.Error) -> bool:
    """A block is not what its checksum says; DuckDB names neither a class of its own nor the file."""
    return str(error).startswith("Corrupt database file")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
