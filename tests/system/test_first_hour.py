"""The first hour of somebody who has never seen otod: from an empty directory to a user that trades, and on.

Only words that the README and --help say are used, in the terminal and by nngcat, against `otod exchange` + `otod run`.
Planted secrets are looked for everywhere but in the store's ciphertext.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pynng
import pytest

from tests.system.audit import compare
from tests.system.processes import ROOT, end, environment, otoctl, running, wait_for

pytestmark = pytest.mark.system

CANARY = "c4n4ryS3ssionC00kie"
SETTINGS = ["--token", "KOGE", "--target-volume", "150", "--order-amount", "50", "--buy-offset", "0.05"]
SETTINGS += ["--sell-offset", "-0.05"]
PASTE = """curl 'http://127.0.0.1:8701/bapi/defi/v1/private/alpha-trade/order/get-open-order' \\
  -H 'accept: */*' -H 'clienttype: web' \\
  -b 'paper_account={user}; p20t={canary}' \\
  -H 'csrftoken: {canary}-token' --compressed
"""


class Place:
    """One daemon with its exchange, and a person at a terminal."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "s"
        self.socket = f"ipc://{self.state}/run/control.sock"
        self.log = directory / "run.log"
        self.process: subprocess.Popen[str]
        self.heard: list[bytes] = []

    def says(self, *words: str, code: int = 0, stdin: str = "") -> str:
        """otoctl, as typed; its standard output."""
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.ctl", "--socket", self.socket, *words],
            input=stdin, capture_output=True, text=True, timeout=30, cwd=ROOT, env=environment(), check=False,
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert CANARY not in done.stdout + done.stderr
        return done.stdout if code == 0 else done.stdout + done.stderr

    def tells(self, *words: str) -> Any:
        return json.loads(self.says(*words, "--json"))

    def user(self, name: str, *words: str) -> Any:
        return self.tells(*words, name)["users"][name]

    def ask(self, cmd: str, **args: Any) -> Any:
        """One request by nngcat, or by nng itself where that is not installed."""
        frame = json.dumps({"id": os.urandom(4).hex(), "cmd": cmd, "args": args})
        if shutil.which("nngcat"):
            (self.directory / "frame.json").write_text(frame)
            words = [
                "--dial",
                self.socket,
                "--raw",
                "--recv-timeout",
                "15",
                "--file",
                str(self.directory / "frame.json"),
            ]
            done = subprocess.run(["nngcat", "--req0", *words], capture_output=True, text=True, timeout=30, check=True)
            reply = done.stdout
        else:
            with pynng.Req0(recv_timeout=15_000) as client:
                client.dial(self.socket, block=True)
                client.send(frame.encode())
                reply = client.recv().decode()
        assert CANARY not in reply
        return json.loads(reply)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """All events, as they come."""
        with pynng.Sub0(recv_buffer_size=8192, recv_timeout=200, topics=[""]) as client:
            client.dial(self.socket.replace("control", "events"), block=True)
            over = threading.Event()

            def listen() -> None:
                while not over.is_set():
                    try:
                        self.heard.append(client.recv())
                    except pynng.Timeout:
                        continue

            thread = threading.Thread(target=listen)
            thread.start()
            try:
                yield
            finally:
                over.set()
                thread.join()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    words = ("exchange", "--http", "0", "--ws", "0", "--state-dir", str(tmp_path / "x"))
    with running(*words, log=tmp_path / "x.log") as exchange:
        assert exchange.stdout is not None
        urls = json.loads(exchange.stdout.readline())
        hosts = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
        (tmp_path / "otod.toml").write_text(f'state_dir = "{made.state}"\n[exchange]\nmode = "binance"\n{hosts}')
        with running("run", "--config", str(tmp_path / "otod.toml"), log=made.log) as made.process:
            up = ("--socket", made.socket, "system", "version")
            wait_for(lambda: otoctl(*up).returncode == 0, within_s=30, what="control")
            yield made
        end(exchange)


