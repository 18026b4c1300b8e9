"""`otod exchange` and `otod run` as two processes: the service as operators run it, and what is done to it."""

from __future__ import annotations

import random
import time
from decimal import Decimal
from pathlib import Path

import pytest

from tests.system.kills import kill_often
from tests.system.processes import end, otod, wait_for
from tests.system.relay import relay
from tests.system.service import Service, Users, exchange, killed
from tests.system.stops import QUICK_STALE, stop_often
from tests.system.volume import small_file_system

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


def test_f69_stopped_for_a_while_it_goes_on_and_nothing_is_doubled(tmp_path: Path) -> None:
    """The machine sleeps; streams are dead, the exchange has gone on without us."""
    found = stop_often(tmp_path, seconds=12, times=1, users=3, settings=QUICK_STALE)
    assert found.fills > 0


@pytest.mark.parametrize("killed_too", [False, True], ids=["full", "full and killed"])
def test_f59_f60_a_full_file_system_costs_a_pause_and_no_record(killed_too: bool, tmp_path: Path) -> None:
    with exchange(tmp_path) as urls, small_file_system(tmp_path / "s") as disk:
        service = Service(tmp_path, urls, Users(count=3, target=100_000))
        with service.run() as process:
            service.start_all()
            wait_for(lambda: service.log.read_text().count('"event":"fill"') > 3, within_s=60, what=service.status)
            disk.fill()
            wait_for(lambda: _paused(service, "STORE_UNAVAILABLE") == 3, within_s=60, what=service.status)
            if killed_too:
                killed(process)
            disk.empty()
            if not killed_too:
                wait_for(service.resumed, within_s=60, what=service.status)
                service.come_to_rest()
                assert end(process) == 0
        if killed_too:
            with service.run() as process:
                wait_for(service.resumed, within_s=60, what=service.status)
                service.come_to_rest()
                assert end(process) == 0
        service.assert_exact()


def test_f9_f19_a_network_that_is_cut_again_and_again_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(1)
    with exchange(tmp_path) as urls, relay(urls) as cable:
        users = Users(count=3, target=100_000, buy="-0.01", sell="0.01", timeout=3)
        service = Service(tmp_path, cable.urls, users, settings=QUICK_STALE)
        with service.run() as process:
            service.start_all()
            for number in range(6):
                time.sleep(rng.uniform(0.5, 2))
                cable.say("halt" if number % 2 else "drop")
                time.sleep(rng.choice((0.2, 1, 7)))
                cable.say("heal")
                wait_for(service.resumed, within_s=60, what=service.status)
            wait_for(lambda: _bought(service), within_s=60, what=service.status)
            service.come_to_rest()
            assert end(process) == 0
    assert service.assert_exact().fills > 0


def _bought(service: Service) -> bool:
    return any(Decimal(user["progress"]["volume"]) > 0 for user in service.status().values())


def _paused(service: Service, reason: str) -> int:
    return sum(reason in [pause["reason"] for pause in user["pauses"]] for user in service.status().values())


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
