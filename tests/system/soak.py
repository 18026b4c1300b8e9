"""The soak of SC-006, on demand: real processes at real pace for as long as asked, a fault now and then.

    python -m tests.system.soak --minutes 30 --users 10            what the issue asks for
    python -m tests.system.soak --minutes 3 --users 4 --act-every 20

An `otod exchange` with faults (lost replies, 502s, lost, late and doubled frames, cut streams, partial fills); beside
it an `otod run` with notifications to a real receiver and its figures over HTTP. Every so often an actor is restarted,
or the exchange stands still for some seconds. Every 10 s the figures are read. At the end nobody may be paused for a
reason that does not end by itself, the records must equal the exchange's, and memory, descriptors and tasks must be
flat: no more in the last third than in the second, but for a share.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct
from prometheus_client.parser import text_string_to_metric_families

from tests.system.processes import end, running
from tests.system.receiver import Receiver, receiving
from tests.system.service import Service, Users

FAULTS = """
[[fault]]
kind = "lost_reply"
path = "oto-order/place"
share = 0.01
[[fault]]
kind = "http_error"
status = 502
share = 0.002
[[fault]]
kind = "duplicate_frame"
stream = "alpha@"
share = 0.01
[[fault]]
kind = "delay_frame"
stream = "alpha@"
seconds = 3
share = 0.005
[[fault]]
kind = "drop_frame"
stream = "alpha@"
share = 0.001
[[fault]]
kind = "disconnect"
stream = "alpha@"
share = 0.0005
[[fault]]
kind = "partial_fill"
seconds = 2
share = 0.05
"""
USER = """
[users.{name}]
trading = {{ token = "KOGE", target_volume = "1000000", order_amount = "25", buy_offset = "0.05", \
sell_offset = "-0.05", interval_seconds = 1, volatility_threshold = 50, unwind_floor_percent = 20, auto_resume = \
["FEED_DISCONNECTED", "ORDERS_DISCONNECTED", "EXCHANGE_UNREACHABLE", "STORE_UNAVAILABLE", "RATE_LIMITED", \
"PRICE_VOLATILITY"] }}
credentials = {{ cookies = {{ paper_account = "{name}" }}, headers = {{}} }}
"""
FLAT = {"process_resident_memory_bytes": 0.08, "process_open_fds": 0.10, "process_threads": 0.10, "otod_tasks": 0.10}
"""Share by which the last third's median may be above the second third's: reconnections come and go."""

WARM_S = 900.0
LOOK_S = 10.0
STILL_S = (1.0, 12.0)  # how long the exchange stands still


class Sample(Struct, frozen=True):
    at_s: float
    figures: dict[str, float]


class Soak(Struct, kw_only=True):
    """What came of it. flat: by figure, the medians of the second and the last third."""

    samples: list[Sample] = []
    acts: list[str] = []
    flat: dict[str, tuple[float, float]] = {}
    paused: list[str] = []
    pairs: int = 0
    fills: int = 0
    told: int = 0

    @property
    def leaks(self) -> list[str]:
        """Memory is judged once it has had time to fill: the database's buffers, and what is kept of newest pairs."""
        judged = FLAT if self.samples[-1].at_s >= WARM_S else FLAT.keys() - {"process_resident_memory_bytes"}
        return [name for name in judged if self.flat[name][1] > self.flat[name][0] * (1 + FLAT[name]) + 2]


def run(place: Path, *, minutes: float, users: int, act_every_s: float, seed: int) -> Soak:
    """Raises: AssertionError, the records differ, or somebody's trading has not gone on."""
    soak, rng = Soak(), random.Random(seed)
    (place / "faults.toml").write_text(FAULTS)
    with receiving() as receiver, standing_exchange(place) as (urls, exchange):
        port = free_port()
        service = service_of(place, urls, users, receiver, port)
        with service.run() as process:
            service.start_all()
            began_s = time.monotonic()
            next_act_s, still_s = began_s + act_every_s, 0.0
            while (now_s := time.monotonic()) < began_s + minutes * 60:
                assert process.poll() is None, service.log.read_text()[-3000:]
                soak.samples.append(Sample(now_s - began_s, figures(port)))
                progress(soak, minutes)
                if now_s >= next_act_s:
                    next_act_s += act_every_s
                    still_s = act(service, exchange, rng, soak)
                time.sleep(max(0.0, LOOK_S - still_s - (time.monotonic() - now_s)))
                still_s = 0.0
            soak.paused = wait_until_calm(service)
            service.come_to_rest(within_s=600)
            soak.pairs = int(figures(port).get("otod_pairs_total", 0))
            assert end(process, timeout_s=120) == 0
        assert end(exchange) == 0
    found = service.assert_exact()
    soak.fills, soak.told = found.fills, len(receiver.heard)
    soak.flat = {name: thirds([sample.figures[name] for sample in soak.samples]) for name in FLAT}
    return soak


