"""Locks, payments, credits, and what the wallets show of them (wire § 4.3, § 7.5, § 14)."""

from __future__ import annotations

import pytest

from actors.paper.accounts import Account, Bucket
from actors.paper.private import A1, balance_points, volume_points
from tests.paper.kit import ALPHA_WALLET, AVG_COST, KOGE, SCORE, T0, TERMS, VOLUME, WALLETS, D, Kit
from tests.shared import needs_shared, wire

DAY_MS = 86_400_000


def test_placing_locks_the_payment_and_a_fill_gives_the_improvement_back():
    kit = Kit()
    kit.quote("SELL", "47.5", "0.4")
    kit.place("BUY", "48", "1")
    assert kit.usdt() == (D(9_952), D(48))
    kit.pass_ms(1_000)
    assert kit.usdt() == (D(10_000) - D(19) - D("28.8"), D("28.8")), "19 paid, 0.6 × 48 still locked"
    assert kit.tokens() == (D("0.39996"), D(0))


def test_a_sale_locks_tokens_and_pays_into_funding():
    kit = Kit()
    kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(2), kit.now)
    kit.place("SELL", "48", "1.5")
    assert kit.tokens() == (D("0.5"), D("1.5"))
    kit.pass_ms(1_000)
    kit.exchange.take(KOGE, "BUY", D(1), D(48), kit.now)
    assert kit.tokens() == (D("0.5"), D("0.5"))
    assert kit.usdt()[0] == D(10_000) + D(48) - D("0.0048")


def test_proceeds_may_go_to_spot():
    kit = Kit(proceeds_wallet="spot")
    kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
    kit.quote("BUY", "48", "5")
    kit.place("SELL", "48", "1")
    kit.pass_ms(1_000)
    assert kit.usdt() == (D(10_000), D(0))
    assert kit.usdt(wallet="spot") == (D("47.9952"), D(0))


def test_proceeds_may_come_late():
    kit = Kit(credit_lag_ms=(3_000, 3_000))
    kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
    kit.quote("BUY", "48", "5")
    kit.place("SELL", "48", "1")
    kit.pass_ms(3_499)
    assert kit.usdt() == (D(10_000), D(0))
    assert kit.exchange.audit("alice").incoming == {"USDT": D("47.9952")}
    kit.pass_ms(1)
    assert kit.usdt() == (D("10047.9952"), D(0))
    assert kit.exchange.audit("alice").incoming == {}


def test_a_payment_may_come_from_several_wallets():
    kit = Kit()
    kit.exchange.deposit("alice", "spot", "USDT", D(30), kit.now)
    kit.exchange.deposit("alice", "earn", "USDT", D(5), kit.now)
    details = [("30", "MAIN"), ("1", "SAVING"), ("13", "CARD"), ("4", "SAVING")]
    body = kit.order_body("BUY", "48", "1") | {
        "paymentDetails": [{"amount": amount, "paymentWalletType": wallet} for amount, wallet in details]
    }
    order_id = kit.data("POST", f"{A1}/order/place", body)
    assert [kit.usdt(wallet=w) for w in ("funding", "spot", "earn")] == [(D(9_987), D(13)), (D(0), D(30)), (D(0), D(5))]
    kit.pass_ms(1_000)
    kit.quote("SELL", "47", "0.5")
    kit.cancel(order_id)
    assert sum(kit.usdt(wallet=w)[0] for w in ("funding", "spot", "earn")) == D(10_035) - D(24)
    assert all(not kit.usdt(wallet=w)[1] for w in ("funding", "spot", "earn"))


@pytest.mark.parametrize(("rule", "commission"), [("nearest", "5.29"), ("cut", "5.29")])
def test_base_commission_has_the_precision_of_the_asset(rule, commission):
    kit = Kit(base_commission=rule)
    kit.quote("SELL", "0.000005665", "52938", "ALPHA_902USDT")
    order_id = kit.place("BUY", "0.000005665", "52938", "ALPHA_902USDT")
    kit.pass_ms(1_000)
    (row,) = kit.trades(order_id, "ALPHA_902USDT")
    assert (row["commission"], row["commissionAsset"]) == (commission, "ALPHA_902")


