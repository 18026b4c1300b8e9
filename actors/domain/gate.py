"""May this user open a pair now? If not: rest, wait, or pause, and why; in one place, in the order of importance.

`alarms` are looked at on every news, also while a pair lives, because a pause is due at once. `decide` is asked when no
pair lives. Waiting ends by itself, a pause does not (but for reasons in the user's auto_resume, `resumable`).
"""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from actors.domain import day as days
from actors.domain.day import Day
from actors.domain.instrument import Market
from actors.domain.money import notional, ratio_up
from actors.domain.orders import Balance
from actors.domain.pair import Plan
from actors.domain.pricing import leg_prices, minimum_pair, pair_quantity, violations
from actors.domain.pricing import pairs_to_go as pairs_for
from actors.domain.quotes import Quote
from actors.domain.trading import AUTO_RESUMABLE, Pause, PauseReason, TradingConfig, WaitingFor, Wanted
from actors.errors import ConfigError

RESTART_GRACE_MS = 10_000
"""A restart of one of our own actors that is ready again within this time is no pause (requirements, "Pauses")."""

AUTO_RESUME_MS = 60_000
"""An opted-in pause may end this long after its cause is gone."""

SKEW_MS_MAX = 1_400
"""As measured, good to half a second: so the clocks are within what the proofs allow for (proof.CREATED_BEFORE_MS)."""


class Facts(Struct, frozen=True, kw_only=True):
    """What a decision rests on. Times are wall ms, but for *_mono (trio's clock).

    feed_down_mono: since when the feed shows no connection.
    stream_mono: since when the order stream is connected, None while it is not; ever_streamed: it was in this life.
    free: spendable USDT read after the last pair ended, None: has to be read. short_since_mono: since when it has been
    too little. held: where else the account has USDT. closed_mono: when the last pair ended.
    """

    user: str
    config: TradingConfig
    wanted: Wanted
    pauses: tuple[Pause, ...]
    day: Day
    market: Market | None
    quote: Quote | None
    now_ms: int
    now_mono: int
    started_mono: int
    feed_down_mono: int | None = None
    reconciled: bool
    stream_mono: int | None
    ever_streamed: bool
    closed_mono: int | None
    free: Decimal | None
    held: tuple[Balance, ...] = ()
    short_since_mono: int | None = None
    throttled_until_mono: int | None = None
    skew_ms: int | None = None
    store_down: bool = False
    price_age_max_ms: int = 60_000
    credit_lag_ms: int = 10_000
    buyer_fee: Decimal = Decimal("0.0001")


class Rest(Struct, frozen=True, tag=True):
    """Nothing to do: stopped or paused (idle), or the day's target is reached (done)."""

    done: bool
    why: str


class Wait(Struct, frozen=True, tag=True):
    """Placing is withheld; until_mono: when to ask again, None: only news can change it."""

    wait: WaitingFor
    detail: str
    until_mono: int | None = None


class PauseNow(Struct, frozen=True, tag=True):
    reason: PauseReason
    detail: str


class ReadBalance(Struct, frozen=True, tag=True):
    """The spendable balance has to be read first."""


class Reconcile(Struct, frozen=True, tag=True):
    """The exchange has to be heard first."""


class Propose(Struct, frozen=True, tag=True):
    """This pair may be placed, if the self-trade guard permits."""

    plan: Plan


Decision = Rest | Wait | PauseNow | ReadBalance | Reconcile | Propose


def remaining(day: Day, config: TradingConfig, market: Market | None) -> Decimal:
    return days.remaining_quote(day, config, mul_point(market))


def mul_point(market: Market | None) -> Decimal:
    """The multiplier to count with; 1 where the token list does not say (wire § 14.2: read it, never derive it)."""
    if market is None or market.token.mul_point is None:
        return Decimal(1)
    return Decimal(market.token.mul_point)


def alarms(facts: Facts) -> tuple[PauseNow, ...]:
    """Pauses that are due now, whether or not a pair lives. Only for a user who wants to trade."""
    if facts.wanted != "running":
        return ()
    found: list[PauseNow] = []
    quote = facts.quote
    if quote is not None and _volatile(quote, facts):
        what = f"60 s range {quote.range_percent:.3f} % above {facts.config.volatility_threshold} %"
        found.append(PauseNow("PRICE_VOLATILITY", what))
    if quote is not None and not quote.connected and (quote.disconnected_since_ms is not None or _feed_late(facts)):
        found.append(PauseNow("FEED_DISCONNECTED", f"price stream of {quote.symbol} is lost"))
    if facts.stream_mono is None and (facts.ever_streamed or _late(facts.started_mono, facts)):
        found.append(PauseNow("ORDERS_DISCONNECTED", "order stream is lost"))
    return tuple(found)


