"""`otod exchange` and `otod run` as two processes: the service as operators run it, and what a kill does to it."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.system.audit import compare, records
from tests.system.processes import end, otoctl, otod, running, wait_for

pytestmark = pytest.mark.system

USERS = """
[users.{name}]
trading = {{ token = "KOGE", target_volume = "{target}", order_amount = "25", buy_offset = "0.05", sell_offset = "-0.05", interval_seconds = 0 }}
credentials = {{ cookies = {{ paper_account = "{name}" }}, headers = {{}} }}
"""  # noqa: E501
LIMITS = '[placement]\nsettle_s = 3\npoll_s = 5\n[exchange]\nmode = "binance"\n'


@contextmanager
def exchange(tmp_path: Path, *words: str) -> Iterator[dict[str, str]]:
    """A paper exchange; what it says of where it is."""
    log = tmp_path / "exchange.log"
    with running(
        "exchange", "--http", "0", "--ws", "0", "--state-dir", str(tmp_path / "x"), *words, log=log
    ) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, log.read_text()
        yield json.loads(said)
        assert end(process) == 0


def configured(tmp_path: Path, urls: dict[str, str], *, users: int, target: int) -> tuple[str, ...]:
    hosts = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
    (tmp_path / "otod.toml").write_text(f'state_dir = "{tmp_path / "s"}"\n{LIMITS}{hosts}')
    names = [f"user{number}" for number in range(users)]
    (tmp_path / "users.toml").write_text("".join(USERS.format(name=name, target=target) for name in names))
    return ("run", "--config", str(tmp_path / "otod.toml"), "--apply", str(tmp_path / "users.toml"))


def control(tmp_path: Path, *words: str) -> dict[str, object]:
    asked = otoctl("--socket", f"ipc://{tmp_path / 's' / 'run' / 'control.sock'}", "--json", *words)
    assert asked.returncode == 0, asked.stderr
    answer: dict[str, object] = json.loads(asked.stdout)
    return answer


def phases(tmp_path: Path) -> list[str]:
    users = control(tmp_path, "trading", "status", "--all")["users"]
    assert isinstance(users, dict)
    return [user["phase"] for user in users.values()]


def up(tmp_path: Path) -> bool:
    socket = tmp_path / "s" / "run" / "control.sock"
    return otoctl("--socket", f"ipc://{socket}", "system", "version").returncode == 0


def test_users_from_a_document_reach_their_target(tmp_path: Path) -> None:
    with exchange(tmp_path) as urls:
        words = configured(tmp_path, urls, users=2, target=100)
        with running(*words, log=tmp_path / "run.log") as process:
            wait_for(lambda: up(tmp_path), within_s=30, what="control")
            assert phases(tmp_path) == ["idle", "idle"]
            control(tmp_path, "trading", "start", "--all")
            wait_for(lambda: phases(tmp_path) == ["done", "done"], within_s=90, what="both targets")
            assert end(process) == 0
        log = (tmp_path / "run.log").read_text()
        assert "paper_account" not in log
    found = compare(tmp_path / "s", tmp_path / "x")
    assert found.differences == []
    assert found.live_pairs_most == 1
    assert found.self_matches == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_instants_loses_nothing_and_doubles_nothing(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    with exchange(tmp_path, "--seed", str(seed)) as urls:
        words = configured(tmp_path, urls, users=5, target=2000)
        with running(*words, log=tmp_path / "run.log") as process:
            wait_for(lambda: up(tmp_path), within_s=30, what="control")
            control(tmp_path, "trading", "start", "--all")
            process.send_signal(signal.SIGKILL)
        for _ in range(5):
            with running(*words, log=tmp_path / "run.log") as process:
                wait_for(lambda: up(tmp_path), within_s=30, what="control")
                try:
                    process.wait(rng.uniform(0.2, 3.0))
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
        with running(*words, log=tmp_path / "run.log") as process:
            wait_for(lambda: up(tmp_path), within_s=30, what="control")
            control(tmp_path, "trading", "stop", "--all")
            wait_for(lambda: set(phases(tmp_path)) <= {"idle", "done"}, within_s=60, what="flat")
            assert end(process) == 0
    found = compare(tmp_path / "s", tmp_path / "x")
    assert found.differences == []
    assert found.live_pairs_most == 1
    assert found.self_matches == 0
    assert found.fills > 10
    assert records(tmp_path / "s", "SELECT count(*) FROM pairs WHERE status <> 'closed'") == [(0,)]


def test_a_wrong_configuration_is_said_at_once_with_78(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('[exchange]\nmode = "binanse"\n[store]\npublish = 3\n')
    ended = otod("run", "--config", str(tmp_path / "bad.toml"), "--state-dir", str(tmp_path / "s"))
    assert ended.returncode == 78
    assert "binanse" in ended.stderr
    assert "store.publish" in ended.stderr
    assert "Traceback" not in ended.stderr
    checked = otod("check-config", str(tmp_path / "bad.toml"))
    assert checked.returncode == 1
    assert "binanse" in checked.stderr


def test_a_state_directory_of_another_exchange_is_refused_with_78(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    assert otod("paper", "--no-view", "--for", "1", "--state-dir", str(directory)).returncode == 0
    with exchange(tmp_path) as urls:
        words = configured(tmp_path, urls, users=1, target=100)
        ended = otod(*words)
    assert ended.returncode == 78, ended.stderr
    assert "paper" in ended.stderr
    assert "Traceback" not in ended.stderr
