"""Account and market replies, in all the ways they may be odd."""

from __future__ import annotations

from decimal import Decimal

import pytest

from actors.domain.orders import Balance
from actors.errors import ProtocolChanged
from actors.exchange import account, market
from actors.exchange.classify import Success, classify
from tests.exchange.own import data_of, raw

D = Decimal
SECRET = "00112233445566778899aabbccddeeff"


def test_locked_frozen_and_withdrawing_are_not_free():
    assert account.read_wallets(data_of("wallets")) == (
        Balance(asset="USDT", wallet="funding", free=D("120.5"), frozen=D("11.25")),
        Balance(asset="USDT", wallet="earn", free=D(7), frozen=D(0)),
        Balance(asset="ABC", wallet="spot", free=D(3), frozen=D(0)),
    )
    (alpha,) = account.read_alpha_wallet(data_of("alpha_wallet"))
    assert (alpha.asset, alpha.free, alpha.frozen, alpha.total) == ("ALPHA_7", D(20), D("7.5"), D("27.5"))


def test_a_row_without_token_id_goes_by_its_symbol():
    (row,) = account.read_alpha_wallet(raw('{"list":[{"symbol":"BNB","free":"1"}]}'))
    assert row.asset == "BNB"
    with pytest.raises(ProtocolChanged, match="without tokenId"):
        account.read_alpha_wallet(raw('{"list":[{"free":"1"}]}'))


@pytest.mark.parametrize(
    "text", ["null", '[{"asset":"USDT","funding":{}}]', '[{"asset":"USDT","funding":{"free":"-1"}}]', '[{"free":"1"}]']
)
def test_a_wallet_that_cannot_be_read_is_no_empty_wallet(text):
    with pytest.raises(ProtocolChanged):
        account.read_wallets(raw(text))


@pytest.mark.parametrize(
    "body",
    [
        f'{{"code":"000000","data":"{SECRET}","success":true}}',
        f'{{"code":"000000","data":{{"listenKey":"{SECRET}"}},"success":true}}',
        f'{{"listenKey":"{SECRET}"}}',
    ],
)
def test_a_listen_key_has_three_shapes(body):
    verdict = classify(200, {}, body.encode(), "read")
    assert isinstance(verdict, Success)
    assert account.read_listen_key(verdict.data) == SECRET


@pytest.mark.parametrize(
    "text", ["null", '""', "5", f'"{SECRET} "', f'{{"key":"{SECRET}"}}', f'["{SECRET}"]', '"' + SECRET * 9 + '"']
)
def test_what_is_no_listen_key_is_not_repeated_in_the_error(text):
    with pytest.raises(ProtocolChanged) as caught:
        account.read_listen_key(raw(text))
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(("text", "accepted"), [("true", True), ("false", False), ("null", False)])
def test_terms_are_accepted_only_by_true(text, accepted):
    assert account.read_terms(raw(text)) is accepted


def test_points_are_whole_numbers():
    text = (
        '{"sumScore":"-3","startDatetime":1,"endDatetime":2,"list":[{"date":"2026-11-20","totalScore":"1.5",'
        '"balanceScore":"0","alphaVolumeScore":"0","alphaVolume":"0"}]}'
    )
    with pytest.raises(ProtocolChanged, match="whole number"):
        account.read_user_score(raw(text))
    score = account.read_user_score(raw(text.replace("1.5", "1")))
    assert (score.score, score.days[0].points, score.spent) == (-3, 1, ())


def test_trades_come_ascending_and_once():
    row = '{{"a":{},"p":"1","q":"1","T":5}}'
    rows = ",".join(row.format(agg_id) for agg_id in (3, 1, 2, 3))
    assert [trade.agg_id for trade in market.read_agg_trades(raw(f"[{rows}]"))] == [1, 2, 3]


def test_a_trade_without_price_is_a_change_of_protocol():
    with pytest.raises(ProtocolChanged, match="trade 3 has no price"):
        market.read_agg_trades(raw('[{"a":3,"p":"0","q":"1","T":5}]'))


def test_a_crossed_book_is_sorted_and_kept():
    text = '{"lastUpdateId":1,"symbol":"A","T":5,"bids":[["1","1"],["3","1"]],"asks":[["4","1"],["2","1"]]}'
    depth = market.read_depth(raw(text))
    assert depth.bids[0][0] > depth.asks[0][0]


def test_a_bar_needs_whole_times():
    with pytest.raises(ProtocolChanged, match="whole number"):
        market.read_klines(raw('[["1.5","1","1","1","1","1","2","1","1","1","1",0]]'))
