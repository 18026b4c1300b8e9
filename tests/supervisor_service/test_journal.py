"""Lines as the journal takes them, and that each says whose it is."""

from __future__ import annotations

import json
import os
import sys

import pytest
import trio

from supervisor.log import form_for, is_journal
from supervisor.spec import ChildSpec
from tests.supervisor.stage import Stage
from tests.supervisor.test_log import Page


@pytest.mark.parametrize(
    ("method", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_the_priority_stands_before_the_object(method, priority):
    page = Page(form="journal", level="debug")
    getattr(page.log, method)("something", user="alice")
    head, _, rest = page.text.partition(">")
    assert head == f"<{priority}"
    assert json.loads(rest)["event"] == "something"
    assert page.text.count("\n") == 1


def test_the_form_follows_from_where_stderr_goes(tmp_path):
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        here = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
        assert form_for("auto", stream, {}) == "json"
        assert form_for("auto", stream, here) == "journal"
        assert form_for("auto", stream, {"JOURNAL_STREAM": "1:2"}) == "json"  # redirected since
        assert form_for("console", stream, here) == "console"
    assert not is_journal(stream, here)  # closed


def test_on_a_terminal_it_is_for_people():
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as stream:
        assert form_for("auto", stream, {}) == "console"
        assert form_for("json", stream, {}) == "json"
    os.close(controller)


async def test_every_line_of_an_actor_says_its_path_and_incarnation():
    """In real time: it has a thread."""
    page, over = Page(), trio.Event()

    async def actor(inbox, *, task_status):
        bound = page.log.bind(child="talker", user="alice")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(task, bound)
            task_status.started()
            bound.info("in_the_loop")
            page.log.info("unbound")
            await trio.to_thread.run_sync(lambda: bound.info("in_a_thread"))
            page.log.info("of_another", child="somebody")
            if page.text.count("in_a_thread") == 2:
                over.set()
            raise ValueError("once more")

    async def task(bound):
        bound.info("in_a_task")
        await trio.sleep(0.01)

    spec = ChildSpec(name="talker", start=actor, intensity=1, delay_s=0.0)
    async with Stage(0).running(spec):
        with trio.fail_after(10):
            await over.wait()
        page.log.info("outside")
    lines = {(line["event"], line.get("child"), line.get("incarnation")) for line in page.lines}
    for incarnation in (1, 2):
        assert {(event, "talker", incarnation) for event in ("in_the_loop", "unbound", "in_a_thread")} <= lines
    assert ("of_another", "somebody", None) in lines
    assert ("outside", None, None) in lines
    assert list(page.lines[0])[:5] == ["at", "level", "event", "child", "incarnation"]


def test_standard_error_of_a_test_is_no_journal():
    assert not is_journal(sys.__stderr__, {})
