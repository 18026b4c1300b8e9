"""Each fault switch does what it says, for whom and as often as it says (design § 8; reliability F1 to F43)."""

from __future__ import annotations

import random
from email.utils import parsedate_to_datetime
from pathlib import Path

import msgspec
import pytest

from actors.paper.faults import KINDS, Fault, Faults
from actors.paper.private import A1, D1
from actors.paper.rules import Rules
from tests.paper.kit import KOGE, T0, Kit

PLACE, OTO = f"{A1}/order/place", f"{A1}/oto-order/place"
OPEN = f"{D1}/order/get-open-order"


def accepted(kit: Kit) -> bool:
    """Has the exchange an open order of alice?"""
    return "alice" in kit.exchange.accounts() and any(not o.over for o in kit.exchange.audit("alice").orders)


def place(kit: Kit, user: str = "alice"):
    return kit.ask("POST", PLACE, kit.order_body("BUY", "40", "1"), user=user)


class TestWhenItStrikes:
    def test_times(self):
        kit = Kit(Fault(kind="http_error", times=2))
        assert [place(kit).status for _ in range(3)] == [502, 502, 200]
        assert kit.faults.fired == {"http_error": 2}
        assert kit.exchange.statistics().faults == {"http_error": 2}

    def test_always(self):
        kit = Kit(Fault(kind="http_error"))
        assert {place(kit).status for _ in range(5)} == {502}

    def test_skip(self):
        kit = Kit(Fault(kind="http_error", skip=2, times=1))
        assert [place(kit).status for _ in range(4)] == [200, 200, 502, 200]

    def test_share(self):
        kit = Kit(Fault(kind="http_error", share=0.3), start_balance=1_000_000)
        struck = sum(place(kit).status == 502 for _ in range(180))
        assert 30 < struck < 80

    def test_one_account(self):
        kit = Kit(Fault(kind="http_error", account="bob"))
        assert [place(kit, user).status for user in ("alice", "bob")] == [200, 502]

    def test_one_path(self):
        kit = Kit(Fault(kind="http_error", path="oto-order"))
        assert place(kit).status == 200
        assert kit.ask("POST", OTO, kit.oto_body("40", "1", "50")).status == 502

    def test_switched_off(self):
        kit = Kit()
        fault = kit.faults.add(Fault(kind="http_error"))
        assert place(kit).status == 502
        kit.faults.remove(fault)
        kit.faults.remove(fault)
        assert place(kit).status == 200

    def test_from_a_document(self):
        faults = Faults.from_mapping({"fault": [{"kind": "lost_reply", "account": "alice", "times": 3}]})
        assert faults.any("lost_reply")
        assert not faults.any("halt")
        with pytest.raises(msgspec.ValidationError, match="unknown field `acount`"):
            Faults.from_mapping({"fault": [{"kind": "halt", "acount": "alice"}]})
        with pytest.raises(msgspec.ValidationError, match="Invalid enum value"):
            Faults.from_mapping({"fault": [{"kind": "earthquake"}]})

    def test_rules_from_a_document(self):
        rules = Rules.from_mapping({"entry_ms": [0, 5], "start_balance": "12.5", "release_on": "partial"})
        assert (rules.entry_ms, str(rules.start_balance), rules.release_on) == ((0, 5), "12.5", "partial")
        with pytest.raises(msgspec.ValidationError, match="unknown field"):
            Rules.from_mapping({"entry": 1})


