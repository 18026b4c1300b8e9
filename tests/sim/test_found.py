"""What drawn runs have found, told once more as a story: a seed's history changes with the code, a story stays."""

from __future__ import annotations

import pytest
import trio

from actors.errors import Refusal
from actors.paper.faults import Fault
from tests.sim.stage import Stage, tell

LISTEN_KEY = "get-listen-key"


def test_f27_a_resume_has_the_listen_key_asked_for_again():
    """Harsh seed 3: one "login expired" to the keeper left the user without order stream for 25 minutes, and every
    resume was refused for that."""

    async def script(stage: Stage) -> None:
        await stage.paused("AUTH_FAILED")
        await stage.paused("ORDERS_DISCONNECTED")
        with pytest.raises(Refusal, match="order stream is not connected"):
            await stage.resume()
        await stage.until(lambda: stage.shown().stream_connected, within_s=30)
        await stage.resume()
        await stage.pairs_closed(1)

    tell(script, Fault(kind="login_expired", path=LISTEN_KEY, times=1))


def test_f42_a_resume_has_the_lists_read_again_after_a_halt():
    """Harsh seed 92: the catalogue went on saying "halted" for an hour, and every resume was refused for that."""

    async def script(stage: Stage) -> None:
        await trio.sleep(15)  # the lists are not read again at once
        await stage.until(lambda: stage.shown().pair is None)
        halt = stage.world.faults.add(Fault(kind="halt"))
        await stage.until(stage.pauses)  # a refusal, upon which the lists are read again
        await trio.sleep(1)
        stage.crash()
        await stage.paused("TOKEN_UNAVAILABLE")
        stage.world.faults.remove(halt)
        await trio.sleep(15)
        with pytest.raises(Refusal, match="TOKEN_UNAVAILABLE"):
            await stage.resume()
        await trio.sleep(15)
        await stage.resume()
        closed = len(stage.outcomes())
        await stage.pairs_closed(closed + 1)

    tell(script)
