"""SC-009 for real: two processes, a web hook's receiver, and a user for each trouble that can be had from outside."""

from __future__ import annotations

import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import Struct

from tests.system.processes import end, otoctl, wait_for
from tests.system.receiver import SECRET, Receiver, receiving
from tests.system.service import Service, Users, exchange

pytestmark = pytest.mark.system

WITHIN_S = 10.0
BOOKED_S = 1.0  # what is compared are clocks of two processes, in whole ms

USER = """
[users.{name}]
trading = {{ token = "{token}", target_volume = "{target}", order_amount = "25", buy_offset = "0.05", \
sell_offset = "-0.05", interval_seconds = 0, volatility_threshold = {volatility}{more} }}
credentials = {{ cookies = {{ paper_account = "{name}" }}, headers = {{}} }}
"""


class Trouble(Struct, frozen=True, kw_only=True):
    """A user who meets it. fault: as in TOML, of this user's account; config: of the trading configuration."""

    reason: str
    fault: str = ""
    config: dict[str, Any] = {}


TROUBLES = {
    "login": Trouble(reason="AUTH_FAILED", fault='kind = "login_expired"\npath = "get-open-order"'),
    "human": Trouble(reason="VERIFICATION_REQUIRED", fault='kind = "verification"\npath = "get-open-order"'),
    "often": Trouble(reason="RATE_LIMITED", fault='kind = "error_code"\ncode = "-1003"\npath = "get-open-order"'),
    "away": Trouble(reason="EXCHANGE_UNREACHABLE", fault='kind = "http_error"\nstatus = 502\npath = "get-open-order"'),
    "refused": Trouble(reason="ORDER_REJECTED", fault='kind = "error_code"\ncode = "481099"\npath = "oto-order/place"'),
    "left": Trouble(reason="INVENTORY_LEFT", fault='kind = "refuse_release"\ntimes = 1'),
    "cut": Trouble(reason="ORDERS_DISCONNECTED", fault='kind = "disconnect"\nstream = "alpha@"\ntimes = 1'),
    "poor": Trouble(reason="INSUFFICIENT_BALANCE", config={"order_amount": "20000"}),
    "wild": Trouble(reason="PRICE_VOLATILITY", config={"volatility": "0.000001"}),
    "dear": Trouble(reason="WEAR_LIMIT", config={"max_wear_usdt": "0.001"}),
    "strange": Trouble(
        reason="PROTOCOL_CHANGED", fault='kind = "edit_frame"\nstream = "alpha@"\nremove = ["X"]\ntimes = 1'
    ),
    "stranger": Trouble(reason="EXTERNAL_ORDER"),  # who orders by hand
    "gone": Trouble(reason="TOKEN_UNAVAILABLE"),  # whose token is changed to one that is halted
}


def document(name: str, **changes: Any) -> str:
    values = {"token": "KOGE", "target": "100000", "volatility": "50", "more": ""} | changes
    more = "".join(f', {key} = "{values.pop(key)}"' for key in ("max_wear_usdt",) if key in values)
    text = USER.format(name=name, **values | {"more": more})
    return text.replace('order_amount = "25"', f'order_amount = "{changes.get("order_amount", "25")}"')


def service_of(place: Path, urls: dict[str, str], names: dict[str, dict[str, Any]], receiver: Receiver) -> Service:
    told = f'[notifications]\nurls = ["{receiver.url}"]\n[notifications.users]\ncalm = ["{receiver.url}/calm"]\n'
    service = Service(
        place, urls, Users(count=len(names), target=1), settings=f"[placement]\nsettle_s = 3\npoll_s = 3\n{told}"
    )
    (place / "users.toml").write_text("".join(document(name, **config) for name, config in names.items()))
    return service


def pauses(service: Service, user: str) -> dict[str, float]:
    """Reason → since when, seconds since 1970."""
    shown = service.ask("trading.status", user=user)["users"][user]["pauses"]
    return {each["reason"]: datetime.fromisoformat(each["since"]).timestamp() for each in shown}


