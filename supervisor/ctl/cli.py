"""otoctl: areas and commands made from the daemon's own command table, and the short forms written by hand.

click, because it is well kept, makes nested commands at run time from data, and brings help, usage errors with exit
code 2 and completion for bash, zsh and fish. What is slow to import (nng, rich, duckdb) is imported when it is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from supervisor.control.arguments import Argument, Command
from supervisor.control.protocol import did_you_mean
from supervisor.control.table import COMMANDS
from supervisor.ctl.client import Trouble
from supervisor.ctl.common import (
    COMPLETING,
    TIMEOUT_S,
    Options,
    Seconds,
    confirm,
    failing,
    json_option,
    options_of,
    perform,
    users_argument,
    watch,
    watch_option,
)
from supervisor.ctl.handing import READERS
from supervisor.ctl.short import SHORT_FORMS


class Area(click.Group):
    """A group that says which command was probably meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        word = args[0] if args else ""
        if word and not word.startswith("-") and self.get_command(ctx, word) is None:
            hint = did_you_mean(word, self.list_commands(ctx), say="there are", most=20)
            ctx.fail(f"No such command '{word}'; {hint}")
        return super().resolve_command(ctx, args)


@click.group(cls=Area, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--socket", metavar="URL", help="The daemon's control socket; found by itself where left out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Seconds(),
    default=TIMEOUT_S,
    metavar="S",
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.pass_context
def otoctl(ctx: click.Context, socket: str | None, as_json: bool, timeout_s: float) -> None:
    """Look after otod: see what it does, start and stop users, query the records.

    The socket is --socket, else $OTOD_SOCKET, else that of the first daemon which answers. Exit codes: 0 done,
    1 refused or failed, 2 wrong usage, 3 no daemon, 4 not permitted.
    """
    ctx.obj = Options(socket=socket, as_json=as_json, timeout_s=timeout_s)


# -- commands from the table

AREAS = {
    "system": "The daemon itself: status, health, actors, versions.",
    "user": "Who trades: create, change, credentials, a whole document.",
    "config": "What a user trades, and how.",
    "account": "What the exchange says of an account.",
    "trading": "Start, pause, resume, stop; status and the reasons for it.",
    "stats": "Volume, progress, wear.",
    "orders": "Orders at the exchange.",
    "pairs": "Pairs: one buy and its sale.",
    "pair": "One pair.",
    "token": "Which tokens there are, and whether they can be traded.",
    "price": "Prices.",
    "actor": "One actor of the tree.",
    "vault": "The key that seals credentials.",
    "notify": "Telling people.",
}


DANGEROUS = {
    "user.remove": "This takes {whom} out.",
    "trading.stop": "This cancels live pairs at once and sells what they bought, for {whom}.",
    "pair.cancel": "This cancels a live pair and sells what it bought.",
    "pair.adopt": "This makes the order the pair's: what it buys and sells is counted, and it may be cancelled.",
    "pair.disown": "This says that none of these orders is the pair's; once its absence is proven, the next may begin.",
    "system.drain": "This ends the daemon: nobody trades until it is started again.",
    "vault.rotate": "This makes a new key; keep a copy of the key file elsewhere.",
}
"""Commands that a person is asked about on a terminal, unless --yes is said; trading.stop only with --now."""


def parameters(command: Command) -> list[click.Parameter]:
    """The command line form of a command's arguments: users and required ones by position, the rest as options.

    Secrets have none: what is in an argument list, everybody on the machine can read.
    """
    made: list[click.Parameter] = []
    sayable = [argument for argument in command.args if argument.kind != "secrets"]
    required = [argument for argument in sayable if argument.required]
    if command.on_users:
        one = bool(required) or command.name in READERS
        made.append(users_argument(one=one))
        if not one:
            made.append(click.Option(["--all", "all_users"], is_flag=True, help="All users."))
    made += [_argument(argument, new=command.name == "user.create") for argument in required]
    made += [_option(argument) for argument in sayable if not argument.required]
    return made


def _argument(argument: Argument, *, new: bool) -> click.Parameter:
    """new: a name that nobody has yet; there is nothing to complete it with."""
    if argument.kind == "document":
        return click.Argument([argument.name], metavar="FILE", type=click.Path(exists=True, dir_okay=False))
    kind = click.Choice(argument.choices) if argument.choices else str
    return click.Argument([argument.name], type=kind, shell_complete=None if new else COMPLETING.get(argument.name))


CHOICES_SHOWN_MAX = 40  # characters: more does not fit beside an option


def _option(argument: Argument) -> click.Option:
    flag = f"--{argument.name.replace('_', '-')}"
    if argument.kind == "flag":
        return click.Option([flag, argument.name], is_flag=True, help=argument.about)
    if argument.kind == "secret":
        path = click.Path(exists=True, dir_okay=False, allow_dash=True)
        about = "Read it from a file; else from stdin, or what you paste without an echo."
        return click.Option(["--file", argument.name], type=path, help=about)
    kind: Any = str
    if argument.choices:
        kind = click.Choice(argument.choices)
    elif argument.kind == "count":
        kind = click.IntRange(argument.least, argument.most)
    about, metavar = argument.about, None
    if len("|".join(argument.choices)) > CHOICES_SHOWN_MAX:
        about, metavar = f"{about}: {', '.join(argument.choices)}", argument.name.upper()
    known = argument.default or None
    return click.Option(
        [flag, argument.name],
        type=kind,
        metavar=metavar,
        default=known,
        show_default=bool(known),
        help=about,
        shell_complete=COMPLETING.get(argument.name),
    )


def frame_args(command: Command, given: dict[str, Any]) -> dict[str, Any]:
    """The args of the request frame. Raises: click.UsageError, an acting command that names nobody."""
    words = {argument.name for argument in command.args if argument.kind == "names"}
    args = {name: value for name, value in given.items() if name not in ("users", "all_users") and value is not None}
    args |= {name: args[name].split(",") for name in words if name in args}
    if not command.on_users:
        return args
    users = given["users"]
    if isinstance(users, str):
        return args | {"user": users}
    everybody = given.get("all_users")
    if users and everybody:
        raise click.UsageError("Name users or say --all, not both.")
    if users:
        return args | {"users": list(users)}
    if command.acts and not everybody:
        raise click.UsageError(f"Name the users to {command.verb}, or say --all.")
    return args | {"all": True}  # who only looks sees everybody


def _callback(command: Command) -> Callable[..., None]:
    @click.pass_context
    def call(ctx: click.Context, /, every_s: float | None = None, yes: bool = False, **given: Any) -> None:
        args = frame_args(command, given)
        if command.name in DANGEROUS and not yes and (command.name != "trading.stop" or args.get("now")):
            confirm(DANGEROUS[command.name].format(whom=_whom(args)))
        try:
            if command.name in READERS:
                if "user" in args and sys.stdin.isatty():  # nobody should paste secrets for a user that is misspelt
                    with options_of(ctx).client() as client:
                        client.data("user.show", {"user": args["user"]})
                args = READERS[command.name](args)
        except Trouble as trouble:
            failing(ctx, trouble)
        if every_s is not None:
            watch(ctx, command.name, args, every_s)
        perform(ctx, command.name, args)

    return call


def _whom(args: dict[str, Any]) -> str:
    named = args.get("users") or [args["user"]] if args.get("user") or args.get("users") else []
    return ", ".join(named) if named else "everybody"


def _comforts(command: Command) -> list[click.Parameter]:
    """What every command takes besides its arguments."""
    made: list[click.Parameter] = [json_option()]
    if command.name in DANGEROUS:
        made.append(click.Option(["--yes"], is_flag=True, help="Do not ask back."))
    if not command.acts:
        made.append(watch_option())
    return made


def _add_areas() -> None:
    for command in COMMANDS:
        area = otoctl.commands.get(command.area)
        if area is None:
            area = Area(command.area, help=AREAS[command.area])
            otoctl.add_command(area)
        assert isinstance(area, click.Group), area
        params = [*parameters(command), *_comforts(command)]
        about = command.about + (f"\n\n\b\n{EPILOGUES[command.name]}" if command.name in EPILOGUES else "")
        area.add_command(
            click.Command(
                command.verb, callback=_callback(command), params=params, help=about, short_help=command.about
            )
        )


EPILOGUES = {
    "user.set-credentials": """otoctl user set-credentials alice             paste it, then Ctrl-D
otoctl user set-credentials alice < copied.txt
echo '{"cookies":{"paper_account":"alice"},"headers":{}}' |
       otoctl user set-credentials alice""",
    "user.apply": """otoctl user apply users.toml --dry-run        what would change
otoctl user apply users.toml""",
    "config.set": """otoctl config set alice --token KOGE --target-volume 500 --order-amount 50 \\
       --buy-offset 0.05 --sell-offset -0.05
otoctl config set alice --order-amount 60 --revision 1
otoctl config set alice --unset max_wear_usdt""",
    "trading.start": "otoctl trading start alice",
}
"""Examples below the help of commands that a new user meets first."""


_add_areas()
for _short_form in SHORT_FORMS:
    otoctl.add_command(_short_form)
