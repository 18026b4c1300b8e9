"""The store: takes rows from everybody, makes them durable in groups, answers once they are.

    take   every message as it comes: writes are lined up, questions get a task each, Stop ends the taking
    write  all that is lined up, up to rows_max rows, is one group: one commit, then every sender gets its answer.
           While a commit runs the next group gathers by itself, so nothing has to wait for company (wait_s_max 0)
    keep   publishes every publish_s, checkpoints when the log is long; a commit waits for neither a question nor a
           publication, and for a checkpoint some ms

A disk that is full or failing ends nothing: the group is kept, nothing is answered, the commit is tried again with
growing pauses, questions are answered as far as the database can. Only a database that gave up (StoreLost) and errors
nobody foresaw end the incarnation; the next one opens the file and gets all unanswered writes again, which is harmless
because every row has a key.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Final

import trio
from msgspec import Struct

from actors.errors import ActorCrashed, IllegalEvent, IntegrityError, StoreError, StoreLost, StoreRefused
from actors.messages import LoadTrader, LoadTraders, Write
from actors.ports import Address, Asked, Database, Events, Inbox, Latest, Log, Started, Stop, Wall
from actors.rows import Row
from actors.tally import Tally

ROWS_WAITING_MAX: Final = 50_000
"""Rows lined up before the store stops taking and its senders wait: about 50 MB, reached on a failing disk only."""
RETRY_S_MIN: Final = 0.1
RETRY_S_MAX: Final = 5.0
LATENCIES: Final = 1024  # of the newest commits, for p50 and p99
PUBLISH_SHARE_MAX: Final = 0.05  # of the time, that is of one core: publications that take long come less often
PUBLISH_SAVED_S_MAX: Final = 15.0  # of that share, five minutes' worth: writing a long day whole takes seconds
PUBLISH_PAUSE_MIN: Final = 0.25  # of publish_s, between two publications that are slow because the machine is busy
BEHIND_S_MAX: Final = 5.0  # what published files are behind without a word; beyond, it is said by how much
REASK_S: Final = 0.2  # between two attempts of a sender whose store does not run just now


class StoreStatistics(Struct, frozen=True, kw_only=True):
    """Of one incarnation. Latencies in ms, from handing a group to the database to its end; None before the first."""

    rows: int = 0  # acknowledged
    groups: int = 0
    group_rows_max: int = 0
    refused: int = 0  # writes that can never be written
    waiting: int = 0  # rows lined up or being written
    commit_p50_ms: float | None = None
    commit_p99_ms: float | None = None
    unavailable_since_ms: int | None = None
    published_ms: int | None = None  # when the last publication ended
    publish_s: float | None = None  # how long it took
    publish_failures: int = 0
    behind_s: float | None = None  # the last publication came so long after the oldest row that it brought
    unpublished_since_ms: int | None = None  # the oldest row that is acknowledged and not published yet
    checkpoints: int = 0


class Share:
    """Seconds of work that may be done by now, if it shall take no more than a share of the time in the long run.

    It saves up to saved_s_max, and may be overdrawn: then `wait_s` says for how long to rest.
    """

    def __init__(self, share: float, saved_s_max: float, now_s: float) -> None:
        self._share = share
        self._saved_s_max = self._saved_s = saved_s_max
        self._at_s = now_s

    def wait_s(self, took_s: float, now_s: float) -> float:
        """How long to rest after work that took so long and ended now."""
        earned_s = (now_s - self._at_s) * self._share
        self._saved_s = min(self._saved_s_max, self._saved_s + earned_s) - took_s
        self._at_s = now_s
        return max(0.0, -self._saved_s / self._share)


class StoreRows:
    """One sender's way into the store (ports.Rows). Calls one after the other: rows are durable in their order."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def write(self, rows: Sequence[Row]) -> None:
        """See ports.Rows. A store that died with the rows in hand is asked again: rows are keyed."""
        if not rows:
            await trio.lowlevel.checkpoint()
            return
        question = Write(tuple(rows))
        while True:
            try:
                await self._address.ask(question, within_s=None)
            except ActorCrashed:
                await trio.sleep(REASK_S)
            else:
                return


