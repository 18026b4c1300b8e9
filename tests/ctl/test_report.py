"""`otoctl report`: what the files say, in a terminal, as JSON, and as one page that needs no network."""

from __future__ import annotations

import io
import json
import re
from decimal import Decimal as D
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from rich.console import Console

from supervisor.ctl import charts, report, report_html, report_text
from supervisor.ctl.cli import otoctl
from supervisor.ctl.client import Trouble
from tests.ctl.published import EXACT, HOUR_MS, NOON_MS, state_directory


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory):
    return state_directory(tmp_path_factory.mktemp("state"))


@pytest.fixture
def views(state_dir):
    return state_dir / "analytics" / "views.sql"


def otoctl_says(*words):
    return CliRunner().invoke(otoctl, words)


# -- gathering


def test_it_tells_of_the_newest_days_that_have_records(views):
    told = report.gather(views, user=None, days=7)
    assert (told.since_ms, told.until_ms) == (NOON_MS - 156 * HOUR_MS, NOON_MS + 12 * HOUR_MS)
    assert [each.user for each in told.users] == ["alice", "bob"]
    assert [day.day for day in told.users[0].statistics.days] == ["2026-11-19", "2026-11-20"]
    assert told.instances == ("here",)
    assert told.users[0].statistics.bought.quote == EXACT * 6


def test_days_bound_it(views):
    told = report.gather(views, user="alice", days=1)
    assert [day.day for day in told.users[0].statistics.days] == ["2026-11-20"]
    assert told.users[0].pairs_by_hour == tuple((NOON_MS + n * HOUR_MS, 1) for n in (1, 2, 3))


def test_own_fills_stand_beside_the_price(views):
    (market,) = report.gather(views, user="alice", days=1).markets
    assert market.token == "KOGE"
    assert {(each.side, each.count) for each in market.fills} == {("BUY", 1), ("SELL", 1)}
    assert all(each.price == D("48.02") for each in market.fills)
    assert {(each.low, each.high, each.close) for each in market.moments} == {(D("47.5"), D("48.5"), D("48.1"))}


def test_a_user_without_records_is_told(views):
    with pytest.raises(Trouble, match="no records of user 'carol'"):
        report.gather(views, user="carol", days=7)


# -- terminal and JSON


def test_the_terminal_shows_days_wear_and_prices(state_dir):
    result = otoctl_says("report", "--state-dir", str(state_dir), "--days", "2")
    assert result.exit_code == 0, result.output
    for word in (
        "alice",
        "bob",
        "2026-11-19",
        "2026-11-20",
        "SLIPPAGE",
        "6 completed",
        "pairs per hour",
        "own BUY",
        "KOGE",
    ):
        assert word in result.output, word


@pytest.mark.parametrize("columns", [80, 160])
def test_in_a_narrow_terminal_no_number_is_folded(views, columns):
    out = Console(width=columns, file=io.StringIO())
    for each in report_text.render(report.gather(views, user=None, days=2), out):
        out.print(each)
    lines = out.file.getvalue().splitlines()
    assert max(map(len, lines)) <= columns
    days = [line for line in lines if line.startswith("2026-11-20")]
    assert len(days) == (4 if columns == 80 else 2), "two users, each in two tables or in one"
    assert all(re.fullmatch(r"2026-11-20( +(-?[\d.]+|-))+ *", line) for line in days)


def test_json_is_exact(state_dir):
    result = otoctl_says("report", "--state-dir", str(state_dir), "--user", "alice", "--json")
    told = json.loads(result.output)
    day = told["users"][0]["statistics"]["days"][0]
    assert day["volume"] == str(EXACT * 3)
    assert day["wear"]["slippage"] == "-0.06"


def test_lines_of_blocks():
    assert report_text.blocks([0, 1, 2]) == "▁▅█"
    assert report_text.blocks([5, 5]) == "▁▁"
    assert report_text.blocks([5, 10], least=0) == "▅█"


# -- HTML


