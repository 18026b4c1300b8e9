"""Answers as tables for people: no frames, numbers to the right, as wide as the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from supervisor.screen import (
    ActorLine,
    UserLine,
    actor_line,
    bps_text,
    count,
    duration,
    money,
    state,
    title_line,
    user_table,
)

PIPE_COLUMNS = 240  # into a pipe nothing is cut

_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?")
Answer = Mapping[str, Any]


def console() -> Console:
    """Of stdout; colours only on a terminal, and no markup: brackets in what the daemon says are brackets."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS)


def tables(cmd: str, data: Any) -> list[RenderableType]:
    """What to print for the answer to a command."""
    from supervisor.ctl import more_tables  # it is made of the parts below

    make = _MADE.get(cmd) or more_tables.MADE.get(cmd)
    return make(data) if make else [pretty(data)]


# -- users


def user_line(user: str, status: Answer, today: Answer | None = None) -> UserLine:
    """A user of trading.status; today: the same user's stats.progress, which knows the wear."""
    progress = {**(today or {}), **(status["progress"] or {})}
    return UserLine(
        user=user,
        wanted=status["wanted"],
        phase=status["phase"],
        waiting=status["waiting"] and status["waiting"]["for"],
        pauses=tuple((pause["reason"], pause["detail"]) for pause in status["pauses"]),
        volume=Decimal(progress.get("volume", 0)),
        target=_decimal(progress.get("target")),
        percent=_decimal(progress.get("percent")),
        pairs=progress.get("pairs", 0),
        pairs_to_go=progress.get("pairs_to_go") or 0,
        wear=_decimal(progress.get("wear")),
        wear_bps=progress.get("wear_bps"),
    )


def trading_tables(data: Answer, today: Answer) -> list[RenderableType]:
    """trading.status of several users; today: stats.progress of the same users."""
    lines = [user_line(user, status, today.get(user)) for user, status in _served(data)]
    if not lines:
        return []
    out = console()
    told: list[RenderableType] = [user_table(lines, out.width, bars=out.is_terminal)]
    for user, status in _served(data):
        for pause in status["pauses"]:
            since = _moment(pause["since"])
            told.append(Text(f"{user} paused {pause['reason']} since {since} UTC: {pause['detail']}", "yellow"))
            if pause["hint"]:
                told.append(Text(f"  -> {pause['hint']}"))
    return told


def _trading(data: Answer) -> list[RenderableType]:
    return trading_tables(data, {})


def _why(data: Answer) -> list[RenderableType]:
    told: list[RenderableType] = []
    for user, status in _served(data):
        told.append(Text.assemble((user, "bold"), "  ", state(user_line(user, status))))
        told += [hanging("  -", reason) for reason in status["because"]]
        if status["decision"]:
            told.append(hanging("  last decision:", status["decision"]))
    return told


def _users(data: Answer) -> list[RenderableType]:
    fields = ("user", "display_name", "token", "wanted", "phase", "credentials")
    table = _table(("USER", "NAME", "TOKEN", "WANTED", "PHASE", "CREDENTIALS"))
    for each in data["items"]:
        table.add_row(*(_cell(each[name]) for name in fields))
    return [table, *_more(data, "user")]


def _user_show(data: Answer) -> list[RenderableType]:
    return [pretty(each) for _, each in _served(data)]


_PROGRESS_COLUMNS = {
    "user": "USER", "day": "DAY", "volume": "VOLUME", "target": "TARGET", "percent": "DONE %", "pairs": "PAIRS",
    "pairs_to_go": "TO GO", "points": "POINTS", "wear": "WEAR", "wear_bps": "BPS",
}  # fmt: skip
_PROGRESS_DROPS = ("day", "points", "pairs_to_go", "pairs", "target")


def _progress(data: Answer) -> list[RenderableType]:
    rows = []
    for user, each in _served(data):
        row = {name: _cell(each.get(name)) for name in _PROGRESS_COLUMNS} | {"user": user}
        row |= {"volume": _money(each["volume"]), "target": _money(each["target"])}
        rows.append(row | {"wear": _money(each["wear"], 4), "wear_bps": bps_text(each["wear_bps"])})
    return fitting(rows, _PROGRESS_COLUMNS, _PROGRESS_DROPS, console().width)


# -- lists

_ORDER_COLUMNS = {
    "order_id": "ORDER", "pair_id": "PAIR", "leg": "LEG", "side": "SIDE", "price": "PRICE", "quantity": "QUANTITY",
    "executed_quantity": "EXECUTED", "status": "STATUS", "created_at": "CREATED (UTC)",
}  # fmt: skip
_ORDER_DROPS = ("leg", "quantity", "pair_id", "created_at", "order_id")
_PAIR_COLUMNS = {
    "pair_id": "PAIR", "status": "STATUS", "outcome": "OUTCOME", "buy_price": "BUY AT", "sell_price": "SELL AT",
    "quantity": "QUANTITY", "buy_quote": "BOUGHT", "wear": "WEAR", "wear_bps": "BPS", "intent_at": "BEGUN (UTC)",
}  # fmt: skip
_PAIR_DROPS = ("sell_price", "quantity", "buy_price", "intent_at", "status", "wear_bps")


