"""When the watchdog is fed: every class of actors moves, and no commit hangs."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from supervisor.lifecycle import Sign
from supervisor.pulse import COMMIT_S_MAX, GAP_S_MAX, SILENT_S_MAX, Pulse
from supervisor.spec import ChildSpec, FamilySpec
from tests.supervisor.stage import Stage

LOOK_S = 10.0


def looks(pulse, *rounds, committing=None):
    """One look every 10 s; returns what the last one said."""
    said = ()
    for number, signs in enumerate(rounds):
        said = pulse.look(signs, committing_since_s=committing, now_s=number * LOOK_S)
    return said


def silent(path, beats=5):
    return Sign(path, 1, beats, False)


def test_who_waits_for_messages_moves_for_ever():
    assert looks(Pulse(), *([Sign("store", 1, 7, True)] for _ in range(100))) == ()


def test_who_does_something_now_and_then_moves():
    assert looks(Pulse(), *([silent("store", beats=number // 4)] for number in range(100))) == ()


def test_a_class_that_shows_no_sign_of_life_is_named():
    rounds = int(SILENT_S_MAX / LOOK_S) + 2
    assert looks(Pulse(), *([silent("store"), Sign("keeper", 1, 1, True)] for _ in range(rounds))) == ("store",)
    assert looks(Pulse(), *([silent("store")] for _ in range(rounds - 1))) == ()


def test_one_member_that_moves_speaks_for_its_class():
    rounds = [[silent("traders/a"), silent("traders/b", beats=number)] for number in range(20)]
    assert looks(Pulse(), *rounds) == ()
    assert looks(Pulse(), *([silent("traders/a"), silent("traders/b")] for _ in range(20))) == ("traders",)


def test_a_new_incarnation_is_a_sign_of_life():
    assert looks(Pulse(), *([Sign("feeds/KOGE", number // 4, 0, False)] for number in range(100))) == ()


def test_a_commit_that_never_comes_back_is_named():
    pulse, idle = Pulse(), [Sign("store", 1, 1, True)]
    said = [pulse.look(idle, committing_since_s=5.0, now_s=at) for at in (0.0, 20.0, 5.0 + COMMIT_S_MAX, 36.0)]
    assert said == [(), (), (), ("commit",)]
    assert pulse.look(idle, committing_since_s=36.5, now_s=37.0) == ()


def test_a_process_that_was_stopped_is_not_blamed_for_the_time():
    pulse = Pulse()
    pulse.look([silent("store")], committing_since_s=None, now_s=0.0)
    assert pulse.look([silent("store")], committing_since_s=1.0, now_s=3600.0) == ()
    assert pulse.look([silent("store")], committing_since_s=None, now_s=3600.0 + GAP_S_MAX) == ()
    assert pulse.look([silent("store")], committing_since_s=None, now_s=3601.0 + SILENT_S_MAX) == ("store",)


@given(st.lists(st.lists(st.tuples(st.sampled_from(["store", "traders/a", "traders/b"]), st.booleans()), max_size=3)))
def test_nobody_is_blamed_before_its_time(rounds):
    pulse, beats = Pulse(), dict.fromkeys(["store", "traders/a", "traders/b"], 0)
    moved_s = dict.fromkeys(["store", "traders"], 0.0)
    for number, moves in enumerate(rounds):
        for path, really in moves:
            beats[path] += really
            if really:
                moved_s[path.split("/")[0]] = number * LOOK_S
        signs = [silent(path, beats=count) for path, count in beats.items()]
        blamed = pulse.look(signs, committing_since_s=None, now_s=number * LOOK_S)
        expected = tuple(name for name, at_s in moved_s.items() if number * LOOK_S - at_s > SILENT_S_MAX)
        assert blamed == expected


async def idle(inbox, *, task_status):
    task_status.started()
    while True:
        await inbox.take()
        inbox.finish()


async def hangs(inbox, *, task_status):
    task_status.started()
    await trio.sleep_forever()


async def dies(inbox, *, task_status):
    raise ValueError("at once")


@pytest.mark.parametrize(("start", "waits"), [(idle, True), (hangs, False), (dies, True)])
async def test_the_tree_tells_who_waits(start, waits, autojump_clock):
    """Who is parked is in the supervisor's hands, and so waits."""
    async with Stage(0).running(FamilySpec(name="feeds", children=(ChildSpec(name="x", start=start),))) as tree:
        await trio.sleep(60)
        (sign,) = tree.signs()
        assert (sign.path, sign.waits) == ("feeds/x", waits)