class Page(HTMLParser):
    """Checks that every element is closed, and gathers names, attributes and text."""

    VOID = ("meta", "line", "rect", "polygon", "polyline", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.words, self.elements = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_script(views, tmp_path, state_dir):
    file = tmp_path / "report.html"
    result = otoctl_says("report", "--html", str(file), "--state-dir", str(state_dir))
    assert (result.exit_code, result.output) == (0, f"written: {file}\n")
    text = file.read_text()
    page = Page(text)
    assert not {"script", "link", "img", "iframe"} & set(page.elements)
    assert not [value for name, value in page.attributes if name in ("src", "href")]
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert page.elements.count("svg") == 1 + 2 * 3
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_amounts_in_the_page_are_exact(views):
    words = Page(report_html.render(report.gather(views, user=None, days=2))).words
    assert str(EXACT * 3) in words
    assert f"2026-11-20: {EXACT * 3} of 500" in words


def test_names_cannot_break_the_page(views):
    told = report.gather(views, user="alice", days=2)
    odd = report.Report(
        instances=("<b>&\"'",), since_ms=told.since_ms, until_ms=told.until_ms, users=told.users, markets=told.markets
    )
    text = report_html.render(odd)
    assert "<b>&" not in text
    Page(text)


def test_a_page_that_cannot_be_written_is_told(state_dir, tmp_path):
    result = otoctl_says("report", "--html", str(tmp_path / "no" / "x.html"), "--state-dir", str(state_dir))
    assert result.exit_code == 1
    assert "No such file" in result.output


# -- charts


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (47.83, 48.01, [47.85, 47.9, 47.95, 48.0]),
        (-1, 4, [-1, 0, 1, 2, 3, 4]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_bars_of_nothing_and_of_zero_are_drawn():
    Page(charts.bars([], about="x"))
    Page(charts.bars([charts.Bar(label="a", parts=[("volume", 0.0)], title="0")], about="x"))


def test_parts_below_zero_hang_down():
    drawn = charts.bars(
        [charts.Bar(label="a", parts=[("fee", 2.0), ("slippage", -1.0), ("dust", 1.0)], title="")], about="x"
    )
    found = re.findall(r'rect class="(\w+)" x="[\d.]+" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', drawn)
    boxes = {kind: (float(y), float(y) + float(high)) for kind, y, high in found}
    assert boxes["dust"][1] == pytest.approx(boxes["fee"][0], abs=0.2)
    assert boxes["slippage"][0] == pytest.approx(boxes["fee"][1], abs=0.2)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (3.1257e-8, 3.1274e-8, ["3.1260e-08", "3.1265e-08", "3.1270e-08"]),
        (48.0, 48.1, ["48.00", "48.05", "48.10"]),
        (0.0, 5e10, ["0", "2e+10", "4e+10"]),
        (0.0, 8e6, ["0", "2,000,000", "4,000,000", "6,000,000", "8,000,000"]),
    ],
)
def test_labels_of_the_axis_fit_beside_it_and_tell_its_lines_apart(low, high, labels):
    drawn = charts.line([(0.0, low, high, low), (1.0, low, high, high)], [], x_labels=[], about="x")
    found = re.findall(r'class="y"[^>]*>([^<]*)<', drawn)
    assert set(labels) <= set(found), found
    assert max(map(len, found)) <= charts.LABEL_CHARS_MAX
    assert len(set(found)) == len(found)


def test_a_price_of_less_than_a_minute_is_a_line():
    """Bars are a second apart, which is much of the width then."""
    drawn = charts.line([(n / 30, 1, 2, 1 + n % 2) for n in range(31)], [], x_labels=[], about="x")
    (path,) = re.findall(r'polyline class="price" points="([^"]*)"', drawn)
    assert len(path.split()) == 31


def test_a_bar_that_stands_alone_is_seen():
    points = [(n / 100, 1, 2, 1.5) for n in range(50)] + [(0.9, 1, 2, 1.5)]
    paths = re.findall(r'polyline class="price" points="([^"]*)"', charts.line(points, [], x_labels=[], about="x"))
    assert len(paths) == 2
    first, last = (float(at.partition(",")[0]) for at in paths[1].split())
    assert last - first == pytest.approx(2)


def test_a_gap_in_the_price_is_left_open():
    drawn = charts.line([(0.0, 1, 2, 1), (0.01, 1, 2, 2), (0.5, 1, 2, 1)], [], x_labels=[], about="x")
    assert drawn.count("polyline") == 2
