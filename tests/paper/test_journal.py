"""A kill at any moment loses nothing that a client was told (design § 8)."""

from __future__ import annotations

import random

import msgspec
import pytest

from actors.errors import IntegrityError
from actors.paper.faults import Fault
from actors.paper.listing import Listing, demo_listing
from actors.paper.private import D1
from tests.paper.kit import KOGE, D, Kit, conserved


def memory(kit: Kit) -> bytes:
    """Everything that must survive, as text."""
    exchange = kit.exchange
    return msgspec.json.encode(
        {
            "accounts": {
                name: [exchange.audit(name), exchange.live_pairs(name), exchange.max_live_pairs(name)]
                for name in sorted(exchange.accounts())
            },
            "ledger": exchange.ledger(),
            "self_matches": exchange.self_matches,
        }
    )


def busy(**rules) -> tuple[Kit, list[tuple[int, int, bytes]]]:
    """A few minutes of everything. Returns the kit, and after each step (lines written, time, memory)."""
    kit = Kit(release_ms=(0, 400), credit_lag_ms=(0, 900), cancel_ms=(0, 300), **rules)
    rng, seen = random.Random(3), []
    kit.listen()
    kit.listen("bob")
    for i in range(120):
        price = str(D(rng.randint(4_795, 4_805)) / 100)
        what = rng.randrange(6)
        kit.quote(rng.choice(["BUY", "SELL"]), price, str(D(rng.randint(1, 10)) / 10))
        if what in (0, 1, 2):
            kit.oto(price, "0.5", str(D(price) + rng.choice([-1, 0, 1])), user=rng.choice(["alice", "bob"]))
        elif what == 3:
            kit.place("BUY", price, "0.3", user=rng.choice(["alice", "bob"]))
        elif what == 4 and i % 3 == 0:
            for user in ("alice", "bob"):
                if rows := kit.open_orders(user=user):
                    kit.cancel(rng.choice(rows)["orderId"], user=user)
        elif what == 5:
            kit.faults.add(Fault(kind="late_acceptance", seconds=2, times=1))
            kit.ask("POST", f"{D1}/order/place", kit.order_body("BUY", price, "0.2"))
        kit.pass_ms(rng.randint(1, 700))
        seen.append((len(kit.journal), kit.now, memory(kit)))
    return kit, seen


def test_after_every_step_the_journal_makes_the_same_exchange():
    kit, seen = busy()
    assert kit.exchange.statistics().fills > 20
    assert kit.exchange.self_matches
    for lines, now, expected in seen:
        kit.now = now
        assert memory(kit.restored(kit.journal[:lines])) == expected


def test_after_every_prefix_of_lines_the_accounts_are_consistent():
    kit, _ = busy()
    for count in range(len(kit.journal) + 1):
        other = kit.restored(kit.journal[:count])
        conserved(other)
        other.pass_ms(60_000)
        conserved(other)


def test_a_restored_exchange_goes_on_as_if_nothing_had_been():
    """Waiting orders are matched, resting ones stand in their old order, what is late still comes."""
    kit = Kit(credit_lag_ms=(5_000, 5_000), release_ms=(2_000, 2_000))
    first = kit.place("BUY", "47", "1")
    second = kit.place("BUY", "47", "1", user="bob")
    kit.pass_ms(1_000)
    kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
    kit.exchange.take(KOGE, "SELL", D("0.5"), D(47), kit.now)
    working, pending = kit.oto("46", "1", "60", user="carol")
    other = kit.restored()
    other.exchange.take(KOGE, "SELL", D("1"), D(47), kit.now)
    assert (other.order(first).cumulative, other.order(second).cumulative) == (D(1), D("0.5")), "alice was first"
    other.pass_ms(1_000)
    other.exchange.take(KOGE, "SELL", D(5), D(46), other.now)
    assert other.status(working) == "FILLED"
    another = other.restored()
    another.now = other.now
    another.pass_ms(2_000)
    assert another.status(pending) == "NEW"


def test_credits_cancels_and_late_placements_under_way_survive():
    kit = Kit(credit_lag_ms=(5_000, 5_000), cancel_ms=(3_000, 3_000))
    kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
    kit.quote("BUY", "48", "1")
    kit.place("SELL", "48", "1")
    kit.pass_ms(1_000)
    doomed = kit.place("BUY", "40", "1")
    kit.cancel(doomed)
    kit.faults.add(Fault(kind="late_acceptance", seconds=4, times=1))
    kit.ask("POST", f"{D1}/order/place", kit.order_body("BUY", "41", "1"))
    other = kit.restored()
    assert (other.status(doomed), other.exchange.audit("alice").incoming) == ("NEW", {"USDT": D("47.9952")})
    other.pass_ms(10_000)
    assert other.status(doomed) == "CANCELED"
    assert other.exchange.audit("alice").incoming == {}
    assert [row["price"] for row in other.open_orders()] == ["41"]


