"""Commit latency with and without readers of the published files, paired: both in turns, in one run.

python -m tests.bench.beside [SECONDS=60] [READERS=5]

One writer commits a fill's ten rows fifty times a second, the day is published every two seconds. Three things take
turns, a second each, in random order: nobody else; as many processes that only burn processor time; as many that query
the files in a loop. They are stopped and continued by signals, so that all see the same machine and the same database.
Readers are no burden beyond the processor time that they take if the third ratio, readers against burners, is about 1.
Each process rests as long as it works, else five of them would leave nothing of a small machine.

A ratio is the median over all rounds of (p99 of a round's second) / (p99 of the same round's other second), with the
range in which nine of ten resampled medians lie.
"""

from __future__ import annotations

import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from actors.adapters.duck import in_thread
from tests.adapters.duck_rows import database, fill
from tests.bench.commit import percentiles_ms, timed_ms, write_of

WRITES_PER_S = 50
TURN_S = 1.0
PUBLISH_S = 2.0
EARLIER_FILLS = 50_000

READER = """
import sys, time
import duckdb
while True:
    began = time.monotonic()
    with duckdb.connect(config={"threads": "1"}) as connection:
        connection.execute(open(sys.argv[1]).read())
        connection.execute("SELECT count(*), epoch_ms(max(recorded_at)) FROM fills").fetchall()
        connection.execute("SELECT * FROM daily").fetchall()
        connection.execute('SELECT "user", sum(quote_quantity) FROM fills GROUP BY ALL').fetchall()
    time.sleep(time.monotonic() - began)
"""
BURNER = """
import time
while True:
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        sum(range(1000))
    time.sleep(0.05)
"""
ALONE, BURNERS, READERS = "alone", "burners", "readers"


def processes(code, count, *words):
    command = [sys.executable, "-c", code, *words]
    return [subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL) for _ in range(count)]


def tell(told, signum):
    for process in told:
        assert process.poll() is None, "a reader failed"
        process.send_signal(signum)


async def turn(db, who, number):
    """Latencies in seconds of one turn's commits."""
    tell(who, signal.SIGCONT)
    waits, until = [], time.perf_counter() + TURN_S
    while time.perf_counter() < until:
        number += 1
        waits.append(await timed_ms(partial(db.commit, [write_of("bob", number)])) / 1000)
        await trio.sleep(1 / WRITES_PER_S)
    tell(who, signal.SIGSTOP)
    return waits, number


async def measure(seconds, count):
    """Latencies by arm and round."""
    rounds = {ALONE: [], BURNERS: [], READERS: []}
    with tempfile.TemporaryDirectory() as directory:
        db = database(Path(directory), run=in_thread())
        await db.open()
        for start in range(0, EARLIER_FILLS, 1000):
            await db.commit([[fill(str(number)) for number in range(start, start + 1000)]])
        await db.publish()
        started = {
            ALONE: [],
            BURNERS: processes(BURNER, count),
            READERS: processes(READER, count, str(Path(directory) / "analytics/views.sql")),
        }
        every = [process for each in started.values() for process in each]

        async def publishing():
            while True:
                await db.publish()
                await trio.sleep(PUBLISH_S)

        try:
            await trio.sleep(1)  # past their imports
            tell(every, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publishing)
                number, until = 0, time.perf_counter() + seconds
                while time.perf_counter() < until:
                    order = random.sample(list(rounds), len(rounds))
                    for arm in order:
                        waits, number = await turn(db, started[arm], number)
                        rounds[arm].append(waits)
                nursery.cancel_scope.cancel()
        finally:
            for process in every:
                process.kill()
                process.wait()
        await db.close()
    return rounds


def ratio(rounds, arm, other, rng):
    """(median of the rounds' ratios of p99, its range)."""
    ratios = [percentiles_ms(a)[1] / percentiles_ms(b)[1] for a, b in zip(rounds[arm], rounds[other], strict=True)]
    resampled = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return statistics.median(ratios), resampled[100], resampled[-101]


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    rounds = trio.run(measure, seconds, count)
    for arm, turns in rounds.items():
        p50, p99 = percentiles_ms([wait for turn in turns for wait in turn])
        print(f"{arm:8s} {sum(map(len, turns)):6d} commits   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms")
    rng = random.Random(1)
    for arm, other in ((READERS, ALONE), (BURNERS, ALONE), (READERS, BURNERS)):
        middle, low, high = ratio(rounds, arm, other, rng)
        print(f"p99 {arm} / {other}: {middle:.2f} ({low:.2f} to {high:.2f}), {len(rounds[arm])} rounds")


if __name__ == "__main__":
    main()
