"""How fast the synthetic market runs: `python -m tests.bench.market [SECONDS]`.

Three symbols at the default pace, on the toy book of the tests. Prints market seconds per real second; the aim is 200.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from time import perf_counter

from actors.paper.market import SyntheticMarket, Traded
from tests.paper.test_market import START_MS, instrument
from tests.paper.toy_venue import ToyVenue, run

TOKENS = (("ALPHA_22USDT", "48.03"), ("ALPHA_373USDT", "0.2269"), ("ALPHA_971USDT", "0.0003"))


def main(seconds: int) -> None:
    traded = [Traded(instrument=instrument(symbol), price=Decimal(price)) for symbol, price in TOKENS]
    market, venue = SyntheticMarket(0, traded, START_MS), ToyVenue()
    begin_s = perf_counter()
    run(market, venue, START_MS + seconds * 1000)
    took_s = perf_counter() - begin_s
    print(f"{len(traded)} symbols, {seconds} s of market in {took_s:.2f} s: {seconds / took_s:,.0f} x real time")
    print(f"{venue.operations / seconds:.0f} book operations and {len(venue.prints) / seconds:.1f} prints per second")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3_600)
