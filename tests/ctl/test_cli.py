"""Command lines of otoctl: made from the command table, with the exit codes of contract § 1."""

from __future__ import annotations

import json

import click
import pytest

from actors.domain.trading import Pause
from supervisor.control.table import COMMANDS
from supervisor.ctl.cli import AREAS, otoctl, parameters
from supervisor.lifecycle import Crash
from tests.control.daemon import PAIR_ID, TEN_MS, node, snapshot
from tests.ctl.inprocess import Terminal


@pytest.fixture
def terminal(monkeypatch):
    return Terminal(monkeypatch)


def command_of(name):
    area, _, verb = name.partition(".")
    group = otoctl.commands[area]
    assert isinstance(group, click.Group)
    return group.commands[verb]


# -- made from the table


def test_every_command_of_the_daemon_is_a_command_of_otoctl():
    assert {command.area for command in COMMANDS} == set(AREAS)
    for command in COMMANDS:
        about = command_of(command.name).help
        assert about is not None
        assert about.startswith(command.about)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_argument_of_a_command_can_be_said(command):
    said = {parameter.name for parameter in parameters(command)}
    wanted = {argument.name for argument in command.args if argument.kind != "secrets"}  # never in an argument list
    if command.on_users:
        wanted |= {"users"}
    assert wanted <= said


LINES = {
    "system.status": [], "system.health": [], "system.tree": [], "system.version": [], "system.commands": [],
    "user.list": [], "user.show": ["alice"], "trading.start": ["alice"], "trading.pause": ["alice", "bob"],
    "trading.resume": ["--all"], "trading.stop": ["alice", "--now"], "trading.status": [], "trading.why": ["alice"],
    "stats.progress": ["--since", "2026-11-20"], "orders.list": ["alice", "--status", "FILLED", "--limit", "5"],
    "pairs.list": ["--status", "closed"], "pair.cancel": ["alice", PAIR_ID], "pair.disown": ["alice", PAIR_ID],
    "pair.adopt": ["alice", PAIR_ID, "51481849"], "price.show": ["KOGE"],
    "actor.restart": ["traders/alice"], "system.streams": [], "system.metrics": [], "system.audit": ["--user", "alice"],
    "system.log-level": ["debug"], "system.reload": [], "system.drain": ["--yes"], "user.create": ["dave"],
    "user.update": ["alice", "--email", "a@b"], "user.remove": ["alice", "--drain"],
    "user.set-credentials": ["alice", "--file", "PASTE"], "user.check-credentials": ["alice"],
    "user.apply": ["USERS", "--dry-run"], "config.show": ["alice", "bob"],
    "config.set": ["alice", "--order-amount", "60", "--unset", "max_wear_usdt,max_wear_bps", "--revision", "1"],
    "account.balance": ["alice"], "account.volume": ["--since", "2026-11-20"], "stats.show": ["alice"],
    "pair.show": ["alice", PAIR_ID], "token.list": ["--every"], "token.show": ["KOGE"], "token.add": ["AIOT"],
    "token.remove": ["AIOT"], "token.refresh": ["--token", "KOGE"], "price.history": ["KOGE"], "vault.rotate": [],
    "notify.test": [],
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_works_for_people_and_for_programs(terminal, command, tmp_path):
    (tmp_path / "paste").write_text("curl http://127.0.0.1/x -b paper_account=alice")
    (tmp_path / "users.toml").write_text('[users.alice]\nemail = "a@b"\n')
    files = {"PASTE": str(tmp_path / "paste"), "USERS": str(tmp_path / "users.toml")}
    words = [*command.name.split("."), *(files.get(word, word) for word in LINES[command.name])]
    done = terminal.run(*words)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip()
    as_json = terminal.run(*words, "--json")
    assert as_json.exit_code == 0
    assert json.loads(as_json.stdout)


def test_json_may_be_asked_for_before_or_after_the_command(terminal):
    before = terminal.run("--json", "trading", "status", "alice")
    after = terminal.run("trading", "status", "alice", "--json")
    assert json.loads(before.stdout) == json.loads(after.stdout)
    assert before.stdout.count("\n") == 1


def test_help_needs_no_daemon(terminal):
    for words in (["--help"], ["trading", "--help"], ["trading", "stop", "-h"], ["query", "--help"]):
        done = terminal.run(*words)
        assert done.exit_code == 0
        assert "Usage: otoctl" in done.stdout


# -- exit codes


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["trading", "statsu"], 2, "did you mean status?"),
        (["tradign"], 2, "did you mean trading?"),
        (["trading", "start"], 2, "Name the users to start, or say --all."),
        (["trading", "start", "alice", "--all"], 2, "not both"),
        (["trading", "status", "Alice"], 2, "must be a user name"),
        (["orders", "list", "--limit", "0"], 2, "not in the range"),
        (["orders", "list", "--since", "soon"], 2, "is no time like"),
        (["pairs", "list", "--status", "open"], 2, "is not one of"),
        (["actor", "restart", "traders/alcie"], 2, "did you mean traders/alice?"),
        (["trading", "status", "alcie"], 1, "no user 'alcie'\n  -> did you mean alice?"),
        (["price", "show", "KOGEE"], 1, "did you mean KOGE?"),
        (["pair", "cancel", "alice", "alice-2026-11-20-9"], 1, "is not live"),
    ],
)
def test_what_is_wrong_has_its_exit_code_and_its_reason_on_stderr(terminal, words, code, says):
    done = terminal.run(*words)
    assert done.exit_code == code
    assert says in done.stderr
    assert done.stdout == ""


