"""Callers of another uid at the real sockets: what strangers, viewers and limited callers get."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.access import Access
from tests.control.thread import ThreadedDaemon

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can call as somebody else"),
]

OTHER = 65534

CLIENT = """
import json, socket, struct, sys
url, protocol, topic, frame = sys.argv[1:]
with socket.socket(socket.AF_UNIX) as link:
    link.settimeout(1.5)
    link.connect(url.removeprefix("ipc://"))
    link.sendall(struct.pack(">4sHH", b"\\0SP\\0", int(protocol, 16), 0))
    if frame:
        body = struct.pack(">I", 0x80000001) + frame.encode()
        link.sendall(struct.pack(">BQ", 1, len(body)) + body)
    data = b""
    try:
        while more := link.recv(65536):
            data += more
            if len(data) >= 17 and len(data) >= 17 + struct.unpack(">Q", data[9:17])[0]:
                break
        ended = "closed" if not more else "open"
    except (TimeoutError, ConnectionError) as error:
        ended = type(error).__name__
print(json.dumps({"ended": ended, "body": data[17:].decode("latin-1")}))
"""
"""nng's framing with the standard library alone: the other uid cannot read our packages."""


@pytest.fixture
def daemon() -> Iterator[ThreadedDaemon]:
    directory = Path(tempfile.mkdtemp(prefix="otod-access-"))
    directory.chmod(0o755)
    made = ThreadedDaemon(directory)
    with made.running():
        (directory / "run").chmod(0o755)
        for name in ("control.sock", "events.sock"):
            (directory / "run" / name).chmod(0o666)
        yield made
    shutil.rmtree(directory)


def call(url: str, *, frame: dict[str, Any] | None = None, protocol: str = "30") -> dict[str, Any]:
    done = subprocess.run(
        ["/usr/bin/env", "-i", _python(), "-c", CLIENT, url, protocol, "", "" if frame is None else json.dumps(frame)],
        capture_output=True, text=True, timeout=20, user=OTHER, group=OTHER, extra_groups=[], cwd="/", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _python() -> str:
    for candidate in ("/usr/bin/python3", "/usr/local/bin/python3", sys.executable):
        if Path(candidate).exists():
            return candidate
    pytest.skip("no interpreter that everybody may run")


def asked(daemon: ThreadedDaemon, cmd: str, **args: Any) -> dict[str, Any]:
    answer = call(daemon.control, frame={"id": "1", "cmd": cmd, "args": args})
    reply: dict[str, Any] = json.loads(answer["body"][4:])
    return reply


def test_a_stranger_is_told_nothing(daemon: ThreadedDaemon) -> None:
    for cmd, args in (("system.version", {}), ("trading.status", {"user": "alice"}), ("nonsense", {})):
        assert asked(daemon, cmd, **args)["error"]["code"] == "NOT_PERMITTED"
    assert call(daemon.events, protocol="21")["ended"] != "TimeoutError"


def test_a_viewer_looks_and_hears_but_does_not_act(daemon: ThreadedDaemon) -> None:
    daemon.office.access = Access(own_uid=0, viewers=[OTHER])
    assert asked(daemon, "trading.status", user="alice")["ok"]
    assert asked(daemon, "trading.stop", user="alice")["error"]["code"] == "NOT_PERMITTED"
    assert call(daemon.events, protocol="21")["ended"] == "TimeoutError"  # it may stay


def test_a_limited_caller_has_its_own_user_and_no_events(daemon: ThreadedDaemon) -> None:
    daemon.office.access = Access(own_uid=0, users={"alice": ["nobody", "nogroup", OTHER]})
    assert asked(daemon, "trading.pause", user="alice")["ok"]
    assert asked(daemon, "trading.pause", user="bob")["error"]["code"] == "NOT_PERMITTED"
    assert call(daemon.events, protocol="21")["ended"] != "TimeoutError"
