"""The gateways: right call, right lane, whole lists, one of three outcomes, and no secret in any text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import trio

from actors.adapters.exchange import PAGES_MAX, PrivateGateway, PublicGateway
from actors.domain.orders import Accepted, NoAnswer, Refused
from actors.errors import ExchangeRefused, ExchangeTrouble, NoReply, NotSent, OtodError, ProtocolChanged
from actors.exchange.requests import HISTORY_ROWS
from actors.ports import HttpReply, PrivateExchange, PublicExchange
from tests.exchange.own import reply as own_reply
from tests.exchange.test_requests import instrument

D = Decimal
KOGE = instrument("ALPHA_22")
SECRETS = {"cookie": "p20t=web.89.ABCDEF0123456789", "token": "f00dfeed00112233445566778899aabb", "key": "0f" * 16}


class StubHttp:
    """Answers with the next of its replies, for ever with the last; raises exceptions, asks functions of the query."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[tuple[str, str, dict[str, str], Any, str]] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        lane: str = "read",
    ) -> HttpReply:
        await trio.lowlevel.checkpoint()
        document = None if body is None else msgspec.json.decode(body)
        self.asked.append((method, path, dict(query or {}), document, lane))
        answer = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(query) if callable(answer) else answer


class Noon:
    def now_ms(self) -> int:
        return 1795176000000  # 2026-11-20T12:00:00Z


def http_reply(body: bytes | dict[str, Any] = b"", status: int = 200, **headers: str) -> HttpReply:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpReply(
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=raw,
        elapsed_s=0.01,
    )


def success(data: Any, **more: Any) -> HttpReply:
    return http_reply({"code": "000000", "message": None, "data": data, "success": True, **more})


def private(*replies: Any) -> tuple[PrivateGateway, StubHttp]:
    http = StubHttp(*replies)
    return PrivateGateway(http, Noon()), http


def place(gateway: PrivateGateway) -> Any:
    return gateway.place_oto(KOGE, buy_price=D("48.01706542"), sell_price=D("0.001"), quantity=D("0.2082"))


def test_the_gateways_are_what_the_ports_ask_for():
    public: PublicExchange = PublicGateway(StubHttp())
    user: PrivateExchange = PrivateGateway(StubHttp(), Noon())
    assert (public, user) != (None, None)


# -- placing and cancelling


async def test_an_accepted_pair_has_both_ids():
    gateway, http = private(http_reply(own_reply("oto_placed_numbers")))
    assert await place(gateway) == Accepted(("700001", "700002"))
    ((method, path, _, body, lane),) = http.asked
    assert (method, path, lane) == ("POST", "/bapi/asset/v1/private/alpha-trade/oto-order/place", "order")
    assert body["paymentDetails"] == [{"amount": "9.99715302", "paymentWalletType": "CARD"}]


async def test_an_accepted_limit_order_has_its_id():
    gateway, http = private(http_reply(own_reply("placed_number")))
    outcome = await gateway.place_limit(KOGE, side="SELL", price=D("48"), quantity=D("0.2"))
    assert outcome == Accepted(("700003",))
    ((_, path, _, body, lane),) = http.asked
    assert (path, lane) == ("/bapi/asset/v1/private/alpha-trade/order/place", "order")
    assert (body["side"], body["price"]) == ("SELL", "48")


