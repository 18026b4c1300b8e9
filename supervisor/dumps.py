"""Keeps credentials out of core dumps: this process leaves none, and nobody of its uid may read its memory."""

from __future__ import annotations

import ctypes
import resource

PR_SET_DUMPABLE = 4  # linux/prctl.h


def leave_none() -> bool:
    """For the service, before any secret is read. Returns whether the kernel took both words.

    A size limit alone is not enough: where the kernel pipes dumps to a collector it is not asked.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return int(ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)) == 0
