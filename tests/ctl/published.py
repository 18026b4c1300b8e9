"""A state directory as a daemon leaves it: two days of two users, published, with amounts that no float holds."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path

import trio

from actors import rows
from tests.adapters.duck_rows import HOUR_MS, NOON_MS, StillWall, database, fill, order, pair

EXACT = D("1234567.123456789012345678")
DAY_MS = 24 * HOUR_MS


def records(days_ago: int) -> list[rows.Row]:
    """Of one day: alice with three closed pairs and a price, bob with one pair that unwound."""
    at = NOON_MS - days_ago * DAY_MS
    day = f"2026-11-{20 - days_ago}"
    told = {"status": "closed", "outcome": "completed", "buy_quote": D(50), "wear": D("0.15")}
    parts = {"fee": "0.01", "spread": "0.1", "slippage": "-0.02", "unwind": "0", "dust": "0.06"}
    told |= {f"wear_{part}": D(value) for part, value in parts.items()}
    made: list[rows.Row] = [rows.UserDayRow(user="alice", day=day, target_volume=D(500), target_points=None)]
    for n in range(1, 4):
        begun, pair_id = at + n * HOUR_MS, f"alice-{day}-{n}"
        of_pair = {"pair_id": pair_id, "order_id": f"{day}-{n}"}
        made += [
            pair(n, **told | {"pair_id": pair_id, "intent_at": begun, "closed_at": begun + 2500}),
            order(f"{day}-{n}", pair_id=pair_id, status="FILLED", created_at=begun),
            fill(f"{day}-{n}b", exchange_time=begun, quote_quantity=EXACT, mul_point=D(1), **of_pair),
            fill(f"{day}-{n}s", exchange_time=begun + 900, side="SELL", leg="pending", **of_pair),
        ]
    bar = {
        "open": D(48),
        "high": D("48.5"),
        "low": D("47.5"),
        "close": D("48.1"),
        "quantity": D(1),
        "quote_quantity": D(48),
    }
    made += [rows.PriceRow(token="KOGE", second=at + n * 600_000, trades=1, **bar) for n in range(24)]
    made += [
        pair(
            1, "bob", **told | {"pair_id": f"bob-{day}-1", "intent_at": at, "closed_at": at + 1, "outcome": "unwound"}
        ),
        fill(f"{day}-bob", "bob", exchange_time=at),
        rows.AuditRow(audit_id=f"{day}-1", happened_at=at, who="0:1", user=None, action="reload"),
    ]
    return made


def state_directory(path: Path, *, instance: str = "here") -> Path:
    async def make() -> None:
        db = database(path, instance=instance, wall=StillWall())
        await db.open()
        await db.commit([records(1), records(0)])
        await db.publish()
        await db.close()

    trio.run(make)
    return path
