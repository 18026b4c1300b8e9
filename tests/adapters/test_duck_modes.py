"""Modes of the state directory, also under a unit that may set no setgid bit."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from actors.adapters.duck_dir import ANALYTICS_MODE, LIVE_MODE, make_directory


@pytest.fixture
def walled(monkeypatch):
    """As RestrictSUIDSGID= does it: EPERM for every mode with the bit."""
    chmod = Path.chmod

    def restricted(self, mode, **options):
        if mode & 0o6000:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(self))
        chmod(self, mode, **options)

    monkeypatch.setattr(Path, "chmod", restricted)


def mode_of(path):
    return path.stat().st_mode & 0o7777


def test_a_new_directory_has_exactly_its_mode_and_an_old_one_keeps_its_own(tmp_path):
    make_directory(tmp_path / "a" / "analytics", ANALYTICS_MODE)
    assert mode_of(tmp_path / "a" / "analytics") == 0o2750
    make_directory(tmp_path / "a" / "analytics", LIVE_MODE)
    assert mode_of(tmp_path / "a" / "analytics") == 0o2750


def test_without_leave_for_setgid_the_group_still_reads(tmp_path, walled):
    make_directory(tmp_path / "analytics", ANALYTICS_MODE)
    assert mode_of(tmp_path / "analytics") == 0o750


def test_any_other_refusal_is_told(tmp_path, monkeypatch):
    def refused(self, mode, **options):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(PermissionError):
        make_directory(tmp_path / "live", LIVE_MODE)
    with pytest.raises(PermissionError):
        make_directory(tmp_path / "analytics", ANALYTICS_MODE)
