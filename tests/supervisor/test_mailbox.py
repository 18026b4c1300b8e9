"""Mailboxes: order, bounds, what is in hand at a crash, and that no asker ever hangs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from actors.errors import ActorCrashed, AskTimeout, MailboxFull, StoreRefused
from actors.ports import Asked, Stop
from supervisor.mailbox import Cell, Mailbox


def ask_into(outcomes: list[object], mailbox: Mailbox, question: object, **options) -> Callable[[], Awaitable[None]]:
    async def ask() -> None:
        try:
            outcomes.append(await mailbox.ask(question, **options))
        except (ActorCrashed, AskTimeout, StoreRefused) as error:
            outcomes.append(type(error).__name__)

    return ask


async def test_news_come_in_the_order_of_posting():
    mailbox = Mailbox("a", capacity=8)
    for number in range(5):
        mailbox.post(number)
    assert [await mailbox.take() for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_a_reader_waits_for_news(nursery, autojump_clock):
    mailbox, taken = Mailbox("a", capacity=8), []

    async def read() -> None:
        while True:
            taken.append((trio.current_time(), await mailbox.take()))
            mailbox.finish()

    nursery.start_soon(read)
    for number in range(3):
        await trio.sleep(1)
        mailbox.post(number)
    await wait_all_tasks_blocked()
    assert [number for _, number in taken] == [0, 1, 2]
    assert mailbox.idle
    nursery.cancel_scope.cancel()


async def test_taking_always_yields():
    mailbox = Mailbox("a", capacity=8)
    mailbox.post("news")
    with trio.testing.assert_checkpoints():
        await mailbox.take()


async def test_a_cancelled_take_loses_nothing(autojump_clock):
    mailbox = Mailbox("a", capacity=8)
    mailbox.post("news")
    with trio.move_on_after(0) as scope:
        await mailbox.take()
    assert scope.cancelled_caught
    with trio.move_on_after(1):
        assert await mailbox.take() == "news"
        await mailbox.take()
    assert mailbox.statistics().in_hand == 1


@given(seed=st.integers(0, 10_000), posts=st.integers(1, 30), cancels=st.lists(st.integers(0, 5), max_size=20))
def test_cancelling_a_reader_at_any_moment_neither_loses_nor_doubles_a_message(seed, posts, cancels):
    async def main() -> None:
        mailbox, taken = Mailbox("a", capacity=100), []

        async def write() -> None:
            for number in range(posts):
                mailbox.post(number)
                await trio.lowlevel.checkpoint()

        async def read(scope: trio.CancelScope) -> None:
            with scope:
                while True:
                    taken.append(await mailbox.take())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for steps in cancels:
                scope = trio.CancelScope()
                nursery.start_soon(read, scope)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        mailbox.post("end")
        while (message := await mailbox.take()) != "end":
            taken.append(message)
        assert sorted(taken) == list(range(posts))

    trio._core._run._r.seed(seed)
    trio.run(main)


# -- full


async def test_f56_a_full_mailbox_ends_its_reader_and_starts_anew_empty(nursery):
    mailbox, outcomes = Mailbox("a", capacity=3), []
    nursery.start_soon(ask_into(outcomes, mailbox, "question"))
    await wait_all_tasks_blocked()
    for number in range(4):
        mailbox.post(number)
    with pytest.raises(MailboxFull):
        await mailbox.take()
    statistics = mailbox.statistics()
    assert (statistics.overflows, statistics.depth, statistics.high) == (2, 3, 3)
    mailbox.release(again=True)
    await wait_all_tasks_blocked()
    assert outcomes == ["ActorCrashed"], "an asker in the queue is answered"
    assert mailbox.statistics().depth == 0
    assert mailbox.statistics().lost == 4
    mailbox.post("fresh")
    assert await mailbox.take() == "fresh"


async def test_askers_wait_for_a_place_first_come_first_served(nursery):
    mailbox, outcomes = Mailbox("a", capacity=2), []
    for number in range(5):
        nursery.start_soon(ask_into(outcomes, mailbox, number))
        await wait_all_tasks_blocked()
    assert mailbox.statistics().depth == 5
    for number in range(5):
        asked = await mailbox.take()
        assert asked.question == number
        asked.reply.answer(number * 10)
        mailbox.finish()
        assert mailbox.statistics().overflows == 0
    await wait_all_tasks_blocked()
    assert sorted(outcomes) == [0, 10, 20, 30, 40]
    assert mailbox.statistics().in_hand == 0


async def test_an_asker_that_gives_up_at_the_door_leaves_nothing_behind(nursery, autojump_clock):
    mailbox, outcomes = Mailbox("a", capacity=1), []
    mailbox.post("news")
    nursery.start_soon(ask_into(outcomes, mailbox, "one", within_s=1))
    nursery.start_soon(ask_into(outcomes, mailbox, "two", within_s=9))
    await trio.sleep(2)
    assert outcomes == ["AskTimeout"]
    assert await mailbox.take() == "news"
    (await mailbox.take()).reply.answer("yes")
    await wait_all_tasks_blocked()
    assert outcomes == ["AskTimeout", "yes"]


# -- asking


async def test_the_first_answer_counts(nursery):
    mailbox, outcomes = Mailbox("a", capacity=8), []
    nursery.start_soon(ask_into(outcomes, mailbox, "question"))
    asked = await mailbox.take()
    assert asked.question == "question"
    asked.reply.answer(1)
    asked.reply.answer(2)
    asked.reply.refuse(StoreRefused("no"))
    await wait_all_tasks_blocked()
    assert outcomes == [1]


async def test_a_refusal_is_raised_at_the_asker():
    mailbox = Mailbox("a", capacity=8)

    async def refuse() -> None:
        (await mailbox.take()).reply.refuse(StoreRefused("bad row", where="fills"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse)
        with pytest.raises(StoreRefused, match="bad row"):
            await mailbox.ask("write")


async def test_a_deadline_ends_the_wait_but_not_the_question(autojump_clock):
    mailbox = Mailbox("a", capacity=8)
    with pytest.raises(AskTimeout) as caught:
        await mailbox.ask({"any": "question"}, within_s=2)
    assert trio.current_time() == pytest.approx(2)
    assert str(caught.value).startswith("no answer to dict within 2 s [a]")
    asked = await mailbox.take()
    asked.reply.answer("too late, and harmless")
    mailbox.finish()
    assert mailbox.statistics().in_hand == 0


async def test_a_reader_is_not_harmed_by_an_asker_that_was_cancelled():
    mailbox = Mailbox("a", capacity=8)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.ask, "question")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    asked = await mailbox.take()
    asked.reply.answer(1)
    asked.reply.refuse(StoreRefused("no"))
    mailbox.finish()
    assert (mailbox.statistics().in_hand, mailbox.statistics().depth) == (0, 0)


async def test_an_answer_after_finish_still_reaches_the_asker(nursery):
    mailbox, outcomes = Mailbox("a", capacity=8), []
    nursery.start_soon(ask_into(outcomes, mailbox, "slow"))
    asked = await mailbox.take()
    mailbox.finish()
    assert mailbox.statistics().in_hand == 1, "owed"
    asked.reply.answer("done")
    await wait_all_tasks_blocked()
    assert outcomes == ["done"]
    assert mailbox.statistics().in_hand == 0


# -- a crash with messages in hand


async def hold(mailbox: Mailbox, nursery: trio.Nursery, outcomes: list[object]) -> None:
    """In hand afterwards: question "owed" (finished, not answered), news, question "open". Answered: "answered"."""
    for question in ("owed", "answered", "open"):
        nursery.start_soon(ask_into(outcomes, mailbox, question))
        await wait_all_tasks_blocked()
        if question == "owed":
            await mailbox.take()
            mailbox.finish()
        else:
            asked = await mailbox.take()
            if question == "answered":
                asked.reply.answer("yes")
                mailbox.post("news")
                await mailbox.take()
    mailbox.post("waiting")
    await wait_all_tasks_blocked()
    assert outcomes == ["yes"]


async def test_in_hand_at_a_crash_askers_are_told_and_news_are_lost(nursery):
    mailbox, outcomes = Mailbox("a", capacity=8), []
    await hold(mailbox, nursery, outcomes)
    assert mailbox.release(again=False) == 3
    await wait_all_tasks_blocked()
    assert outcomes == ["yes", "ActorCrashed", "ActorCrashed"]
    assert mailbox.statistics().lost == 1
    assert await mailbox.take() == "waiting", "what waits is not touched"


async def test_in_hand_at_a_crash_comes_again_in_order_before_all_else(nursery):
    mailbox, outcomes = Mailbox("a", capacity=1), []
    await hold(mailbox, nursery, outcomes)
    assert mailbox.release(again=True) == 3
    assert mailbox.statistics().depth == 4
    messages = [await mailbox.take() for _ in range(4)]
    assert [m.question if isinstance(m, Asked) else m for m in messages] == ["owed", "news", "open", "waiting"]
    assert outcomes == ["yes"], "what was answered does not come again"
    for message in messages:
        if isinstance(message, Asked):
            message.reply.answer("at last")
    await wait_all_tasks_blocked()
    assert outcomes == ["yes", "at last", "at last"]


async def test_redelivered_messages_survive_a_second_crash():
    mailbox = Mailbox("a", capacity=8)
    for number in range(4):
        mailbox.post(number)
    await mailbox.take()
    await mailbox.take()
    assert mailbox.release(again=True) == 2
    await mailbox.take()
    assert mailbox.release(again=True) == 1
    assert [await mailbox.take() for _ in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize("finished", [True, False])
async def test_what_came_again_three_times_is_given_up(nursery, finished):
    mailbox, outcomes = Mailbox("a", capacity=8), []
    nursery.start_soon(ask_into(outcomes, mailbox, "poison"))
    await wait_all_tasks_blocked()
    mailbox.post("behind")
    for death in range(4):
        assert (await mailbox.take()).question == "poison", death
        if finished:
            mailbox.finish()
        assert outcomes == []
        assert mailbox.release(again=True) == 1
        await wait_all_tasks_blocked()
    assert outcomes == ["ActorCrashed"]
    assert await mailbox.take() == "behind"


async def test_a_request_to_stop_comes_last_and_is_never_handed_on():
    mailbox = Mailbox("a", capacity=1)
    mailbox.post("news")
    mailbox.request_stop()
    assert await mailbox.take() == "news"
    assert isinstance(await mailbox.take(), Stop)
    assert mailbox.release(again=True) == 1
    assert await mailbox.take() == "news"
    mailbox.request_stop()
    mailbox.release(again=False)
    mailbox.post("for the next")
    assert await mailbox.take() == "for the next"


async def test_who_asks_while_a_request_to_stop_waits_is_heard_by_the_next_incarnation(nursery):
    mailbox, outcomes = Mailbox("a", capacity=1), []
    mailbox.request_stop()
    nursery.start_soon(ask_into(outcomes, mailbox, "question"))
    await wait_all_tasks_blocked()
    mailbox.release(again=False)  # it ended without having taken the request
    asked = await mailbox.take()
    asked.reply.answer("yes")
    await wait_all_tasks_blocked()
    assert outcomes == ["yes"]


async def test_a_closed_mailbox_answers_everybody_and_counts_what_is_lost(nursery):
    mailbox, outcomes = Mailbox("a", capacity=2), []
    for question in ("in hand", "queued", "queued too", "at the door"):
        nursery.start_soon(ask_into(outcomes, mailbox, question))
        await wait_all_tasks_blocked()
        if question == "in hand":
            await mailbox.take()
    mailbox.close("parked")
    await wait_all_tasks_blocked()
    assert outcomes == ["ActorCrashed"] * 4
    mailbox.post("news")
    with pytest.raises(ActorCrashed, match="parked"), trio.testing.assert_checkpoints():
        await mailbox.ask("later")
    mailbox.open()
    mailbox.post("fresh")
    assert await mailbox.take() == "fresh"
    assert mailbox.statistics().lost == 1


async def test_a_reader_shows_signs_of_life():
    mailbox = Mailbox("a", capacity=8)
    mailbox.post("news")
    seen = [mailbox.beats]
    await mailbox.take()
    seen.append(mailbox.beats)
    assert mailbox.handling() == "str"
    mailbox.finish()
    seen.append(mailbox.beats)
    mailbox.beat()
    seen.append(mailbox.beats)
    assert seen == sorted(set(seen))
    assert mailbox.handling() is None


@given(
    seed=st.integers(0, 10_000),
    again=st.booleans(),
    script=st.lists(
        st.sampled_from(["ask", "post", "take", "answer", "finish", "crash", "stop", "close", "open", "give up"]),
        max_size=60,
    ),
)
def test_no_asker_ever_hangs_whatever_happens(seed, again, script):
    """Every question is answered, refused, or told that its reader is gone; nothing is delivered twice in one life."""

    async def main() -> None:
        mailbox, outcomes, asked_count = Mailbox("a", capacity=4), [], 0
        held: list[Asked] = []
        async with trio.open_nursery() as nursery:
            for act in script:
                match act:
                    case "ask":
                        nursery.start_soon(ask_into(outcomes, mailbox, asked_count))
                        asked_count += 1
                    case "post":
                        mailbox.post("news")
                    case "take":
                        with trio.move_on_after(0.01):
                            try:
                                message = await mailbox.take()
                            except MailboxFull:
                                held.clear()
                                mailbox.release(again=again)
                                continue
                            if isinstance(message, Asked):
                                assert all(message is not other for other in held), "delivered twice"
                                held.append(message)
                    case "answer" if held:
                        held.pop(0).reply.answer("yes")
                    case "finish":
                        mailbox.finish()
                    case "stop":
                        mailbox.request_stop()
                    case "close":
                        mailbox.close("parked")
                    case "open":
                        mailbox.open()
                    case "give up":
                        nursery.start_soon(partial(ask_into(outcomes, mailbox, asked_count, within_s=0.001)))
                        asked_count += 1
                    case "crash":
                        held.clear()
                        mailbox.release(again=again)
                await wait_all_tasks_blocked()
            if not again:
                mailbox.release(again=False)
                while mailbox.statistics().depth:  # a reader that works hears of everybody
                    message = await mailbox.take()
                    if isinstance(message, Asked):
                        message.reply.answer("at last")
            mailbox.close("over")
        assert len(outcomes) == asked_count
        assert mailbox.statistics().depth == mailbox.statistics().in_hand == 0

    trio._core._run._r.seed(seed)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- cells


async def test_of_a_cell_only_the_newest_counts(nursery):
    cell: Cell[int] = Cell()
    assert (cell.value, cell.version) == (None, 0)
    seen: list[tuple[int, int | None]] = []

    async def follow() -> None:
        version = 0
        while True:
            version = await cell.changed(version)
            seen.append((version, cell.value))

    for _ in range(3):
        nursery.start_soon(follow)
    await wait_all_tasks_blocked()
    for value in range(5):
        cell.publish(value)
    await wait_all_tasks_blocked()
    cell.publish(9)
    await wait_all_tasks_blocked()
    assert seen == [(5, 4)] * 3 + [(6, 9)] * 3
    with trio.testing.assert_checkpoints():
        assert await cell.changed(0) == 6
    nursery.cancel_scope.cancel()


async def test_a_cell_may_have_a_first_value():
    cell = Cell(7)
    assert (cell.value, cell.version) == (7, 1)
    assert await partial(cell.changed, 0)() == 1