class TestReplies:
    def test_lost_after_acceptance(self):
        """F5: accepted, and the answer never comes."""
        kit = Kit(Fault(kind="lost_reply", times=1))
        response = place(kit)
        assert (response.lost, response.body) == (True, b"")
        assert accepted(kit)

    def test_lost_before(self):
        kit = Kit(Fault(kind="lost_reply", processed=False, times=1))
        assert place(kit).lost
        assert not accepted(kit)

    def test_late_after_acceptance(self):
        """Accepted, then a time-out of the client."""
        kit = Kit(Fault(kind="late_reply", seconds=60, times=1))
        response = place(kit)
        assert response.delay_ms == 60_000
        assert not response.lost
        assert accepted(kit)

    def test_late_and_nothing_happened(self):
        kit = Kit(Fault(kind="late_reply", seconds=60, processed=False, times=1))
        assert place(kit).lost
        assert not accepted(kit)

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 418, 403])
    @pytest.mark.parametrize("processed", [True, False])
    def test_http_errors_with_or_without_effect(self, status, processed):
        """F24 to F26: also accept-then-5xx and accept-then-429."""
        kit = Kit(Fault(kind="http_error", status=status, retry_after=30, processed=processed, times=1))
        response = place(kit)
        assert response.status == status
        assert ("Retry-After", "30") in response.headers
        assert response.body.startswith(b"<!DOCTYPE") is (status == 403)
        assert accepted(kit) is processed

    @pytest.mark.parametrize("processed", [True, False])
    def test_html_page_with_status_200(self, processed):
        """F7, F21."""
        kit = Kit(Fault(kind="html_body", processed=processed, times=1))
        response = place(kit)
        assert (response.status, response.body[:9]) == (200, b"<!DOCTYPE")
        assert dict(response.headers)["Content-Type"].startswith("text/html")
        assert accepted(kit) is processed

    def test_truncated_body(self):
        kit = Kit(Fault(kind="truncated_body", times=1))
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(place(kit).body)
        assert accepted(kit)

    @pytest.mark.parametrize("processed", [True, False])
    def test_an_unknown_code(self, processed):
        kit = Kit(Fault(kind="error_code", code="345678", message="?", processed=processed, times=1))
        document = msgspec.json.decode(place(kit).body)
        assert (document["code"], document["success"], document["message"]) == ("345678", False, "?")
        assert accepted(kit) is processed

    def test_login_expires(self):
        kit = Kit(Fault(kind="login_expired", account="alice"), login_status=401)
        assert place(kit).status == 401
        assert kit.code("GET", OPEN) == "100002001"
        assert kit.open_orders(user="bob") == []
        assert not accepted(kit)

    def test_extra_verification(self):
        kit = Kit(Fault(kind="verification", path="place", times=1))
        response = place(kit)
        assert dict(response.headers)["risk_challenge_enable_flow"] == "true"
        assert msgspec.json.decode(response.body)["code"] == "100001003"
        assert not accepted(kit)

    def test_keys_change(self):
        """F43: a field is gone, another has an unknown word."""
        kit = Kit()
        place(kit)
        kit.faults.add(Fault(kind="edit_body", path="open-order", set={"status": "ODD"}, remove=["price"], times=1))
        (row,) = kit.open_orders()
        assert row["status"] == "ODD"
        assert "price" not in row
        kit.faults.add(Fault(kind="edit_body", path="get-listen-key", times=1))
        assert kit.data("POST", f"{D1}/get-listen-key", {})

    def test_clock_of_the_exchange_is_off(self):
        """F68."""
        kit = Kit(Fault(kind="clock_skew", seconds=-7, times=1))
        dates = [parsedate_to_datetime(dict(place(kit).headers)["Date"]).timestamp() for _ in range(2)]
        assert dates == [T0 / 1000 - 7, T0 / 1000]


class TestLateAcceptance:
    def test_the_order_appears_later(self):
        """A ghost: absent at every look for 30 s, and then it is there."""
        kit = Kit(Fault(kind="late_acceptance", seconds=30, times=1))
        kit.listen()
        assert place(kit).lost
        kit.pass_ms(29_999)
        assert kit.open_orders() == kit.history() == []
        kit.pass_ms(1)
        (row,) = kit.open_orders()
        assert row["time"] == T0 + 30_000
        assert [report["X"] for report in kit.reports()] == ["NEW"]

    def test_with_an_error_status(self):
        kit = Kit(Fault(kind="late_acceptance", seconds=1, status=504, times=1))
        assert place(kit).status == 504
        kit.pass_ms(1_000)
        assert accepted(kit)

    def test_it_may_still_be_refused_then(self):
        kit = Kit(Fault(kind="late_acceptance", seconds=1, times=1))
        kit.ask("POST", PLACE, kit.order_body("BUY", "48", "300"))
        kit.pass_ms(1_000)
        assert not accepted(kit)

    def test_without_a_login_nothing_comes_of_it(self):
        kit = Kit(Fault(kind="late_acceptance", seconds=1, times=1))
        kit.ask("POST", PLACE, kit.order_body("BUY", "40", "1"), user=None)
        kit.pass_ms(1_000)
        assert kit.exchange.accounts() == ()

    def test_reads_are_not_late(self):
        kit = Kit(Fault(kind="late_acceptance", seconds=30))
        assert kit.open_orders() == []


