"""Comforts of otoctl: handing secrets over, asking back, watching, the doctor, completion of tokens."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.shell_completion import ShellComplete
from cryptography.fernet import Fernet
from msgspec.structs import replace

from actors.domain.trading import Pause
from actors.errors import ExchangeTrouble, StoreLost
from supervisor.ctl import cli, common, handing
from supervisor.ctl import doctor as doctors
from supervisor.ctl.cli import otoctl
from supervisor.ctl.client import Trouble, clean
from tests.control.daemon import PAIR_ID, TEN_MS, record, snapshot
from tests.ctl.inprocess import Terminal

PASTE = "curl 'http://127.0.0.1:8701/x' -b 'paper_account=alice; p20t=c4n4ry'"


@pytest.fixture
def terminal(monkeypatch):
    return Terminal(monkeypatch)


# -- credentials


def test_credentials_come_from_stdin_and_nothing_is_echoed(terminal):
    from click.testing import CliRunner

    done = CliRunner().invoke(otoctl, ["user", "set-credentials", "alice"], input=PASTE)
    assert done.exit_code == 0, done.output
    assert "c4n4ry" not in done.output
    assert terminal.office.keyring.handed == [("alice", {"paper_account": "alice", "p20t": "c4n4ry"}, {}, "1000:7")]


def test_a_file_may_begin_with_the_mark_that_some_editors_write(terminal, tmp_path):
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf" + PASTE.encode())
    done = terminal.run("user", "set-credentials", "alice", "--file", str(tmp_path / "x"))
    assert done.exit_code == 0, done.output
    assert terminal.office.keyring.handed[0][1]["paper_account"] == "alice"


def test_nothing_handed_over_is_a_usage_error(terminal):
    done = terminal.run("user", "set-credentials", "alice")
    assert done.exit_code == 2
    assert "nothing was handed over" in done.stderr


def test_what_is_no_text_is_refused(terminal, tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe")
    done = terminal.run("user", "set-credentials", "alice", "--file", str(tmp_path / "x"))
    assert done.exit_code == 1
    assert "no text" in done.stderr


def test_a_wrong_paste_is_said_without_a_value(terminal, tmp_path):
    (tmp_path / "x").write_text(PASTE.replace("-b ", "--jar "))
    done = terminal.run("user", "set-credentials", "alice", "--file", str(tmp_path / "x"))
    assert done.exit_code == 2
    assert "c4n4ry" not in done.output


def test_the_real_exchange_needs_its_token(terminal, tmp_path):
    terminal.office.session_host = "www.binance.com"
    (tmp_path / "x").write_text('{"cookies": {"p20t": "c4n4ry"}}')
    (tmp_path / "y").write_text(PASTE)
    for name in ("x", "y"):
        done = terminal.run("user", "set-credentials", "alice", "--file", str(tmp_path / name))
        if name == "y":
            assert "did not go to www.binance.com" in done.stderr
            assert "csrftoken: missing" in done.stderr
    assert all("c4n4ry" not in each for each in (done.stdout, done.stderr))


def test_a_paste_on_a_terminal_is_read_whole_and_not_shown():
    """Longer than a terminal's own line, ended by Ctrl-D."""
    long = PASTE + " -H 'device-info: " + "x" * 9000 + "'"
    program = (
        "import sys; from supervisor.ctl import handing; "
        "args = handing.credentials({}); print('GOT', len(args['curl']), args['curl'].endswith(chr(39)))"
    )
    leader, follower = pty.openpty()
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, "-c", program], stdin=follower, stdout=follower, stderr=follower,
                          env=environment, cwd=root) as process:  # fmt: skip
        os.close(follower)
        shown = b""
        while b"Ctrl-D" not in shown:
            shown += os.read(leader, 4096)
        while b"not shown" not in shown:
            shown += os.read(leader, 4096)
        for at in range(0, len(long), 1000):
            os.write(leader, long[at : at + 1000].encode())
        os.write(leader, b"\x04")
        while b"GOT" not in shown or not shown.endswith(b"\n"):
            shown += os.read(leader, 4096)
        assert process.wait(10) == 0
    os.close(leader)
    assert f"GOT {len(long)} True" in shown.decode()
    assert b"device-info" not in shown


