"""`otod run` in this process: real sockets, signals and files, the embedded exchange; only systemd is a list."""

from __future__ import annotations

import io
import os
import signal
from contextlib import asynccontextmanager

import msgspec
import pynng
import pytest
import trio

from actors.adapters.clock import WallClock
from actors.adapters.vault import FileVault
from actors.errors import ConfigError
from supervisor import config, dumps, service, userfile
from supervisor.lifecycle import Happened
from supervisor.log import Logging
from supervisor.service import Options, Service

USERS = """
[users.alice]
trading = { token = "KOGE", target_volume = "50", order_amount = "25", buy_offset = "0.05", sell_offset = "-0.05" }
credentials = { cookies = { paper_account = "alice" }, headers = {} }
"""


class Systemd:
    watchdog_s = 30.0

    def __init__(self):
        self.told = []

    def tell(self, *lines):
        self.told += lines
        return True

    def reloading(self):
        return self.tell("RELOADING=1")

    def close(self):
        self.told.append("closed")


async def until(there):
    with trio.fail_after(30):
        while not there():  # noqa: ASYNC110  real time: nobody tells
            await trio.sleep(0.02)


class Run:
    """One run, and its ending."""

    def __init__(self, place):
        self.place = place
        self.file = place / "otod.toml"
        self.file.write_text("[service]\ndrain_s = 0\n")
        (place / "users.toml").write_text(USERS)
        self.systemd, self.lines = Systemd(), io.StringIO()
        self.code = None
        self.over = trio.Event()
        self.service: Service

    async def live(self):
        settings, wall = config.load(self.file), WallClock.real()
        options = Options(config=self.file, version="test")
        self.service = Service(
            settings,
            self.place / "s",
            wall,
            FileVault.at(self.place / "s"),
            Logging(wall, stream=self.lines),
            options,
            self.systemd,
        )
        self.code = await self.service.run(userfile.load_users(self.place / "users.toml"))
        self.over.set()

    async def until_told(self, line, count=1):
        await until(lambda: sum(each.startswith(line) for each in self.systemd.told) >= count)

    async def ask(self, cmd, **args):
        with pynng.Req0() as client:
            client.dial(f"ipc://{self.place}/s/run/control.sock", block=True)
            with trio.fail_after(20):
                await client.asend(msgspec.json.encode({"cmd": cmd, "args": args}))
                return msgspec.json.decode(await client.arecv())


@asynccontextmanager
async def running(place):
    run = Run(place)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.live)
        await run.until_told("READY=1")
        yield run
        run.service._ending.ask("time")  # where it is not ending already
        with trio.fail_after(30):
            await run.over.wait()


async def test_a_life_with_reloads_by_signal_and_by_command(tmp_path):
    async with running(tmp_path) as run:
        assert "STATUS=1 stopped; 0 pairs/min" in run.systemd.told or await run.until_told("STATUS=1 stopped") is None
        run.file.write_text('[service]\ndrain_s = 0\n[logging]\nlevel = "debug"\n[store]\npublish_s = 1.0\n')
        os.kill(os.getpid(), signal.SIGHUP)
        await run.until_told("READY=1", 2)
        assert '"changed":["store.publish_s","logging.level"],"restarted":["store"]' in run.lines.getvalue()

        run.file.write_text("[service]\ndrain_s = -1\n")
        os.kill(os.getpid(), signal.SIGHUP)
        await run.until_told("STATUS=reload failed, the old settings are in force")
        refused = await run.ask("system.reload")
        assert (refused["ok"], "service.drain_s" in refused["error"]["message"]) == (False, True)

        run.file.write_text('[service]\ndrain_s = 0\n[control]\nsocket_mode = "0600"\n')
        before = len(run.systemd.told)
        answer = await run.ask("system.reload")
        assert answer["data"]["restarted"] == ["store", "control"]
        await until(lambda: "READY=1" in run.systemd.told[before:])
        assert (tmp_path / "s/run/control.sock").stat().st_mode & 0o777 == 0o600
        run.file.write_text('[service]\ndrain_s = 0\n[control]\nsocket_mode = "0660"\n')
        os.kill(os.getpid(), signal.SIGHUP)
        await run.until_told("READY=1", run.systemd.told.count("READY=1") + 1)
        assert (tmp_path / "s/run/control.sock").stat().st_mode & 0o777 == 0o660
        os.kill(os.getpid(), signal.SIGTERM)
        await run.until_told("STATUS=stopping: signal SIGTERM")
    assert run.code == 0
    assert run.systemd.told.count("STOPPING=1") == 1


async def test_a_control_socket_that_cannot_be_opened_comes_back_as_it_was(tmp_path):
    remote = '[control.remote]\nlisten = "tls+tcp://127.0.0.1:1"\n' + "".join(
        f'{name} = "{tmp_path}/nothing.pem"\n' for name in ("certificate", "key", "clients_ca")
    )
    async with running(tmp_path) as run:
        run.file.write_text(f"[service]\ndrain_s = 0\n{remote}")
        assert (await run.ask("system.reload"))["data"]["restarted"] == ["control"]
        await run.until_told("STATUS=reload failed, the old settings are in force: 1 did not come up")
        assert (await run.ask("system.version"))["ok"]
        assert (await run.ask("system.drain"))["data"]["draining"]
        with trio.fail_after(20):
            await run.over.wait()
    assert run.code == 0


@pytest.mark.parametrize("freed", [False, True])
async def test_f52_an_actor_that_stays_stuck_ends_the_service(tmp_path, monkeypatch, freed):
    monkeypatch.setattr(service, "STUCK_S_MAX", 0.2)
    async with running(tmp_path) as run:
        stuck = Happened(what="stuck", path="keeper", incarnation=1, at_ms=0)
        node = run.service._daemon._tree._find("keeper")
        if not freed:
            monkeypatch.setattr(type(node), "state", property(lambda self: "stuck", lambda self, state: None), False)
        run.service._notice_stuck(stuck)
        await trio.sleep(0.5)
        assert run.over.is_set() or run.service._ending.reason == (None if freed else "stuck")
        monkeypatch.undo()
    assert run.code == (0 if freed else 1)


def test_what_is_wrong_at_the_start_is_told_to_systemd(tmp_path, monkeypatch):
    systemd = Systemd()
    monkeypatch.setattr(dumps, "leave_none", lambda: True)
    monkeypatch.setattr(service.faulthandler, "enable", lambda: None)
    monkeypatch.setattr(service.Notifier, "of", lambda environ, pid: systemd)
    (tmp_path / "bad.toml").write_text("looks = 1\n")
    with pytest.raises(ConfigError):
        service.run(Options(config=tmp_path / "bad.toml"))
    assert systemd.told[0].startswith("STATUS=failed: 1 mistake in")
    assert systemd.told[-1] == "closed"
