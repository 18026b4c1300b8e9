"""`otod paper` as a user runs it: real processes, real sockets, twenty seeds, a tape of real trades."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner

from supervisor.__main__ import main
from tests.shared import SHARED, needs_shared
from tests.system.audit import Compared, compare, records
from tests.system.processes import end, otoctl, otod, running, wait_for

pytestmark = pytest.mark.system

TARGET = Decimal(500)
MINIMUM_PAIR = Decimal("0.12")
"""USDT; 0.1 is KOGE's minimum notional, 5 % to spare, one step of 0.0001 KOGE (0.0048 USDT) for each leg."""


def assert_exact(state_dir: Path, *, users: int, target: Decimal = TARGET) -> Compared:
    found = compare(state_dir, state_dir / "paper")
    assert found.differences == []
    assert found.live_pairs_most == 1
    assert found.self_matches == 0
    assert len(found.users) == users
    for user, volume in found.users.items():
        assert target <= volume <= target + MINIMUM_PAIR, (user, volume)
    return found


@pytest.mark.parametrize("seed", range(1, 21))
def test_three_users_reach_their_target_with_exact_records(seed: int, tmp_path: Path) -> None:
    ended = otod("paper", "--no-view", "--speed", "20", "--seed", str(seed), "--state-dir", str(tmp_path / "s"))
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert_exact(tmp_path / "s", users=3)