def test_cut_and_nearest_differ_where_the_captures_do_not_decide():
    commissions = []
    for rule in ("nearest", "cut"):
        kit = Kit(base_commission=rule)
        kit.quote("SELL", "0.000005665", "52998", "ALPHA_902USDT")
        order_id = kit.place("BUY", "0.000005665", "52998", "ALPHA_902USDT")
        kit.pass_ms(1_000)
        commissions.append(kit.trades(order_id, "ALPHA_902USDT")[0]["commission"])
    assert commissions == ["5.30", "5.29"]


def test_fee_rates_are_rules():
    kit = Kit(buyer_millionths=1_000, seller_millionths=0)
    kit.quote("SELL", "48", "5")
    kit.place("BUY", "48", "1")
    kit.pass_ms(1_000)
    assert kit.tokens()[0] == D("0.999")


class TestWhatTheWalletsShow:
    def test_alpha_wallet(self):
        kit = Kit()
        kit.exchange.deposit("alice", "alpha", "ALPHA_901", D("2.5"), kit.now)
        kit.place("SELL", "0.3", "1", "ALPHA_901USDT")
        data = kit.data("GET", ALPHA_WALLET, includeCex=1)
        (row,) = data["list"]
        assert (row["tokenId"], row["symbol"]) == ("ALPHA_901", "LUMI"), "tokenId carries the alphaId here"
        assert (row["free"], row["freeze"], row["locked"], row["amount"]) == ("1.5", "1", "0", "2.5")
        assert data["totalValuation"] == row["valuation"] == "0.56725"

    def test_tokens_on_sale_may_show_as_locked(self):
        kit = Kit(alpha_bucket="locked")
        kit.exchange.deposit("alice", "alpha", "ALPHA_901", D("2.5"), kit.now)
        kit.place("SELL", "0.3", "1", "ALPHA_901USDT")
        (row,) = kit.data("GET", ALPHA_WALLET)["list"]
        assert (row["freeze"], row["locked"]) == ("0", "1")

    def test_other_wallets(self):
        kit = Kit()
        kit.place("BUY", "48", "1")
        kit.exchange.deposit("alice", "earn", "USDT", D("900"), kit.now)
        (row,) = kit.data("POST", WALLETS, {"includeWallets": ["CARD", "MAIN", "SAVING"], "includeEq": True})
        assert row["funding"] == {"free": "9952", "locked": "48", "freeze": "0", "withdrawing": "0"}
        assert row["spot"] is None
        assert row["earn"]["free"] == "900"
        (row,) = kit.data("POST", WALLETS, {"includeWallets": ["CARD"]})
        assert row["earn"] is None

    def test_what_is_used_up_is_not_shown(self):
        kit = Kit()
        kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
        kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(-1), kit.now)
        kit.exchange.deposit("alice", "funding", "USDT", D(-10_000), kit.now)
        assert kit.data("GET", ALPHA_WALLET) == {"totalValuation": "0", "list": []}
        assert [row["funding"] for row in kit.data("POST", WALLETS, {})] == [None]

    @needs_shared
    def test_rows_have_the_captured_keys(self):
        kit = Kit()
        kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
        captured = wire("rest_wallet_alpha")["response"]["data"]["list"][0]
        assert list(kit.data("GET", ALPHA_WALLET)["list"][0]) == list(captured)
        captured = wire("rest_wallet_asset")["response"]["data"][0]
        assert set(kit.data("POST", WALLETS, {})[0]) == set(captured)


