"""What a trader shows of itself: the snapshot that control, the live view and a restarted feed read. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec

from actors.domain import day as days
from actors.domain import gate, oto
from actors.domain.pair import Pair
from actors.domain.trading import PauseReason, Phase
from actors.domain.unwind import ENDED, living
from actors.domain.words import doing, plain
from actors.messages import OwnOrder, PairGlance, Progress, RestingPair, TraderSnapshot, Waiting
from actors.records import SaleNote
from actors.rows import PairRow

if TYPE_CHECKING:
    from actors.book import Book
    from actors.trader import Trader

HINTS: dict[PauseReason, str] = {
    "INSUFFICIENT_BALANCE": "move USDT to the funding wallet, then resume",
    "PRICE_VOLATILITY": "resume once the price has calmed, or raise volatility_threshold",
    "FEED_DISCONNECTED": "resume once `otoctl system streams` shows the price stream connected",
    "ORDERS_DISCONNECTED": "resume once the order stream is connected again",
    "EXCHANGE_UNREACHABLE": "check the network and the exchange's status page, then resume",
    "AUTH_FAILED": "log in on the site and hand over new credentials, then resume",
    "VERIFICATION_REQUIRED": "pass the verification on the site, hand over new credentials, then resume",
    "RATE_LIMITED": "wait as long as the exchange asked, lower the request rates, then resume",
    "TOKEN_UNAVAILABLE": "configure another token, or wait until it can be traded again, then resume",
    "ORDER_UNRESOLVED": "compare with the site; of several orders name one (`otoctl pair adopt`, `disown`), resume",
    "ORDER_REJECTED": "correct the configuration named in the detail, then resume",
    "EXTERNAL_ORDER": "leave this account's token to otod, or stop the user; then resume",
    "INVENTORY_LEFT": "sell the tokens named in the detail by hand, then resume",
    "LEDGER_MISMATCH": "compare with the exchange's history: `otoctl pair show`; then resume",
    "PROTOCOL_CHANGED": "upgrade otod: the exchange's messages have changed",
    "CLOCK_SKEW": "set the system clock (NTP), then resume",
    "WEAR_LIMIT": "raise max_wear_usdt or max_wear_bps, or resume tomorrow",
    "STORE_UNAVAILABLE": "free space on the disk of the state directory, then resume",
    "CRASHED": "read the child_crashed lines of the log, then resume",
    "OPERATOR": "`otoctl trading resume` ends it, when whoever paused it agrees",
}


def snapshot(trader: Trader, decision: gate.Decision | None, last: TraderSnapshot | None) -> TraderSnapshot:
    """The state of a trader as anybody may see it; `last` is what it showed before."""
    book, now_ms = trader.book, trader.now().wall_ms
    state = next(iter(book.live.values()), None)
    pair = oto.pair_of(state) if state is not None else None
    phase: Phase = "reconciling" if not book.recovered else _phase(state, decision)
    waiting = _waiting(trader, decision, last, now_ms)
    found = book.found[0] if book.found and pair is None else None
    same = last is not None and last.phase == phase
    return TraderSnapshot(
        user=trader.world.user,
        token=book.config.token,
        wanted=book.wanted,
        phase=phase,
        waiting=waiting,
        pauses=tuple(sorted(book.pauses.values(), key=lambda pause: pause.since_ms)),
        since_ms=last.since_ms if last is not None and same else now_ms,
        pair=_glance(pair) if pair is not None else _glance_of_row(found) if found is not None else None,
        progress=_progress(trader),
        own_orders=resting(book),
        symbol=pair.plan.symbol if pair is not None else found.symbol if found is not None else book.symbol,
        decision=_words(decision, trader),
        last_fill=book.last_fill,
        stream_connected=trader.outlook.stream_mono is not None,
        reconciled=trader.outlook.reconciled,
        incarnation_ms=book.born_ms,
    )


def resting(book: Book) -> tuple[RestingPair, ...]:
    """Of every pair that lives, or may live, what may rest at the exchange."""
    live = [oto.pair_of(state) for state in book.live.values()]
    found = [RestingPair(pair.plan.pair_id, pair.plan.symbol, own_orders(pair)) for pair in live]
    found += [RestingPair(row.pair_id, row.symbol, orders_of_row(row)) for row in book.found]
    return tuple(each for each in found if each.orders)


def own_orders(pair: Pair) -> tuple[OwnOrder, ...]:
    """What of a pair may rest at the exchange: for the self-trade guard, a held pending leg and a sale included."""
    orders = []
    if not pair.working.terminal:
        orders.append(OwnOrder("BUY", pair.plan.buy_price))
    if not pair.pending.terminal:
        orders.append(OwnOrder("SELL", pair.plan.sell_price))
    orders += [OwnOrder("SELL", sale.leg.price) for sale in living(pair)]
    return tuple(orders)


def orders_of_row(row: PairRow) -> tuple[OwnOrder, ...]:
    """The same of a pair that is known by its row alone: whatever it has asked for, unless the row says it is over."""
    sales = msgspec.json.decode(row.sales, type=tuple[SaleNote, ...])
    if sales:  # both legs were over before anything was sold in their place
        return tuple(OwnOrder("SELL", sale.price) for sale in sales if sale.state not in ENDED)
    return OwnOrder("BUY", row.buy_price), OwnOrder("SELL", row.sell_price)


def _phase(state: oto.LiveState | None, decision: gate.Decision | None) -> Phase:
    if state is not None:
        return oto.phase_of(state)
    if isinstance(decision, gate.Reconcile):
        return "reconciling"
    return "done" if isinstance(decision, gate.Rest) and decision.done else "idle"


def _waiting(
    trader: Trader, decision: gate.Decision | None, last: TraderSnapshot | None, now_ms: int
) -> Waiting | None:
    blocked = trader.guard.blocked
    if blocked is not None and (decision is None or isinstance(decision, gate.Propose)):
        detail = f"an order of {blocked.by} at {plain(blocked.price)} would be crossed (pair {blocked.pair_id})"
        return _since(Waiting(wait="self_trade", since_ms=now_ms, detail=detail), last)
    if isinstance(decision, gate.Wait):
        return _since(Waiting(wait=decision.wait, since_ms=now_ms, detail=decision.detail), last)
    return None


def _since(waiting: Waiting, last: TraderSnapshot | None) -> Waiting:
    """The wait goes on: it is shown since its beginning."""
    if last is None or last.waiting is None or last.waiting.wait != waiting.wait:
        return waiting
    return Waiting(wait=waiting.wait, since_ms=last.waiting.since_ms, detail=waiting.detail)


def _glance(pair: Pair) -> PairGlance:
    sold = pair.pending.booked + sum((sale.leg.booked for sale in pair.sales), pair.pending.booked * 0)
    return PairGlance(
        pair_id=pair.plan.pair_id,
        buy_price=pair.plan.buy_price,
        sell_price=pair.plan.sell_price,
        quantity=pair.plan.quantity,
        filled=pair.working.booked,
        sold=sold,
        intent_ms=pair.plan.intent_ms,
    )


def _glance_of_row(row: PairRow) -> PairGlance:
    """What was filled is not known before the pair is taken up."""
    return PairGlance(
        pair_id=row.pair_id,
        buy_price=row.buy_price,
        sell_price=row.sell_price,
        quantity=row.quantity,
        filled=Decimal(0),
        sold=Decimal(0),
        intent_ms=row.intent_at,
    )


def _progress(trader: Trader) -> Progress:
    book = trader.book
    day = book.day
    return Progress(
        day=day.date,
        volume=day.volume,
        counted_volume=day.counted,
        target=days.target_of(book.config),
        target_points=book.config.target_points,
        percent=days.percent(day, book.config),
        pairs=day.pairs,
        pairs_to_go=gate.pairs_to_go(day, book.config, book.market, trader.markets.quote()),
        wear=day.wear,
        closed_volume=day.closed_volume,
        fees=day.fees,
    )


def _words(decision: gate.Decision | None, trader: Trader) -> str:
    match decision:
        case None if not trader.book.recovered:
            return "taking up the pairs of the last run"
        case None:
            return "; ".join(doing(state, trader.now()) for state in trader.book.live.values())
        case gate.Rest(why=why):
            return why
        case gate.Wait(wait=wait, detail=detail):
            return f"waiting ({wait}): {detail}"
        case gate.PauseNow(reason=reason, detail=detail):
            return f"pausing ({reason}): {detail}"
        case gate.ReadBalance():
            return "reading the spendable balance"
        case gate.Reconcile():
            return "hearing the exchange before anything is placed"
        case gate.Propose(plan=plan):
            return (
                f"pair {plan.number}: buy {plain(plan.quantity)} at {plain(plan.buy_price)}, "
                f"sell at {plain(plan.sell_price)}, last price {plain(plan.reference)}"
            )