async def test_a_cancel_has_no_ids_and_its_own_lane():
    gateway, http = private(http_reply(own_reply("cancelled")))
    assert await gateway.cancel("ALPHA_22USDT", "700001") == Accepted(())
    ((_, path, _, body, lane),) = http.asked
    assert (path, lane) == ("/bapi/defi/v1/private/alpha-trade/order/cancel", "cancel")
    assert body == {"orderId": "700001", "symbol": "ALPHA_22USDT"}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (http_reply({"code": "481020", "message": "no money", "success": False}), Refused("481020", "no money")),
        (NotSent("connection refused"), Refused("NOT_SENT", "connection refused", "not_sent")),
        (NoReply("no reply within 5 s"), NoAnswer("no_reply", "no reply within 5 s")),
        (
            ExchangeTrouble("banned", trouble="throttled", retry_after_s=60.0),
            NoAnswer("throttled", "banned", 60.0),
        ),
        (
            success({"workingOrderId": None}),
            NoAnswer(
                "unreadable",
                "success without readable ids: Expected `int | str`, got `null` - at `$.workingOrderId`",
            ),
        ),
        (http_reply(status=429, retry_after="30"), NoAnswer("throttled", "HTTP 429, too many requests", 30.0)),
        (
            http_reply(status=503, retry_after="Fri, 20 Nov 2026 12:00:09 GMT"),
            NoAnswer("system", "HTTP 503, the exchange had a fault, the outcome is unknown", 9.0),
        ),
    ],
)
async def test_every_ending_of_a_placement_is_one_of_three_outcomes(answer, outcome):
    gateway, http = private(answer)
    assert await place(gateway) == outcome
    assert len(http.asked) == 1, "never repeated"
    assert await gateway.place_limit(KOGE, side="BUY", price=D(48), quantity=D("0.2")) is not None


async def test_a_placement_without_readable_ids_may_exist():
    for data in (None, "", {}, [], 0, True):
        gateway, _ = private(success(data))
        for outcome in (
            await place(gateway),
            await gateway.place_limit(KOGE, side="BUY", price=D(48), quantity=D("0.2")),
        ):
            assert isinstance(outcome, NoAnswer)
            assert outcome.trouble == "unreadable"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (
            http_reply({"code": "349999", "message": "no such order", "success": False}),
            Refused("349999", "no such order"),
        ),
        (http_reply(b'{"code":-2011,"msg":"Unknown order sent."}', 400), Refused("-2011", "Unknown order sent.")),
        (NotSent("pool"), Refused("NOT_SENT", "pool", "not_sent")),
        (NoReply("reset"), NoAnswer("no_reply", "reset")),
    ],
)
async def test_every_ending_of_a_cancel_is_one_of_three_outcomes(answer, outcome):
    gateway, _ = private(answer)
    assert await gateway.cancel("ALPHA_22USDT", "1") == outcome


async def test_a_cancelled_caller_is_cancelled():
    gateway, _ = private(success(None))
    with trio.CancelScope() as scope:
        scope.cancel()
        await place(gateway)
    assert scope.cancelled_caught


# -- open orders and history


def row(order_id: int, **more: Any) -> dict[str, Any]:
    return {
        "orderId": str(order_id), "symbol": "ALPHA_22USDT", "side": "BUY", "status": "FILLED", "price": "48",
        "origQty": "1", "executedQty": "1", "time": 1000 + order_id, **more,
    }  # fmt: skip


def rows(start: int, count: int) -> list[dict[str, Any]]:
    return [row(order_id) for order_id in range(start, start + count)]


def history(gateway: PrivateGateway) -> Any:
    return gateway.history(start_ms=1, end_ms=2, base_asset="ALPHA_22")


async def test_open_orders_are_those_of_the_whole_account():
    gateway, http = private(success([row(1), row(1, executedQty="0", status="NEW"), row(2, symbol="ALPHA_1USDT")]))
    views = await gateway.open_orders()
    assert [(view.symbol, view.order_id, view.status) for view in views] == [
        ("ALPHA_22USDT", "1", "FILLED"),
        ("ALPHA_1USDT", "2", "FILLED"),
    ]
    assert http.asked == [
        ("GET", "/bapi/defi/v1/private/alpha-trade/order/get-open-order", {"side": ""}, None, "reconcile")
    ]


async def test_history_is_paged_until_a_page_is_short():
    gateway, http = private(
        success(rows(0, HISTORY_ROWS)), success(rows(HISTORY_ROWS, HISTORY_ROWS)), success(rows(1000, 3))
    )
    assert len(await history(gateway)) == 1003
    assert [query["page"] for _, _, query, _, _ in http.asked] == ["1", "2", "3"]
    assert {(query["rows"], query["baseAsset"], lane) for _, _, query, _, lane in http.asked} == {
        ("500", "ALPHA_22", "reconcile")
    }


