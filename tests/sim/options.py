"""What a run is about: everything is a function of the seed, or was asked for by the caller.

Swarm: a run has some kinds of trouble and not others, so that one does not always hide another; which, and how much of
each, is drawn from the seed, zero included.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any, Literal

from msgspec import Struct

from actors.domain.trading import AUTO_RESUMABLE, PAUSE_REASONS, TradingConfig
from actors.paper.faults import Fault
from tests.sim.menu import MENU

START_MS = 1_795_176_000_000  # 2026-11-20T12:00:00Z
BEFORE_MIDNIGHT_MS = START_MS + 12 * 3_600_000 - 240_000  # 2026-11-20T23:56:00Z

PACE = {"KOGE": 3.0, "LUMI": 1.0}
QUIET_PACE = 0.25
NAMES = ("alice", "bob", "carol")
AUTO = tuple(reason for reason in PAUSE_REASONS if reason in AUTO_RESUMABLE)

Profile = Literal["none", "normal", "harsh"]


class UserOptions(Struct, frozen=True, kw_only=True):
    """holdings: base of the user's own, from elsewhere, that must never be sold."""

    name: str
    trading: TradingConfig
    balance: Decimal = Decimal(10_000)
    holdings: Decimal = Decimal(0)


class NetTrouble(Struct, frozen=True, kw_only=True):
    """Shares are of occasions; *_per_min of things that happen by themselves."""

    delay_s: tuple[float, float] = (0.0005, 0.005)
    split: float = 0.0  # reads that get only a part of what has arrived
    torn: float = 0.0  # sends that break the connection half way
    refused: float = 0.0  # dials
    silent: float = 0.0
    resets_per_min: float = 0.0
    ends_per_min: float = 0.0
    holds_per_min: float = 0.0
    hold_s: tuple[float, float] = (1.0, 60.0)
    outages_per_min: float = 0.0  # nobody reaches the exchange
    outage_s: tuple[float, float] = (1.0, 40.0)
    surges_per_min: float = 0.0  # latency of seconds for everybody
    surge_s: tuple[float, float] = (5.0, 30.0)


class DiskTrouble(Struct, frozen=True, kw_only=True):
    commit_s: tuple[float, float] = (0.001, 0.003)
    failing: float = 0.0  # commits that fail, nothing written
    unsure: float = 0.0  # commits that fail although all was written
    lost: float = 0.0  # commits after which the database has to be opened again
    full_per_min: float = 0.0  # times without a commit
    full_s: tuple[float, float] = (1.0, 40.0)


class ProcessTrouble(Struct, frozen=True, kw_only=True):
    """kill_at: shares of occasions at which the process is killed."""

    crashes_per_min: float = 0.0  # of random actors
    kills_per_min: float = 0.0
    stops_per_min: float = 0.0  # in order, then started again
    exchange_restarts_per_min: float = 0.0
    steps_per_min: float = 0.0  # of the daemon's wall clock
    step_ms: tuple[int, int] = (-1_500, 1_500)
    kill_before_commit: float = 0.0
    kill_after_commit: float = 0.0
    kill_at_placement: float = 0.0  # it has arrived at the exchange
    down_s: tuple[float, float] = (0.1, 20.0)


class Hands(Struct, frozen=True, kw_only=True):
    """What people do, on average so often a minute; acts: of these kinds."""

    acts_per_min: float = 0.0
    acts: tuple[str, ...] = ()


class Options(Struct, frozen=True, kw_only=True):
    """minutes: of trading, and of trouble if there is any; healing comes on top."""

    seed: int
    users: tuple[UserOptions, ...]
    minutes: float
    start_ms: int = START_MS
    rules: dict[str, Any] = {}
    real_rates: bool = False
    renew_s: float = 1500.0
    rotate_s: float = 81_000.0
    net: NetTrouble = NetTrouble()
    disk: DiskTrouble = DiskTrouble()
    process: ProcessTrouble = ProcessTrouble()
    hands: Hands = Hands()
    faults: tuple[Fault, ...] = ()

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
        "auto_resume": AUTO,
    }
    return TradingConfig(**(values | more))  # type: ignore[arg-type]


# -- drawn


def drawn(seed: int, *, users: int = 5, minutes: float = 10, profile: Profile = "normal") -> Options:
    """The swarm's options of a seed."""
    rng = Random(f"{seed}/options")
    dice = _Dice(rng, {"none": 0.0, "normal": 1.0, "harsh": 2.0}[profile])
    tokens = ["KOGE", "LUMI", "PICO", "SPOTTY"][: rng.choice((1, 1, 2, 4))]
    return Options(
        seed=seed,
        minutes=minutes,
        start_ms=rng.choice((START_MS, START_MS, BEFORE_MIDNIGHT_MS)),
        users=tuple(_user(rng, user_name(number), rng.choice(tokens)) for number in range(1, users + 1)),
        rules=_rules(rng),
        real_rates=rng.random() < 0.2,
        renew_s=rng.choice((1500.0, 60.0)),
        rotate_s=rng.choice((81_000.0, 81_000.0, 120.0)),
        net=_net(dice),
        disk=_disk(dice),
        process=_process(dice),
        hands=_hands(dice),
        faults=_faults(dice),
    )


