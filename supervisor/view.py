"""What `otod paper` shows: a live picture while it runs on a terminal, a summary at the end.

Both are drawn from snapshots (design § 2), so a stuck actor cannot hold them up.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import trio
from msgspec import Struct
from msgspec.structs import replace
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from actors.domain.quotes import Quote
from actors.messages import Progress, TraderSnapshot
from supervisor.bus import Event
from supervisor.control.protocol import amount, plain, rfc3339, rounded
from supervisor.control.views import bps, walk, wear_bps
from supervisor.headlines import headline
from supervisor.lifecycle import Node
from supervisor.screen import ActorLine, Picture, Screen, UserLine, bps_text, duration, money

REFRESH_S = 0.25  # four pictures a second: fluent to the eye, some 2 % of a core


class ViewState(Struct, frozen=True, kw_only=True):
    """What is shown. elapsed_s: since the start on the daemon's clock, which runs at `speed`."""

    mode: str
    token: str
    speed: float
    started_ms: int
    now_ms: int
    quote: Quote | None
    users: tuple[TraderSnapshot, ...]
    tree: Node
    events: tuple[Event, ...] = ()

    @property
    def elapsed_s(self) -> float:
        return max(self.now_ms - self.started_ms, 0) / 1000


# -- live


def render(state: ViewState) -> RenderableType:
    """The picture of this moment."""
    nodes = list(walk(state.tree))
    return Picture(
        Screen(
            title=_title(state),
            users=tuple(user_line(snapshot) for snapshot in state.users),
            actors=ActorLine(
                total=sum(node.kind == "actor" for node in nodes),
                restarts=sum(node.restarts for node in nodes),
                parked=tuple(node.path for node in nodes if node.state == "parked"),
                stuck=tuple(node.path for node in nodes if node.state == "stuck"),
            ),
            events=tuple(told for event in state.events if (told := _headline(event)) is not None),
            foot="Ctrl-C ends it in order",
        )
    )


async def watch(collect: Callable[[], ViewState], *, console: Console, rate: float = 1.0) -> None:
    """Keeps the picture up to date until cancelled; the last one stays on the screen.

    Without a terminal it returns at once: then log lines tell what happens. rate: trio seconds per real second.
    """
    await trio.lowlevel.checkpoint()
    if not console.is_terminal:
        return
    with Live(render(collect()), console=console, auto_refresh=False, transient=False) as live:
        try:
            while True:
                await trio.sleep(REFRESH_S * rate)
                live.update(render(collect()), refresh=True)
        finally:
            live.update(render(collect()), refresh=True)


def user_line(snapshot: TraderSnapshot) -> UserLine:
    progress, fill = snapshot.progress, snapshot.last_fill
    line = UserLine(
        user=snapshot.user,
        wanted=snapshot.wanted,
        phase=snapshot.phase,
        waiting=snapshot.waiting.wait if snapshot.waiting else None,
        pauses=tuple((pause.reason, pause.detail) for pause in snapshot.pauses),
        last_fill=f"{fill.side} {amount(fill.quantity)} at {amount(fill.price)}" if fill else "",
    )
    if progress is None:
        return line
    return replace(
        line,
        volume=progress.volume if progress.target_points is None else progress.counted_volume,
        target=progress.target,
        percent=progress.percent,
        pairs=progress.pairs,
        pairs_to_go=progress.pairs_to_go,
        wear=progress.wear,
        wear_bps=wear_bps(progress),
    )


def _headline(event: Event) -> str | None:
    return headline(event.topic, event.kind, rfc3339(event.at_ms), plain(event.payload))


def _title(state: ViewState) -> tuple[str, ...]:
    parts = [f"otod {state.mode}"]
    if state.quote is None:
        parts.append(f"{state.token}: no price yet")
    else:
        down = "" if state.quote.connected else " (stream down)"
        parts.append(f"{state.token} {amount(state.quote.price)}{down}")
        parts.append(f"60 s range {rounded(state.quote.range_percent, 2)} %")
    if state.speed != 1:
        parts.append(f"{state.speed:g} × real time")
    return (*parts, duration(state.elapsed_s))


# -- at the end


def summary(state: ViewState, console: Console, *, state_dir: Path, day: str) -> None:
    """Prints per user what was reached and what it cost, then where the records are and a query that works.

    day: of the day file to name, "2026-11-20".
    """
    clock = "" if state.speed == 1 else f" of the daemon's clock at {state.speed:g} × real time"
    console.print(f"\n{state.token}, {duration(state.elapsed_s)}{clock}", style="bold", highlight=False)
    console.print(_summary_table(state))
    records = state_dir / "analytics" / f"day_{day}.duckdb"
    query = f'otoctl query --state-dir {state_dir} "SELECT user, volume, pairs, wear, wear_bps FROM daily"'
    for title, text in (("Records", str(records)), ("Query", query)):  # never broken over lines: they are copied
        console.print(Text.assemble((f"{title:<8}", "bold"), text), soft_wrap=True)


def _summary_table(state: ViewState) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("USER", no_wrap=True, overflow="ellipsis", max_width=16)
    for name in ("VOLUME", "TARGET", "PAIRS", "WEAR", "BPS"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("FEES")
    table.add_column("TIME")
    for snapshot in state.users:
        table.add_row(*_summary_cells(snapshot, state))
    if len(state.users) > 1:
        table.add_row(*_all_cells([each.progress for each in state.users if each.progress is not None]), style="dim")
    return table


def _all_cells(told: list[Progress]) -> list[str]:
    volume = sum((each.volume for each in told), Decimal(0))
    closed = sum((each.volume if each.closed_volume is None else each.closed_volume for each in told), Decimal(0))
    wear = sum((each.wear for each in told), Decimal(0))
    pairs = str(sum(each.pairs for each in told))
    return ["all", money(volume, 2), "", pairs, money(wear, 4), bps_text(bps(wear, closed)), "", ""]


def _summary_cells(snapshot: TraderSnapshot, state: ViewState) -> list[Text]:
    progress = snapshot.progress
    if progress is None:
        return [Text(snapshot.user), *[Text("-")] * 6, _ended(snapshot, state)]
    fees = "\n".join(f"{amount(round(value, 6))} {asset}" for asset, value in progress.fees)
    cells = (
        snapshot.user,
        money(progress.volume, 2),
        money(progress.target, 2),
        str(progress.pairs),
        money(progress.wear, 4),
        bps_text(wear_bps(progress)),
        fees or "-",
    )
    return [*map(Text, cells), _ended(snapshot, state)]  # as Text: a bracket is no markup


def _ended(snapshot: TraderSnapshot, state: ViewState) -> Text:
    """How long it took, or why it is not done."""
    if snapshot.phase == "done":
        return Text(duration(max(snapshot.since_ms - state.started_ms, 0) / 1000), style="green")
    if snapshot.pauses:
        return Text(snapshot.pauses[0].reason, style="red")
    return Text("not done", style="yellow")
