"""Plays systemd's side of a unit for a real process: the notify socket, the watchdog, the restarts, with figures.

Only what the unit file of otod asks for: Type=notify, NotifyAccess=main, WatchdogSec=, Restart=on-failure,
RestartPreventExitStatus=. The real one is met in test_service_booted.py.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from tests.system.processes import ROOT, environment

RESTART_S = 0.2
"""RestartSec= of the unit is 2 s; tests need not wait for it, and figures are told without it."""

PREVENT = (2, 78)


class Told(Struct, frozen=True):
    """One line of a message. life: 1, 2 … of the process that told it."""

    at_s: float
    life: int
    line: str


class Ended(Struct, frozen=True):
    at_s: float
    life: int
    status: int  # as subprocess has it: negative for a signal


class PlayedSystemd:
    """words: the command behind the interpreter. watchdog_s None: WatchdogSec= is not set.

    always: Restart=always, so that a signal is what `systemctl restart` does.
    """

    def __init__(
        self,
        place: Path,
        *words: str,
        watchdog_s: float | None = None,
        env: Mapping[str, str] | None = None,
        always: bool = False,
    ) -> None:
        self.always = always
        self.log = place / "unit.log"
        self.told: list[Told] = []
        self.ended: list[Ended] = []
        self.killed_s: list[float] = []  # when the watchdog struck
        self.process: subprocess.Popen[bytes]
        self.down = threading.Event()  # for good: it ended in order, or a restart does not help
        self._words, self._watchdog_s, self._env = words, watchdog_s, dict(env or {})
        self._life = 0
        self._fed_s: float | None = None
        self._over = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(0.05)
        self._path = str(place / "notify")
        self._socket.bind(self._path)

    @contextmanager
    def running(self) -> Iterator[PlayedSystemd]:
        self._start()
        threads = [threading.Thread(target=task) for task in (self._listen, self._keep)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over = True
            for thread in threads:
                thread.join()
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait()
            self._socket.close()

    # -- for tests

    def until(self, there: Callable[[], object], within_s: float = 60.0) -> None:
        until_s = time.monotonic() + within_s
        while not there():
            assert time.monotonic() < until_s, (
                f"not within {within_s} s: {self.told[-8:]} {self.log.read_text()[-3000:]}"
            )
            time.sleep(0.02)

    def lines(self, beginning: str, life: int | None = None) -> list[Told]:
        return [it for it in self.told if it.line.startswith(beginning) and life in (None, it.life)]

    def until_ready(self, life: int = 1, within_s: float = 60.0) -> Told:
        self.until(lambda: self.lines("READY=1", life), within_s)
        return self.lines("READY=1", life)[0]

    def until_told(self, line: str, after: int = 0, within_s: float = 30.0) -> Told:
        """The first line with this beginning behind the first `after` lines."""
        found: list[Told] = []

        def there() -> bool:
            found[:] = [it for it in self.told[after:] if it.line.startswith(line)]
            return bool(found)

        self.until(there, within_s)
        return found[0]

    def signal(self, signum: signal.Signals) -> None:
        self.process.send_signal(signum)

    def stop(self, within_s: float = 60.0) -> int:
        """As `systemctl stop`. Returns the exit status."""
        self.signal(signal.SIGTERM)
        assert self.down.wait(within_s), self.log.read_text()[-3000:]
        return self.ended[-1].status

    # -- systemd's part

    def _start(self) -> None:
        self._life += 1
        self._fed_s = None
        env = environment() | self._env | {"NOTIFY_SOCKET": self._path}
        if self._watchdog_s is not None:
            env["WATCHDOG_USEC"] = str(round(self._watchdog_s * 1e6))
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, *self._words], stdout=subprocess.DEVNULL, stderr=file, cwd=ROOT, env=env
            )

    def _listen(self) -> None:
        while not self._over:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
            except TimeoutError:
                continue
            pid, uid, _ = struct.unpack("3i", ancillary[0][2])
            assert uid == os.geteuid()
            if pid != self.process.pid:  # NotifyAccess=main
                continue
            now_s = time.monotonic()
            for line in data.decode().split("\n"):
                self.told.append(Told(now_s, self._life, line))
                if line in ("READY=1", "WATCHDOG=1"):
                    self._fed_s = now_s

    def _keep(self) -> None:
        while not self._over:
            time.sleep(0.02)
            status = self.process.poll()
            now_s = time.monotonic()
            if status is not None:
                self.ended.append(Ended(now_s, self._life, status))
                if (status == 0 and not self.always) or status in PREVENT:
                    self.down.set()
                    return
                time.sleep(RESTART_S)
                self._start()
            elif self._watchdog_s is not None and self._fed_s is not None and now_s - self._fed_s > self._watchdog_s:
                self._fed_s = None
                self.killed_s.append(now_s)
                self.process.send_signal(signal.SIGABRT)
