"""The before-image: what a checkpoint of DuckDB overwrites in place, kept beside the database until it is over.

A checkpoint writes tables to free blocks and turns to them by one header at the end; but the blocks that hold its
metadata it fills up and writes again where they are, with a checksum over the whole block (traced: DuckDB 2.0 writes
the block at 12288 again in each checkpoint). A process killed within that one write, or a machine that lost its power,
leaves a block whose checksum is wrong, and DuckDB opens the file never again, although nothing of value is lost. Killed
200 times under constant checkpoints it happened once.

So those blocks, and the headers, are saved and made durable before each checkpoint. A database whose headers are still
the saved ones has not turned to a new checkpoint: its metadata blocks are put back as they were, and the log, which is
removed after the header is written, holds everything since.

    offset 0      main header · 4096 and 8192  two headers, the newer one counts · 12288 + n * block size  block n
"""

from __future__ import annotations

import os
from typing import Final

import duckdb
import msgspec
from msgspec import Struct

from actors.adapters.duck_dir import StateDir, disk_trouble, replace_durably

HEADERS_BYTES: Final = 3 * 4096


class Image(Struct, frozen=True):
    """headers: the first HEADERS_BYTES. blocks: (offset, bytes)."""

    headers: bytes
    blocks: tuple[tuple[int, bytes], ...]


class BeforeImage:
    """Of one open database. Its handle of the file is closed after DuckDB's: closing it would drop DuckDB's lock."""

    def __init__(self, directory: StateDir) -> None:
        self._path, self._image = directory.database, directory.before
        self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def take(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Durable on return. Raises: StoreError, the disk refused; duckdb.Error."""
        places = connection.execute(_METADATA_BLOCKS).fetchall()
        with disk_trouble(self._image):
            blocks = tuple((offset, os.pread(self._file, size, offset)) for offset, size in places)
            image = Image(os.pread(self._file, HEADERS_BYTES, 0), blocks)
            replace_durably(self._image, msgspec.msgpack.encode(image))

    def close(self) -> None:
        os.close(self._file)


def put_back(directory: StateDir) -> int:
    """Before DuckDB opens the file: undoes what a checkpoint that never ended has written in place.

    Returns the number of blocks that were put back. Raises: StoreError, the disk refused.
    """
    with disk_trouble(directory.before):
        try:
            image = msgspec.msgpack.decode(directory.before.read_bytes(), type=Image)
            file = os.open(directory.database, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        try:
            if os.pread(file, HEADERS_BYTES, 0) != image.headers:
                return 0
            changed = [(at, block) for at, block in image.blocks if os.pread(file, len(block), at) != block]
            for at, block in changed:
                os.pwrite(file, block, at)
            if changed:
                os.fsync(file)
            return len(changed)
        finally:
            os.close(file)


_METADATA_BLOCKS: Final = f"""
    SELECT {HEADERS_BYTES} + block_id * block_size, block_size
    FROM pragma_metadata_info(), pragma_database_size()
    WHERE database_name = current_database() ORDER BY 1
"""