@pytest.mark.parametrize("how", ["\x03", signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_who_breaks_off_a_paste_finds_the_terminal_as_it_was(how):
    root = Path(__file__).resolve().parents[2]
    program = (
        "import signal, fcntl, termios, sys; from supervisor.ctl import handing; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "signal.signal(signal.SIGINT, signal.SIG_DFL); handing.credentials({})"  # as main() does
    )
    leader, follower = pty.openpty()
    before = termios.tcgetattr(follower)
    with subprocess.Popen([sys.executable, "-c", program], stdin=follower, stdout=follower, stderr=follower,
                          cwd=root, start_new_session=True) as process:  # fmt: skip
        shown = b""
        while b"not shown" not in shown:
            shown += os.read(leader, 4096)
        assert termios.tcgetattr(follower) != before
        if isinstance(how, str):
            os.write(leader, how.encode())
        else:
            process.send_signal(how)
        assert process.wait(10) == -(signal.SIGINT if isinstance(how, str) else how)
    assert termios.tcgetattr(follower) == before
    os.close(follower)
    os.close(leader)


# -- documents


def test_a_document_is_read_here_with_the_files_it_names(terminal, tmp_path):
    (tmp_path / "a.json").write_text('{"cookies": {"a": "b"}}')
    (tmp_path / "users.toml").write_text('[users.alice]\ncredentials_file = "a.json"\n[users.bob.trading]\nx = 0.10\n')
    done = terminal.run("user", "apply", str(tmp_path / "users.toml"), "--force")
    assert done.exit_code == 0, done.output
    document, force, dry_run, _ = terminal.office.people.asked[0]
    assert document["users"]["alice"] == {"credentials": {"cookies": {"a": "b"}}}
    assert document["users"]["bob"]["trading"]["x"] == "0.10"
    assert (force, dry_run) == (True, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[users", "no TOML"),
        ('[users.a]\ncredentials_file = "missing.json"', "cannot read"),
        ('[users.a]\ncredentials_file = "users.toml"', "no JSON"),
    ],
)
def test_a_document_that_cannot_be_read_is_said(terminal, tmp_path, text, says):
    (tmp_path / "users.toml").write_text(text)
    done = terminal.run("user", "apply", str(tmp_path / "users.toml"))
    assert done.exit_code != 0
    assert says in done.stderr


def test_a_file_that_is_gone_is_trouble(tmp_path):
    with pytest.raises(Trouble, match="cannot read"):
        handing.credentials({"curl": str(tmp_path / "gone")})


# -- asking back


@pytest.mark.parametrize(
    ("words", "asks"),
    [
        (["user", "remove", "alice"], True),
        (["user", "remove", "alice", "--yes"], False),
        (["trading", "stop", "alice"], False),
        (["trading", "stop", "--all", "--now"], True),
        (["system", "drain"], True),
        (["trading", "status"], False),
    ],
)
def test_a_person_is_asked_before_what_cannot_be_taken_back(terminal, monkeypatch, words, asks):
    asked = []
    monkeypatch.setattr("supervisor.ctl.cli.confirm", asked.append)
    assert terminal.run(*words).exit_code == 0
    assert bool(asked) == asks


def test_no_is_no(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(common.sys, "stdin", type("T", (), {"isatty": lambda self: True})())
    monkeypatch.setattr(common.sys, "stderr", type("T", (), {"isatty": lambda self: True, "write": len, "flush": id})())

    def no(*words, **kw):
        raise click.Abort

    monkeypatch.setattr(click, "confirm", no)
    with pytest.raises(click.Abort):
        common.confirm("This ends the daemon.")


def test_nobody_pastes_secrets_for_a_user_that_is_misspelt(terminal, monkeypatch):
    monkeypatch.setattr(cli, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    monkeypatch.setattr(handing, "_pasted", lambda: pytest.fail("asked for a paste"))
    done = terminal.run("user", "set-credentials", "alic")
    assert done.exit_code == 1
    assert "did you mean alice?" in done.stderr


# -- watching


def test_watch_shows_it_again(terminal, monkeypatch):
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    done = terminal.run("trading", "status", "alice", "--watch", "0.5")
    assert waited == [0.5] * 3
    assert done.stdout.count("USER") == 3


@pytest.mark.parametrize(("words", "head"), [("status", "USER"), ("tree", "ACTOR"), ("why alice", "alice  ")])
def test_short_forms_are_watched_too(terminal, monkeypatch, words, head):
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    done = terminal.run(*words.split(), "--watch")
    assert waited == [2.0] * 2
    assert done.stdout.count(head) == 2


def test_status_is_told_while_the_store_gives_no_answer(terminal, monkeypatch):
    def down(self, question, **kw):
        raise StoreLost("the disk is full")

    monkeypatch.setattr(type(terminal.office.store), "ask", down)
    for each in list(terminal.office.snapshots):
        shown = terminal.office.snapshots[each]
        terminal.office.snapshots[each] = replace(shown, progress=None)
    done = terminal.run("status")
    assert done.exit_code == 0
    assert "alice" in done.stdout


def test_watch_goes_on_over_errors(terminal, monkeypatch):
    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    assert "no user" in terminal.run("trading", "status", "nobody", "--watch").stderr


def test_what_acts_cannot_be_watched(terminal):
    assert terminal.run("trading", "stop", "alice", "--watch").exit_code == 2


# -- the doctor


def doctor(terminal, *words):
    done = terminal.run("doctor", *words)
    return done.exit_code, done.stdout


def test_all_well_is_exit_code_0(terminal):
    code, said = doctor(terminal)
    assert code == 0, said
    assert "all well" in said
    assert "credentials: stored and not refused so far: alice, bob, carol" in said


def test_what_is_wrong_is_said_with_what_to_do(terminal, tmp_path):
    office = terminal.office
    office.records()["alice"] = record("alice", credentials="invalid")
    office.records()["bob"] = record("bob", credentials="none")
    office.snapshots["alice"] = snapshot(pauses=(Pause(reason="AUTH_FAILED", since_ms=TEN_MS, detail="login"),))
    session = {"requests": 10, "replies": 5, "not_sent": 3, "no_reply": 2, "in_flight": 0, "server_skew_ms": -9000}
    office.figures = lambda: {"store": None, "requests": {"": session}}
    (tmp_path / "otod.toml").write_text("nonsense = 1\n")
    code, said = doctor(terminal, "--config", str(tmp_path / "otod.toml"))
    assert code == 1
    for text in ("nonsense", "AUTH_FAILED", "refused by the exchange: alice", "none yet: bob", "set the system clock"):
        assert text in said
    assert "without a reply" in said
    code, told = doctor(terminal, "--json")
    assert {each["verdict"] for each in json.loads(told)["findings"]} >= {"good", "bad"}


def test_the_doctor_asks_the_exchange_now(terminal):
    assert "reachable: the exchange answers for alice" in doctor(terminal)[1]
    terminal.office.wallets.volume = ExchangeTrouble("no route", trouble="unreachable")
    code, said = doctor(terminal)
    assert code == 1
    assert "no route" in said
    for user, each in terminal.office.records().items():
        terminal.office.records()[user] = replace(each, credentials="none")
    assert "reachable" not in doctor(terminal)[1]


def test_a_caller_with_few_rights_is_told_what_it_may_not_see(terminal):
    from supervisor.access import Access

    terminal.office.access = Access(own_uid=0, users={"alice": [1000]}, names=lambda uid: frozenset())
    _, said = doctor(terminal)
    assert said.count("you may not look at this") == 2
    assert "bob" not in said


def test_what_this_user_may_not_look_at_is_left_to_others(terminal, monkeypatch):
    """/etc/otod is for the daemon's group alone: whoever else asks the doctor gets an answer all the same."""

    def forbidden(*args, **kw):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctors.Path, "open", forbidden)
    monkeypatch.setattr(doctors.Path, "is_dir", forbidden)
    code, said = doctor(terminal)
    assert code == 0
    assert "you may not read /etc/otod/otod.toml" in said
    assert "all well" in said


def test_disk_and_key_of_a_state_directory(tmp_path):
    from supervisor.ctl.doctor import _place

    assert [each.about for each in _place(tmp_path)] == ["disk", "key"]
    (tmp_path / "live").mkdir()
    assert "put it back" in next(each for each in _place(tmp_path) if each.about == "key").do
    key = tmp_path / "master.key"
    one, other = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    for text, mode, verdict in (
        (one, 0o644, "bad"),
        (one, 0o600, "good"),
        (f"{one}\n{other}\n", 0o600, "note"),
        ("c4n4ry", 0o600, "bad"),
        ("", 0o600, "bad"),
    ):
        key.write_text(text)
        key.chmod(mode)
        found = next(each for each in _place(tmp_path) if each.about == "key")
        assert found.verdict == verdict, text
        assert not {"c4n4ry", one} & set(f"{found.what} {found.do}".split())
    assert [each.verdict for each in _place(tmp_path / "gone")] == ["note"]


# -- what the exchange says


def test_words_of_others_cannot_act_on_the_terminal(terminal):
    evil = "\x1b]0;title\x07\x1b[2J\x9b31mred\u202egnp.exe"
    terminal.office.snapshots["alice"] = snapshot(
        pauses=(Pause(reason="ORDER_REJECTED", since_ms=TEN_MS, detail=evil),)
    )
    assert clean({evil: [evil, 1, None]}) == {clean(evil): [clean(evil), 1, None]}
    assert not set(clean(evil)) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert clean("two\nlines\tand ½ 漢") == "two\nlines\tand ½ 漢"


@pytest.mark.parametrize(
    ("line", "begun", "offered"),
    [
        ("token show", "KO", ["KOGE"]),
        ("config set alice --token", "", ["KOGE"]),
        ("trading pause", "", ["alice", "bob", "carol"]),
        ("trading pause alice", "", ["bob", "carol"]),
        ("report --user", "b", ["bob"]),
        ("system audit --user", "c", ["carol"]),
        ("actor restart", "traders/a", ["traders/alice"]),
        ("pair show alice", "alice", [PAIR_ID]),
        ("pair show nobody", "", []),
        ("events", "p", ["pair", "pause", "progress"]),
        ("events", "fill.b", ["fill.bob"]),
        ("system log-level", "w", ["warning"]),
        ("user create", "", []),
        ("config set alice --offset-mode", "f", ["fixed"]),
        ("config set alice --unset", "max_wear_u", ["max_wear_usdt"]),
        ("config set alice --auto-resume", "RATE_LIMITED,FEED", ["RATE_LIMITED,FEED_DISCONNECTED"]),
        ("trading", "re", ["resume"]),
    ],
)
def test_a_shell_is_offered_what_the_daemon_knows(terminal, monkeypatch, line, begun, offered):
    monkeypatch.setattr(common, "Client", lambda *args, **kw: terminal._client())
    completing = ShellComplete(otoctl, {}, "otoctl", "_OTOCTL_COMPLETE")
    assert [item.value for item in completing.get_completions(line.split(), begun)] == offered


def test_long_lines_are_broken_between_words_on_a_terminal_only(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "30")
    text = "otoctl: no token 'KOGEE' [token KOGEE]\n  -> did you mean KOGE? see token list"
    assert common.laid_out(text, io.StringIO()) == text
    lines = common.laid_out(text, Screen()).splitlines()
    assert lines[1:] == ["     [token KOGEE]", "  -> did you mean KOGE? see", "       token list"]
    assert max(map(len, lines)) <= 30


def test_in_fish_a_description_does_not_end_at_a_comma(terminal):
    """The script is the library's; this fails when it no longer has the word that is replaced."""
    assert 'string split -m 1 ","' in terminal.run("completion", "fish").output


def test_a_test_of_notifications_is_a_table(terminal):
    done = terminal.run("notify", "test")
    assert done.exit_code == 0
    assert "json-1" in done.output
    assert "not told" in done.output
    assert "error 500" in done.output
