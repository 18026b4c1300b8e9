"""What was answered to acting requests, so that one which nng delivers again acts once (design § 10).

A REQ socket sends its request again when the connection breaks, and by default every minute. Within ten minutes such a
repeat gets the first reply; one that comes while the first is still under way waits for it. The memory belongs to the
child's name, not to an incarnation: it is just after a crash of control that clients send again.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import trio
from msgspec import Struct

from actors.errors import Refusal
from supervisor.control.protocol import RequestId, echo

KEPT_S = 600.0
REPLIES_MAX = 10_000  # sixteen acting requests a second for ten minutes
REPLY_BYTES_MAX = 32 << 20  # of all kept replies: those about a thousand users are some 600 kB each

Key = tuple[str, RequestId, str]
"""The caller (uid and pid, or the name in its certificate), the request id, the command."""


class Slot(Struct):
    """One acting request. frame: a digest of it, byte for byte as it came. reply None: still under way."""

    frame: bytes
    done: trio.Event
    reply: bytes | None = None
    settled_s: float = 0.0


class ReplyMemory:
    def __init__(self) -> None:
        self._slots: OrderedDict[Key, Slot] = OrderedDict()
        self._bytes = 0
        self.repeats = 0

    def __len__(self) -> int:
        return len(self._slots)

    def claim(self, key: Key, frame: bytes, *, now_s: float) -> tuple[Slot, bool]:
        """The slot of this request, and whether it is the first: the first must settle or abandon it.

        Raises: Refusal BAD_ARGUMENT, the id was used for the same command with other arguments.
        """
        self._forget(now_s)
        digest = blake2b(frame, digest_size=16).digest()
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot(digest, trio.Event())
            return slot, True
        if slot.frame != digest:
            raise Refusal(
                f"id {echo(key[1])} was used for another {key[2]} within the last {KEPT_S / 60:.0f} minutes",
                code="BAD_ARGUMENT",
                do="give every request an id of its own, or none",
            )
        self.repeats += 1
        return slot, False

    def settle(self, key: Key, reply: bytes, *, now_s: float) -> None:
        slot = self._slots[key]
        slot.reply, slot.settled_s = reply, now_s
        self._bytes += len(reply)
        slot.done.set()

    def abandon(self, key: Key) -> None:
        """The first request ended without a reply (control was cancelled): a repeat acts anew."""
        self._slots.pop(key).done.set()

    def _forget(self, now_s: float) -> None:
        """Lets go of old replies, and of the oldest when there are too many. What is under way stays."""
        for key, slot in list(self._slots.items())[:2]:  # two per request: shrinks faster than it grows
            if slot.reply is None:
                self._slots.move_to_end(key)
                continue
            too_many = len(self._slots) >= REPLIES_MAX or self._bytes > REPLY_BYTES_MAX
            if too_many or now_s - slot.settled_s > KEPT_S:
                self._bytes -= len(slot.reply)
                del self._slots[key]
