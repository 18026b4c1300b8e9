"""Figures of the tree: run `python -m tests.bench.tree` (real clock; prints, asserts nothing).

Targets (the supervision issue): one crash at a time without delay, crash to running next incarnation, p99 < 5 ms; 1,000
at once: the last one running within 1 s; 1,000 idle children < 40 MB over the empty tree; mailboxes about 200k posts/s.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import trio

from actors.ports import Stop
from supervisor.lifecycle import Happened
from supervisor.liveness import LoopWatch
from supervisor.mailbox import Mailbox
from supervisor.spec import ChildSpec, FamilySpec, GroupSpec
from supervisor.tree import Tree

CHILDREN = 1000
CRASHES = 2000
POSTS = 200_000
ASKS = 20_000


class Epoch:
    def now_ms(self) -> int:
        return 0


async def actor(inbox: Any, *, task_status: Any) -> None:
    task_status.started()
    while not isinstance(message := await inbox.take(), Stop):
        if message == "crash":
            raise RuntimeError("told to")
        inbox.finish()


def member(number: int, **options: Any) -> ChildSpec:
    return ChildSpec(name=f"user{number}", start=actor, delay_s=0.0, intensity=1_000_000, **options)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def say(name: str, figure: str) -> None:
    print(f"{name:<58} {figure}")


def percentiles(times_s: list[float]) -> str:
    times_s = sorted(times_s)
    p50, p99 = times_s[len(times_s) // 2], times_s[int(len(times_s) * 0.99)]
    return f"p50 {p50 * 1e3:.3f} ms   p99 {p99 * 1e3:.3f} ms   max {times_s[-1] * 1e3:.3f} ms"


class Watch:
    """Notes when each child last crashed and was ready again."""

    def __init__(self, tree: Tree) -> None:
        self.ready = 0
        self.ready_at_s = 0.0
        self.woken = trio.Event()
        tree.subscribe(self.note)

    def note(self, it: Happened) -> None:
        if it.what == "ready" and it.path.startswith("family/"):
            self.ready += 1
            self.ready_at_s = time.perf_counter()
            self.woken.set()

    async def until(self, count: int) -> None:
        while self.ready < count:
            self.woken = trio.Event()
            await self.woken.wait()


async def of_a_family(count: int) -> None:
    empty_mb = resident_mb()
    members = tuple(member(number) for number in range(count))
    tree = Tree(
        GroupSpec(name="root", children=(FamilySpec(name="family", children=members),)),
        wall=Epoch(),
        rng=random.Random(1),
    )
    watch = Watch(tree)
    async with trio.open_nursery() as nursery:
        began_s = time.perf_counter()
        await nursery.start(tree.run)
        say(f"start {count} children, all ready", f"{(time.perf_counter() - began_s) * 1e3:.0f} ms")
        await trio.sleep(0.2)
        say(f"memory of {count} idle children over the empty tree", f"{resident_mb() - empty_mb:.1f} MB")

        times_s = []
        rng = random.Random(2)
        for _ in range(CRASHES):
            mailbox, before = tree.mailbox(f"family/user{rng.randrange(count)}"), watch.ready
            began_s = time.perf_counter()
            mailbox.post("crash")
            await watch.until(before + 1)
            times_s.append(watch.ready_at_s - began_s)
        say(f"one crash at a time beside {count - 1} others, to next ready", percentiles(times_s))

        before, began_s = watch.ready, time.perf_counter()
        for number in range(count):
            tree.mailbox(f"family/user{number}").post("crash")
        await watch.until(before + count)
        say(f"{count} crashes at once, the last one ready after", f"{(watch.ready_at_s - began_s) * 1e3:.0f} ms")

        began_s = time.perf_counter()
        tree.statistics()
        say("a snapshot of the whole tree", f"{(time.perf_counter() - began_s) * 1e3:.1f} ms")
        began_s = time.perf_counter()
        await tree.stop()
        say(f"stop {count} children", f"{(time.perf_counter() - began_s) * 1e3:.0f} ms")


async def of_a_mailbox() -> None:
    async def read(mailbox: Mailbox, count: int) -> None:
        for _ in range(count):
            message = await mailbox.take()
            if hasattr(message, "reply"):
                message.reply.answer(None)
            mailbox.finish()

    async def one_way(batch: int) -> float:
        mailbox, began_s = Mailbox("bench", capacity=batch), time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, mailbox, POSTS)
            for _ in range(POSTS // batch):
                for number in range(batch):
                    mailbox.post(number)
                while mailbox.statistics().depth:
                    await trio.lowlevel.checkpoint()
        return POSTS / (time.perf_counter() - began_s)

    async def channel() -> float:
        send, receive = trio.open_memory_channel[int](1000)

        async def drain() -> None:
            async for _ in receive:
                pass

        began_s = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            for number in range(POSTS):
                await send.send(number)
            send.close()
        return POSTS / (time.perf_counter() - began_s)

    mailbox, began_s = Mailbox("bench", capacity=POSTS), time.perf_counter()
    for number in range(POSTS):
        mailbox.post(number)
    say("post alone", f"{POSTS / (time.perf_counter() - began_s) / 1e3:.0f}k/s")
    say("trio's memory channel, for comparison", f"{await channel() / 1e3:.0f}k/s")
    for batch in (1, 10, 1000):
        say(f"post, take and finish, {batch} at a time", f"{await one_way(batch) / 1e3:.0f}k/s")
    mailbox, times_s = Mailbox("bench", capacity=8), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, mailbox, ASKS)
        for _ in range(ASKS):
            began_s = time.perf_counter()
            await mailbox.ask(None)
            times_s.append(time.perf_counter() - began_s)
    say("ask and answer", percentiles(times_s))


def of_the_instrument() -> None:
    async def steps() -> None:
        for _ in range(100_000):
            await trio.lowlevel.checkpoint()

    def timed(run: Callable[[], None]) -> float:
        began_s = time.perf_counter()
        run()
        return (time.perf_counter() - began_s) / 100_000 * 1e6

    watch = LoopWatch(now=time.perf_counter, tell=print)
    plain_us, watched_us = timed(partial(trio.run, steps)), timed(partial(trio.run, steps, instruments=[watch]))
    say("loop watch, per task step", f"{watched_us - plain_us:.2f} us on top of {plain_us:.2f} us")


if __name__ == "__main__":
    trio.run(of_a_family, CHILDREN)
    trio.run(of_a_mailbox)
    of_the_instrument()
