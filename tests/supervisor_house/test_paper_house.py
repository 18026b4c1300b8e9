"""The paper exchange of a state directory: what it keeps over incarnations and processes, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from actors.adapters.clock import WallClock
from actors.errors import ConfigError, StoreError
from actors.paper.api import Request
from supervisor.paper_house import DEFAULT_SEED, House, open_doors, token_names
from tests.shared import SHARED, needs_shared

NOW = 1_795_000_000_000
PLACE = "/bapi/asset/v1/private/alpha-trade/oto-order/place"
BUY = (
    b'{"baseAsset":"ALPHA_22","quoteAsset":"USDT","workingSide":"BUY","workingPrice":"40","workingQuantity":"1",'
    b'"paymentDetails":[{"amount":"40","paymentWalletType":"CARD"}],"pendingPrice":"50","pendingType":"LIMIT"}'
)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    found = House(tmp_path / "paper", now_ms=NOW)
    yield found
    found.close()


def place(house: House, now_ms: int) -> bytes:
    request = Request(method="POST", path=PLACE, query={}, headers={}, cookies={"paper_account": "alice"}, body=BUY)
    response = house.exchange.handle(request, now_ms)
    house.journal.append(house.exchange.take_journal())
    return response.body


async def test_the_next_incarnation_serves_what_the_journal_tells(house: House) -> None:
    wall = WallClock.virtual(NOW)
    house.server(wall)
    first = house.exchange
    assert b'"success":true' in place(house, NOW + 10)
    first.audit("alice").orders[0].status = "nonsense"  # a copy: the exchange's own is not touched
    house.server(wall)
    assert house.exchange is not first
    assert len(house.exchange.audit("alice").orders) == 2
    assert house.exchange.live_pairs("alice") == first.live_pairs("alice")
    assert house.exchange.market is not None


async def test_a_new_process_finds_the_accounts_and_a_short_journal(tmp_path: Path) -> None:
    directory = tmp_path / "paper"
    house = House(directory, now_ms=NOW)
    house.server(WallClock.virtual(NOW))
    for number in range(50):
        place(house, NOW + number)
    orders = house.exchange.audit("alice").orders
    long = (directory / "journal.jsonl").stat().st_size
    house.close()
    again = House(directory, now_ms=NOW + 1000)
    assert len(again.exchange.audit("alice").orders) == len(orders)
    assert (directory / "journal.jsonl").stat().st_size < long
    assert again.start_ms == NOW + 1000
    again.close()


async def test_a_directory_that_ran_ahead_goes_on_later(tmp_path: Path) -> None:
    directory = tmp_path / "paper"
    house = House(directory, now_ms=NOW)
    house.server(WallClock.virtual(NOW))
    place(house, NOW + 3_600_000)
    house.close()
    again = House(directory, now_ms=NOW + 60_000)
    assert again.start_ms > NOW + 3_600_000
    again.close()


def test_another_seed_is_refused_and_the_same_goes_on(house: House, tmp_path: Path) -> None:
    assert house.seed == DEFAULT_SEED
    house.close()
    with pytest.raises(ConfigError, match=f"begun with --seed {DEFAULT_SEED}, not 8 .*--fresh"):
        House(tmp_path / "paper", now_ms=NOW, seed=8)
    again = House(tmp_path / "paper", now_ms=NOW, seed=DEFAULT_SEED)
    assert again.seed == DEFAULT_SEED
    again.close()


@needs_shared
def test_a_tape_on_a_synthetic_directory_is_refused(house: House, tmp_path: Path) -> None:
    house.close()
    tape = SHARED / "market" / "ethusdt-spot-20240808.csv.gz"
    with pytest.raises(ConfigError, match=r"the synthetic market, not --replay ethusdt.*--fresh"):
        House(tmp_path / "paper", now_ms=NOW, replay=tape)


def test_another_process_is_refused_by_its_pid(house: House, tmp_path: Path) -> None:
    code = f"from pathlib import Path; from supervisor.paper_house import House; House(Path({str(tmp_path / 'paper')!r}), now_ms={NOW})"  # noqa: E501
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert asked.returncode == 1
    assert "another otod (pid" in asked.stderr


def test_a_place_that_cannot_be_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=str(tmp_path / "file" / "paper")):
        House(tmp_path / "file" / "paper", now_ms=NOW)


async def test_doors_are_open_on_the_loopback() -> None:
    doors = await open_doors()
    for listener in (*doors.http, *doors.ws):
        host, port = listener.socket.getsockname()[:2]
        assert host == "127.0.0.1"
        assert f":{port}" in " ".join(doors.urls.values())
        await trio.aclose_forcefully(listener)


def test_token_names_are_what_the_command_line_offers() -> None:
    assert "KOGE" in token_names()
    assert len(set(token_names())) == len(token_names())
