"""The notifier: within ten seconds, once, bounded, whatever services, store and process do."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from actors import notifier
from actors.adapters.sim_store import Disk, answer
from actors.calendar import LOOK_S
from actors.domain.day import DAY_MS
from actors.domain.trading import PAUSE_REASONS
from actors.errors import NotTold, StoreRefused
from actors.messages import TellTest, Told
from actors.notices import Target
from actors.ports import Asked, Stop
from actors.rows import ConfigRow, CredentialRow, FillRow, NoticeRow, PairRow, PauseRow, UserRow
from actors.targets import QUEUE_MAX
from supervisor.mailbox import Cell
from tests.adapters import duck_rows
from tests.control.daemon import QuietLog

NOON = 1_795_176_000_000  # 2026-11-20T12:00:00Z
OPS, ALICE = Target("ops"), Target("alice's", frozenset({"alice"}))
SC_009_S = 10.0


class Clock:
    def __init__(self, epoch_ms: int = NOON) -> None:
        self.epoch_ms = epoch_ms

    def now_ms(self) -> int:
        return self.epoch_ms + round(trio.current_time() * 1000)


class Shelf:
    """Address and rows of a store over a disk in memory; open: can it write now?"""

    def __init__(self, disk: Disk, wall: Clock) -> None:
        self.disk, self.wall = disk, wall
        self.open = trio.Event()
        self.open.set()
        self.refuses = False

    def post(self, message: Any) -> None:
        raise AssertionError(message)

    async def ask(self, question: Any, *, within_s: float | None = None) -> Any:
        await trio.lowlevel.checkpoint()
        return answer(self.disk, question, self.wall.now_ms())

    async def write(self, rows: Any) -> None:
        await self.open.wait()
        if self.refuses:
            raise StoreRefused("no")
        self.disk.write([rows])

    def notice(self, notice_id: str) -> NoticeRow:
        return next(row for row in self.disk.all(NoticeRow) if row.notice_id == notice_id)


class Phones:
    """ports.Notices: who was told what, when; down: targets that cannot be reached; hung: that never answer."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str, str]] = []
        self.attempts: list[tuple[float, str]] = []
        self.down: set[str] = set()
        self.hung: set[str] = set()

    async def send(self, target: str, title: str, text: str) -> None:
        self.attempts.append((trio.current_time(), target))
        if target in self.hung:
            await trio.sleep_forever()
        await trio.sleep(0.5)
        if target in self.down:
            raise NotTold("error 503", where=target)
        self.calls.append((trio.current_time(), target, text))

    def told(self, target: str = "ops") -> list[str]:
        return [text for _, name, text in self.calls if name == target]


