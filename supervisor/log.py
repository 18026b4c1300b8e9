"""Logging: one JSON object per line for a service, readable lines for a terminal; always to stderr, never a secret.

    logging = Logging(wall, form="json")
    logging.log.bind(child="traders/alice").info("pair_closed", wear=wear)
    logging.set_level("debug")

Whatever libraries say through the standard library's logging goes the same way, so nothing gets around the redaction.
Lines of level warning and above that repeat themselves are thinned out and counted.
"""

from __future__ import annotations

import logging as stdlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TextIO, cast, get_args

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from actors.errors import ConfigError
from actors.ports import Log, Wall
from supervisor.life import leaves
from supervisor.lifecycle import WHOSE, place_of
from supervisor.redact import redact, redact_text

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["json", "journal", "console"]
"""journal: json behind the priority that systemd's journal reads and takes away (sd-daemon(3))."""
PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
RANKS: dict[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}

REPEATS_MAX = 10
"""Lines of one kind within REPEATS_MS that are written; enough to see a pattern, too few to fill a disk."""
REPEATS_MS = 60_000
KINDS_MAX = 2_000
"""Kinds of line remembered for that: one each for 1,000 users and then some; beyond it, the count starts anew."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Logging:
    """Where log lines go, and from which level on. One per process, handed to everybody as `log`."""

    def __init__(self, wall: Wall, *, level: Level = "info", form: Form = "json", stream: TextIO | None = None) -> None:
        self._wall = wall
        self._rank = RANKS[level]
        self._repeats = Repeats()
        self._lines = Lines(sys.stderr if stream is None else stream)
        render: Processor = _console(self._lines.stream) if form == "console" else FORMS[form]
        self.log: Log = structlog.wrap_logger(
            self._lines,
            processors=[self._admit, self._explain, _plainly, _without_secrets, self._thin_out, self._stamp, render],
            wrapper_class=structlog.make_filtering_bound_logger(RANKS["debug"]),  # the level is ours, to be changed
            cache_logger_on_first_use=False,
        )

    @property
    def level(self) -> Level:
        return next(level for level in get_args(Level) if RANKS[level] == self._rank)

    @property
    def lost(self) -> int:
        """Lines that could not be written, because nobody reads stderr any more."""
        return self._lines.lost

    def set_level(self, level: str) -> Level:
        """From now on. Returns the level before. Raises ConfigError."""
        before = self.level
        if level not in get_args(Level):
            raise ConfigError(f"unknown level {level!r}", where="log level", do=f"one of {', '.join(get_args(Level))}")
        self._rank = RANKS[level]
        return before

    @contextmanager
    def libraries(self) -> Iterator[None]:
        """Meanwhile, what libraries log goes the same way: warnings and above, all of it at debug."""
        root, bridge = stdlib.getLogger(), Bridge(self)
        rank = root.level
        root.addHandler(bridge)
        root.setLevel(stdlib.DEBUG)
        stdlib.captureWarnings(True)
        try:
            yield
        finally:
            stdlib.captureWarnings(False)
            root.setLevel(rank)
            root.removeHandler(bridge)

    # -- processors, in their order

    def _admit(self, logger: Any, method: str, event: EventDict) -> EventDict:
        if RANKS[method] < self._rank:
            raise structlog.DropEvent
        return event

    def _explain(self, logger: Any, method: str, event: EventDict) -> EventDict:
        """An exception becomes type, message and place; its whole traceback only at debug."""
        given = event.pop("exc_info", None)
        error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
        if isinstance(error, BaseException):
            event["error"] = "; ".join(f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error))
            event["place"] = "; ".join(place_of(leaf) for leaf in leaves(error))
            cause = error.__cause__
            if cause is not None:
                event["cause"] = f"{type(cause).__name__}: {cause}"
            if self._rank <= RANKS["debug"]:
                event["traceback"] = "".join(traceback.format_exception(error))
        return event

    def _thin_out(self, logger: Any, method: str, event: EventDict) -> EventDict:
        if RANKS[method] < RANKS["warning"] or self._rank <= RANKS["debug"]:
            return event
        kind = (method, event["event"], str(event.get("child")), str(event.get("user")), str(event.get("error")))
        skipped = self._repeats.seen(kind, self._wall.now_ms())
        if skipped is None:
            raise structlog.DropEvent
        return {**event, "repeated": skipped} if skipped else event

    def _stamp(self, logger: Any, method: str, event: EventDict) -> EventDict:
        head = {"at": rfc3339(self._wall.now_ms()), "level": method, "event": event.pop("event")}
        return {**head, **_whose(event), **event}


class Repeats:
    """Counts lines of one kind. Pure but for its memory."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, ...], tuple[int, int, int]] = {}  # window began at, written, skipped

    def seen(self, kind: tuple[str, ...], now_ms: int) -> int | None:
        """None: skip it. Else how many were skipped in the window before."""
        since_ms, written, skipped = self._kinds.get(kind, (now_ms, 0, 0))
        if not 0 <= now_ms - since_ms < REPEATS_MS:  # a wall clock may step back
            since_ms, written = now_ms, 0
        if written >= REPEATS_MAX:
            self._kinds[kind] = (since_ms, written, skipped + 1)
            return None
        if len(self._kinds) >= KINDS_MAX:
            self._kinds.clear()
        self._kinds[kind] = (since_ms, written + 1, 0)
        return skipped


