"""`otod simulate`: what a configuration would have cost on a paper market, days of it in a minute.

    users.toml ─▶ simulated.py (a world in a seed) ─▶ rows ─▶ forecast.py ─▶ table or JSON

The same options give the same result to the last digit: the market, its trouble and every delay come from the seed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from actors.domain.day import DAY_MS, date_of
from actors.paper.listing import demo_listing
from supervisor import users
from supervisor.document import Problem, Problems, near, parse_file, show
from supervisor.forecast import PARTS, DayForecast, Forecast, after_s, as_json, bps_of, forecast
from supervisor.simulated import START_MS, Simulated, Tell, Wanted, simulate
from supervisor.userfile import load_users

SECRETS = ("credentials", "credentials_file")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The command line of `otod simulate`."""

    apply: Path
    seed: int = 1
    days: int = 1
    replay: Path | None = None
    faults: str = "none"
    json: bool = False


def run(options: Options, out: Console, err: Console) -> int:
    """Simulates and prints. Returns the exit code of contract § 1. Raises: OtodError: nothing was simulated."""
    wishes = read_wishes(options.apply)
    wanted = msgspec.convert(
        {"wishes": wishes, **{name: getattr(options, name) for name in ("seed", "days", "replay", "faults")}}, Wanted
    )
    began_s = time.perf_counter()  # sim-ok: how long it takes is about the real machine
    with _bar(err) as tell:
        found = simulate(wanted, tell)
    took_s = time.perf_counter() - began_s  # sim-ok: see above
    days = [date_of(START_MS + number * DAY_MS) for number in range(options.days)]
    forecasts = [forecast(found.snapshots[wish.user], found.disk, days) for wish in wishes]
    if options.json:
        out.out(msgspec.json.encode(_document(options, found, forecasts)).decode(), highlight=False)
    else:
        _show(options, found, forecasts, out)
        out.print(f"{_span(found.virtual_s)} simulated in {took_s:.1f} s", style="dim", highlight=False)
    return 0


def read_wishes(path: Path) -> tuple[users.UserWish, ...]:
    """The users of a document, without their credentials: nobody is logged in anywhere.

    Raises: ConfigError, it cannot be read; Problems, all that is wrong with it.
    """
    document = parse_file(path)
    found = document.get("users")
    if isinstance(found, Mapping):
        document = {**document, "users": {name: _without_secrets(table) for name, table in found.items()}}
    listing = demo_listing()
    known = {token.alpha_id: token.alpha_id for token in listing.tokens}
    known |= {token.ticker.casefold(): token.ticker for token in listing.tokens}  # in any case, as in user apply
    problems: list[Problem] = []
    wishes: list[users.UserWish] = []
    for wish in load_users(document):
        where = f"users.{wish.user}.trading"
        if wish.trading is None:
            problems.append(Problem(where, None, "missing: what is to be simulated"))
            continue
        word = wish.trading.token
        token = known.get(word) or known.get(word.casefold())
        if token is None:
            names = ", ".join(dict.fromkeys(token.ticker for token in listing.tokens if token.ticker))
            problems.append(
                Problem(f"{where}.token", show(word), f"on the paper market: {names}{near(word, known.values())}")
            )
        else:
            wishes.append(replace(wish, trading=replace(wish.trading, token=token)))
    if problems:
        raise Problems(problems, where=str(path))
    return tuple(wishes)


def _without_secrets(table: Any) -> Any:
    if not isinstance(table, Mapping):
        return table
    return {key: value for key, value in table.items() if key not in SECRETS}


@contextmanager
def _bar(err: Console) -> Iterator[Tell]:
    """A progress bar on a terminal. It is drawn when it moves: a thread would let the virtual clock run away."""
    if not err.is_terminal:
        yield lambda share: None
        return
    columns = (TextColumn("simulating"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=1.0)
        drawn_s = 0.0

        def tell(share: float) -> None:
            nonlocal drawn_s
            now_s = time.perf_counter()  # sim-ok: how often a bar is drawn is about the real terminal
            if share >= 1.0 or now_s - drawn_s > 0.2:
                drawn_s = now_s
                progress.update(task, completed=share, refresh=True)

        yield tell


# -- what came of it


def _document(options: Options, found: Simulated, forecasts: list[Forecast]) -> dict[str, Any]:
    return {
        "seed": options.seed,
        "days": options.days,
        "market": "synthetic" if options.replay is None else options.replay.name,
        "faults": options.faults,
        "simulated_s": round(found.virtual_s),
        "struck": found.struck,
        "users": {one.user: as_json(one) for one in forecasts},
    }


def _show(options: Options, found: Simulated, forecasts: list[Forecast], out: Console) -> None:
    market = f"seed {options.seed}" if options.replay is None else f"the trades of {options.replay.name}"
    days = "1 day" if options.days == 1 else f"{options.days} days"
    table = Table(title=f"{days} on the paper market, {market}, faults: {options.faults}", title_justify="left")
    table.add_column("user")
    table.add_column("token")
    for name in ("target", "reached", "after", "bought", "pairs", "wear", "bps"):
        table.add_column(name, justify="right")
    parts = Table(title="the wear by its parts: USDT, and bps of what was bought", title_justify="left")
    parts.add_column("user")
    for name in PARTS:
        parts.add_column(name, justify="right")
    for one in forecasts:
        table.add_row(*_cells(one))
        parts.add_row(one.user, *(_part(one, part) for part in PARTS))
    out.print(table, parts)
    for one in forecasts:
        for line in _remarks(one):
            out.print(f"{one.user}: {line}", highlight=False, soft_wrap=True)
    if found.struck:
        struck = ", ".join(f"{kind} {times}" for kind, times in found.struck.items())
        out.print(f"went wrong: {struck}", highlight=False, soft_wrap=True)


def _cells(one: Forecast) -> list[str]:
    reached = f"{one.reached}/{len(one.days)}" if len(one.days) > 1 else "yes" if one.reached else "no"
    target = f"{one.target_points} points" if one.target is None else _money(one.target, "1")
    return [
        one.user,
        one.token,
        target,
        reached,
        _after(one.days),
        _money(one.volume, "1"),
        str(one.pairs),
        _money(one.wear, "0.0001"),
        "-" if one.wear_bps is None else _money(one.wear_bps),
    ]


def _part(one: Forecast, part: str) -> str:
    bps = bps_of(one.parts[part], one)
    return _money(one.parts[part], "0.0001") + ("" if bps is None else f" ({_money(bps)})")


def _after(days: tuple[DayForecast, ...]) -> str:
    """Mean time from midnight to the target, of the days that reached it."""
    took = [seconds for day in days if (seconds := after_s(day)) is not None]
    return _span(sum(took) / len(took)) if took else "-"


def _remarks(one: Forecast) -> Iterator[str]:
    others = {outcome: times for outcome, times in one.outcomes.items() if outcome != "completed"}
    if others:
        yield "pairs " + ", ".join(f"{outcome} {times}" for outcome, times in others.items())
    if one.pauses:
        yield f"paused for good: {', '.join(one.pauses)}; auto_resume, or a wider limit, would let it go on"
    elif one.paused:
        yield "paused meanwhile: " + ", ".join(f"{reason} {times}" for reason, times in one.paused.items())
    if one.waiting is not None and one.waiting != "interval":
        yield f"at the end it waited: {one.waiting}"


def _money(amount: Decimal, grid: str = "0.01") -> str:
    return f"{amount.quantize(Decimal(grid)):,f}"


def _span(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
