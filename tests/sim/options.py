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
PACES = (0.05, 0.05, 0.2, 0.2, 1.0)
"""A drawn run's share of it. Most tokens are slower than the demo's (median 0.05 trades a second, probes § 7), and what
costs most in a run is the market's own frames."""
NAMES = ("alice", "bob", "carol")
AUTO = tuple(reason for reason in PAUSE_REASONS if reason in AUTO_RESUMABLE)

SETTLED_S = 12.0
"""Late acceptances up to here leave the proofs of absence (20 s) their time, read lag included."""

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
    crash_loops_per_min: float = 0.0  # of one trader, until it is parked
    halts_per_min: float = 0.0  # of trading in one token, at the exchange
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
    pace: float = 1.0  # of the market, of what the demo has
    real_rates: bool = False
    renew_s: float = 1500.0
    rotate_s: float = 81_000.0
    net: NetTrouble = NetTrouble()
    disk: DiskTrouble = DiskTrouble()
    process: ProcessTrouble = ProcessTrouble()
    hands: Hands = Hands()
    faults: tuple[Fault, ...] = ()

    @property
    def ghosts(self) -> bool:
        """Placements may be accepted after all that patience can prove."""
        return any(fault.kind == "late_acceptance" and fault.seconds > SETTLED_S for fault in self.faults)

    @property
    def calm(self) -> bool:
        """Nothing goes wrong, and nobody does anything."""
        calm = (self.net, self.disk, self.process) == (NetTrouble(), DiskTrouble(), ProcessTrouble())
        return calm and not self.faults and not self.hands.acts_per_min and not self.rules

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
    dice = Dice(f"{seed}", {"none": 0.0, "normal": 1.0, "harsh": 2.0}[profile])
    tokens = ("KOGE", "LUMI", "PICO", "SPOTTY")[: dice.one("tokens", (1, 1, 2, 4))]
    return Options(
        seed=seed,
        minutes=minutes,
        start_ms=dice.one("start", (START_MS, START_MS, BEFORE_MIDNIGHT_MS)),
        users=tuple(_user(dice.of(f"user {number}"), user_name(number), tokens) for number in range(1, users + 1)),
        rules=_rules(dice.of("rules")),
        pace=dice.one("pace", PACES),
        real_rates=dice.one("real rates", (False, False, False, False, True)),
        renew_s=dice.one("renew", (1500.0, 60.0)),
        rotate_s=dice.one("rotate", (81_000.0, 81_000.0, 120.0)),
        net=_net(dice.family("net", 0.7)),
        disk=_disk(dice.family("disk", 0.5)),
        process=_process(dice.family("process", 0.7)),
        hands=_hands(dice.family("hands", 0.6)),
        faults=_faults(dice.family("faults", 0.8)),
    )


class Dice:
    """Draws by name: what is drawn for one name does not depend on what else is drawn, so that a seed stays what it is
    when a new kind of trouble is added."""

    def __init__(self, name: str, scale: float) -> None:
        self._name, self._scale = name, scale

    def rng(self, name: str) -> Random:
        return Random(f"{self._name}/{name}")

    def of(self, name: str) -> Dice:
        return Dice(f"{self._name}/{name}", self._scale)

    def family(self, name: str, share: float) -> Dice:
        """Dice for one family of troubles, which a part of the runs has nothing of."""
        present = self.rng(name).random() < share
        return Dice(f"{self._name}/{name}", self._scale if present else 0.0)

    def one(self, name: str, choices: tuple[Any, ...]) -> Any:
        return self.rng(name).choice(choices)

    def some(self, name: str, low: float, high: float, share: float = 0.5) -> float:
        """0, or something between low and high; small values are as likely as large ones."""
        rng = self.rng(name)
        present, much = rng.random() < share, low * (high / low) ** rng.random()
        return much * self._scale if present else 0.0


def _user(dice: Dice, name: str, tokens: tuple[str, ...]) -> UserOptions:
    crossing = dice.one("crossing", (True, True, True, False))
    offset = Decimal(dice.one("offset", ("0.02", "0.05", "0.1")))
    return UserOptions(
        name=name,
        trading=demo_config(
            dice.one("token", tokens),
            target=Decimal(dice.one("target", (300, 2_000, 100_000))),
            order_amount=Decimal(dice.one("amount", (11, 50, 400))),
            buy_offset=offset if crossing else -offset,
            sell_offset=-offset if crossing else offset,
            timeout_seconds=Decimal(dice.one("timeout", (5, 20, 60))),
            interval_seconds=Decimal(dice.one("interval", (1, 5, 20))),
            unwind_step_seconds=Decimal(dice.one("unwind step", (2, 5))),
            volatility_threshold=Decimal(dice.one("volatility", (2, 5, 50))),
            auto_resume=dice.one("auto resume", ((), AUTO, AUTO)),
        ),
        balance=Decimal(dice.one("balance", (10_000, 10_000, 1_000))),
        holdings=Decimal(dice.one("holdings", (0, 7))),
    )