class TestFrames:
    def made(self, *faults: Fault) -> list[dict]:
        """Frames of three placements and what is left of them."""
        kit = Kit(*faults)
        kit.listen()
        for price in ("40", "41", "42"):
            kit.place("BUY", price, "1")
        return kit.frames("alpha@")

    def prices(self, frames: list[dict]) -> list[str]:
        return [frame["data"]["p"] for frame in frames]

    def test_missing(self):
        assert self.prices(self.made(Fault(kind="drop_frame", stream="alpha@", skip=1, times=1))) == ["40", "42"]

    def test_duplicated(self):
        assert self.prices(self.made(Fault(kind="duplicate_frame", times=1))) == ["40", "40", "41", "42"]

    def test_delayed_while_others_overtake(self):
        frames = self.made(Fault(kind="delay_frame", seconds=5, times=1))
        assert [frame["due"] - T0 for frame in frames] == [5_012, 12, 12]
        assert frames[0]["data"]["E"] == T0 + 12

    def test_reordered(self):
        frames = self.made(Fault(kind="reorder_frame", times=1))
        assert self.prices(frames) == ["41", "40", "42"]
        assert [frame["due"] for frame in frames] == [T0 + 12] * 3

    def test_reordered_without_a_successor_comes_late(self):
        kit = Kit(Fault(kind="reorder_frame", times=1))
        kit.listen()
        kit.place("BUY", "40", "1")
        assert kit.frames() == []
        kit.pass_ms(5_000)
        (frame,) = kit.frames()
        assert frame["due"] == T0 + 1_012

    def test_edited(self):
        """F38, F43, F82."""
        frames = self.made(Fault(kind="edit_frame", set={"X": "ODD", "extra": 1}, remove=["q"], times=1))
        assert (frames[0]["data"]["X"], frames[0]["data"]["extra"]) == ("ODD", 1)
        assert "q" not in frames[0]["data"]
        assert frames[1]["data"]["X"] == "NEW"

    def test_only_frames_of_a_word(self):
        kit = Kit(Fault(kind="drop_frame", word="FILLED"))
        kit.listen()
        kit.quote("SELL", "48", "5")
        kit.oto("48", "1", "60")
        kit.pass_ms(1_000)
        assert [word for _, _, word in kit.told()] == ["NEW", "PENDING", "NEW"]

    def test_disconnect(self):
        """F8: the sockets of the stream are closed, the frame is lost."""
        kit = Kit(Fault(kind="disconnect", times=1))
        kit.listen()
        kit.place("BUY", "40", "1")
        kit.place("BUY", "41", "1")
        first, second = kit.exchange.take_frames()
        assert (first.close, first.payload, first.public) == (True, b"", False)
        assert not second.close

    def test_disconnect_by_hand(self):
        kit = Kit()
        kit.exchange.disconnect("alpha_22usdt@aggTrade", public=True, now_ms=kit.now)
        (frame,) = kit.exchange.take_frames()
        assert (frame.close, frame.public, frame.due_ms) == (True, True, kit.now)

    def test_public_streams_too(self):
        """F17: connected, and no trade any more."""
        kit = Kit(Fault(kind="drop_frame", word="aggTrade", symbol=KOGE))
        kit.exchange.subscribe("alpha_22usdt@aggTrade", public=True, now_ms=kit.now)
        kit.quote("SELL", "48", "1")
        kit.quote("BUY", "48", "1")
        assert kit.frames() == []


def test_every_kind_is_tried_somewhere():
    """A switch without a test is a switch nobody may trust."""
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [kind for kind in KINDS if f'kind="{kind}"' not in text] == []


def test_the_same_seed_strikes_the_same_requests():
    def run() -> list[int]:
        kit = Kit(Fault(kind="http_error", share=0.5), rng=random.Random(7), reply_ms=(0, 50))
        return [place(kit).status for _ in range(50)]

    assert run() == run()
