"""What systemd is told, and when, on a virtual clock."""

from __future__ import annotations

import pytest
import trio
from structlog.testing import CapturingLogger

from supervisor.lifecycle import Sign
from supervisor.pulse import SILENT_S_MAX, Pulse
from supervisor.unit import EXTEND_EVERY_S, START_S_MAX, TOLD_S, Unit
from tests.control.daemon import record
from tests.supervisor_service.test_readiness import PAUSE, shown


class Systemd:
    """Takes everything down; with `deaf` it takes nothing."""

    def __init__(self, watchdog_s=None):
        self.watchdog_s = watchdog_s
        self.told = []
        self.deaf = False

    def tell(self, *lines):
        if not self.deaf:
            self.told += [(trio.current_time(), line) for line in lines]
        return not self.deaf

    def reloading(self):
        return self.tell("RELOADING=1")

    def lines(self, beginning):
        return [line for _, line in self.told if line.startswith(beginning)]

    def times(self, beginning):
        return [at for at, line in self.told if line.startswith(beginning)]


class Daemon:
    def __init__(self):
        self.users = {"alice": record("alice"), "bob": record("bob")}
        self.shown = {}
        self.moves = True
        self.committing_since_s = None

    def signs(self):
        return [Sign("store", 1, 0, self.moves)]

    def snapshots(self):
        return tuple(self.shown.values())

    def records(self):
        return self.users


@pytest.fixture
async def stage(nursery):
    systemd, daemon, log = Systemd(watchdog_s=30.0), Daemon(), CapturingLogger()
    unit = Unit(systemd, daemon, log, pulse=Pulse())
    nursery.start_soon(unit.run)
    return systemd, daemon, unit, log


async def made_ready(daemon, unit):
    daemon.shown = {"alice": shown("alice"), "bob": shown("bob", pauses=(PAUSE,))}
    unit.started()
    await unit.ready.wait()


async def test_ready_is_told_once_everybody_is_reconciled_or_paused(stage, autojump_clock):
    systemd, daemon, unit, _ = stage
    await trio.sleep(20)
    unit.started()
    daemon.shown["alice"] = shown("alice")
    await trio.sleep(20)
    assert systemd.lines("READY") == []
    assert systemd.lines("STATUS")[-1].endswith("1 of 2 users are ready")
    assert 40 / EXTEND_EVERY_S <= len(systemd.lines("EXTEND_TIMEOUT_USEC=30000000")) <= 40 / EXTEND_EVERY_S + 1
    daemon.shown["bob"] = shown("bob", pauses=(PAUSE,))
    await trio.sleep(1)
    assert systemd.lines("READY") == ["READY=1"]
    assert systemd.lines("STATUS")[-1] == "STATUS=1 trading, 1 paused; 0 pairs/min"


async def test_nothing_is_ready_before_the_users_are_known(stage, autojump_clock):
    systemd, daemon, _, _ = stage
    daemon.users = {}
    await trio.sleep(100)
    assert systemd.lines("READY") == []


async def test_one_user_who_waits_for_ever_keeps_the_others_waiting_for_a_while_only(stage, autojump_clock):
    systemd, _, unit, _ = stage
    unit.started()
    await trio.sleep(START_S_MAX + 1)
    assert START_S_MAX < systemd.times("READY")[0] < START_S_MAX + 1


async def test_ready_is_told_again_until_it_is_heard(stage, autojump_clock):
    systemd, daemon, unit, _ = stage
    systemd.deaf = True
    daemon.users = {}
    unit.started()
    await trio.sleep(5)
    assert not unit.ready.is_set()
    systemd.deaf = False
    await trio.sleep(1)
    assert systemd.lines("READY") == ["READY=1"]