def tables_that_tell(place: Place) -> list[str]:
    """Columns of the database and of the published files that hold the secret: their files may be compressed."""
    copies = place.directory / "copies"
    shutil.rmtree(copies, ignore_errors=True)
    shutil.copytree(place.state / "live", copies)  # the daemon's own may be opened by nobody else
    seen = []
    for file in (*copies.glob("*.duckdb"), *(place.state / "analytics").glob("*.duckdb")):
        with duckdb.connect(str(file), read_only=file.parent != copies) as connection:
            columns = connection.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal")
            for table, column in columns.fetchall():
                found = connection.execute(
                    f'SELECT count(*) FROM "{table}" WHERE contains("{column}"::VARCHAR, ?)', [CANARY]
                ).fetchone()
                seen += [f"{file.name} {table}.{column}"] if found != (0,) else []
    return seen


def secrets_seen(place: Place) -> list[str]:
    """Where the planted secret can be read, the exchange's own files left out."""
    seen = [str(path) for path in (place.directory / "s").rglob("*") if path.is_file() and _holds(path)]
    seen += [str(path) for path in (place.log,) if _holds(path)]
    seen += ["an event" for frame in place.heard if CANARY.encode() in frame]
    process = Path(f"/proc/{place.process.pid}")
    assert CANARY.encode() not in (process / "cmdline").read_bytes()
    with suppress(PermissionError):  # who is not root may not even look: the process is not dumpable
        assert CANARY.encode() not in (process / "environ").read_bytes()
    cores = next(line for line in (process / "limits").read_text().splitlines() if "core file" in line)
    assert cores.split()[4:6] == ["0", "0"]
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
    seen += ["the process list" for command in commands if CANARY.encode() in command]
    return seen + tables_that_tell(place)


SLIPS: list[dict[str, Any]] = [
    {"cookie": {"p20t": CANARY}},
    {"cookies": {"p20t": f"{CANARY}\n"}},
    {"cookies": [CANARY]},
    {"headers": CANARY},
    {"curl": f"curl 'http://x' -b 'p20t={CANARY}"},
    {"curl": f"curl 'http://x' -b 'p20t={CANARY}' --data @{CANARY} --{CANARY}"},
    {"curl": {"text": CANARY}},
    {"curl": f'{{"cookies": {{"p20t": "{CANARY}"'},
]
"""Handing credentials over in wrong ways."""


def _holds(path: Path) -> bool:
    return CANARY.encode() in path.read_bytes()


def bought(place: Place, user: str) -> float:
    return float(place.user(user, "stats", "progress")["volume"])


def test_the_first_hour_in_the_terminal(place: Place) -> None:
    assert "0 users" in place.says("status")
    assert "user create" in place.says("user", "create", "--help")
    place.says("user", "create", "alice", "--display-name", "Alice")
    assert "no configuration yet" in place.says("trading", "start", "alice", code=1)
    assert "did you mean KOGE?" in place.says("config", "set", "alice", *SETTINGS[2:], "--token", "KOGEE", code=1)
    wrong = place.says("config", "set", "alice", *SETTINGS, "--buy-offset", "50", "--order-amount", "nan", code=2)
    assert "slip of the decimal point" in wrong
    assert "order_amount" in wrong
    place.says("config", "set", "alice", *SETTINGS)
    assert "no credentials yet" in place.says("trading", "start", "alice", code=1)
    assert "missing" in place.says("user", "set-credentials", "alice", stdin="curl 'http://x/y'", code=2)
    place.says("user", "set-credentials", "alice", stdin=PASTE.format(user="alice", canary=CANARY))
    assert "valid" in place.says("user", "check-credentials", "alice")
    assert "beyond the balance" in place.says("config", "set", "alice", "--order-amount", "20000", code=2)
    assert "10000" in place.says("account", "balance", "alice")
    assert "tradable" in place.says("token", "list", "--find", "KOGE", "--every")
    with place.listening():
        place.says("trading", "start", "alice")
        wait_for(lambda: bought(place, "alice") > 0, within_s=30, what="a first fill")
        assert place.user("alice", "config", "set", "--order-amount", "40", "--revision", "1")["revision"] == 2
        assert "STALE" not in place.says("config", "set", "alice", "--order-amount", "45", "--revision", "1", code=1)
        rotated = place.tells("vault", "rotate")
        assert (rotated["resealed"], rotated["old_keys_dropped"]) == (1, True)
        again = PASTE.format(user="alice", canary=f"{CANARY}2")
        place.says("user", "set-credentials", "alice", stdin=again)
        wait_for(lambda: place.user("alice", "trading", "status")["phase"] == "done", within_s=90, what="the target")
        assert place.user("alice", "trading", "status")["pauses"] == []
    for words in (["why", "alice"], ["system", "streams"], ["system", "audit"], ["stats", "show"], ["pairs", "list"]):
        assert "alice" in place.says(*words)
    place.says("user", "remove", "alice", "--yes")
    assert place.tells("user", "list")["total"] == 0
    assert secrets_seen(place) == []
    place.says("system", "drain", "--yes")
    assert place.process.wait(30) == 0
    assert "Traceback" not in place.log.read_text()
    found = compare(place.state, place.directory / "x")
    assert (found.differences, found.live_pairs_most) == ([], 1)


