"""Specs are checked as a whole before anything starts: every fault is named with its field and value."""

from __future__ import annotations

import math
import random

import pytest

from actors.errors import ConfigError
from supervisor.spec import ChildSpec, FamilySpec, GroupSpec, check, check_member, with_options
from supervisor.tree import Tree


async def actor(inbox, *, task_status) -> None:
    task_status.started()


def child(name: str = "a", **options) -> ChildSpec:
    return ChildSpec(name=name, start=options.pop("start", actor), **options)


def tree(*children, **options) -> GroupSpec:
    return GroupSpec(name="root", children=children, **options)


def faults(spec) -> str:
    with pytest.raises(ConfigError) as caught:
        check(spec)
    return str(caught.value)


WRONG = [
    ({"name": ""}, "name is ''"),
    ({"name": "traders/alice"}, "name is 'traders/alice'"),
    ({"name": 7}, "name is 7"),
    ({"start": None}, "start is None"),
    ({"restart": "always"}, "restart is 'always', must be one of permanent, transient, temporary"),
    ({"exhausted": "ignore"}, "exhausted is 'ignore'"),
    ({"intensity": -1}, "intensity is -1"),
    ({"intensity": 1.5}, "intensity is 1.5"),
    ({"intensity": True}, "intensity is True"),
    ({"period_s": 0}, "period_s is 0, must be a number > 0"),
    ({"period_s": math.nan}, "period_s is nan"),
    ({"period_s": math.inf}, "period_s is inf"),
    ({"delay_s": -0.1}, "delay_s is -0.1"),
    ({"delay_s": 31}, "delay_s is 31, above delay_s_max 30.0"),
    ({"delay_factor": 0.5}, "delay_factor is 0.5"),
    ({"delay_s_max": "30"}, "delay_s_max is '30'"),
    ({"jitter": 1.1}, "jitter is 1.1, must be a number >= 0 and <= 1"),
    ({"steady_s": -1}, "steady_s is -1"),
    ({"ready_s_max": 0}, "ready_s_max is 0"),
    ({"stop_s_max": -1}, "stop_s_max is -1"),
    ({"stop_s_max": math.inf}, "stop_s_max is inf"),
    ({"stuck_s": 0}, "stuck_s is 0"),
    ({"capacity": 0}, "capacity is 0"),
    ({"redeliver": 1}, "redeliver is 1"),
    ({"progress_s_max": 0}, "progress_s_max is 0"),
    ({"significant": "yes"}, "significant is 'yes'"),
    ({"significant": True}, "restart is 'permanent': it never comes to an end"),
    ({"last_resort": actor, "exhausted": "escalate"}, "last_resort is set, but exhausted is 'escalate'"),
    ({"last_resort": 5}, "last_resort is 5"),
    ({"last_resort_s": 0}, "last_resort_s is 0"),
]


@pytest.mark.parametrize(("options", "text"), WRONG)
def test_a_wrong_field_is_named_with_its_value(options, text):
    assert text in faults(tree(child("fine"), child(**options)))


def test_all_faults_are_named_at_once_with_their_paths():
    text = faults(
        tree(
            child("a", intensity=-1),
            GroupSpec(name="inner", children=(child("b", period_s=0), FamilySpec(name="f", children=(child("c c"),)))),
        )
    )
    assert "root/a: intensity is -1" in text
    assert "root/inner/b: period_s is 0" in text
    assert "root/inner/f/c c: name is 'c c'" in text


def test_a_name_is_unique_in_its_group_only():
    assert "root: name 'a' is used 2 times" in faults(tree(child("a"), child("b"), child("a")))
    check(tree(child("a"), FamilySpec(name="f", children=(child("a"),))))


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError, match="intensty"):
        ChildSpec(name="a", start=actor, intensty=3)  # type: ignore[call-arg]


def test_groups_are_checked_too():
    assert "strategy is 'all_for_one'" in faults(tree(child(), strategy="all_for_one"))
    assert "auto_stop is 'sometimes'" in faults(tree(child(), auto_stop="sometimes"))
    assert "significant is True, but auto_stop of root is 'never'" in faults(
        tree(child(significant=True, restart="transient"))
    )
    assert "a family holds ChildSpecs only" in faults(
        tree(FamilySpec(name="f", children=(FamilySpec(name="g"),)))  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_members_of_a_coupled_group_cannot_be_given_up_alone(strategy):
    assert "exhausted of 'a' is 'park', must be 'escalate'" in faults(tree(child("a"), strategy=strategy))
    check(tree(child("a", exhausted="escalate"), strategy=strategy))


def test_a_member_is_checked_before_it_is_added():
    check_member(child("a"), "traders")
    with pytest.raises(ConfigError, match="capacity is 0"):
        check_member(child("a", capacity=0), "traders")


def test_nothing_of_a_wrong_tree_exists():
    with pytest.raises(ConfigError):
        Tree(tree(child(intensity=-1)), wall=None, rng=random.Random(1))  # type: ignore[arg-type]


@pytest.mark.parametrize(("stop_s_max", "end_s_max"), [(5, 4), (-1, 4), (math.nan, 4)])
def test_the_deadlines_of_a_stop_are_checked_too(stop_s_max, end_s_max):
    with pytest.raises(ConfigError, match="stop_s_max is"):
        Tree(tree(child()), wall=None, rng=random.Random(1), stop_s_max=stop_s_max, end_s_max=end_s_max)  # type: ignore[arg-type]


def test_options_of_a_configuration_file():
    spec = with_options(child(), {"intensity": 9, "period_s": 30})
    assert (spec.intensity, spec.period_s, spec.name) == (9, 30, "a")
    with pytest.raises(ConfigError) as caught:
        with_options(child(), {"intensty": 9})
    assert str(caught.value) == "unknown option intensty = 9 [a] -> did you mean intensity?"
    with pytest.raises(ConfigError, match="unknown option zzz"):
        with_options(child(), {"zzz": 9})


def test_the_defaults_of_all_kinds_are_right():
    check(tree(child(), GroupSpec(name="g", children=()), FamilySpec(name="f")))
