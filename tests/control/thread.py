"""A control server in a thread of its own, for clients that block."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from supervisor.bus import EventBus
from supervisor.control import server
from supervisor.control.memory import ReplyMemory
from tests.control.daemon import FakeDaemon, FixedWall, QuietLog


class Nobody:
    """A mailbox to which nothing comes."""

    async def take(self) -> Any:
        await trio.sleep_forever()

    def finish(self) -> None:
        raise AssertionError


class ThreadedDaemon:
    def __init__(self, directory: Path) -> None:
        self.office = FakeDaemon()
        self.bus = EventBus(FixedWall(), boot="b00t")
        self.control = f"ipc://{directory}/run/control.sock"
        self.events = f"ipc://{directory}/run/events.sock"
        self._up = threading.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None

    def emit(self, topic: str, kind: str, **payload: Any) -> None:
        assert self._token is not None
        self._token.run_sync_soon(partial(self.bus.emit, topic, kind, **payload))

    @contextmanager
    def running(self) -> Iterator[ThreadedDaemon]:
        thread = threading.Thread(target=trio.run, args=(self._main,))
        thread.start()
        try:
            assert self._up.wait(10)
            yield self
        finally:
            assert self._token is not None
            assert self._scope is not None
            self._token.run_sync_soon(self._scope.cancel)
            thread.join(10)
            self._up.clear()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            await nursery.start(self._serve)
            self._up.set()

    async def _serve(self, task_status: Any) -> None:
        await server.run(
            Nobody(),
            office=self.office,
            bus=self.bus,
            memory=ReplyMemory(),
            control_url=self.control,
            events_url=self.events,
            log=QuietLog(),
            task_status=task_status,
        )
