"""token.* and price.*: what can be traded, and at what price."""

from __future__ import annotations

from typing import Any

import trio

from actors.errors import AskTimeout, Refusal, TokenError
from actors.messages import ForgetToken, ListCatalogue, Listed, ListPrices, RefreshTokens, Resolve, ShowToken
from supervisor.control import views
from supervisor.control.office import Call
from supervisor.control.protocol import amount, did_you_mean, plain, rfc3339

TOKENS_ANSWER_S_MAX = 5.0
REFRESH_S_MAX = 9.0  # two lists of the exchange; a request is answered within 10 s
STORE_ANSWERS_S_MAX = 8.0


async def _ask(call: Call, question: Any, within_s: float = TOKENS_ANSWER_S_MAX) -> Any:
    return await call.office.tokens.ask(question, within_s=within_s * call.rate)


# -- tokens


async def list_tokens(call: Call) -> dict[str, Any]:
    args = call.args
    found: tuple[Listed, ...] = await _ask(call, ListCatalogue(args["find"] or "", args["every"]))
    number, limit = args["page"], args["limit"]
    shown = found[(number - 1) * limit : number * limit]
    return views.page(len(found), number, limit, [_glance(one) for one in shown])


def _glance(one: Listed) -> dict[str, Any]:
    token, instrument = one.token, one.instrument
    return {
        "token": token.name,
        "alpha_id": token.alpha_id,
        "symbol": instrument and instrument.symbol,
        "chain": token.chain_id,
        "mul_point": token.mul_point,
        "tradable": one.trouble is None,
        "trouble": one.trouble,
        "fetched_at": rfc3339(one.fetched_ms),
    }


def _whole(one: Listed) -> dict[str, Any]:
    token, instrument = one.token, one.instrument
    told = _glance(one) | {
        "contract": token.contract,
        "listed_at": token.listed_ms and rfc3339(token.listed_ms),
        "warnings": list(one.warnings),
        "in_list": one.asked,
        "stream_symbol": instrument and instrument.symbol.lower(),
    }
    if instrument is None:
        return told
    filters = {name: value for name, value in plain(instrument.filters).items() if value is not None}
    return told | {
        "status": instrument.status,
        "quote_asset": instrument.quote_asset,
        "price_precision": instrument.price_precision,
        "quantity_precision": instrument.quantity_precision,
        "filters": filters,
    }


async def show_token(call: Call) -> dict[str, Any]:
    """From the cache; one that is missing there has the exchange's lists read first."""
    word = call.args["token"]
    try:
        return _whole(await _ask(call, ShowToken(word)))
    except TokenError as error:
        if error.code != "TOKEN_UNKNOWN":
            raise
    return await _look_up(call, word)


async def _look_up(call: Call, word: str) -> dict[str, Any]:
    try:
        await _ask(call, Resolve(word, False), REFRESH_S_MAX)
    except TokenError as error:
        if error.code != "REFUSED":
            raise _with_near(call, word, error) from error
    return _whole(await _ask(call, ShowToken(word)))


async def add_token(call: Call) -> dict[str, Any]:
    """A token that cannot be traded is refused with the reason."""
    word = call.args["token"]
    try:
        await _ask(call, Resolve(word), REFRESH_S_MAX)
    except TokenError as error:
        raise _with_near(call, word, error) from error
    return _whole(await _ask(call, ShowToken(word)))


async def remove_token(call: Call) -> dict[str, Any]:
    one: Listed = await _ask(call, ShowToken(call.args["token"]))
    words = {one.token.alpha_id, one.token.name.casefold()}
    users = [
        user
        for user, record in call.office.records().items()
        if record.config is not None and words & {record.config.token, record.config.token.casefold()}
    ]
    if users:
        raise Refusal(
            f"{one.token.name} is the token of {', '.join(users[:5])}{' …' if len(users) > 5 else ''}",
            where=one.token.alpha_id,
            do="configure another token for them first: config.set",
        )
    was = await _ask(call, ForgetToken(call.args["token"]))
    return {"token": one.token.name, "alpha_id": one.token.alpha_id, "removed": was}


async def refresh_tokens(call: Call) -> dict[str, Any]:
    try:
        await _ask(call, RefreshTokens(), REFRESH_S_MAX)
    except AskTimeout as error:
        text = f"the exchange's lists were not there within {REFRESH_S_MAX:g} s; they are still being read"
        raise Refusal(text, code="TIMEOUT", where="tokens", do="look in a while: token.list") from error
    told: dict[str, Any] = {"refreshed_at": rfc3339(call.office.wall.now_ms())}
    if call.args["token"] is not None:
        told |= _whole(await _ask(call, ShowToken(call.args["token"])))
    return told


def _with_near(call: Call, word: str, error: TokenError) -> TokenError:
    if error.code != "TOKEN_UNKNOWN" or error.do:
        return error
    hint = did_you_mean(word, call.tokens_in_use(), say="in use are")
    return TokenError(error.what, where=error.where, do=hint, code=error.code)


# -- prices


async def show_price(call: Call) -> dict[str, Any]:
    token = call.args["token"]
    feed, quote = call.office.feed(token)
    if feed is not None and quote is not None:
        await trio.lowlevel.checkpoint()
        return views.price(feed, quote, now_ms=call.office.wall.now_ms())
    try:
        await _ask(call, Resolve(token))
    except TokenError as error:
        raise _with_near(call, token, error) from error
    if feed is None:
        raise Refusal(f"no feed of {token} is running", do="a feed runs while a user trades its token")
    raise Refusal(f"no price of {token} has arrived yet", where=f"feeds/{token}", do="ask again in a second")


async def price_history(call: Call) -> dict[str, Any]:
    """Of a token that the exchange has no more, too: the records are asked for the word as it is written."""
    args = call.args
    feed, _ = call.office.feed(args["token"])
    name, error = args["token"], None
    if feed is not None:
        name = feed.market.token.name
    else:
        try:
            listed: Listed = await _ask(call, ShowToken(name))
            name = listed.token.name if listed.token.name.casefold() == name.casefold() else name
        except TokenError as unknown:
            error = unknown
    question = ListPrices(
        token=name,
        since_ms=args["since"],
        until_ms=args["until"],
        page=args["page"],
        limit=args["limit"],
    )
    total, rows = await call.office.store.ask(question, within_s=STORE_ANSWERS_S_MAX * call.rate)
    if not total and error is not None:
        raise _with_near(call, args["token"], error)
    bars = [
        {
            "second": rfc3339(row.second),
            "open": amount(row.open),
            "high": amount(row.high),
            "low": amount(row.low),
            "close": amount(row.close),
            "quantity": amount(row.quantity),
            "quote_quantity": amount(row.quote_quantity),
            "trades": row.trades,
        }
        for row in rows
    ]
    return {"token": question.token} | views.page(total, args["page"], args["limit"], bars)


WHOLE = {
    "token.list": list_tokens,
    "token.show": show_token,
    "token.add": add_token,
    "token.remove": remove_token,
    "token.refresh": refresh_tokens,
    "price.show": show_price,
    "price.history": price_history,
}
