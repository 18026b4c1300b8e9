"""How users, actors and events look on a terminal: one picture, for `otod paper` and for `otoctl top`. Pure.

Made for 80 columns and more: a wider terminal gets more columns and a longer bar, never a second line per user. A
narrower one loses figures from the right, so that a user's name and state can still be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WIDE = 110  # columns from which there is room for the last fill
BAR_NARROW, BAR_WIDE, BAR_LEAST = 10, 28, 4
STATE_NARROW, STATE_WIDE = 18, 26
NAME_LEAST = 12  # so much of a name stays, whatever else has to go
GAP = 2
LARGE, LARGE_WEAR = Decimal(10_000), Decimal(100)  # USDT, from which a narrow terminal shows less behind the point
OTHER_LINES = 18  # of the picture, with notes and events; the rest of the terminal's height is for users
USERS_MIN = 3
CHROME_LINES = 6  # title, heads, actors, and empty lines, beside a user's details
DETAIL_MIN = 3
NOTES_MAX = 5  # users whose pause is explained below the table
EVENTS_MAX = 6


class UserLine(Struct, frozen=True, kw_only=True):
    """One user. percent None: no target known yet. last_fill: "SELL 1.0411 at 47.98"."""

    user: str
    wanted: str
    phase: str
    waiting: str | None = None
    pauses: tuple[tuple[str, str], ...] = ()  # reason, detail
    volume: Decimal = Decimal(0)
    target: Decimal | None = None
    percent: Decimal | None = None
    pairs: int = 0
    pairs_to_go: int = 0
    wear: Decimal | None = None
    wear_bps: str | None = None
    last_fill: str = ""


class ActorLine(Struct, frozen=True, kw_only=True):
    """The tree in one line."""

    total: int
    restarts: int
    figures: tuple[str, ...] = ()  # behind it, as long as there is room
    parked: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()


class Screen(Struct, frozen=True, kw_only=True):
    """Everything in the picture. title: parts of the first line, the most important first."""

    title: tuple[str, ...]
    users: tuple[UserLine, ...]
    actors: ActorLine
    events: tuple[str, ...] = ()  # newest last
    foot: str = ""
    chosen: str | None = None  # the user whose row is marked
    detail: tuple[str, ...] = ()  # of the chosen user, instead of the notes and events


class Picture:
    """A Screen as a rich renderable."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        screen, columns = self._screen, options.max_width
        users, hidden = fitting_users(screen.users, console.height - OTHER_LINES - len(screen.detail), screen.chosen)
        yield title_line(screen.title)
        yield Text()
        yield user_table(users, columns, chosen=screen.chosen)
        if hidden:
            yield _one_line(f"… and {count(hidden, 'more user')} (otoctl status shows all)", "dim")
        if screen.detail:
            yield Text()
            taken = CHROME_LINES + len(users) + bool(hidden) + bool(screen.foot)
            yield from _details(screen.detail, console, columns, max(console.height - taken, DETAIL_MIN))
        else:
            yield from _all_notes(users)
        yield Text()
        yield actor_line(screen.actors)
        yield from (_one_line(event, "dim") for event in screen.events[-EVENTS_MAX:])
        if screen.foot:
            yield _one_line(screen.foot, "dim")


def _all_notes(users: Iterable[UserLine]) -> Iterator[Text]:
    notes = [note for line in users for note in _notes(line)]
    yield from (_one_line(note, "yellow") for note in notes[:NOTES_MAX])
    if len(notes) > NOTES_MAX:
        yield _one_line(f"… and {len(notes) - NOTES_MAX} more pauses", "yellow")


def _details(detail: Iterable[str], console: Console, columns: int, rows: int) -> Sequence[Text]:
    """In as many rows as there are: what stands below would else be pushed out of the terminal."""
    lines = [line for text in detail for line in Text(text).wrap(console, columns)]
    return lines if len(lines) <= rows else [*lines[: rows - 1], Text("…", style="dim")]


def fitting_users(users: Sequence[UserLine], rows: int, chosen: str | None = None) -> tuple[Sequence[UserLine], int]:
    """As many users as there are rows, in their order, and how many are left out.

    The chosen one and paused ones stay, those that are done go first.
    """
    rows = max(rows, USERS_MIN)
    if len(users) <= rows:
        return users, 0
    kept = {line.user for line in sorted(users, key=lambda line: (line.user != chosen, _dispensable(line)))[:rows]}
    return [line for line in users if line.user in kept], len(users) - rows


def _dispensable(line: UserLine) -> int:
    if line.pauses:
        return 0
    return 2 if line.phase == "done" or line.wanted == "stopped" else 1


def title_line(parts: Iterable[str]) -> Text:
    first, *rest = parts
    line = Text(first, style="bold", no_wrap=True, overflow="ellipsis")
    for part in rest:
        line.append(f" · {part}", style="not bold")
    return line