def test_the_first_hour_by_nngcat(place: Place) -> None:
    commands = [each["cmd"] for each in place.ask("system.commands")["data"]["commands"]]
    assert {"user.create", "user.set-credentials", "config.set", "trading.start"} <= set(commands)
    for frame in re.findall(r"--data '([^']+)'", (ROOT / "supervisor/control/README.md").read_text()):
        request = json.loads(frame)
        reply = place.ask(request["cmd"], **request.get("args", {}))
        assert reply["ok"] or reply["error"]["code"] in ("REFUSED", "PAIR_UNKNOWN"), (frame, reply)
    assert place.ask("user.create", user="bob")["ok"]
    for slip in SLIPS:
        assert place.ask("user.set-credentials", user="bob", **slip)["error"]["code"] in ("BAD_ARGUMENT", "REFUSED")
    for wrong in (CANARY, {"cookies": CANARY}, {"cookies": {"a b": CANARY}}, {"p20t": {"x": CANARY}}):
        assert not place.ask("user.apply", document={"users": {"bob": {"credentials": wrong}}})["ok"]
    cookies = {"paper_account": "bob", "p20t": CANARY}
    stored = place.ask("user.set-credentials", user="bob", cookies=cookies, headers={})
    assert stored["data"]["users"]["bob"]["credentials"] == "valid"
    assert place.ask("user.check-credentials", user="bob")["data"]["users"]["bob"]["valid"] is True
    keys = {"token": "KOGE", "target_volume": "90", "order_amount": 50, "buy_offset": 0.05, "sell_offset": "-0.05"}
    configured = place.ask("config.set", user="bob", **keys)["data"]["users"]["bob"]
    assert (configured["revision"], configured["buy_offset"]) == (1, "0.05")
    stale = place.ask("config.set", user="bob", order_amount="60", revision=0)
    assert stale["error"]["code"] == "STALE_REVISION"
    assert place.ask("trading.start", user="bob")["ok"]
    wait_for(
        lambda: place.ask("trading.status", user="bob")["data"]["users"]["bob"]["phase"] == "done",
        within_s=60,
        what="the target",
    )
    pairs = place.ask("pairs.list", user="bob")["data"]["users"]["bob"]
    shown = place.ask("pair.show", user="bob", pair_id=pairs["items"][0]["pair_id"])["data"]["users"]["bob"]
    assert shown["fills"]
    volume = place.ask("account.volume", user="bob")["data"]["users"]["bob"]
    assert float(volume["own"]["counted_volume"]) == pytest.approx(float(volume["exchange"]["counted_volume"]))
    assert place.ask("token.show", token="KOGE")["data"]["tradable"] is True
    assert place.ask("price.history", token="KOGE")["data"]["items"]
    assert place.ask("user.remove", user="bob", drain=True)["ok"]
    assert place.ask("user.show", user="bob")["error"]["code"] == "USER_UNKNOWN"
    assert place.ask("actor.restart", path="control")["ok"]  # the one who answers: first the answer
    again = '"path":"control","state":"running","incarnation":2'
    tree = ("--socket", place.socket, "tree", "--json")
    wait_for(lambda: again in otoctl(*tree).stdout, within_s=20, what="the next incarnation of control")
    assert secrets_seen(place) == []


