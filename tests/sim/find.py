"""Many seeds in parallel processes: which break, what has struck, how fast it goes."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from typing import Any

from msgspec import Struct

from tests.sim.catalogue import SEEDS_MIN, missing
from tests.sim.options import Options
from tests.sim.run import simulate

CPU_S_PER_MINUTE = 6.0
CPU_S_MIN = 120
"""A run that computes for longer, by its simulated minutes, turns in a circle."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What a process tells of a run. wrong: violations, or how it failed."""

    seed: int
    wrong: tuple[str, ...]
    struck: dict[str, int] = {}
    orders: int = 0
    user_hours: float = 0.0
    real_s: float = 0.0


class Search(Struct, frozen=True, kw_only=True):
    """What to run. seeds: each once."""

    seeds: Sequence[int]
    users: int
    minutes: float
    profile: Any
    jobs: int


class TooLong(BaseException):
    """The run's computing time is up."""


def attempt(seed: int, users: int, minutes: float, profile: Any, options: Options | None = None) -> Outcome:
    """One run that cannot take the caller along. options: instead of those that are drawn."""
    limit_s = max(CPU_S_MIN, CPU_S_PER_MINUTE * minutes)

    def too_long(*_: object) -> None:
        raise TooLong(f"{limit_s:.0f} s of computing")

    signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        result = simulate(seed, users=users, minutes=minutes, profile=profile, options=options, witnessed=False)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = [line.strip(" |") for line in "".join(traceback.format_exception(error)).splitlines()]
        last = [line for line in lines if line and not line.startswith(("+-", "File", "Traceback"))][-1]
        return Outcome(seed=seed, wrong=(f"the run failed: {last}",))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return Outcome(
        seed=seed,
        wrong=tuple(str(one) for one in result.violations),
        struck=dict(result.struck),
        orders=result.world.exchange.statistics().orders,
        user_hours=result.user_hours,
        real_s=result.real_s,
    )


def find(search: Search) -> int:
    """Prints what broke as it comes, and at the end what it was all about. Returns: 1, something is wrong."""
    struck: Counter[str] = Counter()
    broken: list[int] = []
    hours, orders, real_s = 0.0, 0, 0.0
    began_s = time.monotonic()  # sim-ok: how long a search takes is about the real machine
    for number, found in enumerate(_attempts(search), start=1):
        struck.update(found.struck)
        hours, orders, real_s = hours + found.user_hours, orders + found.orders, real_s + found.real_s
        if found.wrong:
            broken.append(found.seed)
            print(f"seed {found.seed}: " + " | ".join(found.wrong[:3])[:600], flush=True)
        took_s = time.monotonic() - began_s  # sim-ok: see above
        progress(number, len(search.seeds), took_s, f"{len(broken)} broken")
    if sys.stderr.isatty():
        print(file=sys.stderr)
    took_s = time.monotonic() - began_s  # sim-ok: see above
    print(
        f"{len(search.seeds)} seeds, {len(broken)} broken, {orders} orders, {hours:.1f} user hours in {took_s:.0f} s"
        f" ({real_s:.0f} s of computing, {hours / max(real_s, 0.001):.2f} user hours a second and process)"
    )
    print(f"struck: {dict(sorted(struck.items()))}")
    never = missing(struck) if search.profile != "none" else []
    if never:
        print(f"never struck: {'; '.join(never)}")
    if broken:
        print(f"again: python -m tests.sim --seed {broken[0]} --faults {search.profile} --users {search.users}", end="")
        print(f" --minutes {search.minutes:g} [--trace USER | --shrink]")
    return 1 if broken or (never and len(search.seeds) >= SEEDS_MIN) else 0


def progress(done: int, of: int, took_s: float, text: str) -> None:
    """A bar on a terminal, a line now and then elsewhere."""
    left_s = took_s / done * (of - done)
    left = f"{left_s // 60:.0f}:{left_s % 60:02.0f} left"
    if sys.stderr.isatty():
        bar = "#" * (30 * done // of)
        print(f"\r[{bar:30}] {done}/{of}, {text}, {left} ", end="", file=sys.stderr, flush=True)
    elif done % max(1, of // 8) == 0:
        print(f"{done}/{of}, {text}, {left}", file=sys.stderr, flush=True)


def _attempts(search: Search) -> Iterator[Outcome]:
    rest = (search.users, search.minutes, search.profile)
    if search.jobs == 1:
        yield from (attempt(seed, *rest) for seed in search.seeds)
        return
    # Not ProcessPoolExecutor: with max_tasks_per_child it hung when both workers were replaced (CPython 115634).
    with get_context("spawn").Pool(search.jobs, maxtasksperchild=50) as pool:
        yield from pool.imap_unordered(partial(_attempt_of, rest), search.seeds)


def _attempt_of(rest: tuple[int, float, Any], seed: int) -> Outcome:
    return attempt(seed, *rest)
