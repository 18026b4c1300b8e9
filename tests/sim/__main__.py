"""`python -m tests.sim`: runs seeds, shows one, finds those that break.

python -m tests.sim --seed 28                     one run: what it drew, what came of it
python -m tests.sim --seed 28 --trace [USER]      and its log
python -m tests.sim --find 500 [--from 1000]      so many seeds in parallel processes
python -m tests.sim --seed 28 --shrink            fewer users, less time, less trouble, the same violation
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from msgspec import Struct

from tests.sim.options import Options, drawn
from tests.sim.run import Result, simulate

CPU_S_MAX = 120
"""A run that computes for so long turns in a circle."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What a process tells of a run. wrong: violations, or how it failed."""

    seed: int
    wrong: tuple[str, ...]
    struck: dict[str, int]
    orders: int
    user_hours: float
    real_s: float


def attempt(seed: int, users: int, minutes: float, profile: Any) -> Outcome:
    """One run that cannot take the caller along."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, CPU_S_MAX)
    try:
        result = simulate(seed, users=users, minutes=minutes, profile=profile)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        lines = [line.strip(" |") for line in "".join(traceback.format_exception(error)).splitlines()]
        last = [line for line in lines if line and not line.startswith(("+-", "File", "Traceback"))][-1]
        return Outcome(seed=seed, wrong=(f"the run failed: {last}",), struck={}, orders=0, user_hours=0, real_s=0)
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


class TooLong(BaseException):
    """The run's computing time is up."""


def _too_long(*_: object) -> None:
    raise TooLong(f"{CPU_S_MAX} s of computing")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int)
    parser.add_argument("--find", type=int, metavar="N")
    parser.add_argument("--from", type=int, default=1, dest="first")
    parser.add_argument("--users", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--faults", choices=("none", "normal", "harsh"), default="normal")
    parser.add_argument("--trace", nargs="?", const="", metavar="USER")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.nice(10)
    if args.find is not None:
        return _find(args)
    if args.seed is None:
        parser.error("give --seed or --find")
    return _one(args)


def _one(args: argparse.Namespace) -> int:
    if args.faults != "none":
        _tell(drawn(args.seed, users=args.users, minutes=args.minutes, profile=args.faults))
    result = simulate(args.seed, users=args.users, minutes=args.minutes, profile=args.faults)
    if args.trace is not None:
        for line in result.world.record.lines:
            if args.trace in str(line) and line.event != "permit_blocked":
                print(line)
    _verdict(result)
    return 1 if result.violations else 0


def _tell(options: Options) -> None:
    for name in options.__struct_fields__:
        value = getattr(options, name)
        if name in ("users", "faults"):
            print(f"{name}:")
            for one in value:
                print(f"    {_short(one)}")
        elif isinstance(value, Struct):
            print(f"{name}: {_short(value)}")
        else:
            print(f"{name}: {value}")


def _short(value: Any) -> str:
    """Only what differs from the defaults."""
    if not isinstance(value, Struct):
        return str(value)
    kind = type(value)
    fields = dict(zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False))
    told = {n: getattr(value, n) for n in kind.__struct_fields__ if getattr(value, n) != fields.get(n)}
    return " ".join(f"{name}={_short(one)}" for name, one in told.items()) or "none"


def _verdict(result: Result) -> None:
    exchange = result.world.exchange.statistics()
    print(f"trouble: {dict(sorted(result.struck.items()))}")
    print(
        f"{result.virtual_s:.0f} virtual s in {result.real_s:.1f} s, {result.steps} steps, {exchange.orders} orders,"
        f" {exchange.fills} fills, {result.world.lives} lives, digest {result.digest}"
    )
    for violation in result.violations:
        print(f"VIOLATION {violation}")
    if result.violations:
        print(f"seed {result.options.seed} at commit {_commit()}; the last of {result.violations[0].user}:")
        for line in result.world.record.about(result.violations[0].user, last=25):
            print(f"    {line}")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _find(args: argparse.Namespace) -> int:
    seeds = range(args.first, args.first + args.find)
    struck: Counter[str] = Counter()
    broken, hours, orders, real_s = 0, 0.0, 0, 0.0
    for number, found in enumerate(_attempts(seeds, args), start=1):
        struck.update(found.struck)
        hours, orders, real_s = hours + found.user_hours, orders + found.orders, real_s + found.real_s
        if found.wrong:
            broken += 1
            print(f"seed {found.seed}: " + " | ".join(found.wrong[:3])[:600], flush=True)
        if sys.stderr.isatty():
            bar = "#" * (30 * number // len(seeds))
            print(f"\r[{bar:30}] {number}/{len(seeds)} seeds, {broken} broken", end="", file=sys.stderr, flush=True)
        elif number % 25 == 0:
            print(f"{number}/{len(seeds)} seeds, {broken} broken", file=sys.stderr, flush=True)
    print(
        f"{len(seeds)} seeds, {broken} broken, {orders} orders, {hours:.1f} user hours in {real_s:.0f} s of computing"
    )
    print(f"trouble: {dict(sorted(struck.items()))}")
    return 1 if broken else 0


def _attempts(seeds: range, args: argparse.Namespace) -> Iterator[Outcome]:
    rest = (args.users, args.minutes, args.faults)
    if args.jobs == 1:
        yield from (attempt(seed, *rest) for seed in seeds)
        return
    with ProcessPoolExecutor(args.jobs, max_tasks_per_child=50) as pool:
        for future in as_completed([pool.submit(attempt, seed, *rest) for seed in seeds]):
            yield future.result()


if __name__ == "__main__":
    sys.exit(main())
