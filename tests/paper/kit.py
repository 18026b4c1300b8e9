"""An exchange to try things on: short calls, a clock that moves by hand, exact decimals."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any

import msgspec

from actors.paper.api import Request, Response
from actors.paper.faults import Fault, Faults
from actors.paper.listing import Listing, demo_listing
from actors.paper.machine import Exchange
from actors.paper.numbers import cut
from actors.paper.private import A1, D1
from actors.paper.public import P
from actors.paper.rules import Rules

D = Decimal
T0 = 1_795_176_000_000  # 2026-11-20T12:00:00Z
KOGE = "ALPHA_22USDT"
STEADY = {"entry_ms": (500, 500), "released_entry_ms": (1_000, 1_000), "reply_ms": (0, 0)}
ALPHA_WALLET = "/bapi/defi/v1/private/wallet-direct/cloud-wallet/alpha"
WALLETS = "/bapi/asset/v3/private/asset-service/asset/get-wallet-asset"
VOLUME = "/bapi/defi/v1/private/wallet-direct/buw/wallet/today/user-volume"
SCORE = "/bapi/defi/v1/private/wallet-direct/buw/tge/common/user-score"
TERMS = "/bapi/defi/v1/private/wallet-direct/swap/terms-agreement"
AVG_COST = "/bapi/apex/v1/private/apex/alpha/pnl/avg-cost"
TOKENS = "/bapi/defi/v1/public/wallet-direct/buw/wallet/cex/alpha/all/token/list"

_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Kit:
    """exchange, and `now` in ms, which only pass_ms moves. journal: every line written so far."""

    def __init__(
        self,
        *faults: Fault,
        listing: Listing | None = None,
        rng: random.Random | None = None,
        now: int = T0,
        **rules: Any,
    ) -> None:
        self.now = now
        self.rng = rng or random.Random(1)
        self.listing = listing or demo_listing()
        self.rules = Rules(**(STEADY | rules))
        self.faults = Faults(*faults, rng=self.rng)
        self.journal: list[bytes] = []
        self.exchange = Exchange(
            listing=self.listing,
            rules=self.rules,
            faults=self.faults,
            rng=self.rng,
            journal=self.journal.append,
            now_ms=now,
        )
        self._frames: list[Any] = []

    def restored(self, lines: list[bytes] | None = None, **changes: Any) -> Kit:
        """A new kit around the exchange that the journal makes."""
        other = Kit.__new__(Kit)
        other.now, other.rng, other.listing, other.rules = self.now, random.Random(1), self.listing, self.rules
        other.faults, other.journal, other._frames = Faults(), list(self.journal if lines is None else lines), []
        other.exchange = Exchange.restore(
            list(other.journal),
            **{
                "listing": other.listing,
                "rules": other.rules,
                "faults": other.faults,
                "rng": other.rng,
                "journal": other.journal.append,
                "now_ms": self.now,
            }
            | changes,
        )
        return other

    def pass_ms(self, ms: int) -> None:
        self.now += ms
        self.exchange.advance(self.now)

    # -- requests

    def ask(self, method: str, path: str, body: Any = None, user: str | None = "alice", **query: Any) -> Response:
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        return self.exchange.handle(
            Request(
                method=method,
                path=path,
                query={name: str(value) for name, value in query.items()},
                headers={},
                cookies={} if user is None else {"paper_account": user},
                body=raw,
            ),
            self.now,
        )

    def document(self, *args: Any, **more: Any) -> Any:
        return _decoder.decode(self.ask(*args, **more).body)

    def data(self, *args: Any, **more: Any) -> Any:
        """The data of a reply that must be a success."""
        document = self.document(*args, **more)
        assert document["code"] == "000000", document
        assert document["success"] is True
        return document["data"]

    def code(self, *args: Any, **more: Any) -> str:
        """The code of a reply that must be a refusal."""
        document = self.document(*args, **more)
        assert document["success"] is False, document
        return document["code"]

    # -- orders

    def order_body(self, side: str, price: str, quantity: str, symbol: str = KOGE, **changes: Any) -> dict[str, Any]:
        base, quote = symbol[:-4], symbol[-4:]
        amount = cut(D(price) * D(quantity)) if side == "BUY" else D(quantity)
        wallet = "CARD" if side == "BUY" else "ALPHA"
        return {
            "baseAsset": base,
            "quoteAsset": quote,
            "side": side,
            "price": price,
            "quantity": quantity,
            "paymentDetails": [{"amount": str(amount), "paymentWalletType": wallet}],
            "orderType": "LIMIT",
        } | changes

    def oto_body(
        self, price: str, quantity: str, pending: str, symbol: str = KOGE, side: str = "BUY"
    ) -> dict[str, Any]:
        body = self.order_body(side, price, quantity, symbol)
        return {
            "baseAsset": body["baseAsset"],
            "quoteAsset": body["quoteAsset"],
            "workingSide": side,
            "workingPrice": price,
            "workingQuantity": quantity,
            "paymentDetails": body["paymentDetails"],
            "pendingPrice": pending,
            "pendingType": "LIMIT",
        }

    def place(self, side: str, price: str, quantity: str, symbol: str = KOGE, user: str = "alice") -> str:
        return self.data("POST", f"{A1}/order/place", self.order_body(side, price, quantity, symbol), user=user)

    def oto(
        self, price: str, quantity: str, pending: str, symbol: str = KOGE, user: str = "alice", side: str = "BUY"
    ) -> tuple[str, str]:
        body = self.oto_body(price, quantity, pending, symbol, side)
        data = self.data("POST", f"{A1}/oto-order/place", body, user=user)
        return str(data["workingOrderId"]), str(data["pendingOrderId"])

    def cancel(self, order_id: str, symbol: str = KOGE, user: str = "alice") -> Any:
        return self.document("POST", f"{D1}/order/cancel", {"orderId": order_id, "symbol": symbol}, user=user)

    def open_orders(self, user: str = "alice", **query: Any) -> list[dict[str, Any]]:
        return self.data("GET", f"{D1}/order/get-open-order", user=user, **({"side": ""} | query))

    def history(self, user: str = "alice", **query: Any) -> list[dict[str, Any]]:
        return self.data("GET", f"{D1}/order/get-order-history-merge", user=user, **({"page": 1, "rows": 50} | query))

    def trades(self, order_id: str, symbol: str = KOGE, user: str = "alice") -> list[dict[str, Any]]:
        return self.data("GET", f"{D1}/order/get-user-trades", user=user, orderId=order_id, symbol=symbol)

    def status(self, order_id: str, symbol: str = KOGE) -> str:
        """The status as the exchange itself has it."""
        owner = self.order(order_id, symbol)
        return owner.status

    def order(self, order_id: str, symbol: str = KOGE) -> Any:
        for account in self.exchange.accounts():
            for order in self.exchange.audit(account).orders:
                if order.key == (symbol, int(order_id)):
                    return order
        raise AssertionError(f"no order {symbol} {order_id}")

    # -- money

    def usdt(self, user: str = "alice", wallet: str = "funding") -> tuple[D, D]:
        """(free, locked) as the exchange itself has it."""
        return self.exchange.audit(user).wallets.wallets.get(wallet, {}).get("USDT", (D(0), D(0)))

    def tokens(self, asset: str = "ALPHA_22", user: str = "alice") -> tuple[D, D]:
        return self.exchange.audit(user).wallets.wallets.get("alpha", {}).get(asset, (D(0), D(0)))

    # -- the market, by hand

    def quote(self, side: str, price: str, quantity: str, symbol: str = KOGE) -> int | None:
        """An external order that rests, or trades what it crosses."""
        return self.exchange.limit(symbol, side, D(price), D(quantity), self.now)  # type: ignore[arg-type]

    def agg_trades(self, symbol: str = KOGE, **query: Any) -> list[dict[str, Any]]:
        return self.data("GET", f"{P}/agg-trades", user=None, symbol=symbol, **query)

    # -- streams

    def listen(self, user: str = "alice") -> str:
        """Opens the user's order stream; returns the key."""
        key = self.data("POST", f"{D1}/get-listen-key", {}, user=user)
        assert self.exchange.subscribe(f"alpha@{key}", public=False, now_ms=self.now)
        return key

    def frames(self, stream: str = "") -> list[dict[str, Any]]:
        """Everything sent since the last call whose stream's name has this in it, decoded; with due_ms as "due"."""
        self._frames += self.exchange.take_frames()
        found = [frame for frame in self._frames if stream in frame.stream]
        self._frames = [frame for frame in self._frames if stream not in frame.stream]
        return [{"due": frame.due_ms, **_decoder.decode(frame.payload)} for frame in found if frame.payload]

    def reports(self) -> list[dict[str, Any]]:
        """The execution reports since the last call."""
        return [frame["data"] for frame in self.frames("alpha@")]

    def told(self) -> list[tuple[str, str, str]]:
        """(order id, x, X) of the execution reports since the last call."""
        return [(data["i"], data["x"], data["X"]) for data in self.reports()]


def conserved(kit: Kit) -> None:
    """What came in is in wallets, under way, in fees or with the external flow; locks are those of open orders."""
    exchange = kit.exchange
    sums: dict[str, D] = {}
    for name in exchange.accounts():
        audit = exchange.audit(name)
        locked: dict[tuple[str, str], D] = {}
        for order in audit.orders:
            asset = "USDT" if order.side == "BUY" else "ALPHA_22"
            for wallet, amount in order.locks.items():
                locked[wallet, asset] = locked.get((wallet, asset), D(0)) + amount
            assert not (order.over and order.locks)
        for wallet, assets in audit.wallets.wallets.items():
            for asset, (free, held) in assets.items():
                assert free >= 0
                assert held == locked.get((wallet, asset), 0), (name, wallet, asset)
                sums[asset] = sums.get(asset, D(0)) + free + held
        for asset, amount in audit.incoming.items():
            sums[asset] += amount
    ledger = exchange.ledger()
    for column in ("fees", "external"):
        for asset, amount in ledger[column].items():
            sums[asset] = sums.get(asset, D(0)) + amount
    for asset, amount in ledger["deposited"].items():
        sums[asset] = sums.get(asset, D(0)) - amount
    assert not any(sums.values()), sums
