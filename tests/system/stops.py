"""Stops a service with SIGSTOP, as a machine that sleeps does, and compares the records at the end.

python -m tests.system.stops --seconds 60 --times 2 --users 5     with the deadlines of a service
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from pathlib import Path

from tests.system.audit import Compared
from tests.system.processes import end, wait_for
from tests.system.service import QUICK, Service, Users, exchange

QUICK_STALE = f"{QUICK}[market]\nstale_s = 5\n"
"""A stop of 12 s is then past every deadline that one of a minute is past with the usual ones: silence of a stream (5 s
instead of 30), the longest request (10 s). Listen keys (60 min) and the watchdog (of systemd) are past neither."""


def stop_often(
    place: Path, *, seconds: float, times: int, users: int, settings: str = "", timeout: int = 300
) -> Compared:
    with exchange(place) as urls:
        service = Service(place, urls, Users(count=users, target=100_000, timeout=timeout), settings=settings)
        with service.run() as process:
            service.start_all()
            for _ in range(times):
                fills = _fills(service)
                wait_for(lambda fills=fills: _fills(service) > fills, within_s=120, what=service.status)
                process.send_signal(signal.SIGSTOP)
                time.sleep(seconds)
                process.send_signal(signal.SIGCONT)
                wait_for(lambda: service.resumed(), within_s=120, what=service.status)
            service.come_to_rest()
            assert end(process) == 0
    return service.assert_exact()


def _fills(service: Service) -> int:
    return service.log.read_text().count('"event":"fill"')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--users", type=int, default=5)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        found = stop_often(Path(place), seconds=given.seconds, times=given.times, users=given.users)
    print(f"{given.times} stops of {given.seconds:g} s in {time.monotonic() - began:.0f} s: {found.fills} fills,")
    print("no difference, no second live pair")


if __name__ == "__main__":
    main()
