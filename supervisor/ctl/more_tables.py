"""Tables of users, configurations, accounts, tokens, streams and single pairs (see tables.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.text import Text

from supervisor.ctl.doctor import Finding
from supervisor.ctl.latency import told as took
from supervisor.ctl.tables import (
    _cell,
    _moment,
    _money,
    _more,
    _served,
    _shown,
    _table,
    console,
    fitting,
    hanging,
    pretty,
)
from supervisor.screen import count, duration

Answer = Mapping[str, Any]
_EMPTY: tuple[Any, ...] = (None, "", [])


# -- users and configurations


def _user_changed(data: Answer) -> list[RenderableType]:
    """user.create, update, remove: one line per user, its changes below."""
    told: list[RenderableType] = []
    for user, each in _served(data):
        name = f" ({each['display_name']})" if each["display_name"] else ""
        gone = " · removed; its records stay" if each.get("removed") else ""
        line = f"{name} {each['wanted']}, credentials {each['credentials']}, configuration {each['revision'] or 'none'}"
        told.append(Text.assemble((user, "bold"), line + gone))
        told += _changes(each)
    return told


def _changes(each: Answer) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for key, it in each.get("changed", {}).items():
        if it["before"] in _EMPTY and it["after"] in _EMPTY:
            continue
        lines.append(Text.assemble("  ", (key, "cyan"), f"  {_word(it['before'])} → {_word(it['after'])}"))
    lines += [Text(f"  ! {warning}", "yellow") for warning in each.get("warnings", ())]
    return lines


def _word(value: Any) -> str:
    return ", ".join(map(str, value)) or "-" if isinstance(value, list) else _cell(value)


def _config(data: Answer) -> list[RenderableType]:
    """A row per key, a column per user; as many tables as the terminal's width asks for."""
    served = _served(data)
    told: list[RenderableType] = []
    left = list(served)
    while left:
        some, width = [left.pop(0)], KEY_WIDTH
        width += _config_width(*some[0])
        while left and width + _config_width(*left[0]) <= console().width:
            width += _config_width(*left[0])
            some.append(left.pop(0))
        told += [_config_table(some), *([Text()] if left else [])]
    for user, each in served:
        changes = _changes(each)
        if changes:
            told += [Text(f"{user}: changed, in force with the next pair", "bold"), *changes]
        elif "changed" in each:
            told.append(Text(f"{user}: nothing changed", "dim"))
    return told


KEY_WIDTH = 20  # volatility_threshold, the longest


def _config_cell(value: Any) -> str:
    return "\n".join(map(str, value)) or "-" if isinstance(value, list) else _cell(value)


def _config_width(user: str, config: Answer) -> int:
    values = (value for key, value in config.items() if key not in ("changed", "warnings"))
    return 2 + max(len(user), *(len(line) for value in values for line in _config_cell(value).splitlines()))


def _config_table(some: Sequence[tuple[str, Answer]]) -> RenderableType:
    table = _table(("KEY", *(user for user, _ in some)))
    for key in some[0][1]:
        if key not in ("changed", "warnings"):
            table.add_row(key, *(_config_cell(each[key]) for _, each in some))
    return table


def _credentials(data: Answer) -> list[RenderableType]:
    told: list[RenderableType] = []
    for user, each in _served(data):
        what = f"{count(each['cookies'], 'cookie')} and {count(each['headers'], 'header')}"
        told.append(Text(f"{user}: {what} stored and in use, sealed with key {each['key_id']}"))
        if each["left_out"]:
            told.append(
                Text(f"  left out, because they belong to the copied call: {', '.join(each['left_out'])}", "dim")
            )
        told.append(Text(f"  -> otoctl user check-credentials {user}"))
    return told


def _checked(data: Answer) -> list[RenderableType]:
    words = {True: ("valid", "green"), False: ("NOT VALID", "bold red"), None: ("unknown", "yellow")}
    return [
        Text.assemble((user, "bold"), "  ", words[each["valid"]], f"  {duration(each['age'])} old: {each['detail']}")
        for user, each in _served(data)
    ]


