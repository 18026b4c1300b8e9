"""A checkpoint that was cut off within a write in place costs nothing."""

from __future__ import annotations

import shutil
import sys

import duckdb
import pytest
import trio

from actors.adapters.duck_before import HEADERS_BYTES, put_back
from actors.adapters.duck_dir import StateDir
from actors.errors import IntegrityError
from tests.adapters.duck_rows import NOON_MS, database, fill

BLOCK = 262_144


async def fills_of(db):
    def ask(connection):
        return connection.execute("SELECT fill_id FROM fills ORDER BY fill_id").fetchall()

    return [fill_id for (fill_id,) in db._file.read(ask, NOON_MS)]


async def around_a_checkpoint(tmp_path):
    """Returns (fills, database before, log before, database after) of a checkpoint, and leaves the state without it."""
    root = tmp_path / "s"
    db = database(root)
    await db.open()
    for number in range(30):
        await db.commit([[fill(f"a{number:02d}")]])
    await db.checkpoint()
    for number in range(30):
        await db.commit([[fill(f"b{number:02d}")]])
    live = StateDir(root)
    held = tmp_path / "held"
    shutil.copytree(live.live, held)  # this drops DuckDB's lock, which nobody else wants here
    await db.checkpoint()
    image = live.before.read_bytes()
    after = (live.database).read_bytes()
    found = await fills_of(db)
    await db.close()
    shutil.rmtree(live.live)
    shutil.copytree(held, live.live)
    live.before.write_bytes(image)
    return live, found, live.database.read_bytes(), after


def torn(before, after, cut):
    """Every block written, but the metadata block at 12288 only up to `cut`; the header that turns to it never was."""
    changed = bytearray(after)
    changed[:HEADERS_BYTES] = before[:HEADERS_BYTES]
    changed[HEADERS_BYTES + cut : HEADERS_BYTES + BLOCK] = before[HEADERS_BYTES + cut : HEADERS_BYTES + BLOCK]
    return bytes(changed)


@pytest.mark.parametrize("cut", [8, 4096, 16 * 4096, BLOCK])
async def test_f53_a_checkpoint_cut_off_within_its_metadata_is_undone(tmp_path, cut):
    live, found, before, after = await around_a_checkpoint(tmp_path)
    assert before[HEADERS_BYTES : HEADERS_BYTES + BLOCK] != after[HEADERS_BYTES : HEADERS_BYTES + BLOCK]
    live.database.write_bytes(torn(before, after, cut))
    db = database(live.root)
    await db.open()
    assert db.statistics().mended_blocks == 1
    assert await fills_of(db) == found
    assert len(found) == 60
    await db.close()


async def test_without_the_image_duckdb_refuses_such_a_file(tmp_path):
    """What it is for. Should this pass one day without it, duck_before.py can go."""
    live, _, before, after = await around_a_checkpoint(tmp_path)
    live.database.write_bytes(torn(before, after, 4096))
    live.before.unlink()
    db = database(live.root)
    with pytest.raises(IntegrityError, match="checksum"):
        await db.open()


async def test_a_checkpoint_that_came_to_its_end_is_left_as_it_is(tmp_path):
    live, _, _, after = await around_a_checkpoint(tmp_path)
    live.database.write_bytes(after)
    assert put_back(live) == 0
    assert live.database.read_bytes() == after


async def test_taking_it_drops_no_lock(tmp_path):
    db = database(tmp_path)
    await db.open()
    await db.checkpoint()
    code = f"import duckdb; duckdb.connect({str(tmp_path / 'live/otod.duckdb')!r}, read_only=True)"
    tried = await trio.run_process([sys.executable, "-c", code], capture_stderr=True, check=False)
    assert b"lock" in tried.stderr
    await db.close()
    with duckdb.connect(str(tmp_path / "live/otod.duckdb")) as connection:
        assert connection.execute("SELECT count(*) FROM fills").fetchall() == [(0,)]
