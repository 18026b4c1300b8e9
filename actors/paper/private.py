"""Private REST calls (wire § 4): which path does what for the account that asks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from actors.paper.accounts import Account
from actors.paper.api import Request
from actors.paper.desk import Desk
from actors.paper.floor import Floor
from actors.paper.keys import Keys
from actors.paper.listing import Listing
from actors.paper.numbers import ZERO, bare, fixed, nearest, product, quotient, stripped
from actors.paper.orders import Fill
from actors.paper.placing import Placing, parse
from actors.paper.reads import Reads
from actors.paper.replies import ILLEGAL, Bare, Refused, bucket_row
from actors.paper.rules import Rules

A1 = "/bapi/asset/v1/private/alpha-trade"
D1 = "/bapi/defi/v1/private/alpha-trade"
WALLET = "/bapi/defi/v1/private/wallet-direct"
DAY_MS = 86_400_000
SCORE_DAYS = 15
PLACEMENTS = ("/order/place", "/oto-order/place")
"""How the paths of placements end."""

Call = Callable[[Account, Request, int], Any]


class Private:
    def __init__(
        self,
        listing: Listing,
        rules: Rules,
        floor: Floor,
        desk: Desk,
        keys: Keys,
        placing: Placing,
        reads: Reads,
    ) -> None:
        self._listing = listing
        self._rules = rules
        self._floor = floor
        self._desk = desk
        self._keys = keys
        self._reads = reads
        self.calls: dict[tuple[str, str], Call] = {
            ("POST", f"{D1}/order/cancel"): self._cancel,
            ("POST", f"{A1}/order/cancel"): self._cancel,
            ("POST", f"{D1}/order/cancel-all"): self._cancel_all,
            ("GET", f"{D1}/order/get-open-order"): lambda a, r, now: reads.open_orders(a, r.query, now),
            ("GET", f"{A1}/order/get-order-detail"): lambda a, r, now: reads.detail(a, r.query),
            ("GET", f"{D1}/order/get-order-history-merge"): lambda a, r, now: reads.history(a, r.query, now),
            ("GET", f"{D1}/order/get-order-history-web"): lambda a, r, now: reads.history(a, r.query, now),
            ("GET", f"{D1}/order/get-user-trades"): lambda a, r, now: reads.trades(a, r.query, now),
            ("POST", f"{D1}/get-listen-key"): self._listen_key,
            ("PUT", f"{D1}/get-listen-key"): self._renew_key,
            ("GET", f"{WALLET}/cloud-wallet/alpha"): self._alpha_wallet,
            ("POST", "/bapi/asset/v3/private/asset-service/asset/get-wallet-asset"): self._wallets,
            ("GET", f"{WALLET}/buw/wallet/today/user-volume"): self._user_volume,
            ("GET", f"{WALLET}/buw/tge/common/user-score"): self._user_score,
            ("POST", "/bapi/apex/v1/private/apex/alpha/pnl/avg-cost"): self._avg_cost,
            ("GET", f"{WALLET}/swap/terms-agreement"): lambda a, r, now: rules.terms_accepted,
        }
        for room in (A1, D1):  # the D1 variants: reported, and accepted from the mobile app
            self.calls["POST", f"{room}/order/place"] = lambda a, r, now: placing.place(a, r.body, now)
            self.calls["POST", f"{room}/oto-order/place"] = lambda a, r, now: placing.place_oto(a, r.body, now)

    def value(self, account: Account) -> Decimal:
        """All that the account has, in USD: quote assets at par, tokens at their last price."""
        return sum((self._worth(asset, amount) for asset, amount in account.totals().items()), ZERO)

    # -- orders

    def _cancel(self, account: Account, request: Request, now_ms: int) -> None:
        """{"orderId", "symbol"}, or with baseAsset and quoteAsset as in 2025."""
        body = parse(request.body)
        symbol = str(body.get("symbol") or f"{body.get('baseAsset')}{body.get('quoteAsset')}")
        order = self._reads.find(account, symbol, str(body.get("orderId", "")))
        if order is None or order.over:
            raise Refused(self._rules.gone_code, "Unknown order sent.")
        self._desk.cancel(order, now_ms)

    def _cancel_all(self, account: Account, request: Request, now_ms: int) -> bool:
        """Body and reply were not captured: {}, and true."""
        for order in list(account.open.values()):
            if not order.over:  # the other leg of one that was cancelled just now
                self._desk.cancel(order, now_ms)
        return True

    # -- keys

    def _listen_key(self, account: Account, request: Request, now_ms: int) -> Any:
        key = self._keys.issue(account.name, now_ms)
        match self._rules.key_shape:
            case "text":
                return key
            case "object":
                return {"listenKey": key}
            case "bare":
                return Bare({"listenKey": key})

    def _renew_key(self, account: Account, request: Request, now_ms: int) -> dict[str, Any]:
        key = request.query.get("listenKey") or str(parse(request.body or b"{}").get("listenKey", ""))
        if not self._keys.renew(account.name, key, now_ms):
            raise Refused(ILLEGAL, "ILLEGAL_PARAM: listenKey")
        return {}

    # -- money

    def _alpha_wallet(self, account: Account, request: Request, now_ms: int) -> dict[str, Any]:
        rows, total = [], ZERO
        for alpha_id, bucket in account.wallets["alpha"].items():
            amount = bucket.free + bucket.locked
            if not amount:
                continue
            token = self._listing.token(alpha_id)
            assert token is not None, alpha_id
            valuation = nearest(self._worth(alpha_id, amount))
            total += valuation
            locked = {"freeze": "0", "locked": "0", self._rules.alpha_bucket: stripped(bucket.locked)}
            row: dict[str, Any] = {"chainId": token.chain_id, "contractAddress": token.contract, "cexAsset": False}
            row |= {"name": token.name, "symbol": token.ticker, "tokenId": alpha_id, "free": stripped(bucket.free)}
            row |= locked | {"withdrawing": "0", "amount": stripped(amount), "valuation": stripped(valuation)}
            rows.append(row)
        return {"totalValuation": stripped(total), "list": rows}

    def _wallets(self, account: Account, request: Request, now_ms: int) -> list[dict[str, Any]]:
        names = {"CARD": "funding", "MAIN": "spot", "SAVING": "earn"}
        wanted = parse(request.body or b"{}").get("includeWallets") or list(names)
        wallets = {names[str(name)] for name in wanted if str(name) in names} if isinstance(wanted, list) else set()
        assets = sorted({asset for name in names.values() for asset in account.wallets[name]})  # type: ignore[index]
        rows = []
        for asset in assets:
            row: dict[str, Any] = {"asset": asset, "coinBusinessType": "CRYPTO"}
            for name in ("spot", "funding", "earn"):
                bucket = account.wallets[name].get(asset)
                shown = bucket is not None and name in wallets
                row[name] = bucket_row(bucket.free, bucket.locked) if bucket is not None and shown else None
            rows.append(row)
        return rows

    # -- volume, points, cost

    def _user_volume(self, account: Account, request: Request, now_ms: int) -> dict[str, Any]:
        """Bought today (UTC), after mulPoint; numbers with the noise of binary floats, as captured (wire § 1.3)."""
        sums: dict[str, float] = {}
        for fill in reversed(account.fills):
            if fill.time_ms < now_ms - now_ms % DAY_MS:
                break
            if fill.side == "BUY":
                ticker = self._listing.token_of(fill.symbol).ticker
                noisy = float(fill.quote) * fill.mul_point  # sim-ok: the page's own typing, nobody's balance
                sums[ticker] = sums.get(ticker, 0.0) + noisy
        rows = [{"icon": "/images/token/paper.png", "tokenName": name, "volume": sum_} for name, sum_ in sums.items()]
        return {"totalVolume": sum(sums.values()), "tradeVolumeInfoList": rows}

    def _user_score(self, account: Account, request: Request, now_ms: int) -> dict[str, Any]:
        """Points of the last 15 whole UTC days, newest first; nothing is ever spent here (wire § 14.1)."""
        today_ms = now_ms - now_ms % DAY_MS
        volumes = counted_volumes(account.fills, today_ms - SCORE_DAYS * DAY_MS)
        rows, total = [], 0
        for ago in range(1, SCORE_DAYS + 1):
            day = utc_day(today_ms - ago * DAY_MS)
            volume, balance = volumes.get(day, ZERO), account.snapshots.get(day, ZERO)
            of_volume, of_balance = volume_points(volume), balance_points(balance)
            total += of_volume + of_balance
            row: dict[str, Any] = {"date": day, "scoreTime": None, "totalScore": str(of_volume + of_balance)}
            row |= {"balanceScore": str(of_balance), "alphaVolumeScore": str(of_volume)}
            row |= {"balanceSnapshot": fixed(balance, 16), "alphaVolume": fixed(volume, 8)}
            rows.append(row)
        return {
            "isPass": None,
            "sumScore": str(total),
            "startDatetime": today_ms - SCORE_DAYS * DAY_MS,
            "endDatetime": today_ms - DAY_MS,
            "list": rows,
            "userSpendList": [],
        }

    def _avg_cost(self, account: Account, request: Request, now_ms: int) -> dict[str, Any]:
        """Average price of what is held: sales take their share of the cost with them."""
        tokens = parse(request.body).get("tokens")
        rows = []
        for token in tokens if isinstance(tokens, list) else []:
            cost = held = ZERO
            for fill in account.fills:
                if self._listing.by_symbol[fill.symbol].base_asset != token:
                    continue
                if fill.side == "BUY":
                    cost, held = cost + fill.quote, held + fill.quantity
                elif held:
                    part = min(fill.quantity, held)
                    cost, held = cost - quotient(product(cost, part), held), held - part
            average = nearest(quotient(cost, held)) if held else ZERO
            rows.append({"token": str(token), "avgCost": bare(average, 8)})
        return {"tokensAvgCost": rows}

    # -- inside

    def _worth(self, asset: str, amount: Decimal) -> Decimal:
        token = self._listing.token(asset)
        if token is None:
            return amount
        tape = self._floor.tapes.get(f"{asset}USDT")
        price = tape.last_price if tape and tape.last_price is not None else token.price
        return product(amount, price)


def utc_day(at_ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).strftime("%Y-%m-%d")


def counted_volumes(fills: list[Fill], since_ms: int) -> dict[str, Decimal]:
    """UTC day → bought quote × mulPoint, of fills since then."""
    sums: dict[str, Decimal] = {}
    for fill in reversed(fills):
        if fill.time_ms < since_ms:
            break
        if fill.side == "BUY":
            day = utc_day(fill.time_ms)
            sums[day] = sums.get(day, ZERO) + fill.quote * fill.mul_point
    return sums


def volume_points(volume: Decimal) -> int:
    """floor(log2(V)) for V >= 2, else 0."""
    return int(volume).bit_length() - 1 if volume >= 2 else 0


def balance_points(balance: Decimal) -> int:
    return sum(balance >= bound for bound in (100, 1_000, 10_000, 100_000))
