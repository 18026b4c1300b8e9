"""`otod` with troubles that nobody can order from outside, for the tests of the service. It is otod in all else.

OTOD_TROUBLE=DIRECTORY python -m tests.system.troubled run --config …

A file of that name in the directory begins a trouble; it is taken away where the trouble is a single one:

    block        the loop is blocked by synchronous code, for ever
    hold         a feed takes a message and never comes back to its mailbox
    hold-fast    the same, and it does not end when it is cancelled
    hang         a commit of the store never comes back, as on a dead disk
    refuse       every commit raises an error that nobody foresaw, as long as the file is there

Deadlines of the supervisor are shortened by OTOD_HURRY (their usual values divided by it), so that tests are short.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio

from actors import feed
from actors.adapters.duck import DuckDatabase
from supervisor import __main__ as otod
from supervisor import children, feeds, pulse, service, wiring

DIRECTORY = Path(os.environ["OTOD_TROUBLE"])
HURRY = float(os.environ.get("OTOD_HURRY", "1"))


def once(name: str) -> bool:
    """Whether this trouble was ordered, and nobody has it yet."""
    try:
        (DIRECTORY / name).unlink()
    except FileNotFoundError:
        return False
    (DIRECTORY / f"{name}.began").write_text(str(time.monotonic()))
    return True


async def block() -> None:
    while not once("block"):  # noqa: ASYNC110  a file is waited for
        await trio.sleep(0.02)
    time.sleep(3600)  # noqa: ASYNC251  that is the trouble


class Service(service.Service):
    async def run(self, wishes):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(block)
            code = await super().run(wishes)
            nursery.cancel_scope.cancel()
        return code


class Database(DuckDatabase):
    async def commit(self, groups):
        if once("hang"):
            await trio.to_thread.run_sync(time.sleep, 3600)
        if (DIRECTORY / "refuse").exists():
            raise RuntimeError("nobody foresaw this")
        return await super().commit(groups)


class Inbox:
    """Hands everything on to the feed's own mailbox."""

    def __init__(self, inner):
        self._inner = inner

    def __getattr__(self, name):
        return getattr(self._inner, name)

    async def take(self):
        message = await self._inner.take()
        if once("hold"):
            await trio.sleep_forever()
        if once("hold-fast"):
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        return message


run_feed = feed.run


async def troubled_feed(inbox, **world):
    await run_feed(Inbox(inbox), **world)


def main() -> None:
    feed.run = troubled_feed
    service.Service = Service
    service.real_world.__globals__["DuckDatabase"] = Database
    feeds.PROGRESS_S_MAX /= HURRY
    children.PROGRESS_S_MAX /= HURRY
    wiring.STOP_S_MAX /= HURRY
    wiring.END_S_MAX /= HURRY
    service.STUCK_S_MAX /= HURRY
    pulse.Pulse.__init__.__kwdefaults__ = {
        "silent_s_max": pulse.SILENT_S_MAX / HURRY,
        "commit_s_max": pulse.COMMIT_S_MAX / HURRY,
    }
    otod.main()


if __name__ == "__main__":
    main()
