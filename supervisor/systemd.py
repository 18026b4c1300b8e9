"""The service's side of systemd's notify protocol: lines in a datagram to $NOTIFY_SOCKET (sd_notify(3)). No library.

    notifier = Notifier.of(os.environ, os.getpid())
    notifier.tell("READY=1", "STATUS=8 trading, 1 paused")

Where nobody listens (a terminal, a test) everything is as if it had been told. Telling never waits: the loop that feeds
the watchdog must not hang on the one who watches it. Whoever must be heard tells again what was not taken.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping

from supervisor.redact import redact_text

STATUS_MAX = 200
"""Characters of a status line: one line of `systemctl status`."""


def monotonic_us() -> int:
    """CLOCK_MONOTONIC as systemd reads it, in µs: trio's own clock has another beginning."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


class Notifier:
    """address: of the socket, "@" for an abstract name; None: nobody listens. watchdog_s: None: nobody watches."""

    def __init__(
        self, address: str | None, watchdog_s: float | None = None, *, now_us: Callable[[], int] = monotonic_us
    ) -> None:
        self._address = "\0" + address[1:] if address and address.startswith("@") else address
        self.watchdog_s = watchdog_s if address else None
        self._now_us = now_us
        self._socket: socket.socket | None = None
        self.lost = 0  # messages that nobody took

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """As systemd says it in the environment. A watchdog that is another process's (WATCHDOG_PID) is not ours."""
        address = environ.get("NOTIFY_SOCKET", "")
        usec, meant = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        watched = usec.isdecimal() and int(usec) > 0 and meant in ("", str(pid))
        return cls(address if address.startswith(("/", "@")) else None, int(usec) / 1e6 if watched else None)

    @property
    def listens(self) -> bool:
        return self._address is not None

    def tell(self, *lines: str) -> bool:
        """One message. False: it was not taken, and nobody will tell it again by itself."""
        assert lines, "a message has a line"
        assert not any("\n" in line for line in lines), lines
        if self._address is None:
            return True
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:  # its queue is full, or it restarts
            self.lost += 1
            return False
        return True

    def reloading(self) -> bool:
        """Before a reload; READY=1 ends it. The time tells one reload from another (Type=notify-reload)."""
        return self.tell("RELOADING=1", f"MONOTONIC_USEC={self._now_us()}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def status(text: str) -> str:
    """The line that shows a text under `systemctl status`, to everybody on the machine: without secrets."""
    line = " ".join(redact_text(text).split())
    return f"STATUS={line if len(line) <= STATUS_MAX else line[: STATUS_MAX - 1] + '…'}"


def extend(seconds: float) -> str:
    """Asks for so much more time, counted from now, for a start or a stop that takes long."""
    return f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"
