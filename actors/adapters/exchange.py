"""The exchange's calls made real: PublicExchange and PrivateExchange of the ports over one HTTP session.

No decision here but which lane a call takes and how far a list is paged: what a reply means is decided in
`actors/exchange/classify.py`, and a caller that gets no answer decides itself what to look at next. Nothing is retried.

Errors and outcomes of private calls hold the name of the call, the exchange's code and its redacted words; never a
cookie, a token, or a listen key.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

from msgspec import Raw

from actors.domain.instrument import Instrument, Token
from actors.domain.orders import Accepted, Balance, Execution, NoAnswer, OrderView, Outcome, Refused, Side
from actors.domain.quotes import Trade
from actors.errors import ExchangeError, ExchangeRefused, ExchangeTrouble, NoReply, NotSent, ProtocolChanged
from actors.exchange import account, listing, market, orders, requests
from actors.exchange.classify import Kind, Success, Verdict, classify
from actors.exchange.requests import Call
from actors.exchange.shapes import redact
from actors.ports import Http, Lane, Wall
from actors.tally import Tally

T = TypeVar("T")

NOT_SENT = "NOT_SENT"
PAGES_MAX = 200  # of history, 100,000 orders: beyond this the exchange ignores the page number


class PublicGateway:
    """PublicExchange. All calls raise ExchangeError, or ProtocolChanged when a reply has lost its known shape."""

    def __init__(self, http: Http, *, tally: Tally | None = None) -> None:
        self._session = _Session(http, None, tally)
        self.unreadable: dict[str, tuple[str, ...]] = {}
        """By list ("token list", "exchange info"): rows of the newest reply that were set aside, with their reasons."""

    async def tokens(self) -> tuple[Token, ...]:
        """Rows as listed: an alphaId may stand twice (listing.merge_tokens merges and warns)."""
        of = "token list"
        found = await self._session.read(requests.token_list(), listing.read_tokens, lane="public", of=of)
        self.unreadable[of] = found.unreadable
        return found.tokens

    async def instruments(self) -> tuple[Instrument, ...]:
        of = "exchange info"
        found = await self._session.read(requests.exchange_info(), listing.read_instruments, lane="public", of=of)
        self.unreadable[of] = found.unreadable
        return found.instruments

    async def trades(self, symbol: str, *, start_ms: int | None = None, limit: int = 1000) -> tuple[Trade, ...]:
        call = requests.agg_trades(symbol, start_ms=start_ms, limit=limit)
        return await self._session.read(call, market.read_agg_trades, lane="public", of=f"trades of {symbol}")

    async def fee_rate(self, symbol: str) -> tuple[Decimal, Decimal]:
        call = requests.fee_rate(symbol)
        return await self._session.read(call, listing.read_fee_rate, lane="public", of=f"fee rate of {symbol}")


class PrivateGateway:
    """PrivateExchange of one user, over that user's session.

    Placing and cancelling never raise: every ending is an outcome (an AssertionError says that the caller has a bug and
    nothing was sent). Reads raise ExchangeError, or ProtocolChanged when a reply has lost its known shape.
    """

    def __init__(self, http: Http, wall: Wall, *, tally: Tally | None = None) -> None:
        """wall: dates a Retry-After that is a date."""
        self._session = _Session(http, wall, tally)

    # -- orders

    async def place_oto(
        self, instrument: Instrument, *, buy_price: Decimal, sell_price: Decimal, quantity: Decimal
    ) -> Outcome:
        call = requests.place_oto(instrument, buy_price=buy_price, sell_price=sell_price, quantity=quantity)
        return await self._session.act(call, "placement", orders.read_oto_ids, lane="order")

    async def place_limit(self, instrument: Instrument, *, side: Side, price: Decimal, quantity: Decimal) -> Outcome:
        call = requests.place_limit(instrument, side=side, price=price, quantity=quantity)
        return await self._session.act(call, "placement", lambda data: (orders.read_order_id(data),), lane="order")

    async def cancel(self, symbol: str, order_id: str) -> Outcome:
        return await self._session.act(requests.cancel(symbol, order_id), "cancel", lambda data: (), lane="cancel")

    async def open_orders(self) -> tuple[OrderView, ...]:
        rows = await self._session.read(requests.open_orders(), orders.read_orders, lane="reconcile", of="open orders")
        return orders.merge_orders(rows)

    async def history(self, *, start_ms: int, end_ms: int, base_asset: str | None = None) -> tuple[OrderView, ...]:
        """Paged until a page is shorter than the rows asked for and the exchange's total, if it says one, is reached.

        A page that is short though the total says more asks for one page further, and only an empty one ends it: the
        server may cap the rows of a page below what was asked for.
        """
        views: list[OrderView] = []
        seen: set[tuple[str, str]] = set()
        for page in range(1, PAGES_MAX + 1):
            call = requests.history(page=page, start_ms=start_ms, end_ms=end_ms, base_asset=base_asset)
            of = f"history page {page}"
            success = await self._session.fetch(call, lane="reconcile", of=of)
            rows = orders.read_orders(success.data)
            fresh = {(row.symbol, row.order_id) for row in rows} - seen
            if rows and not fresh:
                raise ProtocolChanged("a page repeats the ones before", where=of, do="look at the paging of history")
            views += rows
            seen |= fresh
            promised = success.total is not None and len(seen) < success.total
            if not rows or (len(rows) < requests.HISTORY_ROWS and not promised):
                return orders.merge_orders(views)
        raise ProtocolChanged(f"more than {PAGES_MAX} pages", where="history", do="ask for a shorter window")

    async def executions(self, symbol: str, order_id: str) -> tuple[Execution, ...]:
        return await self._session.read(
            requests.user_trades(symbol, order_id),
            lambda data: orders.read_executions(data, symbol=symbol, order_id=order_id),
            lane="reconcile",
            of=f"fills of {symbol} {order_id}",
        )

    # -- the account

    async def wallets(self) -> tuple[Balance, ...]:
        return await self._session.read(requests.wallets(), account.read_wallets, lane="read", of="wallets")

    async def alpha_wallet(self) -> tuple[Balance, ...]:
        return await self._session.read(
            requests.alpha_wallet(), account.read_alpha_wallet, lane="read", of="Alpha wallet"
        )

    async def user_volume(self) -> Decimal:
        return await self._session.read(requests.user_volume(), account.read_user_volume, lane="read", of="user volume")

    async def user_score(self) -> account.UserScore:
        return await self._session.read(requests.user_score(), account.read_user_score, lane="read", of="user score")

    async def listen_key(self) -> str:
        """A secret. Keys are replaced in place, so the caller keeps it in its cell only."""
        return await self._session.read(requests.listen_key(), account.read_listen_key, lane="read", of="listen key")


class _Session:
    """From a call to its verdict."""

    def __init__(self, http: Http, wall: Wall | None, tally: Tally | None) -> None:
        self._http = http
        self._wall = wall
        self._tally = tally or Tally()

    async def act(self, call: Call, kind: Kind, ids: Callable[[Raw], tuple[str, ...]], *, lane: Lane) -> Outcome:
        """One of the three outcomes, whatever happens (design § 4)."""
        try:
            verdict = await self._ask(call, kind, lane)
        except NotSent as error:
            return Refused(NOT_SENT, redact(error.what), trouble=error.trouble)
        except ExchangeError as error:
            return NoAnswer(error.trouble, redact(error.what), error.retry_after_s)
        if not isinstance(verdict, Success):
            return verdict
        try:
            return Accepted(ids(verdict.data))
        except ProtocolChanged as error:  # the order exists, but under which id we must find out
            return NoAnswer("unreadable", f"success without readable ids: {error.what}")

    async def read(self, call: Call, decode: Callable[[Raw], T], *, lane: Lane, of: str) -> T:
        """Raises: ExchangeError, ProtocolChanged."""
        return decode((await self.fetch(call, lane=lane, of=of)).data)

    async def fetch(self, call: Call, *, lane: Lane, of: str) -> Success:
        """Raises: ExchangeError. of: the name of the call, for the error."""
        try:
            verdict = await self._ask(call, "read", lane)
        except (NotSent, NoReply) as error:
            # A library's words about a broken reply may quote its header lines, cookies among them.
            clean = type(error)(redact(error.what), where=of, do=redact(error.do))
            clean.trouble, clean.retry_after_s = error.trouble, error.retry_after_s
            raise clean from None
        match verdict:
            case Success():
                return verdict
            case Refused(code, text):
                raise ExchangeRefused(f"refused with {code} {text}".rstrip(), refusal=code, where=of)
            case NoAnswer(trouble, text, retry_after_s):
                raise ExchangeTrouble(text, trouble=trouble, retry_after_s=retry_after_s, where=of)

    async def _ask(self, call: Call, kind: Kind, lane: Lane) -> Verdict:
        name = name_of(call)
        try:
            reply = await self._http.request(call.method, call.path, query=call.query, body=call.body, lane=lane)
        except (NotSent, NoReply) as error:
            self._tally.called(name, error.trouble)
            raise
        now_ms = None if self._wall is None else self._wall.now_ms()
        verdict = classify(reply.status, reply.headers, reply.body, kind, now_ms=now_ms)
        self._tally.called(name, _outcome(verdict), reply.elapsed_s)
        return verdict


def name_of(call: Call) -> str:
    """The last two words of its path, which hold no id: "oto-order/place"."""
    return "/".join(call.path.split("/")[-2:])


def _outcome(verdict: Verdict) -> str:
    match verdict:
        case Success():
            return "success"
        case Refused():
            return "refused"
        case NoAnswer(trouble=trouble):
            return trouble
