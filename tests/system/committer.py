"""Commits as fast as it can until it is killed; writes the number of each acknowledged group to standard output.

python -m tests.system.committer STATE_DIR FIRST_NUMBER [FILE_BYTES_MAX]

FILE_BYTES_MAX: no file may become longer, as if the disk were full; a refused commit is tried again, as the store does.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

import trio

from actors import messages
from actors.adapters.duck import in_thread
from actors.errors import StoreError, StoreLost
from tests.adapters.duck_rows import change, database, fill, order, pair


def group(number):
    """Rows of four tables; the pair and the order are further versions of earlier ones."""
    return [
        pair(number // 3, status=str(number)),
        order(str(number // 2), status=str(number)),
        fill(f"{number}-a"),
        fill(f"{number}-b"),
        change(number),
    ]


async def main(state_dir, number, file_bytes_max):
    db = database(state_dir, run=in_thread())
    await db.open()
    os.write(1, b"open\n")
    if file_bytes_max:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes_max, resource.RLIM_INFINITY))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_house, db)
        while True:
            number += 1
            await durable(db, [group(number), [fill(f"{number}-c")]])
            os.write(1, f"{number}\n".encode())


async def durable(db, groups):
    while True:
        try:
            await db.commit(groups)
        except StoreLost:
            raise
        except StoreError:
            await trio.sleep(0.01)
        else:
            return


async def keep_house(db):
    """Everything that may be under way when the kill comes."""
    while True:
        with contextlib.suppress(StoreError):  # StoreLost among them: then the commits end it, too
            await db.query(messages.ListOrders(user="alice"))
            await db.publish()
            await db.checkpoint()
        await trio.lowlevel.checkpoint()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
