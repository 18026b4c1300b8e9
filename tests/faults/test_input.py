"""F79 to F86: what comes in (../shared/reliability.md § 1). Frames that are no JSON or too long (F79, F80):
tests/adapters/test_websocket.py; control frames (F84): tests/control; reload (F85): tests/system; secrets (F86): below
all of them, tests/adapters/test_http.py."""

from __future__ import annotations

import pytest
import trio

from actors.paper.faults import Fault
from tests.faults.kit import resumes_and_trades
from tests.sim.stage import tell


def frame(**what):
    return Fault(kind="edit_frame", stream="alpha@", word="TRADE", times=1, **what)


@pytest.mark.parametrize("figure", ["NaN", "Infinity", "1e999999", "-1", "9" * 5_000, "1,5", "", None, [], True])
@pytest.mark.parametrize("field", ["L", "z"])
def test_f81_a_figure_that_is_none_is_never_booked(field, figure):
    async def script(stage):
        await stage.paused("PROTOCOL_CHANGED")
        await stage.until(lambda: stage.shown().pair is None, within_s=300)

    tell(script, frame(set={field: figure}))


def test_f82_a_status_that_nobody_knows_pauses_and_the_pair_is_followed_to_its_end():
    async def script(stage):
        await stage.paused("PROTOCOL_CHANGED")
        await resumes_and_trades(stage)
        assert stage.outcomes()[0] == "completed"

    tell(script, frame(set={"X": "TRANSMUTED"}))


def test_f82_the_fill_of_an_event_that_nobody_knows_is_read():
    async def script(stage):
        await stage.pairs_closed(1)
        assert stage.outcomes()[0] == "completed"
        assert stage.world.faults.fired["edit_frame"] == 1

    tell(script, frame(set={"x": "TRANSMUTED"}))


@pytest.mark.parametrize("what", [{"s": "ALPHA_999USDT"}, {"i": "99999999"}])
def test_f83_an_event_of_another_symbol_or_order_is_not_booked_on_ours(what):
    async def script(stage):
        await stage.pairs_closed(1)
        await trio.sleep(30)
        await resumes_and_trades(stage)

    tell(script, frame(set=what))
