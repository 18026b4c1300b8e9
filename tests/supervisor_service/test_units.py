"""The unit files as systemd itself reads and rates them, installed as `otod install` does it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from supervisor.install import Options, install

ANALYZE = shutil.which("systemd-analyze")
pytestmark = pytest.mark.skipif(ANALYZE is None, reason="needs systemd-analyze (Debian: apt install systemd)")

THRESHOLD = 12
"""Tenths of points, 0 best, 100 worst. What is left over is the network, and PrivateUsers=, which would hide the uids
of the control socket's callers."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the units in it and everything that they call."""
    install(Options(prefix=tmp_path, otod=Path("/opt/otod/bin/otod")), lambda line: None, systemd=257)
    for called in ("opt/otod/bin/otod", "bin/sh", "bin/kill"):
        (tmp_path / called).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / called).write_text("#!/bin/sh\n")
        (tmp_path / called).chmod(0o755)
    return tmp_path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    assert ANALYZE is not None
    return subprocess.run([ANALYZE, *words], capture_output=True, text=True, check=False, timeout=60)


def version() -> int:
    return int(analyze("--version").stdout.split()[1])


@pytest.mark.parametrize(
    "unit", ["otod.service", "otod@shard1.service", "otod-alert@otod.service.service", "otod.slice"]
)
def test_systemd_knows_every_word(root: Path, unit: str) -> None:
    if version() < 253:  # the type of the drop-in is unknown there, which is why it is not installed
        for drop_in in root.rglob("notify-reload.conf"):
            drop_in.unlink()
    done = analyze("verify", "--man=no", "--recursive-errors=no", f"--root={root}", unit)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_knows_every_word_of_the_unit_for_one_person(root: Path) -> None:
    """Read as a system unit: systemd-analyze --user wants a session."""
    options = Options(user=True, otod=Path("/opt/otod/bin/otod"), config_home=root / "home")
    install(options, lambda line: None, systemd=257)
    shutil.copy(root / "home/systemd/user/otod.service", root / "etc/systemd/system/person.service")
    done = analyze("verify", "--man=no", "--recursive-errors=no", f"--root={root}", "person.service")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_word_that_systemd_does_not_know_would_be_found(root: Path) -> None:
    unit = root / "etc/systemd/system/otod.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchdogSecs="))
    done = analyze("verify", "--man=no", "--recursive-errors=no", f"--root={root}", "otod.service")
    assert done.returncode != 0 or "WatchdogSecs" in done.stderr


@pytest.mark.parametrize("unit", ["otod.service", "otod@.service"])
def test_the_walls_stand(root: Path, unit: str) -> None:
    words = ("security", "--offline=true", "--no-pager", f"--threshold={THRESHOLD}")
    done = analyze(*words, str(root / "etc/systemd/system" / unit))
    assert done.returncode == 0, done.stdout
    bare = root / "bare.service"
    bare.write_text("[Service]\nExecStart=/opt/otod/bin/otod run\n")
    assert analyze(*words, str(bare)).returncode != 0  # the gate is one


def test_an_instance_differs_in_its_places_only(root: Path) -> None:
    units = root / "etc/systemd/system"

    def settings(name: str) -> list[str]:
        lines = (units / name).read_text().splitlines()
        return [line for line in lines if line and not line.startswith("#") and not line.startswith("Description=")]

    one = [line.replace("/etc/otod/otod.toml", "/etc/otod/%i.toml") for line in settings("otod.service")]
    places = {"StateDirectory=otod": "StateDirectory=otod-%i", "RuntimeDirectory=otod": "RuntimeDirectory=otod-%i"}
    key = "master.key:otod.master.key"
    one = [places.get(line, line).replace(key, "master.key:otod-%i.master.key") for line in one]
    assert one == settings("otod@.service")
