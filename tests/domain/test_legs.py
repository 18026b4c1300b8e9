"""One order and its fills: booked once, whatever the source, the order and the repetition of the news (design § 5)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actors.domain.legs import Leg, synthesised, with_executions, with_report, with_view
from actors.domain.orders import TERMINAL
from tests.domain.pairkit import (
    ALL_SOLD,
    BOUGHT,
    FILLED,
    PART_SOLD,
    PENDING,
    PLAN,
    RELEASE,
    RELEASED,
    SOLD_1,
    SOLD_2,
    WORKING,
    D,
    execution,
    report,
    view,
)

BUY = Leg(name="working", side="BUY", price=PLAN.buy_price, quantity=PLAN.quantity, order_id=WORKING)
SELL = Leg(name="pending", side="SELL", price=PLAN.sell_price, quantity=D(0), order_id=PENDING)


def rest(*executions, shift=0):
    """What REST says of these fills; shift: its ids are others than the stream's."""
    return tuple(replace(e, source="rest", fill_id=str(int(e.fill_id) + shift)) for e in executions)


def told(leg, *news):
    """The leg after the news, and everything that was wrong on the way."""
    wrong = []
    for one in news:
        absorbed = with_executions(leg, one) if isinstance(one, tuple) else with_report(leg, one)
        leg = absorbed.leg
        wrong += [contradiction.what for contradiction in absorbed.contradictions]
    return leg, wrong


def ids(leg):
    return [fill.execution.fill_id for fill in leg.fills]


def places(leg):
    return [(fill.start, fill.upto) for fill in leg.fills]


def three(quantity="10", *, trade="7"):
    """Three fills of one value, as one match in three parts makes them (wire § 8.2)."""
    return [execution(1001 + n, quantity, side="SELL", trade_id=trade) for n in range(3)]


def frames(fills, status="PARTIALLY_FILLED"):
    made, upto, quote = [], D(0), D(0)
    for fill in fills:
        upto, quote = upto + fill.quantity, quote + fill.quote
        made.append(report("pending", status, fill=fill, upto=upto, upto_quote=quote))
    return made


# -- frames


def test_f39_fills_of_equal_trade_id_are_both_booked():
    leg, wrong = told(SELL, RELEASE, PART_SOLD, ALL_SOLD)
    assert (leg.booked, leg.booked_quote, leg.filled, wrong) == (RELEASED, D("197.28681211"), True, [])
    assert SOLD_1.trade_id == SOLD_2.trade_id


@given(st.permutations((RELEASE, PART_SOLD, ALL_SOLD)), st.lists(st.sampled_from((RELEASE, PART_SOLD, ALL_SOLD))))
def test_f14_f15_order_and_repetition_of_frames_change_nothing(order, again):
    straight, _ = told(SELL, RELEASE, PART_SOLD, ALL_SOLD)
    leg, wrong = told(SELL, *order, *again)
    assert (leg, wrong) == (straight, [])


def test_a_terminal_word_does_not_complete_a_leg_whose_fills_are_missing():
    leg, _ = told(SELL, RELEASE, ALL_SOLD)
    assert (leg.terminal, leg.missing, leg.complete, leg.filled) == (True, True, False, False)
    leg, _ = told(leg, PART_SOLD)
    assert (leg.missing, leg.complete, leg.filled) == (False, True, True)


def test_a_filled_word_below_the_ordered_quantity_does_not_complete_a_leg():
    leg = with_view(BUY, view("working", "FILLED", "400")).leg
    leg, _ = told(leg, (execution("1", "400"),))
    assert (leg.booked, leg.complete) == (D(400), False)


@pytest.mark.parametrize("word", sorted(TERMINAL - {"FILLED"}))
def test_a_final_word_stays_but_a_fill_beats_it(word):
    leg, _ = told(BUY, report("working", word), report("working", "NEW"), report("working", "PARTIALLY_FILLED"))
    assert leg.status == word
    leg, _ = told(leg, FILLED, report("working", word))
    assert leg.status == "FILLED"
    assert leg.filled


def test_late_words_never_take_a_leg_back():
    leg, _ = told(SELL, RELEASE, report("pending", "PENDING"))
    assert (leg.status, leg.quantity, leg.released) == ("NEW", RELEASED, True)


