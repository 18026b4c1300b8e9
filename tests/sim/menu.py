"""The exchange's own faults (actors/paper/faults.py) that a run may draw, with how often and how bad.

Late acceptance and read lag together stay well below settle_s, but for "ghost": an order that shows up after its
absence was proven is nothing that proofs can exclude; then two pairs may live, and never a third.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import Any

from msgspec import Struct

from actors.paper.faults import Kind

OTO, SALE, CANCEL = "oto-order/place", "alpha-trade/order/place", "order/cancel"
ACTIONS = (OTO, SALE, CANCEL)
ANY = ("", *ACTIONS)
USER, BOTH = ("alpha@",), ("alpha@", "@")


class Between(Struct, frozen=True):
    low: float
    high: float


class Dish(Struct, frozen=True):
    """One fault that a run may draw.

    name: of the draw. runs: share of the runs that have it. share: least and most share of the occasions it strikes at.
    values: the fields of the fault: a tuple is a choice, Between a range.
    """

    name: str
    kind: Kind
    runs: float
    share: tuple[float, float]
    values: dict[str, Any]

    def served(self, rng: Random) -> dict[str, Any]:
        return {name: _one(rng, value) for name, value in self.values.items()}


def _one(rng: Random, value: Any) -> Any:
    if isinstance(value, Between):
        return rng.uniform(value.low, value.high)
    return rng.choice(value)


YES_OR_NO = (True, False)
SOON = Between(0.5, 6.0)
PARTS = tuple(Decimal(part) for part in ("0.05", "0.3", "0.5", "0.8", "0.97"))

MENU: tuple[Dish, ...] = (
    Dish("lost_reply", "lost_reply", 0.3, (0.01, 0.3), {"path": (*ANY, OTO)}),
    Dish("lost request", "lost_reply", 0.2, (0.01, 0.2), {"path": ANY, "processed": (False,)}),
    Dish("late_reply", "late_reply", 0.2, (0.01, 0.2), {"path": ANY, "seconds": Between(1, 25)}),
    Dish("http_error", "http_error", 0.2, (0.005, 0.1), {"path": ANY, "status": (500, 502, 503, 504)}),
    Dish("error after all", "http_error", 0.15, (0.01, 0.2), {"path": ACTIONS, "status": (504,), "processed": (True,)}),
    Dish("throttled", "http_error", 0.15, (0.002, 0.02), {"status": (429, 418), "retry_after": (None, 1, 20)}),
    Dish("blocked", "http_error", 0.1, (0.001, 0.01), {"status": (403,)}),
    Dish("html_body", "html_body", 0.15, (0.002, 0.05), {"path": ANY, "processed": YES_OR_NO}),
    Dish("truncated_body", "truncated_body", 0.15, (0.002, 0.05), {"path": ANY}),
    Dish(
        "edit_body",
        "edit_body",
        0.1,
        (0.002, 0.03),
        {"path": ("alpha-trade",), "remove": (["status"], ["orderId"], ["price"])},
    ),
    Dish(
        "error_code",
        "error_code",
        0.2,
        (0.005, 0.1),
        {"path": ANY, "code": ("100001001", "999999", "345"), "processed": YES_OR_NO},
    ),
    Dish(
        "refusal",
        "error_code",
        0.15,
        (0.01, 0.2),
        {"path": (OTO, SALE), "code": ("481020", "481004", "000002"), "processed": (False,)},
    ),
    Dish("login_expired", "login_expired", 0.1, (0.001, 0.02), {}),
    Dish("verification", "verification", 0.1, (0.001, 0.02), {}),
    Dish(
        "late_acceptance",
        "late_acceptance",
        0.3,
        (0.01, 0.3),
        {"path": (OTO, SALE), "seconds": SOON, "status": (0, 504)},
    ),
    Dish("ghost", "late_acceptance", 0.05, (0.02, 0.2), {"path": (OTO,), "seconds": Between(30, 90)}),
    Dish("read_lag", "read_lag", 0.4, (0.05, 0.9), {"seconds": SOON, "lists": ("open", "history", "both")}),
    Dish("non_atomic", "non_atomic", 0.3, (0.05, 0.9), {"seconds": SOON}),
    Dish("short_history", "short_history", 0.1, (0.01, 0.1), {"rows": (1, 3)}),
    Dish("clock_skew", "clock_skew", 0.1, (0.01, 0.1), {"seconds": (-10, -1, 1, 10)}),
    Dish("drop_frame", "drop_frame", 0.2, (0.01, 0.3), {"stream": USER, "word": ("", "TRADE", "NEW", "CANCELED")}),
    Dish("drop_frame of any", "drop_frame", 0.1, (0.01, 0.3), {"stream": BOTH}),
    Dish("duplicate_frame", "duplicate_frame", 0.2, (0.05, 0.9), {"stream": BOTH}),
    Dish("delay_frame", "delay_frame", 0.2, (0.05, 0.5), {"stream": BOTH, "seconds": Between(0.1, 20)}),
    Dish("reorder_frame", "reorder_frame", 0.2, (0.05, 0.5), {"stream": BOTH}),
    Dish("edit_frame", "edit_frame", 0.1, (0.01, 0.1), {"stream": USER, "remove": (["z"], ["l"], ["X"], ["L"])}),
    Dish("disconnect", "disconnect", 0.2, (0.002, 0.05), {"stream": BOTH}),
    Dish("key_death", "key_death", 0.15, (0.2, 0.9), {"seconds": Between(20, 120)}),
    Dish("partial_fill", "partial_fill", 0.3, (0.1, 0.9), {"part": PARTS, "seconds": Between(0.1, 25)}),
    Dish("refuse_release", "refuse_release", 0.2, (0.02, 0.3), {}),
)
