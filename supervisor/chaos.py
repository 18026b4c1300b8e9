"""Crashes on purpose: random actors die at random moments, so that restarting is exercised all the time.

Seeded: the same seed under the same schedule kills the same actors at the same instants.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection

import trio

from actors.errors import ConfigError
from supervisor.tree import Tree

WINDOW_S = 60.0
CRASHES_MAX = 3
"""Per actor within WINDOW_S (contract § 1): below the default intensity of 5, so that chaos alone parks nobody."""


async def chaos(tree: Tree, *, per_minute: float, rng: random.Random, spare: Collection[str] = ()) -> None:
    """Crashes running actors until it is cancelled.

    Args:
        per_minute: mean number of crashes per minute over all actors, > 0; the times between them are exponential.
        spare: paths, actors or whole groups, that are left alone.
    Raises: ConfigError.
    """
    if not 0 < per_minute < float("inf"):
        raise ConfigError(f"chaos rate is {per_minute}", where="chaos", do="give crashes per minute, more than 0")
    crashes: dict[str, deque[float]] = {}
    while True:
        await trio.sleep(rng.expovariate(per_minute / 60))
        now_s = trio.current_time()
        victims = [
            path for path in tree.running() if not is_spared(path, spare) and recent(crashes, path, now_s) < CRASHES_MAX
        ]
        if victims:
            path = rng.choice(victims)
            tree.crash(path, "chaos")
            crashes.setdefault(path, deque()).append(now_s)


def is_spared(path: str, spare: Collection[str]) -> bool:
    return any(path == spared or path.startswith(f"{spared}/") for spared in spare)


def recent(crashes: dict[str, deque[float]], path: str, now_s: float) -> int:
    """How often it was crashed within the window; forgets what is older."""
    times = crashes.get(path, deque())
    while times and now_s - times[0] >= WINDOW_S:
        times.popleft()
    if not times:
        crashes.pop(path, None)
    return len(times)
