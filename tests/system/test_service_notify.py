"""otod as a unit of systemd, whose part is played (played_systemd.py): real processes, the paper exchange beside them.

Each trouble leads to the restart that was promised, the next life takes up what lived, and the records are exact. With
-s the times are printed: as measured with deadlines shortened by HURRY, and what that is with the usual ones.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from tests.system.played_systemd import PlayedSystemd
from tests.system.processes import otoctl, wait_for
from tests.system.restarts import restart_often
from tests.system.service import QUICK, Service, Users, exchange

pytestmark = pytest.mark.system

WATCHDOG_S = 3.0
HURRY = 10.0


class Stage:
    """A unit that trades, and what is done to it."""

    def __init__(self, place: Path, urls: dict[str, str], settings: str, users: Users) -> None:
        self.place = place
        self.service = Service(place, urls, users, settings=settings)
        self.config = place / "otod.toml"
        files = ("--config", str(self.config), "--apply", str(place / "users.toml"))
        self.words = ("-m", "tests.system.troubled", "run", *files)
        self.env = {"OTOD_TROUBLE": str(place), "OTOD_HURRY": str(HURRY)}
        self.systemd = PlayedSystemd(place, *self.words, watchdog_s=WATCHDOG_S, env=self.env)

    def trade(self) -> None:
        self.systemd.until_ready()
        self.service.start_all()
        self.until_pairs(1)

    def pairs(self) -> int:
        return sum(user["progress"]["pairs"] for user in self.service.status().values())

    def until_pairs(self, more: int) -> None:
        before = self.pairs()
        wait_for(lambda: self.pairs() >= before + more, within_s=60, what=self.service.status)

    def trouble(self, name: str) -> float:
        """Orders it; returns when it began."""
        (self.place / name).touch()
        began = self.place / f"{name}.began"
        wait_for(began.exists, within_s=30, what=f"{name} to begin")
        return float(began.read_text() or "nan")

    def incarnations(self) -> dict[str, int]:
        found: dict[str, int] = {}
        todo = [self.service.ask("system.tree")]
        while todo:
            node = todo.pop()
            found[node["path"]] = node.get("incarnation", 1)
            todo += node["children"]
        return found

    def end(self) -> None:
        """Everybody comes to rest; nothing was lost, nothing doubled."""
        self.until_pairs(1)
        self.service.come_to_rest()
        assert self.systemd.stop() == 0
        self.service.assert_exact()


@contextmanager
def unit(place: Path, settings: str = QUICK, users: Users | None = None) -> Iterator[Stage]:
    with exchange(place) as urls:
        stage = Stage(place, urls, settings, users or Users(count=3, target=100_000))
        with stage.systemd.running():
            yield stage


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    """Who lives another incarnation."""
    return {path for path in after if after[path] != before.get(path)}


def say(what: str, **seconds: float) -> None:
    print(f"\n{what}: " + ", ".join(f"{name} {value:.2f} s" for name, value in seconds.items()))


def test_a_life_in_order_with_reloads_good_and_bad(tmp_path: Path) -> None:
    with unit(tmp_path) as stage:
        systemd, service = stage.systemd, stage.service
        ready = systemd.until_ready()
        assert systemd.lines("EXTEND_TIMEOUT_USEC=")
        assert systemd.lines("STATUS=")[0].line == "STATUS=opening the store"
        stage.trade()
        systemd.until_told("STATUS=3 trading; ")
        before, text = stage.incarnations(), stage.config.read_text()

        told = len(systemd.told)  # what changes, changes whom it concerns
        stage.config.write_text(text.replace("poll_s = 3", "poll_s = 4"))
        systemd.signal(signal.SIGHUP)
        systemd.until_told("READY=1", told)
        assert [it.line.partition("=")[0] for it in systemd.told[told : told + 2]] == ["RELOADING", "MONOTONIC_USEC"]
        assert abs(int(systemd.told[told + 1].line.partition("=")[2]) / 1e6 - systemd.told[told].at_s) < 1
        after = stage.incarnations()
        assert changed(before, after) == {f"traders/{name}" for name in service.users.names}

        told = len(systemd.told)  # a wrong file changes nothing, and is told at both ends
        stage.config.write_text(text.replace("poll_s = 3", "poll_s = -1"))
        systemd.signal(signal.SIGHUP)
        systemd.until_told("STATUS=reload failed, the old settings are in force: 1 mistake in ", told)
        refused = otoctl("--socket", f"ipc://{service.state_dir}/run/control.sock", "system", "reload")
        assert (refused.returncode, "poll_s" in refused.stderr) == (2, True), refused
        assert stage.incarnations() == after

        stage.config.write_text(text.replace("poll_s = 3", "poll_s = 4") + '[control]\nsocket_mode = "0600"\n')
        answer = service.ask("system.reload")  # through the socket that it opens anew
        assert (answer["changed"], answer["restarted"]) == (["control.socket_mode"], ["control"])
        control = service.state_dir / "run" / "control.sock"
        wait_for(lambda: control.exists() and control.stat().st_mode & 0o777 == 0o600, within_s=20, what="the new mode")
        stage.until_pairs(1)
        fed_s = [it.at_s for it in systemd.lines("WATCHDOG=1")]
        gaps = [after_s - before_s for before_s, after_s in itertools.pairwise(fed_s)]
        assert max(gaps) < WATCHDOG_S
        told = len(systemd.told)
        stage.end()
        systemd.until_told("STOPPING=1", told)
        assert (systemd.killed_s, len(systemd.ended)) == ([], 1)
        say("start", ready_after_the_first_word=ready.at_s - systemd.told[0].at_s)


def test_f51_a_blocked_loop_is_killed_by_the_watchdog_and_started_again(tmp_path: Path) -> None:
    with unit(tmp_path) as stage:
        stage.trade()
        began_s = stage.trouble("block")
        again = stage.systemd.until_ready(life=2)
        (killed_s,) = stage.systemd.killed_s
        assert stage.systemd.ended[0].status == -signal.SIGABRT
        assert killed_s - began_s < WATCHDOG_S + 1
        assert "troubled.py" in stage.systemd.log.read_text()  # where the loop was, for whoever looks for the cause
        stage.end()
        say("blocked loop", killed_after=killed_s - began_s, ready_after_the_kill=again.at_s - killed_s)


def test_f51_a_stuck_actor_alone_is_replaced(tmp_path: Path) -> None:
    with unit(tmp_path) as stage:
        stage.trade()
        before = stage.incarnations()
        began_s = stage.trouble("hold")
        wait_for(lambda: stage.incarnations() != before, within_s=30, what="a new incarnation")
        took_s = time.monotonic() - began_s
        after = stage.incarnations()
        assert changed(before, after) == {"feeds/KOGE"}
        stage.end()
        assert stage.systemd.killed_s == []
        say("stuck feed", replaced_after=took_s, usual=30 * 1.25)


def test_f52_an_actor_that_cannot_be_cancelled_ends_the_process(tmp_path: Path) -> None:
    with unit(tmp_path, QUICK + "[service]\ndrain_s = 1\n") as stage:
        stage.trade()
        began_s = stage.trouble("hold-fast")
        again = stage.systemd.until_ready(life=2)
        assert stage.systemd.ended[0].status == 1
        assert "stuck: feeds/KOGE" in stage.systemd.log.read_text()
        stage.end()
        ended_s = stage.systemd.ended[0].at_s
        say("stuck for good", process_ended_after=ended_s - began_s, ready_after_the_end=again.at_s - ended_s)


def test_f48_a_dead_store_ends_the_process_until_it_works_again(tmp_path: Path) -> None:
    with unit(tmp_path) as stage:
        stage.trade()
        (tmp_path / "refuse").touch()
        began_s = time.monotonic()
        stage.systemd.until(lambda: stage.systemd.ended, within_s=60)
        ended = stage.systemd.ended[0]
        (tmp_path / "refuse").unlink()
        life = len(stage.systemd.ended) + 1
        again = stage.systemd.until_ready(life=life)
        assert ended.status == 1
        assert "nobody foresaw this" in stage.systemd.log.read_text()
        stage.end()
        say("dead store", process_ended_after=ended.at_s - began_s, ready_after_it_works=again.at_s - ended.at_s)


def test_f61_a_commit_that_never_comes_back_starves_the_watchdog(tmp_path: Path) -> None:
    with unit(tmp_path) as stage:
        stage.trade()
        began_s = stage.trouble("hang")
        again = stage.systemd.until_ready(life=2)
        (killed_s,) = stage.systemd.killed_s
        assert '"silent":["commit"]' in stage.systemd.log.read_text()
        stage.end()
        say("hung commit", killed_after=killed_s - began_s, ready_after_the_kill=again.at_s - killed_s)


def test_f54_a_stop_leaves_live_pairs_with_all_that_the_next_start_needs(tmp_path: Path) -> None:
    """Pairs that rest in the book do not end within the budget; a drain by command ends the unit for good."""
    resting = Users(count=2, target=100_000, buy="-1", sell="1")
    with unit(tmp_path, QUICK + "[service]\ndrain_s = 0.5\n", resting) as stage:
        stage.systemd.until_ready()
        stage.service.start_all()
        wait_for(lambda: stage.service.phases() == {"working"}, within_s=60, what=stage.service.status)
        before = {user: it["pair"]["pair_id"] for user, it in stage.service.status().items()}
        assert stage.service.ask("system.drain")["live_pairs"] == 2
        assert stage.systemd.down.wait(30)
        assert stage.systemd.ended[-1].status == 0
        assert stage.systemd.lines("STOPPING=1")
        again = PlayedSystemd(_again(tmp_path), *stage.words, env=stage.env)
        with again.running():
            again.until_ready()
            assert {user: it["pair"]["pair_id"] for user, it in stage.service.status().items()} == before
            stage.service.ask("trading.stop", all=True, now=True)
            wait_for(lambda: stage.service.phases() == {"idle"}, within_s=60, what=stage.service.status)
            assert again.stop() == 0
        stage.service.assert_exact()


def _again(place: Path) -> Path:
    (place / "again").mkdir()
    return place / "again"


def test_a_wrong_file_is_told_to_systemd_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[placement]\nlooks = 1\n")
    words = ("-m", "supervisor", "run", "--config", str(tmp_path / "bad.toml"), "--state-dir", str(tmp_path / "s"))
    with PlayedSystemd(tmp_path, *words).running() as systemd:
        assert systemd.down.wait(30)
    assert [it.status for it in systemd.ended] == [78]
    assert systemd.lines("STATUS=failed: 1 mistake in ")
    assert not (tmp_path / "s").exists()


def test_records_of_a_newer_version_are_refused_and_left_alone(tmp_path: Path) -> None:
    """A downgrade: nothing is written into a file that this version does not know."""
    state = tmp_path / "s"
    words = ("-m", "supervisor", "run", "--state-dir", str(state))
    with PlayedSystemd(tmp_path, *words).running() as systemd:
        systemd.until_ready()
        assert systemd.stop() == 0
    with duckdb.connect(str(state / "live" / "otod.duckdb")) as connection:
        connection.execute("INSERT INTO schema_version SELECT max(version) + 1, now() FROM schema_version")
    before = (state / "live" / "otod.duckdb").read_bytes()
    with PlayedSystemd(_again(tmp_path), *words).running() as systemd:
        assert systemd.down.wait(30)
    assert [it.status for it in systemd.ended] == [78]
    (failed,) = systemd.lines("STATUS=failed: the database has schema version ")
    assert "start the version of otod that wrote it" in failed.line
    assert (state / "live" / "otod.duckdb").read_bytes() == before


def test_restarts_in_order_and_by_kill_under_load_double_nothing(tmp_path: Path) -> None:
    """In small; python -m tests.system.restarts is the long one."""
    run = restart_often(tmp_path, restarts=2, every_s=1.5, users=5, seed=8, drain_s=1.0)
    assert run.found.fills > 0
    assert [len(took) for took in run.ready_s.values()] == [1, 1]
