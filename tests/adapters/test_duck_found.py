"""Published days that the open database did not make are never overwritten before they are safe."""

from __future__ import annotations

import shutil
from decimal import Decimal as D

import duckdb
import pytest

from actors import messages, rows
from actors.errors import StoreError
from actors.statistics import Statistics
from tests.adapters.duck_rows import (
    DAY,
    HOUR_MS,
    NOON_MS,
    StillWall,
    change,
    database,
    die,
    fill,
    order,
    pair,
    reopened,
    stored,
    user,
)

DAY_MS = 24 * HOUR_MS
NEXT = "2026-11-21"


@pytest.fixture
def wall():
    return StillWall()


@pytest.fixture
async def published(tmp_path, wall):
    """A state directory with two fills of one day in its published file, and nobody at work."""
    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([[user(), *rows_of(1, "closed"), fill("2", pair_id="gone")]])
    await db.publish()
    await db.close()
    return tmp_path


def fills(state_dir, name=f"day_{DAY}.duckdb"):
    with duckdb.connect(str(state_dir / "analytics" / name), read_only=True) as connection:
        return [fill_id for (fill_id,) in connection.execute("SELECT fill_id FROM fills ORDER BY 1").fetchall()]


def lose(state_dir, what):
    """The live database is gone, and with "marker" everything that tells of it."""
    (state_dir / "live/otod.duckdb").unlink()
    if what == "marker":
        (state_dir / "live/generation").unlink()
        (state_dir / "live/acknowledged").unlink()


@pytest.mark.parametrize("what", ["database", "marker"])
async def test_a_day_that_is_over_outlives_the_database_that_made_it(published, wall, what):
    lose(published, what)
    wall.at_ms += 2 * DAY_MS
    db = database(published, wall=wall, accept_lost_records=what == "database")
    await db.open()
    assert db.statistics().adopted_days == (DAY,)
    await db.publish()
    assert fills(published) == ["1", "2"]
    assert (await db.query(Statistics(user="alice"))).bought.fills == 2
    assert [row.pair_id for row in (await db.query(messages.ListPairs(user="alice")))[1]] == [f"alice-{DAY}-1"]
    await db.commit([[fill("late")]])
    await db.publish()
    assert fills(published) == ["1", "2", "late"]
    again = await reopened(db, published, wall=wall)
    assert (again.statistics().adopted_days, again.statistics().kept_days) == ((), ())
    assert (await again.query(Statistics(user="alice"))).bought.fills == 3
    await again.close()


@pytest.mark.parametrize("what", ["database", "marker"])
async def test_today_is_begun_anew_and_what_was_published_of_it_is_kept(published, wall, what):
    lose(published, what)
    db = database(published, wall=wall, accept_lost_records=what == "database")
    await db.open()
    assert db.statistics().kept_days == (DAY,)
    await db.commit([[fill("3")]])
    await db.publish()
    assert fills(published) == (["1", "3"] if what == "database" else ["3"])
    assert fills(published, f"kept/day_{DAY}.1.duckdb") == ["1", "2"]
    with duckdb.connect(str(published / "analytics/kept/catalogue.1.duckdb"), read_only=True) as connection:
        assert connection.execute('SELECT "user" FROM users').fetchall() == [("alice",)]
    await db.close()


def rows_of(number, status, **changes):
    """A pair with an order and a fill."""
    pair_id = f"alice-{DAY}-{number}"
    closed = {"closed_at": NOON_MS, "outcome": "completed", "wear": D("0.1")} if status == "closed" else {}
    return [
        pair(number, status=status, **closed | changes),
        order(f"{number}w", pair_id=pair_id, status="FILLED" if status == "closed" else "NEW"),
        order(f"{number}p", pair_id=pair_id, leg="pending", status="FILLED" if status == "closed" else "PENDING_NEW"),
        fill(str(number), pair_id=pair_id),
        change(number),
    ]


@pytest.fixture
async def set_back(tmp_path, wall):
    """A published day of which the live database forgot the newer half: a log that is gone, or a backup put back.

    Pair 1 was closed before that, pairs 2 and 3 were open; 2 and 4 were closed, 6 unwound, 5 begun afterwards.
    """
    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([rows_of(1, "closed"), rows_of(2, "selling")[:3], rows_of(3, "working")[:3]])
    await db.checkpoint()
    backup = (tmp_path / "live/otod.duckdb").read_bytes()
    await db.commit([rows_of(2, "closed"), rows_of(4, "closed"), rows_of(5, "working")])
    await db.commit([[*rows_of(6, "closed"), order("6u", pair_id=f"alice-{DAY}-6", leg="unwind", status="FILLED")]])
    await db.publish()
    await db.checkpoint()
    await db.checkpoint()
    die(db)
    (tmp_path / "live/otod.duckdb").write_bytes(backup)
    (tmp_path / "live/otod.duckdb.wal").unlink()
    return tmp_path


