"""The switches of the paper exchange: timings, and branches of the protocol that nobody captured (wire § 7.3, § 18).

Each default is what the captures show, or, where there is no capture, what the wire sheet says to assume. A pair of
numbers is a range in ms, drawn evenly for each event.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec
from msgspec import Struct

Range = tuple[int, int]


class Rules(Struct, kw_only=True, forbid_unknown_fields=True):
    """Shared by all parts of one exchange and not frozen: a switch may be flipped while it runs."""

    # Money
    start_balance: Decimal = Decimal(10_000)  # USDT in funding of an account that is seen for the first time
    buyer_millionths: int = 100  # commission: 100 is 0.01 % (wire § 12.1)
    seller_millionths: int = 100
    base_commission: Literal["nearest", "cut"] = "nearest"  # "not up" is known (wire § 12.3)
    commission_from_free: bool = False  # True: free tokens pay it and the pending leg sells all that was bought (§ 7.4)
    proceeds_wallet: Literal["funding", "spot"] = "funding"  # where SELL proceeds arrive (§ 4.3)
    credit_lag_ms: Range = (0, 0)  # ... and how late
    alpha_bucket: Literal["freeze", "locked"] = "freeze"  # where tokens of open SELL orders show (§ 18.4 no. 13)

    # Times
    reply_ms: Range = (4, 30)  # of any REST reply; frames of an acceptance (12 ms) may leave before it
    entry_ms: Range = (90, 850)  # from acceptance to matching: fills were seen 99 and 847 ms after creation (§ 7.1)
    released_entry_ms: Range = (250, 1_350)  # from release to matching: 1315 ms seen
    release_ms: Range = (0, 0)  # from the fill that completes the working leg to the release: same T seen
    cancel_ms: Range = (0, 0)  # from the reply to a cancel to its effect: a fill in between wins
    accept_frame_ms: Range = (12, 12)  # E - T of NEW, PENDING, CANCELED …
    fill_frame_ms: Range = (159, 182)  # E - T of a fill
    release_frame_ms: int = 1  # E of a release after E of its fill
    agg_frame_ms: Range = (160, 250)  # E - T of aggTrade (§ 6.3)
    public_frame_ms: Range = (12, 15)  # E - T of the other public streams

    # OTO (§ 7.3)
    release_on: Literal["full", "partial"] = "full"
    held_end: Literal["CANCELED", "EXPIRED", "silent"] = "CANCELED"  # event of a held leg whose list ends
    partial_cancel: Literal["end", "release"] = "end"  # pending leg of a working leg cancelled after a partial fill
    held_cancel: Literal["list", "leg"] = "list"  # a held leg is cancelled: the whole list ends, or only the leg
    release_refused: Literal["REJECTED", "EXPIRED"] = "REJECTED"  # a released quantity that LOT_SIZE or funds refuse
    percent_on_pending: bool = False  # the percent filter applies to pending legs too (§ 18.4 no. 12)

    # Matching
    split_fill_share: float = 0.0  # share of matches that are told as two fills with equal `t`
    trade_ids: Literal["match", "fill"] = "match"  # fills of one match share `t` (captured), or each has its own
    page_ids: Literal["event", "own"] = "event"  # a fill's REST pageId equals its stream id, or comes from elsewhere

    # Reads
    open_lists_held: bool = True  # get-open-order shows held PENDING legs (§ 18.4 no. 5)
    history_shows_unreleased: bool = True  # a leg that ended unreleased has a history row, of quantity 0
    oto_row_times: bool = False  # rows of OTO legs carry time and updateTime; the captured ones had workingTime only
    history_total: bool = False  # top-level `total`, as in 2025
    history_order: Literal["newest", "oldest"] = "newest"
    terms_accepted: bool = True
    replay_frames: int = 0  # so many old reports come again when a user stream is subscribed (reliability F14)

    # Listen keys (§ 10.3)
    key_life_ms: int = 3_600_000
    key_renewal: Literal["same", "new"] = "same"  # what a second POST gives
    old_key: Literal["lives", "dies"] = "lives"  # the key before a new one
    key_shape: Literal["text", "object", "bare"] = "text"
    expiry_notice: bool = False  # listenKeyExpired before the silence

    # Words
    requests_per_s_most: int = 0  # of one account, in any second; more are answered 429 (0: no limit, none is known)
    refusal_status: int = 200  # HTTP status of a refusal (§ 1.2)
    login_status: int = 200
    gone_code: str = "481022"  # cancel of a finished or unknown order: code unknown, ours

    @classmethod
    def from_mapping(cls, document: Mapping[str, Any]) -> Rules:
        """From a TOML table. Raises: msgspec.ValidationError naming the key."""
        return msgspec.convert(dict(document), cls, strict=False)
