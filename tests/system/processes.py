"""Real processes of otod for the system tests: started, watched, ended by their own id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """The process's own, measured for coverage where the suite is, without places of the machine's services."""
    kept = {k: v for k, v in os.environ.items() if k not in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "OTOD_SOCKET")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "160", "NO_COLOR": "1"}


def otod(*words: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
    """Runs otod to its end."""
    return subprocess.run(
        [sys.executable, "-m", "supervisor", *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
        env=environment(),
        check=False,
    )


def otoctl(*words: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "supervisor.ctl", *words],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
        env=environment(),
        check=False,
    )


@contextmanager
def running(*words: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """An otod in the background, its stderr in `log`; killed at the end if it still lives."""
    with log.open("a") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor", *words],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            cwd=ROOT,
            env=environment(),
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def end(process: subprocess.Popen[str], signum: signal.Signals = signal.SIGTERM, timeout_s: float = 60.0) -> int:
    process.send_signal(signum)
    return process.wait(timeout_s)


def wait_for(condition: Callable[[], bool], *, within_s: float, what: str | Callable[[], object]) -> None:
    """Polls: between processes nobody is told anything. what: for people, or what to ask when it did not come."""
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"not within {within_s} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.05)
