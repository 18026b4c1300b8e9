"""What is acknowledged is there: opening, committing, and everything that can be wrong with a state directory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from decimal import Decimal as D

import duckdb
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors import messages, rows
from actors.adapters import duck_schema
from actors.adapters.duck import in_thread
from actors.adapters.duck_schema import TABLES, from_record, plain_decimal, select_list, to_line
from actors.errors import IntegrityError, StoreError, StoreLost, StoreRefused
from tests.adapters.duck_rows import (
    DAY,
    NOON_MS,
    change,
    database,
    fill,
    one_of_each,
    order,
    pair,
    retraction,
    user,
)


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    yield made
    await made.close()


def stored(made, kind):
    """All rows of a table of an open database, as structs."""
    return made._file.read(
        lambda connection: [
            from_record(kind, record)
            for record in connection.execute(f"SELECT {select_list(kind)} FROM {kind.TABLE} ORDER BY ALL").fetchall()
        ],
        NOON_MS,
    )


def die(made):
    """As if the process had died: nothing is closed, applied or checkpointed in order."""
    made._file.disconnect()
    made._file = None
    made._dir.release_lock()


async def reopened(made, tmp_path, **options):
    die(made)
    again = database(tmp_path, **options)
    await again.open()
    return again


# -- committing


async def test_every_kind_of_row_comes_back_as_it_was_written(db):
    written = one_of_each()
    assert await db.commit([written]) == (None,)
    assert {type(row) for row in written} | {duck_schema.RejectedRow} == set(TABLES)
    for row in written:
        assert stored(db, type(row)) == [row]


async def test_optional_fields_come_back_empty(db):
    day = rows.UserDayRow(user="alice", day=DAY, target_volume=None, target_points=None)
    await db.commit([[pair(), day]])
    assert stored(db, rows.PairRow) == [pair()]
    assert stored(db, rows.UserDayRow) == [day]


async def test_an_upsert_keeps_the_last_version_and_a_once_row_the_first(db):
    await db.commit([[order(status="NEW"), order(status="FILLED")], [fill(price=D(1)), fill(price=D(2))]])
    assert [row.status for row in stored(db, rows.OrderRow)] == ["FILLED"]
    assert [row.price for row in stored(db, rows.FillRow)] == [D(1)]
    await db.commit([[order(status="CANCELED"), fill(price=D(3))]])
    assert [row.status for row in stored(db, rows.OrderRow)] == ["CANCELED"]
    assert [row.price for row in stored(db, rows.FillRow)] == [D(1)]


async def test_writing_everything_twice_changes_nothing(db):
    written = one_of_each()
    await db.commit([written, written])
    await db.commit([written])
    for row in written:
        assert stored(db, type(row)) == [row]


async def test_a_retracted_fill_is_gone_and_may_come_again(db):
    await db.commit([[fill("synthetic"), fill("other")]])
    await db.commit([[retraction("synthetic"), fill("real")]])
    assert [row.fill_id for row in stored(db, rows.FillRow)] == ["other", "real"]
    await db.commit([[fill("synthetic", price=D(5))]])
    assert [row.fill_id for row in stored(db, rows.FillRow)] == ["other", "real", "synthetic"]


@pytest.mark.parametrize("apply_between", [False, True])
async def test_the_order_of_a_fill_and_its_retraction_decides(db, apply_between):
    async def write(*group):
        await db.commit([group])
        if apply_between:
            stored(db, rows.FillRow)

    await write(fill("a", price=D(1)))
    await write(retraction("a"), fill("b"))
    await write(fill("a", price=D(2)))
    await write(retraction("b"))
    assert [(row.fill_id, row.price) for row in stored(db, rows.FillRow)] == [("a", D(2))]


async def test_keys_that_only_look_alike_are_two_rows(db):
    await db.commit(
        [[order("1", user="a-b"), order("b-1", user="a"), fill("1", user='a","b'), fill('b","1', user="a")]]
    )
    assert len(stored(db, rows.OrderRow)) == 2
    assert len(stored(db, rows.FillRow)) == 2


async def test_rows_are_found_by_the_next_process_without_an_orderly_end(db, tmp_path):
    await db.commit([[order("1"), fill("1")]])
    stored(db, rows.OrderRow)
    await db.commit([[order("2"), retraction("1")]])
    again = await reopened(db, tmp_path)
    assert [row.order_id for row in stored(again, rows.OrderRow)] == ["1", "2"]
    assert stored(again, rows.FillRow) == []
    await again.close()


async def test_more_rows_than_one_apply_takes_are_applied_in_slices(db, monkeypatch):
    monkeypatch.setattr("actors.adapters.duck_apply.ROWS_MAX", 10)
    await db.commit([[order("x", status=str(number)) for number in range(95)], [change(seq) for seq in range(5)]])
    assert [row.status for row in stored(db, rows.OrderRow)] == ["94"]
    assert len(stored(db, rows.StateChangeRow)) == 5


async def test_commits_go_on_after_a_checkpoint(db, tmp_path):
    await db.commit([[order("1")]])
    before = db.statistics()
    await db.checkpoint()
    assert db.statistics().generation == before.generation + 1
    assert db.statistics().log_bytes < before.log_bytes
    await db.commit([[order("2")]])
    again = await reopened(db, tmp_path)
    assert len(stored(again, rows.OrderRow)) == 2
    await again.close()


async def test_commits_questions_and_publications_run_side_by_side_in_threads(tmp_path):
    db = database(tmp_path, run=in_thread())
    await db.open()
    seen = []

    async def ask():
        for _ in range(15):
            total, _ = await db.query(messages.ListOrders(user="alice"))
            seen.append(total)

    async def publish():
        for _ in range(5):
            await db.publish()
            await db.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(publish)
        for number in range(60):
            await db.commit([[order(str(number)), fill(str(number)), change(number)]])
    assert seen == sorted(seen)
    assert (await db.query(messages.ListOrders(user="alice")))[0] == 60
    await db.close()


# -- rows that can never be written

DIGITS_19 = D("1.0000000000000000001")
BAD_ROWS = {
    "19 decimals": order("bad", price=DIGITS_19),
    "21 digits before the point": order("bad", price=D("1E+20")),
    "no number": order("bad", price=D("NaN")),
    "infinite": order("bad", price=D("-Infinity")),
    "a float": order("bad", price=1.5),
    "a huge exponent": order("bad", price=D("1E+999999")),
    "a tiny one": order("bad", price=D("1E-999999")),
    "nothing where something must be": order("bad", price=None),
    "a word that is none": order("bad", side="HOLD"),
    "text that has no UTF-8": order("bad", status="\ud800"),
    "a time before 1970": order("bad", created_at=-1),
    "a time far off": order("bad", created_at=10**18),
    "a time with a fraction": order("bad", created_at=1.5),
    "a number beyond 64 bits": change(2**63),
    "a truth for a number": change(True),
    "a day that is none": rows.UserDayRow(user="a", day="2026-13-01", target_volume=None, target_points=None),
    "a day written otherwise": rows.UserDayRow(user="a", day="20261120", target_volume=None, target_points=None),
    "a multiplier beyond reason": fill(mul_point=D(10) ** 8),
    "a multiplier of three decimals": fill(mul_point=D("0.125")),
    "a negative multiplier": fill(mul_point=D(-1)),
    "no row at all": messages.LoadUsers(),
}


@pytest.mark.parametrize("bad", BAD_ROWS.values(), ids=BAD_ROWS.keys())
async def test_a_row_that_cannot_fit_is_refused_and_only_its_group_suffers(db, bad):
    first, refused, last = await db.commit([[order("1")], [order("2"), bad], [order("3")]])
    assert (first, last) == (None, None)
    assert isinstance(refused, StoreRefused)
    assert [row.order_id for row in stored(db, rows.OrderRow)] == ["1", "3"]
    assert db.statistics().refused_rows == 2


async def test_refused_rows_are_kept(db):
    await db.commit([[order("2"), order("bad", price=DIGITS_19)]])
    kept = stored(db, duck_schema.RejectedRow)
    assert [row.kind for row in kept] == ["OrderRow", "OrderRow"]
    assert "1.0000000000000000001" in kept[1].row
    assert "more than 18 decimals" in kept[0].reason


async def test_the_refusal_names_table_key_and_value(db):
    (refusal,) = await db.commit([[order("bad", price=DIGITS_19)]])
    assert str(refusal) == (
        "this row can never be written: price 1.0000000000000000001 has more than 18 decimals"
        " [orders ['alice', 'ALPHA_22USDT', 'bad']] -> correct its sender; the row is kept in rejected_rows"
    )


async def test_a_row_that_slipped_through_the_border_is_set_aside_and_stops_nobody(db):
    """Written past the border: such a row was acknowledged, so it must neither vanish nor block the journal."""
    seq, kind, day, key, document = to_line(1_000_000, fill("bad"))
    for bad in (document.replace('"48.02"', '"many"'), document.replace('"KOGE"', "null")):
        seq += 1
        db._file.writer.execute("INSERT INTO journal VALUES (?, ?, ?, ?, ?)", [seq, kind, day, key, bad]).fetchall()
    db._file._seq = seq
    await db.commit([[fill("a"), order("1"), user()], [retraction("gone"), retraction("a"), fill("b")]])
    assert [row.fill_id for row in stored(db, rows.FillRow)] == ["b"]
    assert len(stored(db, rows.OrderRow)) == 1
    assert [row.kind for row in stored(db, duck_schema.RejectedRow)] == ["FillRow", "FillRow"]
    assert db.statistics().set_aside_rows == 2
    assert await db.publish()


# -- amounts

AMOUNTS = st.builds(
    lambda sign, digits, exponent: D((sign, tuple(map(int, str(digits))), exponent)),
    st.sampled_from([0, 1]),
    st.integers(0, 10**38 - 1),
    st.integers(-40, 25),
)


@pytest.fixture(scope="module")
def memory():
    with duckdb.connect() as connection:
        yield connection


@given(amount=AMOUNTS)
def test_an_amount_is_written_to_the_last_digit_or_refused(memory, amount):
    """What fits comes back from the database's own decimal type; DECIMAL(38,18) is 20 digits, a point, 18 digits."""
    before, _, after = f"{amount.copy_abs():f}".partition(".")
    fits = len(before.lstrip("0")) <= 20 and len(after.rstrip("0")) <= 18
    try:
        document = to_line(1, order(price=amount))[4]
    except StoreRefused:
        assert not fits
    else:
        assert fits
        assert _through_a_decimal(memory, document) == amount


def _through_a_decimal(memory, document):
    price = "CAST(json_extract_string($1, '$.price') AS DECIMAL(38,18))"
    ((text,),) = memory.execute(f"SELECT CAST({price} AS VARCHAR)", [document]).fetchall()
    return plain_decimal(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("0.000000000000000000", "0"), ("48.024100000000000000", "48.0241"), ("100", "100"), ("-5.500", "-5.5")],
)
def test_a_decimal_is_shown_without_its_trailing_zeros(text, plain):
    assert str(plain_decimal(text)) == plain


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


async def test_a_second_daemon_is_refused_with_the_pid_of_the_first(db, tmp_path):
    with pytest.raises(
        StoreError, match=rf"another otod \(pid {os.getpid()}\) uses this state directory \[.*\] -> stop it"
    ):
        await database(tmp_path).open()
    await db.commit([[order("1")]])


async def test_the_lock_is_free_after_closing(db, tmp_path):
    await db.close()
    again = database(tmp_path)
    await again.open()
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
