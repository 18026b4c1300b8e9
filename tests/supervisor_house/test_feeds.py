"""The register of own resting orders that a feed starts with."""

from __future__ import annotations

from decimal import Decimal as D
from random import Random

import msgspec
import pytest
from msgspec.structs import replace

from actors import desk
from actors.messages import FeedSnapshot, OwnOrder, PairGlance, RestingPair, TraderSnapshot
from actors.records import SaleNote
from actors.rows import PairRow
from supervisor.feeds import FeedsByUse
from supervisor.mailbox import Cell
from tests.actors.fakes import market

SYMBOL = market().instrument.symbol
PAIR = PairRow(
    user="bob", token="KOGE", symbol=SYMBOL, pair_id="bob-2026-09-20-1", number=1, reference_price=D(48),
    buy_price=D("47.9"), sell_price=D("48.1"), quantity=D(1), status="working", intent_at=1,
)  # fmt: skip
SHOWN = TraderSnapshot(
    user="bob", token="KOGE", wanted="running", phase="working", waiting=None, pauses=(), since_ms=1, pair=None,
    progress=None, symbol=SYMBOL,
)  # fmt: skip


def rests(pair_id):
    return RestingPair(pair_id, SYMBOL, (OwnOrder("BUY", D(40)),))


def feeds(shown=()):
    return FeedsByUse(
        None, None, desk.Settings, ws_public="", store=None, kept={}, own_rng=lambda _: Random(1),
        snapshots=lambda: shown,
    )  # fmt: skip


def sale(number, state, price="47"):
    return SaleNote(number=number, intent_ms=1, state=state, price=D(price), quantity=D(1))


def resting(found, shown=(), symbol=SYMBOL):
    made = feeds(shown)
    made.found({"bob": found})
    return list(made._resting(symbol))


def test_what_an_earlier_process_left_open_counts_before_its_trader_has_shown_anything():
    both_legs = (OwnOrder("BUY", D("47.9")), OwnOrder("SELL", D("48.1")))
    assert resting((PAIR,)) == [("bob", "bob-2026-09-20-1", both_legs)]
    assert resting((PAIR,), symbol="ALPHA_23USDT") == []


@pytest.mark.parametrize(
    ("sales", "orders"),
    [
        ([sale(1, "over", "46")], ()),
        ([sale(1, "over", "46"), sale(2, "open")], (OwnOrder("SELL", D(47)),)),
        ([sale(1, "air")], (OwnOrder("SELL", D(47)),)),
    ],
)
def test_of_a_pair_that_is_being_sold_off_only_its_sales_count(sales, orders):
    found = replace(PAIR, sales=msgspec.json.encode(sales).decode())
    assert [one[2] for one in resting((found,))] == [orders]


def test_what_a_trader_shows_itself_is_newer_than_its_rows():
    glance = PairGlance(
        pair_id="bob-2026-09-20-2",
        buy_price=D(40),
        sell_price=D(41),
        quantity=D(1),
        filled=D(0),
        sold=D(0),
        intent_ms=2,
    )
    elsewhere = RestingPair("bob-2026-09-20-4", "ALPHA_1USDT", (OwnOrder("BUY", D(40)),))
    pairs = (rests("bob-2026-09-20-2"), rests("bob-2026-09-20-3"), elsewhere)
    live = replace(SHOWN, pair=glance, own_orders=pairs)
    assert resting((PAIR,), [SHOWN]) == []
    assert resting((PAIR,), [live]) == [
        ("bob", "bob-2026-09-20-2", (OwnOrder("BUY", D(40)),)),
        ("bob", "bob-2026-09-20-3", (OwnOrder("BUY", D(40)),)),
    ]


def test_a_feed_is_found_by_its_tokens_name_in_any_case_unless_that_means_two():
    made = feeds()
    one, other = market(), market()
    other = replace(other, token=replace(other.token, name="Koge", alpha_id="ALPHA_9"))
    for symbol, of in ((SYMBOL, one), ("ALPHA_9USDT", other)):
        made._quotes[symbol] = Cell()
        made._feeds[symbol] = Cell()
        made._feeds[symbol].publish(
            FeedSnapshot(market=of, connected=True, connected_since_ms=1, trades_seen=0, register=())
        )
        if of is one:
            assert {made.shown(word)[0].market.token.name for word in ("KOGE", "koge", "ALPHA_22", SYMBOL)} == {"KOGE"}
    assert made.shown("Koge")[0].market.token.alpha_id == "ALPHA_9"
    assert made.shown("koge") == (None, None)