def _applied(data: Answer) -> list[RenderableType]:
    would = "would be " if data["dry_run"] else ""
    told: list[RenderableType] = []
    for what in ("created", "changed", "unchanged"):
        if data[what]:
            told.append(Text(f"{would if what != 'unchanged' else ''}{what}: {', '.join(data[what])}"))
        for user in data[what] if what != "unchanged" else ():
            told += [Text(f"{user}:", "bold"), *_changes({"changed": data["differences"].get(user, {})})]
    return told + [Text(f"! {warning}", "yellow") for warning in data["warnings"]]


# -- accounts


def _balance(data: Answer) -> list[RenderableType]:
    rows = [{"user": user} | asset for user, each in _served(data) for asset in each["assets"]]
    columns = {"user": "USER", "wallet": "WALLET", "asset": "ASSET", "available": "AVAILABLE", "frozen": "FROZEN"}
    shown = [{name: _cell(row[name]) for name in (*columns, "total")} for row in rows]
    told = fitting(shown, columns | {"total": "TOTAL"}, ("total",), console().width)
    spendable = [f"{user} {_money(each['spendable'])}" for user, each in _served(data)]
    return (
        [*told, Text(f"spendable for pairs (USDT, funding wallet): {', '.join(spendable)}", "dim")]
        if spendable
        else told
    )


_VOLUME_COLUMNS = {
    "user": "USER", "own": "OWN", "counted": "COUNTED", "buys": "BUYS", "there": "EXCHANGE",
    "counted_there": "COUNTED THERE", "points": "POINTS", "score": "SCORE",
}  # fmt: skip


def _volume(data: Answer) -> list[RenderableType]:
    rows: list[dict[str, str]] = []
    notes: list[RenderableType] = []
    for user, each in _served(data):
        own, there = each["own"], each["exchange"]
        rows.append({
            "user": user, "own": _money(own["volume"]), "counted": _money(own["counted_volume"]),
            "buys": str(own["trades"]), "there": _money(there.get("volume")),
            "counted_there": _money(there.get("counted_volume")), "points": _cell(each["points_today"]),
            "score": _cell((each.get("score") or {}).get("score")),
        })  # fmt: skip
        if "error" in there:
            notes.append(Text(f"{user}: the exchange's figure is missing: {there['error']}", "yellow"))
    for each in [each for _, each in _served(data)][:1]:
        until = f" until {_moment(each['until'])}" if each["until"] else ""
        notes.append(Text(f"since {_moment(each['since'])}{until} UTC", "dim"))
    return [*fitting(rows, _VOLUME_COLUMNS, ("score", "points", "buys", "counted"), console().width), *notes]


def _statistics(data: Answer) -> list[RenderableType]:
    told: list[RenderableType] = []
    for user, each in _served(data):
        words = {
            "volume": f"{_money(each['volume'])} USDT bought, {_money(each['sold'])} sold",
            "fills": str(each["trades"]),
            "counted": f"{_money(each['counted_volume'])} with multipliers",
            "prices": "\n".join(_prices(each, token) for token in each["tokens"]) or "-",
            "pairs": ", ".join(f"{number} {word}" for word, number in each["pairs"].items()) or "-",
            "orders": ", ".join(f"{number} {word}" for word, number in each["orders"].items()) or "-",
            "wear": f"{_money(each['wear'], 4)} USDT, {_cell(each['wear_bps'])} bps",
            "of that": ", ".join(f"{_money(value, 4)} {part}" for part, value in each["wear_parts"].items()),
            "fees": ", ".join(f"{fee} {asset}" for asset, fee in each["fees"].items()) or "-",
            "a pair took": f"{_cell(each['pair_s']['median'])} s (median), {_cell(each['pair_s']['most'])} s at most",
            "points": f"{each['points_today']} on the last day, {each['points_15_days']} over 15 days",
            "between": f"{_moment(each['first_trade_at'])} to {_moment(each['last_trade_at'])} UTC",
        }
        table = _table(("", ""))
        table.show_header = False
        for name, word in words.items():
            table.add_row(Text(f"  {name}", "cyan"), word)
        told += [Text(user, "bold"), table]
    return told