async def test_the_watchdog_is_fed_three_times_in_its_time(stage, autojump_clock):
    systemd, daemon, unit, _ = stage
    await made_ready(daemon, unit)
    await trio.sleep(100)
    gaps = [b - a for a, b in zip(systemd.times("WATCHDOG")[:-1], systemd.times("WATCHDOG")[1:], strict=True)]
    assert len(gaps) >= 9
    assert gaps == [pytest.approx(10.0)] * len(gaps)


async def test_a_short_watchdog_is_fed_more_often(nursery, autojump_clock):
    systemd, daemon = Systemd(watchdog_s=3.0), Daemon()
    unit = Unit(systemd, daemon, CapturingLogger())
    nursery.start_soon(unit.run)
    await made_ready(daemon, unit)
    await trio.sleep(10.5)
    assert len(systemd.times("WATCHDOG")) in (10, 11)


async def test_f51_a_class_at_a_standstill_starves_the_watchdog_and_says_so(stage, autojump_clock):
    systemd, daemon, unit, log = stage
    await made_ready(daemon, unit)
    daemon.moves = False
    await trio.sleep(SILENT_S_MAX + 100)
    assert trio.current_time() - systemd.times("WATCHDOG")[-1] > 90
    assert systemd.lines("STATUS")[-1].startswith("STATUS=no sign of life: store; ")
    assert [call.args for call in log.calls if call.method_name == "error"] == [("watchdog_not_fed",)]
    daemon.moves = True
    await trio.sleep(11)
    assert trio.current_time() - systemd.times("WATCHDOG")[-1] < 10
    assert [call.args for call in log.calls][-1] == ("watchdog_fed_again",)


async def test_a_daemon_that_does_not_move_asks_for_no_more_time_to_start(stage, autojump_clock):
    systemd, daemon, _, _ = stage
    daemon.moves = False
    await trio.sleep(200)
    assert systemd.times("EXTEND")[-1] <= SILENT_S_MAX + 1


async def test_a_status_that_did_not_change_is_not_told_again(stage, autojump_clock):
    systemd, daemon, unit, log = stage
    await made_ready(daemon, unit)
    await trio.sleep(TOLD_S + 20)
    assert systemd.lines("STATUS").count("STATUS=1 trading, 1 paused; 0 pairs/min") == 1
    assert [call.args for call in log.calls].count(("standing",)) == 1


async def test_a_reload_that_failed_stays_in_the_status(stage, autojump_clock):
    systemd, daemon, unit, _ = stage
    await made_ready(daemon, unit)
    await trio.sleep(1)
    unit.reloading()
    unit.reloaded("reload failed: 2 mistakes")
    assert [line for _, line in systemd.told[-3:]] == [
        "RELOADING=1",
        "READY=1",
        "STATUS=reload failed: 2 mistakes; 1 trading, 1 paused; 0 pairs/min",
    ]
    unit.reloading()
    unit.reloaded()
    assert systemd.lines("STATUS")[-1] == "STATUS=1 trading, 1 paused; 0 pairs/min"


async def test_a_reload_while_it_starts_does_not_make_it_ready(stage, autojump_clock):
    systemd, daemon, unit, _ = stage
    unit.reloading()
    unit.reloaded("reload failed")
    assert systemd.lines("RELOADING") == systemd.lines("READY") == []
    await made_ready(daemon, unit)
    assert systemd.lines("READY") == ["READY=1"]


async def test_a_stop_says_why_and_asks_for_its_time(stage, autojump_clock):
    systemd, daemon, unit, _ = stage
    await made_ready(daemon, unit)
    unit.stopping("signal SIGTERM", 75.0)
    assert [line for _, line in systemd.told[-3:]] == [
        "STOPPING=1",
        "STATUS=stopping: signal SIGTERM",
        "EXTEND_TIMEOUT_USEC=75000000",
    ]
    daemon.shown["bob"] = shown("bob")
    await trio.sleep(11)
    assert systemd.lines("STATUS")[-1] == "STATUS=stopping: signal SIGTERM; 2 trading; 0 pairs/min"
