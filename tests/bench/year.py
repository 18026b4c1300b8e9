"""`daily` over a year of many users: what a person waits for.

In the published files with views.sql; in the day files alone (without totals.duckdb); in one big file (baseline).

python -m tests.bench.year [DAYS=20] [USERS=100] [FILLS_A_DAY=100000] [DIRECTORY]

The issue's year is `365 100 100000`: 36.5 million fills, 18 million pairs, some GB and minutes to generate. With a
DIRECTORY the files stay there and are used again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import trio

from actors import messages
from actors.adapters import duck_shadow, duck_totals, duck_views
from actors.adapters.duck_schema import DAY_MS, day_number, day_text, ddl
from actors.statistics import Statistics
from tests.adapters.duck_rows import StillWall, database, fill

THREADS = 2
FIRST_DAY = day_number("2026-01-01")
QUERIES = {
    "daily, all": "SELECT * FROM daily",
    "daily, summed": "SELECT sum(volume), sum(wear) FROM daily",
    "daily, one user": "SELECT * FROM daily WHERE \"user\" = 'user7'",
    "daily, a month": "SELECT * FROM daily WHERE day BETWEEN '2026-01-03' AND '2026-02-03'",
    "daily, recomputed": """
        SELECT "user", epoch_ms(exchange_time) // 86400000 AS day, token, sum(quote_quantity),
               sum(quote_quantity * CAST(mul_point AS DECIMAL(10,2))) FROM fills WHERE side = 'BUY' GROUP BY ALL""",
    "daily_points": "SELECT sum(points) FROM daily_points",
    "fills, one pair": "SELECT fill_id, price FROM fills WHERE pair_id = 'user7-2026-01-02-3'",
}


def generate(connection, day, users, fills):
    """One day in the live tables: fills of pairs of one buy and one sell each."""
    name, start = day_text(day), day * DAY_MS * 1000
    step = DAY_MS * 1000 // fills
    connection.execute(
        "INSERT INTO fills SELECT 'user' || (i // 2 % $1), 'KOGE', 'ALPHA_22USDT',"
        " 'user' || (i // 2 % $1) || $2 || (i // 2 // $1), CAST($3 * CAST(1000000 AS BIGINT) + i AS VARCHAR),"
        " if(i % 2 = 0, 'working', 'pending'), if(i % 2 = 0, 'BUY', 'SELL'), 48 + (hash(i) % 9999) / 10000,"
        " 1 + (hash(i + 1) % 9999) / 10000, 50 + (hash(i + 2) % 99999999) / 100000000,"
        " (hash(i + 3) % 9999) / 100000000,"
        " if(i % 2 = 0, 'ALPHA_22', 'USDT'), 4, CAST($3 * CAST(1000000 AS BIGINT) + i AS VARCHAR),"
        " CAST(i AS VARCHAR), 'stream',"
        " make_timestamptz($4 + i * $5), make_timestamptz($4 + i * $5 + 20000) FROM range($6) AS r(i)",
        [users, f"-{name}-", day, start, step, fills],
    )
    connection.execute(
        "INSERT INTO pairs BY NAME SELECT 'user' || (i % $1) AS \"user\", 'KOGE' AS token, 'ALPHA_22USDT' AS symbol,"
        " 'user' || (i % $1) || $2 || (i // $1) AS pair_id, i // $1 AS number, 48 AS reference_price,"
        " 48.02 AS buy_price, 47.97 AS sell_price, 1.04 AS quantity, 'closed' AS status, 'completed' AS outcome,"
        " 50 + (hash(i) % 9999) / 100000000 AS buy_quote, 49.98 AS sell_quote, (hash(i) % 9999) / 1000000 AS wear,"
        " 4.2 AS wear_bps, 0.01 AS wear_fee, 0.005 AS wear_spread, 0.001 AS wear_slippage, 0 AS wear_unwind,"
        " 0.004 AS wear_dust, 0.0001 AS dust_quantity, 200 AS counted_volume,"
        " make_timestamptz($3 + i * $4) AS intent_at, make_timestamptz($3 + i * $4) AS placed_at,"
        " make_timestamptz($3 + i * $4 + 900000) AS closed_at, '[]' AS sales"
        " FROM range($5) AS r(i)",
        [users, f"-{name}-", start, step * 2, fills // 2],
    )


def make(directory, days, users, fills):
    """Day files as the publisher makes them, and one file with everything."""
    connection = duckdb.connect(config={"threads": str(THREADS), "memory_limit": "1GB"})
    connection.execute("SET TimeZone = 'UTC'")
    for statement in ddl():
        connection.execute(_keyless(statement))
    big = directory / "big.duckdb"
    connection.execute(f"ATTACH '{big}' AS big (STORAGE_VERSION 'v1.4.0')")
    for number in range(days):
        day = FIRST_DAY + number
        generate(connection, day, users, fills)
        file = directory / f"day_{day_text(day)}.duckdb"
        connection.execute(f"ATTACH '{file}' AS {duck_shadow.FILE} (STORAGE_VERSION 'v1.4.0')")
        for statement in _whole_day(day):
            connection.execute(statement)
        connection.execute(f"CHECKPOINT {duck_shadow.FILE}")
        for table in (*duck_views.PUBLISHED, duck_views.TOTALS):
            what = "CREATE TABLE IF NOT EXISTS" if number == 0 else "INSERT INTO"
            select = f"SELECT * FROM {duck_shadow.FILE}.{table}"
            connection.execute(f"{what} big.{table} {'AS ' if number == 0 else ''}{select}")
        connection.execute(f"DETACH {duck_shadow.FILE}")
        connection.execute("DELETE FROM fills; DELETE FROM pairs")
    for name, sql in duck_views.VIEWS.items():
        connection.execute(f"CREATE VIEW big.{name} AS {sql}")
    connection.execute("CHECKPOINT big")
    connection.close()
    duckdb.connect(str(directory / "catalogue.duckdb")).close()


def sum_up(directory):
    """totals.duckdb of all days but the last, as the publisher makes it. Seconds that it took."""
    files = duck_views.day_files(directory)
    older = sorted(files)[:-1]
    work = duck_totals.Work(through=older[-1], files=dict.fromkeys(older, ""), days=tuple(older), anew=True)
    started = time.perf_counter()
    with duckdb.connect(config={"threads": "1"}) as connection:
        for statement in ddl():
            connection.execute(statement)
        connection.execute(f"ATTACH '{directory / duck_views.TOTALS_FILE}' AS {duck_shadow.FILE}")
        for statement in duck_totals.begin("bench", work):
            connection.execute(statement)
        for batch in duck_totals.batches(directory, work):
            for statement in duck_totals.take(batch):
                connection.execute(statement)
    (directory / "views.sql").write_text(duck_views.glob_script(directory, through=work.through, alike=True))
    (directory / "views-days.sql").write_text(duck_views.glob_script(directory))
    return time.perf_counter() - started


def _whole_day(day):
    """The statements with which the publisher writes a day whole."""
    yield from duck_shadow.begin_day("bench")
    for table in duck_views.PUBLISHED:
        yield from duck_shadow.fill_table("bench", table, day, 1)
    yield from duck_shadow.end_day(day)


def _keyless(statement):
    """Without its primary key: generating is not what is measured."""
    return statement.partition(", PRIMARY KEY")[0] + (")" if ", PRIMARY KEY" in statement else "")


def ask(directory, what, name):
    """In a process of its own: seconds of the first, making the views included, and of the best of three more; MB."""
    begun = time.perf_counter()
    connection = duckdb.connect(config={"threads": str(THREADS)})
    if what != "big":
        connection.execute((directory / {"files": "views.sql", "days": "views-days.sql"}[what]).read_text())
    else:
        connection.execute(f"ATTACH '{directory / 'big.duckdb'}' AS big (READ_ONLY); USE big")
    spent, started = [], begun
    for _ in range(4):
        rows = len(connection.execute(QUERIES[name]).fetchall())
        spent.append(time.perf_counter() - started)
        started = time.perf_counter()
    memory = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    print(
        f"{name:18s} {what:6s} {rows:7d} rows  first {spent[0]:7.3f} s  then {min(spent[1:]):7.3f} s  {memory:6.0f} MB"
    )


async def left(directory):
    """A daemon whose days have all left its live file: what its questions cost. The files are linked, not changed."""
    with tempfile.TemporaryDirectory() as made:
        analytics = Path(made) / "analytics"
        analytics.mkdir()
        for file in duck_views.day_files(directory).values():
            (analytics / file.name).symlink_to(file.absolute())
        after_ms = (max(duck_views.day_files(directory)) + 5) * DAY_MS
        db = database(Path(made), wall=StillWall(after_ms), instance="bench")
        day = day_text(after_ms // DAY_MS)
        for what, call in {
            "opened, all days adopted": db.open,
            "first publication": db.publish,
            "a user's statistics": lambda: db.query(Statistics(user="user7")),
            "a page of a user's orders": lambda: db.query(messages.ListOrders(user="user7")),
            "totals of today": lambda: db.query(messages.DayTotals("user7", day)),
            "another publication": db.publish,
        }.items():
            if what == "another publication":
                await db.commit([[fill("today", exchange_time=after_ms)]])
            started = time.perf_counter()
            await call()
            print(f"days that have left: {what:26s} {time.perf_counter() - started:7.3f} s")
        await db.close()


def main():
    if sys.argv[1:2] == ["--ask"]:
        ask(Path(sys.argv[2]), *sys.argv[3:5])
        return
    days, users, fills = (int(word) for word in (*sys.argv[1:4], *("20", "100", "100000")[len(sys.argv[1:4]) :]))
    with tempfile.TemporaryDirectory() as made:
        directory = Path(sys.argv[4] if len(sys.argv) > 4 else made)
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "big.duckdb").exists():
            started = time.perf_counter()
            make(directory, days, users, fills)
            print(f"generated in {time.perf_counter() - started:.0f} s")
        if not (directory / duck_views.TOTALS_FILE).exists():
            print(f"summed up in {sum_up(directory):.1f} s")
        size = sum(file.stat().st_size for file in directory.glob("day_*")) / 2**20
        print(f"{days} days, {users} users, {days * fills} fills: {size:.0f} MB in day files")
        for name in QUERIES:
            for what in ("files", "days", "big"):
                subprocess.run(
                    [sys.executable, "-m", "tests.bench.year", "--ask", str(directory), what, name], check=True
                )
        trio.run(left, directory)


if __name__ == "__main__":
    main()
