"""Prices and quantities of a pair: rounding, filters, the minimum pair, the last pair, the unwinding ladder."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from actors.domain.instrument import Filters, Instrument
from actors.domain.money import EXACT, floor_to_tick, notional, on_grid
from actors.domain.pricing import (
    expected_price,
    leg_prices,
    minimum_pair,
    pair_quantity,
    pairs_to_go,
    pending_quantity,
    sale_price,
    sellable,
    violations,
)
from actors.domain.trading import TradingConfig
from actors.errors import ConfigError
from actors.exchange.envelope import read_envelope
from actors.exchange.listing import read_instruments
from tests.shared import market_file, needs_shared

D = Decimal
FEE = D("0.0001")


def instrument(*, step="0.0001", tick="0.00000001", base_precision=8, **filters) -> Instrument:
    wanted = {
        "tick_size": D(tick), "min_price": D(tick), "max_price": D(1000),
        "step_size": D(step), "min_quantity": D(step), "max_quantity": D("9999999"),
        "min_notional": D("0.1"), "max_notional": D(1_000_000),
        "bid_multiplier_up": D(5), "bid_multiplier_down": D("0.2"), "ask_multiplier_up": D(5),
        "ask_multiplier_down": D("0.2"), "max_open_orders": 200,
    }  # fmt: skip
    return Instrument(
        symbol="ALPHA_22USDT",
        base_asset="ALPHA_22",
        quote_asset="USDT",
        status="TRADING",
        price_precision=8,
        quantity_precision=8,
        base_precision=base_precision,
        quote_precision=8,
        filters=Filters(**{**wanted, **filters}),
    )


KOGE = instrument()


def config(**keys) -> TradingConfig:
    wanted = {"token": "KOGE", "target_volume": D(500), "buy_offset": D("0.05"), "sell_offset": D("-0.05")}
    if "order_quantity" not in keys:
        wanted["order_amount"] = D(50)
    return TradingConfig(**{**wanted, **keys})


prices = st.decimals(min_value=D("0.000001"), max_value=900, places=8)
offsets = st.decimals(min_value=-20, max_value=20, places=4)


class TestLegPrices:
    def test_of_the_contract_example(self):
        buy, sell = leg_prices(D("48.0001"), config(), instrument(tick="0.0001").filters)
        assert (buy, sell) == (D("48.0241"), D("47.9761"))

    @given(prices, offsets, offsets, st.sampled_from(["0.00000001", "0.0001", "0.000000000001"]))
    def test_rounding_is_never_worse_than_configured(self, reference, buy_offset, sell_offset, tick):
        f = instrument(tick=tick).filters
        try:
            buy, sell = leg_prices(reference, config(buy_offset=buy_offset, sell_offset=sell_offset), f)
        except ConfigError:
            assert reference < 2 * f.tick_size  # 20 % below it there is no tick left
            return
        exact_buy = Fraction(reference) * (100 + Fraction(buy_offset)) / 100
        exact_sell = Fraction(reference) * (100 + Fraction(sell_offset)) / 100
        assert 0 <= exact_buy - Fraction(buy) < Fraction(f.tick_size)
        assert 0 <= Fraction(sell) - exact_sell < Fraction(f.tick_size)
        assert on_grid(buy, f.tick_size)
        assert on_grid(sell, f.tick_size)

    def test_fixed_offsets_are_usdt(self):
        fixed = config(offset_mode="fixed", buy_offset=D("-0.02"), sell_offset=D("0.033"))
        assert leg_prices(D(48), fixed, instrument(tick="0.01").filters) == (D("47.98"), D("48.04"))

    @pytest.mark.parametrize("key", ["buy_offset", "sell_offset"])
    @pytest.mark.parametrize("offset", ["-48", "-100"])
    def test_an_offset_that_leaves_no_positive_price_is_named(self, key, offset):
        with pytest.raises(ConfigError) as caught:
            leg_prices(D(48), config(**{"offset_mode": "fixed", key: D(offset)}), KOGE.filters)
        assert key in caught.value.where


class TestViolations:
    def test_a_normal_order_has_none(self):
        assert violations(KOGE, "BUY", D("48.0241"), D("1.0411"), reference=D(48)) == ()

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"price": D("48.000000001")}, "PRICE_FILTER"),
            ({"price": D(1001)}, "PRICE_FILTER"),
            ({"quantity": D("1.00005")}, "LOT_SIZE"),
            ({"quantity": D("10000000"), "price": D("0.01")}, "LOT_SIZE"),
            ({"quantity": D("0.002")}, "NOTIONAL"),
            ({"quantity": D(30000)}, "NOTIONAL"),
            ({"reference": D("9.6")}, "PERCENT_PRICE"),
            ({"reference": D(241)}, "PERCENT_PRICE"),
            ({"open_orders": 200}, "MAX_NUM_ORDERS"),
        ],
    )
    def test_each_filter_is_found_and_named(self, change, name):
        order = {"price": D("48.01"), "quantity": D(1), "reference": None, "open_orders": 0, **change}
        found = violations(KOGE, "BUY", order.pop("price"), order.pop("quantity"), **order)
        assert [v.filter for v in found] == [name]
        assert name in str(found[0])

    def test_zero_breaks_minimum_price_quantity_and_notional_at_once(self):
        assert [v.filter for v in violations(KOGE, "BUY", D(0), D(0))] == ["PRICE_FILTER", "LOT_SIZE", "NOTIONAL"]

    def test_bounds_themselves_are_allowed(self):
        assert violations(KOGE, "BUY", D("0.1"), D(1), reference=D("0.5"), open_orders=199) == ()
        assert violations(KOGE, "SELL", D("2.5"), D(1), reference=D("0.5")) == ()

    def test_sides_have_percent_bounds_of_their_own(self):
        narrow = instrument(ask_multiplier_down=D("0.99"))
        assert violations(narrow, "BUY", D(47), D(1), reference=D(48)) == ()
        assert [v.allowed for v in violations(narrow, "SELL", D(47), D(1), reference=D(48))] == [D("47.52")]

    def test_notional_bounds_spare_a_pending_leg(self):  # captured: 869.47 × 0.0001 (wire § 11)
        assert violations(KOGE, "SELL", D("0.0001"), D("869.47"), pending=True) == ()
        assert [v.filter for v in violations(KOGE, "SELL", D("0.0001"), D("869.47"))] == ["NOTIONAL"]

    def test_limits_that_the_exchange_does_not_set_do_not_hold(self):
        free = instrument(
            max_notional=None, max_open_orders=None, bid_multiplier_up=None, bid_multiplier_down=None, min_notional=D(0)
        )
        assert violations(free, "BUY", D(1000), D(9999999), reference=D("0.1"), open_orders=9999) == ()


class TestPendingQuantity:
    @pytest.mark.parametrize(
        ("bought", "step", "base_precision", "released"),
        [("869.56", "0.01", 8, "869.47"), ("52938", "0.10", 2, "52932.70")],
    )
    def test_is_that_of_the_captures(self, bought, step, base_precision, released):  # wire § 7.2, § 12.5
        assert pending_quantity(D(bought), FEE, instrument(step=step, base_precision=base_precision)) == D(released)


instruments = st.builds(
    instrument,
    step=st.sampled_from(["1", "0.10", "0.01", "0.001", "0.0001"]),
    base_precision=st.sampled_from([2, 8]),
    min_quantity=st.sampled_from([D("0.10"), D(1), D(5)]),
    min_notional=st.sampled_from([D(0), D("0.1"), D(5)]),
)


class TestMinimumPair:
    @staticmethod
    def passes(ins, quantity, buy, sell, reference, fee) -> bool:
        """Both legs pass the minimum filters with 5 % to spare; the sale as the plain order it is when unwound."""
        f = ins.filters
        sale = pending_quantity(quantity, fee, ins)
        spare = D("1.05")
        return (
            min(quantity, sale) >= EXACT.multiply(f.min_quantity, spare)
            and notional(buy, quantity) >= EXACT.multiply(f.min_notional, spare)
            and notional(max(min(sell, reference), D("0.8") * reference), sale) >= EXACT.multiply(f.min_notional, spare)
        )

    @given(
        instruments, st.decimals(D("0.0001"), 900, places=6), offsets, offsets, st.sampled_from([D(0), FEE, D("0.1")])
    )
    def test_passes_every_filter_and_one_step_less_does_not(self, ins, reference, buy_offset, sell_offset, fee):
        buy, sell = leg_prices(reference, config(buy_offset=buy_offset, sell_offset=sell_offset), ins.filters)
        quantity = minimum_pair(ins, buy_price=buy, sell_price=sell, reference=reference, buyer_fee=fee)
        assert on_grid(quantity, ins.filters.step_size)
        assert self.passes(ins, quantity, buy, sell, reference, fee)
        assert not self.passes(ins, quantity - ins.filters.step_size, buy, sell, reference, fee)
        assert violations(ins, "BUY", buy, quantity) == ()
        assert violations(ins, "SELL", sell, pending_quantity(quantity, fee, ins), pending=True) == ()

    def test_a_sell_limit_that_means_at_the_market_does_not_blow_it_up(self):
        usual = minimum_pair(KOGE, buy_price=D(48), sell_price=D(48), reference=D(48), buyer_fee=FEE)
        captured = minimum_pair(KOGE, buy_price=D(48), sell_price=D("0.0001"), reference=D(48), buyer_fee=FEE)
        assert usual == D("0.0023")
        assert usual <= captured < 2 * usual


class TestPairQuantity:
    MINIMUM = D("0.0023")

    def size(self, remaining, *, buy="48.024", ins=KOGE, **keys):
        return pair_quantity(
            config(**keys),
            ins,
            buy_price=D(buy),
            reference=D(48),
            remaining_quote=D(remaining),
            minimum=self.MINIMUM,
        )

    def test_a_normal_pair_never_costs_more_than_the_configured_amount(self):
        assert self.size(500) == D("1.0411")
        assert notional(D("48.024"), D("1.0411")) <= 50 < notional(D("48.024"), D("1.0412"))

    def test_a_configured_quantity_is_taken_down_to_the_step(self):
        assert self.size(500, order_quantity=D("2.00009")) == D("2.0000")

    def test_the_last_pair_just_reaches_the_target(self):
        quantity = self.size("12.34")
        assert notional(D(48), quantity) >= D("12.34") > notional(D(48), quantity - D("0.0001"))

    def test_the_last_pair_counts_at_its_limit_where_that_is_below_the_market(self):
        quantity = self.size("12.34", buy="47.5")
        assert notional(D("47.5"), quantity) >= D("12.34") > notional(D("47.5"), quantity - D("0.0001"))

    def test_a_remainder_at_or_below_the_minimum_pair_is_one_minimum_pair(self):
        assert self.size("0.000000000001") == self.MINIMUM
        assert self.size(notional(D(48), self.MINIMUM)) == self.MINIMUM

    def test_an_amount_below_the_minimum_is_raised_to_it(self):
        assert self.size(500, order_amount=D("0.001")) == self.MINIMUM

    def test_maximum_filters_cap_a_pair(self):
        assert self.size("9e9", order_amount=D("1e9"), ins=instrument(max_quantity=D("7.00005"))) == D("7.0000")
        assert self.size("9e9", order_amount=D("1e9")) == D("20822.9218")  # 1,000,000 USDT

    @given(
        remaining=st.decimals(D("0.00000001"), 2000, places=8),
        amount=st.decimals(D("0.2"), 500, places=2),
        reference=st.decimals(D("0.01"), 900, places=8),
        offset=st.decimals(-5, 5, places=3),
    )
    def test_filling_as_expected_reaches_the_target_and_overshoots_by_at_most_one_minimum_pair(
        self, remaining, amount, reference, offset
    ):
        cfg = config(order_amount=amount, buy_offset=offset, sell_offset=-offset)
        buy, sell = leg_prices(reference, cfg, KOGE.filters)
        minimum = minimum_pair(KOGE, buy_price=buy, sell_price=sell, reference=reference, buyer_fee=FEE)
        expected = expected_price(buy, reference)
        assume(notional(buy, minimum) <= amount)
        left, pairs = remaining, 0
        while left > 0:
            quantity = pair_quantity(
                cfg, KOGE, buy_price=buy, reference=reference, remaining_quote=left, minimum=minimum
            )
            assert violations(KOGE, "BUY", buy, quantity) == ()
            left, pairs = left - notional(expected, quantity), pairs + 1
            assume(pairs < 300)
        assert -left <= notional(expected, minimum)


def test_pairs_to_go_are_rounded_up():
    assert [pairs_to_go(D(r), D("49.97")) for r in ("-1", "0", "0.01", "49.97", "49.98", "500")] == [0, 0, 1, 1, 2, 11]


class TestUnwinding:
    def test_the_ladder_goes_down_step_by_step_and_ends_at_the_floor(self):
        f = instrument(tick="0.01").filters
        rungs = [sale_price(D(100), i, config(unwind_step_percent=D("0.5")), D(101), f) for i in range(5)]
        assert rungs == [
            (D("100"), False), (D("99.50"), False), (D("99.00"), False), (D("98.98"), True), (D("98.98"), True)
        ]  # fmt: skip

    def test_a_market_below_the_floor_is_offered_the_floor(self):
        assert sale_price(D(90), 0, config(), D(100), KOGE.filters) == (D(98), True)

    @given(prices, st.integers(0, 2000), prices)
    def test_no_rung_is_ever_below_the_floor(self, market, index, average):
        price, at_floor = sale_price(market, index, config(), average, KOGE.filters)
        floor = Fraction(average) * 98 / 100
        assert price >= floor
        assert on_grid(price, KOGE.filters.tick_size)
        assert not at_floor or price - KOGE.filters.tick_size < max(floor, Fraction(KOGE.filters.min_price))

    def test_what_no_order_can_sell_is_dust(self):
        lots = instrument(step="0.01", min_quantity=D("0.05"))
        assert sellable(D("1.238"), D(48), lots) == D("1.23")
        assert sellable(D("0.009"), D(48), lots) == 0  # below a step
        assert sellable(D("0.049"), D(48), lots) == 0  # below the minimum quantity
        assert sellable(D("0.05"), D("1.9"), lots) == 0  # below the minimum notional
        assert sellable(D("0.05"), D("2"), lots) == D("0.05")

    def test_a_sale_is_capped_by_the_maximum_filters(self):
        assert sellable(D(500), D(1), instrument(max_quantity=D(100))) == 100
        assert sellable(D(500), D(1), instrument(max_notional=D(30))) == 30
        assert sellable(D(500), D(1), instrument(max_notional=None)) == 500


@needs_shared
class TestRealSymbols:
    """Every tradable USDT symbol of the snapshot, at the price of its token."""

    @staticmethod
    def markets() -> list[tuple[Instrument, Decimal]]:
        rows = msgspec.json.decode(market_file("alpha-tokens.json.gz"))["data"]
        prices = {row["alphaId"]: D(row["price"]) for row in rows}
        listed = read_instruments(read_envelope(market_file("alpha-exchange-info.json.gz")).data).instruments
        return [
            (ins, prices[ins.base_asset])
            for ins in listed
            if ins.quote_asset == "USDT" and ins.status == "TRADING" and prices.get(ins.base_asset, 0) > 0
        ]

    def test_take_a_pair_of_50_usdt_and_the_minimum_pair(self):
        markets = self.markets()
        assert len(markets) > 250
        for ins, price in markets:
            reference = max(floor_to_tick(price, ins.filters.tick_size), ins.filters.tick_size)
            for buy_offset, sell_offset in ((D("0.05"), D("-0.05")), (D("-0.5"), D("0.5"))):
                cfg = config(buy_offset=buy_offset, sell_offset=sell_offset)
                try:
                    buy, sell = leg_prices(reference, cfg, ins.filters)
                except ConfigError:
                    assert reference == ins.filters.tick_size  # one tick is the lowest price there is
                    continue
                minimum = minimum_pair(ins, buy_price=buy, sell_price=sell, reference=reference, buyer_fee=FEE)
                normal = pair_quantity(
                    cfg, ins, buy_price=buy, reference=reference, remaining_quote=D(500), minimum=minimum
                )
                assert minimum <= normal
                assert minimum == ins.filters.min_quantity * 2 or notional(buy, minimum) < D("0.2") + 2 * notional(
                    buy, ins.filters.step_size
                )
                for quantity in (minimum, normal):
                    sale = pending_quantity(quantity, FEE, ins)
                    assert violations(ins, "BUY", buy, quantity, reference=reference) == (), ins.symbol
                    assert violations(ins, "SELL", sell, sale, reference=reference, pending=True) == (), ins.symbol
                    assert sellable(sale, reference, ins) == sale
