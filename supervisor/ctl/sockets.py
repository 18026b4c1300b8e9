"""Where may a daemon's control socket be? The search order of contract § 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CONTROL = "control.sock"
EVENTS = "events.sock"


def state_homes(environ: Mapping[str, str]) -> list[Path]:
    """State directories that a daemon of this user or of the system may use, most specific first."""
    home = Path(environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/")) / ".local" / "state")
    given = [Path(part) for part in environ.get("STATE_DIRECTORY", "").split(":") if part]
    return [*given, home / "otod", home / "otod-paper", Path("/var/lib/otod")]


def candidates(environ: Mapping[str, str], socket: str | None = None) -> list[str]:
    """URLs to try, in order. A socket that was named (option or $OTOD_SOCKET) is the only one."""
    named = socket or environ.get("OTOD_SOCKET")
    if named:
        return [as_url(named)]
    runtime = [Path(part) for part in environ.get("RUNTIME_DIRECTORY", "").split(":") if part]
    states = [state / "run" for state in state_homes(environ)[:-1]]
    return [as_url(str(each / CONTROL)) for each in (*runtime, *states, Path("/run/otod"))]


def as_url(text: str) -> str:
    """A URL stays one; a path becomes ipc://, a directory stands for the control socket in it."""
    if "://" in text:
        return text
    path = Path(text).absolute()
    return f"ipc://{path / CONTROL if path.is_dir() else path}"


def events_url(control_url: str) -> str:
    """The events socket lies beside the control socket."""
    head, _, _ = control_url.rpartition("/")
    return f"{head}/{EVENTS}"


def state_directory(control_url: str) -> Path | None:
    """The state directory that a control socket in `run/` belongs to; None if it lies elsewhere."""
    run = Path(control_url.removeprefix("ipc://")).parent
    return run.parent if run.name == "run" else None