async def run(
    inbox: Inbox,
    database: Database,
    *,
    wall: Wall,
    log: Log,
    events: Events,
    shown: Latest[StoreStatistics] | None = None,
    committing: Callable[[float | None], None] = lambda since_s: None,
    rows_max: int = 1000,
    wait_s_max: float = 0.0,
    publish_s: float = 2.0,
    checkpoint_rows: int = 10_000,
    checkpoint_s: float = 600.0,
    close_s_max: float = 10.0,
    rate: float = 1.0,
    tally: Tally | None = None,
    task_status: Started,
) -> None:
    """One incarnation. Ready once the database is open. Returns after Stop, with everything committed and published.

    Args:
        shown: where statistics are put, every publish_s and when the disk fails or works again.
        committing: told when a commit begins (trio s), and None when it has come back, with or without success.
        rows_max: of one group. wait_s_max: how long the first rows of a group wait for company, 0 for not at all.
        publish_s: between two publications. checkpoint_rows: committed rows after which a checkpoint comes, or
        checkpoint_s: seconds, if there were any rows. close_s_max: for the last publication and closing, real seconds
        like those that publications cost. rate: trio seconds per real second (--speed).
    Raises: IntegrityError, the database cannot be used (exit 78); StoreError, it is locked or not writable; StoreLost.
    """
    await database.open()
    committing(None)
    store = Store(inbox, database, wall=wall, log=log, events=events, shown=shown, committing=committing, rate=rate)
    store.tally = tally or store.tally
    task_status.started()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(store.commit, rows_max=rows_max, wait_s_max=wait_s_max))
            nursery.start_soon(
                partial(store.keep, publish_s, checkpoint_rows=checkpoint_rows, checkpoint_s=checkpoint_s)
            )
            await store.take(nursery)
            nursery.cancel_scope.cancel()
    finally:
        # After a crash the file stays open and locked: the next incarnation opens it anew.
        if store.drained or trio.current_effective_deadline() == -inf:
            with trio.move_on_after(close_s_max * rate, shield=True):
                await store.close()