def decide(facts: Facts) -> Decision:
    """What to do while no pair lives."""
    if facts.wanted != "running":
        return Rest(False, "stopped")
    if facts.pauses:
        return Rest(False, "paused: " + ", ".join(pause.reason for pause in facts.pauses))
    if remaining(facts.day, facts.config, facts.market) <= 0:
        return Rest(True, f"target {days.target_of(facts.config)} of {facts.day.date} is reached")
    if not facts.reconciled:
        return Reconcile()
    waiting = _wait(facts)
    if waiting is not None:
        return waiting
    skewed = clock_skew(facts)
    if skewed is not None:
        return PauseNow("CLOCK_SKEW", skewed)
    limit = wear_limit(facts)
    if limit is not None:
        return limit
    return _propose(facts)


def clock_skew(facts: Facts) -> str | None:
    """Orders are known again by the time the exchange gave them: with clocks apart one of ours would not be (F68)."""
    if facts.skew_ms is None or abs(facts.skew_ms) <= SKEW_MS_MAX:
        return None
    return f"the exchange's clock is {facts.skew_ms / 1000:+.1f} s from ours"


def wear_limit(facts: Facts) -> PauseNow | None:
    """The user's ceiling of the day's cost: of closed pairs, in USDT and against what they bought."""
    config, day = facts.config, facts.day
    if config.max_wear_usdt is not None and day.wear >= config.max_wear_usdt:
        return PauseNow("WEAR_LIMIT", f"wear {day.wear:f} USDT today, allowed {config.max_wear_usdt}")
    if config.max_wear_bps is not None and day.closed_volume > 0 and day.wear > 0:
        bps = ratio_up(day.wear * 10_000, day.closed_volume, 18)
        if bps > config.max_wear_bps:
            return PauseNow("WEAR_LIMIT", f"wear {bps:.2f} bps today, allowed {config.max_wear_bps}")
    return None


def _wait(facts: Facts) -> Wait | None:
    now = facts.now_mono
    if facts.closed_mono is not None:
        until = facts.closed_mono + int(facts.config.interval_seconds * 1000)
        if now < until:
            return Wait("interval", f"rest of {facts.config.interval_seconds} s between pairs", until)
    if facts.store_down:
        return Wait("actor_restart", "the store cannot write at the moment", now + 1_000)
    if facts.throttled_until_mono is not None and now < facts.throttled_until_mono:
        return Wait("rate", "the exchange asked for patience", facts.throttled_until_mono)
    if facts.stream_mono is None:
        return Wait("actor_restart", "order stream is not connected yet", facts.started_mono + RESTART_GRACE_MS)
    if facts.market is None:
        return Wait("actor_restart", "token is being looked up")
    quote = facts.quote
    if quote is None or quote.symbol != facts.market.instrument.symbol:  # else: the last token's, its feed still joined
        return Wait("price_stale", "no price yet")
    if not quote.connected:
        return Wait("actor_restart", f"price stream of {quote.symbol} restarts", now + 1_000)
    age_ms = facts.now_ms - max(quote.trade_ms, quote.confirmed_ms)
    if age_ms > facts.price_age_max_ms:
        return Wait("price_stale", f"last trade {age_ms / 1000:.0f} s ago, nothing newer confirmed", now + 1_000)
    if _volatile(quote, facts):  # the pause for it is due with the same news; nothing is placed in between
        return Wait("volatility", f"60 s range is {quote.range_percent:.3f} %", now + 1_000)
    return None


