"""Replies about one account: wallets, volume, points, listen key, terms (wire § 4.3, § 10.3, § 14)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct, field

from actors.domain.orders import Balance
from actors.exchange.numbers import Figure, Signed, total
from actors.exchange.shapes import Millis, Shape, Word, changed

Wallet = Literal["funding", "spot", "earn"]
_WALLETS: tuple[Wallet, ...] = ("funding", "spot", "earn")
_LISTEN_KEY = re.compile(r"[0-9A-Za-z_-]{8,128}", re.ASCII).fullmatch
_ZERO = Decimal(0)


# -- wallets


class _Bucket(Struct):
    free: Figure
    locked: Figure | None = None
    freeze: Figure | None = None
    withdrawing: Figure | None = None


class _AssetRow(Struct):
    asset: Word
    funding: _Bucket | None = None
    spot: _Bucket | None = None
    earn: _Bucket | None = None


class _AlphaRow(_Bucket):
    tokenId: Word | None = None
    symbol: Word | None = None


class _AlphaWallet(Struct):
    rows: list[_AlphaRow] = field(name="list")


_asset_rows: Shape[list[_AssetRow]] = Shape(list[_AssetRow], of="get-wallet-asset (wire § 4.3)")
_alpha_wallet: Shape[_AlphaWallet] = Shape(_AlphaWallet, of="Alpha wallet (wire § 4.3)")


def read_wallets(data: Raw) -> tuple[Balance, ...]:
    """One balance per asset and wallet that is not null (null: empty). Raises: ProtocolChanged."""
    balances: list[Balance] = []
    for row in _asset_rows.read(data):
        for wallet, bucket in zip(_WALLETS, (row.funding, row.spot, row.earn), strict=True):
            if bucket is not None:
                balances.append(Balance(asset=row.asset, wallet=wallet, free=bucket.free, frozen=_frozen(bucket)))
    return tuple(balances)


def read_alpha_wallet(data: Raw) -> tuple[Balance, ...]:
    """asset: the alphaId, which this reply calls tokenId. Raises: ProtocolChanged."""
    balances: list[Balance] = []
    for row in _alpha_wallet.read(data).rows:
        asset = row.tokenId or row.symbol
        if not asset:
            raise changed(_alpha_wallet.of, "a row without tokenId")
        balances.append(Balance(asset=asset, wallet="alpha", free=row.free, frozen=_frozen(row)))
    return tuple(balances)


def _frozen(bucket: _Bucket) -> Decimal:
    """freeze and locked: clients disagree which of them holds what open orders sell, so neither is free."""
    return total(bucket.locked or _ZERO, bucket.freeze or _ZERO, bucket.withdrawing or _ZERO)


# -- volume and points


class _UserVolume(Struct):
    totalVolume: Figure


class AlphaDay(Struct, frozen=True, kw_only=True):
    """Points of one UTC day. volume: counted, after the multiplier (wire § 14.2)."""

    date: str  # "2025-07-16"
    points: int
    balance_points: int
    volume_points: int
    volume: Decimal


class UserScore(Struct, frozen=True, kw_only=True):
    """Points of the last 15 UTC days, both ends included, newest first."""

    score: Decimal
    start_ms: int
    end_ms: int
    days: tuple[AlphaDay, ...]
    spent: tuple[tuple[int, Decimal], ...]  # (time_ms, points)


class _ScoreRow(Struct):
    date: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
    totalScore: Figure
    balanceScore: Figure
    alphaVolumeScore: Figure
    alphaVolume: Figure


class _SpendRow(Struct):
    spendTime: Millis
    spendScore: Figure


class _UserScore(Struct):
    sumScore: Signed
    startDatetime: Millis
    endDatetime: Millis
    days: list[_ScoreRow] = field(name="list")
    userSpendList: tuple[_SpendRow, ...] | None = None


_user_volume: Shape[_UserVolume] = Shape(_UserVolume, of="user-volume (wire § 14)")
_user_score: Shape[_UserScore] = Shape(_UserScore, of="user-score (wire § 14.1)")


def read_user_volume(data: Raw) -> Decimal:
    """Today's volume as the exchange says it, binary noise included. Raises: ProtocolChanged."""
    return _user_volume.read(data).totalVolume


def read_user_score(data: Raw) -> UserScore:
    """Raises: ProtocolChanged."""
    wire = _user_score.read(data)
    return UserScore(
        score=wire.sumScore,
        start_ms=wire.startDatetime,
        end_ms=wire.endDatetime,
        days=tuple(_day(row) for row in wire.days),
        spent=tuple((row.spendTime, row.spendScore) for row in wire.userSpendList or ()),
    )


def _day(row: _ScoreRow) -> AlphaDay:
    return AlphaDay(
        date=row.date,
        points=_whole(row.totalScore),
        balance_points=_whole(row.balanceScore),
        volume_points=_whole(row.alphaVolumeScore),
        volume=row.alphaVolume,
    )


def _whole(points: Decimal) -> int:
    if points != points.to_integral_value():
        raise changed(_user_score.of, "points are no whole number")
    return int(points)


# -- listen key, terms, average cost


class _ListenKey(Struct):
    listenKey: str


class _TokenCost(Struct):
    token: Word
    avgCost: Figure


class _AverageCost(Struct):
    tokensAvgCost: list[_TokenCost]


_listen_key: Shape[str | _ListenKey] = Shape(str | _ListenKey, of="get-listen-key (wire § 10.3)")
_terms: Shape[bool | None] = Shape(bool | None, of="terms-agreement (wire § 4)")
_average_cost: Shape[_AverageCost] = Shape(_AverageCost, of="avg-cost (wire § 4)")


def read_listen_key(data: Raw) -> str:
    """Text, or an object with listenKey; the bare object is unwrapped by the envelope. A secret.

    Raises: ProtocolChanged, without any of it.
    """
    wire = _listen_key.read(data)
    key = wire if isinstance(wire, str) else wire.listenKey
    if _LISTEN_KEY(key) is None:
        raise changed(_listen_key.of, f"{len(key)} characters that are no listen key")
    return key


def read_terms(data: Raw) -> bool:
    """True once the owner accepted the disclaimer on the site. Raises: ProtocolChanged."""
    return _terms.read(data) is True


def read_average_cost(data: Raw) -> dict[str, Decimal]:
    """Average buy price by alphaId. Raises: ProtocolChanged."""
    return {row.token: row.avgCost for row in _average_cost.read(data).tokensAvgCost}
