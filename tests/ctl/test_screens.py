"""What otoctl prints fits 80 columns and 160: no number is folded, no word is cut, every user is told."""

from __future__ import annotations

import io
import re

import pytest
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from actors.domain.trading import PAUSE_REASONS, Pause
from supervisor.ctl import tables
from supervisor.ctl.cli import otoctl
from supervisor.ctl.more_tables import differences
from tests.control.daemon import PAIR_ID, TEN_MS, D, snapshot
from tests.ctl.inprocess import Terminal

SCREENS = [
    "status", "tree", "why", "trading status", "trading why", "stats progress", "stats show", "account volume",
    "account balance", "orders list", "pairs list", f"pair show alice {PAIR_ID}", "config show", "user list",
    "user show", "token list --every", "token show KOGE", "price show KOGE", "price history KOGE", "system status",
    "system health", "system streams", "system metrics", "system audit", "system version", "system commands",
]  # fmt: skip


@pytest.fixture
def terminal(monkeypatch):
    """A daemon with long words and large numbers."""
    made = Terminal(monkeypatch)
    office = made.office
    for user in office.users():
        shown = snapshot(user)
        assert shown.progress is not None
        much = D("999999.05")
        busy = replace(
            shown.progress, volume=much, closed_volume=much, target=D(1_000_000), wear=D("1234.5678"), pairs=20_000
        )
        office.snapshots[user] = replace(shown, progress=busy)
    detail = "1.0425 ALPHA_22 of pair alice-2026-11-20-7 are not sold: no buyer at the floor 46.99169477"
    pause = Pause(reason="INVENTORY_LEFT", since_ms=TEN_MS, detail=detail, hint="sell them by hand, then resume")
    office.snapshots["alice"] = replace(office.snapshots["alice"], pauses=(pause,))
    record = office.records()["alice"]
    assert record.config is not None
    reasons = ("PRICE_VOLATILITY", "FEED_DISCONNECTED", "ORDERS_DISCONNECTED", "EXCHANGE_UNREACHABLE")
    office.records()["alice"] = replace(record, config=replace(record.config, auto_resume=reasons))
    return made


@pytest.mark.parametrize("columns", [80, 160])
@pytest.mark.parametrize("words", SCREENS)
def test_no_screen_cuts_a_word_or_folds_a_number(terminal, monkeypatch, words, columns):
    monkeypatch.setattr(tables, "PIPE_COLUMNS", columns)
    done = terminal.run(*words.split())
    assert "…" not in done.stdout, done.stdout
    assert max(map(len, done.stdout.splitlines())) <= columns


@pytest.mark.parametrize("reason", PAUSE_REASONS)
def test_every_pause_can_be_read_in_a_narrow_table(terminal, monkeypatch, reason):
    monkeypatch.setattr(tables, "PIPE_COLUMNS", 80)
    pauses = tuple(Pause(reason=each, since_ms=TEN_MS, detail="") for each in (reason, "OPERATOR"))
    terminal.office.snapshots["bob"] = snapshot("bob", pauses=pauses)
    row = next(line for line in terminal.run("status").stdout.splitlines() if line.startswith("b"))
    assert f"‖ {reason} +1 " in row
    assert len(row) <= 80


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_actors_of_the_longest_names_are_told_whole(terminal, monkeypatch, columns):
    monkeypatch.setattr(tables, "PIPE_COLUMNS", columns)
    tree = terminal.office.tree()
    longest = replace(tree.children[-1], path=f"traders/{'x' * 32}", children=())
    monkeypatch.setattr(terminal.office, "tree", lambda: replace(tree, children=(*tree.children, longest)))
    done = terminal.run("tree")
    assert "…" not in done.stdout, done.stdout
    assert "x" * 32 in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert ("a wider terminal" in done.stdout) == (columns < 160)


def test_who_cannot_trade_yet_has_no_stream_that_could_be_down(terminal, monkeypatch):
    monkeypatch.setattr(terminal.office, "listen_key", lambda user: None)
    terminal.office.snapshots["bob"] = replace(snapshot("bob"), stream_connected=False)
    rows = terminal.run("system", "streams").stdout.splitlines()
    assert next(row for row in rows if row.startswith("bob")).split() == ["bob", "-", "-", "-"]


def test_whose_orders_they_are_is_told_of_several_users(terminal, monkeypatch):
    monkeypatch.setattr(tables, "PIPE_COLUMNS", 80)
    said = terminal.run("orders", "list").stdout
    assert said.startswith("USER")
    assert "bob" in said
    assert not terminal.run("orders", "list", "alice").stdout.startswith("USER")


def test_configurations_that_do_not_fit_beside_each_other_stand_below(terminal, monkeypatch):
    monkeypatch.setattr(tables, "PIPE_COLUMNS", 50)
    said = terminal.run("config", "show").stdout
    assert said.count("KEY") > 1
    for word in ("alice", "bob", "carol", "EXCHANGE_UNREACHABLE"):
        assert word in said


def test_a_query_that_does_not_fit_is_told_row_by_row():
    names, rows = (
        ["user", "volume", "a long name of a column"],
        [["alice", "123456.789012", None], ["bob", "7", "x" * 30]],
    )
    (table,) = tables.sheet(names, rows, 80)
    assert isinstance(table, Table)
    out = Console(width=40, file=io.StringIO())
    for each in tables.sheet(names, rows, 40):
        out.print(each)
    said = out.file.getvalue().splitlines()
    assert said[0] == "row 1"
    assert said[2].split() == ["volume", "123456.789012"]
    assert said.count("row 2") == 1
    assert max(map(len, said)) <= 40


def test_an_audit_entry_names_what_changed_whole():
    before = '{"order_amount":"50","auto_resume":[],"email":"","max_wear_bps":"9"}'
    after = '{"order_amount":"60","auto_resume":["RATE_LIMITED","STORE_UNAVAILABLE"],"email":"","max_wear_bps":null}'
    assert differences(before, after).splitlines() == [
        "order_amount 50 → 60",
        "auto_resume RATE_LIMITED, STORE_UNAVAILABLE",
        "max_wear_bps 9 → -",
    ]
    assert differences(None, '{"token":"KOGE"}') == "token KOGE"
    assert differences("stopped", "running") == "stopped → running"


COMMANDS = [
    (group, name)
    for group in ("", *otoctl.commands)
    for name in getattr(otoctl.commands.get(group, otoctl), "commands", ())
]


@pytest.mark.parametrize(("group", "name"), COMMANDS)
def test_help_fits_and_is_whole(terminal, monkeypatch, group, name):
    monkeypatch.setenv("COLUMNS", "80")
    said = terminal.run(*([group] if group else []), name, "--help").output
    assert max(map(len, said.splitlines())) <= 80
    assert not re.search(r"[^\]]\.\.\.$", said, re.MULTILINE), said
