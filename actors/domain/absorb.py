"""The half of a turn that takes in facts: which leg a piece of news is about, and what it adds to what is known."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar

from msgspec.structs import replace

from actors.domain import legs, oto
from actors.domain.legs import Absorbed, Leg
from actors.domain.money import ZERO
from actors.domain.orders import OrderReport, OrderView, Refused
from actors.domain.pair import Pair, accounts
from actors.domain.pricing import sellable
from actors.domain.proof import CREATED_BEFORE_MS, Instant, Wanted
from actors.domain.trading import PairOutcome, PauseReason
from actors.errors import Trouble

LOOK_BACK_MS = 60_000

EARLY_MAX = 64
"""Reports of unknown orders that are kept while a request is in the air: one pair makes six; more are not ours."""


def fresh_live(pair: Pair, at: Instant) -> oto.Live:
    return oto.Live(pair=pair, look_due=at.mono_ms + pair.rules.poll_ms)


def wanted_pair(pair: Pair) -> Wanted:
    plan = pair.plan
    return Wanted(
        symbol=plan.symbol,
        side="BUY",
        price=plan.buy_price,
        quantity=plan.quantity,
        intent_ms=pair.exchange_ms(plan.intent_ms),
        oto=True,
        partner_price=plan.sell_price,
        never=pair.disowned,
    )


def since_of(pair: Pair) -> int:
    """Looks page back to here (wall ms): well before each intent, so that a history page cannot end too early.

    A sale may be older than its pair by the wall clock, which somebody may have set back since (F67).
    """
    intents = (pair.plan.intent_ms, *(sale.intent_ms for sale in pair.sales))
    return pair.exchange_ms(min(intents)) - LOOK_BACK_MS


class Turn:
    """The state in the making and the effects of one event. Lives for one call of `step`."""

    SILENT_MS: ClassVar[int] = 5_000
    """The stream may lag REST by its delay (160-250 ms captured) and a slow moment; later it counts as silent."""

    READ_AGAIN_MS: ClassVar[int] = 1_000
    """Between two reads of missing fills at first; the longer they are missing, the rarer they are read."""

    SYNTHESISE_MS: ClassVar[int] = 30_000
    """Fills whose list does not come for so long are booked from the totals (design § 5)."""

    def __init__(self, state: oto.LiveState, at: Instant) -> None:
        self.state: oto.State = state
        self.at = at
        self.effects: list[oto.Effect] = []
        self._released_before = state.live.pair.pending.released

    @property
    def live(self) -> oto.Live:
        assert not isinstance(self.state, oto.Closed), "a closed pair has no live part"
        return self.state.live

    @live.setter
    def live(self, live: oto.Live) -> None:
        assert not isinstance(self.state, oto.Closed), "a closed pair has no live part"
        self.state = replace(self.state, live=live)

    @property
    def pair(self) -> Pair:
        return oto.pair_of(self.state)

    @pair.setter
    def pair(self, pair: Pair) -> None:
        self.live = replace(self.live, pair=pair)

    @property
    def where(self) -> str:
        return self.pair.plan.pair_id

    def wish(self, effect: oto.Effect) -> None:
        self.effects.append(effect)

    def look(self) -> None:
        """Looks now, unless a look is in the air already."""
        if not self.live.looking:
            self.live = replace(self.live, looking=True)
            self.wish(oto.TakeLook(since_of(self.pair)))

    def released_now(self) -> bool:
        """This turn brought the release of the pending leg."""
        return self.pair.pending.released and not self._released_before

    def close(self, outcome: PairOutcome) -> None:
        """The pair is over: its sums are compared with the exchange's totals (design § 5)."""
        pair = replace(self.pair, closed_ms=self.at.wall_ms)
        for leg in pair.legs():
            if leg.told_quote is not None and leg.booked == leg.told and leg.booked_quote != leg.told_quote:
                what = f"order {leg.order_id}: fills add up to {leg.booked_quote}, the exchange says {leg.told_quote}"
                self.wish(oto.AskPause("LEDGER_MISMATCH", what))
        sums = accounts(pair)
        if sums.sold > sums.bought:
            self.wish(oto.AskPause("LEDGER_MISMATCH", f"sold {sums.sold}, but bought only {sums.bought}"))
        for report in self.live.early:
            self.wish(oto.Unclaimed(report))
        self.effects = [effect for effect in self.effects if not isinstance(effect, oto.TakeLook)]
        self.state = oto.Closed(pair=pair, outcome=outcome)
        self.wish(oto.Finished(outcome))

    # -- facts

    def absorb(self, event: oto.Event) -> None:
        match event:
            case oto.Reported(report=report):
                self._reported(report)
            case oto.Looked(look=look):
                if look.skew_ms is not None:
                    self.pair = replace(self.pair, ahead_ms=max(self.pair.ahead_ms, -look.skew_ms))
                for view in look.orders:
                    self.see(view)
                self._compare_sources(baseline=look.baseline)
            case oto.ExecutionsRead(order_id=order_id, executions=executions):
                self._read_ended(order_id)
                leg = self.pair.leg_of(order_id)
                if leg is not None:
                    self._book(legs.with_executions(leg, executions))
            case oto.ExecutionsFailed(order_id=order_id):
                self._read_ended(order_id)
            case _:
                pass

    def see(self, view: OrderView) -> None:
        """A row of open orders or history, if it is of one of our orders."""
        leg = self._leg_for(view)
        if leg is not None:
            self._book(legs.with_view(replace(leg, order_id=view.order_id), view))

    def adopt(self, working_id: str, pending_id: str | None) -> None:
        """These orders are the pair's; what was reported of them so far is taken in."""
        pair = self.pair
        working = replace(pair.working, order_id=working_id)
        pending = replace(pair.pending, order_id=pending_id) if pending_id is not None else pair.pending
        self.pair = replace(pair, working=working, pending=pending)
        self.claim_early()

    def claim_early(self) -> None:
        early, self.live = self.live.early, replace(self.live, early=())
        for report in early:
            self._reported(report)

    def knows(self, news: OrderReport | OrderView) -> bool:
        """Whether it is of one of our orders."""
        return self._leg_for(news) is not None

    def is_open(self, view: OrderView) -> bool:
        """A row that shows one of the pair's own orders still open."""
        leg = self._leg_for(view)
        return leg is not None and not leg.terminal

    def read_what_is_missing(self) -> None:
        """Fills that the exchange's totals tell of and we have not booked are read, and so are invented ones."""
        if isinstance(self.state, oto.Closed):
            return
        now = self.at.mono_ms
        missing = [leg for leg in self.pair.legs() if leg.missing]
        owed = [leg for leg in missing if leg.booked < leg.told]
        since = self.live.missing_ms
        if not owed:
            if since is not None:
                self.live = replace(self.live, missing_ms=None)
        elif since is None:
            soon = min(self.live.read_due, now + self.READ_AGAIN_MS)
            self.live = replace(self.live, missing_ms=now, read_due=soon)
        elif now - since >= self.SYNTHESISE_MS:
            for leg in owed:
                self._synthesise(leg)
        for leg in missing:
            order_id = leg.order_id
            assert order_id is not None, leg
            if order_id not in self.live.reading and now >= self.live.read_due:
                self.live = replace(self.live, reading=self.live.reading | {order_id})
                self.wish(oto.ReadExecutions(order_id))

    def notice_silence(self) -> None:
        """REST has told of fills, and the stream still has not: it does not do its duty."""
        since = self.live.unheard_ms
        if since is None or self.at.mono_ms - since < self.SILENT_MS:
            return
        ids = ", ".join(leg.order_id or "" for leg in self.pair.legs() if leg.told > leg.streamed)
        self.wish(oto.AskPause("ORDERS_DISCONNECTED", f"the order stream never told of fills of orders {ids}"))
        self._hear_all()

    def trouble(self, trouble: Trouble, text: str) -> None:
        reason = oto.TROUBLE_PAUSES.get(trouble)
        if reason is not None:
            self.wish(oto.AskPause(reason, text))

    def refused(self, outcome: Refused) -> None:
        """The pause that a definite refusal deserves; what was certainly not sent deserves none by itself."""
        if outcome.trouble is not None:
            self.trouble(outcome.trouble, outcome.text)
            return
        balance = outcome.code in {"481020", "481003"}  # wire § 9; the second by one early note
        reason: PauseReason = "INSUFFICIENT_BALANCE" if balance else "ORDER_REJECTED"
        self.wish(oto.AskPause(reason, f"refused with code {outcome.code}: {outcome.text}"))

    # -- helpers

    def _read_ended(self, order_id: str) -> None:
        """The next read of missing fills: soon at first, the rarer the longer they are missing."""
        now, since, poll_ms = self.at.mono_ms, self.live.missing_ms, self.pair.rules.poll_ms
        if since is not None:
            gap = min(max(self.READ_AGAIN_MS, (now - since) // 2), poll_ms)
        else:
            gap = poll_ms if any(leg.synthetic for leg in self.pair.legs()) else self.READ_AGAIN_MS
        self.live = replace(self.live, reading=self.live.reading - {order_id}, read_due=now + gap)

    def _reported(self, report: OrderReport) -> None:
        leg = self._leg_for(report)
        if leg is None:
            self._unknown(report)
            return
        self._book(legs.with_report(replace(leg, order_id=report.order_id), report))
        if not any(leg.told > leg.streamed for leg in self.pair.legs()):
            self.live = replace(self.live, unheard_ms=None)

    def _unknown(self, report: OrderReport) -> None:
        ours = report.symbol == self.pair.plan.symbol and oto.wants_unknown(self.state)
        if not ours or len(self.live.early) >= EARLY_MAX:
            self.wish(oto.Unclaimed(report))
        else:
            self.live = replace(self.live, early=(*self.live.early, report))

    def _leg_for(self, news: OrderReport | OrderView) -> Leg | None:
        """The leg that an order is: by its id, which is unique within a symbol only (wire § 8.2), or as our list's."""
        pair = self.pair
        if news.symbol != pair.plan.symbol:
            return None
        leg = pair.leg_of(news.order_id)
        return pair.pending if leg is None and self._is_pending(news) else leg

    def _is_pending(self, news: OrderReport | OrderView) -> bool:
        """The other leg of our list: by the list's id (wire § 5.2), or by what it is where rows lack that."""
        working, pending = self.pair.working, self.pair.pending
        if working.order_id is None or pending.order_id is not None:
            return False
        if news.position == "working" or (news.side, news.price) != (pending.side, pending.price):
            return False
        if news.list_id is not None and working.list_id is not None:
            return news.list_id == working.list_id
        if news.list_id is not None and news.position is None:
            return False
        born = working.created_ms if working.created_ms is not None else wanted_pair(self.pair).intent_ms
        return news.created_ms is None or abs(news.created_ms - born) <= CREATED_BEFORE_MS

    def _book(self, absorbed: Absorbed) -> None:
        pair = self.pair
        leg = absorbed.leg
        if leg.order_id is not None and pair.leg_of(leg.order_id) is None:
            assert leg.name == "pending", leg
        self.pair = pair.with_leg(leg)
        for wrong in absorbed.contradictions:
            self.wish(oto.AskPause("LEDGER_MISMATCH", wrong.what))
        if leg.status not in legs.WORDS:
            self.wish(oto.AskPause("PROTOCOL_CHANGED", f"order {leg.order_id} has the unknown status {leg.status!r}"))

    def _synthesise(self, leg: Leg) -> None:
        rules = self.pair.rules
        instrument = rules.instrument
        asset = instrument.base_asset if leg.side == "BUY" else instrument.quote_asset
        when = leg.updated_ms if leg.updated_ms is not None else self.at.wall_ms
        if leg.told_quote is None:
            what = f"fills of order {leg.order_id} cannot be read, and the exchange does not say what they cost"
            self.wish(oto.AskPause("LEDGER_MISMATCH", what))
        elif leg.told <= leg.quantity:  # what is overfilled is for a human to say, not to be invented
            self._book(legs.synthesised(leg, when, rules.buyer_fee, asset))

    def _compare_sources(self, *, baseline: bool) -> None:
        if baseline:
            self._hear_all()
        elif any(leg.told > leg.streamed for leg in self.pair.legs()) and self.live.unheard_ms is None:
            self.live = replace(self.live, unheard_ms=self.at.mono_ms)

    def _hear_all(self) -> None:
        """From here on only what REST tells first counts against the stream."""
        pair = self.pair
        for leg in tuple(pair.legs()):
            if leg.order_id is not None:
                pair = pair.with_leg(replace(leg, streamed=leg.told))
        self.live = replace(self.live, pair=pair, unheard_ms=None)


def leftover_sellable(pair: Pair, price: Decimal) -> Decimal:
    """Base of the pair's own inventory that one plain SELL at `price` could sell."""
    left = accounts(pair).leftover
    return sellable(left, price, pair.rules.instrument) if left > 0 else ZERO
