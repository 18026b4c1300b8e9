"""Events in words."""

from __future__ import annotations

import pytest

from supervisor.headlines import headline

AT = "2026-11-20T10:00:03.123Z"
FILL = {"side": "BUY", "quantity": "1.0407", "price": "48.04435937", "quote": "49.97090925"}


@pytest.mark.parametrize(
    ("topic", "kind", "payload", "says"),
    [
        ("fill.alice", "fill", FILL, "alice bought 1.0407 at 48.044359 for 49.97 USDT"),
        ("fill.bob", "fill", {**FILL, "side": "SELL"}, "bob sold 1.0407 at 48.044359 for 49.97 USDT"),
        ("pair.a", "pair", {"pair_id": "a-2026-11-20-3", "outcome": "completed", "wear": "0.0147"},
         "a-2026-11-20-3 completed, wear 0.0147 USDT"),
        ("pair.a", "pair", {"pair_id": "a-2026-11-20-3", "outcome": "absent", "wear": None}, "a-2026-11-20-3 absent"),
        ("pause.a", "paused", {"reason": "WEAR_LIMIT", "detail": "5 of 5"}, "a PAUSED WEAR_LIMIT: 5 of 5"),
        ("pause.a", "resumed", {"reason": "OPERATOR", "who": "0:7"}, "a resumed from OPERATOR (0:7)"),
        ("progress.a", "target_reached", {"day": "2026-11-20"}, "a reached the day's target"),
        ("actor", "crashed", {"path": "traders/a", "errors": ["A: b", "C: d"]}, "traders/a crashed: A: b; C: d"),
        ("actor", "ready", {"path": "traders/a", "incarnation": 2}, "traders/a runs again, incarnation 2"),
        ("actor", "parked", {"path": "traders/a", "why": "died too often"}, "traders/a is parked: died too often"),
        ("actor", "stuck", {"path": "", "why": "x"}, "the root is stuck: x"),
        ("stream", "feed_lost", {"token": "KOGE", "why": "closed", "x": None}, "feed lost: KOGE, closed"),
    ],
)  # fmt: skip
def test_what_people_want_to_know_is_a_sentence(topic, kind, payload, says):
    assert headline(topic, kind, AT, payload) == f"10:00:03 {says}"


@pytest.mark.parametrize(
    ("topic", "kind", "payload"),
    [
        ("order.a", "order", {"status": "NEW"}),
        ("pair.a", "pair", {"pair_id": "a", "outcome": None}),
        ("progress.a", "progress", {"volume": "1"}),
        ("actor", "ready", {"path": "traders/a", "incarnation": 1}),
        ("actor", "stopped", {"path": "traders/a", "incarnation": 1}),
    ],
)
def test_steps_on_the_way_have_no_headline(topic, kind, payload):
    assert headline(topic, kind, AT, payload) is None


@pytest.mark.parametrize(
    ("topic", "kind", "payload"),
    [
        ("fill.a", "fill", {"side": "BUY"}),
        ("fill.a", "fill", {**FILL, "price": "much"}),
        ("fill.a", "fill", {**FILL, "price": None}),
        ("news", "x", {"a": "b"}),
    ],
)
def test_an_event_of_another_shape_is_shown_as_it_is(topic, kind, payload):
    assert headline(topic, kind, AT, payload).startswith(f"10:00:03 {topic} {kind}")
