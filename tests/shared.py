"""Where the captured samples and market data lie, for the tests that need them."""

from __future__ import annotations

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared (captured wire samples, market data)")


def wire(name: str) -> dict[str, Any]:
    """The sample file ../shared/wire/NAME.json, numbers as exact decimals."""
    return msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode(
        (SHARED / "wire" / f"{name}.json").read_bytes()
    )


def market_file(name: str) -> bytes:
    """The bytes of ../shared/market/NAME, unpacked if it is gzip."""
    data = (SHARED / "market" / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data
