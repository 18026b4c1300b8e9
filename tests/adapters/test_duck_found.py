"""Published days that the open database did not make are never overwritten before they are safe."""

from __future__ import annotations

import duckdb
import pytest

from actors import messages
from actors.statistics import Statistics
from tests.adapters.duck_rows import DAY, HOUR_MS, NOON_MS, StillWall, database, die, fill, order, pair, reopened, user

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
    await db.commit([[user(), fill("1"), fill("2"), pair(status="closed", closed_at=NOON_MS)]])
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
    assert fills(published) == ["3"]
    assert fills(published, f"kept/day_{DAY}.1.duckdb") == ["1", "2"]
    with duckdb.connect(str(published / "analytics/kept/catalogue.1.duckdb"), read_only=True) as connection:
        assert connection.execute('SELECT "user" FROM users').fetchall() == [("alice",)]
    await db.close()


@pytest.mark.parametrize(("days_later", "adopted"), [(1, False), (3, True)])
async def test_after_an_older_copy_was_put_back_only_a_recent_day_follows_it(tmp_path, wall, days_later, adopted):
    """What is recent is reconciled with the exchange, and a fill may come again under another id."""
    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([[fill("1"), order("1")]])
    await db.publish()
    await db.checkpoint()
    backup = (tmp_path / "live/otod.duckdb").read_bytes()
    await db.commit([[fill("2"), order("1", status="FILLED")]])
    await db.publish()
    await db.checkpoint()
    await db.checkpoint()
    die(db)
    (tmp_path / "live/otod.duckdb").write_bytes(backup)
    (tmp_path / "live/otod.duckdb.wal").unlink()
    wall.at_ms += days_later * DAY_MS
    again = database(tmp_path, wall=wall, accept_lost_records=True)
    await again.open()
    assert again.statistics().adopted_days == ((DAY,) if adopted else ())
    await again.publish()
    assert fills(tmp_path) == (["1", "2"] if adopted else ["1"])
    if not adopted:
        assert fills(tmp_path, f"kept/day_{DAY}.1.duckdb") == ["1", "2"]
    assert (await again.query(Statistics(user="alice"))).bought.fills == (2 if adopted else 1)
    await again.close()


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
