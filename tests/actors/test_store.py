"""The store actor before a stub database: grouping, failing disks, stopping, and what a crash leaves behind."""

from __future__ import annotations

import pytest
import trio

from actors import store
from actors.errors import ActorCrashed, IllegalEvent, IntegrityError, OtodError, StoreError, StoreLost, StoreRefused
from actors.messages import LoadUsers, Write
from actors.ports import Stop
from actors.store import StoreRows
from supervisor.mailbox import Cell, Mailbox
from tests.actors.fakes import ListEvents, ListLog, VirtualWall


class StubDatabase:
    """Notes what it is asked to do; `fail` and `refuse` say what goes wrong, `takes_s` how long a commit takes."""

    def __init__(self):
        self.calls = []
        self.commits = []  # (seconds since start, groups)
        self.fail = {}  # name of a call: list of errors, raised one after the other
        self.refuse = set()  # rows
        self.takes_s = 0.0
        self.publish_takes_s = self.publish_waits_s = 0.0  # of work, of waiting for a busy machine
        self.publish_cpu_s = 0.0
        self.busy = 0

    async def _call(self, name):
        await trio.lowlevel.checkpoint()
        self.calls.append(name)
        if self.fail.get(name):
            raise self.fail[name].pop(0)

    async def open(self):
        await self._call("open")
        self.start_s = trio.current_time()

    async def commit(self, groups):
        assert self.busy == 0, "one commit at a time"
        self.busy += 1
        try:
            await trio.sleep(self.takes_s)
            await self._call("commit")
        finally:
            self.busy -= 1
        self.commits.append((round(trio.current_time() - self.start_s, 6), [list(rows) for rows in groups]))
        return tuple(StoreRefused("bad") if self.refuse & set(rows) else None for rows in groups)

    async def query(self, question):
        await self._call("query")
        return f"answer to {type(question).__name__}"

    async def publish(self):
        await trio.sleep(self.publish_takes_s + self.publish_waits_s)
        self.publish_cpu_s += self.publish_takes_s
        await self._call("publish")
        return True

    async def checkpoint(self):
        await self._call("checkpoint")

    async def close(self):
        await self._call("close")

    def rows(self):
        return [row for _, groups in self.commits for rows in groups for row in rows]


class Life:
    """A store that runs, its mailbox, and what it said."""

    def __init__(self, **settings):
        self.inbox = Mailbox("store", capacity=4096)
        self.database = StubDatabase()
        self.log, self.events, self.shown = ListLog(), ListEvents(), Cell()
        self.settings = settings
        self.ended = None

    async def start(self, nursery):
        await nursery.start(self._live)

    async def _live(self, task_status):
        """One incarnation, as the supervisor runs it: its error is noted, what it had in hand is delivered again."""
        try:
            await store.run(
                self.inbox,
                self.database,
                wall=VirtualWall(),
                log=self.log,
                events=self.events,
                shown=self.shown,
                task_status=task_status,
                **self.settings,
            )
        except* (OtodError, RuntimeError) as group:
            (self.ended,) = group.exceptions
            self.inbox.release(again=True)

    async def write(self, *rows):
        await StoreRows(self.inbox).write(rows)


@pytest.fixture
async def life(nursery):
    made = Life()
    await made.start(nursery)
    return made


async def test_a_lone_write_is_committed_at_once(autojump_clock, life):
    await life.write("row")
    assert life.database.commits == [(0, [["row"]])]


async def test_writes_that_come_during_a_commit_are_the_next_group(autojump_clock, life):
    life.database.takes_s = 1.0
    async with trio.open_nursery() as senders:
        senders.start_soon(life.write, "a")
        await trio.sleep(0.5)
        for row in ("b", "c", "d"):
            senders.start_soon(life.write, row)
    (_, first), (_, second) = life.database.commits
    assert first == [["a"]]
    assert sorted(second) == [["b"], ["c"], ["d"]]


async def test_half_full_group_is_committed_after_wait_s_max(nursery, autojump_clock):
    life = Life(rows_max=500, wait_s_max=0.25)
    await life.start(nursery)
    async with trio.open_nursery() as senders:
        senders.start_soon(life.write, "fill-1")
        await trio.sleep(0.1)
        senders.start_soon(life.write, "fill-2")
    assert life.database.commits == [(pytest.approx(0.25), [["fill-1"], ["fill-2"]])]


async def test_a_group_holds_at_most_rows_max_rows_but_a_larger_write_is_not_torn(nursery, autojump_clock):
    life = Life(rows_max=3)
    await life.start(nursery)
    life.database.takes_s = 1.0
    async with trio.open_nursery() as senders:
        senders.start_soon(life.write, "first")
        await trio.sleep(0.5)
        for rows in (("a", "b"), ("c",), ("d", "e"), ("f", "g", "h", "i")):
            senders.start_soon(life.write, *rows)
            await trio.sleep(0.01)
    assert [groups for _, groups in life.database.commits] == [
        [["first"]],
        [["a", "b"], ["c"]],
        [["d", "e"]],
        [["f", "g", "h", "i"]],
    ]


