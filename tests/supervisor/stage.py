"""A stage for tests of the tree: scripted actors, a witness of every incarnation, and many schedules of one scene.

`play(scene)` runs an async scene under a virtual clock, once per scheduler seed, and checks after each run what holds
always: never two incarnations of a name alive (as actors see it, and as trio sees their tasks), no task, no letter and
no asker, and no file descriptor left.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import trio
import trio.testing

from actors.errors import NotNeeded, OtodError
from actors.ports import Asked, Stop
from supervisor.lifecycle import Happened, Node
from supervisor.spec import ChildSpec, FamilySpec, GroupSpec
from supervisor.tree import Tree

SEEDS = range(50)
HANGS_S = 20_000.0  # virtual: a scene that waits for nothing is ended then


class Boom(Exception):
    """What scripted actors die of."""


class FrozenWall:
    """trio time as a date."""

    def now_ms(self) -> int:
        return 1_763_600_000_000 + int(trio.current_time() * 1000)


class Stage:
    """One run of a scene: its actors, what happened, and who lives."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.told: list[Happened] = []
        self.diary: list[tuple[str, str]] = []  # (path, "up" | "ready" | "down"), as the actors themselves see it
        self.alive: set[str] = set()
        self.starts: dict[str, Iterator[str]] = {}  # name -> how its starts go; "ok" when they run out
        self.stuck: list[tuple[str, ...]] = []
        self.tree: Tree = None  # type: ignore[assignment]

    # -- specs

    def child(self, name: str, *starts: str, **options: Any) -> ChildSpec:
        """starts: how the first attempts go (see perform); then "ok"."""
        self.starts[name] = iter(starts)
        options.setdefault("delay_s", 0.0)
        return ChildSpec(name=name, start=partial(perform, self, name), **options)

    @asynccontextmanager
    async def running(self, *children: Any, name: str = "root", **options: Any):
        """A running tree, stopped at the end."""
        spec = GroupSpec(name=name, children=tuple(children), **options)
        async with trio.open_nursery() as nursery:
            self.make(spec)
            await nursery.start(self.tree.run)
            yield self.tree
            await self.tree.stop()
        self.over()

    async def outcome(self, spec: GroupSpec, then: Callable[[], Awaitable[None]], **options: Any) -> Any:
        """What run() raised (None: nothing), while `then` happens beside it."""
        error: BaseException | None = None
        self.make(spec, **options)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(then)
            try:
                await self.tree.run()
            except (OtodError, KeyboardInterrupt, SystemExit) as raised:
                error = raised
        self.over()
        return error

    def make(self, spec: GroupSpec, **options: Any) -> Tree:
        self.tree = Tree(spec, wall=FrozenWall(), rng=random.Random(self.seed), on_stuck=self.stuck.append, **options)
        self.tree.subscribe(self.told.append)
        return self.tree

    def over(self) -> None:
        assert not self.alive, f"left alive: {self.alive}"
        for path, mailbox in self.tree._mailboxes.items() if self.tree is not None else ():
            left = mailbox.statistics()
            assert (left.depth, left.in_hand, mailbox.idle) == (0, 0, False), f"left in the mailbox of {path}: {left}"

    # -- what actors do to it

    @contextmanager
    def life(self, name: str) -> Iterator[None]:
        assert name not in self.alive, f"two incarnations of {name} at once"
        self.alive.add(name)
        self.diary.append((name, "up"))
        try:
            yield
        finally:
            self.alive.remove(name)
            self.diary.append((name, "down"))

    # -- looking

    def post(self, path: str, *messages: Any) -> None:
        for message in messages:
            self.tree.mailbox(path).post(message)

    def node(self, path: str) -> Node:
        node = self.tree.statistics()
        for depth in range(len(path.split("/"))):
            wanted = "/".join(path.split("/")[: depth + 1])
            node = next(child for child in node.children if child.path == wanted)
        return node

    def state(self, path: str) -> str:
        return self.node(path).state

    def incarnation(self, path: str) -> int:
        return self.node(path).incarnation

    def whats(self, path: str) -> list[str]:
        return [it.what for it in self.told if it.path == path]

    def names(self, what: str) -> list[str]:
        """In the order of the diary."""
        return [name for name, it in self.diary if it == what]

    async def settle(self) -> None:
        """Until nothing moves at this instant of virtual time."""
        await trio.testing.wait_all_tasks_blocked()