def _orders(data: Answer) -> list[RenderableType]:
    return _paged(data, _ORDER_COLUMNS, _ORDER_DROPS, "order")  # an order's number does not tell whose it is


def _pairs(data: Answer) -> list[RenderableType]:
    return _paged(data, _PAIR_COLUMNS, _PAIR_DROPS, "pair")


def _paged(data: Answer, columns: dict[str, str], drops: Sequence[str], word: str) -> list[RenderableType]:
    items = [(user, item) for user, page in _served(data) for item in page["items"]]
    rows = [{"user": user} | {name: _shown(name, item[name]) for name in columns} for user, item in items]
    if len(data["users"]) > 1:
        columns = {"user": "USER"} | columns
    more = [text for user, page in _served(data) for text in _more(page, word, of=user)]
    return [*fitting(rows, columns, drops, console().width), *more]


def fitting(
    rows: Sequence[Mapping[str, str | Text]],
    columns: Mapping[str, str],
    drops: Sequence[str],
    width: int,
    *,
    right: Sequence[str] = (),
) -> list[RenderableType]:
    """A table of whole columns: where the terminal is too narrow for all, those of `drops` go, the first first.

    right: columns that stand at the right beside those of numbers.
    """
    left = {name: max(len(head), *(len(row[name]) for row in rows), 0) for name, head in columns.items()}
    gone: list[str] = []
    for name in drops:
        if sum(left.values()) + 2 * (len(left) - 1) <= width:
            break
        del left[name]
        gone.append(columns[name])
    heads = [columns[name] for name in left]
    numeric = [name for name in left if name in right or _is_numeric([str(row[name]) for row in rows])]
    table = _table(heads, right=[columns[name] for name in numeric])
    for row in rows:
        table.add_row(*(row[name] for name in left))
    return [table, Text(f"a wider terminal, or --json, shows {', '.join(gone)}", "dim")] if gone else [table]


def _is_numeric(cells: Sequence[str]) -> bool:
    """Numbers, some of them perhaps unknown."""
    return {"-"} != set(cells) != set() and all(cell == "-" or _NUMBER.fullmatch(cell) for cell in cells)


def _shown(name: str, value: Any) -> str:
    return _moment(value) if name.endswith("_at") else _cell(value)


def _more(page: Answer, word: str, *, of: str = "") -> list[RenderableType]:
    shown, total, number = len(page["items"]), page["total"], page["page"]
    if shown == total:
        return []
    whose = f"{of}: " if of else ""
    return [Text(f"{whose}{shown} of {count(total, word)}, page {number}; --page and --limit show more", "dim")]


# -- the system


def title_of(system: Answer) -> tuple[str, ...]:
    """The daemon in one line, of system.status."""
    prices = system["prices"]
    parts = [f"otod {system['version']} {system['mode']}", f"up {duration(system['uptime_s'])}"]
    for each in prices[:3]:
        parts.append(f"{each['token']} {each['price']}" + ("" if each["connected"] else " (stream down)"))
    if len(prices) > 3:
        parts.append(count(len(prices) - 3, "more token"))
    return tuple(parts)


def actors_of(system: Answer) -> ActorLine:
    actors = system["actors"]
    return ActorLine(
        total=actors["total"], restarts=actors["restarts"], parked=tuple(actors["parked"]), stuck=tuple(actors["stuck"])
    )


def status_head(system: Answer) -> list[RenderableType]:
    """The first lines of `otoctl status`."""
    users = {name: number for name, number in system["users"].items() if number and name != "total"}
    said = ", ".join(f"{number} {name}" for name, number in users.items())
    who = Text(f"{count(system['users']['total'], 'user')}" + (f": {said}" if said else "") + " · ")
    return [title_line(title_of(system)), who + actor_line(actors_of(system))]


def _system_status(data: Answer) -> list[RenderableType]:
    told = status_head(data)
    heads = ("TOKEN", "PRICE", "AGE", "60 S RANGE", "BID", "ASK")
    table = _table(heads, right=heads[1:])
    for each in data["prices"]:
        age, swing = duration(each["age_s"]), f"{each['range_60s_percent']} %"
        table.add_row(each["token"], each["price"], age, swing, _cell(each["bid"]), _cell(each["ask"]))
    return [*told, table] if data["prices"] else told


def _health(data: Answer) -> list[RenderableType]:
    if data["healthy"]:
        return [Text("healthy", "bold green")]
    told: list[RenderableType] = []
    for each in data["problems"]:
        told.append(Text.assemble((each["where"], "bold"), f"  {each['what']}", style="red"))
        told.append(Text(f"  -> {each['do']}"))
    return told


_TREE_COLUMNS = {
    "actor": "ACTOR", "kind": "KIND", "state": "STATE", "life": "LIFE", "restarts": "RESTARTS", "up": "UP",
    "mailbox": "MAILBOX", "high": "HIGH",
}  # fmt: skip
_TREE_DROPS = ("kind", "high", "life", "mailbox", "up")


