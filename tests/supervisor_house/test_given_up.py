"""What operators can do about a trader that died too often: the whole daemon in the virtual world, through control."""

from __future__ import annotations

from decimal import Decimal as D
from typing import Any

import pytest
import trio

from actors.errors import OtodError, Refusal
from supervisor.control.commands import AllFailed, perform
from supervisor.lifecycle import Happened
from tests.faults.kit import PASSIVE, crash, phase_of
from tests.sim.stage import Stage, tell
from tests.sim.world import Onlooker


async def ask(stage: Stage, cmd: str, **args: Any) -> Any:
    """As a client's request is performed. Raises: OtodError, the user's own where there is one."""
    stage.world.commanded["traders/alice"] += 1
    stage.world.resumes.append(("alice", "op", trio.current_time()))
    daemon = stage.world.daemon
    try:
        told = await perform(daemon, daemon.outside.bus, cmd, args, who="op", log=daemon.outside.log)
    except AllFailed as failed:
        error = failed.data["users"]["alice"]["error"]
        raise Refusal(error["message"], code=error["code"], do=error.get("hint", "")) from failed
    return told["users"]["alice"] if "users" in told else told


async def give_up(stage: Stage) -> None:
    await stage.pairs_closed(1)
    while "CRASHED" not in stage.pauses():
        crash(stage, "traders/alice")
        await trio.sleep(0.3)
    assert stage.world.daemon.given_up("alice")


async def resumed(stage: Stage) -> None:
    """The exchange is heard first, which may take an attempt or two."""
    with trio.fail_after(60):
        while True:
            try:
                assert (await ask(stage, "trading.resume", user="alice"))["pauses"] == []
            except OtodError:
                await trio.sleep(1)
            else:
                return


class Incarnations(Onlooker):
    def __init__(self) -> None:
        self.started: list[tuple[str, int]] = []

    def happened(self, it: Happened) -> None:
        if it.what == "started":
            self.started.append((it.path, it.incarnation))


def test_f47_a_resume_brings_a_crashed_user_back_and_others_never_noticed():
    async def script(stage):
        await stage.until(lambda: all(stage.outcomes(user) for user in stage.world.names))
        births = Incarnations()
        stage.world.onlookers.append(births)
        await give_up(stage)
        with pytest.raises(Refusal) as caught:
            await ask(stage, "trading.start", user="alice")
        assert (caught.value.code, "trading resume alice" in caught.value.do) == ("PAUSED", True)
        assert stage.world.daemon.given_up("alice"), "only a resume brings it back"
        closed = len(stage.outcomes())
        await resumed(stage)
        await stage.pairs_closed(closed + 2)
        assert stage.pauses() == []
        assert {path for path, _ in births.started} == {"traders/alice"}
        assert {node.incarnation for node in stage.world.daemon.tree().children if node.path != "traders"} == {1}

    tell(script, users=3)


def test_f47_an_operator_may_start_the_actor_first_and_resume_then():
    async def script(stage):
        await give_up(stage)
        told = await ask(stage, "actor.restart", path="traders/alice")
        assert told["state"] == "running"
        assert (await ask(stage, "trading.status", user="alice"))["pauses"][0]["reason"] == "CRASHED"
        pairs = len(stage.pairs())
        await trio.sleep(30)
        assert len(stage.pairs()) == pairs, "its pause stays"
        await resumed(stage)
        await stage.pairs_closed(pairs + 1)

    tell(script)


@pytest.mark.parametrize("now", [False, True])
def test_f47_a_stop_of_a_crashed_user_is_durable_and_ends_its_pair(now):
    async def script(stage):
        await stage.until(lambda: phase_of(stage) == "working")
        while "CRASHED" not in stage.pauses():
            crash(stage, "traders/alice")
            await trio.sleep(0.3)
        began_s = trio.current_time()
        told = await ask(stage, "trading.stop", user="alice", now=now)
        assert (told["wanted"], told["pauses"][0]["reason"]) == ("stopped", "CRASHED")
        await stage.until(lambda: stage.outcomes() == ["cancelled"], within_s=200)
        assert (trio.current_time() - began_s < 20) is now, "now: at once; else its pair has its time"
        await stage.restart()
        await stage.until(stage.shown)
        assert (stage.shown().wanted, stage.pauses()) == ("stopped", ["CRASHED"])

    tell(script, config=PASSIVE | {"timeout_seconds": D(60)})
