"""What the daemon's tree is made of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from supervisor import children
from supervisor.spec import ChildSpec, FamilySpec, GroupSpec, check


async def body(inbox: Any, *, task_status: Any) -> None:
    task_status.started()


def made(rate: float) -> tuple[Any, ...]:
    daemon: Any = SimpleNamespace(rate=rate, telling=object(), metrics=body)
    return children.fixed(daemon, lambda daemon: body, body)


def test_only_the_store_is_what_nobody_can_do_without():
    specs = made(1.0)
    check(GroupSpec(name="root", children=specs))
    assert [one.name for one in specs if isinstance(one, ChildSpec) and one.exhausted == "escalate"] == ["store"]
    assert [one.name for one in specs if isinstance(one, FamilySpec)] == ["feeds", "traders"]
    assert specs[0].name == "store", "started first, stopped last"


@pytest.mark.parametrize("field", ["ready_s_max", "stop_s_max", "stuck_s"])
def test_deadlines_of_our_own_work_are_real_time_at_any_speed(field):
    for slow, fast in zip(made(1.0), made(20.0), strict=True):
        if isinstance(slow, ChildSpec):
            assert getattr(fast, field) == 20 * getattr(slow, field), (slow.name, field)
