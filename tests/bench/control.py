"""100 clients poll while 100 users trade: `python -m tests.bench.control` (real processes; prints, asserts nothing).

Reply times as clients see them, and what polling does to the time from a pair's intent to its acceptance: the same
daemon is looked at in turns, quiet and polled, so that market and machine are the same for both.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import pynng
import trio

from tests.system.processes import end, otoctl, running, wait_for

USERS = CLIENTS = 100
TURN_S, TURNS = 10.0, 3
EACH_S = 0.2  # between two requests of one client


async def client(url: str, number: int, times_s: list[float]) -> None:
    user = "alice" if number % 2 else "bob"
    frame = json.dumps({"cmd": "trading.status", "args": {"user": user}}).encode()
    with pynng.Req0(recv_timeout=15_000) as socket:
        socket.dial(url, block=True)
        await trio.sleep(EACH_S * number / CLIENTS)
        while True:
            started = time.perf_counter()
            await socket.asend(frame)
            await socket.arecv()
            times_s.append(time.perf_counter() - started)
            await trio.sleep(EACH_S)


async def poll(url: str, times_s: list[float]) -> None:
    with trio.move_on_after(TURN_S):
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(client, url, number, times_s)


def say(name: str, times_ms: list[float]) -> None:
    times_ms = sorted(times_ms)
    p50, p99 = times_ms[len(times_ms) // 2], times_ms[int(len(times_ms) * 0.99)]
    print(f"{name:<44} n {len(times_ms):6}  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  max {times_ms[-1]:7.2f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory) / "s"
        words = ("paper", "--no-view", "--users", str(USERS), "--target", "100000", "--state-dir", str(state))
        url = f"ipc://{state}/run/control.sock"
        turns: list[tuple[str, float, float]] = []
        replies: list[float] = []
        with running(*words, log=Path(directory) / "log") as process:
            wait_for(lambda: otoctl("--socket", url, "system", "version").returncode == 0, within_s=60, what="control")
            time.sleep(10)
            for _ in range(TURNS):
                for kind in ("quiet", "polled"):
                    started = time.time()
                    if kind == "polled":
                        trio.run(poll, url, replies)
                    else:
                        time.sleep(TURN_S)
                    turns.append((kind, started, time.time()))
            end(process)
        file = next((state / "analytics").glob("day_*.duckdb"))
        with duckdb.connect(str(file), read_only=True) as connection:
            rows = connection.execute(
                "SELECT epoch_ms(intent_at), epoch_ms(placed_at) - epoch_ms(intent_at) FROM pairs"
                " WHERE placed_at IS NOT NULL"
            ).fetchall()
        print(
            f"{sys.platform}, {USERS} users, {CLIENTS} clients, one request each {EACH_S} s,"
            f" {TURNS} turns of {TURN_S:g} s"
        )
        say("reply to trading.status", [each * 1000 for each in replies])
        for kind in ("quiet", "polled"):
            spans = [(start * 1000, stop * 1000) for which, start, stop in turns if which == kind]
            times = [float(took) for at, took in rows if any(start <= at < stop for start, stop in spans)]
            say(f"intent to acceptance, {kind}", times)


if __name__ == "__main__":
    main()