async def test_history_may_be_empty():
    gateway, http = private(success([], total=0))
    assert await history(gateway) == ()
    assert len(http.asked) == 1


async def test_a_full_last_page_is_followed_by_an_empty_one():
    gateway, http = private(success(rows(0, HISTORY_ROWS)), success([]))
    assert len(await history(gateway)) == HISTORY_ROWS
    assert len(http.asked) == 2


async def test_a_server_that_caps_its_pages_is_read_to_its_total():
    gateway, http = private(
        success(rows(0, 50), total=120), success(rows(50, 50), total=120), success(rows(100, 20), total=120)
    )
    assert len(await history(gateway)) == 120
    assert len(http.asked) == 3


async def test_a_total_that_promises_more_ends_with_an_empty_page():
    gateway, http = private(success(rows(0, 5), total=9), success([], total=9))
    assert len(await history(gateway)) == 5
    assert len(http.asked) == 2


async def test_an_order_on_two_pages_is_one():
    gateway, _ = private(success(rows(0, HISTORY_ROWS)), success(rows(HISTORY_ROWS - 2, 5)))
    assert len(await history(gateway)) == HISTORY_ROWS + 3


async def test_a_server_that_ignores_the_page_number_is_noticed():
    gateway, _ = private(success(rows(0, HISTORY_ROWS)))
    with pytest.raises(ProtocolChanged, match="repeats"):
        await history(gateway)


async def test_endless_paging_is_stopped():
    gateway, http = private(lambda query: success(rows(int(query["page"]) * HISTORY_ROWS, HISTORY_ROWS)))
    with pytest.raises(ProtocolChanged, match="pages"):
        await history(gateway)
    assert len(http.asked) == PAGES_MAX


async def test_a_page_that_fails_fails_the_history():
    gateway, _ = private(success(rows(0, HISTORY_ROWS)), NoReply("reset"))
    with pytest.raises(NoReply, match="reset"):
        await history(gateway)


# -- other reads


async def test_executions_come_oldest_first():
    gateway, http = private(http_reply(own_reply("fills_newest_first")))
    fills = await gateway.executions("ALPHA_7USDT", "700010")
    assert [fill.fill_id for fill in fills] == ["9999999999", "10000000001", "10000000002"]
    assert http.asked[0][2:] == ({"orderId": "700010", "symbol": "ALPHA_7USDT"}, None, "reconcile")


async def test_the_account_is_read():
    gateway, http = private(
        http_reply(own_reply("wallets")),
        http_reply(own_reply("alpha_wallet")),
        success({"totalVolume": 197.43}),
        success({"listenKey": SECRETS["key"]}),
        http_reply({"listenKey": SECRETS["key"]}),
    )
    assert (await gateway.wallets())[0].free == D("120.5")
    assert (await gateway.alpha_wallet())[0].asset == "ALPHA_7"
    assert await gateway.user_volume() == D("197.43")
    assert await gateway.listen_key() == SECRETS["key"]
    assert await gateway.listen_key() == SECRETS["key"]
    assert {lane for *_, lane in http.asked} == {"read"}


async def test_public_reads_go_in_their_own_lane():
    http = StubHttp(
        http_reply(own_reply("token_list")),
        http_reply(own_reply("exchange_info")),
        success([{"a": 2, "p": "1", "q": "1", "T": 9}, {"a": 1, "p": "1", "q": "1", "T": 8}]),
        success({"buyerCommission": 100, "sellerCommission": 100}),
    )
    gateway = PublicGateway(http)
    assert [token.alpha_id for token in await gateway.tokens()] == ["ALPHA_7", "ALPHA_8", "ALPHA_7"]
    assert [one.symbol for one in await gateway.instruments()] == ["ALPHA_7USDT", "ALPHA_8USDT"]
    assert {name: len(reasons) for name, reasons in gateway.unreadable.items()} == {"token list": 1, "exchange info": 2}
    assert [trade.agg_id for trade in await gateway.trades("ALPHA_7USDT", start_ms=5, limit=40)] == [1, 2]
    assert await gateway.fee_rate("ALPHA_7USDT") == (D("0.0001"), D("0.0001"))
    assert {lane for *_, lane in http.asked} == {"public"}
    assert http.asked[2][2] == {"symbol": "ALPHA_7USDT", "startTime": "5", "limit": "40"}


