"""Mailboxes under crash, in a running tree: what is delivered, what is lost, in which order."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import trio

from actors.errors import ActorCrashed, OtodError
from actors.ports import Asked, Stop
from supervisor.chaos import chaos
from supervisor.spec import ChildSpec
from tests.supervisor.stage import Boom, Stage, play


def clerk(stage: Stage, name: str, handled: list[object], *, takes_s: float = 0.0, die_of: Counter | None = None):
    """An actor that writes down what it handled, and dies of some messages the first times."""
    die_of = Counter() if die_of is None else die_of

    async def start(inbox, *, task_status) -> None:
        with stage.life(name):
            task_status.started()
            while not isinstance(message := await inbox.take(), Stop):
                what = message.question if isinstance(message, Asked) else message
                await trio.sleep(takes_s)
                if die_of[what] > 0:
                    die_of[what] -= 1
                    raise Boom(what)
                handled.append(what)
                if isinstance(message, Asked):
                    message.reply.answer(f"did {what}")
                inbox.finish()

    return start


def test_what_waits_is_kept_what_is_in_hand_is_lost():
    async def scene(stage: Stage) -> None:
        handled: list[object] = []
        start = clerk(stage, "a", handled, die_of=Counter(two=1))
        async with stage.running(ChildSpec(name="a", start=start, delay_s=0)) as tree:
            stage.post("a", "one", "two", "three", "four")
            await trio.sleep(1)
            assert handled == ["one", "three", "four"]
            assert tree.mailbox("a").statistics().lost == 1

    play(scene)


def test_with_redelivery_nothing_is_lost_and_order_is_kept():
    async def scene(stage: Stage) -> None:
        handled: list[object] = []
        start = clerk(stage, "a", handled, die_of=Counter(two=2, four=1))
        async with stage.running(ChildSpec(name="a", start=start, delay_s=0.1, redeliver=True)):
            stage.post("a", "one", "two", "three")
            assert await stage.tree.mailbox("a").ask("four") == "did four"
            assert handled == ["one", "two", "three", "four"]
            assert stage.incarnation("a") == 4

    play(scene)


def test_a_message_that_kills_every_reader_is_given_up_before_the_child_is():
    async def scene(stage: Stage) -> None:
        handled: list[object] = []
        start = clerk(stage, "a", handled, die_of=Counter(poison=99, bad_news=99))
        async with stage.running(ChildSpec(name="a", start=start, delay_s=0, redeliver=True, intensity=8)) as tree:
            stage.post("a", "one", "bad_news", "two")
            with pytest.raises(ActorCrashed):
                await tree.mailbox("a").ask("poison")
            stage.post("a", "three")
            await trio.sleep(1)
            assert handled == ["one", "two", "three"]
            assert (stage.state("a"), stage.incarnation("a")) == ("running", 1 + 4 + 4)
            assert tree.mailbox("a").statistics().lost == 1

    play(scene)


def test_an_asker_hears_of_the_crash_at_once_others_wait_for_the_next_incarnation():
    async def scene(stage: Stage) -> None:
        outcomes: dict[str, object] = {}

        async def ask(question: str) -> None:
            try:
                outcomes[question] = (await stage.tree.mailbox("a").ask(question), trio.current_time())
            except ActorCrashed:
                outcomes[question] = ("crashed", trio.current_time())

        start = clerk(stage, "a", [], takes_s=1, die_of=Counter(one=1))
        spec = ChildSpec(name="a", start=start, delay_s=5, jitter=0)
        async with stage.running(spec), trio.open_nursery() as nursery:
            nursery.start_soon(ask, "one")
            await stage.settle()
            nursery.start_soon(ask, "two")
        assert outcomes == {"one": ("crashed", pytest.approx(1)), "two": ("did two", pytest.approx(1 + 5 + 1))}

    play(scene)


def test_askers_of_a_child_that_is_given_up_are_told():
    async def scene(stage: Stage) -> None:
        outcomes: list[str] = []

        async def ask(question: str) -> None:
            try:
                await stage.tree.mailbox("a").ask(question)
            except ActorCrashed as error:
                outcomes.append(str(error))

        start = clerk(stage, "a", [], die_of=Counter(one=9))
        spec = ChildSpec(name="a", start=start, intensity=0, redeliver=True, capacity=1)
        async with stage.running(spec) as tree, trio.open_nursery() as nursery:
            await tree.stop_child("a")
            tree.mailbox("a").open()
            for question in ("one", "two", "three", "four"):
                nursery.start_soon(ask, question)
                await stage.settle()
            await tree.start("a")
        assert outcomes == ["no answer: parked [a] -> see otoctl tree"] * 4

    play(scene)


def test_an_overflow_ends_the_incarnation_and_the_next_starts_empty():
    async def scene(stage: Stage) -> None:
        handled: list[object] = []
        start = clerk(stage, "a", handled, takes_s=1)
        async with stage.running(ChildSpec(name="a", start=start, delay_s=0, capacity=3)) as tree:
            stage.post("a", 0)
            await stage.settle()
            stage.post("a", *range(1, 7))
            await trio.sleep(2)
            assert handled == [0]
            assert (stage.state("a"), stage.incarnation("a")) == ("running", 2)
            assert stage.node("a").last_crash.type == "MailboxFull"
            statistics = tree.mailbox("a").statistics()
            assert (statistics.depth, statistics.overflows, statistics.lost) == (0, 3, 6)
            stage.post("a", "fresh")
            await trio.sleep(2)
            assert handled == [0, "fresh"]

    play(scene)


def test_under_chaos_each_question_is_answered_or_told_of_the_crash_and_with_redelivery_always_answered():
    async def scene(stage: Stage) -> None:
        outcomes: Counter = Counter()

        async def ask_on(path: str) -> None:
            for number in range(300):
                await trio.sleep(0.5)
                try:
                    assert await stage.tree.mailbox(path).ask(number) == f"did {number}"
                    outcomes[path, "answered"] += 1
                except OtodError as error:
                    outcomes[path, type(error).__name__] += 1

        specs = [
            ChildSpec(name="keeps", start=clerk(stage, "keeps", [], takes_s=0.4), redeliver=True),
            ChildSpec(name="drops", start=clerk(stage, "drops", [], takes_s=0.4)),
        ]
        async with stage.running(*specs) as tree, trio.open_nursery() as nursery:
            nursery.start_soon(lambda: chaos(tree, per_minute=60, rng=random.Random(stage.seed)))
            async with trio.open_nursery() as askers:
                askers.start_soon(ask_on, "keeps")
                askers.start_soon(ask_on, "drops")
            nursery.cancel_scope.cancel()
        assert outcomes["keeps", "answered"] == 300
        assert outcomes["drops", "answered"] + outcomes["drops", "ActorCrashed"] == 300
        assert outcomes["drops", "ActorCrashed"] > 0

    play(scene, range(3))
