"""The state directory: who may use it, and the marker beside the database that notices lost records.

    lock                 flock'ed as long as a daemon lives, holds its pid
    live/                0700: otod.duckdb, its write-ahead log, the markers `generation` and `acknowledged`, and
                         `before-checkpoint` (duck_before.py)
    live/shadow/         what publishing works on, for as long as the process lives
    analytics/           2750: files that other programs read, 0640

The database file itself is opened by DuckDB alone: its lock is a POSIX one, and closing any other handle of that file
in this process would drop it. So this module touches the directory and the marker, never `otod.duckdb` or its log
(duck_before.py reads it through a handle that lives longer than DuckDB's).

The marker holds the number of the newest generation whose row is in the database. A generation row is committed after
each opening and each checkpoint, so it is the first thing in a new write-ahead log; the marker follows before anything
else is acknowledged. A log that went missing, or an older copy of the database, then shows as a marker that is ahead.

A log that lost its end opens without a word. So the number of the newest acknowledged row is kept in `acknowledged`,
overwritten in place after each commit. It is not fsynced: it survives the death of the process, and after a power cut
it is at worst an older number, so it is never ahead of what is durable. A database that is behind it lost rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from actors.adapters.lock import DirectoryLock
from actors.errors import IntegrityError, StoreError

STATE_MODE = 0o750  # the group must get through to analytics/
LIVE_MODE = 0o700
ANALYTICS_MODE = 0o2750  # setgid: published files belong to the directory's group
PUBLISHED_MODE = 0o640
SETGID = 0o2000
_NUMBER_BYTES = 20


class StateDir:
    """Paths of one state directory, and its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.live = root / "live"
        self.database = self.live / "otod.duckdb"
        self.log = self.live / "otod.duckdb.wal"
        self.shadow = self.live / "shadow"
        self.marker = self.live / "generation"
        self.before = self.live / "before-checkpoint"
        self.analytics = root / "analytics"
        self.acknowledged = self.live / "acknowledged"
        self._lock = DirectoryLock(root / "lock", root)

    def prepare(self) -> None:
        """Makes the directories and takes the lock; again is harmless. Raises: StoreError, locked or not writable."""
        strange = [sign for sign in "?\\" if sign in str(self.database)]
        if strange:
            do = "use another --state-dir"
            raise StoreError(f"DuckDB reads {strange[0]} in a path otherwise", where=str(self.root), do=do)
        with _no_access(self.root):
            make_directory(self.root, STATE_MODE)
            self._lock.take()
            make_directory(self.live, LIVE_MODE)
            make_directory(self.shadow, LIVE_MODE)
            make_directory(self.analytics, ANALYTICS_MODE)

    def release_lock(self) -> None:
        self._lock.release()

    def read_marker(self) -> int:
        """The generation that the database must have reached; 0 where there is no marker yet."""
        try:
            text = self.marker.read_bytes().decode("ascii", "replace")
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StoreError(f"cannot read the marker: {error.strerror}", where=str(self.marker)) from error
        if not text.strip().isdecimal():
            raise IntegrityError(
                f"the generation marker reads {text[:40]!r}, not a number",
                where=str(self.marker),
                do="restore live/ from a backup, or remove the marker and start with --accept-lost-records",
            )
        return int(text)

    def write_marker(self, generation: int) -> None:
        """Durable on return, and so is every name in live/ (a new write-ahead log among them). Raises: StoreError."""
        with disk_trouble(self.marker):
            sync_directory(self.live)
            replace_durably(self.marker, f"{generation}\n".encode())

    def log_bytes(self) -> int:
        """Size of the write-ahead log, 0 where there is none. A stat takes no lock and so drops none."""
        try:
            return self.log.stat().st_size
        except FileNotFoundError:
            return 0

    def free_bytes(self) -> int:
        """What an unprivileged process may still write."""
        disk = os.statvfs(self.live)
        return disk.f_bavail * disk.f_frsize


class Acknowledged:
    """The open marker `acknowledged`. found: the number in it when it was opened, 0 where nothing readable was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with disk_trouble(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            text = os.pread(self._file, _NUMBER_BYTES, 0).decode("ascii", "replace").strip()
        self.found = int(text) if text.isdecimal() else 0

    def note(self, seq: int) -> None:
        """In place and of one length, so it needs no space. Raises: StoreError."""
        with disk_trouble(self._path):
            os.pwrite(self._file, f"{seq:{_NUMBER_BYTES - 1}d}\n".encode(), 0)

    def close(self) -> None:
        os.close(self._file)


def make_directory(path: Path, mode: int) -> None:
    """A directory with exactly this mode, whatever the umask; an existing one keeps its own. Raises: OSError.

    Where the process may set no setgid bit (RestrictSUIDSGID= of the unit) the directory does without it: what is there
    has the daemon's own group then, which is the group that reads it.
    """
    if path.is_dir():
        return
    path.mkdir(parents=True)
    try:
        path.chmod(mode)
    except PermissionError:
        if not mode & SETGID:
            raise
        path.chmod(mode & ~SETGID)


def replace_durably(path: Path, data: bytes) -> None:
    """The file has this content or still its old one, also after a power cut. Raises: OSError."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    sync_file(new)
    new.rename(path)
    sync_directory(path.parent)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Makes the names in a directory durable: a renamed or new file is lost in a power cut without it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_trouble(path: Path) -> Iterator[None]:
    """An OSError of file work, said as a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"the disk refused: {error.strerror}", where=str(path), do="free or repair it") from error


@contextmanager
def _no_access(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"the state directory cannot be used: {error.strerror}",
            where=str(error.filename or path),
            do="make it writable for this user or use another --state-dir",
        ) from error
