"""`otod exchange` and `otod run` as two processes: the service as operators run it, and what is done to it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.system.kills import kill_often
from tests.system.processes import end, otod, wait_for
from tests.system.service import Service, Users, exchange

pytestmark = pytest.mark.system


def test_users_from_a_document_reach_their_target(tmp_path: Path) -> None:
    with exchange(tmp_path) as urls:
        service = Service(tmp_path, urls, Users(count=2, target=100))
        with service.run() as process:
            assert service.phases() <= {"idle", "reconciling"}
            service.start_all()
            wait_for(lambda: service.phases() == {"done"}, within_s=120, what="both targets")
            assert end(process) == 0
    service.assert_exact()
    assert "paper_account" not in service.log.read_text()


@pytest.mark.parametrize(
    ("seed", "offsets"), [(1, {}), (2, {"buy": "-0.02", "sell": "0.02"})], ids=["crossing", "resting"]
)
def test_killed_at_random_instants_loses_nothing_and_doubles_nothing(
    seed: int, offsets: dict[str, str], tmp_path: Path
) -> None:
    run = kill_often(tmp_path, kills=10, users=5, seed=seed, **offsets)
    assert run.found.fills > 0
    assert len(run.phases) > 1


def test_stopped_for_a_while_it_goes_on_and_nothing_is_doubled(tmp_path: Path) -> None:
    """F69 in small: the machine sleeps; streams are dead, the exchange has gone on without us."""
    with exchange(tmp_path) as urls:
        service = Service(tmp_path, urls, Users(count=3, target=100_000), settings=QUICK_STALE)
        with service.run() as process:
            service.start_all()
            wait_for(lambda: "fill" in service.log.read_text(), within_s=60, what="a fill")
            process.send_signal(signal.SIGSTOP)
            time.sleep(12)
            process.send_signal(signal.SIGCONT)
            service.come_to_rest()
            assert end(process) == 0
    service.assert_exact()


QUICK_STALE = "[placement]\nsettle_s = 3\npoll_s = 3\n[market]\nstale_s = 5\n"


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
        Service(tmp_path, urls, Users(count=1, target=100))
        ended = otod("run", "--config", str(tmp_path / "otod.toml"))
    assert ended.returncode == 78, ended.stderr
    assert "paper" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_new_key_is_printed_and_a_sound_configuration_is_called_so(tmp_path: Path) -> None:
    assert len(otod("new-key").stdout.strip()) == 44
    checked = otod("check-config", "etc/otod.toml")
    assert checked.returncode == 0, checked.stderr
