"""`otod install`: what is put where, what is kept, what it refuses."""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from actors.errors import Refusal, Unusable
from supervisor import install as installing
from supervisor.__main__ import main
from supervisor.config import check
from supervisor.install import EXECUTABLE, Options, install, pieces, uninstall
from supervisor.tree import END_S_MAX

ROOT = Path(__file__).resolve().parents[2]
CALLED = Path("/opt/elsewhere/bin/otod")


def run(tmp_path, *, systemd=None, **options):
    said = []
    code = install(Options(prefix=tmp_path, otod=CALLED, **options), said.append, systemd=systemd)
    assert code == 0
    return said


def found(tmp_path):
    return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}


SYSTEM = {
    "etc/systemd/system/otod.service",
    "etc/systemd/system/otod@.service",
    "etc/systemd/system/otod-alert@.service",
    "etc/systemd/system/otod.slice",
    "etc/sysusers.d/otod.conf",
    "etc/tmpfiles.d/otod.conf",
    "etc/otod/otod.toml",
    "etc/otod/users.example.toml",
}
DROP_INS = {f"etc/systemd/system/{name}.service.d/notify-reload.conf" for name in ("otod", "otod@")}


@pytest.mark.parametrize(("systemd", "more"), [(None, set()), (252, set()), (253, DROP_INS), (257, DROP_INS)])
def test_everything_is_in_place(tmp_path, systemd, more):
    said = run(tmp_path, systemd=systemd)
    assert found(tmp_path) == SYSTEM | more
    assert any("systemctl enable --now otod" in line for line in said)
    for name in found(tmp_path):
        assert EXECUTABLE not in (tmp_path / name).read_text()
    assert f"ExecStart={CALLED} run --config" in (tmp_path / "etc/systemd/system/otod.service").read_text()
    assert (tmp_path / "etc/otod/otod.toml").stat().st_mode & 0o777 == 0o640


def test_an_instance_reloads_its_own_file(tmp_path):
    run(tmp_path, systemd=257)
    assert "/etc/otod/%i.toml" in (tmp_path / "etc/systemd/system/otod@.service.d/notify-reload.conf").read_text()
    assert "/etc/otod/otod.toml" in (tmp_path / "etc/systemd/system/otod.service.d/notify-reload.conf").read_text()


def test_again_changes_nothing_and_what_an_operator_wrote_is_kept(tmp_path):
    run(tmp_path)
    assert {line.split()[0] for line in run(tmp_path) if line.startswith(("made", "kept", "replaced"))} == set()
    config, unit = tmp_path / "etc/otod/otod.toml", tmp_path / "etc/systemd/system/otod.service"
    config.write_text("instance = 'mine'\n")
    unit.write_text("an older one")
    said = run(tmp_path)
    assert f"kept      {config}" in said
    assert f"replaced  {unit}" in said
    assert config.read_text() == "instance = 'mine'\n"


def test_uninstall_leaves_what_is_not_ours(tmp_path):
    run(tmp_path, systemd=257)
    (tmp_path / "etc/systemd/system/otod.service.d/mine.conf").write_text("[Service]\n")
    said = []
    assert uninstall(Options(prefix=tmp_path), said.append, active=lambda: True) == 0
    left = {"etc/otod/otod.toml", "etc/otod/users.example.toml", "etc/systemd/system/otod.service.d/mine.conf"}
    assert found(tmp_path) == left
    assert uninstall(Options(prefix=tmp_path), said.append, active=lambda: True) == 0


def test_a_service_that_runs_is_not_taken_away():
    with pytest.raises(Refusal, match="systemctl disable --now otod"):
        uninstall(Options(), print, active=lambda: True)
    with pytest.raises(Refusal, match="systemctl --user disable"):
        uninstall(Options(user=True), print, active=lambda: True)


def test_for_one_person(tmp_path):
    options = Options(user=True, otod=CALLED, config_home=tmp_path / ".config")
    said = []
    assert install(options, said.append, systemd=257) == 0
    expected = {"systemd/user/otod.service", "otod/otod.toml", "otod/users.example.toml"}
    assert found(tmp_path / ".config") == expected
    assert not any("sysusers" in line for line in said)
    assert uninstall(options, said.append, active=lambda: False) == 0
    assert found(tmp_path / ".config") == expected - {"systemd/user/otod.service"}


def test_what_the_service_could_not_see_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/root/venv")
    with pytest.raises(Refusal, match="/opt/otod"):
        install(Options(), print, systemd=None)


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "etc").write_text("a file")
    with pytest.raises(Unusable, match="etc"):
        run(tmp_path)


def test_an_otod_without_its_files_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(installing, "__file__", str(tmp_path / "a" / "install.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(Unusable, match="unit files"):
        pieces(Options(), systemd=None)
    place = tmp_path / "share" / "otod"
    place.mkdir(parents=True)
    for room in ("systemd", "etc"):
        (place / room).symlink_to(ROOT / room)
    assert len(pieces(Options(), systemd=None)) == len(SYSTEM)


def test_a_wheel_brings_every_file_that_is_needed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    for room in ("systemd", "etc"):
        packed = {path for pattern in listed[f"share/otod/{room}"] for path in ROOT.glob(pattern)}
        assert packed == set((ROOT / room).iterdir())


def test_the_example_is_sound_and_its_stop_fits_into_the_units_time(tmp_path):
    run(tmp_path)
    config = tmp_path / "etc/otod/otod.toml"
    assert check(config) == []
    drain_s = tomllib.loads(config.read_text())["service"]["drain_s"]
    for name in ("otod.service", "otod@.service"):
        lines = (tmp_path / "etc/systemd/system" / name).read_text().splitlines()
        stop_s = int(next(line for line in lines if line.startswith("TimeoutStopSec=")).partition("=")[2])
        assert stop_s >= drain_s + END_S_MAX + 5


def test_the_command_line(tmp_path):
    made = CliRunner().invoke(main, ["install", "--prefix", str(tmp_path), "--otod", str(CALLED)])
    assert made.exit_code == 0, made.output
    assert "Left to do:" in made.output
    assert found(tmp_path) == SYSTEM
    gone = CliRunner().invoke(main, ["uninstall", "--prefix", str(tmp_path)])
    assert gone.exit_code == 0, gone.output
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "etc").write_text("a file")
    refused = CliRunner().invoke(main, ["install", "--prefix", str(tmp_path / "x"), "--otod", str(CALLED)])
    assert refused.exit_code == 1


@pytest.mark.parametrize(
    ("printed", "version"), [("systemd 252 (252.39-1)", 252), ("systemd 257~rc1", 257), ("upstart", None)]
)
def test_the_version_of_systemd_is_read(tmp_path, monkeypatch, printed, version):
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho '{printed}'\nexit 3\n")
    (tmp_path / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert installing.systemd_version() == version
    assert installing.is_active(user=True) is False
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert installing.systemd_version() is None
    assert installing.is_active(user=False) is False
