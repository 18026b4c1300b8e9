"""otoctl against a real socket: finding the daemon, waiting for it, losing it, and the live screens."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time

import pynng
import pytest
from click.testing import CliRunner

from supervisor.access import Rights
from supervisor.ctl import short
from supervisor.ctl.cli import otoctl
from tests.control.thread import ThreadedDaemon
from tests.system.processes import ROOT

pytestmark = pytest.mark.system
OTOCTL = [sys.executable, "-m", "supervisor.ctl"]


@pytest.fixture
def daemon(tmp_path):
    with ThreadedDaemon(tmp_path).running() as running:
        yield running


def run(*words, **environ):
    return CliRunner().invoke(otoctl, list(words), prog_name="otoctl", env={"OTOD_SOCKET": None, **environ})


def test_the_entry_point_asks_and_answers(daemon):
    done = subprocess.run([*OTOCTL, "--socket", daemon.control, "status"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert "alice" in done.stdout
    assert done.stderr == ""


def test_a_reader_that_has_seen_enough_is_no_error(daemon):
    done = subprocess.run(
        [
            "sh",
            "-c",
            f"{sys.executable} -m supervisor.ctl --socket {daemon.control} --json system commands | head -c 1",
        ],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{", "")


def test_bytes_that_are_no_text_and_times_that_are_none_are_wrong_usage(daemon):
    for words in (["pair", "show", "alice", "\udcff"], ["--timeout", "nan", "status"], ["status", "--watch", "inf"]):
        done = run("--socket", daemon.control, *words)
        assert done.exit_code == 2, done.stderr
        assert isinstance(done.exception, SystemExit)


def test_each_call_has_an_id_of_its_own(daemon):
    for _ in range(2):
        assert run("--socket", daemon.control, "trading", "stop", "alice").exit_code == 0
    assert len(daemon.office.traders["alice"].asked) == 2


# -- finding the daemon


def test_without_a_daemon_it_says_where_it_looked_and_how_to_start_one(tmp_path):
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": "", "STATE_DIRECTORY": "", "RUNTIME_DIRECTORY": str(tmp_path)}
    done = run("status", **home)
    assert done.exit_code == 3
    assert f"ipc://{tmp_path}/.local/state/otod-paper/run/control.sock" in done.stderr
    assert "otod paper" in done.stderr
    assert done.stdout == ""


def test_the_first_daemon_that_answers_is_taken(daemon, tmp_path):
    """A stale socket file comes first in the order and is passed over."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    with pynng.Rep0(listen=f"ipc://{runtime}/other.sock"):
        os.link(runtime / "other.sock", runtime / "control.sock")
    done = run("--json", "system", "version", RUNTIME_DIRECTORY=str(runtime), STATE_DIRECTORY=str(tmp_path))
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "otod"


def test_a_socket_may_be_named_by_its_directory(daemon, tmp_path):
    assert run("--socket", str(tmp_path / "run"), "system", "health").exit_code == 0


def test_a_socket_that_may_not_be_used_is_exit_code_4(tmp_path, monkeypatch):
    def forbid(*args, **options):
        raise pynng.PermissionDenied("Permission denied", 26)

    monkeypatch.setattr(pynng.Req0, "dial", forbid)
    done = run("--socket", "ipc:///x", "status")
    assert done.exit_code == 4
    assert "group" in done.stderr


# -- waiting and losing


def test_a_daemon_that_does_not_answer_is_a_failure_after_the_timeout(tmp_path):
    url = f"ipc://{tmp_path}/s"
    with pynng.Rep0(listen=url):
        done = run("--socket", url, "--timeout", "0.2", "status")
    assert done.exit_code == 1
    assert "no answer within 0.2 s" in done.stderr
    assert "it may still act" in done.stderr


def test_a_daemon_that_ends_meanwhile_is_a_failure_not_a_second_request(tmp_path):
    url = f"ipc://{tmp_path}/s"
    rep = pynng.Rep0(listen=url)
    received = []

    def die():
        received.append(rep.recv())
        rep.close()

    thread = threading.Thread(target=die)
    thread.start()
    done = run("--socket", url, "trading", "stop", "alice")
    thread.join(5)
    assert done.exit_code == 1
    assert "ended the connection" in done.stderr
    assert len(received) == 1


def test_user_names_are_completed_by_the_daemon(daemon):
    environ = {**os.environ, "OTOD_SOCKET": daemon.control, "_OTOCTL_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    code = "from supervisor.ctl.cli import otoctl; otoctl(prog_name='otoctl')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environ, "COMP_WORDS": "otoctl trading status b"},
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.stdout.split() == ["plain,bob"]
    gone = {**environ, "OTOD_SOCKET": "/nowhere", "COMP_WORDS": "otoctl trading status b"}
    done = subprocess.run([sys.executable, "-c", code], env=gone, capture_output=True, text=True, timeout=20)
    assert done.stdout.strip() == ""


