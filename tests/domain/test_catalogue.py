"""Finding a token by its short name, and saying why it cannot be traded."""

from __future__ import annotations

import pytest

from actors.domain.catalogue import Catalogue
from actors.domain.instrument import Token
from actors.errors import TokenError
from actors.exchange.envelope import read_envelope
from actors.exchange.listing import merge_tokens, read_instruments, read_tokens
from tests.actors.fakes import instrument
from tests.shared import market_file, needs_shared


def token(alpha_id="ALPHA_22", name="KOGE", **fields) -> Token:
    return Token(**{"alpha_id": alpha_id, "name": name, "chain_id": "56", "mul_point": 1, **fields})


def catalogue(*tokens, instruments=None, repeated=()) -> Catalogue:
    known = Catalogue()
    known.take_tokens(tokens, 1000, repeated=repeated)
    found = [instrument(one.alpha_id) for one in tokens] if instruments is None else instruments
    known.take_instruments(found, 2000)
    return known


def refusal(known, word) -> TokenError:
    with pytest.raises(TokenError) as caught:
        known.market(word)
    return caught.value


@pytest.mark.parametrize("word", ["KOGE", "koge", "ALPHA_22"])
def test_a_short_name_in_any_case_or_an_alpha_id_is_found(word):
    market = catalogue(token()).market(word)
    assert (market.token.alpha_id, market.instrument.symbol) == ("ALPHA_22", "ALPHA_22USDT")
    assert (market.warnings, market.fetched_ms) == ((), 1000)


def test_an_unknown_name_comes_with_near_words():
    error = refusal(catalogue(token(), token("ALPHA_1", "KOGI"), token("ALPHA_2", "")), "KOGA")
    assert error.code == "TOKEN_UNKNOWN"
    assert error.do in ("did you mean KOGE or KOGI?", "did you mean KOGI or KOGE?")
    assert refusal(catalogue(token()), "XYZQW").do == "see otoctl token list"
    assert refusal(catalogue(token("ALPHA_2", "")), "").code == "TOKEN_UNKNOWN"
    assert refusal(catalogue(token()), "alpha_22").do == "did you mean ALPHA_22?"


def test_an_order_symbol_is_no_token():
    assert refusal(catalogue(token()), "ALPHA_22USDT").do == "use the short name KOGE"
    alone = catalogue(instruments=[instrument("ALPHA_5")])
    assert refusal(alone, "alpha_5usdt").do == "use the short name ALPHA_5"


def test_a_name_of_several_tokens_is_ambiguous_and_the_choices_are_listed():
    both = catalogue(token("ALPHA_417", "SLX"), token("ALPHA_978", "SLX", offline=True))
    error = refusal(both, "SLX")
    assert error.code == "TOKEN_AMBIGUOUS"
    assert error.where == "ALPHA_417 (chain 56, tradable), ALPHA_978 (chain 56, is offline)"
    assert both.market("ALPHA_417").token.name == "SLX"


def test_names_that_differ_in_case_only_are_told_apart_by_spelling():
    both = catalogue(token("ALPHA_1", "Moon"), token("ALPHA_2", "MOON"))
    assert both.market("MOON").token.alpha_id == "ALPHA_2"
    assert refusal(both, "moon").code == "TOKEN_AMBIGUOUS"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"offline": True}, "offline"),
        ({"offsell": True}, "selling is closed"),
        ({"halted": True}, "halted"),
        ({"fully_delisted": True}, "delisted"),
    ],
)
def test_flags_that_forbid_trading_are_named(fields, words):
    error = refusal(catalogue(token(**fields)), "KOGE")
    assert error.code == "REFUSED"
    assert words in str(error)


def test_a_pair_that_is_open_gets_its_market_whatever_became_of_the_token():
    known = catalogue(token(offline=True), instruments=[instrument(status="DELISTED")])
    market = known.market("ALPHA_22", tradable=False)
    assert market.instrument.symbol == "ALPHA_22USDT"
    assert market.warnings == ("KOGE ALPHA_22 is not traded: the status of ALPHA_22USDT is DELISTED",)
    with pytest.raises(TokenError):
        catalogue(token(), instruments=[]).market("ALPHA_22", tradable=False)


def test_the_status_in_exchange_info_comes_first():
    known = catalogue(token(offline=True), instruments=[instrument(status="DELISTED")])
    assert "DELISTED" in str(refusal(known, "KOGE"))


def test_a_token_needs_a_usdt_market():
    assert "no USDT market" in str(refusal(catalogue(token(), instruments=[instrument(quote="USDC")]), "KOGE"))


def test_flags_that_a_row_does_not_say_stop_nobody():
    market = catalogue(Token(alpha_id="ALPHA_123", name="")).market("ALPHA_123")
    assert market.warnings == ("the token list does not say the mulPoint of ALPHA_123",)


def test_a_token_that_left_the_lists_is_not_traded():
    known = catalogue(token(), token("ALPHA_1", "AAA"))
    known.take_tokens([token("ALPHA_1", "AAA")], 5000)
    assert "no longer in the token list" in str(refusal(known, "KOGE"))
    known.take_instruments([instrument("ALPHA_22")], 6000)
    assert "no longer in exchange info" in str(refusal(known, "AAA"))


def test_a_token_that_changed_its_name_is_found_by_the_new_one():
    known = catalogue(token())
    known.take_tokens([token(name="KOGE2")], 5000)
    assert known.market("KOGE2").token.alpha_id == "ALPHA_22"
    assert refusal(known, "KOGE").code == "TOKEN_UNKNOWN"


def test_spot_listing_and_repeated_rows_only_warn():
    market = catalogue(token(listing_cex=True), repeated=["ALPHA_22"]).market("KOGE")
    assert ["spot" in warning or "more than once" in warning for warning in market.warnings] == [True, True]


@needs_shared
def test_the_real_lists_give_every_tradable_token_its_market():
    merged, _ = merge_tokens(read_tokens(read_envelope(market_file("alpha-tokens.json.gz")).data).tokens)
    known = Catalogue()
    known.take_tokens(merged, 1)
    known.take_instruments(
        read_instruments(read_envelope(market_file("alpha-exchange-info.json.gz")).data).instruments, 1
    )
    codes = {"": 0, "REFUSED": 0}
    for row in merged:
        try:
            found = known.market(row.name or row.alpha_id)
        except TokenError as error:
            codes[error.code] += 1
        else:
            assert found.instrument.symbol == f"{row.alpha_id}USDT"
            codes[""] += 1
    assert codes == {"": 290, "REFUSED": 112}  # 404 rows, two of them twice
    assert known.market("KOGE").instrument.filters.step_size > 0
