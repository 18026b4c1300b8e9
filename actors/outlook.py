"""How a trader stands with the exchange: is its order stream connected, was the account heard, do requests get through.

The gate (`reconciled`) is shut at the start of every incarnation, when the order stream is lost, and before a pause
ends; a clean look at the account that began after that opens it. Looks are taken one at a time, for all who want one.
"""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from actors import desk
from actors.domain import oto
from actors.domain.absorb import Turn
from actors.domain.orders import Accepted, NoAnswer, OrderReport, OrderView, Refused
from actors.domain.pair import Pair
from actors.domain.proof import Look
from actors.errors import Trouble
from actors.messages import RefreshTokens
from actors.records import foreign_row

if TYPE_CHECKING:
    from actors.trader import Trader

RETRY_MS = 2_000
"""Before a failed look, balance or token look-up is tried again."""

LOCKED_OUT: frozenset[Trouble] = frozenset({"session", "human", "blocked"})
LOCKED_OUT_MS = 60_000
"""... if the exchange has shut the user out: until its owner has done something, only a look now and then (F26)."""

THROTTLE_S = 10.0
"""A 429 that does not say how long (wire § 10.1: it should)."""

UNREACHABLE = 5
"""Failed requests in a row after which the exchange counts as unreachable."""

UNREACHED: frozenset[Trouble] = frozenset({"not_sent", "no_reply", "system", "unreadable"})

SURVEY_BACK_MS = 600_000
"""A look without a live pair reaches back this far: late orders and foreign ones of the last minutes are seen."""


KINDS = {oto.PlaceEnded: "pair", oto.SaleEnded: "sale", oto.CancelEnded: "cancel"}
ENDINGS = {Accepted: "accepted", Refused: "refused", NoAnswer: "no_answer"}
"""Words for the tally."""