def user_table(users: Sequence[UserLine], columns: int, *, bars: bool = True, chosen: str | None = None) -> Table:
    """One row per user. Numbers are never cut: the bar goes first, then the name is shortened, then figures go."""
    wide = columns >= WIDE
    heads = ["VOLUME", "PAIRS", "TO GO"]
    if any(line.wear is not None for line in users):
        heads += ["WEAR USDT" if wide else "WEAR", "BPS"]
    numbers = [_numbers(line, wide)[: len(heads)] for line in users]
    widths = [max(len(head), *(len(row[n]) for row in numbers), 0) for n, head in enumerate(heads)]
    longest_state = max((state(line).cell_len for line in users), default=0)
    state_width = STATE_WIDE if wide else min(max(longest_state, STATE_NARROW), STATE_WIDE)
    fill_width = max((len(line.last_fill) for line in users), default=0) if wide else 0
    longest_name = max((len(line.user) for line in users), default=0)
    least = max(min(longest_name, NAME_LEAST), len("USER"))
    while widths and columns - _taken(*widths, state_width) < least:
        del heads[-1], widths[-1]
    state_width = max(min(state_width, columns - GAP - least), len("STATE"))
    taken = _taken(*widths, state_width, *([fill_width] if fill_width else []))
    name_width = max(min(longest_name, columns - taken), len("USER"))
    bar_width = min(columns - taken - name_width - GAP, BAR_WIDE if wide else BAR_NARROW)
    bars = bars and bar_width >= BAR_LEAST

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    table.add_column("USER", no_wrap=True, overflow="ellipsis", width=name_width)
    table.add_column("STATE", no_wrap=True, overflow="ellipsis", width=state_width)
    if bars:
        table.add_column("", width=bar_width)
    for head, width in zip(heads, widths, strict=True):
        table.add_column(head, justify="right", no_wrap=True, width=width)
    if fill_width:
        table.add_column("LAST FILL", no_wrap=True, overflow="ellipsis")
    for line, row in zip(users, numbers, strict=True):
        bar = [_bar(line)] if bars else []
        fill = [Text(line.last_fill)] if fill_width else []
        table.add_row(
            Text(line.user),
            state(line),
            *bar,
            *row[: len(heads)],
            *fill,
            style="reverse" if line.user == chosen else None,
        )
    return table


def _taken(*widths: int) -> int:
    return sum(width + GAP for width in widths)


def _numbers(line: UserLine, wide: bool) -> tuple[str, ...]:
    volume = money(line.volume, 2 if wide or line.volume < LARGE else 0)
    if line.target is not None:
        volume += f"/{money(line.target, 2 if wide or line.target < 10 else 0)}"
    wear = "-" if line.wear is None else money(line.wear, 4 if wide or line.wear < LARGE_WEAR else 2)
    return volume, str(line.pairs), str(line.pairs_to_go), wear, bps_text(line.wear_bps)


def state(line: UserLine) -> Text:
    """What a user is doing in a few words; what hinders it comes first."""
    if line.pauses:
        more = f" +{len(line.pauses) - 1}" if len(line.pauses) > 1 else ""
        return Text(f"‖ {line.pauses[0][0]}{more}", style="red")
    if line.wanted == "stopped" and line.phase in ("idle", "done"):
        return Text("stopped", style="dim")
    if line.phase == "done":
        return Text("done", style="bold green")
    if line.waiting:
        return Text(f"wait: {line.waiting}", style="yellow")
    if line.wanted == "stopped":
        return Text(f"stopping: {line.phase}", style="yellow")
    return Text(line.phase, style="yellow" if line.phase in _UNUSUAL else "green")


_UNUSUAL = ("unresolved", "timed_out", "cancelling", "unwinding", "reconciling")


def actor_line(actors: ActorLine) -> Text:
    line = Text(f"{actors.total} actors, {count(actors.restarts, 'restart')}", no_wrap=True, overflow="ellipsis")
    for word, paths in (("parked", actors.parked), ("stuck", actors.stuck)):
        if paths:
            line.append(f", {word}: {', '.join(paths)}", style="bold red")
    for figure in actors.figures:
        line.append(f" · {figure}")
    return line


def _notes(line: UserLine) -> list[str]:
    return [f"{line.user} is paused, {reason}: {detail}" for reason, detail in line.pauses if detail]


def _one_line(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _bar(line: UserLine) -> ProgressBar | Text:
    if line.percent is None:
        return Text()
    style = "bold green" if line.phase == "done" else "green"
    completed = float(min(line.percent, Decimal(100)))  # a share of a bar, no money
    return ProgressBar(total=100, completed=completed, complete_style=style, finished_style=style)


# -- words and numbers


def money(value: Decimal, places: int) -> str:
    """With thousands set apart, rounded for the eye: records and --json keep every digit."""
    return f"{round(value, places):,f}"


def bps_text(bps: str | None) -> str:
    """Always with one decimal, so that a column of them can be compared."""
    return "-" if bps is None else f"{Decimal(bps):.1f}"


def count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def duration(seconds: float) -> str:
    """61.2 is "1 min 01 s"."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def event_text(topic: str, kind: str, at: str, payload: Mapping[str, Any]) -> str:
    """One event on one line: "10:00:03 fill.alice filled side=BUY price=48.02". at: RFC 3339. Empty values left out."""
    told = " ".join(f"{name}={_short(value)}" for name, value in payload.items() if value not in (None, "", [], ()))
    return f"{at[11:19]} {topic} {kind} {told}".rstrip()


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    if isinstance(value, Mapping):
        return "{" + " ".join(f"{name}={_short(each)}" for name, each in value.items()) + "}"
    return str(value)
