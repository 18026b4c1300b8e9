"""Accounts and wear of a pair: what was captured to the last digit, every asset of commission, exact at every scale."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.domain import oto
from actors.domain.legs import Fill, Leg
from actors.domain.money import EXACT, ratio, total
from actors.domain.orders import Accepted
from actors.domain.pair import Rules, Sale, accounts, new_pair, wear
from actors.exchange.reports import read_report
from tests.domain.pairkit import (
    BASE,
    BOUGHT,
    FILLED,
    MARKET,
    PLAN,
    RELEASED,
    ROUND_TRIP,
    RULES,
    SOLD_1,
    D,
    accepted,
    execution,
    in_air,
    plan,
    rules,
)
from tests.shared import needs_shared, wire


def with_fills(pair, *, buys=(), sells=(), unwound=()):
    """A pair with these executions booked."""

    def filled(leg, executions):
        upto, fills = D(0), []
        for one in executions:
            upto += one.quantity
            fills.append(Fill(execution=one, upto=upto))
        return replace(leg, fills=tuple(fills), told=upto, order_id=leg.order_id or leg.name)

    leg = Leg(name="unwind", side="SELL", price=MARKET, quantity=D(1), order_id="s")
    sales = (Sale(number=1, intent_ms=0, state="over", leg=filled(leg, unwound)),) if unwound else ()
    return replace(pair, working=filled(pair.working, buys), pending=filled(pair.pending, sells), sales=sales)


def parts(cost):
    return total(cost.fee, cost.spread, cost.slippage, cost.unwind, cost.dust)


# -- captured round trips


@needs_shared
def test_the_captured_frames_give_the_loss_of_wire_12_5():
    names = ("1_working_new", "2_pending_held", "3_working_filled", "4_pending_released", "5_pending_partial")
    data = [wire(f"stream_execution_report_{name}")["frame"]["data"] for name in (*names, "6_pending_filled")]
    reports = [read_report(msgspec.json.encode(frame)) for frame in data]
    working, pending = reports[0].order_id, reports[1].order_id
    the_plan = plan(symbol=reports[0].symbol, intent_ms=reports[0].created_ms - 100)
    story = in_air(the_plan=the_plan).tell(oto.PlaceEnded(Accepted((working, pending)))).tell(*reports)
    assert story.outcome == "completed"
    assert story.pauses() == []
    sums = story.accounts
    assert (sums.buy_quote, sums.sell_quote) == (D("197.30724223"), D("197.28681211"))
    assert (sums.base_commission, sums.quote_commission) == (D("0.086956"), D("0.01972868"))
    assert sums.leftover == D("0.003044")
    assert story.wear.total == D("0.0401588")
    assert story.wear.bps.quantize(D("0.001")) == D("2.035"), "0.02035 %"


def test_the_parts_of_the_captured_loss_are_those_of_wire_12_5():
    cost = in_air(the_plan=plan(bid=None, ask=None)).tell(oto.PlaceEnded(Accepted(("51481849", "51481850"))))
    cost = cost.tell(*ROUND_TRIP).wear
    assert cost.fee.quantize(D("1e-8")) == D("0.03945940"), "0.01973 of base commission, 0.01972868 of quote commission"
    assert cost.dust.quantize(D("0.00001")) == D("0.00069")
    assert cost.dust_quantity == D("0.003044")
    assert cost.slippage.quantize(D("0.000001")) == D("0.000009"), "one tick"
    assert (cost.spread, cost.unwind) == (0, 0)
    assert parts(cost) == cost.total


def test_the_second_captured_round_trip_loses_0_00006002():
    """ALPHA_971, wire § 12.5: residue 0.01 token, commission of the buy 5.29 tokens."""
    base, price = "ALPHA_971", D("0.000005665")
    instrument = replace(RULES.instrument, base_asset=base)
    pair = new_pair(PLAN, Rules(config=RULES.config, instrument=instrument))
    buy = execution("1", "52938", price, quote=D("0.29989377"), commission=D("5.29"), commission_asset=base)
    sell = execution("2", "52932.70", price, quote=D("0.29986374"), commission=D("0.00002999"), commission_asset="USDT")
    pair = with_fills(pair, buys=[buy], sells=[sell])
    assert accounts(pair).leftover == D("0.01")
    assert wear(pair).total == D("0.00006002")


# -- commissions


def test_commission_in_a_third_asset_stands_apart_from_wear():
    pair = with_fills(
        new_pair(PLAN, RULES),
        buys=[execution("1", "100", "1", commission=D("0.5"), commission_asset="BNB")],
        sells=[execution("2", "100", "1", side="SELL", commission=D("0.25"), commission_asset="BNB")],
    )
    assert accounts(pair).other_fees == (("BNB", D("0.75")),)
    assert wear(pair).total == 0


def test_commission_of_nothing_in_no_asset_is_no_fee():
    pair = with_fills(new_pair(PLAN, RULES), buys=[execution("1", "1", "1", commission=D(0), commission_asset="")])
    assert accounts(pair).other_fees == ()


def test_base_commission_is_in_wear_because_it_was_not_sold():
    pair = with_fills(
        new_pair(PLAN, RULES),
        buys=[execution("1", "100", "1", commission=D(1), commission_asset=BASE)],
        sells=[execution("2", "99", "1", side="SELL", commission=D(0))],
    )
    cost = wear(pair)
    assert (cost.total, cost.fee, cost.dust) == (1, 1, 0)


# -- leftovers


def test_dust_is_lost_and_what_can_be_sold_is_not():
    pair = with_fills(new_pair(PLAN, RULES), buys=[execution("1", "100", "2", commission=D(0))])
    assert wear(pair).total == 200
    assert wear(pair, sellable=D(90)).total == 20
    assert (wear(pair, D(90)).dust, wear(pair, D(90)).dust_quantity) == (20, 10)


def test_unwound_fills_lose_against_the_price_that_was_planned():
    pair = with_fills(
        new_pair(plan(sell_price=D("1.1"), bid=None, ask=None), RULES),
        buys=[execution("1", "100", "1", commission=D(0))],
        unwound=[execution("2", "100", "0.9", side="SELL", commission=D(0))],
    )
    cost = wear(pair)
    assert (cost.total, cost.unwind, cost.slippage) == (10, 20, -10)


def test_the_spread_is_that_of_the_intent():
    pair = with_fills(
        new_pair(plan(bid=D("0.9"), ask=D(1)), RULES),
        buys=[execution("1", "10", "1", commission=D(0))],
        sells=[execution("2", "10", "0.9", side="SELL", commission=D(0))],
    )
    cost = wear(pair)
    assert (cost.total, cost.spread, cost.slippage) == (1, 1, 0)


def test_a_pair_that_bought_nothing_costs_nothing():
    cost = wear(new_pair(PLAN, RULES))
    assert (cost.total, cost.bps, parts(cost)) == (0, 0, 0)


def test_money_is_summed_over_partial_fills_as_they_come():
    story = accepted().tell(FILLED)
    assert story.accounts.leftover == BOUGHT.quantity - BOUGHT.commission
    assert story.accounts.average_buy == ratio(BOUGHT.quote, BOUGHT.quantity, 18)
    assert story.accounts.sold + SOLD_1.quantity < RELEASED


# -- exactness

AMOUNTS = st.integers(1, 99_999_999_999 * 10**8).map(lambda atoms: D(atoms).scaleb(-8))
PRICES = st.integers(1, 10**17).map(lambda atoms: D(atoms).scaleb(-12))


@st.composite
def executions(draw, side):
    quantity, price = draw(AMOUNTS), draw(PRICES)
    asset = draw(st.sampled_from((BASE, "USDT", "BNB")))
    commission, quote = draw(AMOUNTS), draw(AMOUNTS)
    return execution(
        str(draw(st.integers(1, 10**12))), quantity, price, quote=quote, commission=commission, commission_asset=asset
    )


@given(
    st.lists(executions("BUY"), min_size=1, max_size=4),
    st.lists(executions("SELL"), max_size=4),
    st.lists(executions("SELL"), max_size=3),
    PRICES,
    PRICES,
)
def test_the_parts_of_wear_add_up_to_the_last_digit(buys, sells, unwound, bid, ask):
    pair = with_fills(new_pair(plan(bid=bid, ask=ask), RULES), buys=buys, sells=sells, unwound=unwound)
    cost = wear(pair)
    assert parts(cost) == cost.total
    sums = accounts(pair)
    assert sums.bought == total(*(fill.quantity for fill in buys))
    received = total(*(sold.quote for sold in (*sells, *unwound)))
    exact = EXACT.subtract(total(*(bought.quote for bought in buys), sums.quote_commission), received)
    assert cost.total == exact, "without a rounding of the sums"


@pytest.mark.parametrize(
    ("quantity", "price"),
    [("99999999999", "0.000000031244"), ("99999999999.99999999", "99999.999999999999"), ("0.00000001", "1e-12")],
)
def test_extreme_pairs_have_accounts(quantity, price):
    quantity, price = D(quantity), D(price)
    quote = quantity * price
    pair = with_fills(new_pair(PLAN, rules()), buys=[execution("1", quantity, price, quote=quote, commission=D(0))])
    assert accounts(pair).average_buy == price.quantize(D("1e-18"))
    assert wear(pair).total.quantize(D("1e-8")) == quote.quantize(D("1e-8"))
    assert parts(wear(pair)) == wear(pair).total