# -- what goes wrong with a read

READS: list[Callable[[PrivateGateway], Any]] = [
    lambda gateway: gateway.open_orders(),
    history,
    lambda gateway: gateway.executions("ALPHA_22USDT", "1"),
    lambda gateway: gateway.wallets(),
    lambda gateway: gateway.alpha_wallet(),
    lambda gateway: gateway.user_volume(),
    lambda gateway: gateway.listen_key(),
]


@pytest.mark.parametrize("read", READS)
async def test_a_refused_read_carries_the_code(read):
    gateway, _ = private(http_reply({"code": "000002", "message": "ILLEGAL_PARAM", "success": False}))
    with pytest.raises(ExchangeRefused, match="refused with 000002 ILLEGAL_PARAM") as caught:
        await read(gateway)
    assert caught.value.refusal == "000002"


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (http_reply({"code": "100002001", "message": "x", "success": False}), "session"),
        (http_reply({"code": "100001003", "success": False}), "human"),
        (http_reply(status=418, retry_after="120"), "throttled"),
        (http_reply(b"<html>", status=403), "blocked"),
        (http_reply(b"", status=502), "system"),
        (http_reply(b"{"), "unreadable"),
        (NotSent("refused"), "not_sent"),
        (NoReply("reset"), "no_reply"),
    ],
)
async def test_a_read_without_answer_says_why(read, answer, trouble):
    gateway, _ = private(answer)
    with pytest.raises(OtodError) as caught:
        await read(gateway)
    assert caught.value.trouble == trouble
    assert caught.value.retry_after_s == (120.0 if trouble == "throttled" else None)
    assert caught.value.where != ""


@pytest.mark.parametrize("read", READS)
async def test_a_reply_of_another_shape_is_a_change_of_protocol(read):
    gateway, _ = private(success({"a": [1]}))
    with pytest.raises(ProtocolChanged):
        await read(gateway)


async def test_public_reads_fail_the_same_way():
    gateway = PublicGateway(StubHttp(http_reply(status=429, retry_after="2")))
    with pytest.raises(ExchangeTrouble, match="HTTP 429") as caught:
        await gateway.tokens()
    assert caught.value.retry_after_s == 2.0


# -- secrets


def chatty(kind: str) -> Any:
    """Replies and errors that quote everything they can."""
    words = f"Cookie: {SECRETS['cookie']}; csrftoken={SECRETS['token']} listenKey={SECRETS['key']} {SECRETS['key']}"
    return {
        "refused": http_reply({"code": "000002", "message": words, "success": False}),
        "unknown": http_reply({"code": words, "message": words, "success": False}),
        "spot": http_reply({"code": -1121, "msg": words}),
        "shape": success({"listenKey": [words], "workingOrderId": words, "pendingOrderId": words, words: words}),
        "text": success(words),
        "rows": success([{"orderId": words * 9, words: 1}]),
        "page": http_reply(f"<html>{words}".encode()),
        "broken": http_reply(f'{{"code": "{words}'.encode()),
        "not sent": NotSent(f"bad header {words}", do=words),
        "no reply": NoReply(f"illegal header line {words}"),
    }[kind]


CHATTY = ["refused", "unknown", "spot", "shape", "text", "rows", "page", "broken", "not sent", "no reply"]


@pytest.mark.parametrize("kind", CHATTY)
async def test_no_text_holds_a_cookie_a_token_or_a_listen_key(kind):
    gateway, _ = private(chatty(kind))
    texts = [
        repr(await place(gateway)),
        repr(await gateway.place_limit(KOGE, side="BUY", price=D(48), quantity=D("0.2"))),
        repr(await gateway.cancel("ALPHA_22USDT", "1")),
    ]
    for read in READS:
        with pytest.raises(OtodError) as caught:
            await read(gateway)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        texts += [str(caught.value), repr(caught.value), repr(caught.value.args)]
    for text in texts:
        for secret in (*SECRETS.values(), "web.89.ABCDEF"):
            assert secret not in text
