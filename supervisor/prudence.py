"""What a configuration alone cannot show: does its token exist, what is it worth, and is there money for one pair?

Asked before a change is made. A token or a balance that cannot be looked up now stops nobody: it is said as a warning,
and the trader finds it out before it places anything. But no trader knows what was meant: quantities and fixed offsets,
which only a price gives a measure, are taken over unmeasured by force only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors.domain.instrument import Market
from actors.domain.money import EXACT
from actors.domain.quotes import Quote
from actors.domain.trading import TradingConfig
from actors.errors import AskFailed, ExchangeError, ProtocolChanged, Refusal, StoreError, TokenError
from actors.messages import Resolve, UserRecord
from actors.ports import Address, PrivateExchange, PublicExchange
from supervisor.document import Problem, Problems
from supervisor.userfile import OFFSET_SLIP, SLIPS
from supervisor.users import UserWish

TOKEN_S_MAX = 4.0  # the catalogue answers from memory; a missing token has it read the exchange's lists first
PRICE_S_MAX = 2.0  # one public request, for a token that nobody trades yet
WALLET_S_MAX = 3.0
WALLETS_MAX = 20  # users whose balance is read for one document: each costs a private request
QUOTE = "USDT"


class House(Protocol):
    """See supervisor/people.py."""

    tokens: Address
    rate: float

    @property
    def public(self) -> PublicExchange: ...

    def records(self) -> Mapping[str, UserRecord]: ...

    def feed(self, token: str) -> tuple[object, Quote | None]:
        """The quote is None where nobody trades the token yet: then no price is known."""
        ...

    def exchange(self, user: str) -> PrivateExchange: ...


class Judged(Struct, frozen=True, kw_only=True):
    """news: by user, with the token as the exchange writes it (records and feeds know only that spelling)."""

    news: Mapping[str, TradingConfig]
    warnings: tuple[str, ...]


async def judge(
    house: House, news: Mapping[str, TradingConfig], *, where: str, force: bool, blind: bool = False
) -> Judged:
    """Looks at these new configurations. where: of a user's keys, "users.{user}.trading".

    force: a token that cannot be traded now, and an amount beyond the balance, are meant.
    blind: quantities and offsets whose price cannot be found out are a warning (a service starts without its exchange).
    Raises: TokenError, about the one token of the one user; Problems, all that is wrong.
    """
    names = {trading.token: _Name(house, trading.token) for trading in news.values()}
    judges = {
        user: _Judge(house, user, trading, names[trading.token], where=where.format(user=user), force=force)
        for user, trading in news.items()
    }
    wanting = {one.trading.token for one in judges.values() if one.wants_price}
    async with trio.open_nursery() as nursery:
        for token, name in names.items():
            nursery.start_soon(name.look_up, token in wanting)
    async with trio.open_nursery() as nursery:
        for one in list(judges.values())[:WALLETS_MAX]:
            nursery.start_soon(one.look_at_wallets)
    for one in judges.values():
        one.hear()
        one.look_at_price(blind)
    problems = [problem for one in judges.values() for problem in one.problems]
    refused = [one.refused for one in judges.values() if one.refused is not None]
    if len(judges) == 1 and len(problems) == 1 and refused:
        raise refused[0]  # its code says more
    if problems:
        raise Problems(problems, where="the request")
    return Judged(
        news={user: one.spelled() for user, one in judges.items()},
        warnings=tuple(dict.fromkeys(warning for one in judges.values() for warning in one.warnings)),
    )


async def judge_wishes(
    house: House, wishes: Sequence[UserWish], records: Mapping[str, UserRecord], *, force: bool, blind: bool = False
) -> tuple[tuple[UserWish, ...], tuple[str, ...]]:
    """(The wishes as they are to be taken over, warnings); configurations in force are not judged. Raises: judge."""
    news = {
        wish.user: wish.trading
        for wish in wishes
        if wish.trading is not None and (wish.user not in records or records[wish.user].config != wish.trading)
    }
    judged = await judge(house, news, where="users.{user}.trading", force=force, blind=blind)
    spelled = tuple(replace(wish, trading=judged.news.get(wish.user, wish.trading)) for wish in wishes)
    return spelled, judged.warnings


class _Name:
    """One token, looked up once for all who want it."""

    def __init__(self, house: House, token: str) -> None:
        self._house, self._token = house, token
        self.market: Market | None = None
        self.price: Decimal | None = None
        self.error: TokenError | None = None
        self.unknown = ""

    async def look_up(self, with_price: bool) -> None:
        try:
            self.market = await self._house.tokens.ask(Resolve(self._token), within_s=TOKEN_S_MAX * self._house.rate)
        except TokenError as error:
            self.error = error
        except (AskFailed, Refusal, StoreError) as error:
            self.unknown = f"token {self._token} could not be looked up now: {error}"
        symbol = self.market.instrument.symbol if self.market is not None else self._token
        quote = self._house.feed(symbol)[1]
        self.price = quote.price if quote is not None else None
        if self.price is None and self.market is not None and with_price:
            await self._ask_price(symbol)

    async def _ask_price(self, symbol: str) -> None:
        """Of the exchange: nobody trades the token here, so no feed of it runs."""
        try:
            with trio.fail_after(PRICE_S_MAX * self._house.rate):
                trades = await self._house.public.trades(symbol, limit=1)
        except (ExchangeError, ProtocolChanged, trio.TooSlowError):
            return  # whose measure it was to be says that there is none
        self.price = trades[-1].price if trades else None


class _Judge:
    """One user's new configuration."""

    def __init__(
        self, house: House, user: str, trading: TradingConfig, name: _Name, *, where: str, force: bool
    ) -> None:
        self._house, self._user, self.trading, self._name = house, user, trading, name
        self._where, self._force = where, force
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.refused: TokenError | None = None

    @property
    def wants_price(self) -> bool:
        """Whether there is anything that only a price can measure, other than what is in force already."""
        trading, record = self.trading, self._house.records().get(self._user)
        before = record.config if record is not None else None
        keys: tuple[str, ...] = ("order_quantity",) if trading.order_quantity is not None else ()
        if trading.offset_mode == "fixed":
            keys += ("offset_mode", "buy_offset", "sell_offset")
        return bool(keys) and (
            before is None or any(getattr(before, key) != getattr(trading, key) for key in ("token", *keys))
        )

    def spelled(self) -> TradingConfig:
        """A short name means its token in any case; an alphaId stays, where a name may be ambiguous."""
        market = self._name.market
        if market is None or market.token.name.casefold() != self.trading.token.casefold():
            return self.trading
        return replace(self.trading, token=market.token.name)

    def hear(self) -> None:
        name = self._name
        if name.unknown:
            self.warnings.append(name.unknown)
        if name.market is not None:
            self.warnings += name.market.warnings
        if name.error is None:
            return
        if name.error.code == "REFUSED" and self._force:
            self.warnings.append(str(name.error))
            return
        self.refused = name.error
        self.problems.append(Problem(f"{self._where}.token", f'"{self.trading.token}"', str(name.error)))

    def _slip(self, key: str, value: Decimal, text: str) -> None:
        """A problem; a warning if it is meant."""
        if self._force:
            self.warnings.append(f"{self._user}: {key} is {text}")
        else:
            meant = f"{text}: a slip of the decimal point? If meant: --force"
            self.problems.append(Problem(f"{self._where}.{key}", f"{value:f}", meant))

    def _amount(self) -> tuple[str, Decimal | None]:
        """USDT for one pair, and the key that says so; None where that depends on a price that nobody knows."""
        if self.trading.order_amount is not None:
            return "order_amount", self.trading.order_amount
        quantity, price = self.trading.order_quantity, self._name.price
        return "order_quantity", None if price is None or quantity is None else EXACT.multiply(quantity, price)

    def look_at_price(self, blind: bool) -> None:
        """What percent and USDT have bounds for (userfile.py) and fixed offsets and quantities have not."""
        price, trading = self._name.price, self.trading
        if price is None:
            if self.wants_price and self.refused is None:
                self._unmeasured(blind)
            return
        if trading.offset_mode == "fixed":
            most = EXACT.multiply(price, OFFSET_SLIP / 100)
            for key, offset in (("buy_offset", trading.buy_offset), ("sell_offset", trading.sell_offset)):
                if abs(offset) > most:
                    self._slip(key, offset, f"more than {OFFSET_SLIP} percent of the price, {price:f}")
        key, amount = self._amount()
        if key == "order_quantity" and amount is not None and amount > SLIPS["order_amount"]:
            self._slip(key, trading.order_quantity or amount, f"worth {amount:.2f} {QUOTE} a pair")

    def _unmeasured(self, blind: bool) -> None:
        key = "order_quantity" if self.trading.order_quantity is not None else "buy_offset"
        text = f"no price of {self.trading.token} is known now to measure it by"
        if self._force or blind:
            self.warnings.append(f"{self._user}: {key} was not checked: {text}")
        else:
            meant = f"{text}: again in a moment, or --force if it is sure to be meant"
            self.problems.append(Problem(f"{self._where}.{key}", f"{getattr(self.trading, key):f}", meant))

    async def look_at_wallets(self) -> None:
        record = self._house.records().get(self._user)
        key, amount = self._amount()
        if amount is None or record is None or record.credentials != "valid":
            return
        if record.config is not None and getattr(record.config, key) == getattr(self.trading, key):
            return
        try:
            with trio.fail_after(WALLET_S_MAX * self._house.rate):
                balances = await self._house.exchange(self._user).wallets()
        except (ExchangeError, ProtocolChanged, trio.TooSlowError) as error:
            why = str(error) or "no answer in time"
            self.warnings.append(f"{self._user}: {key} could not be compared with the balance: {why}")
            return
        total = sum((balance.total for balance in balances if balance.asset == QUOTE), Decimal(0))
        if amount <= total:
            return
        self._slip(key, getattr(self.trading, key), f"beyond the balance of {total:f} {QUOTE}")