async def test_rows_of_one_sender_keep_their_order(autojump_clock, life):
    for number in range(50):
        await life.write(number)
    assert life.database.rows() == list(range(50))


async def test_nothing_is_acknowledged_before_the_commit_ends(autojump_clock, life):
    life.database.takes_s = 5.0
    with trio.move_on_after(4.9) as scope:
        await life.write("row")
    assert scope.cancelled_caught
    assert life.database.commits == []


async def test_writing_nothing_asks_nobody(autojump_clock, life):
    await life.write()
    assert "commit" not in life.database.calls


async def test_a_refused_write_is_told_to_its_sender_alone(autojump_clock, life):
    life.database.refuse = {"bad"}
    life.database.takes_s = 1.0
    async with trio.open_nursery() as senders:
        senders.start_soon(life.write, "good")
        senders.start_soon(life.write, "also good")
        with pytest.raises(StoreRefused):
            await life.write("bad")
    assert life.shown.value is not None
    assert "rows_refused" in life.log.events()


# -- questions


async def test_a_question_is_answered(autojump_clock, life):
    assert await life.inbox.ask(LoadUsers()) == "answer to LoadUsers"


async def test_a_question_that_cannot_be_answered_is_refused_and_the_store_lives(autojump_clock, life):
    life.database.fail["query"] = [StoreError("no"), IntegrityError("unreadable")]
    for error in (StoreError, IntegrityError):
        with pytest.raises(error):
            await life.inbox.ask(LoadUsers())
    await life.write("row")


async def test_questions_do_not_wait_for_commits_nor_commits_for_questions(autojump_clock, life):
    life.database.takes_s = 100.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(life.write, "row")
        await trio.sleep(1)
        await life.inbox.ask(LoadUsers())
        assert (life.database.rows(), trio.current_time()) == ([], 1)
    assert (life.database.rows(), trio.current_time()) == (["row"], 100)


# -- failing disks


async def test_f60_a_full_disk_is_retried_with_growing_pauses_until_it_works(autojump_clock, life):
    life.database.fail["commit"] = [StoreError("No space left")] * 8
    start_s = trio.current_time()
    await life.write("row")
    assert life.database.rows() == ["row"]
    assert trio.current_time() - start_s == pytest.approx(0.1 + 0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 5 + 5)
    told = [(topic, kind) for topic, kind, _ in life.events.emitted]
    assert told == [("system", "store_unavailable"), ("system", "store_recovered")]
    assert life.events.emitted[1][2] == {"outage_ms": 16300}


async def test_f60_questions_are_answered_and_rows_gathered_while_the_disk_is_full(autojump_clock, life):
    life.database.fail["commit"] = [StoreError("No space left")] * 8
    async with trio.open_nursery() as senders:
        senders.start_soon(life.write, "a")
        await trio.sleep(3)
        senders.start_soon(life.write, "b")
        assert await life.inbox.ask(LoadUsers()) == "answer to LoadUsers"
        assert life.shown.value.unavailable_since_ms is not None
        assert life.shown.value.waiting == 1
    assert life.database.rows() == ["a", "b"]
    await trio.sleep(3)
    assert life.shown.value.unavailable_since_ms is None


async def test_a_store_that_retries_shows_signs_of_life(autojump_clock, life):
    life.database.fail["commit"] = [StoreError("No space left")] * 100
    with trio.move_on_after(60):
        await life.write("row")
    beats = life.inbox.beats
    await trio.sleep(60)
    assert life.inbox.beats >= beats + 10


async def test_senders_wait_when_too_many_rows_are_lined_up(nursery, autojump_clock, monkeypatch):
    monkeypatch.setattr(store, "ROWS_WAITING_MAX", 10)
    life = Life()
    await life.start(nursery)
    life.database.takes_s = 10.0
    async with trio.open_nursery() as senders:
        for number in range(40):
            senders.start_soon(life.write, number)
        await trio.sleep(5)
        assert life.inbox.statistics().depth == 40 - 11
    assert sorted(life.database.rows()) == list(range(40))


# -- ends and new lives


@pytest.mark.parametrize("error", [StoreLost("gave up"), RuntimeError("a bug")])
async def test_a_lost_database_ends_the_life_and_the_next_writes_what_was_in_hand(autojump_clock, life, nursery, error):
    life.database.takes_s = 1.0
    life.database.fail["commit"] = [error]
    async with trio.open_nursery() as senders:
        for row in ("a", "b", "c"):
            senders.start_soon(life.write, row)
        await trio.sleep(1.5)
        assert life.ended is error
        assert "close" not in life.database.calls
        await life.start(nursery)
    assert sorted(life.database.rows()) == ["a", "b", "c"]
    assert life.database.calls.count("open") == 2


