"""Which faults of the catalogue (reliability § 1) drawn runs own, and by what each shows that it has struck.

A set of runs in which one of them never struck is red: a fault that the world does not have hides every bug that only
it brings out (§ 2.6). Not here: what needs a real disk, socket, process or terminal (tests/system, tests/adapters), and
what bad input does (fuzzing tests).
"""

from __future__ import annotations

from collections.abc import Mapping

SEEDS_MIN = 150
"""Of how many runs on a set has to have met everything; the rarest trouble is drawn by one run in thirty."""

CATALOGUE: dict[str, tuple[str, ...]] = {
    "F1 connect refused": ("net.refused",),
    "F2 connect time-out": ("net.silent",),
    "F3 reset while sending": ("net.torn", "net.reset"),
    "F4 answer too late": ("exchange.late_reply",),
    "F5 accepted, answer lost": ("exchange.lost_reply",),
    "F7 truncated answer": ("exchange.truncated_body",),
    "F8 stream closed": ("exchange.disconnect", "net.end"),
    "F9 black hole": ("net.hold",),
    "F10 frames missing": ("exchange.drop_frame",),
    "F14 frames again": ("exchange.duplicate_frame", "rule.replay_frames"),
    "F15 frames out of order": ("exchange.reorder_frame", "exchange.delay_frame"),
    "F16 everything unreachable": ("net.outage",),
    "F18 latency of seconds": ("net.surge",),
    "F21 foreign content": ("exchange.html_body",),
    "F22 balance gone": ("hands.withdraw",),
    "F23 refusals and unknown codes": ("exchange.error_code",),
    "F24, F25 429, 418, 403, 5xx": ("exchange.http_error",),
    "F26 login expired": ("exchange.login_expired",),
    "F26 verification": ("exchange.verification",),
    "F27 listen key dies": ("exchange.key_death", "hands.kill_keys", "rule.key_life_ms"),
    "F28 read lag": ("exchange.read_lag",),
    "F28 late acceptance": ("exchange.late_acceptance",),
    "F29 reads not atomic": ("exchange.non_atomic",),
    "F30 short history": ("exchange.short_history",),
    "F31 late release": ("rule.release_ms",),
    "F32 second leg refused": ("exchange.refuse_release",),
    "F33 partial fills": ("exchange.partial_fill",),
    "F36 cancelled on the site": ("hands.cancel_by_hand",),
    "F37, F78 order by hand": ("hands.order_by_hand",),
    "F38, F43 frames of another shape": ("exchange.edit_frame",),
    "F43 answers of another shape": ("exchange.edit_body",),
    "F41 commission from base": ("rule.base_commission",),
    "F42 halt": ("exchange.halt",),
    "F46 trader dies": ("actor.traders",),
    "F47 crash loop": ("process.crash_loop", "actor.parked"),
    "F48 store dies": ("actor.store",),
    "F49 feed dies": ("actor.feeds",),
    "F50 keeper dies": ("actor.keeper",),
    "tokens die": ("actor.tokens",),
    "F53 killed": ("process.kill",),
    "F53 killed before a commit": ("process.kill_before_commit",),
    "F53 killed after a commit": ("process.kill_after_commit",),
    "F53 killed while placing": ("process.kill_at_placement",),
    "F54 stopped in order": ("process.stop",),
    "exchange restarts": ("process.exchange_restart",),
    "F59 disk full": ("disk.outage", "disk.full"),
    "F60 commits fail": ("disk.failing",),
    "F61 commits fail after writing": ("disk.unsure",),
    "F61 database to be reopened": ("disk.lost",),
    "F65 slow disk": ("disk.slow",),
    "F67 clock steps": ("process.clock_step",),
    "F68 skew": ("exchange.clock_skew",),
    "F70 midnight": ("start.midnight",),
    "F71 - F73 start": ("hands.start",),
    "F71 - F73 pause": ("hands.pause",),
    "F71 - F73 resume": ("hands.resume",),
    "F71 - F73 stop": ("hands.stop",),
    "F71 - F73 stop --now": ("hands.stop_now",),
    "F71 - F73 cancel": ("hands.cancel_pair",),
    "force stop": ("hands.force_stop",),
    "restart of an actor": ("hands.restart",),
    "F74 configuration changed": ("hands.configure",),
    "F75 user removed and added": ("hands.remove",),
    "F77 credentials changed": ("hands.credentials",),
}
"""Every one of the names must have struck."""


def missing(struck: Mapping[str, int]) -> list[str]:
    """Faults of the catalogue that never struck, with the names that are missing."""
    found = []
    for fault, names in CATALOGUE.items():
        absent = [name for name in names if not struck.get(name)]
        if absent:
            found.append(f"{fault} ({', '.join(absent)})")
    return found
