"""Commands about the whole: the system, its actors, its key; and where all others of this kind are found."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from actors.errors import Refusal
from actors.messages import ListAudit, TraderSnapshot
from supervisor.control import records, table, tokens, users, views
from supervisor.control.arguments import TYPES, Argument, Command
from supervisor.control.health import problems
from supervisor.control.office import Call, Office
from supervisor.control.protocol import VERSION, did_you_mean, echo, plain, rfc3339
from supervisor.control.table import COMMANDS
from supervisor.metrics.render import render

# -- the system


async def _system_status(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    office, now_ms = call.office, call.office.wall.now_ms()
    nodes = list(views.walk(office.tree()))
    return {
        "version": office.version,
        "mode": office.mode,
        "boot": call.bus.boot,
        "started_at": rfc3339(office.started_ms),
        "now": rfc3339(now_ms),
        "uptime_s": (now_ms - office.started_ms) / 1000,
        "users": _users_by_state(call),
        "prices": _prices(call, now_ms),
        "actors": {
            "total": sum(node.kind == "actor" for node in nodes),
            "restarts": sum(node.restarts for node in nodes),
            "parked": [node.path for node in nodes if node.state == "parked" and _may_hear_of(call, node.path)],
            "stuck": [node.path for node in nodes if node.state == "stuck" and _may_hear_of(call, node.path)],
        },
        "events": plain(call.bus.statistics()),
    }


def _may_hear_of(call: Call, path: str) -> bool:
    """The names of other users, and of their tokens, are in paths."""
    area, _, name = path.partition("/")
    return not name or call.rights.sees_all or (area == "traders" and call.rights.sees(name))


def _users_by_state(call: Call) -> dict[str, int]:
    """Each user counts once; "starting" has published nothing yet, "new" cannot trade yet."""
    counts = {"total": 0, "trading": 0, "done": 0, "paused": 0, "stopped": 0, "starting": 0, "new": 0}
    for user in call.users():
        snapshot = call.office.snapshot(user)
        counts["total"] += 1
        if snapshot is None:
            counts["new" if call.lacks(user) else "starting"] += 1
        elif snapshot.pauses:
            counts["paused"] += 1
        elif snapshot.wanted == "stopped":
            counts["stopped"] += 1
        else:
            counts["done" if snapshot.phase == "done" else "trading"] += 1
    return counts


def _prices(call: Call, now_ms: int) -> list[dict[str, Any]]:
    told = (call.office.feed(token) for token in call.tokens_in_use())
    return [views.price(feed, quote, now_ms=now_ms) for feed, quote in told if feed and quote]


async def _health(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    office = call.office
    snapshots = [snapshot for user in office.users() if (snapshot := office.snapshot(user)) is not None]
    feeds = [(token, *office.feed(token)) for token in call.tokens_in_use()]
    found = problems(office.tree(), snapshots, feeds, office.figures().get("notices"))
    return {"healthy": not found, "checked_at": rfc3339(office.wall.now_ms()), "problems": found}


async def _tree(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return views.tree(call.office.tree())


async def _version(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {
        "name": "otod",
        "version": call.office.version,
        "protocol": VERSION,
        "mode": call.office.mode,
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in ("trio", "pynng", "duckdb", "httpx")},
    }


async def _commands(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {"commands": [_describe(command) for command in COMMANDS], "types": dict(TYPES)}


def _describe(command: Command) -> dict[str, Any]:
    return {
        "cmd": command.name,
        "about": command.about,
        "acts": command.acts,
        "on_users": command.on_users,
        "args": [_describe_argument(argument) for argument in table.takes(command)],
        "example": {"v": VERSION, "id": "1", "cmd": command.name, "args": command.example},
    }


def _describe_argument(argument: Argument) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": argument.name,
        "type": argument.kind,
        "required": argument.required,
        "default": argument.default,
        "about": argument.about,
    }
    if argument.choices:
        told["choices"] = list(argument.choices)
    if argument.form:
        told["form"] = argument.form
    if argument.kind == "count":
        told |= {"least": argument.least, "most": argument.most}
    return told


async def _actor_restart(call: Call) -> dict[str, Any]:
    path = call.args["path"]
    paths = [node.path for node in views.walk(call.office.tree())]
    if path not in paths:
        hint = did_you_mean(path, paths, say="there are")
        raise Refusal(f"no actor {echo(path)}", code="BAD_ARGUMENT", do=hint)
    answer = await call.office.restart(path)
    if answer.did in ("failed", "stuck", "overruled"):
        told = {"failed": "its start failed, the next attempt follows", "stuck": "its incarnation does not end"}
        what = f"{told.get(answer.did, 'somebody has decided otherwise meanwhile')}: {answer.detail}".rstrip(": ")
        raise Refusal(what, code="STUCK" if answer.did == "stuck" else "REFUSED", where=path, do="see otoctl tree")
    node = next((node for node in views.walk(call.office.tree()) if node.path == path), None)
    return {
        "path": path,
        "state": node.state if node else "stopped",
        "incarnation": node.incarnation if node else 0,
    }


# -- streams, figures, audit


async def _streams(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    office = call.office
    feeds = [
        {
            "token": name,
            "connected": shown is not None and shown.connected,
            "connected_since": shown and shown.connected_since_ms and rfc3339(shown.connected_since_ms),
            "last_trade_at": None if quote is None else rfc3339(quote.trade_ms),
            "trades_seen": shown.trades_seen if shown else 0,
            "losses": shown.losses if shown else 0,
            "failures": shown.failures if shown else 0,
        }
        for name, (shown, quote) in office.feeds_shown().items()
    ]
    return {"feeds": feeds, "users": {user: _order_stream(office, user) for user in call.users()}}


def _order_stream(office: Office, user: str) -> dict[str, Any]:
    """Ages and troubles of the listen key; the key itself is a secret."""
    snapshot, key = office.snapshot(user), office.listen_key(user)
    return {
        "connected": snapshot is not None and snapshot.stream_connected,
        "listen_key": key is not None and key.key is not None,
        "listen_key_since": None if key is None else rfc3339(key.since_ms),
        "listen_key_renewed_at": None if key is None else rfc3339(key.renewed_ms),
        "trouble": None if key is None else key.trouble,
    }


async def _metrics(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    office = call.office
    if call.args["form"] == "text":
        return {"at": rfc3339(office.wall.now_ms()), "text": await render(office, call.bus.statistics())}
    actors = {
        node.path: {
            "incarnation": node.incarnation,
            "restarts": node.restarts,
            "mailbox_depth": node.mailbox.depth,
            "mailbox_high": node.mailbox.high,
            "messages": node.mailbox.posted,
            "overflows": node.mailbox.overflows,
        }
        for node in views.walk(office.tree())
        if node.mailbox is not None
    }
    return {
        "at": rfc3339(office.wall.now_ms()),
        "uptime_s": (office.wall.now_ms() - office.started_ms) / 1000,
        "events": plain(call.bus.statistics()),
        **plain(office.figures()),
        "latency": _latency(office),
        "actors": actors,
    }


def _latency(office: Office) -> dict[str, Any]:
    """Counts since the start, by how long it took: counts[i] up to bounds_ms[i], the last one beyond all.

    market, orders: from the exchange's own time of a frame to when it was handled here.
    """
    tally = office.tally
    kept = {
        "market": tally.market_s,
        "orders": tally.orders_s,
        "quote_to_order": tally.quote_to_order_s,
        "commit": tally.commit_s,
    }
    return {
        name: {"bounds_ms": [round(bound * 1000, 3) for bound in each.bounds], "counts": list(each.counts)}
        for name, each in kept.items()
    }


async def _audit(call: Call) -> dict[str, Any]:
    args = call.args
    question = ListAudit(
        user=args["user"], since_ms=args["since"], until_ms=args["until"], page=args["page"], limit=args["limit"]
    )
    total, rows = await records.ask_store(call, question)
    return views.page(total, args["page"], args["limit"], [views.audit(row) for row in rows])


# -- levers


def _no_lever(what: str) -> Refusal:
    return Refusal(f"{what} of this daemon cannot be changed while it runs", do="it is not `otod run`: restart it")


async def _log_level(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    pull = call.office.levers.log_level
    if pull is None:
        raise _no_lever("the log level")
    before = pull(call.args["level"])
    return {"level": call.args["level"], "before": before}


async def _reload(call: Call) -> dict[str, Any]:
    if call.office.levers.reload is None:
        await trio.lowlevel.checkpoint()
        raise _no_lever("the configuration")
    return dict(await call.office.levers.reload())


async def _drain(call: Call) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    if call.office.levers.drain is None:
        raise _no_lever("the end")
    call.office.levers.drain(f"asked for by {call.who}")
    return {"draining": True, "live_pairs": sum(each is not None and each.pair is not None for each in _shown(call))}


def _shown(call: Call) -> list[TraderSnapshot | None]:
    return [call.office.snapshot(user) for user in call.office.users()]


async def _notify_test(call: Call) -> dict[str, Any]:
    if call.office.levers.notify is None:
        await trio.lowlevel.checkpoint()
        text = "no notifications are configured"
        raise Refusal(text, do="[notifications] in otod.toml; until then listen to events: otoctl events pause -f")
    return dict(await call.office.levers.notify())


async def _rotate(call: Call) -> dict[str, Any]:
    told: dict[str, Any] = plain(await call.office.keyring.rotate(call.who))
    if not told["old_keys_dropped"] and not told["unreadable"]:
        told["hint"] = "every row has the first key now: the lines below it may be taken out of the key file"
    return told


WHOLE: dict[str, Callable[[Call], Awaitable[dict[str, Any]]]] = {
    "system.status": _system_status,
    "system.health": _health,
    "system.tree": _tree,
    "system.version": _version,
    "system.commands": _commands,
    "system.streams": _streams,
    "system.metrics": _metrics,
    "system.audit": _audit,
    "system.log-level": _log_level,
    "system.reload": _reload,
    "system.drain": _drain,
    "actor.restart": _actor_restart,
    "vault.rotate": _rotate,
    "notify.test": _notify_test,
    **users.WHOLE,
    **tokens.WHOLE,
}