async def perform(stage: Stage, name: str, inbox: Any, *, task_status: Any) -> None:
    """A scripted actor: how it starts is taken from stage.starts, the rest it is told by messages."""
    with stage.life(name):
        match next(stage.starts[name], "ok"):
            case "ok":
                pass
            case "fail":
                await trio.lowlevel.checkpoint()
                raise Boom(f"{name} cannot start")
            case "fail at once":
                raise Boom(f"{name} cannot start")
            case "decline":
                raise NotNeeded("nothing to do", where=name)
            case "return":
                return
            case "hang":
                await trio.sleep_forever()
            case slow:
                await trio.sleep(float(slow))
        task_status.started()
        stage.diary.append((name, "ready"))
        while True:
            message = await inbox.take()
            if isinstance(message, Asked):
                if await obey(message.question, name):
                    return
                message.reply.answer(name)
            elif await obey(message, name):
                return
            inbox.finish()


async def obey(message: Any, name: str) -> bool:
    """Does what the message says. True: return."""
    match message:
        case "return" | Stop():
            return True
        case "crash":
            raise Boom(f"{name} was told to")
        case "crash later":
            await trio.sleep(0.001)
            raise Boom(f"{name} was told to")
        case "group":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(boom, "one")
                nursery.start_soon(boom, "two")
        case "nested group":
            raise ExceptionGroup("outer", [Boom("one"), ExceptionGroup("inner", [Boom("two"), KeyError("three")])])
        case "beside":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(boom, "beside")
                await trio.sleep_forever()
        case "own scope":
            with trio.CancelScope() as scope:
                scope.cancel()
                await trio.sleep_forever()
            return True
        case "interrupt":
            raise KeyboardInterrupt
        case "exit":
            raise SystemExit(3)
        case "exit in group":
            raise BaseExceptionGroup("mixed", [Boom("one"), SystemExit(4)])
        case "hang":
            await trio.sleep_forever()
        case ("shield", seconds):
            with trio.CancelScope(shield=True):
                await trio.sleep(seconds)
        case ("sleep", seconds):
            await trio.sleep(seconds)
        case _:
            await trio.lowlevel.checkpoint()
    return False


async def boom(text: str) -> None:
    raise Boom(text)


class Witness(trio.abc.Instrument):
    """Counts the living tasks of each path: an incarnation's task is named "path#number"."""

    def __init__(self) -> None:
        self.living: Counter[str] = Counter()
        self.doubled: set[str] = set()

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        path, hash_sign, _ = task.name.partition("#")
        if hash_sign:
            self.living[path] += 1
            if self.living[path] > 1:
                self.doubled.add(task.name)

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        path, hash_sign, _ = task.name.partition("#")
        if hash_sign:
            self.living[path] -= 1


def play(scene: Callable[[Stage], Awaitable[None]], seeds: Iterable[int] = SEEDS) -> None:
    """Runs the scene once per seed. The seed decides the order of all that happens at one instant."""
    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    files = open_files()
    for seed in seeds:
        trio._core._run._r.seed(seed)
        witness = Witness()
        try:
            clock = trio.testing.MockClock(autojump_threshold=0)
            trio.run(_play, scene, Stage(seed), clock=clock, instruments=[witness])
            assert not witness.doubled, f"two incarnations at once: {witness.doubled}"
            assert not +witness.living, f"tasks are left: {+witness.living}"
        except BaseException as error:
            error.add_note(f"scheduler seed {seed}")
            raise
    assert open_files() <= files, "a file descriptor is left"


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def _play(scene: Callable[[Stage], Awaitable[None]], stage: Stage) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(HANGS_S):
        await scene(stage)
    stage.over()
    assert trio.lowlevel.current_statistics().tasks_living == before, "tasks are left"


def family(*children: ChildSpec, name: str = "family", **options: Any) -> FamilySpec:
    return FamilySpec(name=name, children=children, **options)


def group(*children: Any, name: str = "group", **options: Any) -> GroupSpec:
    return GroupSpec(name=name, children=children, **options)


def actor(stage: Stage, name: str, body, **options) -> ChildSpec:
    """A child whose incarnations run body(life number, inbox, task_status)."""
    lives: list[int] = []

    async def start(inbox, *, task_status) -> None:
        with stage.life(name):
            lives.append(len(lives) + 1)
            await body(lives[-1], inbox, task_status)

    options.setdefault("delay_s", 0.0)
    return ChildSpec(name=name, start=start, **options)
