"""Published files, read as other programs read them: another process, another connection, the scripts for all days."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from decimal import Decimal as D
from pathlib import Path

import duckdb
import pytest
import trio

from actors import rows
from actors.adapters import duck_views
from actors.adapters.duck import in_thread
from actors.adapters.duck_schema import day_number, day_text
from actors.errors import StoreError
from tests.adapters.duck_rows import (
    DAY,
    HOUR_MS,
    NOON_MS,
    StillWall,
    change,
    config,
    database,
    fill,
    one_of_each,
    order,
    pair,
    retraction,
    user,
)

CONTRACT_TABLES = {
    "fills": "user, token, symbol, pair_id, order_id, leg, side, price, quantity, quote_quantity, commission,"
    " commission_asset, mul_point, fill_id, trade_id, source, exchange_time, recorded_at",
    "orders": "user, token, symbol, pair_id, order_id, leg, side, price, quantity, executed_quantity, executed_quote,"
    " status, created_at, updated_at",
    "pairs": "user, token, symbol, pair_id, number, reference_price, buy_price, sell_price, quantity, status, outcome,"
    " buy_quote, sell_quote, wear, wear_bps, wear_fee, wear_spread, wear_slippage, wear_unwind, wear_dust,"
    " dust_quantity, counted_volume, intent_at, placed_at, closed_at",
    "state_changes": "user, pair_id, happened_at, seq, from_phase, event, to_phase, detail",
    "audit": "happened_at, who, user, action, before, after",
    "user_days": "user, day, target_volume, target_points, done_at",
    "price_1s": "token, second, open, high, low, close, quantity, quote_quantity, trades",
    "day_totals": "user, day, token, volume, counted_volume, pairs, wear, closed_volume, fees",
    "daily": "user, day, token, volume, counted_volume, pairs, wear, wear_bps, fees",
    "daily_points": "user, day, points",
    "progress": "user, day, volume, target, done_at",
}


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    yield made
    await made.close()


def read(tmp_path, sql, name=f"day_{DAY}.duckdb"):
    with duckdb.connect(str(tmp_path / "analytics" / name), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def everything(tmp_path, sql, script="views.sql"):
    """Through one of the scripts, in an empty connection, as `duckdb -init` would."""
    with duckdb.connect() as connection:
        connection.execute((tmp_path / "analytics" / script).read_text())
        return connection.execute(sql).fetchall()


# -- shapes


async def test_a_day_file_has_the_tables_and_columns_of_the_contract(db, tmp_path):
    await db.commit([one_of_each()])
    assert await db.publish()
    columns = (
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY table_name, column_index"
    )
    found = {}
    for table, column in read(tmp_path, columns):
        found.setdefault(table, []).append(column)
    assert found == {table: ["instance", *text.split(", ")] for table, text in CONTRACT_TABLES.items()}


async def test_types_are_those_of_the_contract(db, tmp_path):
    await db.publish()
    types = dict(
        read(tmp_path, "SELECT table_name || '.' || column_name, data_type FROM duckdb_columns() WHERE NOT internal")
    )
    for name in ("fills.price", "orders.executed_quote", "pairs.wear_bps", "daily.volume", "daily.counted_volume"):
        assert types[name] == "DECIMAL(38,18)", name
    for name in ("daily.wear", "daily.fees", "progress.volume", "progress.target", "price_1s.close"):
        assert types[name] == "DECIMAL(38,18)", name
    assert types["daily.wear_bps"] == "DOUBLE"
    times = [name for name in types if name.endswith(("_at", ".second", ".exchange_time"))]
    assert len(times) == 12
    assert {types[name] for name in times} == {"TIMESTAMP WITH TIME ZONE"}
    assert {types[name] for name in types if name.endswith(".day")} == {"DATE"}


async def test_every_published_row_carries_its_instance_and_its_exact_values(db, tmp_path):
    await db.commit([one_of_each()])
    await db.publish()
    for table in duck_views.PUBLISHED:
        assert read(tmp_path, f"SELECT instance FROM {table}") == [("here",)]
    ((quote, at),) = read(tmp_path, "SELECT CAST(quote_quantity AS VARCHAR), epoch_ms(exchange_time) FROM fills")
    assert (quote, at) == ("123456789012345.123456789012345678", NOON_MS)


async def test_what_a_restart_alone_needs_is_not_published(db, tmp_path):
    await db.commit([[user(), rows.CredentialRow(user="alice", ciphertext=b"sealed", key_id="k", stored_at=1)]])
    await db.publish()
    for file in (tmp_path / "analytics").glob("*.duckdb"):
        assert b"sealed" not in file.read_bytes()
    tables = {name for (name,) in read(tmp_path, "SELECT table_name FROM duckdb_tables()", "catalogue.duckdb")}
    assert tables == {"users", "configurations", "tokens", "instruments"}
    assert read(tmp_path, 'SELECT instance, "user", wanted FROM users', "catalogue.duckdb") == [
        ("here", "alice", "stopped")
    ]


async def test_files_are_of_the_storage_version_that_older_tools_read(db, tmp_path):
    await db.commit([[fill()]])
    await db.publish()
    version = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE path IS NOT NULL"
    for file in ("catalogue.duckdb", f"day_{DAY}.duckdb"):
        assert read(tmp_path, version, file) == [("v1.4.0+",)]


async def test_files_are_for_the_group_and_nothing_else_lies_about(db, tmp_path):
    await db.commit([[fill()]])
    await db.publish()
    files = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "analytics").iterdir()}
    assert files == dict.fromkeys(("catalogue.duckdb", f"day_{DAY}.duckdb", "views.sql", "views-1.4.sql"), 0o640)


# -- which day


async def test_each_row_goes_to_the_day_that_the_contract_says(db, tmp_path):
    before, after = NOON_MS + 12 * HOUR_MS - 1, NOON_MS + 12 * HOUR_MS
    bar = {name: D(1) for name in ("open", "high", "low", "close", "quantity", "quote_quantity")}
    await db.commit(
        [
            [fill("1", exchange_time=before, recorded_at=after), fill("2", exchange_time=after)],
            [order("1", created_at=before, updated_at=after), order("2", created_at=after)],
            [pair(1, intent_at=before, closed_at=after), pair(2, intent_at=after)],
            [change(1, happened_at=before), change(2, happened_at=after)],
            [rows.AuditRow(audit_id=str(at), happened_at=at, who="x", user=None, action="y") for at in (before, after)],
            [rows.PriceRow(token="KOGE", second=at, trades=1, **bar) for at in (before, after)],
            [
                rows.UserDayRow(user="a", day=day, target_volume=None, target_points=1)
                for day in ("2026-11-20", "2026-11-21")
            ],
        ]
    )
    await db.publish()
    for day in ("2026-11-20", "2026-11-21"):
        for table in duck_views.PUBLISHED:
            assert read(tmp_path, f"SELECT count(*) FROM {table}", f"day_{day}.duckdb") == [(1,)], (day, table)
    for table in duck_views.PUBLISHED:
        assert everything(tmp_path, f"SELECT count(*) FROM {table}") == [(2,)]


async def test_a_row_that_changes_its_day_is_in_one_file_only(db, tmp_path):
    before, after = NOON_MS + 12 * HOUR_MS - 1, NOON_MS + 12 * HOUR_MS
    await db.commit([[order("1", created_at=before), order("2", created_at=before)]])
    await db.publish()
    await db.commit([[order("1", created_at=after)]])
    await db.publish()
    assert read(tmp_path, "SELECT order_id FROM orders") == [("2",)]
    assert read(tmp_path, "SELECT order_id FROM orders", "day_2026-11-21.duckdb") == [("1",)]


async def test_a_retraction_changes_the_day_of_its_fill(db, tmp_path):
    await db.commit([[fill("synthetic", exchange_time=NOON_MS - 24 * HOUR_MS), fill("real")]])
    await db.publish()
    await db.commit([[retraction("synthetic")]])
    await db.publish()
    assert everything(tmp_path, "SELECT fill_id FROM fills") == [("real",)]


# -- when


async def test_nothing_is_written_when_nothing_changed(db, tmp_path):
    await db.commit([[fill()]])
    assert await db.publish()
    files = db.statistics().published_files
    assert not await db.publish()
    assert db.statistics().published_files == files == 2


async def test_only_the_days_that_changed_are_written(db, tmp_path):
    await db.commit([[fill("1"), fill("2", exchange_time=NOON_MS - 24 * HOUR_MS)]])
    await db.publish()
    yesterday = (tmp_path / "analytics/day_2026-11-19.duckdb").stat().st_ino
    today = (tmp_path / f"analytics/day_{DAY}.duckdb").stat().st_ino
    await db.commit([[fill("3")]])
    await db.publish()
    assert (tmp_path / "analytics/day_2026-11-19.duckdb").stat().st_ino == yesterday
    assert (tmp_path / f"analytics/day_{DAY}.duckdb").stat().st_ino != today


async def test_an_empty_store_publishes_today_so_that_the_views_work(db, tmp_path):
    assert await db.publish()
    for script in ("views.sql", "views-1.4.sql"):
        for table in CONTRACT_TABLES:
            assert everything(tmp_path, f"SELECT * FROM {table}", script) == []


async def test_a_change_that_a_dead_process_did_not_publish_is_published_by_the_next(db, tmp_path):
    await db.publish()
    await db.commit([[fill("1", exchange_time=NOON_MS - 48 * HOUR_MS)]])
    db._file.catch_up(NOON_MS)
    db._file.disconnect()
    db._file = None
    leftover = tmp_path / "analytics/.day_2026-11-18.duckdb.new"
    leftover.write_bytes(b"half a file")
    await db.open()
    assert not leftover.exists()
    assert await db.publish()
    assert read(tmp_path, "SELECT fill_id FROM fills", "day_2026-11-18.duckdb") == [("1",)]


async def test_a_publication_that_failed_is_made_up(db, tmp_path):
    await db.commit([[fill("1")]])
    await db.publish()
    await db.commit([[fill("2")]])
    analytics = tmp_path / "analytics"
    aside = tmp_path / "aside"
    analytics.rename(aside)
    with pytest.raises(StoreError):
        await db.publish()
    await db.commit([[fill("3")]])
    aside.rename(analytics)
    assert await db.publish()
    assert read(tmp_path, "SELECT fill_id FROM fills ORDER BY 1") == [("1",), ("2",), ("3",)]


async def test_the_same_rows_make_the_same_tables_in_the_same_order(db, tmp_path):
    await db.commit([[fill(str(number), exchange_time=NOON_MS - number) for number in range(9)]])
    await db.publish()
    assert [row[0] for row in read(tmp_path, "SELECT fill_id FROM fills")] == [str(8 - number) for number in range(9)]


# -- readers beside the writer

READER = """
import duckdb, json, sys, time
counts, until = [], time.monotonic() + 3
print("ready", flush=True)
while time.monotonic() < until:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        ((count, total),) = connection.execute("SELECT count(*), CAST(sum(quantity) AS INTEGER) FROM fills").fetchall()
        assert count == total, (count, total)
        counts.append(count)
