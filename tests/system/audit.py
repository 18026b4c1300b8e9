"""Compares what otod recorded with what the paper exchange itself knows: the truth of every system test.

The exchange is rebuilt from its own journal, the records are read from the published DuckDB files; the two are written
by different code from different sides of the wire.
"""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
from msgspec import Struct

from actors.paper.faults import Faults
from actors.paper.listing import demo_listing
from actors.paper.machine import Exchange
from actors.paper.rules import Rules

FILL = "symbol, order_id, side, price, quantity, quote_quantity, commission, commission_asset, trade_id"


class Compared(Struct, kw_only=True):
    """users: account → volume bought. differences: empty if the records are exact."""

    users: dict[str, Decimal]
    fills: int
    differences: list[str]
    live_pairs_most: int
    self_matches: int


def exchange_of(directory: Path) -> Exchange:
    """The paper exchange as its journal in this directory tells it."""
    lines = (directory / "journal.jsonl").read_bytes().splitlines(keepends=True)
    return Exchange.restore(
        lines, listing=demo_listing(), rules=Rules(), faults=Faults(), rng=random.Random(0), now_ms=0
    )


def records(state_dir: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows over all published day files; FROM the table name in braces: "SELECT … FROM {fills}"."""
    files = sorted(str(path) for path in (state_dir / "analytics").glob("day_*.duckdb"))
    found: list[tuple[Any, ...]] = []
    for file in files:
        with duckdb.connect(file, read_only=True) as connection:
            found += connection.execute(sql).fetchall()
    return found


def compare(state_dir: Path, exchange_dir: Path) -> Compared:
    """Fills as multisets, order totals, volumes, fees of both legs, to the last decimal."""
    exchange = exchange_of(exchange_dir)
    differences: list[str] = []
    volumes: dict[str, Decimal] = {}
    count = 0
    for account in exchange.accounts():
        audit = exchange.audit(account)
        theirs = Counter(
            (f.symbol, str(f.order_id), f.side, f.price, f.quantity, f.quote, f.commission, f.commission_asset,
             str(f.trade_id))
            for f in audit.fills
        )  # fmt: skip
        ours = Counter(records(state_dir, f"SELECT {FILL} FROM fills WHERE \"user\" = '{account}'"))
        differences += [f"{account}: lost fill {fill}" for fill in theirs - ours]
        differences += [f"{account}: invented or doubled fill {fill}" for fill in ours - theirs]
        totals = {(o.symbol, str(o.order_id)): (o.cumulative, o.cumulative_quote) for o in audit.orders}
        told = {
            (symbol, order_id): (executed, quote)
            for symbol, order_id, executed, quote in records(
                state_dir,
                f"SELECT symbol, order_id, executed_quantity, executed_quote FROM orders WHERE \"user\" = '{account}'",
            )
        }
        differences += [f"{account}: order {key} is not known" for key in totals.keys() - told.keys()]
        differences += [
            f"{account}: order {key} has {told[key]}, the exchange {totals[key]}"
            for key in totals.keys() & told.keys()
            if told[key] != totals[key]
        ]
        volumes[account] = sum((f.quote for f in audit.fills if f.side == "BUY"), Decimal(0))
        count += len(audit.fills)
    return Compared(
        users=volumes,
        fills=count,
        differences=differences,
        live_pairs_most=max((exchange.max_live_pairs(account) for account in exchange.accounts()), default=0),
        self_matches=len(exchange.self_matches),
    )
