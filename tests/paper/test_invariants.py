"""Whatever anybody does, under any rules: money is conserved, books are not crossed, sums are sums."""

from __future__ import annotations

import random
from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.domain.orders import TERMINAL
from actors.paper.faults import Fault
from actors.paper.listing import demo_listing
from actors.paper.machine import Exchange
from actors.paper.market import SyntheticMarket, Traded
from actors.paper.numbers import cut
from actors.paper.private import A1
from tests.paper.kit import KOGE, T0, Kit, conserved

USERS = ("alice", "bob")

rules = st.fixed_dictionaries(
    {},
    optional={
        "release_on": st.sampled_from(["full", "partial"]),
        "held_end": st.sampled_from(["CANCELED", "EXPIRED", "silent"]),
        "partial_cancel": st.sampled_from(["end", "release"]),
        "held_cancel": st.sampled_from(["list", "leg"]),
        "commission_from_free": st.booleans(),
        "base_commission": st.sampled_from(["nearest", "cut"]),
        "proceeds_wallet": st.sampled_from(["funding", "spot"]),
        "credit_lag_ms": st.just((0, 2_000)),
        "release_ms": st.just((0, 2_000)),
        "cancel_ms": st.just((0, 500)),
        "entry_ms": st.just((0, 300)),
        "split_fill_share": st.just(0.5),
        "trade_ids": st.sampled_from(["match", "fill"]),
        "page_ids": st.sampled_from(["event", "own"]),
        "buyer_millionths": st.sampled_from([0, 100, 1_234]),
    },
)
price = st.integers(4_795, 4_805).map(lambda cents: D(cents) / 100)
quantity = st.integers(30, 30_000).map(lambda steps: D(steps) / 10_000)
side = st.sampled_from(["BUY", "SELL"])
user = st.sampled_from(USERS)
action = st.one_of(
    st.tuples(st.just("quote"), side, price, quantity),
    st.tuples(st.just("take"), side, price, quantity),
    st.tuples(st.just("oto"), user, side, price, quantity, price),
    st.tuples(st.just("place"), user, side, price, quantity),
    st.tuples(st.just("cancel"), user, st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(1, 3_000)),
)


def perform(kit: Kit, what: str, *args) -> None:
    match what:
        case "quote":
            kit.quote(args[0], str(args[1]), str(args[2]))
        case "take":
            kit.exchange.take(KOGE, args[0], args[2], args[1], kit.now)
        case "oto":
            who, working, at, size, pending = args
            kit.ask(
                "POST", f"{A1}/oto-order/place", kit.oto_body(str(at), str(size), str(pending), side=working), user=who
            )
        case "place":
            who, order_side, at, size = args
            kit.ask("POST", f"{A1}/order/place", kit.order_body(order_side, str(at), str(size)), user=who)
        case "cancel":
            if rows := kit.open_orders(user=args[0]):
                kit.cancel(rows[args[1] % len(rows)]["orderId"], user=args[0])
        case "wait":
            kit.pass_ms(args[0])


def check(kit: Kit) -> None:
    conserved(kit)
    bid, ask = kit.exchange.best(KOGE)
    assert bid is None or ask is None or bid < ask
    for name in kit.exchange.accounts():
        audit = kit.exchange.audit(name)
        for order in audit.orders:
            fills = [fill for fill in audit.fills if (fill.symbol, fill.order_id) == order.key]
            assert order.cumulative == sum(fill.quantity for fill in fills)
            assert order.cumulative_quote == sum(cut(fill.price * fill.quantity) for fill in fills)
            assert order.commission == sum(fill.commission for fill in fills)
            assert 0 <= order.cumulative <= order.quantity
            assert all(amount >= 0 for amount in order.locks.values())
            if order.quantity and not order.remaining:
                legs = [leg for leg in audit.orders if leg.list_id and leg.list_id == order.list_id]
                grew = order.position == "OTO_PENDING" and kit.rules.release_on == "partial"
                grows = grew and (not legs[0].over or order.releases_ms is not None)
                assert order.status == "FILLED" or (grew and order.status == "CANCELED") or grows
            else:
                assert order.status != "FILLED"
            for fill in fills:
                assert fill.price <= order.price if order.side == "BUY" else fill.price >= order.price
        live = {order.list_id for order in audit.orders if order.list_id and not order.over}
        assert set(kit.exchange.live_pairs(name)) == live


