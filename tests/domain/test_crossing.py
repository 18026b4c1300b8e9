"""The self-trade guard over all users of this daemon."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.crossing import CLAIM_MS, Crossing, Register
from actors.messages import OwnOrder

D = Decimal


def buy(price) -> OwnOrder:
    return OwnOrder("BUY", D(price))


def sell(price) -> OwnOrder:
    return OwnOrder("SELL", D(price))


@pytest.mark.parametrize(
    ("resting", "wanted", "blocked"),
    [
        (buy(48), sell(48), True),
        (buy(48), sell("47.99"), True),
        (buy(48), sell("48.01"), False),
        (sell(48), buy(48), True),
        (sell(48), buy("48.01"), True),
        (sell(48), buy("47.99"), False),
        (buy(48), buy(48), False),
        (sell(48), sell(48), False),
    ],
)
def test_only_opposite_orders_that_would_cross_block(resting, wanted, blocked):
    register = Register()
    assert register.ask("alice", "a-1", [resting], 0) is None
    answer = register.ask("bob", "b-1", [wanted], 0)
    assert answer == (Crossing("alice", "a-1", D(48)) if blocked else None)
    assert len(register.rows()) == (1 if blocked else 2)


def test_own_orders_do_not_block():
    register = Register()
    assert register.ask("alice", "a-1", [buy(48), sell(47)], 0) is None
    assert register.ask("alice", "a-2", [buy(49), sell(46)], 0) is None


def test_a_pair_counts_until_it_is_over():
    register = Register()
    register.ask("alice", "a-1", [buy(48), sell("48.1")], 0)
    assert register.ask("bob", "b-1", [buy("48.2"), sell("48.3")], 0).price == D("48.1")  # a held pending leg counts
    assert register.over("alice", "a-1")
    assert not register.over("alice", "a-1")
    assert register.ask("bob", "b-1", [buy("48.2"), sell("48.3")], 0) is None


def test_asking_again_replaces_what_the_pair_had():
    register = Register()
    register.ask("alice", "a-1", [buy(48), sell(49)], 0)
    register.ask("alice", "a-1", [sell("48.5")], 0)
    assert register.rows() == (("alice", "a-1", "SELL", D("48.5")),)


def test_two_that_unwind_do_not_wait_for_each_others_gone_orders():
    register = Register()
    register.note("alice", "a-1", [buy(48), sell("48.5")])
    register.note("bob", "b-1", [buy("47.5"), sell("48.2")])
    assert register.ask("alice", "a-1", [sell("47.4")], 0) == Crossing("bob", "b-1", D("47.5"))
    assert register.ask("bob", "b-1", [sell("47.4")], 0) is None
    assert register.ask("alice", "a-1", [sell("47.4")], 0) is None


def test_the_first_refused_is_the_first_served():
    register = Register()
    crossing = [buy(49), sell(47)]
    assert register.ask("alice", "a-1", crossing, 0) is None
    assert register.ask("bob", "b-1", crossing, 0) is not None
    assert register.ask("carol", "c-1", crossing, 0) is not None
    assert register.waiting == 2
    register.over("alice", "a-1")
    assert register.ask("alice", "a-2", crossing, 10) == Crossing("bob", "b-1", D(49), claimed=True)
    assert register.ask("carol", "c-1", crossing, 10).by == "bob"
    assert register.ask("bob", "b-1", crossing, 10) is None
    register.over("bob", "b-1")
    assert register.ask("bob", "b-2", crossing, 20).by == "carol"
    assert register.ask("alice", "a-2", crossing, 20).by == "carol"
    assert register.ask("carol", "c-1", crossing, 20) is None


def test_a_claim_does_not_block_what_it_would_not_cross():
    register = Register()
    register.ask("alice", "a-1", [buy(49), sell(47)], 0)
    register.ask("bob", "b-1", [buy("48.5"), sell(48)], 0)
    register.over("alice", "a-1")
    assert register.ask("carol", "c-1", [buy(47), sell(50)], 0) is None


def test_a_claim_lapses_when_nobody_asks_for_it_any_more():
    register = Register()
    crossing = [buy(49), sell(47)]
    register.ask("alice", "a-1", crossing, 0)
    register.ask("bob", "b-1", crossing, 0)
    register.over("alice", "a-1")
    assert register.ask("carol", "c-1", crossing, CLAIM_MS) is not None
    assert register.ask("carol", "c-1", crossing, CLAIM_MS + 1) is None


def test_a_pair_given_up_takes_its_claim_away():
    register = Register()
    crossing = [buy(49), sell(47)]
    register.ask("alice", "a-1", crossing, 0)
    register.ask("bob", "b-1", crossing, 0)
    register.over("alice", "a-1")
    assert not register.over("bob", "b-1")
    assert register.ask("carol", "c-1", crossing, 0) is None


def test_a_sale_of_inventory_waits_for_resting_orders_only():
    register = Register()
    register.ask("alice", "a-1", [buy(49), sell("49.5")], 0)
    register.ask("bob", "b-1", [buy(50), sell("49.7")], 0)  # waits, and leaves a claim
    assert register.ask("carol", "c-1", [sell("49.2")], 0) is None  # would cross bob's claim, but no resting order
    assert register.ask("dave", "d-1", [sell(48)], 0) == Crossing("alice", "a-1", D(49))
    assert register.waiting == 1


def test_a_refill_notes_without_asking_and_nothing_is_nothing():
    register = Register()
    register.note("alice", "a-1", [buy(49)])
    register.note("bob", "b-1", [sell(47)])
    register.note("carol", "c-1", [])
    assert [row[0] for row in register.rows()] == ["alice", "bob"]
    register.note("bob", "b-1", [])
    assert [row[0] for row in register.rows()] == ["alice"]


users = st.sampled_from(["alice", "bob", "carol"])
orders = st.lists(
    st.builds(OwnOrder, st.sampled_from(["BUY", "SELL"]), st.integers(1, 6).map(D)), min_size=1, max_size=2
)


@given(st.lists(st.tuples(users, st.booleans(), orders), max_size=30))
def test_orders_of_different_users_in_the_register_never_cross(moves):
    register = Register()
    for now_ms, (user, asks, wanted) in enumerate(moves):
        if asks:
            register.ask(user, f"{user}-1", wanted, now_ms)
        else:
            register.over(user, f"{user}-1")
        rows = register.rows()
        for who, _, side, price in rows:
            for other, _, other_side, other_price in rows:
                assert who == other or side != "BUY" or other_side != "SELL" or price < other_price


def test_what_a_user_says_is_all_there_is_of_it():
    register = Register()
    register.note("alice", "a-1", [buy("10")])
    register.note("alice", "a-2", [buy("11")])
    register.note("bob", "b-1", [buy("9")])
    register.keep("alice", {"a-2": [buy("12")]})
    assert [(row[0], row[1], row[3]) for row in register.rows()] == [("alice", "a-2", 12), ("bob", "b-1", 9)]
    register.keep("alice", {})
    assert [row[1] for row in register.rows()] == ["b-1"]
