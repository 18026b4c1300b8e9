"""What is not in order, judged from snapshots and the tree's statistics. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from actors.domain.quotes import Quote
from actors.messages import FeedSnapshot, TraderSnapshot
from actors.targets import NotifierStatistics
from supervisor.control.protocol import rfc3339
from supervisor.control.views import walk
from supervisor.lifecycle import Node

MAILBOX_FULL_SHARE = 0.8  # beyond this a reader is about to lose its incarnation

Problem = dict[str, str]
FeedSeen = tuple[str, FeedSnapshot | None, Quote | None]  # token, and what is known of it

_STATES = {
    "starting": ("is not ready yet", "wait; if it stays so, look at its last crash and the log"),
    "delaying": ("crashed and waits for its next start", "look at its last crash and the log"),
    "parked": ("died too often and was parked", "read its crashes in the log, then actor.restart {path}"),
    "stopping": ("is being stopped", "wait"),
    "stopped": ("is stopped", "actor.restart {path}"),
    "stuck": ("does not react to cancellation", "restart the daemon: systemctl restart otod"),
}


def problems(
    root: Node,
    snapshots: Sequence[TraderSnapshot],
    feeds: Iterable[FeedSeen],
    told: NotifierStatistics | None = None,
) -> list[Problem]:
    """All that an operator should know of, the tree first; empty if everything is in order.

    A user whom an operator paused or stopped is in order; one that is paused for any other reason is not.
    """
    return [*_of_tree(root), *_of_feeds(feeds), *_of_users(snapshots), *_of_targets(told or NotifierStatistics())]


def _problem(what: str, where: str, do: str) -> Problem:
    return {"what": what, "where": where, "do": do}


def _of_tree(root: Node) -> Iterator[Problem]:
    for node in walk(root):
        if node.state in _STATES:
            what, do = _STATES[node.state]
            yield _problem(what, node.path, do.format(path=node.path))
        mailbox = node.mailbox
        if mailbox is not None and mailbox.depth > mailbox.capacity * MAILBOX_FULL_SHARE:
            yield _problem(
                f"its mailbox holds {mailbox.depth} of {mailbox.capacity}", node.path, "see why it is slow: system.tree"
            )


def _of_feeds(feeds: Iterable[FeedSeen]) -> Iterator[Problem]:
    for token, feed, quote in feeds:
        where = f"feeds/{token}"
        if feed is None:
            yield _problem("no feed is running", where, "see system.tree")
        elif not feed.connected:
            lost_ms = quote.disconnected_since_ms if quote else None
            since = f" since {rfc3339(lost_ms)}" if lost_ms else ""
            yield _problem(f"the price stream is down{since}", where, "it reconnects by itself; check the network")


def _of_targets(told: NotifierStatistics) -> Iterator[Problem]:
    for each in told.targets:
        if each.failing_since_ms is not None:
            since = rfc3339(each.failing_since_ms)
            what = f"{each.waiting} notices wait, nothing gets through since {since}: {each.error}"
            do = "look at its URL under [notifications], then otoctl notify test"
            yield _problem(what, f"notifier {each.target}", do)


def _of_users(snapshots: Sequence[TraderSnapshot]) -> Iterator[Problem]:
    for snapshot in snapshots:
        where = f"traders/{snapshot.user}"
        for pause in snapshot.pauses:
            if pause.reason != "OPERATOR":
                do = pause.hint or f"remove the cause, then trading.resume {snapshot.user}"
                yield _problem(f"paused {pause.reason}: {pause.detail}", where, do)
        if snapshot.wanted == "running" and not snapshot.stream_connected:
            yield _problem("the order stream is down", where, "it reconnects by itself; check the network")
