"""A published file that rots while the daemon runs: who asks for it is told, and everything else goes on."""

from __future__ import annotations

import os

import pytest

from actors import messages, rows
from actors.adapters import duck_totals
from actors.adapters.duck_schema import day_text
from actors.errors import StoreError, StoreLost
from actors.statistics import Statistics
from tests.adapters.duck_rows import DAY, HOUR_MS, NOON_MS, StillWall, database, fill, pair, reopened, stored

DAY_MS = 24 * HOUR_MS
BLOCKS_AT, BLOCK = 3 * 4096, 256 * 1024
OLD = DAY
TODAY = "2026-11-25"


def rot(file, block=None):
    """Flips a bit of one block, or of each, and nobody sees it by size or time."""
    found = file.stat()
    data = bytearray(file.read_bytes())
    blocks = range(BLOCKS_AT, len(data), BLOCK)
    for at in blocks if block is None else [blocks[block]]:
        data[at + BLOCK // 2] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))


def of_day(at_ms):
    day = day_text(at_ms // DAY_MS)
    return [
        fill(f"{day}-1", exchange_time=at_ms),
        pair(1, pair_id=f"alice-{day}-1", intent_at=at_ms, status="closed", closed_at=at_ms),
        rows.UserDayRow(user="alice", day=day, target_volume=None, target_points=None),
    ]


@pytest.fixture
def wall():
    return StillWall()


@pytest.fixture
async def db(tmp_path, wall):
    """Something of today, and of a day whose rows have left the database."""
    made = database(tmp_path, wall=wall, live_days=2)
    await made.open()
    await made.commit([of_day(NOON_MS)])
    wall.at_ms = NOON_MS + DAY_MS
    await made.publish()
    wall.at_ms = NOON_MS + 5 * DAY_MS
    await made.checkpoint()
    await made.commit([of_day(wall.at_ms)])
    await made.publish()
    yield made
    await made.close()


def file_of(tmp_path, day):
    return tmp_path / f"analytics/day_{day}.duckdb"


@pytest.mark.parametrize("damage", ["rotten", "missing", "cut"])
async def test_a_question_that_meets_a_damaged_day_is_refused_and_the_database_goes_on(db, tmp_path, wall, damage):
    file = file_of(tmp_path, OLD)
    if damage == "rotten":
        rot(file)
    elif damage == "missing":
        file.unlink()
    else:
        os.truncate(file, BLOCKS_AT)
    for question in (Statistics(user="alice"), messages.ListPairs(user="alice")):
        with pytest.raises(
            StoreError, match=r"records of a past day cannot be read.*analytics.*otoctl query"
        ) as caught:
            await db.query(question)
        assert not isinstance(caught.value, StoreLost)
    await db.commit([[fill("more", exchange_time=wall.at_ms)]])
    assert await db.publish()
    assert len(stored(db, rows.FillRow)) == 2


async def test_today_is_made_anew_where_its_published_file_has_rotted(db, tmp_path, wall):
    rot(file_of(tmp_path, TODAY))
    again = await reopened(db, tmp_path, wall=wall, live_days=2)
    await again.commit([[fill("more", exchange_time=wall.at_ms)]])
    with pytest.raises(StoreError, match="damaged"):
        await again.publish()
    assert await again.publish()
    assert (await again.query(Statistics(user="alice"))).bought.fills == 3
    await again.close()


@pytest.mark.parametrize("block", range(5))
async def test_a_rotten_day_keeps_no_other_out_of_the_sums(tmp_path, wall, monkeypatch, block):
    monkeypatch.setattr(duck_totals, "DAYS_MIN", 3)
    made = database(tmp_path, wall=wall)
    await made.open()
    for number in range(4):
        await made.commit([of_day(NOON_MS + number * DAY_MS)])
    wall.at_ms = NOON_MS + 3 * DAY_MS
    for _ in range(4):
        await made.publish()
    rot(file_of(tmp_path, OLD), block)
    again = await reopened(made, tmp_path, wall=wall)
    await again.commit([[fill("more", exchange_time=wall.at_ms)]])
    assert await again.publish()
    assert (tmp_path / "analytics/totals.duckdb").exists()
    await again.close()


@pytest.mark.parametrize("block", [0, -1])
async def test_the_daemon_starts_whatever_of_a_past_day_has_rotted(db, tmp_path, wall, block):
    rot(file_of(tmp_path, OLD), block)
    again = await reopened(db, tmp_path, wall=wall, live_days=2)
    await again.commit([[fill("more", exchange_time=wall.at_ms)]])
    assert await again.publish()
    await again.close()