def test_a_refused_start_says_why_and_what_to_do(terminal):
    terminal.office.snapshots["alice"] = snapshot(pauses=(Pause(reason="WEAR_LIMIT", since_ms=TEN_MS, detail=""),))
    done = terminal.run("trading", "start", "alice")
    assert done.exit_code == 1
    assert done.stderr == "otoctl: paused WEAR_LIMIT [traders/alice]\n  -> resume it first\n"


def test_some_users_failing_is_a_failure_that_shows_the_others(terminal):
    done = terminal.run("trading", "status", "alice", "nobody")
    assert done.exit_code == 1
    assert "alice" in done.stdout
    assert done.stderr.startswith("otoctl: nobody: no user 'nobody'")


def test_all_users_failing_names_each(terminal):
    done = terminal.run("trading", "status", "x", "y")
    assert done.exit_code == 1
    assert "otoctl: x: no user 'x'" in done.stderr
    assert "otoctl: y: no user 'y'" in done.stderr


def test_an_error_is_json_too_where_json_was_asked_for(terminal):
    done = terminal.run("--json", "trading", "status", "alcie")
    assert json.loads(done.stdout)["error"]["code"] == "USER_UNKNOWN"
    assert done.stderr


def test_an_unhealthy_daemon_is_exit_code_1(terminal):
    terminal.office.root = node("", kind="group", children=(node("traders/bob", state="parked"),))
    done = terminal.run("system", "health")
    assert done.exit_code == 1
    assert "traders/bob" in done.stdout
    assert "actor.restart traders/bob" in done.stdout


# -- short forms


def test_status_tells_of_the_daemon_and_of_every_user(terminal):
    terminal.office.snapshots["bob"] = snapshot(
        "bob", pauses=(Pause(reason="PRICE_VOLATILITY", since_ms=TEN_MS, detail="2.3 % above 2 %", hint="wait"),)
    )
    lines = terminal.run("status").stdout.splitlines()
    assert lines[0].startswith("otod 0.1.0 paper · up 1 min 01 s · KOGE 48.0021")
    assert lines[1] == "3 users: 2 trading, 1 paused · 5 actors, 0 restarts"
    assert lines[3].split() == ["USER", "STATE", "VOLUME", "PAIRS", "TO", "GO", "WEAR", "USDT", "BPS"]
    assert lines[4].split() == ["alice", "partially_filled", "319.05/500.00", "6", "4", "0.1100", "3.7"]
    assert "PRICE_VOLATILITY" in lines[5]
    assert lines[7] == "bob paused PRICE_VOLATILITY since 2026-11-20 10:00:00 UTC: 2.3 % above 2 %"
    assert lines[8] == "  -> wait"


def test_status_of_some_users(terminal):
    done = terminal.run("status", "bob", "nobody")
    assert done.exit_code == 1
    assert "bob" in done.stdout
    assert "alice" not in done.stdout
    assert "no user 'nobody'" in done.stderr
    assert json.loads(terminal.run("status", "bob", "--json").stdout).keys() == {"system", "users"}


def test_status_of_unknown_users_only_is_a_failure(terminal):
    done = terminal.run("status", "nobody")
    assert done.exit_code == 1
    assert "there are alice, bob, carol" in done.stderr


def test_tree_and_why_are_their_long_forms(terminal):
    assert terminal.run("tree").stdout == terminal.run("system", "tree").stdout
    assert terminal.run("why", "alice").stdout == terminal.run("trading", "why", "alice").stdout
    assert "last decision: place" in terminal.run("why").stdout


def test_a_crash_is_told_below_the_tree_with_its_brackets(terminal):
    crash = Crash(at_ms=TEN_MS, type="StreamLost", message="closed [traders/bob] -> wait", place="actors/x.py:1 run")
    bob = node("traders/bob", state="delaying", uptime_s=None, last_crash=crash, waiting_for="its restart in 3.2 s")
    family = node("traders", kind="family", mailbox=None, children=(bob,))
    terminal.office.root = node("", kind="group", children=(family,))
    lines = terminal.run("tree").stdout.splitlines()
    assert lines[2].split() == ["bob", "actor", "delaying", "1", "0", "-", "0/4096", "14"]
    assert lines[3] == "traders/bob waits for its restart in 3.2 s"
    assert lines[4] == "traders/bob crashed 2026-11-20 10:00:00 UTC at actors/x.py:1 run"
    assert lines[5] == "  StreamLost: closed [traders/bob] -> wait"


def test_a_crash_without_a_place_and_a_group_are_told(terminal):
    crash = Crash(at_ms=TEN_MS, type="InjectedCrash", message="chaos", place="")
    bob = node("traders/bob", last_crash=crash)
    family = node("traders", kind="family", mailbox=None, children=(bob,))
    terminal.office.root = node("", kind="group", children=(family,))
    lines = terminal.run("tree").stdout.splitlines()
    assert lines[1].split() == ["traders", "family", "running", "1", "0", "1", "min", "01", "s", "-", "-"]
    assert lines[3] == "traders/bob crashed 2026-11-20 10:00:00 UTC"


def test_top_without_a_terminal_says_what_to_use(terminal):
    done = terminal.run("top")
    assert done.exit_code == 2
    assert "otoctl status" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(terminal, shell):
    done = terminal.run("completion", shell)
    assert done.exit_code == 0
    assert "_OTOCTL_COMPLETE" in done.stdout