def check_streams(kit: Kit) -> None:
    """The stream alone tells the same story as the exchange: each fill once, cumulative growing, last word final."""
    told: dict[str, list[dict]] = {}
    for report in kit.reports():
        told.setdefault(report["i"], []).append(report)
    fills = {name: {str(fill.event_id) for fill in kit.exchange.audit(name).fills} for name in USERS}
    heard = {str(r["id"]) for rows in told.values() for r in rows if r["x"] == "TRADE"}
    assert heard == set().union(*fills.values())
    for order_id, rows in told.items():
        order = kit.order(order_id)
        assert [r["id"] for r in rows] == sorted({r["id"] for r in rows})
        assert [D(r["z"]) for r in rows] == sorted(D(r["z"]) for r in rows)
        assert D(rows[-1]["z"]) == order.cumulative
        assert D(rows[-1]["Z"]) == order.cumulative_quote
        assert all(r["X"] not in TERMINAL for r in rows[:-1])
        if not (kit.rules.held_end == "silent" and order.over):
            assert rows[-1]["X"] == order.status
        for name in ("T", "E"):
            assert [r[name] for r in rows] == sorted(r[name] for r in rows)


def check_reads(kit: Kit) -> None:
    """Open orders and history together hold every order, with the exchange's own figures."""
    for name in USERS:
        rows = {row["orderId"]: row for row in kit.open_orders(user=name) + kit.history(user=name, rows=500)}
        audit = kit.exchange.audit(name)
        assert set(rows) == {str(order.order_id) for order in audit.orders}
        for order in audit.orders:
            row = rows[str(order.order_id)]
            assert (row["status"], D(row["executedQty"]), D(row["cumQuote"])) == (
                order.status,
                order.cumulative,
                order.cumulative_quote,
            )
            fills = kit.trades(str(order.order_id), user=name)
            assert sum(D(fill["qty"]) for fill in fills) == order.cumulative
            assert sum(D(fill["quoteQty"]) for fill in fills) == order.cumulative_quote
            assert len({fill["pageId"] for fill in fills}) == len(fills)


@settings(max_examples=120, deadline=None)
@given(rules, st.lists(action, min_size=5, max_size=45), st.integers(0, 2**32), st.sampled_from([0.0, 0.3]))
def test_whatever_anybody_does(rules, actions, seed, share):
    faults = [Fault(kind="partial_fill", seconds=0.4, share=share), Fault(kind="refuse_release", share=share)]
    kit = Kit(*faults, rng=random.Random(seed), **rules)
    for name in USERS:
        kit.listen(name)
        kit.exchange.deposit(name, "alpha", "ALPHA_22", D(20), kit.now)
    for one in actions:
        perform(kit, *one)
        check(kit)
    kit.pass_ms(20_000)
    check(kit)
    check_streams(kit)
    check_reads(kit)
    other = kit.restored()
    check(other)
    assert [other.exchange.audit(name).wallets for name in USERS] == [
        kit.exchange.audit(name).wallets for name in USERS
    ]


def test_a_seeded_market_and_ten_users_for_ten_minutes():
    """The real market, crossing pairs all the time: conserved, and the same seed gives the same history."""

    def run() -> tuple[Kit, list[tuple]]:
        kit = Kit(start_balance=D(10_000))
        listing = demo_listing()
        kit.exchange.market = SyntheticMarket(5, [Traded(instrument=listing.by_symbol[KOGE], price=D(48))], T0)
        kit.pass_ms(1_000)
        for round_ in range(100):
            kit.pass_ms(6_000)
            bid, ask = kit.exchange.best(KOGE)
            who = f"user{round_ % 10}"
            kit.oto(
                str(ask * D("1.0005") // D("1e-8") * D("1e-8")),
                "1",
                str(bid * D("0.9995") // D("1e-8") * D("1e-8")),
                user=who,
            )
        kit.pass_ms(6_000)
        fills = [fill for name in kit.exchange.accounts() for fill in kit.exchange.audit(name).fills]
        return kit, [(f.account, f.event_id, f.price, f.quantity, f.time_ms) for f in fills]

    kit, fills = run()
    conserved(kit)
    assert len(fills) >= 200
    assert all(kit.exchange.max_live_pairs(name) == 1 for name in kit.exchange.accounts())
    assert run()[1] == fills


def test_time_never_goes_back_for_a_late_market():
    """A market that is behind (a suspended machine) trades now; the tape stays ordered."""

    class Late:
        def __init__(self) -> None:
            self.left = 3

        def due_ms(self) -> int | None:
            return T0 - 1_000 if self.left else None

        def fire(self, venue) -> None:
            self.left -= 1
            venue.limit(KOGE, "SELL", D(48), D(1), T0 - 1_000)
            venue.take(KOGE, "BUY", D(1), D(48), T0 - 1_000)

    kit = Kit()
    kit.exchange.market = Late()
    assert kit.exchange.next_due_ms() == T0 - 1_000
    kit.pass_ms(10)
    assert [row["T"] for row in kit.agg_trades()] == [T0] * 3
    assert isinstance(kit.exchange, Exchange)