def _rules(dice: Dice) -> dict[str, Any]:
    """About a fifth of the exchange's open questions are answered in another way than assumed."""
    choices: dict[str, Any] = {
        "release_on": "partial",
        "held_end": ("EXPIRED", "silent"),
        "partial_cancel": "release",
        "held_cancel": "leg",
        "base_commission": "cut",
        "commission_from_free": True,
        "credit_lag_ms": ((0, 2_000),),
        "release_ms": ((0, 2_000),),
        "cancel_ms": ((0, 500),),
        "entry_ms": ((0, 300), (500, 8_000)),
        "split_fill_share": 0.5,
        "trade_ids": "fill",
        "page_ids": "own",
        "oto_row_times": True,
        "history_total": True,
        "history_order": "oldest",
        "open_lists_held": False,
        "history_shows_unreleased": False,
        "replay_frames": 6,
        "key_life_ms": 150_000,
        "key_renewal": "new",
        "old_key": "dies",
        "expiry_notice": True,
    }
    drawn_rules = {}
    for name, value in choices.items():
        rng = dice.rng(name)
        if rng.random() < 0.2:
            drawn_rules[name] = rng.choice(value) if isinstance(value, tuple) else value
    return drawn_rules


def _net(dice: Dice) -> NetTrouble:
    return NetTrouble(
        delay_s=dice.one("delay", ((0.0005, 0.005), (0.0, 0.0), (0.01, 0.3))),
        split=dice.some("split", 0.05, 0.5),
        torn=dice.some("torn", 0.002, 0.05),
        refused=dice.some("refused", 0.01, 0.3),
        silent=dice.some("silent", 0.01, 0.1, 0.3),
        resets_per_min=dice.some("resets", 0.2, 10),
        ends_per_min=dice.some("ends", 0.2, 5),
        holds_per_min=dice.some("holds", 0.2, 3),
        outages_per_min=dice.some("outages", 0.1, 0.5, 0.3),
        surges_per_min=dice.some("surges", 0.1, 0.5, 0.3),
    )


def _disk(dice: Dice) -> DiskTrouble:
    return DiskTrouble(
        commit_s=dice.one("commit", ((0.001, 0.003), (0.0, 0.0), (0.01, 0.5))),
        failing=dice.some("failing", 0.01, 0.2),
        unsure=dice.some("unsure", 0.01, 0.2),
        lost=dice.some("lost", 0.002, 0.02, 0.3),
        full_per_min=dice.some("full", 0.1, 0.5, 0.3),
    )


def _process(dice: Dice) -> ProcessTrouble:
    return ProcessTrouble(
        crashes_per_min=dice.some("crashes", 0.3, 5),
        crash_loops_per_min=dice.some("crash loops", 0.05, 0.3, 0.2),
        halts_per_min=dice.some("halts", 0.1, 0.5, 0.2),
        kills_per_min=dice.some("kills", 0.05, 0.5, 0.4),
        stops_per_min=dice.some("stops", 0.05, 0.3, 0.3),
        exchange_restarts_per_min=dice.some("exchange restarts", 0.05, 0.3, 0.3),
        steps_per_min=dice.some("steps", 0.1, 1, 0.3),
        step_ms=dice.one("step", ((-1_500, 1_500), (-1_500, 1_500), (-3_600_000, 3_600_000))),
        kill_before_commit=dice.some("before commit", 0.001, 0.01, 0.3),
        kill_after_commit=dice.some("after commit", 0.001, 0.01, 0.3),
        kill_at_placement=dice.some("at placement", 0.01, 0.1, 0.3),
    )


ACTS = (
    "start", "pause", "resume", "stop", "stop_now", "configure", "cancel_pair", "restart", "force_stop",
    "credentials", "remove",
)  # fmt: skip
BY_HAND = ("order_by_hand", "cancel_by_hand", "withdraw", "kill_keys")


def _hands(dice: Dice) -> Hands:
    acts = (*ACTS, *(act for act in BY_HAND if dice.rng(act).random() < 0.25))
    return Hands(acts_per_min=dice.some("acts", 0.5, 6, 1.0), acts=acts)


def _faults(dice: Dice) -> tuple[Fault, ...]:
    found = []
    for dish in MENU:
        share = min(0.9, dice.some(dish.name, *dish.share, dish.runs))
        if share:
            found.append(Fault(kind=dish.kind, share=share, **dish.served(dice.rng(f"{dish.name}/fault"))))
    return tuple(found)