async def test_a_question_in_hand_of_a_dying_store_is_answered_by_the_next(autojump_clock, life, nursery):
    life.database.fail["query"] = [StoreLost("gave up")]
    async with trio.open_nursery() as senders:
        answers = []

        async def ask():
            answers.append(await life.inbox.ask(LoadUsers()))

        senders.start_soon(ask)
        await trio.sleep(1)
        assert isinstance(life.ended, StoreLost)
        await life.start(nursery)
    assert answers == ["answer to LoadUsers"]


async def test_a_sender_asks_again_when_the_store_died_without_redelivery(autojump_clock):
    class Dying:
        def __init__(self):
            self.asked, self.got = 0, []

        async def ask(self, question, *, within_s=None):
            assert within_s is None
            self.asked += 1
            await trio.lowlevel.checkpoint()
            if self.asked < 3:
                raise ActorCrashed("it died")
            self.got.append(question)

    address = Dying()
    await StoreRows(address).write(["row"])
    assert address.got == [Write(("row",))]


@pytest.mark.parametrize("error", [IntegrityError("damaged"), StoreError("locked")])
async def test_f63_a_store_that_cannot_open_never_becomes_ready(autojump_clock, error):
    life = Life()
    life.database.fail["open"] = [error]
    common = {"wall": VirtualWall(), "log": life.log, "events": life.events}
    with pytest.raises(type(error)):
        await store.run(life.inbox, life.database, **common, task_status=trio.TASK_STATUS_IGNORED)


async def test_stop_commits_publishes_and_closes(autojump_clock, life):
    life.database.takes_s = 1.0
    async with trio.open_nursery() as senders:
        senders.start_soon(life.write, "a")
        await trio.sleep(0.5)
        senders.start_soon(life.write, "b")
        await trio.sleep(0.1)
        life.inbox.post(Stop())
    await trio.sleep(1)
    assert life.database.rows() == ["a", "b"]
    assert life.database.calls[-2:] == ["publish", "close"]
    assert life.ended is None


async def test_a_cancelled_store_publishes_and_closes_too(autojump_clock):
    life = Life()
    async with trio.open_nursery() as nursery:
        await life.start(nursery)
        await life.write("row")
        nursery.cancel_scope.cancel()
    assert life.database.calls[-2:] == ["publish", "close"]


async def test_what_fails_while_closing_is_told(autojump_clock, life):
    await trio.sleep(0.1)
    life.database.fail = {"publish": [StoreError("disk")], "close": [StoreError("disk")]}
    life.inbox.post(Stop())
    await trio.sleep(1)
    assert life.log.events()[-2:] == ["publish_failed", "close_failed"]
    assert life.ended is None


async def test_a_message_that_is_no_question_is_a_bug(autojump_clock, life):
    life.inbox.post("hello")
    await trio.sleep(1)
    assert isinstance(life.ended, IllegalEvent)


@pytest.mark.parametrize(("rate", "closed"), [(1.0, False), (20.0, True)])
async def test_at_speed_the_last_publication_has_its_real_seconds(autojump_clock, rate, closed):
    life = Life(rate=rate)
    async with trio.open_nursery() as nursery:
        await life.start(nursery)
        await trio.sleep(1)
        life.database.publish_takes_s = 100.0
        nursery.cancel_scope.cancel()
    assert (life.database.calls[-1] == "close") == closed


# -- publishing, checkpoints


async def test_it_publishes_every_publish_s(nursery, autojump_clock):
    life = Life(publish_s=2.0)
    await life.start(nursery)
    await trio.sleep(9)
    assert life.database.calls.count("publish") == 5


@pytest.mark.parametrize(("waits_s", "count"), [(1.5, 50), (10.0, 10)])
async def test_on_a_busy_machine_publications_begin_as_often_as_they_can(nursery, autojump_clock, waits_s, count):
    """Every 2 s; and with a quarter of that between them where each takes longer."""
    life = Life(publish_s=2.0)
    life.database.publish_waits_s = waits_s
    await life.start(nursery)
    await trio.sleep(100)
    assert life.database.calls.count("publish") in (count - 1, count)


async def test_a_slow_publication_takes_at_most_its_share_of_the_time(nursery, autojump_clock):
    life = Life(publish_s=2.0)
    await life.start(nursery)
    life.database.publish_takes_s = 1.0
    await trio.sleep(200)
    assert 22 <= life.database.calls.count("publish") <= 26  # 5 % of 200 s, and the 15 s that may be saved up


