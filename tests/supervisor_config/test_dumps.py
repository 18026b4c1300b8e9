"""A process that leaves no core dump; asked of a child, because it cannot be undone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import ctypes, resource
from supervisor.dumps import leave_none
assert leave_none()
assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
"""


def test_nothing_is_left_behind():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "0"