class Question:
    """A question in a mailbox, its answer."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.value: Any = None

    def answer(self, value: Any) -> None:
        self.value = value
        self.answered.set()


class Scene:
    """A notifier and its world; life after life on one disk."""

    def __init__(self, nursery: trio.Nursery, *targets: Target, epoch_ms: int = NOON, **settings: Any) -> None:
        self.nursery = nursery
        self.settings = notifier.Settings(targets=targets or (OPS,), instance="here", **settings)
        self.wall = Clock(epoch_ms)
        self.shelf = Shelf(Disk(), self.wall)
        self.phones = Phones()
        self.log = QuietLog()
        self.shown: Cell[Any] = Cell()
        self.ended = trio.Event()

    async def start(self) -> None:
        self._events, events = trio.open_memory_channel[Any](100_000)
        self._mail, mail = trio.open_memory_channel[Any](100)
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        body = partial(
            notifier.run, SimpleNamespace(take=mail.receive, finish=lambda: None), settings=self.settings,
            hearing=SimpleNamespace(take=events.receive), notices=self.phones, store=self.shelf, rows=self.shelf,
            wall=self.wall, rng=Random(1), log=self.log, shown=self.shown, moment=str,
        )  # fmt: skip

        async def live(task_status: Any) -> None:
            with self.scope:
                await body(task_status=task_status)
            self.ended.set()

        await self.nursery.start(live)

    async def kill(self) -> None:
        self.scope.cancel()
        await self.ended.wait()

    def emit(self, topic: str, kind: str, **payload: Any) -> None:
        event = SimpleNamespace(topic=topic, kind=kind, at_ms=self.wall.now_ms(), payload=payload)
        self._events.send_nowait(event)

    def pause(self, user: str = "alice", reason: str = "RATE_LIMITED", detail: str = "429") -> str:
        now_ms = self.wall.now_ms()
        self.emit(f"pause.{user}", "paused", reason=reason, detail=detail, since_ms=now_ms)
        return f"paused/{user}/{reason}/{now_ms}"

    def post(self, message: Any) -> None:
        self._mail.send_nowait(message)

    def of(self, target: str = "ops") -> Any:
        return next(each for each in self.shown.value.targets if each.target == target)


@pytest.fixture
async def scene(nursery, autojump_clock):
    made = Scene(nursery)
    await made.start()
    return made


@pytest.mark.parametrize("reason", PAUSE_REASONS)
async def test_every_pause_is_told_within_ten_seconds(scene, reason, autojump_clock):
    await trio.sleep(100)
    notice_id = scene.pause(reason=reason)
    await trio.sleep(SC_009_S)
    assert [f"PAUSED alice: {reason}: 429" in text for text in scene.phones.told()] == [True]
    assert scene.shelf.notice(notice_id).ended_at is not None
    assert (scene.of().told, scene.of().waiting) == (1, 0)


async def test_also_the_one_that_comes_just_after_a_message(scene, autojump_clock):
    scene.pause()
    await trio.sleep(1.2)  # the first message is on its way
    at_s = trio.current_time()
    scene.pause("bob")
    await trio.sleep(30)
    assert len(scene.phones.told()) == 2
    assert scene.phones.calls[1][0] - at_s < SC_009_S


async def test_a_thousand_users_paused_at_once_are_one_message(scene, autojump_clock):
    for number in range(1000):
        scene.pause(f"user{number}", "FEED_DISCONNECTED", "the stream ended")
    await trio.sleep(SC_009_S)
    (text,) = scene.phones.told()
    assert "and 960 more: FEED_DISCONNECTED" in text
    assert scene.of().told == 1000


async def test_what_is_told_twice_on_the_bus_is_told_once(scene, autojump_clock):
    for _ in range(3):
        scene.emit("pause.alice", "paused", reason="OPERATOR", detail="", since_ms=7)
    await trio.sleep(60)
    scene.emit("pause.alice", "paused", reason="OPERATOR", detail="", since_ms=7)
    await trio.sleep(60)
    assert len(scene.phones.told()) == 1
    assert "times" not in scene.phones.told()[0]


async def test_an_actor_that_keeps_crashing_is_told_now_and_then(scene, autojump_clock):
    for _ in range(120):
        scene.emit("actor", "crashed", path="feeds/KOGE", incarnation=1, errors=["ValueError: x"], why="")
        await trio.sleep(60)
    assert len(scene.phones.told()) == 2
    assert "(59 more since it was told last)" in scene.phones.told()[1]
    assert scene.shelf.disk.all(NoticeRow) == []
    assert scene.shown.value.left_out == 118


# -- targets


async def test_users_hear_what_is_about_them_and_one_service_that_is_down_holds_up_no_other(nursery, autojump_clock):
    scene = Scene(nursery, OPS, ALICE)
    await scene.start()
    scene.phones.down = {"ops"}
    notice_id = scene.pause()
    scene.pause("bob")
    await trio.sleep(SC_009_S)
    assert [text.count("\n") for text in scene.phones.told("alice's")] == [0]
    assert scene.shelf.notice(notice_id).owed == "ops"
    await trio.sleep(3600)
    assert scene.of().failing_since_ms is not None
    assert scene.of().error == "error 503"
    assert scene.of("alice's").failing_since_ms is None
    times = [at_s for at_s, name in scene.phones.attempts if name == "ops"]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < 1.2 * notifier.RETRY_S_MAX + 5
    assert gaps[0] < 5 < gaps[4]
    scene.phones.down.clear()
    await trio.sleep(400)
    assert len(scene.phones.told()) == 1
    assert scene.of().failing_since_ms is None
    assert ("info", "target_told_again", {"target": "ops"}) in scene.log.lines


async def test_a_service_that_hangs_is_given_up_and_asked_again(scene, autojump_clock):
    scene.phones.hung = {"ops"}
    scene.pause()
    await trio.sleep(22)
    assert "no answer within 20 s" in scene.of().error
    scene.phones.hung.clear()
    await trio.sleep(20)
    assert len(scene.phones.told()) == 1


async def test_queues_are_bounded_and_what_is_important_is_told_in_the_end(scene, autojump_clock):
    scene.phones.down = {"ops"}
    for number in range(3 * QUEUE_MAX):
        scene.pause(f"user{number}", detail=f"{number}")
    scene.emit("actor", "crashed", path="x", incarnation=1, errors=[], why="")
    await trio.sleep(60)
    assert scene.of().waiting == QUEUE_MAX
    assert scene.of().dropped == 2 * QUEUE_MAX + 1
    scene.phones.down.clear()
    await trio.sleep(1000)
    assert all(row.ended_at is not None for row in scene.shelf.disk.all(NoticeRow))
    assert len(scene.shelf.disk.all(NoticeRow)) == 3 * QUEUE_MAX


async def test_what_could_not_be_told_for_two_days_is_history(scene, autojump_clock):
    scene.phones.down = {"ops"}
    notice_id = scene.pause()
    await trio.sleep(2 * 86_400 + 1000)
    assert scene.of().waiting == 0
    assert scene.shelf.notice(notice_id).ended_at is not None
    assert scene.phones.told() == []


# -- the store


async def test_a_store_that_cannot_write_holds_up_no_message(scene, autojump_clock):
    scene.shelf.open = trio.Event()
    scene.emit("system", "store_unavailable", why="disk full")
    notice_id = scene.pause(reason="STORE_UNAVAILABLE")
    await trio.sleep(SC_009_S)
    (text,) = scene.phones.told()
    assert "STORE records cannot be made durable" in text
    assert "PAUSED alice" in text
    assert scene.shelf.disk.all(NoticeRow) == []
    scene.shelf.open.set()
    await trio.sleep(1)
    assert scene.shelf.notice(notice_id).ended_at is not None


async def test_rows_that_are_refused_are_logged(scene, autojump_clock):
    scene.shelf.refuses = True
    scene.pause()
    await trio.sleep(SC_009_S)
    assert len(scene.phones.told()) == 1
    assert "notices_refused" in [event for _, event, _ in scene.log.lines]


# -- lives


async def test_a_restart_tells_what_is_owed_and_nothing_else(scene, autojump_clock):
    told = scene.pause("alice")
    await trio.sleep(SC_009_S)
    scene.phones.down = {"ops"}
    owed = scene.pause("bob")
    await trio.sleep(SC_009_S)
    await scene.kill()
    scene.phones.down.clear()
    await scene.start()
    await trio.sleep(SC_009_S)
    assert ["bob" in text for text in scene.phones.told()] == [False, True]
    assert all(scene.shelf.notice(each).ended_at is not None for each in (told, owed))


async def test_a_pause_that_nobody_was_told_of_before_the_kill_is_told_at_the_start(nursery, autojump_clock):
    scene = Scene(nursery)
    pause = PauseRow(user="alice", reason="AUTH_FAILED", since_at=NOON - 5, detail="log in")
    over = replace(pause, reason="CRASHED", ended_at=NOON - 4)
    scene.shelf.disk.write([[user_row(), pause, over]])
    for _ in range(2):
        await scene.start()
        await trio.sleep(SC_009_S)
        await scene.kill()
    assert [text.partition(" ")[2] for text in scene.phones.told()] == ["PAUSED alice: AUTH_FAILED: log in"]


async def test_a_target_that_is_gone_is_owed_nothing(nursery, autojump_clock):
    scene = Scene(nursery)
    row = NoticeRow(notice_id="a", kind="paused", user=None, what="x", happened_at=NOON, owed="json-gone")
    old = replace(row, notice_id="b", owed="ops", happened_at=NOON - 3 * DAY_MS)
    scene.shelf.disk.write([[row, old]])
    await scene.start()
    await trio.sleep(SC_009_S)
    assert scene.phones.told() == []
    assert all(each.ended_at is not None for each in scene.shelf.disk.all(NoticeRow))


async def test_what_waits_is_told_before_the_end(scene, autojump_clock):
    notice_id = scene.pause()
    await trio.sleep(0.01)
    scene.post(Stop())
    with trio.fail_after(3):
        await scene.ended.wait()
    assert len(scene.phones.told()) == 1
    assert scene.shelf.notice(notice_id).ended_at is not None


async def test_a_service_that_is_down_does_not_hold_up_the_end(scene, autojump_clock):
    scene.phones.down = {"ops"}
    scene.pause()
    await trio.sleep(30)
    began_s = trio.current_time()
    scene.post(Stop())
    await scene.ended.wait()
    assert trio.current_time() - began_s < 1


async def test_without_targets_it_only_waits(nursery, autojump_clock):
    scene = Scene(nursery)
    scene.settings = notifier.Settings()
    await scene.start()
    scene.pause()
    await trio.sleep(SC_009_S)
    assert scene.shown.value.targets == ()
    scene.post(Stop())
    await scene.ended.wait()
    assert scene.phones.attempts == []


# -- tests, days, credentials


async def test_a_test_says_what_came_of_each_way(nursery, autojump_clock):
    scene = Scene(nursery, OPS, ALICE, Target("slow"))
    await scene.start()
    scene.phones.down, scene.phones.hung = {"alice's"}, {"slow"}
    question = Question()
    scene.post(Asked(TellTest("1000:7"), question))
    with trio.fail_after(9):
        await question.answered.wait()
    told = (Told("ops", None), Told("alice's", "error 503"), Told("slow", "no answer within 8 s"))
    assert question.value == told
    assert "asked for by 1000:7" in scene.phones.told()[0]


def user_row(name: str = "alice") -> UserRow:
    return UserRow(user=name, created_at=NOON, updated_at=NOON)


def traded(user: str, day_ms: int) -> list[Any]:
    fill: FillRow = duck_rows.fill(user=user, exchange_time=day_ms, pair_id=f"{user}-1")
    pair: PairRow = duck_rows.pair(
        user=user, pair_id=f"{user}-1", status="closed", outcome="completed", intent_at=day_ms, closed_at=day_ms,
        buy_quote=fill.quote_quantity, wear=duck_rows.D("0.02"),
    )  # fmt: skip
    document: ConfigRow = duck_rows.config(user=user)
    return [user_row(user), document, fill, pair]


async def test_a_day_is_summed_up_once_whatever_is_restarted(nursery, autojump_clock):
    scene = Scene(nursery, OPS, ALICE, epoch_ms=NOON + DAY_MS // 2 - 30_000)  # half a minute before midnight
    scene.shelf.disk.write([traded("alice", NOON), traded("bob", NOON)])
    await scene.start()
    await trio.sleep(60)
    assert scene.phones.calls == []
    await trio.sleep(2 * LOOK_S)
    (whole,), (own,) = scene.phones.told("ops"), scene.phones.told("alice's")
    assert "2026-11-20: 2 users, 96.04 USDT bought, 2 pairs, wear 0.04 USDT, 0 at target" in whole
    assert "summary alice: 2026-11-20: 48.02 of 500.00 USDT, 1 pairs, wear 0.02 (4.2 bps)" in own
    for _ in range(2):
        await scene.kill()
        await scene.start()
        await trio.sleep(10 * LOOK_S)
    assert len(scene.phones.calls) == 2


async def test_the_day_before_is_summed_up_if_nothing_ran_at_midnight(nursery, autojump_clock):
    scene = Scene(nursery)
    scene.shelf.disk.write([traded("alice", NOON - DAY_MS)])
    await scene.start()
    await trio.sleep(SC_009_S)
    assert ["2026-11-19: 1 users" in text for text in scene.phones.told()] == [True]


async def test_a_day_without_trading_calls_nobody(nursery, autojump_clock):
    scene = Scene(nursery)
    scene.shelf.disk.write([[user_row()]])
    await scene.start()
    await trio.sleep(3 * 86_400)
    assert scene.phones.calls == []


@pytest.mark.parametrize(("days", "told"), [(7, 1), (0, 0)])
async def test_credentials_that_get_old_are_told_once(nursery, autojump_clock, days, told):
    scene = Scene(nursery, credential_days=days)
    row = CredentialRow(user="alice", ciphertext=b"x", key_id="k", stored_at=NOON - 6 * DAY_MS)
    scene.shelf.disk.write([[user_row(), row]])
    await scene.start()
    await trio.sleep(86_000)
    assert scene.phones.calls == []
    await trio.sleep(7200)
    await scene.kill()
    await scene.start()
    await trio.sleep(7200)
    assert ["CREDENTIALS alice: handed over 7 days ago" in text for text in scene.phones.told()] == [True] * told


async def test_new_credentials_are_told_about_anew(nursery, autojump_clock):
    scene = Scene(nursery, credential_days=1)
    row = CredentialRow(user="alice", ciphertext=b"x", key_id="k", stored_at=NOON - 2 * DAY_MS)
    scene.shelf.disk.write([[user_row(), row]])
    await scene.start()
    await trio.sleep(3600)
    scene.shelf.disk.write([[replace(row, stored_at=NOON + 3_600_000)]])
    await trio.sleep(86_400 + 2 * 3600)
    assert len(scene.phones.calls) == 2
