"""How fast the synthetic market runs: `python -m tests.bench.market [SECONDS]`.

Three symbols at the default pace, on the toy book of the tests and in a real paper exchange whose public streams are
listened to. Prints market seconds per real second; the aim is 200.
"""

from __future__ import annotations

import random
import sys
from decimal import Decimal
from time import perf_counter

from actors.paper.faults import Faults
from actors.paper.listing import Listing, demo_listing
from actors.paper.machine import Exchange
from actors.paper.market import SyntheticMarket, Traded
from actors.paper.rules import Rules
from tests.paper.test_market import START_MS, instrument
from tests.paper.toy_venue import ToyVenue, run

TOKENS = (("ALPHA_22USDT", "48.03"), ("ALPHA_373USDT", "0.2269"), ("ALPHA_971USDT", "0.0003"))


def toy(seconds: int) -> str:
    """The market alone."""
    market, venue = SyntheticMarket(0, traded(), START_MS), ToyVenue()
    run(market, venue, START_MS + seconds * 1000)
    return f"{venue.operations / seconds:.0f} book operations and {len(venue.prints) / seconds:.1f} prints per second"


def exchange(seconds: int) -> str:
    """The market in a paper exchange, ten steps a second, aggTrade and bookTicker of all symbols subscribed."""
    rng = random.Random(0)
    listing = Listing(tokens=demo_listing().tokens, instruments=tuple(item.instrument for item in traded()))
    paper = Exchange(listing=listing, rules=Rules(), faults=Faults(rng=rng), rng=rng, now_ms=START_MS)
    paper.market = SyntheticMarket(0, traded(), START_MS)
    for symbol, _ in TOKENS:
        for stream in ("aggTrade", "bookTicker"):
            paper.subscribe(f"{symbol.lower()}@{stream}", public=True, now_ms=START_MS)
    frames = 0
    for tenth in range(seconds * 10):
        paper.advance(START_MS + tenth * 100)
        paper.take_journal()
        frames += len(paper.take_frames())
    return f"{frames / seconds:.1f} frames per second"


def traded() -> list[Traded]:
    return [Traded(instrument=instrument(symbol), price=Decimal(price)) for symbol, price in TOKENS]


def main(seconds: int) -> None:
    for name, work in (("toy book", toy), ("exchange", exchange)):
        begin_s = perf_counter()
        figures = work(seconds)
        took_s = perf_counter() - begin_s
        print(f"{name}: {seconds} s of market in {took_s:.2f} s: {seconds / took_s:,.0f} x real time, {figures}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_800)
