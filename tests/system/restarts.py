"""Restarts a service under load again and again, in order and by SIGKILL by turns, while its exchange lives on.

python -m tests.system.restarts --every 20 --minutes 10 --users 10 --seed 1

Systemd's part is played (played_systemd.py). At the end the records must be the exchange's, to the last fill, and no
user ever had two live pairs. Printed: how long each kind of restart took until READY=1, and in which phases it came.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import tempfile
import time
from pathlib import Path

from msgspec import Struct

from tests.system.audit import Compared
from tests.system.played_systemd import PlayedSystemd
from tests.system.service import QUICK, Service, Users, exchange

SETTINGS = QUICK + "[service]\ndrain_s = {drain_s}\n"


class Restarted(Struct, kw_only=True):
    """ready_s: by signal, from the signal to READY=1 of the next life. phases: of users, as last seen before it."""

    ready_s: dict[str, list[float]]
    phases: dict[str, int]
    pairs: int
    found: Compared


def restart_often(
    place: Path, *, restarts: int, every_s: float, users: int, seed: int, drain_s: float = 3.0, **how: str
) -> Restarted:
    """every_s: of trading between two restarts, ± a quarter. how: offsets of the users (service.Users)."""
    rng = random.Random(seed)
    ready_s: dict[str, list[float]] = {"SIGTERM": [], "SIGKILL": []}
    phases: dict[str, int] = {}
    with exchange(place, "--seed", str(seed)) as urls:
        service = Service(
            place,
            urls,
            Users(count=users, target=1_000_000, timeout=8, **how),
            settings=SETTINGS.format(drain_s=drain_s),
        )
        words = ("-m", "supervisor", "run", "--config", str(place / "otod.toml"), "--apply", str(place / "users.toml"))
        systemd = PlayedSystemd(place, *words, watchdog_s=30.0, always=True)
        with systemd.running():
            systemd.until_ready()
            service.start_all()
            for number in range(restarts):
                time.sleep(every_s * rng.uniform(0.75, 1.25))
                for user in service.status().values():
                    phases[user["phase"]] = phases.get(user["phase"], 0) + 1
                signum = (signal.SIGTERM, signal.SIGKILL)[number % 2]
                began_s, life = time.monotonic(), len(systemd.ended) + 2
                systemd.signal(signum)
                ready_s[signum.name].append(systemd.until_ready(life, within_s=120).at_s - began_s)
            service.come_to_rest(within_s=180)
            pairs = sum(user["progress"]["pairs"] for user in service.status().values())
            systemd.always = False
            assert systemd.stop(within_s=90) == 0
            assert [it.status for it in systemd.ended] == [(0, -9)[number % 2] for number in range(restarts)] + [0]
            assert systemd.killed_s == []
    return Restarted(ready_s=ready_s, phases=phases, pairs=pairs, found=service.assert_exact())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--every", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--buy", default="0.05", help="offset in percent; with -0.02 and 0.02 pairs rest in the book")
    parser.add_argument("--sell", default="-0.05")
    given = parser.parse_args()
    count = max(1, round(given.minutes * 60 / given.every))
    with tempfile.TemporaryDirectory() as place:
        run = restart_often(
            Path(place), restarts=count, every_s=given.every, users=given.users, seed=given.seed,
            buy=given.buy, sell=given.sell,
        )  # fmt: skip
    print(f"{count} restarts, {run.pairs} pairs, {run.found.fills} fills: no difference, no second live pair")
    for name, took in run.ready_s.items():
        if took:
            print(f"{name}: ready again after {statistics.median(took):.2f} s in the median, {max(took):.2f} s at most")
    print("phases at the signal:", ", ".join(f"{phase} {seen}" for phase, seen in sorted(run.phases.items())))


if __name__ == "__main__":
    main()