def test_f82_an_unknown_word_is_not_final_and_not_before_the_book():
    leg, _ = told(BUY, report("working", "SLEEPING"))
    assert (leg.status, leg.terminal) == ("SLEEPING", False)


@pytest.mark.parametrize("word", ["PENDING", "PENDING_NEW", ""])
def test_a_held_leg_is_not_released(word):
    leg, _ = told(SELL, report("pending", word, quantity=D(0)))
    assert not leg.released


# -- REST beside the stream


@pytest.mark.parametrize("shift", [0, 500])
def test_rest_finds_the_fill_that_the_stream_lost(shift):
    leg, wrong = told(SELL, RELEASE, ALL_SOLD, rest(SOLD_1, SOLD_2, shift=shift))
    assert (leg.booked_quote, leg.filled, wrong) == (D("197.28681211"), True, [])
    assert ids(leg) == [f"page-{1005 + shift}", "1006"]


@pytest.mark.parametrize("shift", [0, 500])
@pytest.mark.parametrize("first", ["stream", "rest"])
def test_stream_and_rest_are_two_sources_of_the_same_fills(shift, first):
    news = [PART_SOLD, ALL_SOLD, rest(SOLD_1, SOLD_2, shift=shift)]
    leg, wrong = told(SELL, RELEASE, *(news if first == "stream" else reversed(news)))
    assert (len(leg.fills), leg.booked, wrong) == (2, RELEASED, [])


def test_the_last_fill_dates_the_last_change():
    late = replace(BOUGHT, time_ms=BOUGHT.time_ms + 700)
    assert told(BUY, report("working", "NEW"), rest(late))[0].updated_ms == late.time_ms


def test_a_read_that_lags_adds_only_what_it_shows():
    leg, wrong = told(SELL, RELEASE, ALL_SOLD, (), rest(SOLD_1))
    assert (leg.filled, wrong) == (True, [])
    leg, wrong = told(SELL, RELEASE, PART_SOLD, ALL_SOLD, rest(SOLD_1), ())
    assert (leg.filled, wrong) == (True, [])


@pytest.mark.parametrize("known", range(3))
@pytest.mark.parametrize("shift", [0, 500])
def test_equal_fills_under_other_ids_are_neither_doubled_nor_lost(known, shift):
    """The stream brought one of three equal fills; REST tells one, then all; then the stream's other two come late."""
    fills = three()
    told_frames = frames(fills)
    total = report("pending", "PARTIALLY_FILLED", fill=fills[2], upto=30, upto_quote=fills[0].quote * 3)
    start, _ = told(SELL, RELEASE, told_frames[known])
    leg, wrong = told(start, rest(fills[0], shift=shift), rest(*fills, shift=shift), *told_frames, total)
    assert (leg.booked, leg.booked_quote, wrong) == (D(30), fills[0].quote * 3, [])
    assert places(leg) == [(D(0), D(10)), (D(10), D(20)), (D(20), D(30))]


def test_one_number_may_name_two_fills_where_ids_are_of_two_counters():
    """wire § 18.4: whether a stream's id equals the pageId is unknown. Neither fill may take the other's place."""
    fills = [execution(1001, 4, side="SELL"), execution(1002, 6, side="SELL")]
    pages = (replace(fills[0], fill_id="1002", source="rest"), replace(fills[1], fill_id="1003", source="rest"))
    leg, wrong = told(SELL, RELEASE, frames(fills)[1], pages)
    assert (leg.booked, wrong) == (D(10), [])
    assert ids(leg) == ["page-1002", "1002"]
    assert told(leg, pages, *frames(fills)) == (leg, [])


