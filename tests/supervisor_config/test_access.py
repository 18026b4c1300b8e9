"""Roles by uid."""

from __future__ import annotations

import grp
import os
import pwd

from supervisor.access import OPERATOR, Access, Rights, names_of, nobody_else

NAMES = {7: frozenset({"ann", "traders"}), 8: frozenset({"bob", "watchers"}), 9: frozenset({"eve"})}


def access(**roles):
    return Access(own_uid=500, names=lambda uid: NAMES.get(uid, frozenset()), **roles)


def test_with_empty_lists_only_root_and_the_daemons_user_act():
    made = access()
    assert made.rights(0) == made.rights(500) == OPERATOR
    assert made.rights(7).stranger
    assert not made.rights(500).stranger


def test_entries_are_uids_names_or_groups():
    made = access(operators=["traders"], viewers=[8, "eve"])
    assert made.rights(7) == Rights(acts=True)
    assert made.rights(8) == made.rights(9) == Rights(looks=True)
    assert made.rights(10).stranger


def test_a_caller_may_be_limited_to_certain_users():
    made = access(viewers=["watchers"], users={"alice": ["eve", 7], "carol": [7], "dave": ["watchers"]})
    eve, ann, bob = made.rights(9), made.rights(7), made.rights(8)
    assert eve.sees("alice")
    assert eve.acts_on("alice")
    assert not eve.sees("bob")
    assert not eve.sees_all
    assert ann.own == {"alice", "carol"}
    assert bob.sees("alice")
    assert not bob.acts_on("alice")
    assert bob.acts_on("dave")


def test_the_system_is_asked_once_per_uid():
    asked = []
    made = Access(own_uid=500, viewers=["x"], names=lambda uid: asked.append(uid) or frozenset({"x"}))
    assert made.rights(7) is made.rights(7)
    assert asked == [7]


def test_names_are_those_of_the_user_and_its_groups():
    uid = os.geteuid()
    entry = pwd.getpwuid(uid)
    assert {entry.pw_name, grp.getgrgid(entry.pw_gid).gr_name} <= names_of(uid)
    assert names_of(2**31 - 7) == frozenset()
    assert nobody_else().rights(uid) == OPERATOR
