"""State directories: their lock and identity, lost and damaged files, full disks."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import duckdb
import pytest

from actors import messages, rows
from actors.errors import IntegrityError, StoreError, StoreLost
from tests.adapters.duck_rows import (
    database,
    die,
    order,
    reopened,
    stored,
)


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    yield made
    await made.close()


# -- the state directory


async def test_modes_of_the_directories_do_not_depend_on_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        made = database(tmp_path / "new" / "state")
        await made.open()
        await made.close()
    finally:
        os.umask(before)
    modes = {name: (tmp_path / "new/state" / name).stat().st_mode & 0o7777 for name in (".", "live", "analytics")}
    assert modes == {".": 0o750, "live": 0o700, "analytics": 0o2750}


async def test_f57_a_second_daemon_is_refused_with_the_pid_of_the_first(db, tmp_path):
    with pytest.raises(
        StoreError, match=rf"another otod \(pid {os.getpid()}\) uses this state directory \[.*\] -> stop it"
    ):
        await database(tmp_path).open()
    await db.commit([[order("1")]])


async def test_the_lock_is_free_after_closing(db, tmp_path):
    await db.close()
    again = database(tmp_path)
    await again.open()
    assert await again.query(messages.LoadUsers()) == ()
    await again.close()


async def test_opening_again_keeps_the_lock_and_gives_up_the_earlier_connection(db):
    await db.commit([[order("1")]])
    await db.open()
    await db.commit([[order("2")]])
    assert len(stored(db, rows.OrderRow)) == 2


async def test_a_database_that_is_not_open_says_so(tmp_path):
    with pytest.raises(StoreLost, match="not open"):
        await database(tmp_path).commit([[order()]])
    await database(tmp_path).close()


async def test_a_directory_that_cannot_be_made_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be used: Not a directory .* use another --state-dir"):
        await database(tmp_path / "file" / "state").open()


@pytest.mark.parametrize("name", ["what?", "back\\slash"])
async def test_a_directory_whose_name_duckdb_reads_otherwise_is_refused(tmp_path, name):
    with pytest.raises(StoreError, match=r"DuckDB reads .* otherwise .* use another --state-dir"):
        await database(tmp_path / name).open()


def hold_open(path):
    """Another process that has the database open; ends when its standard input is closed."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    return other


async def test_a_file_that_another_program_holds_is_refused_but_not_called_damaged(db, tmp_path):
    await db.close()
    other = hold_open(tmp_path / "live/otod.duckdb")
    try:
        with pytest.raises(StoreError, match="in use") as caught:
            await database(tmp_path).open()
        assert not isinstance(caught.value, IntegrityError)
    finally:
        other.communicate(b"")


async def test_another_exchange_is_refused(db, tmp_path):
    await db.close()
    with pytest.raises(IntegrityError, match=r"belongs to the exchange 'paper', not to 'binance www\.example'"):
        await database(tmp_path, identity="binance www.example").open()
    again = database(tmp_path)  # and nothing stays locked or changed by that
    await again.open()
    await again.close()


async def test_a_database_of_something_else_is_refused(tmp_path):
    (tmp_path / "live").mkdir()
    duckdb.connect(str(tmp_path / "live/otod.duckdb")).execute("CREATE TABLE t (a INT)").close()
    with pytest.raises(IntegrityError, match="not a database of otod"):
        await database(tmp_path).open()


async def test_a_database_of_a_newer_version_is_refused(db, tmp_path):
    db._file.writer.execute("UPDATE schema_version SET version = 99").fetchall()
    await db.close()
    with pytest.raises(IntegrityError, match="schema version 99"):
        await database(tmp_path).open()


async def test_another_instance_name_is_taken_over(db, tmp_path):
    await db.close()
    again = database(tmp_path, instance="there")
    await again.open()
    assert again._file.writer.execute("SELECT value FROM meta WHERE name = 'instance'").fetchall() == [("there",)]
    await again.close()


@pytest.mark.parametrize("after", ["open", "checkpoint"])
async def test_the_name_of_a_new_log_is_durable_before_anything_is_acknowledged(tmp_path, monkeypatch, after):
    """A power cut could otherwise take the directory entry of a log whose contents were fsynced."""
    db, log, synced = database(tmp_path), tmp_path / "live/otod.duckdb.wal", []
    if after == "checkpoint":
        await db.open()
    monkeypatch.setattr(
        "actors.adapters.duck_dir.sync_directory",
        lambda path: synced.append((path.name, log.exists(), (tmp_path / "live/generation").exists())),
    )
    await (db.open() if after == "open" else db.checkpoint())
    assert synced[0][:2] == ("live", True)
    assert synced[-1] == ("live", True, True)
    await db.close()


# -- lost and damaged files


def damage(path, at):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0x10]))


