"""Signals: the first asks, a second Ctrl-C insists."""

from __future__ import annotations

import signal

import pytest
from trio.testing import wait_all_tasks_blocked

from supervisor import endings
from supervisor.endings import Ending, until_signal


@pytest.fixture
def forced(monkeypatch):
    said = []
    monkeypatch.setattr(endings, "end_at_once", said.append)
    return said


async def raised(*signals):
    for signum in signals:
        signal.raise_signal(signum)
        await wait_all_tasks_blocked(0.01)


@pytest.mark.parametrize("first", ["time", "done", "drain"])
async def test_two_ctrl_c_end_a_run_that_was_ending_by_itself(nursery, forced, first):
    ending = Ending()
    await nursery.start(until_signal, ending)
    ending.ask(first)
    await raised(signal.SIGINT)
    assert (ending.reason, forced) == (first, [])
    await raised(signal.SIGINT)
    assert len(forced) == 1
    nursery.cancel_scope.cancel()


async def test_one_ctrl_c_asks_and_the_second_ends_at_once(nursery, forced):
    ending = Ending()
    await nursery.start(until_signal, ending)
    await raised(signal.SIGINT)
    assert (ending.reason, ending.text, forced) == ("signal", "SIGINT", [])
    await raised(signal.SIGINT)
    assert len(forced) == 1
    nursery.cancel_scope.cancel()


async def test_sigterm_never_ends_at_once(nursery, forced):
    ending = Ending()
    await nursery.start(until_signal, ending)
    await raised(signal.SIGTERM, signal.SIGTERM)
    assert (ending.text, forced) == ("SIGTERM", [])
    nursery.cancel_scope.cancel()
