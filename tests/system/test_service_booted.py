"""otod under a really booted systemd: installed, started, watched, reloaded, killed, upgraded, stopped, taken away.

Opt-in, because it needs root and a Debian root directory (booted.py):

    OTOD_BOOT_ROOT=ROOT python -m pytest -s tests/system/test_service_booted.py
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.audit import compare, records
from tests.system.booted import Machine, booted, needs_boot, put_otod
from tests.system.processes import wait_for
from tests.system.service import USER

pytestmark = [pytest.mark.system, needs_boot]

CONFIG = Path("etc/otod/otod.toml")
NAMES = ("user0", "user1", "user2")
SCHEMA = "import duckdb; duckdb.connect('/var/lib/otod/live/otod.duckdb').execute('{}'.format('schema_version'))"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with booted(tmp_path_factory.mktemp("booted")) as made:
        for line in made.run("/opt/otod/bin/otod", "install").splitlines():
            if line.startswith("  systemd-sysusers"):  # what it says is left to do
                made.sh(line)
        made.run("systemctl", "daemon-reload")
        yield made


def ctl(machine: Machine, *words: str) -> Any:
    return json.loads(machine.run("/opt/otod/bin/otoctl", "--json", *words))


def pairs(machine: Machine) -> int:
    users = ctl(machine, "trading", "status", "--all")["users"]
    return sum(user["progress"]["pairs"] for user in users.values())


def until_more_pairs(machine: Machine) -> None:
    before = pairs(machine)
    wait_for(lambda: pairs(machine) > before, within_s=60, what=lambda: machine.run("systemctl", "status", "otod"))


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def took(machine: Machine, line: str, state: str = "active") -> float:
    began_s = time.monotonic()
    machine.sh(line)
    machine.until("otod", state)
    return time.monotonic() - began_s


def test_a_life_from_the_first_start_to_the_last_stop(machine: Machine) -> None:
    """One story, in the order in which an operator meets it."""
    root = machine.root
    first_s = took(machine, "systemctl start otod")
    assert machine.show("otod", "StatusText") == "no users; 0 pairs/min"
    state = root / "var/lib/otod"
    assert [mode(state / name) for name in ("", "live", "analytics", "live/otod.duckdb")] == [
        "0750", "0700", "2750", "0600",
    ]  # fmt: skip
    published = [file for file in (state / "analytics").iterdir() if file.suffix in (".duckdb", ".sql")]
    assert {file.name: mode(file) for file in published} == {file.name: "0640" for file in published}
    assert {mode(file) for file in (root / "run/otod").glob("*.sock")} <= {"0660"}
    assert "OK" in machine.sh("systemd-analyze security --no-pager --threshold=12 otod.service | tail -n 1")

    users = "".join(USER.format(name=name, target=100_000, buy="0.05", sell="-0.05", timeout=300) for name in NAMES)
    (root / "root/users.toml").write_text(users)
    machine.run("/opt/otod/bin/otoctl", "user", "apply", "/root/users.toml")
    machine.run("/opt/otod/bin/otoctl", "trading", "start", "--all")
    until_more_pairs(machine)
    wait_for(
        lambda: re.fullmatch(r"3 trading; [1-9]\d* pairs/min", machine.show("otod", "StatusText")) is not None,
        within_s=30,
        what=lambda: machine.show("otod", "StatusText"),
    )
    fed = machine.show("otod", "WatchdogTimestampMonotonic")
    wait_for(lambda: machine.show("otod", "WatchdogTimestampMonotonic") != fed, within_s=20, what="the watchdog fed")

    text = (root / CONFIG).read_text()
    (root / CONFIG).write_text(text.replace("poll_s = 15.0", "poll_s = 5.0"))
    newer = int(machine.run("systemctl", "--version").split()[1]) >= 253
    assert machine.show("otod", "Type") == ("notify-reload" if newer else "notify")
    machine.run("systemctl", "reload", "otod")
    assert '"changed":["placement.poll_s"]' in journal(machine, "reloaded")
    (root / CONFIG).write_text(text.replace("poll_s = 15.0", "poll_s = -5.0"))
    refused = machine.run("systemctl", "reload", "otod", code=1)
    assert "failed" in refused
    assert machine.show("otod", "ActiveState") == "active"
    (root / CONFIG).write_text(text)
    machine.run("systemctl", "reload", "otod")

    killed_s = took(machine, "systemctl kill --signal=KILL otod; sleep 0.5")
    assert machine.show("otod", "NRestarts") == "1"
    until_more_pairs(machine)

    put_otod(root)  # a newer version, say
    upgraded_s = took(machine, "systemctl restart otod")
    until_more_pairs(machine)

    machine.sh("mkdir -p /run/systemd/system/otod.service.d")
    machine.sh("printf '[Service]\\nWatchdogSec=3\\nTimeoutAbortSec=1\\n' > /run/systemd/system/otod.service.d/w.conf")
    machine.sh("systemctl daemon-reload && systemctl restart otod")
    until_more_pairs(machine)
    hung_s = took(machine, "kill -STOP $(systemctl show --value --property=MainPID otod); sleep 5")
    assert "Watchdog timeout" in machine.run("journalctl", "--no-pager", "-u", "otod")
    until_more_pairs(machine)

    machine.run("/opt/otod/bin/otoctl", "trading", "stop", "--all")
    wait_for(
        lambda: {user["phase"] for user in ctl(machine, "trading", "status", "--all")["users"].values()} == {"idle"},
        within_s=90,
        what=lambda: machine.run("/opt/otod/bin/otoctl", "status"),
    )
    stopped_s = took(machine, "systemctl stop otod", "inactive")
    assert machine.show("otod", "Result") == "success"
    found = compare(state, state / "paper")
    assert (found.differences, found.live_pairs_most, found.self_matches) == ([], 1, 0)
    assert records(state, "SELECT pair_id FROM pairs WHERE status <> 'closed'") == []
    assert "SEGV" not in machine.run("journalctl", "--no-pager", "-u", "otod")
    version = machine.run("systemctl", "--version").splitlines()[0]
    print(
        f"\n{version}: ready {first_s:.1f} s after the first start, {killed_s:.1f} s after kill -9 (RestartSec=2), "
        f"{upgraded_s:.1f} s after `restart` with live pairs, {hung_s:.1f} s after it hung (watchdog 3 s); stopped in "
        f"{stopped_s:.1f} s; {found.fills} fills, records exact"
    )


def journal(machine: Machine, event: str, unit: str = "otod") -> str:
    """The newest line of a kind."""
    lines = machine.run("journalctl", "--no-pager", "--output=cat", "-u", unit).splitlines()
    return [line for line in lines if f'"event":"{event}"' in line][-1]


def test_the_journal_has_priorities_and_json_without_their_signs(machine: Machine) -> None:
    machine.run("systemctl", "start", "otod")
    machine.sh("systemctl kill --signal=HUP otod; sleep 1")
    entries = [
        json.loads(line)
        for line in machine.run("journalctl", "--no-pager", "--output=json", "-u", "otod", "-n", "200").splitlines()
    ]
    ours = [entry for entry in entries if entry.get("_COMM") == "otod"]
    assert {entry["PRIORITY"] for entry in ours} >= {"6"}
    levels = {"debug": "7", "info": "6", "warning": "4", "error": "3"}
    for entry in ours:
        if entry["MESSAGE"].startswith("{"):
            assert levels[json.loads(entry["MESSAGE"])["level"]] == entry["PRIORITY"]
    assert sum(entry["MESSAGE"].startswith("{") for entry in ours) > 10
    machine.run("systemctl", "stop", "otod")


def test_a_credential_is_the_key_and_a_member_of_the_group_reads_the_records(machine: Machine) -> None:
    machine.sh("cp /etc/otod/otod.toml /etc/otod/shard1.toml; systemd-tmpfiles --create /etc/tmpfiles.d/otod.conf")
    machine.sh("/opt/otod/bin/otod new-key > /root/key && mkdir -p /etc/credstore.encrypted")
    machine.sh("systemd-creds encrypt --name=master.key /root/key /etc/credstore.encrypted/otod-shard1.master.key")
    machine.run("systemctl", "start", "otod@shard1")
    state = machine.root / "var/lib/otod-shard1"
    assert not (state / "master.key").exists()
    assert [mode(state / name) for name in ("live", "analytics")] == ["0700", "0750"]  # RestrictSUIDSGID=
    machine.sh("useradd reader && usermod --append --groups otod reader")
    read = "setpriv --reuid=reader --regid=reader --init-groups"
    machine.sh(f"{read} cat /var/lib/otod-shard1/analytics/views.sql > /dev/null")
    machine.sh(f"{read} ls /var/lib/otod-shard1/live", code=2)
    refused = machine.sh(f"{read} /opt/otod/bin/otoctl --socket /run/otod-shard1 status", code=4)
    assert "[control]" in refused
    text = (machine.root / "etc/otod/shard1.toml").read_text().replace("viewers = []", 'viewers = ["reader"]', 1)
    (machine.root / "etc/otod/shard1.toml").write_text(text)
    machine.run("systemctl", "reload", "otod@shard1")
    assert "0 users" in machine.sh(f"{read} /opt/otod/bin/otoctl --socket /run/otod-shard1 status")
    machine.run("systemctl", "stop", "otod@shard1")


def test_what_no_restart_mends_is_not_tried_again_and_raises_the_alert(machine: Machine) -> None:
    (machine.root / "etc/otod/bad.toml").write_text("looks = 1\n")
    machine.run("systemctl", "start", "otod@bad", code=1)
    machine.until("otod@bad", "failed")
    assert (machine.show("otod@bad", "NRestarts"), machine.show("otod@bad", "ExecMainStatus")) == ("0", "78")
    assert "1 mistake in /etc/otod/bad.toml" in machine.show("otod@bad", "StatusText")
    alerts = "journalctl --no-pager --output=cat --identifier=otod-alert --priority=alert"
    wait_for(lambda: "otod@bad.service is down" in machine.sh(alerts), within_s=10, what="the alert")


def test_a_newer_file_is_refused_by_an_older_version(machine: Machine) -> None:
    """The records stay as they are."""
    machine.sh("systemctl start otod && systemctl stop otod")
    machine.run("/opt/otod/bin/python3", "-c", SCHEMA.format("INSERT INTO {0} SELECT max(version) + 1, now() FROM {0}"))
    machine.run("systemctl", "start", "otod", code=1)
    wait_for(lambda: machine.show("otod", "ActiveState") == "failed", within_s=20, what="the refusal")
    assert "start the version of otod that wrote it" in machine.show("otod", "StatusText")
    back = "DELETE FROM {0} WHERE version = (SELECT max(version) FROM {0})"
    machine.run("/opt/otod/bin/python3", "-c", SCHEMA.format(back))
    machine.sh("chown -R otod:otod /var/lib/otod/live")
    machine.run("systemctl", "start", "otod")
    refused = machine.run("/opt/otod/bin/otod", "uninstall", code=1)
    assert "disable --now" in refused
    machine.run("systemctl", "disable", "--now", "otod")


def test_a_drain_longer_than_the_units_time_is_granted(machine: Machine) -> None:
    """EXTEND_TIMEOUT_USEC: pairs that rest in the book keep the stop waiting for drain_s, beyond TimeoutStopSec=."""
    machine.sh("mkdir -p /run/systemd/system/otod.service.d")
    machine.sh("printf '[Service]\\nTimeoutStopSec=3\\n' > /run/systemd/system/otod.service.d/w.conf")
    config = machine.root / CONFIG
    text = config.read_text()
    config.write_text(text.replace("drain_s = 30.0", "drain_s = 8.0"))
    resting = USER.format(name="rests", target=100_000, buy="-1", sell="1", timeout=300)
    (machine.root / "root/users.toml").write_text(resting)
    machine.sh("systemctl daemon-reload && systemctl start otod")
    machine.run("/opt/otod/bin/otoctl", "user", "apply", "/root/users.toml")
    machine.run("/opt/otod/bin/otoctl", "trading", "start", "rests")
    wait_for(
        lambda: ctl(machine, "trading", "status", "rests")["users"]["rests"]["phase"] == "working",
        within_s=30,
        what=lambda: machine.run("/opt/otod/bin/otoctl", "why", "rests"),
    )
    took_s = took(machine, "systemctl stop otod", "inactive")
    assert 8 <= took_s < 20
    assert machine.show("otod", "Result") == "success"
    config.write_text(text)
    machine.sh("rm /run/systemd/system/otod.service.d/w.conf && systemctl daemon-reload && systemctl start otod")
    assert ctl(machine, "trading", "status", "rests")["users"]["rests"]["pair"] is not None
    machine.run("/opt/otod/bin/otoctl", "trading", "stop", "rests", "--now", "--yes")
    machine.run("systemctl", "stop", "otod")


def test_it_is_taken_away_again(machine: Machine) -> None:
    machine.sh("systemctl start otod && systemctl stop otod")
    said = machine.run("/opt/otod/bin/otod", "uninstall")
    assert "left      /etc/otod/otod.toml" in said
    machine.run("systemctl", "daemon-reload")
    assert machine.show("otod", "LoadState") == "not-found"
    assert (machine.root / "var/lib/otod/live/otod.duckdb").exists()
