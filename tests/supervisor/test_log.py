"""Log lines: their form, levels, exceptions, and that repeats and broken pipes do no harm."""

from __future__ import annotations

import io
import json
import logging as stdlib
import warnings
from decimal import Decimal

import pytest

from actors.errors import ConfigError, NoReply
from supervisor.log import REPEATS_MAX, Logging, Repeats, rfc3339


class SetWall:
    def __init__(self) -> None:
        self.at_ms = 1_795_168_800_123

    def now_ms(self) -> int:
        return self.at_ms


class Page:
    """Logging into memory."""

    def __init__(self, **options) -> None:
        self.stream = io.StringIO()
        self.wall = SetWall()
        self.logging = Logging(self.wall, stream=self.stream, **options)
        self.log = self.logging.log

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.text.splitlines()]


def deep(text: str) -> None:
    raise ValueError(text)


def caught(text: str = "deep trouble") -> ValueError:
    with pytest.raises(ValueError) as info:
        deep(text)
    return info.value


def test_a_line_is_one_json_object_with_time_level_event_and_context():
    page = Page()
    page.log.bind(child="traders/alice", incarnation=3).info(
        "pair_closed", wear=Decimal("0.10"), buy=Decimal("1E+2"), legs=("a", "b")
    )
    assert page.lines == [
        {
            "at": "2026-11-20T10:00:00.123Z",
            "level": "info",
            "event": "pair_closed",
            "child": "traders/alice",
            "incarnation": 3,
            "wear": "0.1",
            "buy": "100",
            "legs": ["a", "b"],
        }
    ]
    assert page.text.count("\n") == 1


def test_a_text_with_line_breaks_stays_one_line():
    page = Page()
    page.log.info("said", text="one\ntwo\r\n\x1b[31mred")
    assert page.text.count("\n") == 1


@pytest.mark.parametrize(("level", "seen"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_changed_while_running_for_loggers_bound_before(level, seen):
    page = Page(level="error")
    bound = page.log.bind(child="a")
    before = page.logging.set_level(level)
    assert (before, page.logging.level) == ("error", level)
    for say in (bound.debug, bound.info, bound.warning, bound.error):
        say("event")
    assert len(page.lines) == seen


def test_an_unknown_level_is_refused_and_changes_nothing():
    page = Page()
    with pytest.raises(ConfigError, match="loud"):
        page.logging.set_level("loud")
    assert page.logging.level == "info"


def test_an_exception_is_type_message_and_place():
    page = Page()
    page.log.error("child_crashed", exc_info=caught())
    (line,) = page.lines
    assert line["error"] == "ValueError: deep trouble"
    assert line["place"].startswith("supervisor/test_log.py:")
    assert line["place"].endswith(" deep")
    assert "traceback" not in line


def test_the_whole_traceback_comes_at_debug():
    page = Page(level="debug")
    try:
        deep("trouble")
    except ValueError:
        page.log.error("child_crashed", exc_info=True)
    assert "in deep" in page.lines[0]["traceback"]


def test_leaves_and_cause_of_an_exception_are_named():
    page = Page()
    group = ExceptionGroup("many", [caught("one"), ExceptionGroup("inner", [caught("two")])])
    error = NoReply("connection broke", where="place", do="reconcile")
    error.__cause__ = OSError("reset")
    page.log.error("child_crashed", exc_info=group)
    page.log.error("child_crashed", exc_info=error)
    page.log.error("child_crashed", exc_info=(type(error), error, None))
    assert page.lines[0]["error"] == "ValueError: one; ValueError: two"
    assert page.lines[1]["error"] == "NoReply: connection broke [place] -> reconcile"
    assert page.lines[1]["cause"] == page.lines[2]["cause"] == "OSError: reset"


def test_a_terminal_gets_readable_lines():
    page = Page(form="console", level="debug")
    page.log.bind(child="a").warning("stream_lost", exc_info=caught("listen key 00112233445566778899aabbccddeeff"))
    first, *trace = page.text.splitlines()
    assert first.startswith("2026-11-20T10:00:00.123Z [warning  ] stream_lost")
    assert "child=a" in first
    assert trace[0].startswith("Traceback")
    assert "00112233445566778899aabbccddeeff" not in page.text


def test_repeated_errors_are_thinned_out_and_counted():
    page = Page()
    for _ in range(REPEATS_MAX + 25):
        page.log.error("feed_failed", child="feeds/KOGE", error_code=5)
    page.log.error("feed_failed", child="feeds/OTHER")
    assert len(page.lines) == REPEATS_MAX + 1
    page.wall.at_ms += 61_000
    page.log.error("feed_failed", child="feeds/KOGE")
    assert page.lines[-1]["repeated"] == 25
    page.log.error("feed_failed", child="feeds/KOGE")
    assert "repeated" not in page.lines[-1]


def test_what_is_no_warning_is_never_thinned_out():
    page = Page()
    for _ in range(100):
        page.log.info("pair_closed", child="traders/alice")
    assert len(page.lines) == 100


def test_the_memory_of_repeats_is_bounded_and_survives_a_clock_that_steps_back():
    repeats = Repeats()
    for number in range(10_000):
        assert repeats.seen((str(number),), 0) == 0
    for _ in range(REPEATS_MAX):
        repeats.seen(("x",), 1_000_000)
    assert repeats.seen(("x",), 1_000_001) is None
    assert repeats.seen(("x",), 5) == 1, "a clock that stepped back silenced it"


def test_what_libraries_log_goes_the_same_way():
    page = Page()
    with warnings.catch_warnings(), page.logging.libraries():
        warnings.simplefilter("default")
        stdlib.getLogger("a.library").info("GET /secret")
        stdlib.getLogger("a.library").warning("slow %s", "answer")
        stdlib.getLogger("a.library").error("broken")
        warnings.warn_explicit("old name", DeprecationWarning, "library.py", 7)
        page.logging.set_level("debug")
        stdlib.getLogger("a.library").info("GET /listenKey=00112233445566778899aabbccddeeff")
        stdlib.getLogger("a.library").debug("detail")
    stdlib.getLogger("a.library").warning("not ours any more")
    assert [(line["level"], line["logger"]) for line in page.lines] == [
        ("warning", "a.library"), ("error", "a.library"), ("warning", "py.warnings"),
        ("info", "a.library"), ("debug", "a.library"),
    ]  # fmt: skip
    assert page.lines[0]["message"] == "slow answer"
    assert "00112233445566778899aabbccddeeff" not in page.text


@pytest.mark.parametrize("breakage", [BrokenPipeError(), OSError(28, "no space"), ValueError("closed file")])
def test_nobody_dies_because_nobody_reads(breakage):
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise breakage

    logging = Logging(SetWall(), stream=Broken())
    logging.log.info("anything")
    assert logging.lost == 1


def test_times_are_utc_with_milliseconds():
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_795_168_800_007) == "2026-11-20T10:00:00.007Z"