class _Dice:
    """Draws how much of each trouble there is; about half of the kinds are absent from any run."""

    def __init__(self, rng: Random, scale: float) -> None:
        self.rng, self.scale = rng, scale

    def some(self, low: float, high: float, share: float = 0.5) -> float:
        """0, or something between low and high, small values as likely as large ones."""
        rng = self.rng
        present, much = rng.random() < share, low * (high / low) ** rng.random()
        return much * self.scale if present and self.scale else 0.0

    def family(self, share: float = 0.7) -> _Dice:
        """Dice for one family of troubles; none of them in some runs."""
        present = self.rng.random() < share
        return _Dice(self.rng, self.scale if present else 0.0)


def _user(rng: Random, name: str, token: str) -> UserOptions:
    crossing = rng.random() < 0.75
    offset = Decimal(rng.choice(("0.02", "0.05", "0.1")))
    return UserOptions(
        name=name,
        trading=demo_config(
            token,
            target=Decimal(rng.choice((300, 2_000, 100_000))),
            order_amount=Decimal(rng.choice((11, 50, 400))),
            buy_offset=offset if crossing else -offset,
            sell_offset=-offset if crossing else offset,
            timeout_seconds=Decimal(rng.choice((5, 20, 60))),
            interval_seconds=Decimal(rng.choice((1, 5, 20))),
            unwind_step_seconds=Decimal(rng.choice((2, 5))),
            volatility_threshold=Decimal(rng.choice((2, 5, 50))),
            auto_resume=rng.choice(((), AUTO, AUTO)),
        ),
        balance=Decimal(rng.choice((10_000, 10_000, 1_000))),
        holdings=Decimal(rng.choice((0, 7))),
    )


def _rules(rng: Random) -> dict[str, Any]:
    choices: dict[str, tuple[Any, ...]] = {
        "release_on": ("full", "partial"),
        "held_end": ("CANCELED", "EXPIRED", "silent"),
        "partial_cancel": ("end", "release"),
        "held_cancel": ("list", "leg"),
        "base_commission": ("nearest", "cut"),
        "commission_from_free": (False, True),
        "credit_lag_ms": ((0, 0), (0, 2_000)),
        "release_ms": ((0, 0), (0, 2_000)),
        "cancel_ms": ((0, 0), (0, 500)),
        "entry_ms": ((90, 850), (0, 300)),
        "split_fill_share": (0.0, 0.5),
        "trade_ids": ("match", "fill"),
        "page_ids": ("event", "own"),
        "oto_row_times": (False, True),
        "history_total": (False, True),
        "history_order": ("newest", "oldest"),
        "open_lists_held": (True, False),
        "history_shows_unreleased": (True, False),
        "replay_frames": (0, 6),
        "key_life_ms": (3_600_000, 150_000),
        "key_renewal": ("same", "new"),
        "old_key": ("lives", "dies"),
        "expiry_notice": (False, True),
    }
    return {name: rng.choice(values[1:]) for name, values in choices.items() if rng.random() < 0.2}


def _net(dice: _Dice) -> NetTrouble:
    dice = dice.family()
    return NetTrouble(
        delay_s=dice.rng.choice(((0.0005, 0.005), (0.0, 0.0), (0.01, 0.3))),
        split=dice.some(0.05, 0.5),
        torn=dice.some(0.002, 0.05),
        refused=dice.some(0.01, 0.3),
        silent=dice.some(0.01, 0.1, 0.3),
        resets_per_min=dice.some(0.2, 10),
        ends_per_min=dice.some(0.2, 5),
        holds_per_min=dice.some(0.2, 3),
        outages_per_min=dice.some(0.1, 0.5, 0.3),
        surges_per_min=dice.some(0.1, 0.5, 0.3),
    )


def _disk(dice: _Dice) -> DiskTrouble:
    dice = dice.family(0.5)
    return DiskTrouble(
        commit_s=dice.rng.choice(((0.001, 0.003), (0.0, 0.0), (0.01, 0.5))),
        failing=dice.some(0.01, 0.2),
        unsure=dice.some(0.01, 0.2),
        lost=dice.some(0.002, 0.02, 0.3),
        full_per_min=dice.some(0.1, 0.5, 0.3),
    )


def _process(dice: _Dice) -> ProcessTrouble:
    dice = dice.family()
    return ProcessTrouble(
        crashes_per_min=dice.some(0.3, 5),
        kills_per_min=dice.some(0.05, 0.5, 0.4),
        stops_per_min=dice.some(0.05, 0.3, 0.3),
        exchange_restarts_per_min=dice.some(0.05, 0.3, 0.3),
        steps_per_min=dice.some(0.1, 1, 0.3),
        step_ms=dice.rng.choice(((-1_500, 1_500), (-1_500, 1_500), (-3_600_000, 3_600_000))),
        kill_before_commit=dice.some(0.001, 0.01, 0.3),
        kill_after_commit=dice.some(0.001, 0.01, 0.3),
        kill_at_placement=dice.some(0.01, 0.1, 0.3),
    )


ACTS = ("start", "pause", "resume", "stop", "stop_now", "configure", "cancel_pair", "restart", "force_stop")
BY_HAND = ("order_by_hand", "cancel_by_hand", "withdraw", "kill_keys")


def _hands(dice: _Dice) -> Hands:
    dice = dice.family(0.6)
    acts = (*ACTS, *(act for act in BY_HAND if dice.rng.random() < 0.25))
    return Hands(acts_per_min=dice.some(0.5, 6, 1.0), acts=acts)


def _faults(dice: _Dice) -> tuple[Fault, ...]:
    dice = dice.family(0.8)
    found = []
    for dish in MENU:
        share = min(0.9, dice.some(*dish.share, dish.runs))
        fault = dish.served(dice.rng)
        if share:
            found.append(Fault(kind=dish.kind, share=share, **fault))
    return tuple(found)
