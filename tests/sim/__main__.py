"""`python -m tests.sim`: runs seeds, shows one, finds those that break, makes one small.

python -m tests.sim --seed 28                     one run: what it drew, what came of it
python -m tests.sim --seed 28 --trace [USER]      and its log
python -m tests.sim --find 500 [--from 1000]      so many seeds in parallel processes
python -m tests.sim --seed 28 --shrink            fewer users, less time, less trouble, the same violation
python -m tests.sim --options FILE                what --shrink has left
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import msgspec
from msgspec import Struct

from tests.sim.find import Search, attempt, find
from tests.sim.options import Options, calm_options, drawn
from tests.sim.run import Result, simulate
from tests.sim.shrink import kind_of, load, save, shrink


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, metavar="S", help="one run, and what came of it")
    what.add_argument("--find", type=int, metavar="N", help="N seeds in parallel processes")
    what.add_argument("--options", type=Path, metavar="FILE", help="a run as a shrunk one was saved")
    parser.add_argument("--from", type=int, default=1, dest="first", metavar="S", help="first seed of --find (1)")
    parser.add_argument("--users", type=int, default=5, metavar="U", help="5")
    time = parser.add_mutually_exclusive_group()
    time.add_argument("--minutes", type=float, default=10.0, metavar="M", help="of trading and trouble; 10")
    time.add_argument("--days", type=float, metavar="D", help="the same in days")
    parser.add_argument("--faults", choices=("none", "normal", "harsh"), default="normal", help="normal")
    parser.add_argument("--trace", nargs="?", const="", metavar="USER", help="print the log, or what names USER in it")
    parser.add_argument("--shrink", action="store_true", help="take away what the violation does not need")
    parser.add_argument("--save", type=Path, metavar="FILE", help="where --shrink leaves what is left")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="J", help="processes of --find")
    args = parser.parse_args()
    if args.days is not None:
        args.minutes = args.days * 1440
    if args.users < 1 or args.minutes <= 0 or args.jobs < 1 or (args.find is not None and args.find < 1):
        parser.error("--users, --minutes, --days, --jobs and --find are more than 0")
    os.nice(10)
    if args.find is not None:
        seeds = range(args.first, args.first + args.find)
        return find(Search(seeds=seeds, users=args.users, minutes=args.minutes, profile=args.faults, jobs=args.jobs))
    options = load(args.options) if args.options is not None else _options(args)
    return _shrink(options, args) if args.shrink else _one(options, args)


def _options(args: argparse.Namespace) -> Options:
    if args.faults == "none":
        return calm_options(args.seed, users=args.users, minutes=args.minutes)
    return drawn(args.seed, users=args.users, minutes=args.minutes, profile=args.faults)


def _one(options: Options, args: argparse.Namespace) -> int:
    _tell(options)
    result = simulate(options.seed, options=options)
    if args.trace is not None:
        for line in result.world.record.lines:
            if args.trace in str(line) and line.event != "permit_blocked":
                print(line)
    _verdict(result)
    return 1 if result.violations else 0


def _shrink(options: Options, args: argparse.Namespace) -> int:
    runs = partial(attempt, options.seed, len(options.users), options.minutes, args.faults)
    first = runs(options=options)
    if not first.wrong:
        print(f"seed {options.seed} breaks nothing: there is nothing to shrink")
        return 0
    print(f"shrinking: {first.wrong[0]}")
    left, count = shrink(
        options,
        lambda tried: runs(options=tried).wrong,
        wanted=kind_of(first.wrong[0]),
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    _tell(left)
    path = args.save or Path(gettempdir()) / f"otod-sim-{options.seed}.json"
    save(left, path)
    print(f"the smallest of {count} runs; again: python -m tests.sim --options {path} [--trace USER]")
    return 1


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
    told = {f.name: getattr(value, f.name) for f in msgspec.structs.fields(value)}
    usual = {f.name: f.default for f in msgspec.structs.fields(value)}
    return " ".join(f"{name}={_short(one)}" for name, one in told.items() if one and one != usual[name]) or "none"


def _verdict(result: Result) -> None:
    exchange = result.world.exchange.statistics()
    print(f"struck: {dict(sorted(result.struck.items()))}")
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
    changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=False)
    return done.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


if __name__ == "__main__":
    sys.exit(main())
