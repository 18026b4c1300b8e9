"""Every fault of the catalogue has a test that is named after it, somewhere: nothing is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

LAST = 86
TESTS = Path(__file__).resolve().parents[1]


def named() -> set[int]:
    """Numbers in names of tests: test_f14_f15_… names two."""
    found: set[int] = set()
    for path in TESTS.rglob("test_*.py"):
        for name in re.findall(r"def test_((?:f\d+_)+)", path.read_text()):
            found.update(int(number) for number in re.findall(r"f(\d+)_", name))
    return found


def test_every_number_of_the_catalogue_names_a_test():
    assert set(range(1, LAST + 1)) - named() == set()