class Outlook:
    """Times are mono_ms. gap: the order stream was not connected all the time since the last look began."""

    def __init__(self, trader: Trader, now_mono: int) -> None:
        self._trader = trader
        self.stream_mono: int | None = None
        self.ever_streamed = False
        self.reconciled = False
        self.looking = False
        self.failures = 0
        self._locked_out = False
        self.throttled_until: int | None = None
        self._gap = True
        self._wanted = False
        self._gate_mono = now_mono  # a look that began before this does not open the gate
        self.retry_due: int | None = None
        self._unjudged: dict[str, str] = {}  # by symbol: orders of others, heard before the user's symbol was known
        self._unheard: dict[str, tuple[Decimal, int]] = {}  # order id → what REST told was filled, till when to wait

    # -- the order stream

    def stream_up(self) -> None:
        self.stream_mono, self.ever_streamed = self._trader.now().mono_ms, True
        self.want_look()

    def stream_down(self, why: str) -> None:
        self.stream_mono, self._gap = None, True
        self._unheard.clear()
        self._trader.log.warning("order_stream_lost", why=why)
        self.close_gate()

    def closed(self, pair: Pair) -> None:
        """A pair is over; what only REST has told of it so far the stream must tell too, if it does its duty (F10)."""
        if self.stream_mono is None or self._gap:
            return
        due = self._trader.now().mono_ms + Turn.SILENT_MS
        for leg in pair.legs():
            if leg.order_id is not None and leg.told > leg.streamed:
                self._unheard[leg.order_id] = (leg.told, due)

    def heard(self, report: OrderReport) -> None:
        told, _ = self._unheard.get(report.order_id, (None, 0))
        if told is not None and report.cumulative >= told:
            del self._unheard[report.order_id]

    def handled(self, report: OrderReport) -> None:
        """The machine has stepped with it. Both clocks are taken as they are: the difference is their skew, too."""
        world = self._trader.world
        world.tally.orders_s.observe((world.wall.now_ms() - report.sent_ms) / 1000)

    def notice_silence(self) -> None:
        now = self._trader.now().mono_ms
        silent = [order_id for order_id, (_, due) in self._unheard.items() if due <= now]
        if silent:
            what = f"the order stream never told of fills of orders {', '.join(silent)}"
            self._trader.world.tally.differences["silent_stream"] += 1
            self._trader.book.pause("ORDERS_DISCONNECTED", what)
            self._unheard.clear()

    @property
    def silence_due(self) -> int | None:
        return min((due for _, due in self._unheard.values()), default=None)

    # -- looking at the account

    def want_look(self) -> None:
        self._wanted = True

    def close_gate(self) -> None:
        """Nothing is placed before the account was looked at anew."""
        self.reconciled = False
        self._gate_mono = self._trader.now().mono_ms
        self.want_look()

    def look_if_wanted(self) -> None:
        trader = self._trader
        if not self._wanted or self.looking or not trader.book.recovered or not self.retry_over():
            return
        self._wanted, self.looking = False, True
        since = min([trader.now().wall_ms - SURVEY_BACK_MS, *trader.book.look_since()])
        thorough = not self.reconciled or trader.book.in_doubt()
        trader.spawn(partial(trader.tasks.survey, since, thorough=thorough))

    def surveyed(self, found: desk.Surveyed) -> None:
        trader, book = self._trader, self._trader.book
        self.looking, self.failures, self._locked_out = False, 0, False
        trader.world.tally.looks["clean"] += 1
        baseline = self._gap
        if self.stream_mono is not None and self.stream_mono <= found.started.mono_ms:
            self._gap = False
        for pair_id in book.listeners():
            if not book.remembers(pair_id):
                continue  # pushed out by one that this very look has closed
            orders = book.orders_for(pair_id, found.orders)
            look = Look(
                started=found.started,
                since_ms=found.since_ms,
                orders=orders,
                baseline=baseline,
                skew_ms=trader.world.skew_ms(),
            )
            trader.turn(pair_id, oto.Looked(look))
        if not self.reconciled and found.started.mono_ms >= self._gate_mono:
            self.reconciled = True
            trader.log.info("reconciled", orders=len(found.orders), live=[*book.live])
            trader.commands.reconciled()
        # Last, so that a resume does not lift what its own look has found.
        for view, tidings in book.foreign(found.orders):
            trader.world.tally.differences["foreign_order"] += 1
            trader.tasks.write([foreign_row(book.owner, view, trader.now().wall_ms)])
            if tidings == "another status" and book.alive(view):
                self._not_ours(view)

    def foreign(self, report: OrderReport) -> None:
        """A report of an order that is certainly not ours.

        Frames may come again, old ones too with a new subscription: an order from before this life is judged by a look,
        and a status that was told already pauses nobody again, for somebody may have resumed the user meanwhile.
        """
        trader, book = self._trader, self._trader.book
        if report.created_ms < book.born_ms:
            self.want_look()
            return
        tidings = book.known.tidings(report)
        if tidings is None:
            return
        trader.world.tally.differences["foreign_order"] += 1
        trader.tasks.write([foreign_row(book.owner, report, trader.now().wall_ms)])
        if tidings == "another status":
            self._not_ours(report)

    def _not_ours(self, order: OrderReport | OrderView) -> None:
        """Somebody else trades the user's token, or may: which symbol that is may not be known yet."""
        book = self._trader.book
        what = f"order {order.order_id} ({order.side} {order.quantity} at {order.price}) is not ours"
        if book.market is None:
            self._unjudged[order.symbol] = what
        elif order.symbol == book.symbol:
            book.pause("EXTERNAL_ORDER", what)

    def market_known(self) -> None:
        """What was heard of other people's orders before the user's symbol was known is judged now."""
        book = self._trader.book
        if book.market is not None:
            unjudged, self._unjudged = self._unjudged, {}
            if book.symbol in unjudged:
                book.pause("EXTERNAL_ORDER", unjudged[book.symbol])

    # -- failures

    def read_failed(self, failed: desk.ReadFailed) -> None:
        trader = self._trader
        self._heed(failed.trouble, failed.text, failed.retry_after_s)
        if failed.what == "look":
            self.looking = False
            trader.world.tally.looks["failed"] += 1
            for pair_id in tuple(trader.book.live):
                trader.turn(pair_id, oto.LookFailed(failed.trouble, failed.text))
            self.want_look()
            trader.commands.look_failed(failed.text)
        self.retry_later()

    def note_ending(self, event: oto.Event) -> None:
        """What the ending of a request says about the exchange itself."""
        if not isinstance(event, oto.PlaceEnded | oto.SaleEnded | oto.CancelEnded):
            return
        self._trader.world.tally.orders[KINDS[type(event)], ENDINGS[type(event.outcome)]] += 1
        match event.outcome:
            case NoAnswer(trouble=trouble, text=text, retry_after_s=retry_after_s):
                self._heed(trouble, text, retry_after_s)
            case Refused(trouble=trouble, text=text) if trouble is not None:
                self._heed(trouble, text, None)
                self.retry_later()
            case Refused():
                self.failures = 0
                self._trader.world.tokens.post(RefreshTokens())  # a filter or a halt that the lists do not show yet
            case _:
                self.failures = 0

    def unlock(self) -> None:
        """Somebody has done something: new credentials, or a resume."""
        self._locked_out, self.retry_due = False, None
        self.want_look()

    def retry_later(self) -> None:
        self.retry_due = self._trader.now().mono_ms + (LOCKED_OUT_MS if self._locked_out else RETRY_MS)

    def retry_over(self) -> bool:
        if self.retry_due is not None and self._trader.now().mono_ms >= self.retry_due:
            self.retry_due = None
        return self.retry_due is None

    def _heed(self, trouble: Trouble, text: str, retry_after_s: float | None) -> None:
        """What a failure means for the user beyond its request."""
        book = self._trader.book
        reason = oto.TROUBLE_PAUSES.get(trouble)
        if reason is not None:
            book.pause(reason, text)
        if trouble == "throttled":
            wait_s = retry_after_s if retry_after_s is not None else THROTTLE_S
            self.throttled_until = self._trader.now().mono_ms + int(wait_s * 1000)
        self._locked_out = self._locked_out or trouble in LOCKED_OUT
        if trouble in UNREACHED:
            self.failures += 1
            if self.failures >= UNREACHABLE:
                book.pause("EXCHANGE_UNREACHABLE", f"{self.failures} requests failed, the last: {text}")
