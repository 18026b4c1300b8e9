"""The store's database: one DuckDB file behind the `Database` port.

Two connections to the one open file, each used by one call at a time: the writing one appends to the journal (see
duck_schema.py) and checkpoints, the reading one brings the typed tables up to the journal, answers questions and
publishes. So a commit never waits for a question or a publication, and a question sees every row that was
acknowledged before it was asked.

Blocking calls go through `run`: a worker thread in the daemon, inline in simulation.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import trio
from msgspec import Struct

from actors.adapters.duck_dir import StateDir
from actors.adapters.duck_file import OpenFile, duck_trouble, settings
from actors.adapters.duck_found import Found
from actors.adapters.duck_publish import TOTALS, Publisher
from actors.adapters.duck_queries import answer
from actors.errors import StoreError, StoreLost, StoreRefused
from actors.ports import Log, Wall
from actors.rows import Row

T = TypeVar("T")
_END: Final = object()


class Run(Protocol):
    """Runs a blocking function and returns what it returns."""

    def __call__(self, function: Callable[[], T]) -> Awaitable[T]: ...


def in_thread() -> Run:
    """Worker threads of trio, two at most: the writing and the reading connection may be busy at once."""
    limiter = trio.CapacityLimiter(2)

    async def run(function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function, limiter=limiter)

    return run


async def inline(function: Callable[[], T]) -> T:
    """Runs it in the loop: for simulations, where a thread would let the virtual clock leap."""
    await trio.lowlevel.checkpoint()
    return function()


class DuckStatistics(Struct, frozen=True, kw_only=True):
    """Counts since open(). set_aside_rows: acknowledged, then found not to fit, which is a hole in our border."""

    generation: int
    committed_rows: int
    refused_rows: int
    set_aside_rows: int
    trimmed_rows: int  # of old days, left to their published files
    published_files: int
    log_bytes: int
    lost_records: bool  # opened with accept_lost_records although the marker was ahead
    adopted_days: tuple[str, ...]  # at the last opening: published days that this database did not make
    kept_days: tuple[str, ...]  # likewise: of these a file was put into analytics/kept/
    mended_blocks: int  # likewise: put back after a checkpoint that was cut off (duck_before.py)


class DuckDatabase:
    """See ports.Database. One per state directory; open() again after a failure starts from the file.

    state_dir: made if missing. identity: of the exchange, "paper" or mode and host names. instance: written into every
    published row. memory_limit: as DuckDB reads it, "256MB". live_days: how long final days
    stay in the live file, 0: for ever.
    accept_lost_records: open even if records were lost since the marker was written (then reconcile everything).
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        identity: str,
        instance: str,
        wall: Wall,
        threads: int = 1,
        memory_limit: str = "256MB",
        live_days: int = 0,
        run: Run | None = None,
        accept_lost_records: bool = False,
        log: Log | None = None,
    ) -> None:
        self._dir = StateDir(state_dir)
        self._identity = identity
        self._instance = instance
        self._wall = wall
        self._config = settings(threads, memory_limit)
        self._run: Run = in_thread() if run is None else run
        self._accept_lost_records = accept_lost_records
        self._live_days = live_days
        self._log = log
        self._threads = threads
        self.publish_cpu_s = 0.0
        self._writing = trio.Lock()
        self._reading = trio.Lock()
        self._file: OpenFile | None = None
        self._publisher = Publisher(self._dir, instance)
        self._found = Found()
        self._totalled = False  # this process has seen to totals.duckdb

    def statistics(self) -> DuckStatistics:
        file = self._file
        return DuckStatistics(
            generation=file.generation if file else 0,
            committed_rows=file.committed_rows if file else 0,
            refused_rows=file.refused_rows if file else 0,
            set_aside_rows=file.set_aside_rows if file else 0,
            trimmed_rows=file.trimmed_rows if file else 0,
            published_files=self._publisher.files,
            log_bytes=self._dir.log_bytes(),
            lost_records=file.lost_records if file else False,
            adopted_days=self._found.adopted,
            kept_days=self._found.kept,
            mended_blocks=file.mended_blocks if file else 0,
        )

    async def open(self) -> None:
        """See ports.Database. Takes the directory's lock first; an earlier connection is given up."""
        async with self._reading, self._writing:
            now_ms = self._wall.now_ms()
            await self._run(lambda: self._reopen(now_ms))
        if self._log is not None and (self._found.adopted or self._found.kept):
            self._log.warning("published_days_found", adopted=self._found.adopted, kept=self._found.kept)

    async def commit(self, groups: Sequence[Sequence[Row]]) -> tuple[StoreRefused | None, ...]:
        async with self._writing:
            now_ms = self._wall.now_ms()  # here and below in the loop: its clock cannot be read from a thread
            return await self._run(lambda: self._opened().write(groups, now_ms))

    async def query(self, question: Any) -> Any:
        """Raises: StoreRefused, a question without answer; StoreError; IntegrityError, a document cannot be read."""
        async with self._reading:
            now_ms = self._wall.now_ms()
            return await self._run(
                lambda: self._opened().read(lambda connection: answer(connection, question, now_ms), now_ms)
            )

    async def publish(self) -> bool:
        """See ports.Database. Raises: StoreError; the files that are there stay as they are.

        Part by part, so that a question waits for one part at most.
        """
        async with self._reading:
            now_ms = self._wall.now_ms()
            parts = await self._run(lambda: self._counting(lambda: self._pending(now_ms)))
        trouble: StoreError | None = None
        for part in (*parts, TOTALS) if parts or not self._totalled else ():
            try:
                await self._publish(part, now_ms)
            except StoreLost:
                raise
            except StoreError as error:
                trouble = error  # one day's trouble holds up no other
        if parts or not self._totalled:
            await self._run(self._publisher.write_scripts)
            self._totalled = trouble is None
        if trouble is not None:
            raise trouble
        return bool(parts)

    async def checkpoint(self) -> None:
        """Moves the log into the database file; commits wait meanwhile (about 10 ms for each 10,000 rows in it).

        Before that, beside the commits, one slice of days older than live_days leaves the database.

        Raises: StoreError, not enough free space; StoreLost, it failed and the database has to be opened again.
        """
        async with self._reading:
            now_ms = self._wall.now_ms()
            await self._run(lambda: self._opened().catch_up(now_ms))
            await self._run(lambda: self._opened().trim(self._live_days, now_ms))
            async with self._writing:
                await self._run(lambda: self._opened().checkpoint())

    async def close(self) -> None:
        """Leaves an empty log if it can, and always a closed file and a free lock. Raises: StoreError, it could not."""
        async with self._reading, self._writing:
            now_ms = self._wall.now_ms()
            await self._run(lambda: self._close(now_ms))

    def _reopen(self, now_ms: int) -> None:
        if self._file is not None:
            self._file.disconnect()
            self._file = None
        self._dir.prepare()
        try:
            self._publisher.start()
            self._file = OpenFile(
                self._dir,
                self._config,
                identity=self._identity,
                instance=self._instance,
                now_ms=now_ms,
                accept_lost_records=self._accept_lost_records,
            )
            self._take_in(self._file, now_ms)
        except BaseException:
            self._dir.release_lock()
            raise
        self._accept_lost_records = False  # it was meant for what the operator saw, not for what may come

    def _take_in(self, file: OpenFile, now_ms: int) -> None:
        """Published days that this file did not make are not overwritten (duck_found.py)."""
        try:
            if file.lost_records:
                file.catch_up(now_ms)  # older rows must not come after those that are taken back
            with duck_trouble(str(self._dir.analytics)):
                self._found = self._publisher.take_in(file.reader, now_ms, lost=file.lost_records)
            if self._found.adopted:
                file.note_days()
        except BaseException:
            self._file = None
            file.disconnect()
            raise

    def _pending(self, now_ms: int) -> list[int]:
        self._opened().catch_up(now_ms)
        with duck_trouble(str(self._dir.analytics), attached=True):
            return self._publisher.pending(self._opened().reader, now_ms)

    async def _publish(self, part: int, now_ms: int) -> None:
        """Step by step: a question waits for one of them at most."""
        steps = self._publisher.publishing(self._opened().reader, part, now_ms)
        try:
            more = True
            while more:
                async with self._reading:
                    more = await self._run(partial(self._counting, partial(self._step, steps)))
        finally:
            if inspect.getgeneratorstate(steps) != inspect.GEN_CLOSED:  # it did not come to its end
                with trio.CancelScope(shield=True):
                    async with self._reading:
                        await self._run(steps.close)

    def _counting(self, function: Callable[[], T]) -> T:
        """Runs it and counts its CPU: DuckDB works in the calling thread, and in `threads` of them at most."""
        started_s = time.thread_time()  # sim-ok: what it costs, no clock
        try:
            return function()
        finally:
            self.publish_cpu_s += (time.thread_time() - started_s) * self._threads  # sim-ok: as above

    def _step(self, steps: Generator[None, None, None]) -> bool:
        """Are there more?"""
        with duck_trouble(str(self._dir.analytics), attached=True):
            return next(steps, _END) is None

    def _close(self, now_ms: int) -> None:
        file, self._file = self._file, None
        try:
            if file is not None:
                try:
                    file.catch_up(now_ms)
                    file.checkpoint(last=True)
                finally:
                    file.disconnect()
        finally:
            self._dir.release_lock()

    def _opened(self) -> OpenFile:
        if self._file is None:
            raise StoreLost("the database is not open", where=str(self._dir.database), do="open it")
        return self._file
