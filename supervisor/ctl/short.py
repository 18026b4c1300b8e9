"""The short forms, written by hand: status, tree, why, events, top, query, report, export, completion."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from supervisor.ctl.client import EXIT_FAILED, EXIT_USAGE, Client, Trouble
from supervisor.ctl.common import (
    Options,
    Seconds,
    complete_user,
    failing,
    json_option,
    laid_out,
    options_of,
    perform,
    print_json,
    repeat,
    tell_errors,
    users_argument,
    watch,
    watch_option,
)

TOP_TIMEOUT_S = 2.0  # a daemon that went away is said to be gone this soon
LISTEN_S = 10.0  # how long `events` listens without --follow


def _short(
    name: str, about: str, *params: click.Parameter, brief: str = ""
) -> Callable[[Callable[..., None]], click.Command]:
    """A command whose function takes the options and its parameters, and whose Trouble becomes an exit code.

    brief: how the list of all commands calls it, where that is not what `about` says.
    """

    def wrap(function: Callable[..., None]) -> click.Command:
        @click.pass_context
        def call(ctx: click.Context, /, **given: Any) -> None:
            try:
                function(ctx, options_of(ctx), **given)
            except Trouble as trouble:
                failing(ctx, trouble)

        everything = [*params, json_option()]
        return click.Command(name, callback=call, params=everything, help=about, short_help=brief or about)

    return wrap


def _state_dir_option() -> click.Option:
    about = "The daemon's state directory; found by itself where left out."
    return click.Option(["--state-dir"], metavar="DIR", help=about)


TOPICS = ("pair", "order", "fill", "pause", "progress", "actor", "stream", "system")


def _topics(ctx: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
    """fill, and fill.alice."""
    area, dot, user = begun.partition(".")
    if not dot:
        return [CompletionItem(topic) for topic in TOPICS if topic.startswith(area)]
    return [CompletionItem(f"{area}.{item.value}") for item in complete_user(ctx, parameter, user)]


_STATUS = "The daemon in a few lines, and every user (or those named)."


@_short("status", _STATUS, users_argument(), watch_option())
def status(ctx: click.Context, options: Options, users: tuple[str, ...], every_s: float | None) -> None:
    whom: dict[str, Any] = {"users": list(users)} if users else {"all": True}
    failed = False

    def look(client: Client) -> Callable[[], None]:
        system = client.data("system.status")
        trading = client.data("trading.status", whom)
        progress = client.call("stats.progress", whom).get("data") or {
            "users": {}
        }  # it may need the store; all else not

        def tell() -> None:
            nonlocal failed
            if options.as_json:
                print_json({"system": system, **trading})
                return
            from supervisor.ctl.tables import console, status_head, trading_tables

            for each in (*status_head(system), "", *trading_tables(trading, progress["users"])):
                console().print(each)
            failed = tell_errors(trading)

        return tell

    if every_s is not None:
        repeat(ctx, look, every_s)
    with options.client() as client:
        tell = look(client)
    tell()
    if failed:
        ctx.exit(EXIT_FAILED)


@_short("tree", "Every actor: state, incarnation, restarts, mailbox, last crash. (system tree)", watch_option())
def tree(ctx: click.Context, options: Options, every_s: float | None) -> None:
    _again_or_once(ctx, "system.tree", {}, every_s)


@_short("why", "Why does a user trade, or not? (trading why)", users_argument(), watch_option())
def why(ctx: click.Context, options: Options, users: tuple[str, ...], every_s: float | None) -> None:
    _again_or_once(ctx, "trading.why", {"users": list(users)} if users else {"all": True}, every_s)


def _again_or_once(ctx: click.Context, cmd: str, args: dict[str, Any], every_s: float | None) -> None:
    if every_s is not None:
        watch(ctx, cmd, args, every_s)
    perform(ctx, cmd, args)


@_short(
    "events",
    "What happens, as it happens. TOPIC is one of pair, order, fill, pause, progress (perhaps of one user: fill.alice),"
    " actor, stream, system; all of them if none is named.",
    click.Argument(["topics"], nargs=-1, metavar="[TOPIC]...", shell_complete=_topics),
    click.Option(["--follow", "-f"], is_flag=True, help=f"Go on until Ctrl-C, not only for {LISTEN_S:g} s."),
    click.Option(["--count", "most"], type=click.IntRange(min=1), help="End after so many events."),
    brief="What happens, as it happens.",
)
def events(ctx: click.Context, options: Options, topics: tuple[str, ...], follow: bool, most: int | None) -> None:
    import time

    from supervisor.ctl.events import Subscription, as_line

    ends_s = None if follow else time.monotonic() + LISTEN_S  # sim-ok: a client of its own, on real time
    seen = 0
    with options.client() as client, Subscription(client.url, topics) as subscription:
        client.data("system.health")  # whoever may not ask this is not let in there, and would wait in vain
        while most is None or seen < most:
            left_s = 3600.0 if ends_s is None else ends_s - time.monotonic()
            if left_s <= 0:
                return
            frame = subscription.take(wait_s=max(left_s, 0.001))
            if frame is not None:
                line = as_line(frame, as_json=options.as_json)
                click.echo(line if options.as_json else laid_out(line, sys.stdout, indent=9))
                seen += 1


@_short(
    "top",
    "Users, actors and events on one screen, live. q quits.",
    click.Option(["--every", "every_s"], type=Seconds(), default=1.0, help="Seconds."),
)
def top(ctx: click.Context, options: Options, every_s: float) -> None:
    from supervisor.ctl import top as screen
    from supervisor.ctl.tables import console

    if not console().is_terminal:
        raise Trouble("top needs a terminal\n  -> otoctl status tells the same once", EXIT_USAGE)
    brisk = Options(socket=options.socket, timeout_s=min(options.timeout_s, TOP_TIMEOUT_S))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # so that the terminal is put back in order
    try:
        screen.run(brisk.client, console(), every_s=every_s)
    except KeyboardInterrupt:
        return


@_short("metrics", "All figures as Prometheus text; system metrics shows some of them as tables.")
def metrics(ctx: click.Context, options: Options) -> None:
    if options.as_json:
        perform(ctx, "system.metrics", {})
        return
    with options.client() as client:
        click.echo(client.data("system.metrics", {"form": "text"})["text"], nl=False)


@_short(
    "doctor",
    "Is everything as it should be: configuration, key, disk, socket, exchange, clock, credentials; and what to do.",
    click.Option(
        ["--config"], type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The service's file."
    ),
    brief="Is everything as it should be, and what to do where it is not.",
)
def doctor(ctx: click.Context, options: Options, config: Path | None) -> None:
    from supervisor.ctl.doctor import examine
    from supervisor.ctl.more_tables import findings

    found = examine(options.client, os.environ, config=config)
    if options.as_json:
        print_json({"findings": found})
    else:
        from supervisor.ctl.tables import console

        for each in findings(found):
            console().print(each)
    if any(each.verdict == "bad" for each in found):
        ctx.exit(EXIT_FAILED)


@_short(
    "query",
    "One SELECT over the published records: fills, orders, pairs, daily, progress … Needs no running daemon.",
    click.Argument(["sql"]),
    _state_dir_option(),
    click.Option(["--csv", "as_csv"], is_flag=True, help="Print CSV, amounts exact."),
    brief="One SELECT over the published records.",
)
def query(ctx: click.Context, options: Options, sql: str, state_dir: str | None, as_csv: bool) -> None:
    from itertools import islice

    from supervisor.ctl.query import TABLE_ROWS_MAX, asked, find_views, plain, write_csv, write_json

    if as_csv and options.as_json:
        raise Trouble("--csv or --json, not both", EXIT_USAGE)
    views = find_views(os.environ, state_dir=state_dir, socket=options.socket)
    with asked(views, sql) as (names, rows):
        if as_csv or options.as_json:
            (write_csv if as_csv else write_json)(sys.stdout, names, rows)
            return
        from supervisor.ctl.tables import console, sheet

        shown = [[plain(cell) for cell in row] for row in islice(rows, TABLE_ROWS_MAX)]
        out = console()
        for each in sheet(names, shown, out.width):
            out.print(each)
        if next(rows, None) is not None:
            click.echo(f"the first {TABLE_ROWS_MAX} rows; --csv and --json print all", err=True)


@_short(
    "report",
    "One look at what happened: volume against target, wear and its parts, pairs per hour, price with own fills."
    " Needs no running daemon.",
    click.Option(["--user"], metavar="USER", help="Only this user.", shell_complete=complete_user),
    click.Option(["--days"], type=click.IntRange(1, 366), default=7, show_default=True, help="The newest N days."),
    click.Option(["--html"], metavar="FILE", help="Write one file for a browser instead; it needs no network."),
    _state_dir_option(),
    brief="One look at what happened: volume, wear, pairs, prices.",
)
def report(
    ctx: click.Context, options: Options, user: str | None, days: int, html: str | None, state_dir: str | None
) -> None:
    from supervisor.control.protocol import plain
    from supervisor.ctl.query import find_views
    from supervisor.ctl.report import gather

    told = gather(find_views(os.environ, state_dir=state_dir, socket=options.socket), user=user, days=days)
    if html is not None:
        from supervisor.ctl.report_html import render as page

        try:
            Path(html).write_text(page(told), encoding="utf-8")
        except OSError as error:
            raise Trouble(f"{html}: {error.strerror}", EXIT_FAILED) from None
        click.echo(f"written: {html}")
    elif options.as_json:
        print_json(plain(told))
    else:
        from supervisor.ctl.report_text import render
        from supervisor.ctl.tables import console

        out = console()
        for each in render(told, out):
            out.print(each)


@_short(
    "export",
    "The published records as Parquet, by day and user, for any engine; several daemons may share the directory."
    " Days that did not change since are left alone. Needs no running daemon.",
    click.Option(["--parquet", "target"], metavar="DIR", required=True, help="Where to; made if missing."),
    _state_dir_option(),
    brief="The published records as Parquet files.",
)
def export(ctx: click.Context, options: Options, target: str, state_dir: str | None) -> None:
    from supervisor.ctl.export import export as write
    from supervisor.ctl.query import find_views

    views = find_views(os.environ, state_dir=state_dir, socket=options.socket)
    done = write(views.parent, Path(target))
    if options.as_json:
        also_as = [{"day": day, "instance": name, "files": files} for day, name, files in done.also_as]
        print_json({"days": done.days, "unchanged": done.kept, "rows": done.rows, "also_as": also_as})
        return
    for day, name, files in done.also_as:
        click.echo(f"{day} is there as {name!r}, too, and counts twice; if it was renamed:\n  rm -- {files}", err=True)
    rows = ", ".join(f"{count} {table}" for table, count in done.rows.items() if count)
    click.echo(f"{done.days} days written ({rows or 'nothing'}), {done.kept} unchanged: {target}")


@_short(
    "completion",
    'Prints the completion script of a shell. ~/.bashrc: eval "$(otoctl completion bash)"; ~/.zshrc, after compinit:'
    ' eval "$(otoctl completion zsh)"; fish: otoctl completion fish > ~/.config/fish/completions/otoctl.fish',
    click.Argument(["shell"], type=click.Choice(["bash", "zsh", "fish"])),
    brief="The completion script of bash, zsh or fish.",
)
def completion(ctx: click.Context, options: Options, shell: str) -> None:
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None, shell
    source = made(ctx.find_root().command, {}, "otoctl", "_OTOCTL_COMPLETE").source()
    click.echo(source.replace(FISH_SPLITS, FISH_KEEPS))


# click's script for fish takes a description to end at its first comma
FISH_SPLITS, FISH_KEEPS = 'string split "," $completion', 'string split -m 1 "," $completion'


SHORT_FORMS: tuple[click.Command, ...] = (
    status,
    tree,
    why,
    events,
    top,
    metrics,
    doctor,
    query,
    report,
    export,
    completion,
)
