"""Anything at any time: random trees, deaths and commands. Whatever happens, what always holds, holds.

- no name ever has two incarnations (the witness on the stage)
- every command has an answer, every question an outcome
- once peace returns, every child stands as the last wish about it says, and a stop ends the tree without a task left

More of them: `python -m tests.supervisor.test_fuzz 100 120` plays the histories of blocks 100 to 119, 50 each.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

import pytest
import trio
from msgspec.structs import replace

from actors.errors import ActorCrashed, AskTimeout, Refusal
from supervisor.lifecycle import Node
from supervisor.spec import ChildSpec, FamilySpec, GroupSpec
from tests.supervisor.stage import SEEDS, Stage, perform, play

DEATHS = ["crash", "crash later", "group", "return", "own scope", "beside", "hang", ("shield", 3), ("sleep", 2)]
STARTS = ["ok", "ok", "ok", "ok", "1", "fail", "fail at once", "return", "hang"]
QUIET = ["running", "stopped", "parked", "delaying"]
FIRST = ["ok", "0.5", "decline"]
EXPECTED = {
    "Boom", "InjectedCrash", "NotReady", "NoProgress", "MailboxFull", "StartFailed", "ChildExhausted",
}  # fmt: skip


class Play:
    """One random play."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self.stage = stage
        self.rng = random.Random(seed)
        self.answers = self.commands = self.outcomes = self.questions = self.added = 0

    # -- the tree

    def actor(self, name: str, **options) -> ChildSpec:
        starts = [self.rng.choice(FIRST), *(self.rng.choice(STARTS) for _ in range(self.rng.randrange(6)))]
        options.setdefault("exhausted", "park")
        if options["exhausted"] == "park" and self.rng.random() < 0.3:
            options["last_resort"] = partial(perform, self.stage, name)
            options["last_resort_s"] = self.rng.choice([1.0, 20.0])
        return self.stage.child(
            name,
            *starts,
            restart=self.rng.choice(["permanent", "permanent", "transient", "temporary"]),
            intensity=self.rng.choice([0, 2, 8]),
            delay_s=self.rng.choice([0.0, 0.1, 3.0]),
            ready_s_max=2.0,
            stop_s_max=self.rng.choice([0.0, 1.0]),
            stuck_s=0.5,
            redeliver=self.rng.random() < 0.5,
            capacity=self.rng.choice([1, 3, 100]),
            progress_s_max=self.rng.choice([1.5, 4.0]),  # without it, who asks a hanging actor needs a deadline
            **options,
        )

    def inner(self, name: str, depth: int) -> GroupSpec | FamilySpec:
        common = {"name": name, "exhausted": "park", "intensity": self.rng.choice([0, 1, 4]), "delay_s": 0.1}
        prefix = name.replace("/", "")
        if self.rng.random() < 0.4:
            return FamilySpec(children=tuple(self.actor(f"{prefix}{n}") for n in range(3)), **common)
        strategy = self.rng.choice(["one_for_one", "one_for_all", "rest_for_one"])
        exhausted = "park" if strategy == "one_for_one" else "escalate"
        members: list[object] = [self.actor(f"{prefix}{n}", exhausted=exhausted) for n in range(3)]
        if depth:
            below = self.inner(f"{prefix}x", depth - 1)
            members.insert(self.rng.randrange(4), replace(below, exhausted=exhausted))
        return GroupSpec(children=tuple(members), strategy=strategy, **common)

    # -- what happens

    def nodes(self) -> list[Node]:
        found, todo = [], [self.stage.tree.statistics()]
        while todo:
            node = todo.pop()
            found.append(node)
            todo.extend(node.children)
        return sorted(found[1:], key=lambda node: node.path)

    async def ask(self, path: str, question: object) -> None:
        self.questions += 1
        within_s = 5.0 if question == "hang" else self.rng.choice([None, 1.0])
        with suppress(ActorCrashed, AskTimeout, Refusal):
            await self.stage.tree.mailbox(path).ask(question, within_s=within_s)
        self.outcomes += 1

    async def command(self, name: str, path: str) -> None:
        self.commands += 1
        with suppress(Refusal):
            if name == "add":
                self.added += 1
                await self.stage.tree.add(path, self.actor(f"new{self.added}"))
            else:
                before = {node.path: node.incarnation for node in self.nodes()}.get(path, 0)
                answer = await getattr(self.stage.tree, name)(path)
                if answer.did == "restarted":
                    assert answer.incarnation > before, answer
                if answer.did == "started":
                    assert answer.incarnation >= before, answer
                if answer.did in ("stopped", "already_down"):
                    assert answer.state in ("stopped", "parked"), answer
        self.answers += 1

    async def act(self, nursery: trio.Nursery) -> None:
        node = self.rng.choice(self.nodes())
        roll = self.rng.random()
        if roll < 0.35 and node.kind == "actor":
            message = self.rng.choice(DEATHS)
            if self.rng.random() < 0.5:
                nursery.start_soon(self.ask, node.path, message)
            else:
                self.stage.tree.mailbox(node.path).post(message)
        elif roll < 0.45 and node.kind == "actor":
            if node.path in self.stage.tree.running():
                self.stage.tree.crash(node.path)
        elif roll < 0.85:
            commands = ["start", "restart", "stop_child", "remove", "start", "restart"]
            commands += ["add"] if node.kind == "family" else []
            name = self.rng.choice(commands)
            if self.rng.random() < 0.2:
                nursery.start_soon(self.impatient, name, node.path)
            else:
                nursery.start_soon(self.command, name, node.path)
        await trio.sleep(self.rng.choice([0, 0, 0.05, 0.5, 2.0]))

    async def peace(self) -> None:
        """Until what was sent is dealt with: a queue of messages that hang or kill takes its time."""
        for _ in range(20):
            await trio.sleep(100)
            await self.stage.settle()
            if all(node.state in QUIET for node in self.nodes()):
                return

    def check_peace(self) -> None:
        for node in self.nodes():
            stands = (node.path, node.state, node.waiting_for)
            assert node.state in QUIET, stands
            if node.mailbox is not None and node.state in ("stopped", "parked") and node.waiting_for != "its turn":
                assert node.mailbox.depth == 0, (*stands, "somebody waits for it")
        running = {node.path.split("/")[-1] for node in self.nodes() if node.uptime_s and node.kind == "actor"}
        assert running == self.stage.alive
        assert self.stage.stuck == []
        died_of = {type(error).__name__ for it in self.stage.told for error in it.errors}
        assert died_of <= EXPECTED, "the supervisor itself is at fault"

    async def impatient(self, name: str, path: str) -> None:
        with trio.move_on_after(0.2) as scope:
            await self.command(name, path)
        self.answers += scope.cancelled_caught


@pytest.mark.parametrize("block", range(8))
def test_anything_at_any_time(block):
    histories(block, range(10))


def histories(block: int, seeds: Iterable[int]) -> None:
    async def scene(stage: Stage) -> None:
        one = Play(stage, 1000 * block + stage.seed)
        stage.make(GroupSpec(name="root", children=(one.actor("first"), one.inner("g", 2), one.inner("h", 1))))
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.tree.run)
            async with trio.open_nursery() as others:
                for _ in range(60):
                    await one.act(others)
                await one.peace()
                one.check_peace()
                late = [node for node in one.nodes() if node.state == "delaying"]
                await trio.sleep(31)  # longer than any delay
                assert not late or any(stage.incarnation(node.path) > node.incarnation for node in late), "forgotten"
            assert (one.answers, one.outcomes) == (one.commands, one.questions)
            if stage.seed % 2:
                await stage.tree.stop()
            else:
                nursery.cancel_scope.cancel()

    play(scene, seeds)


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        histories(number, SEEDS)
        print(f"block {number}: {len(SEEDS)} histories")