async def test_closed_pairs_that_the_database_forgot_are_taken_back_from_what_was_published(set_back, wall):
    db = database(set_back, wall=wall, accept_lost_records=True)
    await db.open()
    assert db.statistics().kept_days == (DAY,)
    pairs = {row.pair_id[-1]: row for row in stored(db, rows.PairRow)}
    assert {name: row.status for name, row in pairs.items()} == dict.fromkeys("124", "closed") | {"3": "working"}
    assert (pairs["4"].working_order_id, pairs["4"].pending_order_id, pairs["4"].sales) == ("4w", "4p", "[]")
    orders = {row.order_id: row.status for row in stored(db, rows.OrderRow)}
    assert orders == dict.fromkeys(("1w", "1p", "2w", "2p", "4w", "4p"), "FILLED") | {"3w": "NEW", "3p": "PENDING_NEW"}
    assert {row.fill_id for row in stored(db, rows.FillRow)} == {"1", "2", "4"}
    assert (await db.query(messages.DayTotals("alice", DAY))).pairs == 3
    await db.publish()
    assert fills(set_back) == ["1", "2", "4"]
    assert fills(set_back, f"kept/day_{DAY}.1.duckdb") == ["1", "2", "4", "5", "6"]
    again = await reopened(db, set_back, wall=wall)
    assert (again.statistics().adopted_days, again.statistics().kept_days) == ((), ())
    await again.publish()
    assert fills(set_back) == ["1", "2", "4"]
    await again.close()


async def test_a_day_beyond_reconciling_stays_as_it_was_published(set_back, wall):
    wall.at_ms += 3 * DAY_MS
    db = database(set_back, wall=wall, accept_lost_records=True)
    await db.open()
    assert (db.statistics().adopted_days, db.statistics().kept_days) == ((DAY,), ())
    await db.publish()
    assert fills(set_back) == ["1", "2", "4", "5", "6"]
    assert (await db.query(Statistics(user="alice"))).bought.fills == 5
    await db.close()


async def test_a_kill_within_a_publication_is_no_loss(tmp_path, wall):
    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([[fill("1")]])
    await db.publish()
    db._file.reader.execute("UPDATE days SET file = 'of before'").fetchall()
    again = await reopened(db, tmp_path, wall=wall)
    assert (again.statistics().adopted_days, again.statistics().kept_days) == ((), ())
    assert not (tmp_path / "analytics/kept").exists()
    await again.close()


@pytest.mark.parametrize("damage", [b"damaged", None])
async def test_a_final_day_that_was_damaged_is_made_anew_at_the_next_start(tmp_path, wall, damage):
    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([[fill("1")]])
    wall.at_ms += 2 * DAY_MS
    await db.publish()
    day = tmp_path / f"analytics/day_{DAY}.duckdb"
    if damage is not None:
        day.write_bytes(damage)
    before = day.stat().st_ino
    again = await reopened(db, tmp_path, wall=wall)
    await again.publish()
    assert fills(tmp_path) == ["1"]
    assert (day.stat().st_ino == before) == (damage is None)
    await again.close()


@pytest.mark.parametrize("content", [b"", b"not a database", "foreign"])
async def test_a_file_that_would_break_the_views_is_put_aside(published, wall, content):
    stray = published / f"analytics/day_{NEXT}.duckdb"
    if content == "foreign":
        with duckdb.connect(str(stray)) as connection:
            connection.execute("CREATE TABLE fills (a INTEGER)")
    else:
        stray.write_bytes(content)
    wall.at_ms += 3 * DAY_MS
    db = database(published, wall=wall)
    await db.open()
    assert db.statistics().kept_days == (NEXT,)
    await db.publish()
    assert (published / f"analytics/kept/day_{NEXT}.1.duckdb").exists()
    with duckdb.connect() as connection:
        connection.execute((published / "analytics/views.sql").read_text())
        assert connection.execute("SELECT count(*) FROM fills").fetchall() == [(2,)]
    await db.close()


async def test_an_analytics_directory_that_was_removed_comes_back_with_the_next_start(tmp_path, wall):
    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([[fill("1")], [fill("old", exchange_time=NOON_MS - 3 * DAY_MS)]])
    await db.publish()
    shutil.rmtree(tmp_path / "analytics")
    await db.commit([[fill("2")]])
    with pytest.raises(StoreError):
        await db.publish()
    again = await reopened(db, tmp_path, wall=wall)
    await again.publish()
    assert fills(tmp_path) == ["1", "2"]
    assert fills(tmp_path, "day_2026-11-17.duckdb") == ["old"]
    assert not await again.publish()
    await again.close()


@pytest.mark.parametrize(
    "name", [f"day_{DAY} (copy).duckdb", f"day_{DAY}.bak.duckdb", "day_abcd-ef-gh.txt", "day_x.duckdb"]
)
async def test_a_copy_under_another_name_counts_for_nobody(published, wall, name):
    day = (published / f"analytics/day_{DAY}.duckdb").read_bytes()
    (published / "analytics" / name).write_bytes(day)
    db = database(published, wall=wall)
    await db.open()
    await db.commit([[fill("3")]])
    await db.publish()
    for script in ("views.sql", "views-1.4.sql"):
        with duckdb.connect() as connection:
            connection.execute((published / "analytics" / script).read_text())
            assert connection.execute("SELECT count(*) FROM fills").fetchall() == [(3,)]
    assert (published / "analytics" / name).read_bytes() == day
    await db.close()


async def test_a_publication_that_cannot_be_noted_is_made_again(tmp_path, wall, monkeypatch):
    from actors.adapters import duck_publish

    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([[fill("1")]])
    before = duck_publish._run

    def failing(connection, statement):
        if statement.startswith("DELETE FROM unpublished"):
            raise duckdb.TransactionException("no space")
        before(connection, statement)

    with monkeypatch.context() as patch:
        patch.setattr(duck_publish, "_run", failing)
        with pytest.raises(duck_publish.StoreError):
            await db.publish()
    await db.commit([[fill("2")]])
    assert await db.publish()
    assert fills(tmp_path) == ["1", "2"]
    assert not await db.publish()
    await db.close()
