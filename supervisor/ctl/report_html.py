"""The report as one file for a browser: no network, no script, light and dark. Amounts in its tables are exact."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from html import escape
from typing import Final

from actors.adapters.duck_schema import DAY_MS
from actors.statistics import PARTS, together
from supervisor.control.protocol import amount, rfc3339, rounded
from supervisor.ctl import charts
from supervisor.ctl.report import HOUR_MS, Market, OfUser, Report, days_of
from supervisor.ctl.report_text import HEADS, day_cells, summary

HOURS_MAX: Final = 24 * 7  # bars of one chart
PART_WORDS: Final = {
    "fee": "fees",
    "spread": "spread at the intent",
    "slippage": "slippage",
    "unwind": "unwinding",
    "dust": "dust",
}

_STYLE: Final = """
:root { color-scheme: light dark; --ink:#1a1d21; --soft:#667; --paper:#fff; --card:#f5f6f8; --line:#dcdfe4;
  --blue:#3b6fd4;
  --green:#1d8a5a; --red:#c9413b; --amber:#c98a14; --violet:#7a57c2; --grey:#8a92a0 }
@media (prefers-color-scheme: dark) { :root { --ink:#e6e8eb; --soft:#9aa3ad; --paper:#16181c; --card:#1f2227;
  --line:#343941;
  --blue:#6f9bf0; --green:#4cc38a; --red:#f0706a; --amber:#e5b04a; --violet:#a88be8; --grey:#8a92a0 } }
body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); background:var(--paper); margin:0 auto;
  max-width:960px;
  padding:24px 16px 64px }
h1 { font-size:22px; margin:0 } h2 { font-size:18px; margin:40px 0 8px; border-bottom:1px solid var(--line);
  padding-bottom:4px }
h3 { font-size:14px; margin:20px 0 4px; color:var(--soft); font-weight:600 }
p { margin:4px 0; color:var(--soft) }
.cards { display:flex; flex-wrap:wrap; gap:12px; margin:16px 0 }
.card { background:var(--card); border-radius:8px; padding:10px 16px; min-width:120px }
.card b { display:block; font-size:20px; font-variant-numeric:tabular-nums } .card span { color:var(--soft);
  font-size:13px }
svg { width:100%; height:auto; display:block } svg text { font-size:11px; fill:var(--soft) } .x { text-anchor:middle
  }
.y { text-anchor:end } .grid { stroke:var(--line); stroke-width:.6 } .zero { stroke:var(--soft); stroke-width:.8 }
.volume,.pairs { fill:var(--blue) } .target { stroke:var(--red); stroke-width:2 } .price { fill:none;
  stroke:var(--blue);
  stroke-width:1.2 } .range { fill:var(--blue); opacity:.15 } .buy { fill:var(--green) } .sell { fill:var(--red) }
.fee { fill:var(--blue) } .spread { fill:var(--violet) } .slippage { fill:var(--amber) } .unwind { fill:var(--red) }
.dust { fill:var(--grey) }
.key { font-size:13px; color:var(--soft); margin:4px 0 } .key i { display:inline-block; width:10px; height:10px;
  border-radius:2px; margin:0 5px 0 12px } .key .volume,.key .pairs,.key .fee { background:var(--blue) }
.key .target { background:var(--red); height:3px; vertical-align:middle } .key .spread { background:var(--violet) }
.key .slippage { background:var(--amber) } .key .unwind,.key .sell { background:var(--red) } .key .dust {
  background:var(--grey) }
.key .buy { background:var(--green) }
.wide { overflow-x:auto } table { border-collapse:collapse; font-size:13px; font-variant-numeric:tabular-nums;
  width:100% }
th,td { text-align:right; padding:4px 8px; border-bottom:1px solid var(--line); white-space:nowrap }
th:first-child,td:first-child { text-align:left } th { color:var(--soft); font-weight:600 }
"""


def render(report: Report) -> str:
    """The whole file."""
    days = days_of(report)
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    title = f"otod {', '.join(report.instances)}: {span}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Days and times are UTC, amounts USDT. {len(report.users)} users.</p>",
        _cards(report),
    ]
    body += [_market(market) for market in report.markets]
    body += [_user(each, days) for each in report.users]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _cards(report: Report) -> str:
    wear = together(each.statistics.wear for each in report.users)
    volume = sum((each.statistics.bought.quote for each in report.users), Decimal(0))
    pairs = sum(day.pairs for each in report.users for day in each.statistics.days)
    told = [
        (rounded(volume, 2), "volume bought"),
        (str(pairs), "closed pairs"),
        (rounded(wear.total, 4), "wear"),
        ("-" if wear.bps is None else rounded(wear.bps, 2), "bps of their volume"),
    ]
    return (
        '<div class="cards">'
        + "".join(f'<div class="card"><b>{value}</b><span>{what}</span></div>' for value, what in told)
        + "</div>"
    )


def _user(each: OfUser, days: Sequence[str]) -> str:
    told = [f"<h2>{escape(each.user)}</h2>", *(f"<p>{escape(phrase)}</p>" for phrase in summary(each))]
    by_day = {day.day: day for day in each.statistics.days}
    shown = [(day, by_day[day]) for day in days if day in by_day]
    volumes = [
        charts.Bar(
            label=day[5:],
            parts=[("volume", float(figures.volume))],
            target=None if figures.target is None else float(figures.target),
            title=f"{day}: {amount(figures.volume)}"
            + ("" if figures.target is None else f" of {amount(figures.target)}"),
        )
        for day, figures in shown
    ]
    wears = [
        charts.Bar(
            label=day[5:],
            parts=[(part, float(_bps(getattr(figures.wear, part), figures.wear.volume))) for part in PARTS],
            title=f"{day}: " + ", ".join(f"{PART_WORDS[part]} {amount(getattr(figures.wear, part))}" for part in PARTS),
        )
        for day, figures in shown
    ]
    told += ["<h3>Volume against target</h3>", charts.bars(volumes, about="volume per day against its target")]
    told += [_key({"volume": "volume", "target": "target"})]
    told += [
        "<h3>Wear in bps of the volume, by its parts</h3>",
        charts.bars(wears, about="wear per day in bps, by parts"),
    ]
    told += [_key(PART_WORDS)]
    if each.pairs_by_hour:
        told += ["<h3>Pairs per hour</h3>", _hours(each.pairs_by_hour)]
    told.append(_table(HEADS, [day_cells(figures) for _, figures in shown]))
    return "\n".join(told)


def _hours(by_hour: Sequence[tuple[int, int]]) -> str:
    counts, last = dict(by_hour), by_hour[-1][0]
    first = max(by_hour[0][0], last - (HOURS_MAX - 1) * HOUR_MS)
    columns = [
        charts.Bar(
            label=rfc3339(hour)[5:13].replace("T", " ") + "h",
            parts=[("pairs", float(counts.get(hour, 0)))],
            title=f"{rfc3339(hour)[:16]}: {counts.get(hour, 0)}",
        )
        for hour in range(first, last + 1, HOUR_MS)
    ]
    return charts.bars(columns, about="closed pairs per hour", height=140)


def _market(market: Market) -> str:
    head = f"<h2>{escape(market.token)}</h2>"
    moments = [moment.at_ms for moment in market.moments] + [fills.at_ms for fills in market.fills]
    first, span = min(moments), max(max(moments) - min(moments), 1)
    points = [
        ((each.at_ms - first) / span, float(each.low), float(each.high), float(each.close)) for each in market.moments
    ]
    marks = [
        charts.Mark(
            x=(each.at_ms - first) / span,
            y=float(each.price),
            kind="buy" if each.side == "BUY" else "sell",
            title=f"{rfc3339(each.at_ms)[:19]} {each.side} {amount(each.quantity)} at {amount(each.price)}"
            + (f" ({each.count} fills, mean price)" if each.count > 1 else ""),
        )
        for each in market.fills
    ]
    labels = [(share, _clock(first + round(span * share), span)) for share in (0.06, 0.27, 0.5, 0.73, 0.94)]
    drawn = charts.line(points, marks, x_labels=labels, about=f"price of {market.token} with own fills")
    key = _key({"buy": "bought", "sell": "sold"})
    return f"{head}<h3>Price (range and close) with own fills</h3>{drawn}{key}"


def _clock(at_ms: int, span_ms: int) -> str:
    text = rfc3339(at_ms)
    return text[5:16].replace("T", " ") if span_ms > DAY_MS else text[11:19]


def _key(words: dict[str, str]) -> str:
    return (
        '<div class="key">'
        + "".join(f'<i class="{kind}"></i>{escape(word)}' for kind, word in words.items())
        + "</div>"
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    top = "".join(f"<th>{escape(head)}</th>" for head in heads)
    lines = [
        "<tr>" + "".join(f"<td>{'-' if cell is None else escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return f'<div class="wide"><table><tr>{top}</tr>{"".join(lines)}</table></div>'


def _bps(part: Decimal, volume: Decimal) -> Decimal:
    return part / volume * 10_000 if volume else Decimal(0)