class Store:
    """The tasks of one incarnation and what they share."""

    def __init__(
        self,
        inbox: Inbox,
        database: Database,
        *,
        wall: Wall,
        log: Log,
        events: Events,
        shown: Latest[StoreStatistics] | None,
        committing: Callable[[float | None], None],
        rate: float,
    ) -> None:
        self.drained = False
        self.tally = Tally()
        self._rate = rate
        self._inbox = inbox
        self._database = database
        self._wall = wall
        self._log = log
        self._events = events
        self._shown = shown
        self._committing = committing
        self._waiting: deque[Asked] = deque()
        self._loads: list[Asked] = []
        self._rows_waiting = 0  # of the group that is being written, too
        self._more = trio.Event()  # a write was lined up
        self._fewer = trio.Event()  # a group was answered; a new one for each
        self._lined_up = self._settled = 0  # writes, ever
        self._rows = self._groups = self._group_rows_max = self._refused = 0
        self._latencies_s: deque[float] = deque(maxlen=LATENCIES)
        self._unavailable_since_ms: int | None = None
        self._publish_failures = self._checkpoints = 0
        self._published_ms: int | None = None
        self._publish_s: float | None = None
        self._behind_s: float | None = None
        self._unpublished: tuple[float, int] | None = None  # trio seconds and wall ms of the oldest such row
        self._late = False

    # -- take

    async def take(self, nursery: trio.Nursery) -> None:
        """Returns after Stop, when every write that came before it is answered."""
        while True:
            message = await self._inbox.take()
            match message:
                case Asked(question=Write(rows=rows)):
                    self._waiting.append(message)
                    self._rows_waiting += len(rows)
                    self._lined_up += 1
                    self._more.set()
                    await self._room(ROWS_WAITING_MAX)
                case Asked(question=LoadTrader()):
                    self._loads.append(message)
                    if len(self._loads) == 1:
                        nursery.start_soon(self._load)
                case Asked():
                    nursery.start_soon(self._answer, message)
                case Stop():
                    await self._room(0)
                    self.drained = True
                    return
                case _:
                    raise IllegalEvent(f"the store takes no {type(message).__name__}", do="ask Write, Load… or List…")

    async def _room(self, rows: int) -> None:
        """Until no more than this many rows wait."""
        while self._rows_waiting > rows:
            await self._fewer.wait()

    async def _load(self) -> None:
        """All traders that ask while a read is under way are loaded by the next one: a daemon starts them together.

        What was written before the question is durable before it is answered: the rows of a trader that has just died
        may still be waiting here, and its next incarnation must know of them.
        """
        await trio.lowlevel.checkpoint()
        while self._loads:
            day = self._loads[0].question.day
            batch = [asked for asked in self._loads if asked.question.day == day]
            users = tuple(dict.fromkeys(asked.question.user for asked in batch))
            lined_up = self._lined_up
            while self._settled < lined_up:
                await self._fewer.wait()
            try:
                found = await self._database.query(LoadTraders(users, day))
            except StoreLost:
                raise  # the questions stay owed: the next incarnation answers them
            except StoreError as error:
                found = dict.fromkeys(users, error)
            self._loads = [asked for asked in self._loads if asked not in batch]
            for asked in batch:
                self._tell(asked, found[asked.question.user])

    def _tell(self, asked: Asked, found: object) -> None:
        if isinstance(found, StoreError):
            asked.reply.refuse(found)
        else:
            asked.reply.answer(found)

    async def _answer(self, asked: Asked) -> None:
        try:
            found = await self._database.query(asked.question)
        except StoreLost:
            raise  # the question stays owed: the next incarnation answers it
        except StoreError as error:
            asked.reply.refuse(error)
        else:
            asked.reply.answer(found)

    # -- write

    async def commit(self, *, rows_max: int, wait_s_max: float) -> None:
        """Never returns: group after group."""
        while True:
            await self._more.wait()
            if wait_s_max > 0 and self._rows_waiting < rows_max:
                await trio.sleep(wait_s_max)
            group = self._next_group(rows_max)
            if not self._waiting:
                self._more = trio.Event()
            verdicts = await self._durable([asked.question.rows for asked in group])
            for asked, verdict in zip(group, verdicts, strict=True):
                self._settle(asked, verdict)
            self._inbox.finish()
            answered, self._fewer = self._fewer, trio.Event()
            answered.set()

    def _next_group(self, rows_max: int) -> list[Asked]:
        """The oldest writes, at least one, together at most rows_max rows."""
        group = [self._waiting.popleft()]
        rows = len(group[0].question.rows)
        while self._waiting and rows + len(self._waiting[0].question.rows) <= rows_max:
            group.append(self._waiting.popleft())
            rows += len(group[-1].question.rows)
        self._group_rows_max = max(self._group_rows_max, rows)
        return group

    async def _durable(self, groups: list[tuple[Row, ...]]) -> tuple[StoreRefused | None, ...]:
        """Commits, however long that takes. Raises: StoreLost, IntegrityError and what nobody foresaw."""
        attempt = 0
        while True:
            started_s = trio.current_time()
            self._committing(started_s)
            try:
                verdicts = await self._database.commit(groups)
            except (StoreLost, IntegrityError):
                raise
            except StoreError as error:
                self._committing(None)
                self._note_trouble(error, attempt)
                await trio.sleep(min(RETRY_S_MAX, RETRY_S_MIN * 2 ** min(attempt, 10)))
                attempt += 1
            else:
                self._committing(None)
                self._latencies_s.append(trio.current_time() - started_s)
                self.tally.commit_s.observe(self._latencies_s[-1])
                self._groups += 1
                self._note_recovery()
                return verdicts

    def _settle(self, asked: Asked, verdict: StoreRefused | None) -> None:
        rows = len(asked.question.rows)
        self._rows_waiting -= rows
        self._settled += 1
        if verdict is None:
            self._rows += rows
            if self._unpublished is None:
                self._unpublished = (trio.current_time(), self._wall.now_ms())
            asked.reply.answer(None)
        else:
            self._refused += 1
            self._log.error("rows_refused", rows=rows, why=str(verdict))
            asked.reply.refuse(verdict)

    def _note_trouble(self, error: StoreError, attempt: int) -> None:
        self._inbox.beat()  # retrying is progress: the watchdog is for those that do nothing
        self._log.error("commit_failed", attempt=attempt + 1, rows=self._rows_waiting, why=str(error))
        if self._unavailable_since_ms is None:
            self._unavailable_since_ms = self._wall.now_ms()
            self._events.emit("system", "store_unavailable", why=str(error))
            self._show()

    def _note_recovery(self) -> None:
        if self._unavailable_since_ms is not None:
            outage_ms = self._wall.now_ms() - self._unavailable_since_ms
            self._unavailable_since_ms = None
            self._log.info("store_recovered", outage_ms=outage_ms)
            self._events.emit("system", "store_recovered", outage_ms=outage_ms)
            self._show()

    # -- keep

    async def keep(self, publish_s: float, *, checkpoint_rows: int, checkpoint_s: float) -> None:
        """Never returns: publication and checkpoint, one after the other, begun every publish_s if they can."""
        checked_rows, checked_s = 0, trio.current_time()
        share = Share(PUBLISH_SHARE_MAX, PUBLISH_SAVED_S_MAX * self._rate, checked_s)
        while True:
            begun_s, before_s = trio.current_time(), self._database.publish_cpu_s
            await self._publish()
            wait_s = share.wait_s((self._database.publish_cpu_s - before_s) * self._rate, trio.current_time())
            long_ago = trio.current_time() - checked_s >= checkpoint_s and self._rows > checked_rows
            if (self._rows - checked_rows >= checkpoint_rows or long_ago) and await self._checkpoint():
                checked_rows, checked_s = self._rows, trio.current_time()
            self._show()
            # Not publish_s after the end: rows would wait for two publications and the pause between them.
            left_s = max(publish_s - (trio.current_time() - begun_s), publish_s * PUBLISH_PAUSE_MIN)
            await trio.sleep(max(left_s, wait_s))

    async def _publish(self) -> None:
        """A publication that fails is told and tried again next time; it never stops a commit."""
        started_s = trio.current_time()
        since, self._unpublished = self._unpublished, None  # rows that come meanwhile are for the next one
        try:
            changed = await self._database.publish()
        except StoreLost:
            raise
        except StoreError as error:
            self._unpublished = since or self._unpublished
            self._publish_failures += 1
            self._log.error("publish_failed", why=str(error))
            self._events.emit("system", "publish_failed", why=str(error))
        else:
            if changed:
                self._published_ms = self._wall.now_ms()
                self._publish_s = trio.current_time() - started_s
            if since is not None:
                self._note_behind((trio.current_time() - since[0]) / self._rate)

    def _note_behind(self, behind_s: float) -> None:
        """Said when it begins, and when it is over."""
        self._behind_s = behind_s
        late = behind_s > BEHIND_S_MAX
        if late != self._late:
            self._late = late
            kind = "publications_late" if late else "publications_in_time"
            (self._log.warning if late else self._log.info)(kind, behind_s=round(behind_s, 1))
            self._events.emit("system", kind, behind_s=round(behind_s, 1))

    async def _checkpoint(self) -> bool:
        try:
            await self._database.checkpoint()
        except StoreLost:
            raise
        except StoreError as error:
            self._log.error("checkpoint_failed", why=str(error))
            return False
        self._checkpoints += 1
        return True

    async def close(self) -> None:
        """The last publication, an empty log, a free lock; whatever fails here is told, and is made up at the start."""
        try:
            await self._database.publish()
        except StoreError as error:
            self._log.error("publish_failed", why=str(error))
        try:
            await self._database.close()
        except StoreError as error:
            self._log.error("close_failed", why=str(error))

    def _show(self) -> None:
        if self._shown is not None:
            self._shown.publish(self.statistics())

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            rows=self._rows,
            groups=self._groups,
            group_rows_max=self._group_rows_max,
            refused=self._refused,
            waiting=self._rows_waiting,
            commit_p50_ms=_percentile_ms(self._latencies_s, 0.5),
            commit_p99_ms=_percentile_ms(self._latencies_s, 0.99),
            unavailable_since_ms=self._unavailable_since_ms,
            published_ms=self._published_ms,
            publish_s=self._publish_s,
            publish_failures=self._publish_failures,
            behind_s=self._behind_s,
            unpublished_since_ms=None if self._unpublished is None else self._unpublished[1],
            checkpoints=self._checkpoints,
        )


def _percentile_ms(latencies_s: Sequence[float], share: float) -> float | None:
    """The nearest-rank percentile of the newest commits."""
    if not latencies_s:
        return None
    ordered = sorted(latencies_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000
