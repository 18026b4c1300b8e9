"""otoctl without sockets: its client answers from a desk in the same process."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import trio
from click.testing import CliRunner, Result

from supervisor.bus import EventBus
from supervisor.control.desk import Caller, Desk
from supervisor.control.lately import Lately
from supervisor.control.memory import ReplyMemory
from supervisor.ctl.cli import otoctl
from supervisor.ctl.client import Client
from supervisor.ctl.common import Options
from tests.control.daemon import FakeDaemon, FixedWall, QuietLog, every_lever


class DeskClient(Client):
    """A Client whose frames go to a desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.url = "ipc:///tmp/otod/run/control.sock"

    def call(self, cmd: str, args: Any = None) -> dict[str, Any]:
        self._desk._lately = Lately()  # each call is a run of its own, whose clock does not go on from the last
        frame = msgspec.json.encode({"v": 1, "id": None, "cmd": cmd, "args": dict(args or {})})
        return json.loads(trio.run(self._desk.answer, frame, Caller(uid=1000, pid=7)))

    def __exit__(self, *ended: object) -> None:
        return None


class Terminal:
    """Runs otoctl command lines against a daemon of snapshots."""

    def __init__(self, monkeypatch: Any) -> None:
        self.office = FakeDaemon()
        self.office.levers = every_lever()
        self.desk = Desk(self.office, EventBus(FixedWall(), boot="b00t"), ReplyMemory(), QuietLog())
        self.asked: list[Options] = []
        monkeypatch.setattr(Options, "client", self._client)

    def _client(self) -> DeskClient:
        return DeskClient(self.desk)

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(otoctl, list(words), prog_name="otoctl")
