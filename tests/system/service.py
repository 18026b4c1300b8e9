"""A paper exchange and a service beside it, as real processes, driven over the control socket as a client would."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pynng
from msgspec import Struct

from tests.system.audit import Compared, compare, records
from tests.system.processes import end, running, wait_for

USER = """
[users.{name}]
trading = {{ token = "KOGE", target_volume = "{target}", order_amount = "25", buy_offset = "{buy}", \
sell_offset = "{sell}", interval_seconds = 0, timeout_seconds = {timeout}, volatility_threshold = 50, auto_resume = \
["FEED_DISCONNECTED", "ORDERS_DISCONNECTED", "EXCHANGE_UNREACHABLE", "STORE_UNAVAILABLE"] }}
credentials = {{ cookies = {{ paper_account = "{name}" }}, headers = {{}} }}
"""
QUICK = "[placement]\nsettle_s = 3\npoll_s = 3\n"
"""The paper exchange of these tests does not lag by itself; the proofs need not take their usual 20 s."""


class Users(Struct, frozen=True, kw_only=True):
    """Who trades how. With buy 0.05 and sell -0.05 percent both legs cross the spread at once."""

    count: int
    target: int
    buy: str = "0.05"
    sell: str = "-0.05"
    timeout: int = 300

    @property
    def names(self) -> list[str]:
        return [f"user{number}" for number in range(self.count)]


@contextmanager
def exchange(place: Path, *words: str) -> Iterator[dict[str, str]]:
    """`otod exchange`; what it says of where it is."""
    log = place / "exchange.log"
    with running("exchange", "--http", "0", "--ws", "0", "--state-dir", str(place / "x"), *words, log=log) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, log.read_text()
        yield json.loads(said)
        assert end(process) == 0, log.read_text()[-2000:]


class Service:
    """`otod run` on a directory, started as often as the test wants."""

    def __init__(self, place: Path, urls: dict[str, str], users: Users, *, settings: str = QUICK) -> None:
        self.place = place
        self.users = users
        self.state_dir = place / "s"
        self.log = place / "run.log"
        hosts = "".join(f'{name} = "{url}"\n' for name, url in urls.items())
        head = f'state_dir = "{self.state_dir}"\n'
        (place / "otod.toml").write_text(f'{head}{settings}[exchange]\nmode = "binance"\n{hosts}')
        (place / "users.toml").write_text(
            "".join(
                USER.format(name=name, target=users.target, buy=users.buy, sell=users.sell, timeout=users.timeout)
                for name in users.names
            )
        )

    @contextmanager
    def run(self) -> Iterator[subprocess.Popen[str]]:
        """Up when its control socket answers for all its users."""
        with running(*self._words(), log=self.log) as process:
            wait_for(lambda: self._up(process), within_s=60, what=f"control of {self.state_dir}")
            yield process

    def kill_in(self, seconds: float) -> None:
        """Starts it and kills it so long after, wherever it is then."""
        with running(*self._words(), log=self.log) as process:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                killed(process)

    def _words(self) -> tuple[str, ...]:
        return ("run", "--config", str(self.place / "otod.toml"), "--apply", str(self.place / "users.toml"))

    def ask(self, cmd: str, within_ms: int = 20_000, **args: Any) -> dict[str, Any]:
        """The data of a reply; raises AssertionError with the daemon's words otherwise."""
        url = f"ipc://{self.state_dir / 'run' / 'control.sock'}"
        with pynng.Req0(recv_timeout=within_ms, send_timeout=within_ms) as socket:
            socket.dial(url, block=True)
            socket.send(json.dumps({"cmd": cmd, "args": args}).encode())
            reply = json.loads(socket.recv())
        assert reply["ok"], reply
        data: dict[str, Any] = reply["data"]
        return data

    def status(self) -> dict[str, dict[str, Any]]:
        users: dict[str, dict[str, Any]] = self.ask("trading.status", all=True)["users"]
        return users

    def phases(self) -> set[str]:
        return {user["phase"] for user in self.status().values()}

    def start_all(self) -> None:
        self.ask("trading.start", all=True)

    def resumed(self) -> bool:
        """Asks for the end of every pause; True once nobody is paused any more."""
        paused = [user for user, shown in self.status().items() if shown["pauses"]]
        if paused:
            self.ask_if_possible("trading.resume", users=paused)
        return not paused

    def ask_if_possible(self, cmd: str, **args: Any) -> None:
        """A refusal is an answer too."""
        with suppress(AssertionError):
            self.ask(cmd, **args)

    def come_to_rest(self, within_s: float = 120.0) -> None:
        """Nobody opens another pair; every live one is followed to its end."""
        self.ask("trading.stop", all=True)
        wait_for(lambda: self.phases() <= {"idle", "done"}, within_s=within_s, what=self.status)

    def compared(self) -> Compared:
        return compare(self.state_dir, self.place / "x")

    def assert_exact(self) -> Compared:
        """Records equal the exchange's, never two live pairs, nobody met himself or another, nothing is left open."""
        found = self.compared()
        assert found.differences == []
        assert found.live_pairs_most <= 1
        assert found.self_matches == 0
        assert records(self.state_dir, "SELECT pair_id, status FROM pairs WHERE status <> 'closed'") == []
        return found

    def _up(self, process: subprocess.Popen[str]) -> bool:
        assert process.poll() is None, self.log.read_text()[-3000:]
        try:
            return len(self.ask("trading.status", within_ms=500, all=True)["users"]) == self.users.count
        except (pynng.NNGException, OSError):
            return False


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