def _prices(each: Answer, token: str) -> str:
    of_token = each["tokens"][token]
    bought, sold = _cell(of_token["average_buy_price"]), _cell(of_token["average_sell_price"])
    return f"bought at {bought}, sold at {sold}" + (f" ({token})" if len(each["tokens"]) > 1 else "")


# -- tokens and prices

_TOKEN_COLUMNS = {
    "token": "TOKEN", "alpha_id": "ALPHA ID", "symbol": "SYMBOL", "chain": "CHAIN", "mul_point": "MUL",
    "state": "STATE",
}  # fmt: skip
_BAR_COLUMNS = {
    "second": "SECOND (UTC)", "open": "OPEN", "high": "HIGH", "low": "LOW", "close": "CLOSE", "quantity": "QUANTITY",
    "trades": "TRADES",
}  # fmt: skip


def _tokens(data: Answer) -> list[RenderableType]:
    rows = [
        {name: _cell(each.get(name)) for name in _TOKEN_COLUMNS} | {"state": each["trouble"] or "tradable"}
        for each in data["items"]
    ]
    return [*fitting(rows, _TOKEN_COLUMNS, ("chain", "symbol"), console().width), *_more(data, "token")]


def _bars(data: Answer) -> list[RenderableType]:
    rows = [
        {name: _cell(each[name]) for name in _BAR_COLUMNS} | {"second": _moment(each["second"])}
        for each in data["items"]
    ]
    return [*fitting(rows, _BAR_COLUMNS, ("quantity", "open"), console().width), *_more(data, "bar")]


# -- the system


def _audit(data: Answer) -> list[RenderableType]:
    table = _table(("AT (UTC)", "WHO", "USER", "WHAT", "BEFORE → AFTER"), fold="BEFORE → AFTER")
    for each in data["items"]:
        words = differences(each["before"], each["after"])
        table.add_row(_moment(each["happened_at"]), each["who"], _cell(each["user"]), each["action"], words)
    return [table, *_more(data, "change")]


def differences(before: str | None, after: str | None) -> str:
    """Of an audit entry, whose sides are JSON objects of what differs, or words."""
    old, new = _object(before), _object(after)
    if new is None:
        return f"{_cell(before)} → {_cell(after)}"
    told = []
    for key, value in new.items():
        was = (old or {}).get(key)
        if was not in _EMPTY:
            told.append(f"{key} {_word(was)} → {_word(value)}")
        elif value not in _EMPTY:
            told.append(f"{key} {_word(value)}")
    return "\n".join(told)


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(text or "")
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, dict) else None


def _notified(data: Answer) -> list[RenderableType]:
    table = _table(("TARGET", "TEST", "WHY NOT"))
    for each in data["targets"]:
        told = Text("told", "green") if each["told"] else Text("not told", "red")
        table.add_row(each["target"], told, _cell(each["error"]))
    return [table]


def _streams(data: Answer) -> list[RenderableType]:
    feeds = _table(("TOKEN", "PRICE STREAM", "LAST TRADE (UTC)", "SEEN", "LOST"), right=("SEEN", "LOST"))
    for each in data["feeds"]:
        feeds.add_row(
            each["token"], _connected(each["connected"]), _moment(each["last_trade_at"]), str(each["trades_seen"]),
            str(each["losses"]),
        )  # fmt: skip
    users = _table(("USER", "ORDER STREAM", "LISTEN KEY RENEWED (UTC)", "TROUBLE"))
    for user, each in data["users"].items():
        renewed = _moment(each["listen_key_renewed_at"]) if each["listen_key"] else "-"
        known = (
            each["connected"] or each["listen_key_since"] or each["trouble"]
        )  # else it has none: it cannot trade yet
        users.add_row(user, _connected(each["connected"]) if known else "-", renewed, _cell(each["trouble"]))
    return [feeds, Text(), users]


def _connected(up: bool) -> Text:
    return Text("connected", "green") if up else Text("down", "red")