class Lines:
    """Writes lines. A reader that went away (a closed pipe) costs lines, never an actor."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lost = 0
        self._lock = threading.Lock()  # the store's worker thread logs too

    def msg(self, line: str) -> None:
        with self._lock:
            try:
                self.stream.write(line + "\n")
                self.stream.flush()
            except (OSError, ValueError):  # ValueError: the stream is closed
                self.lost += 1

    debug = info = warning = error = critical = exception = msg


class Bridge(stdlib.Handler):
    """From the standard library's logging to ours."""

    def __init__(self, logging: Logging) -> None:
        super().__init__()
        self._logging = logging

    def emit(self, record: stdlib.LogRecord) -> None:
        if record.levelno < stdlib.WARNING and self._logging.level != "debug":
            return
        say = {"DEBUG": self._logging.log.debug, "INFO": self._logging.log.info}.get(
            record.levelname, self._logging.log.warning if record.levelno < stdlib.ERROR else self._logging.log.error
        )
        say("library", logger=record.name, message=record.getMessage(), exc_info=record.exc_info)


def rfc3339(at_ms: int) -> str:
    """2026-11-20T10:00:00.000Z"""
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plainly(logger: Any, method: str, event: EventDict) -> EventDict:
    """Amounts without the zeros that a database column adds, and never with an exponent."""
    return {name: f"{value.normalize():f}" if isinstance(value, Decimal) else value for name, value in event.items()}


def _without_secrets(logger: Any, method: str, event: EventDict) -> EventDict:
    redacted: dict[str, Any] = redact(event)
    return redacted


def _whose(event: EventDict) -> dict[str, Any]:
    """Who speaks, where the line does not say it itself: one about another actor is not this one's incarnation."""
    whose = WHOSE.get()
    if whose is None or event.get("child", whose[0]) != whose[0]:
        return {}
    return {"child": whose[0], "incarnation": whose[1]}


def form_for(wanted: str, stream: TextIO, environ: Mapping[str, str]) -> Form:
    """What "auto" stands for: journal where this stream is the journal's, console on a terminal, json otherwise."""
    if wanted in get_args(Form):
        return cast(Form, wanted)
    if stream.isatty():
        return "console"
    return "journal" if is_journal(stream, environ) else "json"


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """systemd names the device and inode of the stream that it made: after a redirection it is another."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # ValueError: it is closed, or no file
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _json(logger: Any, method: str, event: EventDict) -> str:
    return msgspec.json.encode(event).decode()


def _journal(logger: Any, method: str, event: EventDict) -> str:
    return f"<{PRIORITIES[event['level']]}>{msgspec.json.encode(event).decode()}"


FORMS: Mapping[Form, Processor] = {"json": _json, "journal": _journal}


def _console(stream: TextIO) -> Processor:
    renderer = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), sort_keys=False, timestamp_key="at", pad_event_to=24
    )

    def render(logger: Any, method: str, event: EventDict) -> str:
        trace = event.pop("traceback", None)
        line = renderer(logger, method, event)
        return redact_text(line if trace is None else f"{line}\n{trace}")

    return render
