"""What the kernel says of this process, under the names that Prometheus has for it.

prometheus_client's own collector needs /proc/stat, which the hardened unit hides (ProcSubset=pid): there it would tell
nothing. These files are the process's own.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from msgspec import Struct


class Process(Struct, frozen=True, kw_only=True):
    """None: this system does not tell."""

    cpu_s: float | None = None
    memory_bytes: int | None = None
    descriptors: int | None = None
    descriptors_max: int | None = None
    threads: int | None = None


def look(proc: Path = Path("/proc/self")) -> Process:
    try:
        # The name in brackets may hold anything, brackets too; what follows the last one is numbers.
        numbers = (proc / "stat").read_bytes().rsplit(b")", 1)[-1].split()
        descriptors = len(os.listdir(proc / "fd"))
    except OSError:
        return Process()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Process(
        cpu_s=(int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK"),
        memory_bytes=int(numbers[21]) * resource.getpagesize(),
        descriptors=descriptors,
        descriptors_max=None if most == resource.RLIM_INFINITY else most,
        threads=int(numbers[17]),
    )
