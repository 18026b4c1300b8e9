"""Stories: a small world, a script of what happens, and the same checks as in every simulated run.

    def test_a_lost_reply_is_adopted():
        async def script(stage):
            await stage.pairs_closed(2)
            assert stage.outcomes() == ["completed", "completed"]

        tell(script, Fault(kind="lost_reply", path=OTO, times=1))

Once the script has ended, everybody is stopped, and the records must be exact.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any

import trio
from msgspec.structs import replace

from actors.domain.trading import PauseReason
from actors.errors import OtodError
from actors.messages import StopTrading, TraderSnapshot
from actors.paper.faults import Fault, Faults
from actors.paper.orders import Order
from actors.rows import PairRow, PauseRow
from tests.sim.checks import standing_checks
from tests.sim.hands import Hands
from tests.sim.options import Options, UserOptions, demo_config, user_name
from tests.sim.rest import at_rest
from tests.sim.run import Result, play
from tests.sim.world import World

TICK_S = 0.05
WITHIN_S = 120.0


class Stage:
    """What a script acts with. user None: the first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hands = Hands(world)

    @property
    def user(self) -> str:
        return self.world.names[0]

    # -- waiting

    async def until(self, there: Callable[[], Any], *, within_s: float = WITHIN_S) -> None:
        """Looks often; time that passes is virtual."""
        with trio.fail_after(within_s):
            while not there():  # noqa: ASYNC110  what is looked at has no event
                await trio.sleep(TICK_S)

    async def pairs_closed(self, count: int, *, within_s: float = WITHIN_S) -> None:
        await self.until(lambda: len(self.outcomes()) >= count, within_s=within_s)

    async def phase(self, phase: str, *, within_s: float = WITHIN_S) -> None:
        await self.until(lambda: (shown := self.shown()) is not None and shown.phase == phase, within_s=within_s)

    async def paused(self, reason: PauseReason, *, within_s: float = WITHIN_S) -> None:
        await self.until(lambda: reason in self.pauses(), within_s=within_s)

    # -- looking

    def shown(self, user: str | None = None) -> TraderSnapshot | None:
        life = self.world.life
        return life.daemon.snapshot(user or self.user) if life is not None else None

    def pauses(self, user: str | None = None) -> list[str]:
        """Reasons in force, as they are on disk."""
        rows = self.world.disk.of(PauseRow, user or self.user)
        return [row.reason for row in rows if row.ended_at is None]

    def pairs(self, user: str | None = None) -> list[PairRow]:
        return self.world.disk.of(PairRow, user or self.user)

    def outcomes(self, user: str | None = None) -> list[str]:
        return [pair.outcome for pair in self.pairs(user) if pair.outcome is not None]

    def orders(self, user: str | None = None) -> tuple[Order, ...]:
        """At the exchange."""
        return self.world.exchange.audit(user or self.user).orders

    def live_orders(self) -> list[Order]:
        return [order for order in self.orders() if not order.over]

    def now_ms(self) -> int:
        return self.world.exchange.now_ms

    # -- acting

    async def ask(self, question: object, user: str | None = None) -> TraderSnapshot | None:
        return await self.hands.ask(user or self.user, question)

    async def resume(self, user: str | None = None) -> None:
        """Raises: Refusal."""
        await self.hands.resume(user or self.user, "op")

    def crash(self, path: str | None = None) -> None:
        self.world.daemon.crash(path or f"traders/{self.user}", "story")

    async def kill_and_restart(self, down_s: float = 1.0) -> None:
        assert self.world.life is not None
        life = self.world.life
        life.kill()
        await life.ended.wait()
        await trio.sleep(down_s)
        await self.world.start_daemon()

    async def restart(self) -> None:
        await self.world.stop_daemon(drain_s=0)
        await self.world.start_daemon()

    # -- the end

    async def rest(self) -> None:
        """Everybody is stopped, nothing lives any more."""
        for user in self.world.names:
            with trio.fail_after(900):
                while True:
                    try:
                        shown = await self.hands.ask(user, StopTrading("op"))
                    except OtodError:
                        shown = None
                    if shown is not None and shown.pair is None:
                        break
                    await trio.sleep(1)
        await trio.sleep(20)


Script = Callable[[Stage], Awaitable[None]]


def tell(
    script: Script,
    *faults: Fault,
    users: int = 1,
    config: dict[str, Any] | None = None,
    rules: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    allowed_deaths: tuple[str, ...] = (),
    seed: int = 1,
    before: Callable[[World], None] | None = None,
    tokens: tuple[str, ...] = ("KOGE",),
    each: tuple[dict[str, Any], ...] = ({},),
    **more: Any,
) -> Result:
    """Plays a story. config: of all users' trading, user: of the users' options, more: of the run's options.

    before: what is done to the world before the first daemon is started in it. tokens, each: of the users, in turn;
    each is what their trading has besides.

    Raises: what the script raises; AssertionError, something that must hold did not.
    """
    trading = demo_config(
        target=Decimal(100_000), **({"auto_resume": (), "volatility_threshold": Decimal(50)} | (config or {}))
    )
    people = tuple(
        UserOptions(
            name=user_name(number + 1),
            trading=replace(trading, token=tokens[number % len(tokens)], **each[number % len(each)]),
            **(user or {}),
        )
        for number in range(users)
    )
    options = replace(Options(seed=seed, users=people, minutes=10, rules=rules or {}, faults=faults), **more)
    switches = Faults(*faults, rng=Random(f"{seed}/faults"))
    result = play(options, partial(_told, script, allowed_deaths, before), faults=switches)
    assert not result.violations, [str(violation) for violation in result.violations]
    return result


async def _told(
    script: Script, allowed_deaths: tuple[str, ...], before: Callable[[World], None] | None, world: World
) -> None:
    world.onlookers += standing_checks(world, allowed_deaths=allowed_deaths)
    if before is not None:
        before(world)
    await world.start_daemon()
    stage = Stage(world)
    await script(stage)
    await stage.rest()
    for what, user in at_rest(world):
        world.violate(what, user)
