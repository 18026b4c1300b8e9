"""Kills a service with SIGKILL at random instants while its exchange lives on, and compares the records at the end.

python -m tests.system.kills --kills 200 --users 5 --seed 1
"""

from __future__ import annotations

import argparse
import random
import subprocess
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from tests.system.audit import Compared
from tests.system.service import Service, Users, exchange, killed


class Killed(Struct, kw_only=True):
    """Of one run. phases: at how many kills a user was in which phase, as last seen before the kill."""

    kills: int
    seconds: float
    phases: dict[str, int]
    found: Compared


def kill_often(place: Path, *, kills: int, users: int, seed: int, longest_s: float = 2.5, **how: str) -> Killed:
    """Five users by default with offsets that rest in the book, so that every phase of a pair is met."""
    rng = random.Random(seed)
    began = time.monotonic()
    phases: dict[str, int] = {}
    with exchange(place, "--seed", str(seed)) as urls:
        service = Service(place, urls, Users(count=users, target=100_000, timeout=4, **how))
        with service.run() as process:
            service.start_all()
            killed(process)
        for number in range(kills):
            if number % 4 == 3:  # also in the middle of a start
                service.kill_in(rng.uniform(0.2, 1.5))
                continue
            with service.run() as process:
                try:
                    process.wait(rng.uniform(0.0, longest_s))
                except subprocess.TimeoutExpired:
                    for user in service.status().values():
                        phases[user["phase"]] = phases.get(user["phase"], 0) + 1
                    killed(process)
        with service.run() as process:
            service.come_to_rest()
            process.terminate()
            assert process.wait(60) == 0
    found = service.assert_exact()
    return Killed(kills=kills, seconds=time.monotonic() - began, phases=phases, found=found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--users", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = kill_often(Path(place), kills=given.kills, users=given.users, seed=given.seed)
    print(f"{run.kills} kills in {run.seconds:.0f} s: {run.found.fills} fills, no difference, no second live pair")
    print("phases at the kill:", ", ".join(f"{phase} {count}" for phase, count in sorted(run.phases.items())))


if __name__ == "__main__":
    main()
