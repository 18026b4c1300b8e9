"""What a run is about. Everything is a function of the seed, or was asked for by the caller."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from msgspec import Struct

from actors.domain.trading import AUTO_RESUMABLE, PAUSE_REASONS, TradingConfig

START_MS = 1_795_176_000_000  # 2026-11-20T12:00:00Z

PACE = {"KOGE": 3.0, "LUMI": 1.0, "PICO": 0.25, "SPOTTY": 0.25}
NAMES = ("alice", "bob", "carol")


class UserOptions(Struct, frozen=True, kw_only=True):
    """holdings: base of the user's own, from elsewhere, that must never be sold."""

    name: str
    trading: TradingConfig
    balance: Decimal = Decimal(10_000)
    holdings: Decimal = Decimal(0)
    wanted: str = "running"


class Options(Struct, frozen=True, kw_only=True):
    """minutes: of trading, and of faults if there are any; healing comes on top."""

    seed: int
    users: tuple[UserOptions, ...]
    minutes: float
    start_ms: int = START_MS

    @property
    def tokens(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(user.trading.token for user in self.users))


def user_name(number: int) -> str:
    """alice, bob, carol, user4 …"""
    return NAMES[number - 1] if number <= len(NAMES) else f"user{number}"


def calm_options(seed: int, *, users: int = 5, minutes: float = 10, target: int = 500) -> Options:
    """Demo users on the demo market, nothing goes wrong."""
    rng = Random(f"{seed}/options")
    tokens = [rng.choice(("KOGE", "LUMI")) for _ in range(users)]
    return Options(
        seed=seed,
        minutes=minutes,
        users=tuple(
            UserOptions(name=user_name(number), trading=demo_config(token, target=Decimal(target)))
            for number, token in enumerate(tokens, start=1)
        ),
    )


def demo_config(token: str = "KOGE", *, target: Decimal = Decimal(500), **more: object) -> TradingConfig:
    values: dict[str, object] = {
        "token": token,
        "target_volume": target,
        "order_amount": Decimal(50),
        "buy_offset": Decimal("0.05"),
        "sell_offset": Decimal("-0.05"),
        "auto_resume": tuple(reason for reason in PAUSE_REASONS if reason in AUTO_RESUMABLE),
    }
    return TradingConfig(**(values | more))  # type: ignore[arg-type]