def act(service: Service, exchange: object, rng: random.Random, soak: Soak) -> float:
    """One thing that happens to a machine now and then. Returns how long it took, s."""
    if rng.random() < 0.4:
        still_s = rng.uniform(*STILL_S)
        soak.acts.append(f"exchange stands still for {still_s:.1f} s")
        exchange.send_signal(signal.SIGSTOP)  # type: ignore[attr-defined]
        time.sleep(still_s)
        exchange.send_signal(signal.SIGCONT)  # type: ignore[attr-defined]
        return still_s
    path = rng.choice(
        ["feeds/KOGE", "keeper", "tokens", "notifier", *(f"traders/{name}" for name in service.users.names)]
    )
    soak.acts.append(f"{path} is restarted")
    service.ask("actor.restart", path=path)
    return 0.0


def wait_until_calm(service: Service) -> list[str]:
    """Pauses that end by themselves get their time; what is left then is told."""
    until_s = time.monotonic() + 180
    while time.monotonic() < until_s:
        left = [f"{user}: {p['reason']}" for user, shown in service.status().items() for p in shown["pauses"]]
        if not left:
            return []
        time.sleep(2)
    return left


def service_of(place: Path, urls: dict[str, str], users: int, receiver: Receiver, port: int) -> Service:
    settings = (
        f'[placement]\nsettle_s = 3\npoll_s = 3\n[metrics]\nlisten = "127.0.0.1:{port}"\n'
        f'[notifications]\nurls = ["{receiver.url}"]\n'
    )
    service = Service(place, urls, Users(count=users, target=1), settings=settings)
    (place / "users.toml").write_text("".join(USER.format(name=name) for name in service.users.names))
    return service


@contextmanager
def standing_exchange(place: Path) -> Iterator[tuple[dict[str, str], object]]:
    words = (
        "exchange",
        "--http",
        "0",
        "--ws",
        "0",
        "--state-dir",
        str(place / "x"),
        "--faults",
        str(place / "faults.toml"),
    )
    with running(*words, log=place / "exchange.log") as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline()), process


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def figures(port: int) -> dict[str, float]:
    """Sums over all labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def thirds(values: list[float]) -> tuple[float, float]:
    third = max(1, len(values) // 3)
    return statistics.median(values[third : 2 * third] or values), statistics.median(values[-third:])


def progress(soak: Soak, minutes: float) -> None:
    newest = soak.samples[-1]
    done = min(1.0, newest.at_s / (minutes * 60))
    at = {name: newest.figures[name] for name in (*FLAT, "otod_pairs_total", "otod_paused_users")}
    shown = (
        f"{at['process_resident_memory_bytes'] / 2**20:.1f} MiB, {at['process_open_fds']:.0f} fds, "
        f"{at['process_threads']:.0f} threads, {at['otod_tasks']:.0f} tasks, {at['otod_pairs_total']:.0f} pairs, "
        f"{at['otod_paused_users']:.0f} pauses, {len(soak.acts)} acts"
    )
    ends = "" if sys.stderr.isatty() else "\n"
    print(f"\r[{'#' * int(30 * done):30}] {newest.at_s / 60:5.1f} min, {shown}", end=ends, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--act-every", type=float, default=60, help="seconds between two restarts or standstills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a new directory for all files; else a temporary one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = args.keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        soak = run(place, minutes=args.minutes, users=args.users, act_every_s=args.act_every, seed=args.seed)
    print(f"\n{soak.pairs} pairs, {soak.fills} fills, records exact; {soak.told} messages told; acts: {len(soak.acts)}")
    for name, (before, after) in soak.flat.items():
        print(f"{name}: {before:,.0f} in the second third, {after:,.0f} in the last ({after / before - 1:+.1%})")
    print("leaks:", ", ".join(soak.leaks) or "none", "· still paused:", ", ".join(soak.paused) or "nobody")
    return 1 if soak.leaks or soak.paused else 0


if __name__ == "__main__":
    sys.exit(main())
