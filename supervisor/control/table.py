"""Every command as data: name, arguments, what it does, an example. Pure, and quick to import.

The server checks requests against this table, `system.commands` sends it, otoctl makes its commands, options and help
of it: a command described here exists everywhere, and nowhere otherwise. To add one: a row here, a function in one of
the rooms beside (per_user.py and whole.py collect them; a test holds them together), a line in README.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from msgspec import NODEFAULT
from msgspec.structs import fields

from actors.domain.trading import AUTO_RESUMABLE, Phase, TradingConfig
from actors.errors import Refusal
from supervisor.control.arguments import LIMIT_MAX, QUIET, Argument, Command, value_of
from supervisor.control.protocol import did_you_mean, echo

TOKEN_FORM = r"[^\s\x00-\x1f\x7f]{1,64}"  # tickers are any text: some are Chinese words
PATH_FORM = r"[A-Za-z0-9_.$/-]{1,200}"
PAIR_FORM = r"[A-Za-z0-9_.-]{1,80}"
STRANGERS_NAMED_MAX = 20
"""Unknown arguments that an error names: a frame has room for 100,000, and looking for the nearest words takes time."""

WHOM = (
    Argument(name="user", kind="user", about="one user"),
    Argument(name="users", kind="users", about="several users"),
    Argument(name="all", kind="flag", about="all users"),
)
_NEW_USER = Argument(name="user", kind="user", about="its name: a-z 0-9 _ -, at most 32 characters", required=True)
_NAMES = (
    Argument(name="display_name", kind="text", about="how people call it"),
    Argument(name="email", kind="text", about="an e-mail address"),
)
_TOKEN = Argument(
    name="token", kind="text", about="short name, e.g. KOGE, or an alphaId", required=True, form=TOKEN_FORM
)
_ORDER_ID = Argument(name="order_id", kind="text", about="as the exchange names it", required=True)
_PAIR_ID = Argument(name="pair_id", kind="text", about="e.g. alice-2026-11-20-7", required=True, form=PAIR_FORM)
_SINCE = Argument(name="since", kind="time", about="not before: 2026-11-20T10:00:00Z, or a date (its midnight UTC)")
_UNTIL = Argument(name="until", kind="time", about="before this time")
_PAGING = (
    Argument(name="page", kind="count", about="which page", default=1, most=1_000_000),
    Argument(name="limit", kind="count", about="rows on a page", default=50, most=LIMIT_MAX),
)
_ORDER_STATUS = Argument(name="status", kind="text", about="the exchange's word, e.g. FILLED", form=r"[A-Z_]{1,40}")
_PAIR_STATUS = Argument(name="status", kind="text", about="a phase, or closed", choices=(*get_args(Phase), "closed"))
_DETAIL = Argument(name="detail", kind="text", about="why, for those who look later", default="")
_NOW = Argument(
    name="now", kind="flag", about="cancel and unwind at once; works also when the trader is stuck", default=False
)
_FORCE = Argument(name="force", kind="flag", about="values beyond the limits against slips are meant", default=False)
_DRAIN = Argument(
    name="drain", kind="flag", about="stop it first, and wait some seconds for its pair to end", default=False
)

SETTINGS: Mapping[str, str] = {
    "token": "short name, e.g. KOGE; the alphaId where several tokens carry the name",
    "target_volume": "USDT to buy per UTC day; or target_points",
    "target_points": "volume points to reach per UTC day; or target_volume",
    "order_amount": "USDT per pair; or order_quantity",
    "order_quantity": "base units per pair; or order_amount",
    "offset_mode": "what offsets are",
    "buy_offset": "signed, added to the price: percent (0.05 is 0.05 %) or USDT",
    "sell_offset": "signed, added to the price: percent or USDT",
    "reference": "the price that offsets apply to",
    "timeout_seconds": "after which a pair is cancelled and what it bought is sold",
    "volatility_threshold": "percent: pause beyond this range of the last 60 s",
    "interval_seconds": "rest between two pairs",
    "unwind_step_percent": "leftovers are offered lower by this, step by step",
    "unwind_step_seconds": "seconds between two such steps",
    "unwind_floor_percent": "never more than this below what they cost",
    "max_wear_usdt": "pause when the day has cost so much USDT",
    "max_wear_bps": "pause when the day has cost so much of its volume",
    "auto_resume": f"pauses that may end by themselves, with commas between: {', '.join(sorted(AUTO_RESUMABLE))}",
}


def _with_default(key: str, about: str) -> str:
    default = next(field for field in fields(TradingConfig) if field.name == key).default
    known = default not in (NODEFAULT, None) and default != ()
    return f"{about} (default {default})" if known else about


_WORDS = {"offset_mode": ("percentage", "fixed"), "reference": ("last",)}
_SETTINGS = tuple(
    Argument(name=key, kind="setting", about=_with_default(key, about), choices=_WORDS.get(key, ()))
    for key, about in SETTINGS.items()
)
_UNSET = Argument(name="unset", kind="names", about="keys to take away, so that their defaults are in force")
_REVISION = Argument(
    name="revision", kind="count", about="the one that was read; refused if it is not the newest", least=0, most=10**9
)

COMMANDS: tuple[Command, ...] = (
    # -- the daemon
    Command(name="system.status", common=True,
            about="The daemon in one view: version, mode, users by state, prices, actors, events."),
    Command(name="system.health", about="Is everything in order? What is not, where, and what to do about it."),
    Command(name="system.streams", about="Price streams, order streams, listen keys: connected since when."),
    Command(name="system.tree", about="Every actor: state, incarnation, restarts, uptime, mailbox, last crash."),
    Command(name="system.metrics", about="Figures: commits, requests to the exchange, mailboxes, restarts, control.",
            args=(Argument(name="form", kind="text", about="text: Prometheus text, all figures", default="json",
                           choices=("json", "text")),)),
    Command(name="system.audit", about="Who changed what, newest first; of one user, or everything.",
            args=(Argument(name="user", kind="user", about="one user"), _SINCE, _UNTIL, *_PAGING),
            example={"user": "alice", "limit": 10}),
    Command(name="system.version", common=True,
            about="Versions of the daemon, of this protocol and of the libraries below."),
    Command(name="system.commands", common=True,
            about="This list: every command with arguments, types and an example."),
    Command(name="system.log-level", about="From which level on log lines are written, from now on.", acts=True,
            args=(Argument(name="level", kind="text", about="the level", required=True,
                           choices=("debug", "info", "warning", "error")),),
            example={"level": "debug"}),
    Command(name="system.reload", acts=True,
            about="Read the configuration file again: whose settings changed starts anew. A wrong one is refused."),
    Command(name="system.drain", acts=True,
            about="End the daemon in order: no new pair, live pairs are followed for a while, then everything stops."),
    # -- users
    Command(name="user.create", about="A new user, stopped, without configuration and credentials.",
            args=(_NEW_USER, *_NAMES), acts=True, example={"user": "alice", "display_name": "Alice"}),
    Command(name="user.update", about="Change how a user is called.", args=_NAMES, acts=True, on_users=True,
            example={"user": "alice", "email": "alice@example.org"}),
    Command(name="user.remove", acts=True, on_users=True, args=(_DRAIN,),
            about="Take a user out; its records stay. Refused while a pair lives.",
            example={"user": "alice", "drain": True}),
    Command(name="user.list", about="All users with token, wish and phase.", args=_PAGING, common=True,
            example={"limit": 50}),
    Command(name="user.show", about="One or several users: names, token, wish, phase, credentials.", on_users=True,
            example={"user": "alice"}),
    Command(name="user.set-credentials", acts=True, on_users=True,
            about='How to get into the exchange: a browser\'s "copy as cURL", or headers and cookies.',
            args=(Argument(name="curl", kind="secret", about="the copied request, form for bash, cmd or PowerShell"),
                  Argument(name="headers", kind="secrets", about="header names and values"),
                  Argument(name="cookies", kind="secrets", about="cookie names and values")),
            example={"user": "alice", "cookies": {"paper_account": "alice"}, "headers": {}}),
    Command(name="user.check-credentials", acts=True, on_users=True,
            about="Ask the exchange something cheap that only these credentials get: are they valid?",
            example={"user": "alice"}),
    Command(name="user.apply", acts=True, about="Users as a document wants them: all or nothing.",
            args=(Argument(name="document", kind="document", about="a users document, parsed from TOML", required=True),
                  Argument(name="dry_run", kind="flag", about="only say what would change", default=False), _FORCE),
            example={"document": {"users": {"alice": {"display_name": "Alice"}}}, "dry_run": True}),
    # -- configuration
    Command(name="config.show", about="The trading configuration with its revision.", on_users=True,
            example={"user": "alice"}),
    Command(name="config.set", acts=True, on_users=True, args=(*_SETTINGS, _UNSET, _REVISION, _FORCE),
            about="Change the keys that are named; in force with the next pair.",
            example={"user": "alice", "order_amount": "60", "revision": 1}),
    # -- trading
    Command(name="trading.start", acts=True, on_users=True, example={"user": "alice"},
            about="From now on this user wants to trade. Refused while a pause is in force: resume first."),
    Command(name="trading.pause", args=(_DETAIL,), acts=True, on_users=True, example={"users": ["alice", "bob"]},
            about="Open no new pair (pause OPERATOR); a live pair is followed to its end."),
    Command(name="trading.resume", acts=True, on_users=True, example={"all": True},
            about="End all pauses whose cause is gone; refused, naming the rest, if some is not."),
    Command(name="trading.stop", args=(_NOW,), acts=True, on_users=True, example={"user": "alice", "now": True},
            about="Stop for good: finish or unwind the live pair, then rest until started."),
    Command(name="trading.status", on_users=True, example={"user": "alice"},
            about="Wish, phase, what it waits for, pauses, live pair, progress. Never waits for the trader."),
    Command(name="trading.why", on_users=True, example={"user": "alice"},
            about="Why does this user trade, or not: the status in sentences, with the last decision."),
    # -- accounts and records
    Command(name="account.balance", on_users=True, example={"user": "alice"},
            about="What the exchange says the account holds: per wallet and asset, available and frozen."),
    Command(name="account.volume", args=(_SINCE, _UNTIL), on_users=True, example={"user": "alice"},
            about="Bought volume: the exchange's figure beside our own, real and counted; points."),
    Command(name="stats.show", args=(_SINCE, _UNTIL), on_users=True, example={"user": "alice", "since": "2026-11-20"},
            about="Volume, trades, orders and pairs by outcome, average prices, wear, fees, of any period."),
    Command(name="stats.progress", args=(_SINCE,), on_users=True, example={"all": True},
            about="Volume, target, points and wear of a UTC day: today, or the day that `since` falls on."),
    Command(name="orders.list", about="Orders, newest first.", args=(_ORDER_STATUS, _SINCE, _UNTIL, *_PAGING),
            on_users=True, example={"user": "alice", "status": "FILLED", "limit": 20}),
    Command(name="pairs.list", about="Pairs, newest first, with their wear.",
            args=(_PAIR_STATUS, _SINCE, _UNTIL, *_PAGING), on_users=True,
            example={"user": "alice", "status": "closed"}),
    Command(name="pair.show", about="One pair with its orders, fills and every change of its state.",
            args=(_PAIR_ID,), on_users=True, example={"user": "alice", "pair_id": "alice-2026-11-20-7"}),
    Command(name="pair.cancel", args=(_PAIR_ID,), acts=True, on_users=True,
            about="Cancel the live pair and sell what it bought; the next one follows unless paused.",
            example={"user": "alice", "pair_id": "alice-2026-11-20-7"}),
    Command(name="pair.adopt", args=(_PAIR_ID, _ORDER_ID), acts=True, on_users=True,
            about="Of several orders that could all be this pair's, say which one is.",
            example={"user": "alice", "pair_id": "alice-2026-11-20-7", "order_id": "51481849"}),
    Command(name="pair.disown", args=(_PAIR_ID,), acts=True, on_users=True,
            about="Say that none of the orders that could be this pair's is.",
            example={"user": "alice", "pair_id": "alice-2026-11-20-7"}),
    # -- tokens and prices
    Command(name="token.list", common=True, about="Tokens by short name: those in use, or all that the exchange lists.",
            args=(Argument(name="find", kind="text", about="part of a name or alphaId"),
                  Argument(name="every", kind="flag", about="also those that nobody uses or asked for", default=False),
                  *_PAGING), example={"find": "KO", "every": True}),
    Command(name="token.show", args=(_TOKEN,), common=True, example={"token": "KOGE"},
            about="One token: alphaId, symbols, precisions, filters, mulPoint, and whether it can be traded."),
    Command(name="token.add", args=(_TOKEN,), acts=True, example={"token": "KOGE"},
            about="Look a token up and keep it in the list of tokens."),
    Command(name="token.remove", args=(_TOKEN,), acts=True, example={"token": "KOGE"},
            about="Take a token out of that list; refused while a user is configured for it."),
    Command(name="token.refresh", acts=True, example={"token": "KOGE"},
            args=(Argument(name="token", kind="text", about="answer with this one", form=TOKEN_FORM),),
            about="Read the exchange's token list and exchange info (precisions, filters) anew."),
    Command(name="price.show", args=(_TOKEN,), common=True, example={"token": "KOGE"},
            about="Newest price of a token in use, its age, and the range of the last 60 s."),
    Command(name="price.history", args=(_TOKEN, _SINCE, _UNTIL, *_PAGING), common=True,
            about="One-second bars of a token that was in use, newest first.", example={"token": "KOGE", "limit": 60}),
    # -- actors and keys
    Command(name="actor.restart", acts=True, example={"path": "traders/alice"},
            about="End an actor's incarnation; the next one starts at once. Parked actors come back.",
            args=(Argument(name="path", kind="text", about="e.g. traders/alice", required=True, form=PATH_FORM),)),
    Command(name="vault.rotate", acts=True,
            about="Change the key that seals credentials; nothing is interrupted, a cut-short change goes on."),
    Command(name="notify.test", acts=True, about="Tell people, by all ways that are configured, that this is a test."),
)  # fmt: skip

BY_NAME: Mapping[str, Command] = {command.name: command for command in COMMANDS}


# -- checking a request


def find(cmd: str) -> Command:
    """Raises: Refusal COMMAND_UNKNOWN with the nearest command."""
    command = BY_NAME.get(cmd)
    if command is None:
        hint = did_you_mean(cmd, BY_NAME) or 'system.commands lists all: {"cmd":"system.commands"}'
        raise Refusal(f"no command {echo(cmd)}", code="COMMAND_UNKNOWN", do=hint)
    return command


def check(command: Command, args: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with defaults filled in and times as ms; None counts as left out.

    Raises: Refusal BAD_ARGUMENT that names every wrong argument, its value, and what is allowed.
    """
    known = {argument.name: argument for argument in takes(command)}
    wrong: list[str] = []
    hints: list[str] = []
    checked: dict[str, Any] = {}
    strangers = [name for name in args if name not in known]
    for name in strangers[:STRANGERS_NAMED_MAX]:
        wrong.append(f"{command.name} has no argument {echo(name)}")
        hints.append(did_you_mean(name, known, say="it takes") or "it takes none")
    if len(strangers) > STRANGERS_NAMED_MAX:
        wrong.append(f"and {len(strangers) - STRANGERS_NAMED_MAX} more that it has not")
    for name, argument in known.items():
        value = args.get(name)
        if value is None:
            checked[name] = argument.default
            if argument.required:
                wrong.append(f"{name} is missing")
                hints.append(f"{name}: {argument.about}")
            continue
        try:
            checked[name] = value_of(argument, value)
        except ValueError as error:
            wrong.append(f"{name} {error}" if argument.kind in QUIET else f"{name} {echo(value)} {error}")
    since, until = checked.get("since"), checked.get("until")
    if not wrong and since is not None and until is not None and since > until:
        wrong.append(f"nothing is since {echo(args['since'])} and until {echo(args['until'])}")
        hints.append("swap them")
    if command.on_users and not wrong and _ways_of_naming(checked) != 1:
        wrong.append(f"{command.name} is about users: name them in exactly one way")
        hints.append('"user":"alice", or "users":["alice","bob"], or "all":true')
    if wrong:
        raise Refusal("; ".join(wrong), code="BAD_ARGUMENT", do="; ".join(hints))
    return checked


def takes(command: Command) -> tuple[Argument, ...]:
    """All arguments, those that name the users included."""
    return (*WHOM, *command.args) if command.on_users else command.args


def _ways_of_naming(checked: Mapping[str, Any]) -> int:
    return sum((checked["user"] is not None, checked["users"] is not None, checked["all"] is True))