def test_a_document_and_a_login_that_expires(place: Place) -> None:
    document = place.directory / "users.toml"
    (place.directory / "carol.json").write_text(json.dumps({"cookies": {"paper_account": "carol", "p20t": CANARY}}))
    document.write_text(
        '[users.carol]\ntrading = { token = "KOGE", target_volume = 5000, order_amount = "50", buy_offset = "0.05",'
        ' sell_offset = "-0.05" }\ncredentials_file = "carol.json"\n[users.dave]\nemail = "dave"\n'
    )
    assert "users.dave.email" in place.says("user", "apply", str(document), code=2)
    document.write_text(document.read_text().replace('"dave"', '"d@e"'))
    assert place.tells("user", "apply", str(document), "--dry-run")["created"] == ["carol", "dave"]
    assert place.tells("user", "list")["total"] == 0
    assert place.tells("user", "apply", str(document))["created"] == ["carol", "dave"]
    assert place.tells("user", "apply", str(document))["unchanged"] == ["carol", "dave"]
    place.says("trading", "start", "carol")
    wait_for(lambda: bought(place, "carol") > 0, within_s=30, what="a first fill")
    place.says("user", "set-credentials", "carol", stdin='{"cookies": {"p20t": "nobody knows this one"}}')
    wait_for(
        lambda: place.user("carol", "user", "show")["credentials"] == "invalid", within_s=60, what="marked invalid"
    )
    status = place.user("carol", "trading", "status")
    assert [pause["reason"] for pause in status["pauses"]] == ["AUTH_FAILED"]
    assert "NOT VALID" in place.says("user", "check-credentials", "carol", code=1)
    place.says("user", "set-credentials", "carol", "--file", str(place.directory / "carol.json"))
    wait_for(
        lambda: otoctl("--socket", place.socket, "trading", "resume", "carol").returncode == 0,
        within_s=60,
        what="a resume that is accepted",
    )
    before = bought(place, "carol")
    wait_for(lambda: bought(place, "carol") > before, within_s=30, what="it goes on")
    assert secrets_seen(place) == []


def test_a_change_of_the_key_that_is_killed_goes_on_while_a_user_trades(place: Place) -> None:
    document = place.directory / "users.toml"
    carol = '[users.carol]\ntrading = { token = "KOGE", target_volume = 5000, order_amount = "50", buy_offset = "0.05",'
    carol += ' sell_offset = "-0.05" }\n'
    for name in ["carol", *(f"u{number}" for number in range(300))]:
        table = "" if name == "carol" else f"[users.{name}]\n"
        carol += f'{table}credentials = {{ cookies = {{ paper_account = "{name}", p20t = "{CANARY}" }} }}\n'
    document.write_text(carol)
    place.says("user", "apply", str(document))
    place.says("trading", "start", "carol")
    wait_for(lambda: bought(place, "carol") > 0, within_s=30, what="a first fill")
    keys = place.state / "master.key"
    lines = keys.read_text().count("\n")
    with pynng.Req0() as client:
        client.dial(place.socket, block=True)
        client.send(b'{"id":"1","cmd":"vault.rotate"}')
        while keys.read_text().count("\n") == lines and place.process.poll() is None:
            time.sleep(0.001)
        place.process.kill()
        place.process.wait(10)
    before = keys.read_text().count("\n")
    with running("run", "--config", str(place.directory / "otod.toml"), log=place.log) as place.process:
        up = ("--socket", place.socket, "system", "version")
        wait_for(lambda: otoctl(*up).returncode == 0, within_s=30, what="control")
        rotated = place.tells("vault", "rotate")
        assert (rotated["unreadable"], rotated["old_keys_dropped"], rotated["resumed"]) == ([], True, before > lines)
        assert keys.read_text().count("\n") == lines
        place.says("user", "check-credentials", "carol", "u0", "u150", "u299")
        volume = bought(place, "carol")
        wait_for(lambda: bought(place, "carol") > volume, within_s=60, what="it goes on")
        assert place.user("carol", "trading", "status")["pauses"] == []
        assert secrets_seen(place) == []
