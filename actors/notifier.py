"""The notifier: tells people, within seconds, what they must know (SC-009), and holds up nobody.

    hear     events of the bus → notices (notices.py), each lined up for every target that it concerns
    serve    one task per target: waits a moment for company, sends all that waits as one message, rests; what fails is
             kept and tried again with growing pauses, and shown (system.health, otoctl doctor)
    outbox   important notices are rows: written when they come up, and again when everybody has heard them. Sending
             does not wait for that, because a store that cannot write is one of the things to be told
    recall   at the start: what an earlier life still owed, and pauses in force that nobody was told of, because the
             process died in between
    calendar the sum of each day, old credentials (calendar.py)

An important notice is told at least once: a message that went out just before a kill goes out again. Queues are
bounded; what does not fit stays owed in its row and is lined up again when there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Final

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.calendar import Calendar
from actors.domain.day import DAY_MS
from actors.errors import AskFailed, IllegalEvent, NotTold, StoreError, StoreRefused
from actors.messages import LoadNotices, LoadUsers, TellTest, Told, UserRecord
from actors.notices import Message, Notice, Repeats, Target, Watch, message, of_row, pause_id, paused_by, row_of
from actors.ports import Address, Asked, Hearing, Inbox, Latest, Log, Notices, Rows, Started, Stop, Wall
from actors.rows import NoticeRow
from actors.targets import Line, NotifierStatistics

GATHER_S: Final = 1.0
"""A notice waits so long for company: what pauses one user often pauses others in the same second."""

PACE_S: Final = 3.0
"""Between two messages to a target: with GATHER_S and a message of some seconds, 10 s (SC-009) are kept."""

SEND_S_MAX: Final = 20.0
TEST_S_MAX: Final = 8.0  # a command is answered within 10 s
RETRY_S_MIN: Final = 2.0
RETRY_S_MAX: Final = 300.0
FAILING: Final = 3  # messages in a row that did not get through; then it is shown as a problem
BATCH_MAX: Final = 1_000  # notices of one message
KNOWN_MAX: Final = 10_000  # important notices that are remembered, so that what is told twice on the bus is one notice
STALE_MS: Final = 2 * DAY_MS  # what could not be told for so long is history: the records have it
ASK_S_MAX: Final = 10.0
CLOSE_S_MAX: Final = 1.5  # for what waits when the daemon stops


class Settings(Struct, frozen=True, kw_only=True):
    """repeat_s: of what is not important. credential_days: 0 for never. instance: named in every message."""

    targets: tuple[Target, ...] = ()
    repeat_s: float = 3600.0
    credential_days: int = 0
    summaries: bool = True
    instance: str = ""


async def run(
    inbox: Inbox,
    *,
    settings: Settings,
    hearing: Hearing,
    notices: Notices,
    store: Address,
    rows: Rows,
    wall: Wall,
    rng: Random,
    log: Log,
    shown: Latest[NotifierStatistics],
    moment: Callable[[int], str],
    task_status: Started,
) -> None:
    """One incarnation. Ready at once. Without targets it only waits. Returns after Stop.

    hearing: outlives incarnations, so that what happens between two of them is heard. moment: ms since 1970 as a time.
    """
    notifier = Notifier(settings, notices, store, rows, wall, rng, log, shown, moment)
    async with trio.open_nursery() as nursery:
        if settings.targets:
            for task in (notifier.recall, notifier.outbox, notifier.calendar.run):
                nursery.start_soon(task)
            nursery.start_soon(notifier.hear, hearing)
            for line in notifier.lines.values():
                nursery.start_soon(notifier.serve, line, name=f"target {line.name}")
        task_status.started()
        await notifier.take(inbox, nursery)
        with trio.move_on_after(CLOSE_S_MAX):
            await notifier.quiet()
        nursery.cancel_scope.cancel()


class Notifier:
    """State of one incarnation."""

    def __init__(
        self,
        settings: Settings,
        notices: Notices,
        store: Address,
        rows: Rows,
        wall: Wall,
        rng: Random,
        log: Log,
        shown: Latest[NotifierStatistics],
        moment: Callable[[int], str],
    ) -> None:
        self.lines = {target.name: Line(target) for target in settings.targets}
        self.calendar = Calendar(
            store=store,
            wall=wall,
            log=log,
            users=self._users,
            noted=self._noted,
            tell=self.tell,
            own={user for target in settings.targets for user in target.users or ()},
            credential_days=settings.credential_days,
            summaries=settings.summaries,
        )
        self._instance, self._notices = settings.instance, notices
        self._store, self._rows, self._wall, self._rng, self._log = store, rows, wall, rng, log
        self._shown, self._moment = shown, moment
        self._watch = Watch()
        self._repeats = Repeats(int(settings.repeat_s * 1000))
        self._left_out = 0
        self._known: dict[str, set[str]] = {}  # id of an important notice → targets that have not heard it
        self._unwritten: dict[str, NoticeRow] = {}
        self._to_write = trio.Event()
        self._writing = False
        self._show()

    # -- the mailbox

    async def take(self, inbox: Inbox, nursery: trio.Nursery) -> None:
        """Returns on Stop."""
        while True:
            found = await inbox.take()
            match found:
                case Asked(question=TellTest(who=who)):
                    nursery.start_soon(self._test, found, who)
                case Stop():
                    return
                case _:
                    raise IllegalEvent(f"the notifier takes no {type(found).__name__}", do="ask TellTest")
            inbox.finish()

    async def _test(self, asked: Asked, who: str) -> None:
        now_ms = self._wall.now_ms()
        what = f"this is a test, asked for by {who}" if who else "this is a test"
        notice = Notice(notice_id=f"test/{now_ms}", kind="test", what=what, at_ms=now_ms)
        told: dict[str, Told] = {}

        async def one(line: Line) -> None:
            told[line.name] = Told(line.name, await self._send(line, self._message([notice], 0), TEST_S_MAX))

        async with trio.open_nursery() as nursery:
            for line in self.lines.values():
                nursery.start_soon(one, line)
        asked.reply.answer(tuple(told[name] for name in self.lines))

    # -- what happens

    async def hear(self, hearing: Hearing) -> None:
        """Never returns."""
        while True:
            event = await hearing.take()
            notice = self._watch.hear(event.topic, event.kind, event.at_ms, event.payload)
            if notice is not None:
                self.tell(notice)

    def tell(self, notice: Notice) -> None:
        """Lines a notice up for everybody it concerns; one that was told already is nothing."""
        if notice.repeats is not None:
            passed = self._repeats.pass_on(notice)
            if passed is None:
                self._left_out += 1
            else:
                self._line_up(passed)
        elif notice.notice_id not in self._known:
            names = self._line_up(notice)
            self._remember(notice.notice_id, names)
            self._write(row_of(notice, names, None if names else self._wall.now_ms()))
        self._show()

    def _line_up(self, notice: Notice) -> list[str]:
        names = [name for name, line in self.lines.items() if line.target.wants(notice)]
        for name in names:
            self.lines[name].put(notice)
        return names

    def _remember(self, notice_id: str, owed: Sequence[str]) -> None:
        self._known[notice_id] = set(owed)
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    # -- sending

    async def serve(self, line: Line) -> None:
        """Never returns: one message after the other."""
        while True:
            await line.more.wait()
            await trio.sleep(GATHER_S)
            lost, line.lost = line.lost, 0
            batch = line.take(BATCH_MAX)
            error = await self._send(line, self._message(batch, lost)) if batch or lost else None
            if error is None:
                line.told += len(batch)
                self._settle(line, batch)
                await self._refill(line)
                pause_s = PACE_S
            else:
                line.put_back(batch, lost)
                self._forget_stale(line)
                pause_s = min(RETRY_S_MAX, RETRY_S_MIN * 2.0 ** min(line.in_a_row - 1, 10))
                pause_s *= self._rng.uniform(0.8, 1.2)  # several targets of one service need not come together
            if not line.waiting:
                line.more = trio.Event()
            self._show()
            await trio.sleep(pause_s)

    def _message(self, batch: Sequence[Notice], lost: int) -> Message:
        return message(batch, instance=self._instance, dropped=lost, moment=self._moment)

    async def _send(self, line: Line, what: Message, s_max: float = SEND_S_MAX) -> str | None:
        """Why it did not get through; None: it did."""
        error: str | None = f"no answer within {s_max:g} s"
        line.sending = True
        with trio.move_on_after(s_max):
            try:
                await self._notices.send(line.name, what.title, what.text)
                error = None
            except NotTold as trouble:
                error = trouble.what
        line.sending = False
        if error is None:
            if line.failing_since_ms is not None:
                self._log.info("target_told_again", target=line.name)
            line.messages, line.in_a_row, line.failing_since_ms, line.error = line.messages + 1, 0, None, ""
        else:
            line.failures, line.in_a_row, line.error = line.failures + 1, line.in_a_row + 1, error
            if line.in_a_row == FAILING:
                line.failing_since_ms = self._wall.now_ms()
            self._log.warning("target_not_told", target=line.name, why=error)
        self._show()
        return error

    def _settle(self, line: Line, batch: Sequence[Notice]) -> None:
        """This target is owed these no longer."""
        for notice in batch:
            owed = self._known.get(notice.notice_id)
            if owed is not None and line.name in owed:
                owed.discard(line.name)
                self._write(row_of(notice, owed, None if owed else self._wall.now_ms()))

    def _forget_stale(self, line: Line) -> None:
        before_ms = self._wall.now_ms() - STALE_MS
        while line.waiting and line.waiting[0].at_ms < before_ms:
            line.dropped += 1
            self._settle(line, line.take(1))

    async def _refill(self, line: Line) -> None:
        """What did not fit is owed in its row: it is lined up again as soon as there is room."""
        if not line.spilled or line.waiting:
            return
        line.spilled = False
        rows = await self._load(())
        here = {notice.notice_id for notice in line.waiting}
        for row in rows:
            owed = self._known.get(row.notice_id)
            still = line.name in (row.owed.split() if owed is None else owed)
            if still and row.notice_id not in here:
                if owed is None:
                    self._remember(row.notice_id, row.owed.split())
                line.put(of_row(row))

    # -- rows

    def _write(self, row: NoticeRow) -> None:
        """The newest state of a notice; one that has changed again before it was written is written once."""
        self._unwritten[row.notice_id] = row
        self._to_write.set()

    async def outbox(self) -> None:
        """Never returns. A store that cannot write makes this wait, nothing else."""
        while True:
            await self._to_write.wait()
            self._to_write = trio.Event()
            rows, self._unwritten = list(self._unwritten.values()), {}
            self._writing = True
            try:
                await self._rows.write(rows)
            except StoreRefused as error:
                self._log.error("notices_refused", rows=len(rows), why=str(error))
            self._writing = False

    async def quiet(self) -> None:
        """Until nothing waits to be sent or written; not for those who cannot be reached."""
        while self._unwritten or self._writing or any(not line.idle for line in self.lines.values()):  # noqa: ASYNC110
            await trio.sleep(0.05)

    # -- what the store knows

    async def recall(self) -> None:
        """What an earlier life owed, and pauses in force that nobody was told of."""
        pauses = [row for record in await self._users() for row in record.pauses]
        found = await self._load([pause_id(row.user, row.reason, row.since_at) for row in pauses])
        now_ms = self._wall.now_ms()
        for row in found:
            if row.notice_id in self._known:
                continue  # it has happened meanwhile
            owed = [name for name in row.owed.split() if name in self.lines]
            if row.ended_at is None and (not owed or row.happened_at < now_ms - STALE_MS):
                owed = []
                self._write(replace(row, owed="", ended_at=now_ms))
            self._remember(row.notice_id, owed)
            for name in owed:
                self.lines[name].put(of_row(row))
        for pause in pauses:
            self.tell(paused_by(pause))

    async def _load(self, ids: Sequence[str]) -> tuple[NoticeRow, ...]:
        """() where the store cannot tell: then what it knows is told with the next start."""
        try:
            found: tuple[NoticeRow, ...] = await self._store.ask(LoadNotices(tuple(ids)), within_s=ASK_S_MAX)
        except (AskFailed, StoreError) as error:
            self._log.warning("notices_not_loaded", why=str(error))
            return ()
        return found

    async def _users(self) -> tuple[UserRecord, ...]:
        try:
            found: tuple[UserRecord, ...] = await self._store.ask(LoadUsers(), within_s=ASK_S_MAX)
        except (AskFailed, StoreError) as error:
            self._log.warning("users_not_loaded", why=str(error))
            return ()
        return found

    async def _noted(self, notice_id: str) -> bool:
        """Was it told, or is it owed, by this life or an earlier one?"""
        if notice_id in self._known:
            return True
        return any(row.notice_id == notice_id for row in await self._load((notice_id,)))

    # -- what is shown

    def _show(self) -> None:
        lines = tuple(line.statistics() for line in self.lines.values())
        self._shown.publish(NotifierStatistics(targets=lines, left_out=self._left_out))
