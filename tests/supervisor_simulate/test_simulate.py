"""`otod simulate`: real simulations of small wishes, read as a user would."""

from __future__ import annotations

import io
import json
from decimal import Decimal

import pytest
from click.testing import CliRunner
from rich.console import Console

from actors.errors import ConfigError
from supervisor import simulate
from supervisor.__main__ import main
from supervisor.document import Problems
from tests.shared import market_file, needs_shared

USERS = """
[users.alice]
credentials_file = "nowhere.json"
trading = {{ token = "KOGE", target_volume = {target}, order_amount = 50, buy_offset = "0.05", sell_offset = "-0.05" }}
[users.bob]
trading = {{ token = "LUMI", target_points = 8, order_amount = 50, buy_offset = "0.05", sell_offset = "-0.05" }}
"""


@pytest.fixture
def document(tmp_path):
    path = tmp_path / "users.toml"
    path.write_text(USERS.format(target=100))
    return path


def told(path, **given):
    out = io.StringIO()
    options = simulate.Options(apply=path, json=True, **given)
    assert simulate.run(options, Console(file=out, width=10_000), Console(file=io.StringIO())) == 0
    return json.loads(out.getvalue())


def test_says_whether_the_target_is_reached_when_and_at_which_cost(document):
    alice = told(document)["users"]["alice"]
    assert alice["days_reached"] == 1
    assert 100 <= Decimal(alice["volume"]) < 106, "not overshot by more than a minimum pair"
    assert alice["pairs"] >= 2
    assert 0 < alice["days"][0]["reached_after_s"] < 600
    parts = sum(Decimal(part["usdt"]) for part in alice["parts"].values())
    assert abs(parts - Decimal(alice["wear"])) < Decimal("0.00001"), "the parts add up"
    assert Decimal(alice["wear_bps"]) == pytest.approx(
        Decimal(alice["wear"]) / Decimal(alice["volume"]) * 10_000, rel=Decimal("0.01")
    )


def test_points_are_counted_with_the_tokens_multiplier(document):
    bob = told(document)["users"]["bob"]
    assert (bob["target"], bob["target_points"], bob["days_reached"]) == (None, 8, 1)


def test_the_same_seed_gives_the_same_figures_and_another_one_others(document):
    first, again, other = told(document), told(document), told(document, seed=2)
    assert first == again
    assert first["users"]["alice"]["wear"] != other["users"]["alice"]["wear"]


def test_a_day_is_reached_exactly_if_its_fills_say_so(document):
    found = told(document, faults="harsh", days=2, seed=3)
    for day in found["users"]["alice"]["days"]:
        assert (day["reached_after_s"] is not None) == (Decimal(day["volume"]) >= 100)


def test_each_day_has_its_target(document):
    found = told(document, days=2)["users"]["alice"]
    assert [day["day"] for day in found["days"]] == ["2026-11-20", "2026-11-21"]
    assert found["days_reached"] == 2
    assert all(Decimal(day["volume"]) >= 100 for day in found["days"])


def test_trouble_strikes_and_costs(document):
    found = told(document, faults="harsh")
    assert found["struck"]
    assert found["users"]["alice"]["pairs"] > 0


@needs_shared
def test_a_tape_is_traded_on(document):
    tape = document.parent / "btcusdt.csv"
    tape.write_bytes(market_file("btcusdt-spot-20240808.csv.gz"))
    found = told(document, replay=tape)
    assert found["market"] == tape.name
    assert found["users"]["alice"]["pairs"] > 0


def test_a_token_is_known_in_any_case_as_to_the_service(tmp_path):
    path = tmp_path / "users.toml"
    path.write_text(USERS.format(target=100).replace("KOGE", "koge").replace("LUMI", "ALPHA_901"))
    assert [wish.trading.token for wish in simulate.read_wishes(path)] == ["KOGE", "ALPHA_901"]
    path.write_text(USERS.format(target=100).replace("LUMI", "LUMMI"))
    with pytest.raises(Problems, match=r"did you mean LUMI\?"):
        simulate.read_wishes(path)


def test_a_document_names_all_its_mistakes(tmp_path):
    path = tmp_path / "users.toml"
    path.write_text(USERS.format(target=100).replace("LUMI", "NONE") + "[users.carol]\n")
    with pytest.raises(Problems) as caught:
        simulate.read_wishes(path)
    assert "users.bob.trading.token" in str(caught.value)
    assert "users.carol.trading" in str(caught.value)
    with pytest.raises(ConfigError, match="cannot read"):
        simulate.read_wishes(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--apply", "none.toml"], 2, "cannot read it"),
        (["--apply", "{users}", "--days", "0"], 2, "--days"),
        (["--apply", "{users}", "--faults", "some"], 2, "--faults"),
        (["--apply", "{users}", "--replay", "none.csv"], 2, "--replay"),
        (["--apply", "{users}", "--replay", "{users}"], 2, "users.toml"),
        ([], 2, "--apply"),
    ],
)
def test_bad_input_ends_with_a_clear_word(document, arguments, code, text):
    asked = [argument.replace("{users}", str(document)) for argument in arguments]
    result = CliRunner().invoke(main, ["simulate", *asked])
    assert result.exit_code == code
    assert text in result.output
    assert "Traceback" not in result.output


def test_prints_a_table_that_fits_a_terminal(document):
    result = CliRunner().invoke(main, ["simulate", "--apply", str(document)], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if "alice" in line)
    assert "yes" in row
    for part in ("fee", "spread", "slippage", "unwind", "dust"):
        assert part in result.output
