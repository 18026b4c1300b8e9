"""SIGKILL at any moment of committing, applying, publishing, checkpointing: nothing acknowledged is lost or doubled."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import trio

from actors.errors import IntegrityError
from tests.adapters.duck_rows import DAY, NOON_MS, database

KILLS = int(os.environ.get("OTOD_KILLS", "8"))
pytestmark = pytest.mark.system


async def killed_after(seconds, state_dir, first, file_bytes_max=0):
    """Runs a committer for so long after its start, kills it; returns the number of the last acknowledged group.

    With file_bytes_max the disk is full at some time; it may then end by itself, because the database gave up.
    """
    command = [sys.executable, "-m", "tests.system.committer", str(state_dir), str(first), str(file_bytes_max)]
    process = await trio.lowlevel.open_process(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": "."},
    )
    output = b""
    with trio.fail_after(30):
        while b"open\n" not in output:
            part = await process.stdout.receive_some()
            assert part, "it ended by itself"
            output += part

    async def kill():
        await trio.sleep(seconds)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        async for part in process.stdout:
            output += part
    await process.wait()
    lines = output.split(b"\n")[:-1]  # what follows the last newline is a number cut short
    assert lines[0] == b"open"
    return int(lines[-1]) if len(lines) > 1 else first


@pytest.mark.parametrize("disk", ["in order", "torn end", "full"])
async def test_f53_kills_at_any_moment_lose_no_acknowledged_row_and_double_none(tmp_path, disk):
    """torn end (F62): after each kill the log has the beginning of a commit that never was. full (F59): no file may
    grow beyond a size that is reached at some time."""
    rng = random.Random(53)
    last = 0
    for _ in range(KILLS):
        room = 0
        if disk == "full":
            database_file = tmp_path / "live/otod.duckdb"
            room = rng.randrange(1, 200_000) + (database_file.stat().st_size if database_file.exists() else 2_000_000)
        acknowledged = await killed_after(rng.uniform(0.02, 0.5), tmp_path, last, room)
        if disk == "torn end":
            with (tmp_path / "live/otod.duckdb.wal").open("ab") as log:
                whole = log.tell()
                log.write(rng.randbytes(rng.randrange(1, 200)))
        db = database(tmp_path)
        try:
            await db.open()
        except IntegrityError as error:
            # The kill came within a checkpoint, after the log's last word: nobody appends a commit behind that, so the
            # refusal is right, and nothing was changed by it.
            if disk != "torn end" or "checkpoint marker must be at the end" not in str(error):
                raise
            os.truncate(tmp_path / "live/otod.duckdb.wal", whole)
            await db.open()
        last = check(db, acknowledged)
        await db.publish()
        await db.close()
        with duckdb.connect(str(tmp_path / f"analytics/day_{DAY}.duckdb"), read_only=True) as connection:
            assert connection.execute("SELECT count(*) FROM fills").fetchall() == [(3 * last,)]
    assert last > (2 if disk == "full" else 10) * KILLS


def check(db, acknowledged):
    """All groups up to the last acknowledged one are there, whole, once; at most one more, which was never told."""

    def look(connection):
        return (
            connection.execute("SELECT fill_id FROM fills").fetchall(),
            dict(connection.execute("SELECT order_id, CAST(status AS INTEGER) FROM orders").fetchall()),
            connection.execute("SELECT max(CAST(status AS INTEGER)) FROM pairs").fetchall(),
            connection.execute("SELECT seq FROM state_changes ORDER BY seq").fetchall(),
        )

    fills, orders, pairs, changes = db._file.read(look, NOON_MS)
    count = len(changes)
    assert count in (acknowledged, acknowledged + 1)
    assert changes == [(number,) for number in range(1, count + 1)]
    assert sorted(fills) == sorted((f"{number}-{part}",) for number in range(1, count + 1) for part in "abc")
    assert pairs == [(count or None,)]
    assert orders == {str(half): min(2 * half + 1, count) for half in range(count // 2 + 1) if min(2 * half + 1, count)}
    return count
