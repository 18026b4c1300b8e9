"""Chaos: seeded, bounded per actor, and survived."""

from __future__ import annotations

import random

import pytest
import trio

from actors.errors import ConfigError
from supervisor.chaos import chaos
from tests.supervisor.stage import Stage, family, group, play


def crashes(stage: Stage) -> list[tuple[int, str]]:
    return [(it.at_ms, it.path) for it in stage.told if it.what == "crashed"]


async def some_chaos(stage: Stage, per_minute: float, spare=(), for_s: float = 3600) -> None:
    members = family(*(stage.child(f"user{number}", delay_s=0.1) for number in range(4)))
    inner = group(stage.child("x"), stage.child("y"))
    async with stage.running(stage.child("store", exhausted="escalate"), members, inner) as tree:
        with trio.move_on_after(for_s):
            await chaos(tree, per_minute=per_minute, rng=random.Random(99), spare=spare)
        await trio.sleep(60)
        assert all(node.state == "running" for node in (stage.node("store"), *stage.node("family").children))


def test_the_mean_rate_is_kept_and_everything_survives():
    async def scene(stage: Stage) -> None:
        await some_chaos(stage, per_minute=3)
        assert 180 * 0.7 < len(crashes(stage)) < 180 * 1.3
        assert len({path for _, path in crashes(stage)}) == 7

    play(scene, range(2))


def test_no_actor_dies_more_than_three_times_a_minute():
    async def scene(stage: Stage) -> None:
        await some_chaos(stage, per_minute=1000, for_s=600)
        by_actor: dict[str, list[int]] = {}
        for at_ms, path in crashes(stage):
            times = by_actor.setdefault(path, [])
            times.append(at_ms)
            assert len([at for at in times if at_ms - at < 60_000]) <= 3, path
        assert len(crashes(stage)) > 7 * 3 * 9, "it holds back more than it has to"

    play(scene, range(1))


def test_the_same_seed_kills_the_same_actors_at_the_same_instants():
    seen: list[list[tuple[int, str]]] = []

    async def scene(stage: Stage) -> None:
        await some_chaos(stage, per_minute=2)
        seen.append(crashes(stage))

    play(scene, [5])
    play(scene, [5])
    assert seen[0] == seen[1]


def test_whom_it_spares_is_left_alone():
    async def scene(stage: Stage) -> None:
        await some_chaos(stage, per_minute=6, spare=("store", "group", "family/user2"))
        assert {path for _, path in crashes(stage)} == {"family/user0", "family/user1", "family/user3"}

    play(scene, range(2))


@pytest.mark.parametrize("per_minute", [0, -1, float("inf"), float("nan")])
async def test_a_nonsense_rate_is_refused(per_minute):
    with pytest.raises(ConfigError):
        await chaos(None, per_minute=per_minute, rng=random.Random(1))  # type: ignore[arg-type]
