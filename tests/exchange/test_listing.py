"""Tokens, symbols and filters, in all the ways they may be odd."""

from __future__ import annotations

from decimal import Decimal

import pytest

from actors.domain.instrument import Token
from actors.errors import ProtocolChanged
from actors.exchange import listing
from tests.exchange.own import data_of, raw

D = Decimal


def test_the_stricter_of_two_filters_counts():
    instrument, *_ = listing.read_instruments(data_of("exchange_info")).instruments
    filters = instrument.filters
    assert (filters.min_notional, filters.max_notional) == (D("0.5"), D(500000))
    assert (filters.bid_multiplier_up, filters.bid_multiplier_down) == (D(4), D("0.2"))
    assert (filters.ask_multiplier_up, filters.ask_multiplier_down) == (D(5), D("0.3"))
    assert (filters.min_quantity, filters.max_quantity, filters.step_size) == (D("0.2"), D(9000), D("0.1"))
    assert filters.max_open_orders == 200


def test_absent_limits_are_no_limits():
    _, sparse = listing.read_instruments(data_of("exchange_info")).instruments
    assert sparse.status == "HALTED_SOMEHOW"
    filters = sparse.filters
    assert (filters.tick_size, filters.min_price, filters.max_price) == (D("1E-8"), D("1E-8"), listing.UNLIMITED)
    assert (filters.min_quantity, filters.max_quantity) == (1, listing.UNLIMITED)
    assert (filters.min_notional, filters.max_notional, filters.max_open_orders) == (0, None, None)
    assert (filters.bid_multiplier_up, filters.ask_multiplier_down) == (None, None)


def test_a_symbol_that_cannot_be_used_is_set_aside_with_its_reason():
    found = listing.read_instruments(data_of("exchange_info"))
    assert [one.symbol for one in found.instruments] == ["ALPHA_7USDT", "ALPHA_8USDT"]
    assert found.unreadable == (
        "row 3: Expected `int`, got `str` - at `$.pricePrecision`",
        "ALPHA_9USDT has no LOT_SIZE",
    )


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        ('{"symbols": [{"symbol": "A"}]}', "status"),
        ('{"symbols": [5]}', "Expected `object`, got `int`"),
        ('{"symbols": {}}', "symbols"),
        ('{"Symbols": []}', "symbols"),
        ("null", "Expected `object`, got `null`"),
    ],
)
def test_a_list_without_one_good_symbol_is_a_change_of_protocol(text, difference):
    with pytest.raises(ProtocolChanged, match=difference):
        listing.read_instruments(raw(text))


def test_symbols_without_any_grid_are_a_change_of_protocol():
    text = (
        '{"symbols":[{"symbol":"AUSDT","status":"TRADING","baseAsset":"A","quoteAsset":"USDT","pricePrecision":1,'
        '"quantityPrecision":1,"baseAssetPrecision":1,"quotePrecision":1,"filters":[]}]}'
    )
    with pytest.raises(ProtocolChanged, match="AUSDT has no PRICE_FILTER"):
        listing.read_instruments(raw(text))


def test_empty_lists_are_no_fault():
    assert listing.read_instruments(raw('{"symbols": []}')) == listing.Instruments((), ())
    assert listing.read_tokens(raw("[]")) == listing.Tokens((), ())


def test_a_token_row_may_lack_everything_but_its_id():
    found = listing.read_tokens(data_of("token_list"))
    seven, bare, _ = found.tokens
    assert (seven.name, seven.mul_point, seven.fully_delisted) == ("SEVEN", 4, False)
    assert bare == Token(alpha_id="ALPHA_8", name="")
    assert found.unreadable == ("row 3: Expected `str`, got `int` - at `$.alphaId`",)


def test_tokens_without_one_readable_row_are_a_change_of_protocol():
    with pytest.raises(ProtocolChanged, match="alphaId"):
        listing.read_tokens(raw('[{"price": "1"}, {"price": "2"}]'))


def test_rows_of_one_alpha_id_merge_to_the_careful_reading():
    merged, warnings = listing.merge_tokens(listing.read_tokens(data_of("token_list")).tokens)
    seven, bare = merged
    assert (seven.mul_point, seven.offline, seven.offsell, seven.chain_id) == (2, True, False, "56")
    assert bare.alpha_id == "ALPHA_8"
    assert warnings == ("ALPHA_7 stands in the token list more than once; rows merged",)


def test_what_one_row_leaves_out_another_may_say():
    bare = Token(alpha_id="A", name="")
    full = Token(alpha_id="A", name="KOGE", mul_point=4, offline=False)
    assert listing.merge_tokens([bare, full])[0] == listing.merge_tokens([full, bare])[0] == (full,)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        ('{"buyerCommission": 100, "sellerCommission": 250}', ("0.0001", "0.00025")),
        ('{"buyerCommission": "0", "sellerCommission": "100"}', ("0", "0.0001")),
    ],
)
def test_fee_rates_are_fractions(text, rates):
    assert listing.read_fee_rate(raw(text)) == (D(rates[0]), D(rates[1]))


def test_a_fee_above_10_percent_means_another_unit():
    with pytest.raises(ProtocolChanged, match="unit"):
        listing.read_fee_rate(raw('{"buyerCommission": 100001, "sellerCommission": 0}'))
