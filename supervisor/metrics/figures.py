"""Every figure as data: name, kind, unit in the name, labels, and where it comes from. Pure.

Names follow Prometheus: base units (seconds, bytes), counters end in _total, a figure means one thing over all labels.
USDT amounts are the traders' decimals; they become floats in the rendered text and nowhere else. To add a figure: a row
here, a line in README.md; tests hold the two and etc/grafana-otod.json together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from actors.domain.trading import PAUSE_REASONS
from actors.tally import Histogram
from supervisor.metrics.view import View

Value = int | float | Decimal | Histogram
Sample = tuple[tuple[str, ...], Value]  # the labels' values, in their order, and the figure's

STATES = ("trading", "done", "paused", "stopped", "starting", "new")
ACTOR_STATES = ("starting", "running", "delaying", "parked", "stopping", "stopped", "stuck")


class Figure(Struct, frozen=True):
    name: str
    kind: Literal["gauge", "counter", "histogram"]
    about: str
    labels: tuple[str, ...]
    find: Callable[[View], Iterable[Sample]]


def _one(value: Value | None) -> list[Sample]:
    """A figure without labels; none at all where it is not known."""
    return [] if value is None else [((), value)]


def _counted(counts: Mapping[Any, int], words: Iterable[str] = ()) -> list[Sample]:
    """counts: by one label, or by a tuple of them.

    words: labels that stand there from the start, at zero, so that a first increase is seen as one.
    """
    found: dict[tuple[str, ...], int] = {(word,): 0 for word in words}
    found |= {(label if isinstance(label, tuple) else (label,)): count for label, count in counts.items()}
    return sorted(found.items())


# -- users


def _users(view: View) -> list[Sample]:
    return _counted(Counter(view.state_of(user) for user in view.users), STATES)


def _paused(view: View) -> list[Sample]:
    in_force = (pause.reason for shown in view.snapshots.values() for pause in shown.pauses)
    return _counted(Counter[str](in_force), PAUSE_REASONS)


def _pairs_in(view: View, *phases: str) -> int:
    """Users with a live pair; with phases: in one of them."""
    return sum(shown.pair is not None and (not phases or shown.phase in phases) for shown in view.snapshots.values())


def _day(view: View, figure: str) -> Iterator[Sample]:
    for user, shown in view.snapshots.items():
        if shown.progress is not None:
            yield (user,), getattr(shown.progress, figure)


def _credential_ages(view: View) -> Iterator[Sample]:
    for user, record in view.records.items():
        if record.sealed is not None and record.sealed.state != "removed":
            yield (user,), view.age_s(record.sealed.stored_at)


# -- the store


def _store(view: View, figure: str) -> list[Sample]:
    return [] if view.store is None else [((), getattr(view.store, figure))]


def _store_age(view: View, since: str) -> list[Sample]:
    """0: there is no such moment."""
    since_ms = None if view.store is None else getattr(view.store, since)
    return [] if view.store is None else [((), view.age_s(since_ms) if since_ms is not None else 0)]


# -- what actors count


def _differences(view: View) -> list[Sample]:
    found: Counter[str] = Counter()
    found.update(view.tally.differences)
    found["ledger"] = view.tally.pauses["LEDGER_MISMATCH"]
    return _counted(found, ("fill", "synthetic_fill", "foreign_order", "silent_stream"))


def _skew_s(view: View) -> float | None:
    skews = [each.server_skew_ms for each in view.requests.values() if each.server_skew_ms is not None]
    return max(skews, key=abs) / 1000 if skews else None


def _price_ages(view: View) -> Iterator[Sample]:
    for token, (_, quote) in view.feeds.items():
        if quote is not None:
            yield (token,), view.age_s(quote.trade_ms)


def _notices(view: View) -> Iterator[Sample]:
    for each in view.notices.targets:
        yield (each.target, "told"), each.told
        yield (each.target, "failed"), each.failures
        yield (each.target, "dropped"), each.dropped


def _mailbox(view: View, figure: str) -> Iterator[Sample]:
    for node in view.nodes:
        if node.mailbox is not None:
            yield (node.path,), getattr(node.mailbox, figure)


FIGURES: tuple[Figure, ...] = (
    # -- the daemon
    Figure("otod_build_info", "gauge", "Always 1; the version and the mode are its labels.", ("version", "mode"),
           lambda v: [((v.version, v.mode), 1)]),
    Figure("otod_start_time_seconds", "gauge", "When the daemon was started, seconds since 1970 UTC.", (),
           lambda v: _one(v.started_ms / 1000)),
    Figure("process_cpu_seconds_total", "counter", "CPU time of the process, user and system.", (),
           lambda v: _one(v.process.cpu_s)),
    Figure("process_resident_memory_bytes", "gauge", "Resident memory.", (), lambda v: _one(v.process.memory_bytes)),
    Figure("process_open_fds", "gauge", "Open file descriptors.", (), lambda v: _one(v.process.descriptors)),
    Figure("process_max_fds", "gauge", "File descriptors that it may open.", (),
           lambda v: _one(v.process.descriptors_max)),
    Figure("process_threads", "gauge", "Threads: DuckDB's, nng's, and the loop.", (),
           lambda v: _one(v.process.threads)),
    Figure("otod_tasks", "gauge", "Tasks of the loop.", (), lambda v: _one(v.tasks)),
    Figure("otod_loop_blocked_total", "counter", "Steps of a task that held up all others for 0.1 s and more.", (),
           lambda v: [] if v.loop is None else _one(v.loop.blocked)),
    Figure("otod_loop_longest_step_seconds", "gauge", "The longest such step since the start.", (),
           lambda v: [] if v.loop is None else _one(v.loop.longest_s)),
    # -- users
    Figure("otod_users", "gauge", "Users by state; each counts once.", ("state",), _users),
    Figure("otod_paused_users", "gauge", "Users paused for this reason now.", ("reason",), _paused),
    Figure("otod_pauses_total", "counter", "Pauses that began, by reason.", ("reason",),
           lambda v: _counted(v.tally.pauses, PAUSE_REASONS)),
    Figure("otod_user_volume_usdt", "gauge", "USDT bought on this UTC day.", ("user",), lambda v: _day(v, "volume")),
    Figure("otod_user_target_usdt", "gauge", "The day's target in USDT; with target_points of counted volume.",
           ("user",), lambda v: _day(v, "target")),
    Figure("otod_user_wear_usdt", "gauge", "What this UTC day's closed pairs lost, fees included.", ("user",),
           lambda v: _day(v, "wear")),
    Figure("otod_user_pairs", "gauge", "Pairs closed on this UTC day.", ("user",), lambda v: _day(v, "pairs")),
    Figure("otod_credential_age_seconds", "gauge", "Since the credentials were handed over.", ("user",),
           _credential_ages),
    Figure("otod_listen_key_age_seconds", "gauge", "Since this listen key was got.", ("user",),
           lambda v: (((user,), v.age_s(key.since_ms)) for user, key in v.keys.items() if key.key is not None)),
    Figure("otod_listen_key_renewal_age_seconds", "gauge", "Since the listen key was renewed last.", ("user",),
           lambda v: (((user,), v.age_s(key.renewed_ms)) for user, key in v.keys.items() if key.key is not None)),
    Figure("otod_order_stream_connected", "gauge", "1 while the order stream is connected.", ("user",),
           lambda v: (((user,), int(shown.stream_connected)) for user, shown in v.snapshots.items())),
    # -- trading
    Figure("otod_live_pairs", "gauge", "Pairs that live now.", (), lambda v: _one(_pairs_in(v))),
    Figure("otod_unresolved_pairs", "gauge", "Pairs whose placement got no answer and is not settled yet.", (),
           lambda v: _one(_pairs_in(v, "unresolved"))),
    Figure("otod_pairs_total", "counter", "Closed pairs by outcome.", ("outcome",),
           lambda v: _counted(v.tally.pairs, ("completed", "cancelled", "unwound"))),
    Figure("otod_orders_total", "counter", "Requests that act: pairs, unwinding sales, cancels; by how they ended.",
           ("kind", "outcome"), lambda v: _counted(v.tally.orders)),
    Figure("otod_fills_total", "counter", "Fills by leg, and by what told of them first.", ("leg", "source"),
           lambda v: _counted(v.tally.fills)),
    Figure("otod_reconciliations_total", "counter", "Looks at an account: clean ones and failed ones.", ("outcome",),
           lambda v: _counted(v.tally.looks, ("clean", "failed"))),
    Figure("otod_reconciliation_differences_total", "counter",
           "What looking found that the streams had not told: fills, orders that are not ours, sums that differ.",
           ("kind",), _differences),
    # -- latencies
    Figure("otod_stream_latency_seconds", "histogram",
           "From the exchange's event time to handled; a difference of the clocks is in it.", ("stream",),
           lambda v: [(("market",), v.tally.market_s), (("orders",), v.tally.orders_s)]),
    Figure("otod_quote_to_order_seconds", "histogram",
           "From the quote that a trader decided on to the order request leaving, its intent durable.", (),
           lambda v: _one(v.tally.quote_to_order_s)),
    Figure("otod_commit_duration_seconds", "histogram", "Group commits of the store, on disk at the end.", (),
           lambda v: _one(v.tally.commit_s)),
    Figure("otod_api_call_duration_seconds", "histogram",
           "REST calls that got a whole reply, from the first byte out to the last one in.", ("call",),
           lambda v: (((call,), taken) for call, taken in sorted(v.tally.call_s.items()))),
    Figure("otod_api_calls_total", "counter", "REST calls by how they ended: success, refused, or why not.",
           ("call", "outcome"), lambda v: _counted(v.tally.calls)),
    Figure("otod_api_calls_in_flight", "gauge", "REST calls that wait for their reply.", (),
           lambda v: _one(sum(each.in_flight for each in v.requests.values()))),
    Figure("otod_exchange_clock_skew_seconds", "gauge",
           "The exchange's clock minus ours, the largest of all sessions; good to half a second.", (),
           lambda v: _one(_skew_s(v))),
    # -- prices
    Figure("otod_feed_connected", "gauge", "1 while the price stream is connected.", ("token",),
           lambda v: (((token,), int(shown.connected)) for token, (shown, _) in v.feeds.items() if shown)),
    Figure("otod_feed_trades", "gauge", "Trades seen by the feed since it was started.", ("token",),
           lambda v: (((token,), shown.trades_seen) for token, (shown, _) in v.feeds.items() if shown)),
    Figure("otod_price_age_seconds", "gauge", "Since the last trade; a quiet market is no fault.", ("token",),
           _price_ages),
    # -- the store
    Figure("otod_store_rows_total", "counter", "Rows acknowledged since the store was started.", (),
           lambda v: _store(v, "rows")),
    Figure("otod_store_rows_waiting", "gauge", "Rows lined up or being written.", (),
           lambda v: _store(v, "waiting")),
    Figure("otod_store_unavailable_seconds", "gauge", "So long nothing can be made durable; 0 while all is well.", (),
           lambda v: _store_age(v, "unavailable_since_ms")),
    Figure("otod_store_refused_writes_total", "counter", "Writes that can never be written; see rejected_rows.", (),
           lambda v: _store(v, "refused")),
    Figure("otod_publication_failures_total", "counter", "Publications of analytics files that failed.", (),
           lambda v: _store(v, "publish_failures")),
    Figure("otod_unpublished_age_seconds", "gauge", "Age of the oldest row that is not published yet; 0 for none.", (),
           lambda v: _store_age(v, "unpublished_since_ms")),
    # -- actors
    Figure("otod_actors", "gauge", "Actors by state.", ("state",),
           lambda v: _counted(Counter(node.state for node in v.nodes), ACTOR_STATES)),
    Figure("otod_actor_restarts_total", "counter", "Incarnations after the first.", ("actor",),
           lambda v: (((node.path,), max(node.incarnation - 1, 0)) for node in v.nodes)),
    Figure("otod_mailbox_depth", "gauge", "Messages that wait.", ("actor",), lambda v: _mailbox(v, "depth")),
    Figure("otod_mailbox_capacity", "gauge", "Messages that may wait.", ("actor",), lambda v: _mailbox(v, "capacity")),
    Figure("otod_mailbox_messages_total", "counter", "Messages ever put into the mailbox.", ("actor",),
           lambda v: _mailbox(v, "posted")),
    Figure("otod_mailbox_overflows_total", "counter", "Times that a full mailbox ended its reader's incarnation.",
           ("actor",), lambda v: _mailbox(v, "overflows")),
    Figure("otod_notices_total", "counter", "Notices told; messages that failed; notices dropped.",
           ("target", "outcome"), _notices),
    Figure("otod_notices_waiting", "gauge", "Notices that wait for a target.", ("target",),
           lambda v: (((each.target,), each.waiting) for each in v.notices.targets)),
    Figure("otod_events_total", "counter", "Events told on the bus.", (), lambda v: _one(v.events.emitted)),
    Figure("otod_events_lost_total", "counter", "Events that a slow listener missed.", ("listener",),
           lambda v: _counted(v.events.lost)),
)  # fmt: skip

BY_NAME: Mapping[str, Figure] = {figure.name: figure for figure in FIGURES}