def _tree(data: Answer) -> list[RenderableType]:
    """A row per actor and group; what they wait for and what they died of below, because that is long."""
    rows: list[dict[str, str | Text]] = []
    notes: list[RenderableType] = []
    for depth, node in _walk(data["children"], 0):
        name = node["path"].rpartition("/")[2] if depth else node["path"]
        mailbox, up = node["mailbox"], node["uptime_s"]
        rows.append(
            {
                "actor": "  " * depth + name,
                "kind": Text(node.get("kind", "actor"), "dim"),
                "state": Text(node["state"], "green" if node["state"] == "running" else "red"),
                "life": str(node["incarnation"]),
                "restarts": str(node["restarts"]),
                "up": "-" if up is None else duration(up),
                "mailbox": "-" if mailbox is None else f"{mailbox['depth']}/{mailbox['capacity']}",
                "high": "-" if mailbox is None else str(mailbox["high"]),
            }
        )
        notes += _node_notes(node)
    return [*fitting(rows, _TREE_COLUMNS, _TREE_DROPS, console().width, right=("up", "mailbox")), *notes]


def _node_notes(node: Answer) -> list[RenderableType]:
    told: list[RenderableType] = []
    waits, crash = node.get("waiting_for"), node["last_crash"]
    if waits and waits != "messages":
        told.append(Text(f"{node['path']} waits for {waits}", "yellow"))
    if crash is not None:
        place = f" at {crash['place']}" if crash["place"] else ""
        told.append(Text(f"{node['path']} crashed {_moment(crash['at'])} UTC{place}", "red"))
        told.append(hanging(" ", f"{crash['type']}: {crash['message']}"))
    return told


def rows_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """The result of a query; columns of numbers to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for n, name in enumerate(names):
        cells = [row[n] for row in rows if row[n] is not None]
        numeric = bool(cells) and all(_is_number(cell) for cell in cells)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    return table


def sheet(names: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> list[RenderableType]:
    """The result of a query: a table where it fits, else a block per row, so that no number is folded."""
    table = rows_table(names, rows)
    if Measurement.get(console(), console().options.update(max_width=100_000), table).maximum <= width:
        return [table]
    told: list[RenderableType] = []
    longest = max(map(len, names))
    for number, row in enumerate(rows, start=1):
        cells = zip(names, row, strict=True)
        lines = (f"\n  {name:<{longest}} {'-' if cell is None else cell}" for name, cell in cells)
        told.append(Text.assemble((f"row {number}", "bold"), *lines))
    return told


def _is_number(cell: Any) -> bool:
    return isinstance(cell, (int, float)) or (isinstance(cell, str) and bool(_NUMBER.fullmatch(cell)))


def _walk(nodes: Iterable[Answer], depth: int) -> Iterable[tuple[int, Answer]]:
    for node in nodes:
        yield depth, node
        yield from _walk(node["children"], depth + 1)


def _commands(data: Answer) -> list[RenderableType]:
    table = _table(("COMMAND", "WHAT IT DOES"), fold="WHAT IT DOES")
    for each in data["commands"]:
        args = " ".join(arg["name"] if arg["required"] else f"[{arg['name']}]" for arg in each["args"])
        table.add_row(each["cmd"], Text.assemble(each["about"], (f"\n{args}" if args else "", "dim")))
    return [table]


# -- cells


def _table(heads: Sequence[str], *, right: Iterable[str] = (), fold: str = "") -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(
            head,
            justify="right" if head in right else "left",
            no_wrap=head != fold,
            overflow="fold" if head == fold else "ellipsis",
        )
    return table


def _served(data: Answer) -> list[tuple[str, Any]]:
    return [(user, each) for user, each in data["users"].items() if "error" not in each]


def hanging(mark: str | Text, text: str) -> Table:
    """Text whose further lines stand below its first word, not below its mark."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(mark if isinstance(mark, Text) else Text(mark), Text(text))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")  # seconds and ms; amounts are texts
    return "-" if value is None or value == "" else str(value)


def _money(value: str | None, places: int = 2) -> str:
    return "-" if value is None else money(Decimal(value), places)


def _moment(value: str | None) -> str:
    """2026-11-20T10:00:00.000Z as "2026-11-20 10:00:00"."""
    return "-" if value is None else value[:19].replace("T", " ")


def _decimal(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)


def pretty(data: Any) -> RenderableType:
    """Anything without a table of its own: names and values."""
    if isinstance(data, Mapping):
        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for name, value in data.items():
            table.add_row(Text(name, style="bold"), pretty(value))
        return table
    if isinstance(data, list):
        return Text(", ".join(str(each) for each in data) or "-")
    return Text(_cell(data))


_MADE: dict[str, Callable[[Any], list[RenderableType]]] = {
    **{f"trading.{verb}": _trading for verb in ("start", "pause", "resume", "stop", "status")},
    "trading.why": _why,
    "pair.cancel": _trading,
    "pair.adopt": _trading,
    "pair.disown": _trading,
    "user.list": _users,
    "user.show": _user_show,
    "stats.progress": _progress,
    "orders.list": _orders,
    "pairs.list": _pairs,
    "system.status": _system_status,
    "system.health": _health,
    "system.tree": _tree,
    "system.commands": _commands,
}
