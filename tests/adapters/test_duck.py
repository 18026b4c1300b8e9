"""Committing: what is acknowledged is there, exactly; what cannot fit is refused and kept."""

from __future__ import annotations

from decimal import Decimal as D

import duckdb
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from actors import messages, rows
from actors.adapters import duck_schema
from actors.adapters.duck import in_thread
from actors.adapters.duck_schema import TABLES, plain_decimal, to_line
from actors.errors import StoreRefused
from tests.adapters.duck_rows import (
    DAY,
    change,
    database,
    fill,
    one_of_each,
    order,
    pair,
    reopened,
    retraction,
    stored,
    user,
)


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    yield made
    await made.close()


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
    "16 digits before the point, summed": fill("bad", quote_quantity=D("1E+15")),
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