@pytest.mark.parametrize("after", ["open", "checkpoint"])
async def test_f64_a_missing_log_is_noticed(db, tmp_path, after):
    if after == "checkpoint":
        await db.commit([[order("0")]])
        await db.checkpoint()
    await db.commit([[order("1")]])
    die(db)
    (tmp_path / "live/otod.duckdb.wal").unlink()
    with pytest.raises(
        IntegrityError, match=r"(acknowledged records are missing|database file is missing|not a database)"
    ):
        await database(tmp_path).open()


async def test_f64_a_missing_log_is_let_through_on_request_once(db, tmp_path):
    await db.checkpoint()
    await db.commit([[order("1")]])
    die(db)
    (tmp_path / "live/otod.duckdb.wal").unlink()
    made = database(tmp_path, accept_lost_records=True)
    await made.open()
    assert made.statistics().lost_records
    assert stored(made, rows.OrderRow) == []
    await made.close()
    again = database(tmp_path)
    await again.open()
    assert not again.statistics().lost_records
    await again.close()


async def test_f64_an_older_copy_of_the_database_is_noticed(db, tmp_path):
    await db.close()
    live = tmp_path / "live"
    older = (live / "otod.duckdb").read_bytes()
    again = database(tmp_path)
    await again.open()
    await again.commit([[order("1")]])
    await again.close()
    (live / "otod.duckdb").write_bytes(older)
    with pytest.raises(
        IntegrityError, match=r"acknowledged records are missing: generation 2 was reached, the database is at 1"
    ):
        await database(tmp_path).open()


async def test_a_missing_database_beside_its_marker_is_noticed_and_its_log_kept(db, tmp_path):
    await db.commit([[order("1")]])
    die(db)
    (tmp_path / "live/otod.duckdb").unlink()
    with pytest.raises(IntegrityError, match="database file is missing"):
        await database(tmp_path).open()
    assert (tmp_path / "live/otod.duckdb.wal").exists()
    made = database(tmp_path, accept_lost_records=True)
    await made.open()
    assert made.statistics().generation == 2
    assert (tmp_path / "live/otod.duckdb.wal.lost-1").exists()
    await made.close()


@pytest.mark.parametrize("content", [b"seven", b"", b"\xff\xfe"])
async def test_a_marker_that_is_no_number_is_refused(db, tmp_path, content):
    await db.close()
    (tmp_path / "live/generation").write_bytes(content)
    with pytest.raises(IntegrityError, match="not a number"):
        await database(tmp_path).open()


async def test_a_marker_that_cannot_be_read_is_told(db, tmp_path):
    await db.close()
    (tmp_path / "live/generation").unlink()
    (tmp_path / "live/generation").mkdir()
    with pytest.raises(StoreError, match="cannot read the marker"):
        await database(tmp_path).open()


