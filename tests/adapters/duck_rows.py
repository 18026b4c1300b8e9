"""A database to open and rows to write, with everything that a test does not care about filled in."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path

from actors import rows
from actors.adapters.duck import DuckDatabase, inline
from actors.adapters.duck_schema import from_record, select_list

NOON_MS = 1_795_176_000_000  # 2026-11-20 12:00 UTC
DAY = "2026-11-20"
HOUR_MS = 3_600_000


class StillWall:
    """A wall clock that stands until it is moved."""

    def __init__(self, at_ms=NOON_MS):
        self.at_ms = at_ms

    def now_ms(self):
        return self.at_ms


def database(path: Path, **options) -> DuckDatabase:
    options = {"identity": "paper", "instance": "here", "wall": StillWall(), "run": inline} | options
    return DuckDatabase(path, **options)


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


def user(name="alice", **changes):
    return rows.UserRow(**{"user": name, "created_at": NOON_MS, "updated_at": NOON_MS} | changes)


def config(user="alice", revision=1, **changes):
    document = '{"token":"KOGE","target_volume":"500","order_amount":"50","buy_offset":"0.05","sell_offset":"-0.05"}'
    row = {"user": user, "revision": revision, "document": document, "who": "1000:1", "changed_at": NOON_MS}
    return rows.ConfigRow(**row | changes)


def pair(number=1, user="alice", **changes):
    row = {
        "user": user, "token": "KOGE", "symbol": "ALPHA_22USDT", "pair_id": f"{user}-{DAY}-{number}", "number": number,
        "reference_price": D("48"), "buy_price": D("48.0241"), "sell_price": D("47.9761"), "quantity": D("1.0411"),
        "status": "placing", "intent_at": NOON_MS + number,
    }  # fmt: skip
    return rows.PairRow(**row | changes)


def order(order_id="1", user="alice", **changes):
    row = {
        "user": user, "token": "KOGE", "symbol": "ALPHA_22USDT", "pair_id": f"{user}-{DAY}-1", "order_id": order_id,
        "leg": "working", "side": "BUY", "price": D("48.0241"), "quantity": D("1.0411"), "executed_quantity": D(0),
        "executed_quote": D(0), "status": "NEW", "created_at": NOON_MS, "updated_at": NOON_MS,
    }  # fmt: skip
    return rows.OrderRow(**row | changes)


def fill(fill_id="1", user="alice", **changes):
    row = {
        "user": user, "token": "KOGE", "symbol": "ALPHA_22USDT", "pair_id": f"{user}-{DAY}-1", "order_id": "1",
        "leg": "working", "side": "BUY", "price": D("48.02"), "quantity": D("1"), "quote_quantity": D("48.02"),
        "commission": D("0.0001"), "commission_asset": "KOGE", "mul_point": D(4), "fill_id": fill_id, "trade_id": "7",
        "source": "stream", "exchange_time": NOON_MS, "recorded_at": NOON_MS,
    }  # fmt: skip
    return rows.FillRow(**row | changes)


def retraction(fill_id, user="alice"):
    return rows.RetractFill(user=user, symbol="ALPHA_22USDT", fill_id=fill_id)


def change(seq, user="alice", **changes):
    row = {
        "user": user, "pair_id": None, "happened_at": NOON_MS + seq, "seq": seq, "from_phase": "idle",
        "event": "Begin", "to_phase": "placing",
    }  # fmt: skip
    return rows.StateChangeRow(**row | changes)


def pause(reason="OPERATOR", user="alice", **changes):
    row = {"user": user, "reason": reason, "since_at": NOON_MS, "detail": "because"}
    return rows.PauseRow(**row | changes)


def one_of_each():
    """A row of every kind but RetractFill, no optional field left out, awkward text and amounts in them."""
    text, amount = 'it\'s "odd"\n\\ 😀 ½', D("12345678901234567890.123456789012345678")
    summed = D("123456789012345.123456789012345678")
    at = NOON_MS + 123
    parts = {"wear_" + part: D("-0.1") for part in ("fee", "spread", "slippage", "unwind", "dust")}
    return (
        user(display_name=text, email="a@b", wanted="running", removed=True),
        config(who=text),
        rows.CredentialRow(user="alice", ciphertext=bytes(range(256)), key_id="k", stored_at=at, checked_at=at),
        pause(hint=text, ended_at=at, ended_by="1000:1"),
        rows.TokenRow(alpha_id="ALPHA_22", name="KOGE", mul_point=4, document="{}", fetched_at=at),
        rows.InstrumentRow(symbol="ALPHA_22USDT", status="TRADING", document="{}", fetched_at=at),
        pair(
            outcome="completed", buy_quote=summed, sell_quote=D("1E-18"), wear=D("-0.5"), wear_bps=D("3.7"), **parts,
            dust_quantity=D("1E+3"), counted_volume=D("7"), placed_at=at, closed_at=at, working_order_id="1",
            pending_order_id="2", list_id="3", bid_at_intent=D("47.9"), ask_at_intent=D("48.1"), cancel_cause="timeout",
            sales="[1]",
        ),
        order(pair_id=None, leg=None, executed_quantity=amount),
        fill(quantity=amount, quote_quantity=summed, mul_point=D("2.50")),
        change(5, pair_id="alice-1", detail=text),
        rows.AuditRow(audit_id="1", happened_at=at, who="1:2", user="alice", action="x", before="{}", after="[]"),
        rows.UserDayRow(user="alice", day=DAY, target_volume=D("500"), target_points=9, done_at=at),
        rows.PriceRow(
            token="KOGE", second=NOON_MS, open=D(1), high=D(2), low=D("0.5"), close=D("1.5"), quantity=D("3.25"),
            quote_quantity=D(4), trades=5,
        ),
        rows.NoticeRow(
            notice_id="paused/alice/OPERATOR/1", kind="paused", user="alice", what=text, happened_at=at,
            owed="json-1 tgram-2", ended_at=at,
        ),
    )  # fmt: skip