def _propose(facts: Facts) -> Decision:
    market, quote = facts.market, facts.quote
    assert market is not None, "_wait has seen to it"
    assert quote is not None, "_wait has seen to it"
    instrument, config = market.instrument, facts.config
    if config.target_points is not None and mul_point(market) <= 0:
        return PauseNow("TOKEN_UNAVAILABLE", f"volume in {config.token} counts for no points: its mulPoint is 0")
    try:
        buy_price, sell_price = leg_prices(quote.price, config, instrument.filters)
    except ConfigError as error:
        return PauseNow("ORDER_REJECTED", str(error))
    minimum = minimum_pair(
        instrument, buy_price=buy_price, sell_price=sell_price, reference=quote.price, buyer_fee=facts.buyer_fee
    )
    quantity = pair_quantity(
        config,
        instrument,
        buy_price=buy_price,
        reference=quote.price,
        remaining_quote=remaining(facts.day, config, market),
        minimum=minimum,
    )
    wrong = (
        *violations(instrument, "BUY", buy_price, quantity, reference=quote.price),
        *violations(instrument, "SELL", sell_price, quantity, reference=quote.price, pending=True),
    )
    if wrong:
        what = "; ".join(f"{v.filter}: {v.what} {v.value}, allowed {v.allowed}" for v in wrong)
        return PauseNow("ORDER_REJECTED", f"the configured pair breaks filters of {instrument.symbol}: {what}")
    short = _balance(facts, notional(buy_price, quantity))
    if short is not None:
        return short
    number = facts.day.last_number + 1
    crossed = quote.bid is not None and quote.ask is not None and quote.bid > quote.ask
    return Propose(
        Plan(
            pair_id=f"{facts.user}-{facts.day.date}-{number}",
            symbol=instrument.symbol,
            day=facts.day.date,
            number=number,
            reference=quote.price,
            buy_price=buy_price,
            sell_price=sell_price,
            quantity=quantity,
            intent_ms=facts.now_ms,
            bid=None if crossed else quote.bid,  # a crossed book says nothing about a spread (wire § 3.2)
            ask=None if crossed else quote.ask,
            token=config.token,
        )
    )


def _balance(facts: Facts, needed: Decimal) -> Decision | None:
    if facts.free is None:
        return ReadBalance()
    if facts.free >= needed:
        return None
    now = facts.now_mono
    if facts.short_since_mono is None or now - facts.short_since_mono < facts.credit_lag_ms:
        return Wait("credit_lag", f"{facts.free} USDT spendable, {needed:.4f} needed: credits may lag", now + 1_000)
    held = ", ".join(f"{b.wallet} {b.total}" for b in facts.held if b.asset == "USDT" and b.total > 0)
    return PauseNow(
        "INSUFFICIENT_BALANCE", f"{facts.free} USDT spendable, {needed:.4f} needed; USDT in: {held or 'none'}"
    )


def pairs_to_go(day: Day, config: TradingConfig, market: Market | None, quote: Quote | None) -> int:
    """ceil(remaining / amount per pair); with order_quantity the amount is worth the newest price."""
    left = remaining(day, config, market)
    if left <= 0:
        return 0
    if config.order_amount is not None:
        per_pair = config.order_amount
    elif quote is not None and config.order_quantity is not None:
        per_pair = notional(quote.price, config.order_quantity)
    else:
        return 1
    return pairs_for(left, per_pair)


def cause_present(pause: Pause, facts: Facts) -> str | None:
    """Why this pause cannot be lifted now, None: its cause is gone (or is for the operator to judge)."""
    quote = facts.quote
    match pause.reason:
        case "PRICE_VOLATILITY":
            if quote is not None and _volatile(quote, facts):
                return f"60 s range is {quote.range_percent:.3f} %"
        case "FEED_DISCONNECTED":
            if quote is None or not quote.connected:
                return "price stream is not connected"
        case "ORDERS_DISCONNECTED":
            if facts.stream_mono is None:
                return "order stream is not connected"
        case "RATE_LIMITED":
            if facts.throttled_until_mono is not None and facts.now_mono < facts.throttled_until_mono:
                return "the exchange asked for patience"
        case "TOKEN_UNAVAILABLE":
            if facts.market is None:
                return f"{facts.config.token} is not known or cannot be traded"
        case "CLOCK_SKEW":
            return clock_skew(facts)
        case "WEAR_LIMIT":
            limit = wear_limit(facts)
            return None if limit is None else limit.detail
        case _:
            pass
    return None


def resumable(pause: Pause, facts: Facts) -> bool:
    """Whether the user has opted in that this pause may end by itself."""
    return pause.reason in facts.config.auto_resume and pause.reason in AUTO_RESUMABLE


def _feed_late(facts: Facts) -> bool:
    """The feed restarts, and has not come back for longer than a restart takes: it may be parked."""
    return facts.feed_down_mono is not None and _late(facts.feed_down_mono, facts)


def _volatile(quote: Quote, facts: Facts) -> bool:
    return quote.range_percent > facts.config.volatility_threshold


def _late(since_mono: int, facts: Facts) -> bool:
    return facts.now_mono - since_mono > RESTART_GRACE_MS
