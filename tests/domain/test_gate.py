"""May a pair begin? Every answer of the gate as a table, in the order of importance (requirements, "The OTO cycle")."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.domain import gate
from actors.domain.day import Day
from actors.domain.instrument import Market, Token
from actors.domain.money import notional, on_grid
from actors.domain.orders import Balance
from actors.domain.pricing import minimum_pair
from actors.domain.quotes import Quote
from actors.domain.trading import AUTO_RESUMABLE, PAUSE_REASONS, Pause, TradingConfig
from tests.domain.pairkit import INSTRUMENT, SYMBOL, D

NOW_MS, NOW = 1_790_000_500_000, 500_000
DATE = "2026-09-21"

CONFIG = TradingConfig(
    token="KOGE", target_volume=D(500), order_amount=D(50), buy_offset=D("0.05"), sell_offset=D("-0.05")
)
TOKEN = Token(alpha_id="ALPHA_373", name="KOGE", mul_point=4)
MARKET = Market(token=TOKEN, instrument=INSTRUMENT, fetched_ms=NOW_MS)
QUOTE = Quote(
    symbol=SYMBOL, price=D("0.2269"), agg_id=7, trade_ms=NOW_MS - 500, confirmed_ms=NOW_MS - 400, bid=D("0.2268"),
    ask=D("0.2269"), range_percent=D("0.31"), connected=True,
)  # fmt: skip

READY = gate.Facts(
    user="alice", config=CONFIG, wanted="running", pauses=(), day=Day(date=DATE, last_number=6), market=MARKET,
    quote=QUOTE, now_ms=NOW_MS, now_mono=NOW, started_mono=0, reconciled=True, stream_mono=NOW - 100_000,
    ever_streamed=True, closed_mono=NOW - 60_000, free=D(10_000),
)  # fmt: skip


def facts(*, config=None, quote=None, day=None, market=None, token=None, **changes):
    """READY with changes; config, quote, day: changed keys of these."""
    made = replace(READY, **changes)
    if config is not None:
        made = replace(made, config=replace(CONFIG, **config))
    if quote is not None:
        made = replace(made, quote=replace(QUOTE, **quote))
    if day is not None:
        made = replace(made, day=replace(READY.day, **day))
    if token is not None:
        market = replace(MARKET, token=replace(TOKEN, **token))
    return made if market is None else replace(made, market=market)


def pause(reason):
    return Pause(reason=reason, since_ms=NOW_MS, detail="")


# -- in the order of importance: each line has the troubles of all lines below it, too

ORDER = [
    ({"wanted": "stopped"}, gate.Rest(False, "stopped")),
    ({"pauses": (pause("OPERATOR"), pause("CRASHED"))}, gate.Rest(False, "paused: OPERATOR, CRASHED")),
    ({"day": Day(date=DATE, volume=D(500))}, gate.Rest(True, f"target 500 of {DATE} is reached")),
    ({"reconciled": False}, gate.Reconcile()),
    ({"closed_mono": NOW - 999}, gate.Wait("interval", "rest of 1 s between pairs", NOW + 1)),
    ({"throttled_until_mono": NOW + 1}, gate.Wait("rate", "the exchange asked for patience", NOW + 1)),
    ({"stream_mono": None}, gate.Wait("actor_restart", "order stream is not connected yet", gate.RESTART_GRACE_MS)),
    ({"market": None}, gate.Wait("actor_restart", "token is being looked up")),
    ({"quote": None}, gate.Wait("price_stale", "no price yet")),
    ({"quote": replace(QUOTE, connected=False)}, "actor_restart"),
    ({"quote": replace(QUOTE, trade_ms=NOW_MS - 99_000, confirmed_ms=NOW_MS - 60_001)}, "price_stale"),
    ({"quote": replace(QUOTE, range_percent=D("2.01"))}, "volatility"),
    ({"skew_ms": -1_401}, "CLOCK_SKEW"),
    ({"day": Day(date=DATE, wear=D(9), volume=D(100)), "config": replace(CONFIG, max_wear_usdt=D(9))}, "WEAR_LIMIT"),
    ({"config": replace(CONFIG, buy_offset=D(-101))}, "ORDER_REJECTED"),
    ({"free": None}, gate.ReadBalance()),
    ({"free": D(1)}, "credit_lag"),
]


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_the_more_important_answer_is_given_first(place):
    """The trouble of a line is put on top of those that come after it."""
    made = READY
    for changes, _ in reversed(ORDER[place:]):
        made = replace(made, **changes)
    decision, wanted = gate.decide(made), ORDER[place][1]
    if isinstance(wanted, str):
        assert wanted in (getattr(decision, "wait", None), getattr(decision, "reason", None)), decision
    else:
        assert decision == wanted


@pytest.mark.parametrize("place", range(len(ORDER)))
def test_each_trouble_alone_withholds_placing(place):
    assert not isinstance(gate.decide(replace(READY, **ORDER[place][0])), gate.Propose)


def test_without_trouble_a_pair_is_proposed():
    decision = gate.decide(READY)
    assert isinstance(decision, gate.Propose)
    plan = decision.plan
    assert (plan.pair_id, plan.number, plan.day) == (f"alice-{DATE}-7", 7, DATE)
    assert (plan.buy_price, plan.sell_price) == (D("0.22701345"), D("0.22678655"))
    assert plan.quantity == D("220.25"), "50 USDT at the limit, floored to the step"
    assert (plan.reference, plan.bid, plan.ask, plan.intent_ms) == (QUOTE.price, QUOTE.bid, QUOTE.ask, NOW_MS)


# -- waits


@pytest.mark.parametrize(
    ("changes", "until"),
    [
        ({"closed_mono": NOW - 400, "config": replace(CONFIG, interval_seconds=D("0.5"))}, NOW + 100),
        ({"closed_mono": NOW - 500, "config": replace(CONFIG, interval_seconds=D("0.5"))}, None),
        ({"closed_mono": None}, None),
        ({"throttled_until_mono": NOW + 5_000}, NOW + 5_000),
        ({"throttled_until_mono": NOW}, None),
    ],
)
def test_a_wait_says_when_to_ask_again(changes, until):
    decision = gate.decide(replace(READY, **changes))
    assert getattr(decision, "until_mono", None) == until


@pytest.mark.parametrize(
    ("trade", "confirmed", "waits"),
    [(-60_000, -90_000, False), (-90_000, -60_000, False), (-60_001, -60_001, True), (5_000, -90_000, False)],
)
def test_f17_an_old_price_is_good_as_long_as_nothing_newer_is_known_to_exist(trade, confirmed, waits):
    decision = gate.decide(facts(quote={"trade_ms": NOW_MS + trade, "confirmed_ms": NOW_MS + confirmed}))
    assert isinstance(decision, gate.Wait) is waits


# -- balance


NEEDED = notional(D("0.22701345"), D("220.25"))


@pytest.mark.parametrize("free", [NEEDED, NEEDED + 1])
def test_a_balance_of_one_pair_suffices(free):
    assert isinstance(gate.decide(facts(free=free)), gate.Propose)


@pytest.mark.parametrize(
    ("short_since", "answer"),
    [(None, "credit_lag"), (NOW, "credit_lag"), (NOW - 9_999, "credit_lag"), (NOW - 10_000, "INSUFFICIENT_BALANCE")],
)
def test_credits_lag_before_a_balance_counts_as_missing(short_since, answer):
    decision = gate.decide(facts(free=NEEDED - D("0.00000001"), short_since_mono=short_since))
    assert answer in (getattr(decision, "wait", None), getattr(decision, "reason", None))


def test_the_wallet_that_holds_the_money_is_named():
    held = (
        Balance(asset="USDT", wallet="earn", free=D(300), frozen=D(5)),
        Balance(asset="USDT", wallet="spot", free=D(0), frozen=D(0)),
        Balance(asset="ALPHA_22", wallet="alpha", free=D(1), frozen=D(0)),
    )
    detail = gate.decide(facts(free=D(0), held=held, short_since_mono=0)).detail
    assert "earn 305" in detail
    assert "spot" not in detail
    assert "ALPHA_22" not in detail
    assert "none" in gate.decide(facts(free=D(0), short_since_mono=0)).detail


# -- pauses that the gate finds


@pytest.mark.parametrize(
    ("config", "day", "limit"),
    [
        ({"max_wear_usdt": D(1)}, {"wear": D("0.99999999")}, False),
        ({"max_wear_usdt": D(1)}, {"wear": D(1)}, True),
        ({"max_wear_bps": D(2)}, {"wear": D("0.02"), "closed_volume": D(100)}, False),
        ({"max_wear_bps": D(2)}, {"wear": D("0.0200000001"), "closed_volume": D(100)}, True),
        ({"max_wear_bps": D(2)}, {"wear": D("0.03"), "closed_volume": D(100), "volume": D(400)}, True),
        ({"max_wear_bps": D(2)}, {"wear": D("0.5"), "closed_volume": D(0), "volume": D(100)}, False),
        ({"max_wear_bps": D(2)}, {"wear": D(-1), "closed_volume": D(100)}, False),
        ({}, {"wear": D(1_000), "closed_volume": D(1)}, False),
    ],
)
def test_the_ceiling_of_the_days_cost(config, day, limit):
    assert isinstance(gate.decide(facts(config=config, day=day)), gate.PauseNow) is limit
    assert (gate.wear_limit(facts(config=config, day=day)) is not None) is limit


def test_f23_a_pair_that_breaks_a_filter_pauses_and_names_it():
    decision = gate.decide(facts(config={"order_amount": D(2_000_000), "target_volume": D(9_000_000)}, free=D(10**9)))
    assert isinstance(decision, gate.Propose), "an amount above the maximum is cut to it"
    decision = gate.decide(facts(config={"buy_offset": D(900_000)}))
    assert decision.reason == "ORDER_REJECTED"
    assert "PRICE_FILTER" in decision.detail


def test_offsets_that_leave_no_price_pause_instead_of_raising():
    decision = gate.decide(facts(config={"offset_mode": "fixed", "sell_offset": D(-1)}))
    assert (decision.reason, "sell_offset" in decision.detail) == ("ORDER_REJECTED", True)


def test_a_token_that_counts_for_no_points_pauses_a_user_who_wants_points():
    points = {"target_points": 8, "target_volume": None}
    decision = gate.decide(facts(config=points, token={"mul_point": 0}))
    assert decision.reason == "TOKEN_UNAVAILABLE"
    assert isinstance(gate.decide(facts(token={"mul_point": 0})), gate.Propose), "nominal volume counts all the same"


# -- alarms

DOWN = {"connected": False}


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"quote": replace(QUOTE, range_percent=D(2))}, []),
        ({"quote": replace(QUOTE, range_percent=D("2.000001"))}, ["PRICE_VOLATILITY"]),
        ({"quote": replace(QUOTE, **DOWN)}, []),
        ({"quote": replace(QUOTE, **DOWN), "feed_down_mono": NOW - 10_000}, []),
        ({"quote": replace(QUOTE, **DOWN), "feed_down_mono": NOW - 10_001}, ["FEED_DISCONNECTED"]),
        ({"quote": replace(QUOTE, **DOWN, disconnected_since_ms=5)}, ["FEED_DISCONNECTED"]),
        ({"quote": None}, []),
        ({"stream_mono": None}, ["ORDERS_DISCONNECTED"]),
        ({"stream_mono": None, "ever_streamed": False, "started_mono": NOW - 10_000}, []),
        ({"stream_mono": None, "ever_streamed": False, "started_mono": NOW - 10_001}, ["ORDERS_DISCONNECTED"]),
        (
            {"stream_mono": None, "quote": replace(QUOTE, **DOWN, disconnected_since_ms=5, range_percent=D(9))},
            ["PRICE_VOLATILITY", "FEED_DISCONNECTED", "ORDERS_DISCONNECTED"],
        ),
    ],
)
def test_f8_f16_f44_a_pause_is_due_at_once_but_for_our_own_restarts(changes, reasons):
    assert [alarm.reason for alarm in gate.alarms(replace(READY, **changes))] == reasons
    assert gate.alarms(replace(READY, **changes, wanted="stopped")) == ()


# -- may a pause end?


@pytest.mark.parametrize(
    ("reason", "changes", "present"),
    [
        ("PRICE_VOLATILITY", {"quote": replace(QUOTE, range_percent=D(3))}, True),
        ("PRICE_VOLATILITY", {}, False),
        ("PRICE_VOLATILITY", {"quote": None}, False),
        ("FEED_DISCONNECTED", {"quote": replace(QUOTE, **DOWN)}, True),
        ("FEED_DISCONNECTED", {"quote": None}, True),
        ("FEED_DISCONNECTED", {}, False),
        ("ORDERS_DISCONNECTED", {"stream_mono": None}, True),
        ("ORDERS_DISCONNECTED", {}, False),
        ("RATE_LIMITED", {"throttled_until_mono": NOW + 1}, True),
        ("RATE_LIMITED", {"throttled_until_mono": NOW}, False),
        ("RATE_LIMITED", {}, False),
        ("TOKEN_UNAVAILABLE", {"market": None}, True),
        ("TOKEN_UNAVAILABLE", {}, False),
        ("CLOCK_SKEW", {"skew_ms": 3_600_000}, True),
        ("CLOCK_SKEW", {"skew_ms": 1_400}, False),
        ("CLOCK_SKEW", {"skew_ms": None}, False),
        ("WEAR_LIMIT", {"config": replace(CONFIG, max_wear_usdt=D(1)), "day": Day(date=DATE, wear=D(1))}, True),
        ("WEAR_LIMIT", {"config": replace(CONFIG, max_wear_usdt=D(1)), "day": Day(date="2026-09-22")}, False),
        ("INSUFFICIENT_BALANCE", {"free": D(0)}, False),
        ("OPERATOR", {}, False),
    ],
)
def test_f71_a_pause_whose_cause_persists_is_not_lifted(reason, changes, present):
    why = gate.cause_present(pause(reason), replace(READY, **changes))
    assert (why is not None) is present
    assert why is None or why, "it says why"


@pytest.mark.parametrize("reason", PAUSE_REASONS)
def test_only_opted_in_reasons_may_end_by_themselves(reason):
    assert not gate.resumable(pause(reason), READY)
    opted = facts(config={"auto_resume": PAUSE_REASONS})
    assert gate.resumable(pause(reason), opted) is (reason in AUTO_RESUMABLE)


# -- targets


POINTS = {"target_points": 11, "target_volume": None}  # 2048 counted


@pytest.mark.parametrize(
    ("config", "token", "day", "left"),
    [
        ({}, {}, {"volume": D("319.05"), "counted": D(9_999)}, "180.95"),
        ({}, {}, {"volume": D(501)}, "0"),
        (POINTS, {"mul_point": 4}, {}, "512"),
        (POINTS, {"mul_point": 4}, {"counted": D(1_048), "volume": D(9_999)}, "250"),
        (POINTS, {"mul_point": 1}, {"counted": D(48)}, "2000"),
        (POINTS, {"mul_point": None}, {"counted": D(48)}, "2000"),
        (POINTS, {"mul_point": 3}, {"counted": D(2_047)}, "0.33333334"),
        (POINTS, {"mul_point": 4}, {"counted": D(2_048)}, "0"),
    ],
)
def test_what_remains_is_nominal_whatever_the_target(config, token, day, left):
    known = facts(config=config, token=token, day=day)
    assert gate.remaining(known.day, known.config, known.market) == D(left)


def test_without_a_market_the_multiplier_is_one():
    assert gate.mul_point(None) == 1


def test_points_reached_end_the_day_whatever_the_nominal_volume():
    decision = gate.decide(facts(config=POINTS, day={"counted": D(2_048)}))
    assert (decision.done, "2048" in decision.why) == (True, True)


def test_f70_another_day_opens_the_target_again():
    done = replace(READY, day=Day(date=DATE, volume=D(500), last_number=9))
    assert gate.decide(done).done
    tomorrow = gate.decide(replace(done, day=Day(date="2026-09-22")))
    assert tomorrow.plan.pair_id == "alice-2026-09-22-1"


@pytest.mark.parametrize("left", ["0.00000001", "0.05", "0.2", "7", "49.9", "50", "50.1", "500"])
def test_sc_007_the_last_pair_reaches_the_target_and_overshoots_by_a_minimum_pair_at_most(left):
    volume = 500 - D(left)
    plan = gate.decide(facts(day={"volume": volume})).plan
    expected = notional(min(plan.buy_price, plan.reference), plan.quantity)
    smallest = minimum_pair(
        INSTRUMENT,
        buy_price=plan.buy_price,
        sell_price=plan.sell_price,
        reference=plan.reference,
        buyer_fee=D("0.0001"),
    )
    if D(left) < 49:
        assert volume + expected >= 500
        assert volume + expected <= 500 + notional(plan.buy_price, smallest) + plan.buy_price * D("0.01")
    else:
        assert expected <= 50
    assert plan.quantity >= smallest


@given(
    st.decimals(min_value="0.00001", max_value=900, places=5),
    st.decimals(min_value=1, max_value=5_000, places=2),
    st.decimals(min_value="0.00000001", max_value=5_000, places=8),
)
def test_a_proposed_pair_is_on_the_grid_and_within_the_amount(price, amount, left):
    config = {"order_amount": amount, "target_volume": D(5_000)}
    decision = gate.decide(
        facts(config=config, day={"volume": 5_000 - left}, quote={"price": price, "bid": None, "ask": None})
    )
    if isinstance(decision, gate.PauseNow):
        assert decision.reason == "ORDER_REJECTED"
        return
    plan = decision.plan
    assert on_grid(plan.quantity, D("0.01"))
    assert on_grid(plan.buy_price, INSTRUMENT.filters.tick_size)
    smallest = minimum_pair(
        INSTRUMENT, buy_price=plan.buy_price, sell_price=plan.sell_price, reference=price, buyer_fee=D("0.0001")
    )
    assert notional(plan.buy_price, plan.quantity) <= max(amount, notional(plan.buy_price, smallest))


@pytest.mark.parametrize(
    ("config", "day", "quote", "pairs"),
    [
        ({}, {}, QUOTE, 10),
        ({}, {"volume": D("319.05")}, QUOTE, 4),
        ({}, {"volume": D(500)}, QUOTE, 0),
        ({}, {"volume": D("499.99999999")}, QUOTE, 1),
        ({"order_amount": None, "order_quantity": D(100)}, {}, QUOTE, 23),
        ({"order_amount": None, "order_quantity": D(100)}, {}, None, 1),
        (POINTS, {}, QUOTE, 11),
    ],
)
def test_pairs_to_go(config, day, quote, pairs):
    known = facts(config=config, day=day)
    assert gate.pairs_to_go(known.day, known.config, known.market, quote) == pairs


def test_a_crossed_book_is_no_spread():
    """wire § 3.2: a real snapshot was crossed."""
    plan = gate.decide(facts(quote={"bid": D("0.2270"), "ask": D("0.2269")})).plan
    assert (plan.bid, plan.ask) == (None, None)
    plan = gate.decide(facts(quote={"bid": D("0.2269"), "ask": D("0.2269")})).plan
    assert (plan.bid, plan.ask) == (D("0.2269"), D("0.2269"))
    assert gate.decide(facts(quote={"bid": None, "ask": D(1)})).plan.bid is None


def test_f59_nothing_is_proposed_while_the_store_cannot_write():
    decision = gate.decide(facts(store_down=True))
    assert isinstance(decision, gate.Wait)
    assert "cannot write" in decision.detail