@given(st.lists(st.sampled_from((1, 2, 5)), min_size=1, max_size=6), st.data())
def test_any_mixture_of_sources_books_each_fill_once(sizes, data):
    """Values repeat, trade ids are all equal, ids of REST are others; every frame may be lost, every read may lag."""
    fills = [execution(2001 + n, size, side="SELL", trade_id="7") for n, size in enumerate(sizes)]
    told_frames = frames(fills)
    prefixes = [rest(*fills[:count], shift=700) for count in range(len(fills) + 1)]
    news = data.draw(st.lists(st.sampled_from([*told_frames, *prefixes]), max_size=10))
    final = [prefixes[-1], *data.draw(st.lists(st.sampled_from(told_frames), max_size=4))]
    leg, wrong = told(SELL, RELEASE, *news, *final)
    assert wrong == []
    assert leg.booked == leg.told == sum(fill.quantity for fill in fills)
    assert places(leg) == list(itertools.pairwise([D(0), *(D(n) for n in itertools.accumulate(sizes))]))


def test_a_complete_list_seats_fills_whose_place_was_guessed():
    """Rows do not hold places: after a restart, fills behind a gap sit too low until all are read."""
    fills = [execution(1, 4), execution(2, 6)]
    guessed = replace(
        BUY, fills=(replace(told(BUY, report("working", fill=fills[1]))[0].fills[0], upto=D(6)),), told=D(10)
    )
    leg, wrong = told(guessed, rest(*fills))
    assert (places(leg), ids(leg), wrong) == ([(D(0), D(4)), (D(4), D(10))], ["page-1", "2"], [])


# -- totals without fills


def owed():
    """REST has told that all was sold; the fills cannot be read."""
    return with_view(told(SELL, RELEASE, PART_SOLD)[0], view("pending", "FILLED", RELEASED, "197.28681211")).leg


def test_fills_that_cannot_be_read_are_booked_from_the_totals():
    leg = synthesised(owed(), 5, D("0.0001"), "USDT").leg
    invented = leg.fills[-1].execution
    assert (invented.quantity, invented.quote) == (SOLD_2.quantity, SOLD_2.quote)
    assert (invented.fill_id, invented.source) == (f"synthetic-{PENDING}-200-869.47", "synthetic")
    assert (invented.commission, invented.commission_asset) == (SOLD_2.commission, "USDT")
    assert leg.filled
    assert leg.missing, "it is still wanted"


@pytest.mark.parametrize("shift", [0, 500])
def test_invented_fills_are_replaced_by_real_ones_and_by_all_of_them_only(shift):
    leg = synthesised(owed(), 5, D("0.0001"), "USDT").leg
    lagging = with_executions(leg, rest(SOLD_1, shift=shift))
    assert lagging.leg == leg
    assert (lagging.fresh, lagging.retracted) == ((), ())
    healed = with_executions(leg, rest(SOLD_1, SOLD_2, shift=shift))
    assert [f.execution.source for f in healed.retracted] == ["synthetic"]
    assert (healed.leg.booked_quote, healed.leg.missing, healed.leg.filled) == (D("197.28681211"), False, True)


def test_a_late_frame_is_not_booked_on_top_of_an_invented_fill():
    gap = with_view(told(SELL, RELEASE)[0], view("pending", "FILLED", RELEASED, "197.28681211")).leg
    for before in ((), (ALL_SOLD,)):
        leg, _ = told(gap, *before)
        leg = synthesised(leg, 5, D("0.0001"), "USDT").leg
        leg, wrong = told(leg, PART_SOLD, ALL_SOLD, rest(SOLD_1))
        assert (leg.booked, leg.booked_quote, wrong) == (RELEASED, D("197.28681211"), [])


def test_nothing_is_invented_where_the_exchange_names_no_total():
    leg = with_view(told(SELL, RELEASE)[0], view("pending", "FILLED", RELEASED)).leg
    assert synthesised(replace(leg, told_quote=None), 5, D("0.0001"), "USDT").leg.fills == ()


def test_nothing_is_invented_at_a_price_of_nothing():
    leg = with_view(told(SELL, RELEASE)[0], view("pending", "FILLED", RELEASED, "0")).leg
    absorbed = synthesised(leg, 5, D("0.0001"), "USDT")
    assert absorbed.leg.fills == ()
    assert absorbed.contradictions


@pytest.mark.parametrize(
    ("quantity", "price"), [("99999999999", "0.000000031244"), ("0.01", "99999"), ("9999999999.99", "999.99999999")]
)
def test_invented_fills_of_any_size_can_be_priced(quantity, price):
    quantity, quote = D(quantity), D(quantity) * D(price)
    leg = replace(SELL, quantity=quantity, told=quantity, told_quote=quote, status="FILLED")
    made = synthesised(leg, 5, D("0.0001"), "USDT").leg
    assert made.fills[0].execution.price == D(price)
    assert made.filled