BASH = """eval "$(otoctl completion bash)"
COMP_WORDS=(otoctl trading status b); COMP_CWORD=3
_otoctl_completion otoctl; echo "${COMPREPLY[@]}"
"""
FISH = """otoctl completion fish | source
complete -C 'otoctl trading status b'
"""
ZSH = """compdef() { :; }; compadd() { shift 4; echo ${(P)1}; }
eval "$(otoctl completion zsh)"
words=(otoctl trading status b); CURRENT=4
_otoctl_completion
"""


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", BASH), ("fish", FISH), ("zsh", ZSH)], ids=["bash", "fish", "zsh"]
)
def test_a_shell_takes_the_script_and_completes(daemon, tmp_path, shell, script):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    command = tmp_path / "otoctl"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m supervisor.ctl "$@"\n')
    command.chmod(0o755)
    environ = {**os.environ, "OTOD_SOCKET": daemon.control, "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environ["PATH"] = f"{tmp_path}:{environ['PATH']}"
    done = subprocess.run([shell], input=script, env=environ, capture_output=True, text=True, timeout=20)
    assert done.stdout.split() == ["bob"], done.stderr


# -- events


def emitting(daemon, stop):
    while not stop.wait(0.02):
        daemon.emit("fill.alice", "filled", side="BUY")
        daemon.emit("progress.alice", "target_reached", day="2026-11-20")
        daemon.emit("fill.alice2", "filled", side="SELL")


@pytest.fixture
def busy(daemon):
    stop = threading.Event()
    thread = threading.Thread(target=emitting, args=(daemon, stop))
    thread.start()
    yield daemon
    stop.set()
    thread.join(5)


def test_events_are_printed_as_they_come(busy):
    done = run("--socket", busy.control, "events", "--count", "3", "fill.alice")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == ["10:00:00 fill.alice filled side=BUY"] * 3
    done = run("--socket", busy.control, "events", "fill", "--count", "1", "--json")
    assert json.loads(done.stdout)["kind"] == "filled"


def test_events_end_by_themselves_unless_followed(daemon, monkeypatch):
    monkeypatch.setattr(short, "LISTEN_S", 0.2)
    done = run("--socket", daemon.control, "events")
    assert (done.exit_code, done.stdout) == (0, "")


def test_events_of_a_daemon_without_an_events_socket(tmp_path):
    url = f"ipc://{tmp_path}/s"
    with pynng.Rep0(listen=url):
        done = run("--socket", url, "events")
    assert done.exit_code == 3
    assert "cannot listen" in done.stderr


def test_who_is_let_in_to_no_events_is_told_so_at_once(daemon):
    class Limited:
        def rights(self, uid):
            return Rights(own=frozenset({"alice"}))

    daemon.office.access = Limited()
    done = run("--socket", daemon.control, "events", "--follow")
    assert done.exit_code == 4
    assert "may not" in done.stderr


def test_following_ends_with_ctrl_c(busy):
    words = [*OTOCTL, "--socket", busy.control, "events", "--follow"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        assert "filled" in follower.stdout.readline()
        follower.send_signal(signal.SIGINT)
        assert follower.wait(10) == -signal.SIGINT
        assert follower.stderr.read() == ""


# -- top


class Screen:
    """A command on a terminal of its own."""

    def __init__(self, columns, *words):
        self.process, self.fd = pty.fork()
        if self.process == 0:
            os.environ |= {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
            os.execv(OTOCTL[0], [*OTOCTL, *words])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.shown = ""

    def until(self, pattern, within_s=15):
        ends = time.monotonic() + within_s
        while not re.search(pattern, self.plain()):
            assert time.monotonic() < ends, self.plain()
            if not self._read():
                break
        return self.plain()

    def plain(self):
        """What came so far, without colours and cursor movements, one picture below the other."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.shown.replace("\x1b[H", "\n"))

    def press(self, keys):
        self.shown = ""
        os.write(self.fd, keys)

    def ended(self):
        while self._read():
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])

    def _read(self):
        readable, _, _ = select.select([self.fd], [], [], 10)
        assert readable, "nothing more came"
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.shown += data.decode()
        return bool(data)


@pytest.mark.parametrize("key", [b"q", b"\x03"])
@pytest.mark.parametrize("columns", [80, 160])
def test_top_shows_users_and_events_until_q_or_ctrl_c(busy, columns, key):
    screen = Screen(columns, "--socket", busy.control, "top", "--every", "0.1")
    shown = screen.until("alice reached the day's target")
    assert "otod 0.1.0 paper" in shown
    assert "319.05/500" in shown
    assert max(len(line) for line in shown.splitlines()) <= columns
    screen.press(key)
    assert screen.ended() == 0


def test_top_waits_for_a_daemon_that_went_away(tmp_path):
    daemon = ThreadedDaemon(tmp_path)
    with daemon.running():
        screen = Screen(80, "--socket", daemon.control, "top", "--every", "0.1")
        screen.until("alice")
    screen.until("Trying again")
    with daemon.running():
        screen.shown = ""
        screen.until("alice")
        screen.press(b"q")
        assert screen.ended() == 0


def test_top_without_a_daemon_is_exit_code_3():
    screen = Screen(80, "--socket", "/nowhere", "top")
    assert screen.ended() == 3
    assert "no daemon" in screen.plain()
