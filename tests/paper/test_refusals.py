"""What the exchange does not take, and that a refusal changes nothing (wire § 9, § 11)."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.paper.faults import Fault
from actors.paper.private import A1, D1
from tests.paper.kit import D, Kit, conserved

PLACE, OTO = f"{A1}/order/place", f"{A1}/oto-order/place"


@dataclass
class Case:
    name: str
    code: str
    body: dict


def buy(price="48", quantity="1", **changes):
    return Kit().order_body("BUY", price, quantity) | changes


def paid(amount, wallet="CARD"):
    return [{"amount": amount, "paymentWalletType": wallet}]


CASES = [
    Case("amount rounded up instead of cut", "000002", buy("48.01706542", "0.2082", paymentDetails=paid("9.99715303"))),
    Case("no payment", "000002", buy(paymentDetails=[])),
    Case("payment of an unknown wallet", "000002", buy(paymentDetails=paid("48", "GOLD"))),
    Case("BUY paid from the Alpha wallet", "000002", buy(paymentDetails=paid("48", "ALPHA"))),
    Case("payment is no object", "000002", buy(paymentDetails=["48"])),
    Case("payment is no list", "000002", buy(paymentDetails="48")),
    Case("payment without a number", "000002", buy(paymentDetails=paid("much", "CARD"))),
    Case("no side", "000002", buy(side="HOLD")),
    Case("unknown symbol", "481018", buy(baseAsset="ALPHA_1")),
    Case("delisted", "481017", buy(baseAsset="ALPHA_906")),
    Case("price is no number", "481001", buy() | {"price": "cheap"}),
    Case("price is true", "481001", buy() | {"price": True}),
    Case("price is negative", "481001", buy() | {"price": "-48"}),
    Case("price is NaN", "481001", buy() | {"price": "NaN"}),
    Case("price is endless", "481001", buy() | {"price": "1e99999999"}),
    Case("price has a thousand digits", "481001", buy() | {"price": "1." + "1" * 1000}),
    Case("quantity missing", "481001", buy() | {"quantity": None}),
    Case("price off the tick", "481002", buy() | {"price": "48.000000001"}),
    Case("price above the maximum", "481002", buy() | {"price": "100000.1"}),
    Case("quantity off the step", "481010", buy() | {"quantity": "1.00005"}),
    Case("quantity above LOT_SIZE", "481011", buy() | {"quantity": "19910"}),
    Case("total below the minimum", "481013", buy("48", "0.002")),
    Case("total above the maximum", "481014", buy("100000", "10.1")),
    Case("insufficient balance", "481020", buy("48", "300")),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused_with_its_code_and_without_a_trace(case):
    kit = Kit()
    kit.listen()
    assert kit.code("POST", PLACE, case.body) == case.code
    assert kit.code("POST", f"{D1}/order/place", case.body) == case.code
    assert kit.usdt() == (D(10_000), D(0))
    assert kit.open_orders() == []
    kit.pass_ms(10_000)
    assert kit.history() == []
    assert kit.reports() == []


def test_a_working_leg_is_checked_like_a_plain_order():
    kit = Kit()
    body = kit.oto_body("48", "1", "49")
    assert kit.code("POST", OTO, body | {"workingQuantity": "1.00005"}) == "481010"
    assert kit.code("POST", OTO, body | {"paymentDetails": paid("1")}) == "000002"
    assert kit.code("POST", OTO, body | {"pendingPrice": None}) == "481001"
    assert kit.code("POST", OTO, body | {"pendingPrice": "49.000000001"}) == "481002"
    assert kit.code("POST", OTO, body | {"workingSide": "SELL"}) == "000002"
    assert kit.open_orders() == []


def test_quantity_below_the_minimum():
    kit = Kit()
    kit.listing.relist(_with(kit, min_quantity=D("0.5")))
    assert kit.code("POST", PLACE, kit.order_body("BUY", "48", "0.4")) == "481010"


def _with(kit, **filters):
    old = kit.listing.by_symbol["ALPHA_22USDT"]
    return msgspec.structs.replace(old, filters=msgspec.structs.replace(old.filters, **filters))


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b"\xff\xfe", b'{"price": 1e9999999999999999999999}'])
def test_a_body_that_is_no_object(body):
    assert Kit().code("POST", PLACE, body) in {"000002", "481018"}


def test_percent_price_bounds_follow_the_last_trade():
    """LUMI has 0.2 … 5; without any trade there is nothing to compare with."""
    kit = Kit()
    lumi = "ALPHA_901USDT"
    kit.place("BUY", "0.001", "1000", lumi)
    kit.quote("SELL", "0.2", "100", lumi)
    kit.quote("BUY", "0.2", "50", lumi)
    assert kit.code("POST", PLACE, kit.order_body("BUY", "0.03999999", "100", lumi)) == "481015"
    assert kit.code("POST", PLACE, kit.order_body("BUY", "1.00000001", "100", lumi)) == "481015"
    kit.place("BUY", "0.04", "100", lumi)
    kit.place("BUY", "1", "1", lumi)


def test_percent_price_does_not_bind_pending_legs_unless_the_rule_says_so():
    kit = Kit()
    lumi = "ALPHA_901USDT"
    kit.quote("SELL", "0.2", "100", lumi)
    kit.quote("BUY", "0.2", "50", lumi)
    kit.oto("0.2", "10", "0.0001", lumi)
    kit.rules.percent_on_pending = True
    assert kit.code("POST", OTO, kit.oto_body("0.2", "10", "0.0001", lumi)) == "481015"


def test_an_oto_counts_as_two_open_orders():
    kit = Kit()
    kit.listing.relist(_with(kit, max_open_orders=3))
    kit.oto("40", "1", "50")
    assert kit.code("POST", OTO, kit.oto_body("40", "1", "50")) == "481016"
    kit.place("BUY", "40", "1")
    assert kit.code("POST", PLACE, kit.order_body("BUY", "40", "1")) == "481016"
    kit.place("BUY", "0.2", "1", "ALPHA_901USDT")


def test_halted_symbol():
    kit = Kit(Fault(kind="halt", symbol="ALPHA_22USDT"))
    assert kit.code("POST", PLACE, kit.order_body("BUY", "48", "1")) == "481017"
    kit.place("BUY", "0.2", "1", "ALPHA_901USDT")


def test_cancel_of_a_finished_unknown_or_foreign_order():
    kit = Kit(gone_code="481999")
    order_id = kit.place("BUY", "40", "1")
    assert kit.cancel(order_id, user="bob")["code"] == "481999"
    assert kit.cancel("nonsense")["code"] == "481999"
    assert kit.cancel(order_id, symbol="ALPHA_901USDT")["code"] == "481999"
    assert kit.cancel(order_id)["data"] is None
    assert kit.cancel(order_id)["code"] == "481999"


@pytest.mark.parametrize("user", [None, "", "Not A Name", "x" * 33])
def test_no_account_no_private_call(user):
    """Three keys only, as captured (wire § 9)."""
    kit = Kit(login_status=401)
    response = kit.ask("POST", PLACE, kit.order_body("BUY", "48", "1"), user=user)
    assert response.status == 401
    assert kit.document("GET", f"{D1}/order/get-open-order", user=user) == {
        "code": "100002001",
        "message": "登录状态已经失效，请重新登录！",
        "success": False,
    }


def test_a_call_that_does_not_exist():
    assert Kit().ask("GET", "/bapi/nothing").status == 404
    assert Kit().ask("GET", PLACE).status == 404


def test_http_status_of_a_refusal_is_a_rule():
    kit = Kit(refusal_status=400)
    assert kit.ask("POST", PLACE, kit.order_body("BUY", "48", "300")).status == 400


def test_numbers_may_be_written_as_long_as_anybody_likes():
    kit = Kit()
    kit.place("BUY", "40." + "0" * 29, "1." + "0" * 29)
    (row,) = kit.open_orders()
    assert (row["price"], row["origQty"]) == ("40", "1")


def test_more_requests_than_the_limit():
    kit = Kit(requests_per_s_most=3)
    statuses = []
    for _ in range(5):
        statuses.append(kit.ask("GET", f"{D1}/order/get-open-order").status)
        kit.pass_ms(100)
    assert statuses == [200, 200, 200, 429, 429]
    assert kit.open_orders(user="bob") == []
    kit.pass_ms(1_000)
    assert kit.open_orders() == []
    assert [kit.exchange.most_requests_per_s(name) for name in ("alice", "bob", "carol")] == [5, 1, 0]


words = st.sampled_from(["symbol", "orderId", "page", "rows", "startTime", "limit", "interval", "listenKey", "side"])
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("9" * 5_000))
order_keys = ["symbol", "orderId", "baseAsset", "quoteAsset", "side", "price", "quantity", "paymentDetails"]
oto_keys = ["workingSide", "workingPrice", "workingQuantity", "pendingPrice"]
keys = st.sampled_from([*order_keys, *oto_keys, "tokens", "includeWallets", "listenKey"])
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
likely = st.sampled_from(["ALPHA_22USDT", "ALPHA_22", "USDT", "BUY", "SELL", 48, "1", [{"amount": 48}]])


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 10**6),
    st.dictionaries(words, st.text(max_size=12) | st.just("9" * 5_000) | st.just("ALPHA_22USDT"), max_size=3),
    st.dictionaries(keys, likely | anything, max_size=8) | anything,
)
def test_whatever_a_client_sends_is_answered(pick, query, body):
    kit = Kit()
    exchange = kit.exchange
    calls = sorted({*exchange._private.calls, *exchange._front._public.calls})
    method, path = calls[pick % len(calls)]
    kit.quote("SELL", "48", "1")
    document = kit.document(method, path, msgspec.json.encode(body), **query)
    assert isinstance(document["success"], bool)
    conserved(kit)


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"orderId": ' + b"9" * 5_000 + b"}"])
def test_a_body_made_to_hurt(body):
    assert Kit().code("POST", f"{D1}/order/cancel", body) in {"000002", "481022"}