def _metrics(data: Answer) -> list[RenderableType]:
    if "text" in data:
        return [Text(data["text"])]
    head = {name: value for name, value in data.items() if name not in ("actors", "requests", "latency")}
    latency = _table(("FROM THE START", "COUNT", "P50", "P99"), right=("COUNT", "P50", "P99"))
    for name, each in data["latency"].items():
        counts, bounds = each["counts"], each["bounds_ms"]
        latency.add_row(name, str(sum(counts)), took(bounds, counts, 0.5), took(bounds, counts, 0.99))
    heads = ("ACTOR", "LIFE", "RESTARTS", "DEPTH", "HIGH", "MESSAGES")
    actors = _table(heads, right=heads[1:])
    for path, each in data["actors"].items():
        names = ("incarnation", "restarts", "mailbox_depth", "mailbox_high", "messages")
        actors.add_row(path, *(str(each[name]) for name in names))
    columns = ("SESSION", "REQUESTS", "REPLIES", "NOT SENT", "NO REPLY", "IN FLIGHT", "SKEW MS")
    sessions = _table(columns, right=columns[1:])
    for user, each in data.get("requests", {}).items():
        figures = ("requests", "replies", "not_sent", "no_reply", "in_flight", "server_skew_ms")
        sessions.add_row(user or "(public)", *(_cell(each[name]) for name in figures))
    return [pretty(head), Text(), latency, Text(), actors, Text(), sessions]


# -- one pair


def _pair(data: Answer) -> list[RenderableType]:
    told: list[RenderableType] = []
    for _, each in _served(data):
        lists = ("orders", "fills", "changes", "timeline")
        told.append(pretty({name: value for name, value in each.items() if name not in lists}))
        orders = ("order_id", "leg", "side", "price", "quantity", "executed_quantity", "status")
        fills = ("exchange_time", "leg", "side", "price", "quantity", "quote_quantity", "commission", "source")
        told += [Text(), *_rows(each["orders"], orders, ("quantity",))]
        told += [Text(), *_rows(each["fills"], fills, ("source", "commission"))]
        told += [Text(), *(hanging(_clock(event["at"]), event["what"]) for event in each["timeline"])]
    return told


def _rows(items: Sequence[Answer], names: Sequence[str], drops: Sequence[str]) -> list[RenderableType]:
    columns = {name: name.replace("_", " ").upper() for name in names}
    shown = [{name: _when(name, item[name]) for name in names} for item in items]
    return fitting(shown, columns, drops, console().width)


def _clock(value: str) -> str:
    """2026-11-20T10:00:00.123Z as "10:00:00.123": the day is in the pair's own times."""
    return value[11:23]


def _when(name: str, value: Any) -> str:
    return _moment(value) if name == "exchange_time" else _shown(name, value)


# -- the doctor's findings

_MARKS = {"good": ("✓", "green"), "note": ("·", "dim"), "bad": ("✗", "bold red")}


def findings(found: Sequence[Finding]) -> list[RenderableType]:
    told: list[RenderableType] = []
    for each in found:
        told.append(hanging(Text(*_MARKS[each.verdict]), f"{each.about}: {each.what}"))
        if each.do:
            told.append(hanging("    ->", each.do))
    bad = sum(each.verdict == "bad" for each in found)
    told.append(Text(f"{count(bad, 'problem')}" if bad else "all well", "bold red" if bad else "bold green"))
    return told


MADE: dict[str, Callable[[Any], list[RenderableType]]] = {
    **{f"user.{verb}": _user_changed for verb in ("create", "update", "remove")},
    "user.set-credentials": _credentials,
    "user.check-credentials": _checked,
    "user.apply": _applied,
    "config.show": _config,
    "config.set": _config,
    "account.balance": _balance,
    "account.volume": _volume,
    "stats.show": _statistics,
    "token.list": _tokens,
    "price.history": _bars,
    "system.audit": _audit,
    "system.streams": _streams,
    "notify.test": _notified,
    "system.metrics": _metrics,
    "pair.show": _pair,
}