@pytest.mark.parametrize("where", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
async def test_f63_a_flipped_bit_in_the_log_is_refused_and_nothing_is_deleted(db, tmp_path, where):
    """Most are found by the checksum; one that looks like a torn end is found by the number of the newest row."""
    for number in range(50):
        await db.commit([[order(str(number))]])
    die(db)
    log = tmp_path / "live/otod.duckdb.wal"
    damage(log, int(log.stat().st_size * where))
    before = log.read_bytes()
    with pytest.raises(IntegrityError, match=r"damaged|acknowledged records are missing: row 50 was written"):
        await database(tmp_path).open()
    assert log.read_bytes() == before


async def test_f62_a_log_that_lost_acknowledged_rows_at_its_end_is_noticed(db, tmp_path):
    for number in range(10):
        await db.commit([[order(str(number))]])
    die(db)
    log = tmp_path / "live/otod.duckdb.wal"
    os.truncate(log, log.stat().st_size - 10)
    with pytest.raises(IntegrityError, match=r"row 10 was written, the database ends at row 9"):
        await database(tmp_path).open()
    made = database(tmp_path, accept_lost_records=True)
    await made.open()
    assert len(stored(made, rows.OrderRow)) == 9
    await made.close()


async def test_f62_a_torn_end_that_nobody_was_told_of_is_no_fault(db, tmp_path):
    await db.commit([[order("1")]])
    die(db)
    with (tmp_path / "live/otod.duckdb.wal").open("ab") as log:
        log.write(b"\x00\x01\x02 a commit that a power cut ended")
    again = database(tmp_path)
    await again.open()
    await again.commit([[order("2")]])
    assert len(stored(again, rows.OrderRow)) == 2
    await again.close()


@pytest.mark.parametrize("text", ["", "\0" * 20, "garbage"])
async def test_an_unreadable_number_of_the_newest_row_accuses_nobody(db, tmp_path, text):
    """After a power cut it may be anything that was never fsynced."""
    await db.commit([[order("1")]])
    die(db)
    (tmp_path / "live/acknowledged").write_text(text)
    again = database(tmp_path)
    await again.open()
    await again.close()
    assert int((tmp_path / "live/acknowledged").read_text()) == 1


async def test_the_number_of_the_newest_row_grows_over_all_lives(db, tmp_path):
    await db.commit([[order("1"), order("2")]])
    await db.close()
    for number in range(2):
        again = database(tmp_path)
        await again.open()
        assert int((tmp_path / "live/acknowledged").read_text()) == 2 + number
        await again.commit([[order("3")]])
        await again.checkpoint()
        await again.close()


async def test_a_damaged_database_file_is_refused(db, tmp_path):
    await db.close()
    damage(tmp_path / "live/otod.duckdb", 100)
    with pytest.raises(IntegrityError, match="damaged"):
        await database(tmp_path).open()


# -- disks


@pytest.fixture
def file_size_limit():
    """A function that makes writes beyond a file size fail, as a full disk does, until it is lifted (None)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handled = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (before[0] if size is None else size, before[1]))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handled)


async def test_f59_a_full_disk_acknowledges_nothing_and_the_same_connection_goes_on(db, tmp_path, file_size_limit):
    await db.commit([[order("1")]])
    file_size_limit(db.statistics().log_bytes + 100)
    for _ in range(3):
        with pytest.raises(StoreError, match="not written") as caught:
            await db.commit([[order(str(number)) for number in range(100, 120)]])
        assert not isinstance(caught.value, StoreLost | IntegrityError)
        assert (await db.query(messages.ListOrders(user="alice")))[0] == 1  # applied, though that cannot be kept
    file_size_limit(None)
    await db.commit([[order("2")]])
    again = await reopened(db, tmp_path)
    assert [row.order_id for row in stored(again, rows.OrderRow)] == ["1", "2"]
    await again.close()


async def test_a_database_that_finds_no_room_at_its_start_is_not_called_damaged(tmp_path, file_size_limit):
    (tmp_path / "live").mkdir()
    file_size_limit(0)
    with pytest.raises(StoreError) as caught:
        await database(tmp_path).open()
    assert not isinstance(caught.value, IntegrityError)


@pytest.mark.parametrize("error", [duckdb.IOException, duckdb.OutOfMemoryException])
async def test_rows_that_cannot_be_applied_now_are_applied_later(db, monkeypatch, error):
    await db.commit([[order("1")]])

    def apply(connection):
        raise error("no room for temporary files")

    with monkeypatch.context() as broken:
        broken.setattr("actors.adapters.duck_apply.apply", apply)
        with pytest.raises(StoreError, match="not written"):
            await db.query(messages.ListOrders(user="alice"))
    assert (await db.query(messages.ListOrders(user="alice")))[0] == 1


async def test_a_database_that_says_it_gave_up_in_other_words_is_lost_too(db, monkeypatch):
    def apply(connection):
        raise duckdb.IOException('The database has been invalidated. Original error: "x"')

    await db.commit([[order("1")]])
    monkeypatch.setattr("actors.adapters.duck_apply.apply", apply)
    with pytest.raises(StoreLost, match="gave up"):
        await db.query(messages.ListOrders(user="alice"))
    monkeypatch.undo()


async def test_publishing_on_a_full_disk_fails_alone(db, file_size_limit):
    await db.commit([[order("1")]])
    stored(db, rows.OrderRow)
    file_size_limit(db.statistics().log_bytes + 10_000)
    with pytest.raises(StoreError) as caught:
        await db.publish()
    assert not isinstance(caught.value, StoreLost)
    await db.commit([[order("2")]])
    file_size_limit(None)
    assert await db.publish()


async def test_a_checkpoint_without_room_is_not_begun(db, monkeypatch):
    await db.commit([[order("1")]])
    monkeypatch.setattr(db._dir, "free_bytes", lambda: 1000)
    with pytest.raises(StoreError, match="too little free space"):
        await db.checkpoint()
    await db.commit([[order("2")]])
    with pytest.raises(StoreError, match="too little free space"):
        await db.close()  # closed all the same; the log stays for the next start
    monkeypatch.undo()
    await db.open()
    assert len(stored(db, rows.OrderRow)) == 2


async def test_a_checkpoint_that_fails_half_way_loses_the_connection_and_no_row(db, file_size_limit):
    await db.commit([[order(str(number)) for number in range(3000)]])
    stored(db, rows.OrderRow)
    file_size_limit(300_000)
    with pytest.raises(StoreLost, match="gave up"):
        await db.checkpoint()
    with pytest.raises(StoreError):
        await db.commit([[order("x")]])
    file_size_limit(None)
    await db.open()
    assert (await db.query(messages.ListOrders(user="alice")))[0] == 3000
    await db.commit([[order("y")]])
