"""The report in a terminal: a table per user, pairs per hour and prices as lines of blocks."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from actors.statistics import PARTS, DayFigures, mean_price
from supervisor.control.protocol import amount, mean_price_text, rfc3339, rounded
from supervisor.ctl.report import HOUR_MS, Market, OfUser, Report, days_of
from supervisor.ctl.tables import PIPE_COLUMNS, rows_table

BLOCKS: Final = "▁▂▃▄▅▆▇█"
LINE_MAX: Final = 96
BESIDE_LINE: Final = 48
"""What stands before and after a line of blocks."""

WHOLE: Final = ("DAY", "VOLUME", "TARGET", "%", "PAIRS", "POINTS", "WEAR", "BPS")
HEADS: Final = (*WHOLE, *(part.upper() for part in PARTS))


def render(report: Report, console: Console) -> list[RenderableType]:
    """What to print on this console: it tells how wide a table may be."""
    days = days_of(report)
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    told: list[RenderableType] = [Text(f"{', '.join(report.instances)}  {span} UTC, amounts in USDT", "bold")]
    for each in report.users:
        told += ["", *_user(each, console)]
    for market in report.markets:
        told += ["", *_market(market, console.width)]
    return told


def summary(each: OfUser) -> list[str]:
    """What a user did in a few phrases; the same in the terminal and in HTML."""
    found = each.statistics
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in found.outcomes)
    fees = ", ".join(f"{amount(value)} {asset}" for asset, value in found.fees)
    said = [f"{found.bought.fills + found.sold.fills} fills, pairs: {outcomes or 'none'}"]
    for of_token in found.by_token:
        bought, sold = mean_price(of_token.bought), mean_price(of_token.sold)
        if bought is not None and sold is not None:
            name = f"{of_token.token} " if len(found.by_token) > 1 else ""
            said.append(f"{name}bought at {mean_price_text(bought)}, sold at {mean_price_text(sold)} on average")
    if found.pair_ms_median is not None and found.pair_ms_max is not None:
        said.append(
            f"a pair took {found.pair_ms_median / 1000:.1f} s (median), {found.pair_ms_max / 1000:.1f} s at most"
        )
    if fees:
        said.append(f"fees {fees}")
    said.append(f"points {found.points_today} on the last day, {found.points_sum} over 15 days")
    return said


def day_cells(day: DayFigures) -> list[str | None]:
    """One row under HEADS; amounts exact, percentages rounded."""
    wear = day.wear
    return [
        day.day,
        amount(day.volume),
        None if day.target is None else amount(day.target),
        None if day.percent is None else rounded(day.percent, 1),
        str(day.pairs),
        str(day.points),
        amount(wear.total),
        None if wear.bps is None else rounded(wear.bps, 2),
        *(amount(getattr(wear, part)) for part in PARTS),
    ]


def _user(each: OfUser, console: Console) -> list[RenderableType]:
    told: list[RenderableType] = [Text(each.user, "bold cyan"), *_days(each.statistics.days, console)]
    told += [Text(f"  {phrase}") for phrase in summary(each)]
    if each.pairs_by_hour:
        told.append(_hours(each.pairs_by_hour, console.width))
    return told


def _days(days: Sequence[DayFigures], console: Console) -> list[RenderableType]:
    """One table, or where it does not fit the parts of the wear in a second one: a folded number cannot be read."""
    rows = [[_short(cell) for cell in day_cells(day)] for day in days]
    table = rows_table(HEADS, rows)
    if _fits(table, console):
        return [table]
    whole, parts = (
        rows_table(WHOLE, [row[: len(WHOLE)] for row in rows]),
        rows_table(("WEAR OF", *HEADS[len(WHOLE) :]), [[row[0], *row[len(WHOLE) :]] for row in rows]),
    )
    return [whole, parts]


def _fits(table: Table, console: Console) -> bool:
    return Measurement.get(console, console.options.update(width=PIPE_COLUMNS), table).maximum <= console.width


def _hours(by_hour: Sequence[tuple[int, int]], width: int) -> Text:
    counts = dict(by_hour)
    first, last = by_hour[0][0], by_hour[-1][0]
    most = min(LINE_MAX, width - BESIDE_LINE)
    hours = range(max(first, last - (most - 1) * HOUR_MS), last + 1, HOUR_MS)
    line = blocks([float(counts.get(hour, 0)) for hour in hours], least=0.0)
    return Text(f"  pairs per hour from {rfc3339(hours[0])[:13]}h  {line}  most {max(counts.values())}")


def _market(market: Market, width: int) -> list[RenderableType]:
    told: list[RenderableType] = [Text(market.token, "bold cyan")]
    closes = [float(moment.close) for moment in market.moments]
    if closes:
        step = -(-len(closes) // min(LINE_MAX, width - BESIDE_LINE))
        thinned = [closes[n] for n in range(0, len(closes), step)]
        told.append(Text(f"  price {min(closes):g} to {max(closes):g}  {blocks(thinned)}"))
    for side in ("BUY", "SELL"):
        prices = [fills.price for fills in market.fills if fills.side == side]
        if prices:
            low, high = mean_price_text(min(prices)), mean_price_text(max(prices))
            count = sum(fills.count for fills in market.fills if fills.side == side)
            told.append(Text(f"  own {side:4s} {count} fills from {low} to {high}"))
    return told


def blocks(values: Sequence[float], *, least: float | None = None) -> str:
    """One block per value, as high as the value stands between the least and the greatest."""
    low = min(values) if least is None else least
    span = max(values) - low
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] if span else BLOCKS[0] for value in values)


def _short(cell: str | None) -> str | None:
    """At most six decimals: exact amounts are in the JSON, the CSV and the HTML."""
    if cell is None or "." not in cell or "-" in cell[1:]:
        return cell
    return rounded(Decimal(cell), 6)