# -- contradictions: told, never repaired in silence


def test_f38_a_fill_without_price_or_quantity_is_not_booked():
    nothing = replace(BOUGHT, price=D(0))
    leg, wrong = told(BUY, report("working", "FILLED", fill=nothing))
    assert (leg.fills, leg.missing, len(wrong)) == ((), True, 1)
    leg, wrong = told(leg, rest(nothing))
    assert (leg.fills, len(wrong)) == ((), 1)
    leg, wrong = told(leg, rest(BOUGHT))
    assert leg.filled


def test_f40_the_first_of_two_contents_of_one_fill_is_kept():
    other = replace(BOUGHT, quote=D(1))
    for second in (report("working", "FILLED", fill=other), rest(other)):
        leg, wrong = told(BUY, FILLED, second)
        assert leg.booked_quote == BOUGHT.quote
        assert any(word in " ".join(wrong) for word in ("two contents", "not in the exchange's complete list"))


def test_f40_a_page_that_changes_its_content_is_told():
    leg, wrong = told(BUY, rest(BOUGHT), rest(replace(BOUGHT, quote=BOUGHT.quote - 1)))
    assert (leg.booked_quote, len(wrong)) == (BOUGHT.quote, 1)
    assert "two contents" in wrong[0]


def test_f40_a_fill_whose_price_contradicts_its_quote_is_told_and_left_to_be_read():
    leg, wrong = told(BUY, report("working", "FILLED", fill=replace(BOUGHT, price=D("0.2"))))
    assert (leg.booked, leg.missing) == (0, True)
    assert "is worth" in wrong[0]


def test_f41_a_report_for_another_quantity_than_asked_is_told_and_the_leg_still_ends():
    leg, wrong = told(BUY, replace(FILLED, quantity=FILLED.quantity * 3))
    assert "asked for" in wrong[0]
    assert leg.complete


def test_f41_an_overfill_is_told():
    leg, wrong = told(BUY, FILLED, report("working", "FILLED", fill=execution("2", "1"), upto="870.56"))
    assert "overfilled" in wrong[0]
    assert leg.complete, "it is over all the same"


def test_a_pending_leg_that_grows_with_each_release_is_not_overfilled():
    """wire § 7.3: released on each partial fill; REST tells fills of a release that was not heard."""
    leg, wrong = told(SELL, report("pending", "NEW", quantity=D(100)), rest(SOLD_1))
    assert (leg.booked, wrong) == (D(200), [])


def test_fills_that_overlap_are_told_and_the_first_is_kept():
    leg, wrong = told(BUY, report(fill=execution("1", "10")), report(fill=execution("2", "10"), upto="15"))
    assert (leg.booked, leg.told) == (D(10), D(15))
    assert "overlap" in wrong[0]


def test_fills_that_a_complete_list_lacks_are_told():
    leg, wrong = told(BUY, FILLED, rest(replace(BOUGHT, price=D("0.22"), fill_id="9")))
    assert ids(leg) == [BOUGHT.fill_id]
    assert "not in the exchange's complete list" in wrong[0]


def test_totals_of_one_quantity_must_agree():
    leg = told(BUY, FILLED)[0]
    absorbed = with_view(leg, view("working", "FILLED", "869.56", "197.30724222"))
    assert "197.30724222" in absorbed.contradictions[0].what
    assert not with_view(leg, view("working", "FILLED", "869.56", BOUGHT.quote)).contradictions


@pytest.mark.parametrize("change", [{"price": D("0.24")}, {"quantity": D(5)}])
def test_an_order_that_is_not_what_was_asked_for_is_told(change):
    assert with_report(BUY, replace(FILLED, **change)).contradictions
    assert with_view(BUY, view("working", "FILLED", "1", **change)).contradictions


def test_an_order_of_the_other_side_is_not_taken_in():
    assert with_report(BUY, replace(FILLED, side="SELL")).leg == BUY
    assert with_view(BUY, view("working", "FILLED", "1", side="SELL")).leg == BUY