@needs_shared
@pytest.mark.parametrize("tape", ["ethusdt-spot-20240808.csv.gz", "btcusdt-spot-20240808.csv.gz"])
def test_the_same_on_a_tape_of_real_trades(tape: str, tmp_path: Path) -> None:
    ended = otod(
        "paper", "--no-view", "--speed", "20", "--replay", str(SHARED / "market" / tape), "--state-dir",
        str(tmp_path / "s"),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert_exact(tmp_path / "s", users=3)


def test_summary_says_what_was_reached_and_a_query_that_works(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    ended = otod("paper", "--no-view", "--speed", "20", "--target", "100", "--state-dir", str(directory))
    assert ended.returncode == 0, ended.stderr[-2000:]
    for word in ("alice", "bob", "carol", "VOLUME", "WEAR", "FEES", "All targets of the day are reached"):
        assert word in ended.stdout
    query = next(line for line in ended.stdout.splitlines() if line.startswith("Query"))
    asked = otoctl("query", "--state-dir", str(directory), query.split('"')[1])
    assert asked.returncode == 0, asked.stderr
    assert "carol" in asked.stdout

    again = otod("paper", "--no-view", "--speed", "20", "--state-dir", str(directory))
    assert again.returncode == 0, again.stderr[-2000:]
    assert "--fresh" in again.stdout
    assert_exact(directory, users=3, target=Decimal(100))

    more = otod("paper", "--no-view", "--speed", "20", "--target", "200", "--users", "4", "--state-dir", str(directory))
    assert more.returncode == 0, more.stderr[-2000:]
    assert_exact(directory, users=4, target=Decimal(200))
    audited = records(directory, "SELECT count(*) FROM audit WHERE action = 'user.apply'")
    assert audited == [(3,)]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order_and_it_goes_on_where_it_was(signum: signal.Signals, tmp_path: Path) -> None:
    directory = tmp_path / "s"
    words = ("paper", "--no-view", "--speed", "4", "--state-dir", str(directory))
    with running(*words, log=tmp_path / "log") as process:
        wait_for(lambda: (tmp_path / "log").read_text().count("pair_closed") >= 4, within_s=60, what="4 pairs")
        assert end(process, signum) == 0
    first = compare(directory, directory / "paper")
    assert first.differences == []
    assert records(directory, "SELECT count(*) FROM pairs WHERE status <> 'closed'") == [(0,)]
    with running(
        "paper", "--no-view", "--speed", "20", "--state-dir", str(directory), log=tmp_path / "log2"
    ) as process:
        assert process.wait(90) == 0
    found = assert_exact(directory, users=3)
    assert found.fills > first.fills


def test_killed_at_once_it_goes_on_with_every_fill_and_no_second_pair(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    for number in range(4):
        log = tmp_path / f"log{number}"
        with running("paper", "--no-view", "--speed", "4", "--state-dir", str(directory), log=log) as process:
            wait_for(lambda log=log: log.read_text().count("leg=working") >= 2, within_s=60, what="fills")
            process.kill()
            process.wait()
    ended = otod("paper", "--no-view", "--speed", "20", "--state-dir", str(directory))
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert_exact(directory, users=3)


def test_while_it_runs_nng_and_duckdb_are_answered(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    log = tmp_path / "log"
    with running("paper", "--no-view", "--speed", "2", "--state-dir", str(directory), log=log) as process:
        wait_for(lambda: log.exists() and log.read_text().count("pair_closed") >= 2, within_s=60, what="2 pairs")
        socket_url = f"ipc://{directory / 'run' / 'control.sock'}"
        if shutil.which("nngcat"):
            frame = '{"cmd":"trading.status","args":{"all":true}}'
            asked = subprocess.run(
                ["nngcat", "--req0", "--dial", socket_url, "--data", frame, "--raw", "--recv-timeout", "10"],
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
            reply = json.loads(asked.stdout)
            assert reply["ok"] is True
            assert set(reply["data"]["users"]) == {"alice", "bob", "carol"}
        status = otoctl("--socket", socket_url, "--json", "trading", "status", "alice")
        assert json.loads(status.stdout)["users"]["alice"]["wanted"] == "running"

        def published() -> bool:
            files = list((directory / "analytics").glob("day_*.duckdb"))
            if not files:
                return False
            with duckdb.connect(str(files[0]), read_only=True) as connection:
                return connection.execute("SELECT count(*) FROM fills").fetchall()[0][0] > 0

        wait_for(published, within_s=20, what="fills in the day file")
        assert end(process) == 0
    assert compare(directory, directory / "paper").differences == []


def test_chaos_leaves_records_exact(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    ended = otod("paper", "--no-view", "--speed", "10", "--chaos", "20", "--seed", "7", "--state-dir", str(directory))
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "InjectedCrash" in ended.stderr
    assert_exact(directory, users=3)


# -- bad input


def test_unknown_token_is_wrong_usage(tmp_path: Path) -> None:
    ended = otod("paper", "--token", "KOGEE", "--state-dir", str(tmp_path / "s"))
    assert ended.returncode == 2
    assert "KOGEE" in ended.stderr
    assert "KOGE" in ended.stderr
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("amount", ["0", "-5", "lots", "nan", "1e30"])
def test_nonsense_target_is_wrong_usage(amount: str, tmp_path: Path) -> None:
    ended = otod("paper", f"--target={amount}", "--state-dir", str(tmp_path / "s"))
    assert ended.returncode == 2
    assert amount in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("option", ["--speed", "--for", "--chaos"])
def test_no_option_takes_a_number_that_is_none(option: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["paper", f"{option}=nan", "--state-dir", str(tmp_path / "s")])
    assert (done.exit_code, "no finite number" in done.stderr) == (2, True)
    assert not (tmp_path / "s").exists()


def test_a_state_directory_in_use_is_refused_and_not_harmed(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    log = tmp_path / "log"
    with running("paper", "--no-view", "--speed", "4", "--state-dir", str(directory), log=log) as process:
        wait_for(lambda: log.read_text().count("pair_closed") >= 1, within_s=60, what="a pair")
        for extra in ((), ("--fresh",)):
            second = otod("paper", "--no-view", "--state-dir", str(directory), *extra)
            assert second.returncode == 1, second.stderr
            assert f"pid {process.pid}" in second.stderr
            assert "Traceback" not in second.stderr
        assert end(process) == 0
    assert compare(directory, directory / "paper").differences == []


def test_an_unwritable_state_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ended = otod("paper", "--no-view", "--state-dir", str(tmp_path / "file" / "s"))
    assert ended.returncode == 1, ended.stderr
    assert str(tmp_path / "file") in ended.stderr
    assert "Traceback" not in ended.stderr


def test_another_seed_or_tape_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    words = ("paper", "--no-view", "--speed", "20", "--for", "1", "--state-dir", str(directory))
    assert otod(*words, "--seed", "3").returncode == 0
    refused = otod(*words, "--seed", "4")
    assert refused.returncode in (1, 2)
    assert "--fresh" in refused.stderr
    assert otod(*words).returncode == 0


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = otod("exchange", "--http", str(port), "--ws", "0", "--state-dir", str(tmp_path / "x"))
    assert ended.returncode == 1
    assert str(port) in ended.stderr
    assert "Traceback" not in ended.stderr