print(json.dumps(counts))
"""


async def test_another_process_reads_a_day_while_it_is_written(tmp_path):
    db = database(tmp_path, run=in_thread())
    await db.open()
    await db.commit([[fill("0")]])
    await db.publish()
    command = [sys.executable, "-c", READER, str(tmp_path / f"analytics/day_{DAY}.duckdb")]
    reader = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    output = b""
    number = 0
    while b"\n" not in output:
        output += await reader.stdout.receive_some()
    while reader.poll() is None:
        number += 1
        await db.commit([[fill(str(number))]])
        if number % 20 == 0:
            await db.publish()
    async for part in reader.stdout:
        output += part
    counts = json.loads(output.splitlines()[1])
    assert reader.returncode == 0
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    await db.close()


async def test_a_reader_that_has_the_old_file_open_keeps_reading_it(db, tmp_path):
    await db.commit([[fill("1")]])
    await db.publish()
    with duckdb.connect(str(tmp_path / f"analytics/day_{DAY}.duckdb"), read_only=True) as reader:
        await db.commit([[fill("2")]])
        await db.publish()
        assert reader.execute("SELECT count(*) FROM fills").fetchall() == [(1,)]
    assert read(tmp_path, "SELECT count(*) FROM fills") == [(2,)]


# -- the views


async def test_both_scripts_show_all_days_and_the_catalogue(db, tmp_path):
    await db.commit([[user(), config()]])
    for days_ago in range(3):
        await db.commit([[fill(str(days_ago), exchange_time=NOON_MS - days_ago * 24 * HOUR_MS)]])
        await db.publish()
    for script in ("views.sql", "views-1.4.sql"):
        assert everything(tmp_path, "SELECT count(*) FROM fills", script) == [(3,)]
        assert everything(tmp_path, "SELECT count(*), count(DISTINCT day) FROM daily", script) == [(3, 3)]
        assert everything(tmp_path, 'SELECT "user" FROM catalogue.users', script) == [("alice",)]


@pytest.mark.parametrize("name", ["it's", "with [brackets] and *", "with space"])
async def test_scripts_work_whatever_the_directory_is_called(tmp_path, name):
    db = database(tmp_path / name)
    await db.open()
    await db.commit([[fill()]])
    await db.publish()
    for script in ("views.sql", "views-1.4.sql"):
        assert everything(tmp_path / name, "SELECT count(*) FROM fills", script) == [(1,)]
    await db.close()


async def test_views_work_when_the_file_is_attached_under_any_name(db, tmp_path):
    await db.commit([[fill()]])
    await db.publish()
    shutil.copy(tmp_path / f"analytics/day_{DAY}.duckdb", tmp_path / "copy.duckdb")
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{tmp_path / 'copy.duckdb'}' AS anything (READ_ONLY)")
        assert len(connection.execute("SELECT * FROM anything.daily").fetchall()) == 1


async def test_daily_adds_up_bought_volume_and_closed_pairs(db, tmp_path):
    await db.commit(
        [
            [
                fill("1", quote_quantity=D("48.02"), mul_point=D(4)),
                fill("2", quote_quantity=D("1.98"), mul_point=D(2)),
                fill("3", side="SELL", quote_quantity=D("49")),
                fill("4", user="bob", quote_quantity=D("7")),
                pair(1, status="closed", buy_quote=D(50), wear=D("0.1"), wear_fee=D("0.01")),
                pair(2, status="closed", buy_quote=D(50), wear=D("0.05"), wear_fee=D("0.02")),
                pair(3, status="working", buy_quote=D(9), wear=D(9)),
                pair(1, user="carol", status="closed", outcome="absent"),
            ]
        ]
    )
    await db.publish()
    found = read(tmp_path, 'SELECT * EXCLUDE (instance, day, token) FROM daily ORDER BY "user"')
    assert [row[0] for row in found] == ["alice", "bob", "carol"]
    _, volume, counted, pairs, wear, bps, fees = found[0]
    assert (volume, counted, pairs, wear, fees) == (D(50), D("196.04"), 2, D("0.15"), D("0.03"))
    assert bps == pytest.approx(15.0)
    assert found[1][1:] == (D(7), D(28), 0, D(0), None, D(0))
    assert found[2][1:] == (D(0), D(0), 1, D(0), None, D(0))


POINTS = {
    "0": 0, "0.5": 0, "1.99": 0, "2": 1, "3.999999999999999999": 1, "4": 2, "1023.99": 9, "1024": 10,
    "1099511627775.999999999999999999": 39, "1099511627776.000000000000000001": 40,
}  # fmt: skip


@pytest.mark.parametrize(("bought", "points"), POINTS.items())
async def test_points_are_the_greatest_power_of_two_that_was_bought(db, tmp_path, bought, points):
    await db.commit(
        [[fill("1", quote_quantity=D(bought), mul_point=D(1)), fill("2", side="SELL", quote_quantity=D(99))]]
    )
    await db.publish()
    assert read(tmp_path, "SELECT points FROM daily_points") == [(points,)]


async def test_points_add_up_over_tokens_before_they_are_counted(db, tmp_path):
    await db.commit(
        [[fill("1", quote_quantity=D(3), mul_point=D(1)), fill("2", token="B", quote_quantity=D(5), mul_point=D(1))]]
    )
    await db.publish()
    assert read(tmp_path, "SELECT points FROM daily_points") == [(3,)]


async def test_progress_sets_volume_against_the_target_of_the_day(db, tmp_path):
    days = {"alice": (D(500), None), "bob": (None, 9), "carol": (D(20), None)}
    await db.commit(
        [
            [
                rows.UserDayRow(user=name, day=DAY, target_volume=volume, target_points=points)
                for name, (volume, points) in days.items()
            ],
            [fill("1", quote_quantity=D(30)), fill("2", user="bob", quote_quantity=D(30), mul_point=D(2))],
        ]
    )
    await db.publish()
    found = read(tmp_path, 'SELECT "user", volume, target, done_at FROM progress ORDER BY 1')
    assert found == [("alice", D(30), D(500), None), ("bob", D(60), D(512), None), ("carol", D(0), D(20), None)]


def test_a_day_and_its_number_are_the_same_day():
    for day in ("1970-01-01", "2026-11-20", "2100-02-28"):
        assert day_text(day_number(day)) == day
    assert day_number("1970-01-02") == 1


async def test_the_wall_clock_names_the_first_day(tmp_path):
    db = database(tmp_path, wall=StillWall(NOON_MS + 24 * HOUR_MS))
    await db.open()
    await db.publish()
    assert [Path(file).name for file in (tmp_path / "analytics").glob("day_*")] == ["day_2026-11-21.duckdb"]
    await db.close()