async def test_one_dear_publication_does_not_hold_up_the_cheap_ones_after_it(nursery, autojump_clock):
    life = Life(publish_s=2.0)
    life.database.publish_takes_s = 2.5
    await life.start(nursery)
    await trio.sleep(2.6)
    life.database.publish_takes_s = 0.1
    await trio.sleep(20)
    assert life.database.calls.count("publish") >= 10


async def test_it_says_by_how_much_published_files_are_behind(nursery, autojump_clock):
    life = Life(publish_s=2.0)
    await life.start(nursery)
    await trio.sleep(1)
    await life.write("row")
    assert life.shown.value.behind_s is None
    await trio.sleep(1.5)
    assert life.shown.value.behind_s == pytest.approx(1.0, abs=0.1)
    life.database.publish_takes_s = 8.0
    await life.write("row")
    await trio.sleep(12)
    assert life.shown.value.behind_s == pytest.approx(9.5, abs=0.2)
    life.database.publish_takes_s = 0.0
    for _ in range(3):
        await trio.sleep(100)
        await life.write("row")
    told = [kind for _, kind, _ in life.events.emitted if kind.startswith("publications")]
    assert told == ["publications_late", "publications_in_time"]
    await trio.sleep(10)
    assert life.shown.value.unpublished_since_ms is None


async def test_rows_of_a_publication_that_failed_are_behind_since_they_came(nursery, autojump_clock):
    life = Life(publish_s=2.0)
    await life.start(nursery)
    await trio.sleep(1)
    await life.write("row")
    life.database.fail["publish"] = [StoreError("disk"), StoreError("disk")]
    await trio.sleep(4)
    since_ms = life.shown.value.unpublished_since_ms
    assert since_ms is not None
    await trio.sleep(3)
    assert life.shown.value.behind_s == pytest.approx(5.0, abs=0.2)


async def test_commits_do_not_wait_for_a_publication(autojump_clock, life):
    life.database.publish_takes_s = 50.0
    await trio.sleep(3)
    await life.write("row")
    assert (life.database.rows(), trio.current_time()) == (["row"], 3)


async def test_a_publication_that_fails_is_told_and_tried_again(nursery, autojump_clock):
    life = Life(publish_s=2.0)
    life.database.fail["publish"] = [StoreError("disk")]
    await life.start(nursery)
    await trio.sleep(1)
    assert ("system", "publish_failed") in [(topic, kind) for topic, kind, _ in life.events.emitted]
    await life.write("row")
    await trio.sleep(2)
    assert life.shown.value.publish_failures == 1
    assert life.shown.value.published_ms is not None


@pytest.mark.parametrize("call", ["publish", "checkpoint"])
async def test_a_database_lost_while_publishing_or_checkpointing_ends_the_life(nursery, autojump_clock, call):
    life = Life(checkpoint_rows=1)
    life.database.fail[call] = [StoreLost("gave up")]
    await life.start(nursery)
    with trio.move_on_after(5):
        await life.write("row")
        await trio.sleep(5)
    assert isinstance(life.ended, StoreLost)


async def test_a_checkpoint_comes_after_enough_rows(nursery, autojump_clock):
    life = Life(checkpoint_rows=10)
    await life.start(nursery)
    for number in range(9):
        await life.write(number)
    await trio.sleep(60)
    assert "checkpoint" not in life.database.calls
    await life.write(9)
    await trio.sleep(60)
    assert life.database.calls.count("checkpoint") == 1


async def test_a_checkpoint_comes_after_checkpoint_s_if_there_were_rows(nursery, autojump_clock):
    life = Life(checkpoint_s=600.0)
    await life.start(nursery)
    await trio.sleep(3000)
    assert "checkpoint" not in life.database.calls
    await life.write("row")
    await trio.sleep(3000)
    assert life.database.calls.count("checkpoint") == 1


async def test_a_checkpoint_that_found_no_room_is_told_and_tried_again(nursery, autojump_clock):
    life = Life(checkpoint_rows=1, publish_s=2.0)
    life.database.fail["checkpoint"] = [StoreError("no room")]
    await life.start(nursery)
    await life.write("row")
    await trio.sleep(9)
    assert life.database.calls.count("checkpoint") == 2
    assert "checkpoint_failed" in life.log.events()


async def test_statistics_tell_what_was_written_and_how_fast(autojump_clock, life):
    life.database.takes_s = 0.002
    for number in range(200):
        life.database.takes_s = 0.002 if number != 100 else 0.5
        await life.write(number, -number)
    await trio.sleep(3)
    shown = life.shown.value
    assert (shown.rows, shown.groups, shown.group_rows_max, shown.waiting, shown.refused) == (400, 200, 2, 0, 0)
    assert shown.commit_p50_ms == pytest.approx(2)
    assert shown.commit_p99_ms == pytest.approx(2)
    assert store._percentile_ms(list(range(1, 101)), 0.99) == pytest.approx(100_000)
