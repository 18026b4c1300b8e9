"""The token catalogue: what a short name means and how it is traded, for everybody who asks.

Answers come from memory, which is filled from the store at the start, so that a known token can be traded while the
exchange's lists cannot be read. They are read anew when a token is missing, when they are old (24 h for tokens, 1 h for
exchange info), on request, and by the clock. Reading runs in tasks, one per list at most, however many ask: the inbox
is never deaf, and who needs the result waits for it. What was read goes to the store by a task of its own.

    Resolve ── in memory and fresh ──────────────▶ answer
            └─ else: read, and when that is over ─▶ answer; from memory with a warning if reading failed
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, TypeVar

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.domain.catalogue import Catalogue
from actors.domain.instrument import Instrument, Market, Token
from actors.errors import ExchangeError, NotNow, OtodError, ProtocolChanged, Refusal, StoreRefused, TokenError
from actors.exchange.listing import merge_tokens
from actors.messages import (
    ForgetToken,
    ListCatalogue,
    Listed,
    ListTokens,
    LoadTokens,
    RefreshTokens,
    Resolve,
    ShowToken,
)
from actors.ports import Address, Asked, Events, Inbox, Log, PublicExchange, Reply, Rows, Started, Stop, Wall
from actors.rows import InstrumentRow, TokenRow

TOKENS_AGE_S = 24 * 3600.0  # requirements, "Tokens"
INSTRUMENTS_AGE_S = 3600.0
CHECK_S = 15.0  # how often the ages are looked at
FAILED_PACE_S = 60.0  # after a failed read nobody but an operator has it tried again sooner
MISSED_PACE_S = 60.0  # a name that nobody knows has the list read again at most this often
ROWS_AT_ONCE = 100  # one row that the store refuses takes no more than its group with it
NEWS_PACE_S = 10.0  # filter refusals of many users come together; one read answers them all

T = TypeVar("T")
List = Literal["tokens", "instruments"]
LISTS: tuple[List, ...] = ("tokens", "instruments")


class _Waiting(Struct, frozen=True):
    """Somebody whose answer needs the reads in flight."""

    reply: Reply[object]
    question: Resolve | RefreshTokens


async def run(
    inbox: Inbox,
    *,
    store: Address,
    rows: Rows,
    public: PublicExchange,
    wall: Wall,
    log: Log,
    events: Events,
    tokens_age_s: float = TOKENS_AGE_S,
    instruments_age_s: float = INSTRUMENTS_AGE_S,
    task_status: Started,
) -> None:
    """One incarnation. Ready once the store's rows are loaded; lists that are missing or old are read meanwhile.

    Raises: MailboxFull; StoreError, the store cannot be read.
    """
    catalogue = Tokens(rows, public, wall, log, events, tokens_age_s=tokens_age_s, instruments_age_s=instruments_age_s)
    catalogue.remember(*await store.ask(LoadTokens()))
    async with trio.open_nursery() as nursery:
        catalogue.nursery = nursery
        nursery.start_soon(catalogue.keep_fresh)
        nursery.start_soon(catalogue.save)
        task_status.started()
        await catalogue.serve(inbox)
        nursery.cancel_scope.cancel()


class Tokens:
    """State of one incarnation."""

    nursery: trio.Nursery

    def __init__(
        self,
        rows: Rows,
        public: PublicExchange,
        wall: Wall,
        log: Log,
        events: Events,
        *,
        tokens_age_s: float,
        instruments_age_s: float,
    ) -> None:
        self._rows, self._public, self._wall, self._log, self._events = rows, public, wall, log, events
        self._age_s_max: dict[List, float] = {"tokens": tokens_age_s, "instruments": instruments_age_s}
        self._known = Catalogue()
        self._asked: dict[str, None] = {}  # words that could be resolved once, in the order of asking
        self._reading: set[List] = set()
        self._tried_s: dict[List, float] = {}  # start of the newest read, trio time
        self._failed: dict[List, OtodError] = {}  # why the newest read failed
        self._waiting: list[_Waiting] = []
        self._unsaved: dict[str, TokenRow | InstrumentRow] = {}  # by alphaId or symbol: no word is both
        self._to_save = trio.Event()

    def remember(self, tokens: tuple[TokenRow, ...], instruments: tuple[InstrumentRow, ...]) -> None:
        """What the store kept. A row of another version's shape is left out: the next read replaces it."""
        for token in tokens:
            try:
                document = msgspec.json.decode(token.document, type=Token)
            except msgspec.DecodeError as error:
                self._log.warning("token_row_unreadable", alpha_id=token.alpha_id, why=str(error))
            else:
                self._known.recall_token(document, token.fetched_at)
        for row in instruments:
            try:
                instrument = msgspec.json.decode(row.document, type=Instrument)
            except msgspec.DecodeError as error:
                self._log.warning("instrument_row_unreadable", symbol=row.symbol, why=str(error))
            else:
                self._known.recall_instrument(instrument, row.fetched_at)

    # -- the mailbox

    async def serve(self, inbox: Inbox) -> None:
        """Returns on Stop. Raises: MailboxFull."""
        while True:
            message = await inbox.take()
            match message:
                case Asked(Resolve() as question, reply):
                    self._resolve(question, reply)
                case Asked(ListTokens(), reply):
                    reply.answer(self._markets())
                case Asked(ListCatalogue(find=find, every=every), reply):
                    reply.answer(self._catalogue(find, every))
                case Asked(ShowToken(token=word), reply):
                    self._show(word, reply)
                case Asked(ForgetToken(token=word), reply):
                    self._forget(word, reply)
                case Asked(RefreshTokens() as question, reply):
                    self._need(LISTS)
                    self._waiting.append(_Waiting(reply, question))
                case Asked(question, reply):
                    reply.refuse(Refusal(f"the catalogue does not answer {type(question).__name__}", where="tokens"))
                case RefreshTokens():
                    self._need([name for name in LISTS if self._tried_before_s(name) >= NEWS_PACE_S])
                case Stop():
                    return
                case _:
                    self._log.warning("message_ignored", kind=type(message).__name__)
            inbox.finish()

    def _resolve(self, question: Resolve, reply: Reply[object]) -> None:
        due = [name for name in LISTS if self._is_due(name)]
        if not due and not self._is_known(question.token) and self._tried_before_s("tokens") >= MISSED_PACE_S:
            due = list(LISTS)  # it may have been listed since
        self._need(due)
        if self._reading and (due or not self._is_known(question.token)):
            self._waiting.append(_Waiting(reply, question))
        else:
            self._answer(question, reply)

    def _answer(self, question: Resolve, reply: Reply[object]) -> None:
        try:
            market = self._known.market(question.token, tradable=question.tradable)
        except TokenError as error:
            reply.refuse(self._blamed(error))
            return
        self._asked[market.token.alpha_id] = None
        reply.answer(replace(market, warnings=(*market.warnings, *self._staleness())))

    def _blamed(self, error: TokenError) -> OtodError:
        """A token may be missing only because a list could not be read: then nothing is known about it, good or bad."""
        never_read = self._known.instruments_read_ms is None
        if not self._failed or error.code == "TOKEN_AMBIGUOUS" or (error.code == "REFUSED" and not never_read):
            return error
        name, cause = next(iter(self._failed.items()))
        what = f"{error.what}; but the list of {name} could not be read: {cause.what}"
        return NotNow(what, where=error.where, do="try again when the exchange answers: otoctl token refresh")

    def _staleness(self) -> tuple[str, ...]:
        return tuple(
            f"the list of {name} is {self._age_s(name) / 3600:.1f} h old and could not be read again: {error.what}"
            for name, error in self._failed.items()
            if self._age_s(name) > self._age_s_max[name]
        )

    def _markets(self) -> tuple[Market, ...]:
        """Of the tokens asked for so far; those that cannot be traded any more are left out."""
        found: list[Market] = []
        for alpha_id in self._asked:
            try:
                found.append(self._known.market(alpha_id))
            except TokenError:
                continue  # who trades it hears it from its own Resolve
        return tuple(found)

    # -- for people

    def _catalogue(self, find: str, every: bool) -> tuple[Listed, ...]:
        wanted = find.casefold()
        found = (self._listed(alpha_id) for alpha_id in self._known.alpha_ids() if every or alpha_id in self._asked)
        return tuple(
            one for one in found if wanted in one.token.name.casefold() or wanted in one.token.alpha_id.casefold()
        )

    def _show(self, word: str, reply: Reply[object]) -> None:
        try:
            reply.answer(self._listed(self._known.token(word).alpha_id))
        except TokenError as error:
            reply.refuse(self._blamed(error))

    def _forget(self, word: str, reply: Reply[object]) -> None:
        try:
            alpha_id = self._known.token(word).alpha_id
        except TokenError as error:
            reply.refuse(error)
            return
        reply.answer(alpha_id in self._asked)
        self._asked.pop(alpha_id, None)

    def _listed(self, alpha_id: str) -> Listed:
        token, instrument, trouble, warnings, read_ms = self._known.listed(alpha_id)
        return Listed(
            token=token, instrument=instrument, trouble=trouble, warnings=warnings, fetched_ms=read_ms,
            asked=alpha_id in self._asked,
        )  # fmt: skip

    def _is_known(self, word: str) -> bool:
        try:
            self._known.token(word)
        except TokenError as error:
            return error.code == "TOKEN_AMBIGUOUS"
        return True

    # -- reading

    async def keep_fresh(self) -> None:
        """Reads each list when it is old, whoever asks or not."""
        while True:
            self._need([name for name in LISTS if self._is_due(name)])
            await trio.sleep(CHECK_S)

    def _is_due(self, name: List) -> bool:
        """Old, and not tried in vain a moment ago."""
        recently = name in self._failed and self._tried_before_s(name) < FAILED_PACE_S
        return self._age_s(name) >= self._age_s_max[name] and not recently

    def _age_s(self, name: List) -> float:
        read_ms = self._known.tokens_read_ms if name == "tokens" else self._known.instruments_read_ms
        return float("inf") if read_ms is None else (self._wall.now_ms() - read_ms) / 1000

    def _tried_before_s(self, name: List) -> float:
        return trio.current_time() - self._tried_s.get(name, float("-inf"))

    def _need(self, names: Sequence[List]) -> None:
        for name in names:
            if name not in self._reading:
                self._reading.add(name)
                self._tried_s[name] = trio.current_time()
                self.nursery.start_soon(self._read, name)

    async def _read(self, name: List) -> None:
        at_ms = self._wall.now_ms()  # of asking: what was true then
        before = {market.token.alpha_id: market for market in self._markets()}
        try:
            if name == "tokens":
                self._take_tokens(_not_empty(await self._public.tokens()), at_ms)
            else:
                self._take_instruments(_not_empty(await self._public.instruments()), at_ms)
        except (ExchangeError, ProtocolChanged) as error:
            self._failed[name] = error
            self._log.warning("list_unread", list=name, why=str(error))
        else:
            self._failed.pop(name, None)
            self._tell_changes(before)
        self._reading.discard(name)
        if not self._reading:
            self._settle()

    def _take_tokens(self, rows: tuple[Token, ...], at_ms: int) -> None:
        merged, warnings = merge_tokens(rows)
        repeated = [alpha_id for alpha_id, count in Counter(row.alpha_id for row in rows).items() if count > 1]
        for warning in warnings:
            self._log.warning("token_rows_merged", what=warning)
        self._known.take_tokens(merged, at_ms, repeated=repeated)
        self._log.info("tokens_read", tokens=len(merged))
        self._save(
            TokenRow(
                alpha_id=token.alpha_id,
                name=token.name,
                mul_point=token.mul_point,
                document=msgspec.json.encode(token).decode(),
                fetched_at=at_ms,
            )
            for token in merged
        )

    def _take_instruments(self, instruments: tuple[Instrument, ...], at_ms: int) -> None:
        self._known.take_instruments(instruments, at_ms)
        self._log.info("instruments_read", symbols=len(instruments))
        self._save(
            InstrumentRow(
                symbol=instrument.symbol,
                status=instrument.status,
                document=msgspec.json.encode(instrument).decode(),
                fetched_at=at_ms,
            )
            for instrument in instruments
        )

    def _tell_changes(self, before: dict[str, Market]) -> None:
        """What changed for tokens that somebody uses: operators want to see why a trader stopped or sizes anew."""
        now = {market.token.alpha_id: market for market in self._markets()}
        for alpha_id, old in before.items():
            new = now.get(alpha_id)
            if new is None:
                what = "can no longer be traded"
            elif new.instrument != old.instrument:
                what = "has another status, precision or filter"
            elif new.token != old.token:
                what = "has other flags or another mulPoint"
            else:
                continue
            self._log.warning("token_changed", token=old.token.name, alpha_id=alpha_id, what=what)
            self._events.emit("system", "token_changed", token=old.token.name, alpha_id=alpha_id, what=what)

    def _settle(self) -> None:
        """No read is in flight any more: everybody who waited is answered."""
        waiting, self._waiting = self._waiting, []
        for who in waiting:
            if isinstance(who.question, Resolve):
                self._answer(who.question, who.reply)
            elif self._failed:
                name, error = next(iter(self._failed.items()))
                what = f"the list of {name} could not be read: {error.what}"
                who.reply.refuse(Refusal(what, where="tokens", do=error.do or "try again later"))
            else:
                who.reply.answer(None)

    # -- records

    def _save(self, rows: Iterable[TokenRow | InstrumentRow]) -> None:
        for row in rows:
            key = row.alpha_id if isinstance(row, TokenRow) else row.symbol
            self._unsaved[key] = row
        self._to_save.set()

    async def save(self) -> None:
        """Hands rows to the store. While it cannot write, newer rows replace older ones, so what waits is bounded."""
        while True:
            await self._to_save.wait()
            self._to_save = trio.Event()
            rows, self._unsaved = list(self._unsaved.values()), {}
            for start in range(0, len(rows), ROWS_AT_ONCE):
                try:
                    await self._rows.write(rows[start : start + ROWS_AT_ONCE])
                except StoreRefused as error:
                    self._log.error("token_rows_refused", why=str(error))


def _not_empty(rows: tuple[T, ...]) -> tuple[T, ...]:
    if not rows:
        raise ProtocolChanged("the list is empty", where="token list or exchange info", do="look at it by hand")
    return rows
