"""100 clients poll while 100 users trade: real processes; prints, asserts nothing.

python -m tests.bench.control [EACH_S=1] [INTERVAL_S=6]

EACH_S: between two requests of one client. INTERVAL_S: between two pairs of one user; with 0.5 the daemon, the exchange
in its process and the market need more than one core gives, and whatever is added makes everybody wait.

Reply times as clients see them, and what polling does to the time from a pair's intent to its acceptance: the same
daemon is looked at in turns, quiet and polled, so that market and machine are the same for both. Each polled turn is
set against the mean of the quiet ones before and behind it: a ratio of 1 means that nobody who trades notices.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import pynng
import trio

from supervisor.demo import demo_names
from tests.system.processes import end, otoctl, running, wait_for

USERS = CLIENTS = 100
TURN_S, TURNS = 10.0, 5  # polled turns; between two quiet ones each
OFFSETS = ("--buy-offset", "-0.2", "--sell-offset", "0.2", "--timeout-seconds", "2", "--interval-seconds")
"""Orders that rest beside each other until they run out of time: with those of the demo, which cross the spread, the
self-trade guard lets one user after the other place, and a turn has a handful of pairs."""


async def client(url: str, number: int, user: str, each_s: float, times_s: list[float]) -> None:
    """Polls one user's status, as soon as the last reply is there and each_s has passed."""
    frame = json.dumps({"cmd": "trading.status", "args": {"user": user}}).encode()
    with pynng.Req0(recv_timeout=15_000) as socket:
        socket.dial(url, block=True)
        await trio.sleep(each_s * number / CLIENTS)
        while True:
            started = time.perf_counter()
            await socket.asend(frame)
            assert b'"ok":true' in await socket.arecv()
            times_s.append(time.perf_counter() - started)
            await trio.sleep(each_s)


async def poll(url: str, each_s: float, times_s: list[float]) -> None:
    with trio.move_on_after(TURN_S):
        async with trio.open_nursery() as nursery:
            for number, user in enumerate(demo_names(CLIENTS)):
                nursery.start_soon(client, url, number, user, each_s, times_s)


def quantile(times_ms: list[float], share: float) -> float:
    return sorted(times_ms)[int(len(times_ms) * share)]


def say_ratios(share: float, by_turn: list[float]) -> None:
    """by_turn: quiet, polled, quiet, … quiet."""
    ratios = sorted(2 * by_turn[n] / (by_turn[n - 1] + by_turn[n + 1]) for n in range(1, len(by_turn), 2))
    middle = ratios[len(ratios) // 2]
    name = f"polled / quiet, p{share * 100:g} of each turn"
    print(f"{name:<44} n {len(ratios):6}  median {middle:.3f}  least {ratios[0]:.3f}  most {ratios[-1]:.3f}")


def say(name: str, times_ms: list[float]) -> None:
    times_ms = sorted(times_ms)
    p50, p99 = quantile(times_ms, 0.5), quantile(times_ms, 0.99)
    print(f"{name:<44} n {len(times_ms):6}  p50 {p50:7.2f} ms  p99 {p99:7.2f} ms  max {times_ms[-1]:7.2f} ms")


def cpu_s(process: Any) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    asked = [float(word) for word in sys.argv[1:]]
    each_s, interval_s = asked + [1.0, 6.0][len(asked) :]
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory) / "s"
        words = ("paper", "--no-view", "--users", str(USERS), "--target", "100000", "--state-dir", str(state))
        url = f"ipc://{state}/run/control.sock"
        turns: list[tuple[float, float]] = []
        burnt: list[float] = []
        replies: list[float] = []
        with running(*words, log=Path(directory) / "log") as process:
            wait_for(lambda: otoctl("--socket", url, "system", "version").returncode == 0, within_s=60, what="control")
            assert otoctl("--socket", url, "config", "set", "--all", *OFFSETS, f"{interval_s:g}").returncode == 0
            time.sleep(10)
            for turn in range(2 * TURNS + 1):
                started, burnt_s = time.time(), cpu_s(process)
                if turn % 2:
                    trio.run(poll, url, each_s, replies)
                else:
                    time.sleep(TURN_S)
                turns.append((started, time.time()))
                burnt.append((cpu_s(process) - burnt_s) / (turns[-1][1] - started))
            end(process)
        file = next((state / "analytics").glob("day_*.duckdb"))
        with duckdb.connect(str(file), read_only=True) as connection:
            rows = connection.execute(
                "SELECT epoch_ms(intent_at), epoch_ms(placed_at) - epoch_ms(intent_at) FROM pairs"
                " WHERE placed_at IS NOT NULL"
            ).fetchall()
        print(
            f"{sys.platform}, {USERS} users, {CLIENTS} clients, one request each {each_s:g} s,"
            f" {TURNS} turns of {TURN_S:g} s; cores busy in the daemon: quiet {statistics.mean(burnt[::2]):.2f},"
            f" polled {statistics.mean(burnt[1::2]):.2f}"
        )
        say("reply to trading.status", [each * 1000 for each in replies])
        times = [[float(took) for at, took in rows if start * 1000 <= at < stop * 1000] for start, stop in turns]
        say("intent to acceptance, quiet", [each for turn in times[::2] for each in turn])
        say("intent to acceptance, polled", [each for turn in times[1::2] for each in turn])
        for share in (0.5, 0.99):
            say_ratios(share, [quantile(turn, share) for turn in times])


if __name__ == "__main__":
    main()
