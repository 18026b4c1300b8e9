"""What drawn runs have found, told once more as a story: a seed's history changes with the code, a story stays."""

from __future__ import annotations

import pytest

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