def test_listen_keys_survive_with_their_age():
    kit = Kit()
    key = kit.listen()
    kit.pass_ms(1_800_000)
    other = kit.restored()
    assert other.exchange.subscribe(f"alpha@{key}", public=False, now_ms=other.now)
    assert other.data("POST", f"{D1}/get-listen-key", {}) == key
    other = kit.restored()
    other.pass_ms(1_800_000)
    assert not other.exchange.subscribe(f"alpha@{key}", public=False, now_ms=other.now)
    assert not other.restored().exchange.subscribe(f"alpha@{key}", public=False, now_ms=other.now)


def test_no_number_is_ever_used_twice():
    """Ids go on behind what was reserved, also those of public trades, of which no line was written."""
    kit = Kit()
    for lines in range(3):
        kit.quote("SELL", "48", "1")
        kit.quote("BUY", "48", "1")
        order_id = kit.place("BUY", "47", "1")
        before = kit.agg_trades()[-1], order_id, kit.data("POST", f"{D1}/get-listen-key", {}, user=f"user{lines}")
        depth = kit.data("GET", "/bapi/defi/v1/public/alpha-trade/fullDepth", symbol=KOGE)
        kit = kit.restored()
        kit.quote("SELL", "48", "1")
        kit.quote("BUY", "48", "1")
        after = kit.agg_trades()[-1]
        assert (after["a"], after["f"]) > (before[0]["a"], before[0]["f"])
        assert int(kit.place("BUY", "47", "1")) > int(before[1])
        assert kit.data("POST", f"{D1}/get-listen-key", {}, user=f"other{lines}") != before[2]
        again = kit.data("GET", "/bapi/defi/v1/public/alpha-trade/fullDepth", symbol=KOGE)
        assert again["lastUpdateId"] > depth["lastUpdateId"]


def test_a_snapshot_stands_for_all_before_it():
    kit, _ = busy()
    line = kit.exchange.snapshot()
    assert kit.exchange.snapshot() == line
    assert memory(kit.restored([line])) == memory(kit)
    assert memory(kit.restored([*kit.journal, line])) == memory(kit)
    kit.journal[:] = [line]
    kit.place("BUY", "40", "0.1")
    kit.pass_ms(5_000)
    assert memory(kit.restored()) == memory(kit)


def test_last_price_survives_within_seconds():
    kit = Kit()
    kit.quote("SELL", "48.5", "1")
    kit.quote("BUY", "48.5", "1")
    kit.pass_ms(5_000)
    kit.pass_ms(1)
    other = kit.restored()
    assert other.exchange.last_price(KOGE) == D("48.5")
    assert other.exchange.last_price("ALPHA_901USDT") is None


def test_a_torn_last_line_is_dropped_and_damage_elsewhere_is_an_error():
    kit, _ = busy()
    whole = memory(kit.restored(kit.journal[:-1]))
    for cut in (0, 1, len(kit.journal[-1]) // 2, len(kit.journal[-1]) - 1):
        assert memory(kit.restored([*kit.journal[:-1], kit.journal[-1][:cut]])) == whole
    with pytest.raises(IntegrityError, match=r"unreadable journal entry.*line 4"):
        kit.restored([*kit.journal[:3], kit.journal[3][:-9] + b"\n", *kit.journal[4:]])


def test_a_journal_of_another_listing_is_an_error():
    kit = Kit()
    kit.place("BUY", "40", "1")
    demo = demo_listing()
    other = Listing(demo.tokens[1:], demo.instruments[2:])
    with pytest.raises(IntegrityError, match="orders of ALPHA_22USDT, which are not listed"):
        kit.restored(listing=other)


def test_reading_costs_no_line_and_the_market_hardly_any():
    kit = Kit()
    kit.place("BUY", "40", "1")
    kit.pass_ms(1_000)
    before = len(kit.journal)
    for _ in range(50):
        kit.open_orders()
        kit.history()
        kit.quote("SELL", "48", "1")
        kit.quote("BUY", "48", "1")
    assert len(kit.journal) <= before + 1


def test_lines_can_be_taken_instead():
    kit = Kit()
    other = kit.restored([], journal=None)
    other.place("BUY", "40", "1")
    lines = other.exchange.take_journal()
    assert lines.endswith(b"\n")
    assert other.exchange.take_journal() == b""
    assert memory(kit.restored(lines.splitlines(keepends=True))) == memory(other)


def test_an_exchange_that_is_restored_late_does_not_go_back_in_time():
    kit = Kit()
    kit.pass_ms(1_000)
    kit.place("BUY", "40", "1")
    other = kit.restored(now_ms=0)
    assert other.exchange.now_ms == kit.now


def test_what_a_full_disk_refused_goes_first_the_next_time():
    kit, full, written = Kit(), True, []

    def journal(lines: bytes) -> None:
        if full:
            raise OSError("no space left")
        written.append(lines)

    other = kit.restored([], journal=journal)
    with pytest.raises(OSError, match="no space"):
        other.place("BUY", "40", "1")
    full = False
    other.place("BUY", "41", "1")
    assert b'"40.00000000"' in written[0]
    assert memory(kit.restored(b"".join(written).splitlines(keepends=True))) == memory(other)