class TestVolumeAndPoints:
    def bought(self, usdt: str = "1000", symbol: str = "ALPHA_901USDT") -> Kit:
        kit = Kit()
        kit.quote("SELL", "1", "5000", symbol)
        kit.place("BUY", "1", usdt, symbol)
        kit.pass_ms(1_000)
        return kit

    def test_todays_volume_is_after_the_multiplier_and_a_number(self):
        kit = self.bought()
        kit.quote("BUY", "0.9", "5000", "ALPHA_901USDT")
        kit.place("SELL", "0.9", "100", "ALPHA_901USDT")
        kit.pass_ms(1_000)
        data = kit.data("GET", VOLUME)
        assert data["totalVolume"] == 4_000
        assert [(row["tokenName"], row["volume"]) for row in data["tradeVolumeInfoList"]] == [("LUMI", 4_000)]
        kit.pass_ms(DAY_MS)
        assert kit.data("GET", VOLUME) == {"totalVolume": 0, "tradeVolumeInfoList": []}

    def test_points_of_whole_days(self):
        kit = self.bought()
        assert kit.data("GET", SCORE)["sumScore"] == "0", "today does not count yet"
        kit.pass_ms(DAY_MS)
        data = kit.data("GET", SCORE)
        assert len(data["list"]) == 15
        row = data["list"][0]
        assert (row["date"], row["alphaVolumeScore"], row["balanceScore"]) == ("2026-11-20", "11", "2")
        assert row["alphaVolume"] == "4000.00000000"
        assert data["sumScore"] == row["totalScore"] == "13"
        assert data["endDatetime"] - data["startDatetime"] == 14 * DAY_MS
        assert data["endDatetime"] == T0 - T0 % DAY_MS

    def test_a_day_leaves_the_window_after_15_days(self):
        kit = self.bought()
        for _ in range(17):
            kit.pass_ms(DAY_MS)
        data = kit.data("GET", SCORE)
        assert data["list"][-1]["date"] == "2026-11-22"
        assert data["sumScore"] == str(15 * 2)
        assert len(kit.exchange.audit("alice").wallets.snapshots) == 16

    @needs_shared
    def test_formula_on_the_captured_answer(self):
        data = wire("rest_user_score")["response"]["data"]
        for row in data["list"]:
            assert volume_points(D(row["alphaVolume"])) == int(row["alphaVolumeScore"])
            assert balance_points(D(row["balanceSnapshot"])) == int(row["balanceScore"])
        mine = self.bought().data("GET", SCORE)
        assert set(mine) == set(data)
        assert list(mine["list"][0]) == list(data["list"][0])

    @pytest.mark.parametrize(
        ("volume", "points"), [("1.99", 0), ("2", 1), ("4", 2), ("65536", 16), ("131071.99", 16), ("131072", 17)]
    )
    def test_volume_points(self, volume, points):
        assert volume_points(D(volume)) == points

    def test_average_cost(self):
        kit = self.bought()
        kit.quote("SELL", "2", "5000", "ALPHA_901USDT")
        kit.exchange.take("ALPHA_901USDT", "BUY", D(4_000), D(1), kit.now)
        kit.place("BUY", "2", "1000", "ALPHA_901USDT")
        kit.pass_ms(1_000)
        kit.quote("BUY", "1.9", "5000", "ALPHA_901USDT")
        kit.place("SELL", "1.9", "500", "ALPHA_901USDT")
        kit.pass_ms(1_000)
        data = kit.data("POST", AVG_COST, {"tokens": ["ALPHA_901", "ALPHA_22"]})
        assert data == {
            "tokensAvgCost": [{"token": "ALPHA_901", "avgCost": "1.50000000"}, {"token": "ALPHA_22", "avgCost": "0"}]
        }
        assert kit.data("POST", AVG_COST, {"tokens": "ALPHA_901"}) == {"tokensAvgCost": []}


def test_terms_are_a_rule():
    assert Kit().data("GET", TERMS, termType="ALPHA_CEX_ORDER_DISCLAIMER") is True
    assert Kit(terms_accepted=False).data("GET", TERMS) is False


def test_accounts_open_with_their_start_balance_and_stay_apart():
    kit = Kit(start_balance=D(250))
    kit.place("BUY", "48", "1")
    kit.place("BUY", "48", "2", user="bob")
    assert kit.exchange.accounts() == ("alice", "bob")
    assert (kit.usdt(), kit.usdt("bob")) == ((D(202), D(48)), (D(154), D(96)))
    assert kit.exchange.ledger()["deposited"] == {"USDT": D(500)}
    assert Kit(start_balance=D(0)).data("POST", WALLETS, {}) == []


def test_an_account_never_spends_what_it_does_not_have():
    account = Account("alice", 0)
    account.credit("funding", "USDT", D(10))
    with pytest.raises(AssertionError):
        account.lock("funding", "USDT", D(11))
    account.lock("funding", "USDT", D(4))
    for action in (account.unlock, account.spend_locked):
        with pytest.raises(AssertionError):
            action("funding", "USDT", D(5))
    with pytest.raises(AssertionError):
        account.credit("funding", "USDT", D(-1))
    assert account.bucket("funding", "USDT") == Bucket(D(6), D(4))


def test_money_can_be_moved_out_but_not_below_nothing():
    kit = Kit()
    kit.exchange.deposit("alice", "funding", "USDT", D(-10_000), kit.now)
    assert kit.usdt() == (D(0), D(0))
    with pytest.raises(AssertionError):
        kit.exchange.deposit("alice", "funding", "USDT", D(-1), kit.now)
