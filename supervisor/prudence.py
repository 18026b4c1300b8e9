"""What a configuration alone cannot show: does its token exist, and is there money for one pair?

Asked before a change is made. What cannot be found out now stops nobody: it is said as a warning, and the trader finds
it out before it places anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

import trio

from actors.domain.instrument import Market
from actors.domain.money import EXACT
from actors.domain.quotes import Quote
from actors.domain.trading import TradingConfig
from actors.errors import AskFailed, ExchangeError, ProtocolChanged, Refusal, StoreError, TokenError
from actors.messages import Resolve, UserRecord
from actors.ports import Address, PrivateExchange
from supervisor.document import Problem, Problems
from supervisor.userfile import OFFSET_SLIP, SLIPS

TOKEN_S_MAX = 4.0  # the catalogue answers from memory; a missing token has it read the exchange's lists first
WALLET_S_MAX = 3.0
WALLETS_MAX = 20  # users whose balance is read for one document: each costs a private request
QUOTE = "USDT"


class House(Protocol):
    """See supervisor/people.py."""

    tokens: Address
    rate: float

    def records(self) -> Mapping[str, UserRecord]: ...

    def feed(self, token: str) -> tuple[object, Quote | None]:
        """The quote is None where nobody trades the token yet: then no price is known."""
        ...

    def exchange(self, user: str) -> PrivateExchange: ...


async def judge(house: House, news: Mapping[str, TradingConfig], *, where: str, force: bool) -> tuple[str, ...]:
    """Warnings about these new configurations. where: of a user's keys, "users.{user}.trading".

    force: a token that cannot be traded now, and an amount beyond the balance, are meant.
    Raises: TokenError, about the one token of the one user; Problems, all that is wrong.
    """
    judges = {user: _Judge(house, user, trading, where.format(user=user), force) for user, trading in news.items()}
    tokens = {trading.token: _Name(house, trading.token) for trading in news.values()}
    async with trio.open_nursery() as nursery:
        for name in tokens.values():
            nursery.start_soon(name.look_up)
        for one in list(judges.values())[:WALLETS_MAX]:
            nursery.start_soon(one.look_at_wallets)
    for one in judges.values():
        one.hear(tokens[one.trading.token])
        one.look_at_price()
    problems = [problem for one in judges.values() for problem in one.problems]
    refused = [one.refused for one in judges.values() if one.refused is not None]
    if len(judges) == 1 and len(problems) == 1 and refused:
        raise refused[0]  # its code says more
    if problems:
        raise Problems(problems, where="the request")
    return tuple(dict.fromkeys(warning for one in judges.values() for warning in one.warnings))


class _Name:
    """One token, looked up once for all who want it."""

    def __init__(self, house: House, token: str) -> None:
        self._house, self._token = house, token
        self.market: Market | None = None
        self.error: TokenError | None = None
        self.unknown = ""

    async def look_up(self) -> None:
        try:
            self.market = await self._house.tokens.ask(Resolve(self._token), within_s=TOKEN_S_MAX * self._house.rate)
        except TokenError as error:
            self.error = error
        except (AskFailed, Refusal, StoreError) as error:
            self.unknown = f"token {self._token} could not be looked up now: {error}"


class _Judge:
    """One user's new configuration."""

    def __init__(self, house: House, user: str, trading: TradingConfig, where: str, force: bool) -> None:
        self._house, self._user, self.trading, self._where, self._force = house, user, trading, where, force
        self.problems: list[Problem] = []
        self.warnings: list[str] = []
        self.refused: TokenError | None = None

    def hear(self, name: _Name) -> None:
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

    def _price(self) -> Decimal | None:
        quote = self._house.feed(self.trading.token)[1]
        return quote.price if quote is not None else None

    def _amount(self) -> tuple[str, Decimal | None]:
        """USDT for one pair, and the key that says so; None where that depends on a price that nobody knows."""
        if self.trading.order_amount is not None:
            return "order_amount", self.trading.order_amount
        quantity, price = self.trading.order_quantity, self._price()
        return "order_quantity", None if price is None or quantity is None else EXACT.multiply(quantity, price)

    def look_at_price(self) -> None:
        """What percent and USDT have bounds for (userfile.py) and fixed offsets and quantities have not."""
        price, trading = self._price(), self.trading
        if price is None:
            return
        if trading.offset_mode == "fixed":
            most = EXACT.multiply(price, OFFSET_SLIP / 100)
            for key, offset in (("buy_offset", trading.buy_offset), ("sell_offset", trading.sell_offset)):
                if abs(offset) > most:
                    self._slip(key, offset, f"more than {OFFSET_SLIP} percent of the price, {price:f}")
        key, amount = self._amount()
        if key == "order_quantity" and amount is not None and amount > SLIPS["order_amount"]:
            self._slip(key, trading.order_quantity or amount, f"worth {amount:.2f} {QUOTE} a pair")

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
