"""`otod simulate` as a process: what it prints does not depend on the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

USERS = Path(__file__).parents[2] / "etc" / "users.toml"


def simulated(hash_seed: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor", "simulate", *arguments]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_two_processes_print_the_same_to_the_last_digit():
    first, second = (simulated(hash_seed, "--apply", str(USERS), "--json") for hash_seed in ("0", "777"))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    assert json.loads(first.stdout)["users"].keys() == {"alice", "bob"}


def test_a_missing_document_is_a_wrong_usage():
    ended = simulated("0", "--apply", "nowhere.toml")
    assert ended.returncode == 2
    assert ended.stderr.startswith("otod: cannot read it")
    assert len(ended.stderr.splitlines()) == 1
