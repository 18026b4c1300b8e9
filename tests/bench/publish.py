"""What a publication costs as the day grows, against writing the day whole each time; and what retention costs.

python -m tests.bench.publish [FILLS ...=10000 100000]

Of a day with so many fills, half as many pairs and as many orders: the first publication (whole), then one after 50
more fills of live pairs (shadow), then the same written whole (baseline). CPU of the process, and wall. Then days leave
the live file: a slice, and the checkpoint after it, which is all that commits wait for.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import duckdb
import trio

from actors.adapters import duck_retention
from actors.adapters.duck_schema import DAY_MS, day_number
from tests.adapters.duck_rows import DAY, NOON_MS, StillWall, database, fill, order, pair
from tests.bench.year import generate


def spent(call):
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    return (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000, result


async def measure(fills):
    day = day_number(DAY)
    with tempfile.TemporaryDirectory() as directory:
        wall = StillWall(NOON_MS)
        db = database(Path(directory), wall=wall, live_days=2)
        await db.open()
        reader = db._file.reader
        reader.execute("SET memory_limit = '1GB'")  # generating in one transaction is not what is measured
        generate(reader, day, 100, fills)
        reader.execute(
            'INSERT INTO orders SELECT "user", token, symbol, pair_id, fill_id, leg, side, price, quantity, quantity,'
            " quote_quantity, 'FILLED', exchange_time, exchange_time FROM fills"
        ).fetchall()
        reader.execute(f"INSERT INTO unpublished VALUES ({day})").fetchall()
        await db.checkpoint()
        reader.execute("SET memory_limit = '256MB'")

        def publish(reader, day, now_ms):
            """Returns its longest step in seconds of CPU: so long may a question wait."""
            steps, longest, begun = db._publisher.publishing(reader, day, now_ms), 0.0, time.process_time()
            for _ in steps:
                longest, begun = max(longest, time.process_time() - begun), time.process_time()
            return max(longest, time.process_time() - begun)

        line = "{:>10d} fills  {:34s} cpu {:8.1f} ms  wall {:8.1f} ms"
        first = spent(lambda: publish(reader, day, NOON_MS))
        print(line.format(fills, "first publication", *first[:2]), f" longest step cpu {first[2] * 1000:.0f} ms")
        for _ in range(3):
            await db.commit([more(number) for number in range(50)])
            apply = spent(lambda: db._file.catch_up(NOON_MS))
            update = spent(lambda: publish(reader, day, NOON_MS))
        print(line.format(fills, "250 rows into the typed tables", *apply[:2]))
        print(line.format(fills, "50 more fills, from the shadow", *update[:2]))
        db._publisher._shadows.clear()
        print(line.format(fills, "the same after a restart", *spent(lambda: publish(reader, day, NOON_MS))[:2]))
        db._publisher._shadows.clear()
        db._publisher._distrusted.add(day)
        print(line.format(fills, "written whole again (baseline)", *spent(lambda: publish(reader, day, NOON_MS))[:2]))
        reader.execute("UPDATE pairs SET status = 'closed', closed_at = intent_at").fetchall()
        wall.at_ms += 5 * DAY_MS
        await db.publish()
        slices, checkpoints, before = [], [], 0
        while True:
            slices.append(spent(lambda: db._file.trim(2, wall.at_ms)))
            if not slices[-1][2]:
                break
            checkpoints.append(spent(db._file.checkpoint))
            before += 1
            if before == 20:
                break
        rows = sum(each[2] for each in slices)
        worst = max(slices), max(checkpoints, key=lambda each: each[1])
        print(line.format(rows, "rows leave: dearest slice", *worst[0][:2]))
        print(line.format(len(checkpoints), "checkpoints (not fills): the longest", *worst[1][:2]))
        await db.close()


def more(number):
    """Five rows of a live pair: the pair twice, two orders, a fill."""
    of_pair = {"pair_id": f"alice-{DAY}-{90_000 + number}", "order_id": f"x{number}"}
    return [
        pair(90_000 + number, status="working"),
        pair(90_000 + number, status="selling"),
        order(f"x{number}", pair_id=of_pair["pair_id"], status="FILLED"),
        order(f"y{number}", pair_id=of_pair["pair_id"]),
        fill(f"new-{number}", **of_pair),
    ]


def main():
    print(f"duckdb {duckdb.__version__}; rows leave in slices of {duck_retention.SLICE_ROWS}")
    for fills in [int(word) for word in sys.argv[1:]] or [10_000, 100_000]:
        trio.run(measure, fills)


if __name__ == "__main__":
    main()