def test_each_trouble_is_told_within_ten_seconds(tmp_path: Path) -> None:
    faults = "".join(
        f'[[fault]]\naccount = "{name}"\n{trouble.fault}\n' for name, trouble in TROUBLES.items() if trouble.fault
    )
    lost = (
        '[[fault]]\naccount = "unsure"\nkind = "lost_reply"\nprocessed = false\npath = "oto-order/place"\ntimes = 1\n'
    )
    cut = '[[fault]]\nkind = "disconnect"\nstream = "alpha_901usdt@"\nskip = 3\ntimes = 1\n'  # LUMI's prices
    (tmp_path / "faults.toml").write_text(faults + lost + cut)
    troubles = TROUBLES | {"blind": Trouble(reason="FEED_DISCONNECTED", config={"token": "LUMI"})}
    names = {name: trouble.config for name, trouble in troubles.items()}
    names |= {"calm": {"target": "60"}, "unsure": {}}
    with receiving() as receiver, exchange(tmp_path, "--faults", str(tmp_path / "faults.toml")) as urls:
        service = service_of(tmp_path, urls, names, receiver)
        with service.run() as process:
            service.start_all()
            order_by_hand(urls, "stranger")
            service.ask("config.set", user="gone", token="STUCK", force=True)
            for name, trouble in troubles.items():
                wait_for(
                    lambda name=name, trouble=trouble: trouble.reason in pauses(service, name),
                    within_s=60,
                    what=lambda name=name: (name, service.status()[name]),
                )
            service.ask("trading.pause", user="calm", detail="lunch")
            late = {}
            for name, reason in [*((name, trouble.reason) for name, trouble in troubles.items()), ("calm", "OPERATOR")]:
                since_s = pauses(service, name)[reason]
                at_s = heard(receiver, name, reason, until_s=since_s + WITHIN_S + BOOKED_S)
                if at_s is None or at_s - since_s > WITHIN_S:
                    late[name] = at_s and at_s - since_s
            assert late == {}, receiver.texts()
            service.ask("trading.resume", user="calm")
            for words in ("resumed calm: OPERATOR is over", "UNRESOLVED unsure", "settled unsure", "done calm"):
                wait_for(lambda words=words: words in receiver.texts(), within_s=60, what=receiver.texts)
            service.come_to_rest()
            assert end(process) == 0
    log = service.log.read_text()
    assert SECRET not in log
    assert "target_not_told" not in log


def order_by_hand(urls: dict[str, str], account: str) -> None:
    """As somebody would on the web site: far below the market, so that it rests."""
    body = {
        "baseAsset": "ALPHA_22",
        "quoteAsset": "USDT",
        "side": "BUY",
        "price": "46",
        "quantity": "0.5",
        "orderType": "LIMIT",
        "paymentDetails": [{"amount": "23", "paymentWalletType": "CARD"}],
    }
    url = f"{urls['rest_base']}/bapi/asset/v1/private/alpha-trade/order/place"
    reply = httpx.post(url, json=body, cookies={"paper_account": account}, trust_env=False)
    assert reply.json()["code"] == "000000", reply.text


def heard(receiver: Receiver, name: str, reason: str, *, until_s: float) -> float | None:
    """When a line told of this user and this reason."""
    while True:
        for one in list(receiver.heard):
            for line in one.text.splitlines():
                who, _, what = line.partition(f": {reason}")
                if (what or line.endswith(reason)) and name in who.replace(",", " ").split():
                    return one.at_s
        if time.time() > until_s:
            return None
        time.sleep(0.05)


def test_what_could_not_be_told_is_told_after_a_kill_and_a_restart(tmp_path: Path) -> None:
    with receiving() as receiver, exchange(tmp_path) as urls:
        service = service_of(tmp_path, urls, {"calm": {}}, receiver)
        receiver.status = 500
        with service.run() as process:
            service.ask("trading.pause", user="calm", detail="before the kill")
            wait_for(lambda: not healthy(service), within_s=60, what=lambda: service.ask("system.health"))
            told = otoctl("--socket", socket_of(service), "notify", "test")
            assert "error=500" in told.stdout + told.stderr
            assert "otoctl notify test" in otoctl("--socket", socket_of(service), "doctor").stdout
            process.send_signal(signal.SIGKILL)
            process.wait()
        receiver.status = 200
        with service.run() as process:
            wait_for(lambda: "before the kill" in receiver.texts(), within_s=WITHIN_S, what=receiver.texts)
            tested = service.ask("notify.test")["targets"]
            assert [each["told"] for each in tested] == [True, True]
            assert "this is a test" in receiver.texts()
            assert end(process) == 0
        before = receiver.texts().count("before the kill")
        with service.run() as process:
            time.sleep(3)
            assert end(process) == 0
        assert receiver.texts().count("before the kill") == before
    assert SECRET not in service.log.read_text()


def healthy(service: Service) -> bool:
    """As far as people can be told."""
    return not any(each["where"].startswith("notifier ") for each in service.ask("system.health")["problems"])


def socket_of(service: Service) -> str:
    return f"ipc://{service.state_dir / 'run' / 'control.sock'}"
