"""From a short name to what can be traded: token rows and instruments as last read, and the rules of finding one.

The key of everything is the alphaId; a short name is only a word that people use (wire § 3: tickers are not unique).
A ticker that several alphaIds carry is ambiguous even if only one of them can be traded: the name may have been meant
for the other, and the two are different money. Who may be traded: exchange info first, then the flags of the token
list; a flag that a row does not say is unknown and stops nobody (wire § 3.6).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from actors.domain.instrument import Instrument, Market, Token
from actors.errors import TokenError

QUOTE_ASSET = "USDT"
TRADING = "TRADING"
NEAR_WORDS = 3


class Catalogue:
    """Tokens by alphaId and instruments by symbol, each with the time it was last read (ms since 1970 UTC)."""

    def __init__(self) -> None:
        self.tokens_read_ms: int | None = None  # the newest whole list
        self.instruments_read_ms: int | None = None
        self._tokens: dict[str, tuple[Token, int]] = {}
        self._instruments: dict[str, tuple[Instrument, int]] = {}
        self._by_name: dict[str, list[str]] = {}  # short name, case folded -> alphaIds
        self._repeated: frozenset[str] = frozenset()

    def take_tokens(self, tokens: Iterable[Token], at_ms: int, *, repeated: Iterable[str] = ()) -> None:
        """A whole list as read at at_ms, one row per alphaId; repeated: those that stood there more than once."""
        self._repeated = frozenset(repeated)
        for token in tokens:
            self.recall_token(token, at_ms)

    def recall_token(self, token: Token, at_ms: int) -> None:
        """One row, read at at_ms: of a list, or remembered by the store."""
        self.tokens_read_ms = max(self.tokens_read_ms or 0, at_ms)
        before = self._tokens.get(token.alpha_id)
        if before is not None:
            self._by_name[before[0].name.casefold()].remove(token.alpha_id)
        self._tokens[token.alpha_id] = (token, at_ms)
        self._by_name.setdefault(token.name.casefold(), []).append(token.alpha_id)

    def take_instruments(self, instruments: Iterable[Instrument], at_ms: int) -> None:
        for instrument in instruments:
            self.recall_instrument(instrument, at_ms)

    def recall_instrument(self, instrument: Instrument, at_ms: int) -> None:
        self.instruments_read_ms = max(self.instruments_read_ms or 0, at_ms)
        self._instruments[instrument.symbol] = (instrument, at_ms)

    def token(self, word: str) -> Token:
        """The token that a short name or an alphaId means.

        Raises: TokenError: TOKEN_UNKNOWN with near words, TOKEN_AMBIGUOUS with the choices.
        """
        if word in self._tokens:
            return self._tokens[word][0]
        found = [self._tokens[alpha_id][0] for alpha_id in self._by_name.get(word.casefold(), ()) if word]
        exact = [token for token in found if token.name == word]
        if len(exact) == 1 and len(found) > 1:
            found = exact  # names that differ in case only: the spelling decides
        if len(found) == 1:
            return found[0]
        if found:
            choices = ", ".join(f"{token.alpha_id} (chain {token.chain_id}, {self._state(token)})" for token in found)
            raise TokenError(
                f"{len(found)} tokens carry the name {word!r}",
                where=choices,
                do="name the one you mean by its alphaId",
                code="TOKEN_AMBIGUOUS",
            )
        raise self._unknown(word)

    def market(self, word: str, *, tradable: bool = True) -> Market:
        """The token's USDT market, with warnings, if it can be traded.

        tradable False: also one that cannot be traded any more (an open pair has to be followed to its end); then the
        reason is a warning. Raises: TokenError; code REFUSED for a token that is known but cannot be traded now.
        """
        token = self.token(word)
        label = f"{token.name or 'a token without a name'} {token.alpha_id}"
        instrument = self._instruments.get(f"{token.alpha_id}{QUOTE_ASSET}")
        trouble = self._trouble(token)
        if instrument is None or (trouble is not None and tradable):
            raise TokenError(f"{label} {trouble}", where=f"token {word}", do="choose another token", code="REFUSED")
        _, token_ms = self._tokens[token.alpha_id]
        warnings = self._warnings(token) if trouble is None else (f"{label} {trouble}", *self._warnings(token))
        return Market(token=token, instrument=instrument[0], warnings=warnings, fetched_ms=min(token_ms, instrument[1]))

    def listed(self, alpha_id: str) -> tuple[Token, Instrument | None, str | None, tuple[str, ...], int]:
        """All that is known of one of `alpha_ids`: row, USDT symbol, why it cannot be traded, warnings, read when."""
        token, read_ms = self._tokens[alpha_id]
        known = self._instruments.get(f"{alpha_id}{QUOTE_ASSET}")
        instrument = known[0] if known is not None else None
        return token, instrument, self._trouble(token), self._warnings(token), read_ms

    def alpha_ids(self) -> tuple[str, ...]:
        """Of all tokens, by short name."""
        return tuple(sorted(self._tokens, key=lambda alpha_id: (self._tokens[alpha_id][0].name.casefold(), alpha_id)))

    def _trouble(self, token: Token) -> str | None:
        """Why the token cannot be traded; None if it can, as far as is known."""
        known = self._instruments.get(f"{token.alpha_id}{QUOTE_ASSET}")
        if known is None:
            return f"has no {QUOTE_ASSET} market"
        instrument, read_ms = known
        if instrument.status != TRADING:
            return f"is not traded: the status of {instrument.symbol} is {instrument.status}"
        if read_ms < (self.instruments_read_ms or 0):
            return f"is not traded: {instrument.symbol} is no longer in exchange info"
        if self._tokens[token.alpha_id][1] < (self.tokens_read_ms or 0):
            return "is no longer in the token list"
        flags = (
            (token.fully_delisted, "is delisted"),
            (token.offline, "is offline"),
            (token.offsell, "cannot be sold: selling is closed"),
            (token.halted, "is halted"),
        )
        return next((words for flag, words in flags if flag), None)

    def _state(self, token: Token) -> str:
        trouble = self._trouble(token)
        return "tradable" if trouble is None else trouble

    def _warnings(self, token: Token) -> tuple[str, ...]:
        warnings: list[str] = []
        if token.listing_cex:
            warnings.append(f"{token.name} is also listed on spot: its volume may not count for points")
        if token.alpha_id in self._repeated:
            warnings.append(f"{token.alpha_id} stands in the token list more than once; the smallest mulPoint counts")
        if token.mul_point is None:
            warnings.append(f"the token list does not say the mulPoint of {token.name or token.alpha_id}")
        return tuple(warnings)

    def _unknown(self, word: str) -> TokenError:
        known = self._instruments.get(word.upper())
        if known is not None:
            alpha_id = known[0].base_asset
            name = self._tokens[alpha_id][0].name if alpha_id in self._tokens else alpha_id
            return TokenError(
                f"{word} is an order symbol, not a token", where=f"token {word}", do=f"use the short name {name}"
            )
        if word.upper() in self._tokens:
            return TokenError(f"no token {word!r}", where=f"token {word}", do=f"did you mean {word.upper()}?")
        near = difflib.get_close_matches(word.casefold(), [name for name in self._by_name if name], n=NEAR_WORDS)
        words = [self._tokens[alpha_id][0].name for name in near for alpha_id in self._by_name[name][:1]]
        do = f"did you mean {' or '.join(words)}?" if words else "see otoctl token list"
        return TokenError(f"no token {word!r}", where=f"token {word}", do=do)
