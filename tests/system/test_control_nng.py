"""The control socket over real nng sockets: what any client may do, and what it cannot break."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pynng
import pytest
import trio

from supervisor.bus import EventBus
from supervisor.control import server
from supervisor.control.memory import ReplyMemory
from tests.control.daemon import FakeDaemon, FixedWall, QuietLog

pytestmark = pytest.mark.system


class Inbox:
    async def take(self) -> Any:
        await trio.sleep_forever()

    def finish(self) -> None:
        raise AssertionError


class Running:
    def __init__(self, directory: Path) -> None:
        self.office = FakeDaemon()
        self.bus = EventBus(FixedWall(), boot="b00t")
        self.memory = ReplyMemory()
        self.log = QuietLog()
        self.control = f"ipc://{directory}/run/control.sock"
        self.events = f"ipc://{directory}/run/events.sock"

    async def serve(self, **options: Any) -> None:
        await server.run(
            Inbox(),
            office=self.office,
            bus=self.bus,
            memory=self.memory,
            control_url=self.control,
            events_url=self.events,
            log=self.log,
            **options,
        )

    async def ask(self, frame: bytes | dict[str, Any], *, within_s: float = 5) -> dict[str, Any]:
        data = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        with pynng.Req0(dial=self.control, block_on_dial=True) as client, trio.fail_after(within_s):
            await client.asend(data)
            return json.loads(await client.arecv())


@asynccontextmanager
async def running(directory: Path, **options: Any) -> Iterator[Running]:
    daemon = Running(directory)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: daemon.serve(task_status=task_status, **options))
        yield daemon
        nursery.cancel_scope.cancel()


async def test_a_request_gets_its_reply(tmp_path):
    async with running(tmp_path) as daemon:
        reply = await daemon.ask({"v": 1, "id": "any", "cmd": "trading.status", "args": {"user": "alice"}})
    assert reply["ok"]
    assert reply["id"] == "any"
    assert reply["data"]["users"]["alice"]["progress"]["volume"] == "319.05"
