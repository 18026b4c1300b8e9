"""Acknowledged rows per second and commit latency of the store, against inserting rows one by one; cost of publishing.

python -m tests.bench.commit [SECONDS=2]

A write is what a trader sends for one fill: ten rows of four tables. Writers are tasks that wait for their
acknowledgement before they send again, through the mailbox, as traders do.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import msgspec
import structlog
import trio

from actors import messages, store
from actors.adapters.duck import in_thread
from actors.adapters.duck_schema import ddl
from actors.store import StoreRows
from supervisor.mailbox import Mailbox
from tests.adapters.duck_rows import NOON_MS, change, database, fill, order, pair, user

WRITERS = (1, 10, 100, 1000)
PUBLISHED_FILLS = (1_000, 10_000, 100_000)


class NoEvents:
    def emit(self, topic, kind, **payload):
        pass


def write_of(name, number):
    """Ten rows of four tables, as one fill of a pair makes them."""
    ids = [f"{name}-{number}-{part}" for part in range(3)]
    return [
        *(pair(number, user=name, status=status) for status in ("working", "selling")),
        *(order(ids[part], user=name) for part in range(3)),
        *(fill(ids[part], user=name) for part in range(2)),
        *(change(number * 3 + part, user=name) for part in range(3)),
    ]


async def through_the_store(writers, seconds):
    """Returns (rows per second, p50 ms, p99 ms) of acknowledged writes."""
    waits = []
    with tempfile.TemporaryDirectory() as directory:
        inbox = Mailbox("store", capacity=4096)
        run = store.run
        async with trio.open_nursery() as nursery:

            async def live(task_status):
                await run(
                    inbox,
                    database(Path(directory), run=in_thread()),
                    wall=database(Path(directory))._wall,
                    log=structlog.get_logger(),
                    events=NoEvents(),
                    task_status=task_status,
                )

            await nursery.start(live)
            until = trio.current_time() + seconds

            async def writer(name):
                number, sink = 0, StoreRows(inbox)
                while trio.current_time() < until:
                    number += 1
                    sent = time.perf_counter()
                    await sink.write(write_of(name, number))
                    waits.append(time.perf_counter() - sent)

            async with trio.open_nursery() as senders:
                for writer_number in range(writers):
                    senders.start_soon(writer, f"user{writer_number}")
            nursery.cancel_scope.cancel()
    return len(waits) * 10 / seconds, *percentiles_ms(waits)


def row_by_row(seconds, *, per_transaction):
    """The baseline: typed INSERT OR REPLACE of single rows, in a transaction per row or per write."""
    waits = []
    with tempfile.TemporaryDirectory() as directory:
        connection = duckdb.connect(str(Path(directory) / "live.duckdb"), config={"threads": "1"})
        for statement in ddl():
            connection.execute(statement)
        number, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            number += 1
            sent = time.perf_counter()
            if per_transaction:
                connection.execute("BEGIN")
            for row in write_of("alice", number):
                insert(connection, row)
            if per_transaction:
                connection.execute("COMMIT")
            waits.append(time.perf_counter() - sent)
        connection.close()
    return len(waits) * 10 / seconds, *percentiles_ms(waits)


def insert(connection, row):
    names = row.__struct_fields__
    times = ("exchange_time", "second")
    marks = ["make_timestamptz(? * 1000)" if n.endswith("_at") or n in times else "?" for n in names]
    values = [str(value) if type(value).__name__ == "Decimal" else value for value in msgspec.structs.astuple(row)]
    connection.execute(f"INSERT OR REPLACE INTO {row.TABLE} VALUES ({', '.join(marks)})", values).fetchall()


async def publishing(fills):
    """Returns (first publication, the next after one more fill, day totals, a trader's load), each in ms."""
    with tempfile.TemporaryDirectory() as directory:
        db = database(Path(directory), run=in_thread())
        await db.open()
        await db.commit([[user()]])
        for start in range(0, fills, 1000):
            await db.commit(
                [[fill(str(number), exchange_time=NOON_MS + number) for number in range(start, start + 1000)]]
            )
            await db.query(messages.LoadTokens())
        await db.checkpoint()
        spent = [await timed_ms(db.publish)]
        await db.commit([[fill("one more")]])
        spent.append(await timed_ms(db.publish))
        spent.append(await timed_ms(lambda: db.query(messages.DayTotals("alice", "2026-11-20"))))
        spent.append(await timed_ms(lambda: db.query(messages.LoadTrader("alice", "2026-11-20"))))
        await db.close()
        return spent


async def beside(publish, seconds, fills=100_000):
    """Commits of one writer, 200 per second, alone or while the day is published again and again: (p50, p99) in ms."""
    waits = []
    with tempfile.TemporaryDirectory() as directory:
        db = database(Path(directory), run=in_thread())
        await db.open()
        for start in range(0, fills, 1000):
            await db.commit([[fill(str(number)) for number in range(start, start + 1000)]])
        await db.publish()

        async def publishing_on():
            while publish:
                await db.publish()
                await trio.sleep(0.05)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(publishing_on)
            until, number = trio.current_time() + seconds, 0
            while trio.current_time() < until:
                number += 1
                waits.append(await timed_ms(lambda: db.commit([write_of("bob", number)])) / 1000)  # noqa: B023
                await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
        await db.close()
    return percentiles_ms(waits)


async def timed_ms(call):
    started = time.perf_counter()
    await call()
    return (time.perf_counter() - started) * 1000


def percentiles_ms(seconds):
    cut = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else seconds * 100
    return cut[49] * 1000, cut[98] * 1000


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    line = "{:44s} {:>9.0f} rows/s   p50 {:7.2f} ms   p99 {:7.2f} ms"
    print(line.format("row by row, a transaction each (baseline)", *row_by_row(seconds, per_transaction=False)))
    print(line.format("row by row, a transaction per write", *row_by_row(seconds, per_transaction=True)))
    for writers in WRITERS:
        print(line.format(f"store, {writers} writers", *trio.run(through_the_store, writers, seconds)))
    for publish in (False, True):
        what = f"commit {'beside publications of' if publish else 'alone at'} 100,000 fills"
        print("{:44s} {:16s}   p50 {:7.2f} ms   p99 {:7.2f} ms".format(what, "", *trio.run(beside, publish, seconds)))
    print(f"{'fills of the day':>20s} {'publish':>10s} {'again':>10s} {'totals':>10s} {'load':>10s}  ms")
    for fills in PUBLISHED_FILLS:
        print(f"{fills:20d} " + " ".join(f"{spent:10.1f}" for spent in trio.run(publishing, fills)))


if __name__ == "__main__":
    main()
