"""Chat services, mail and web hooks behind the `Notices` port, by apprise.

apprise is the field's library for this: some 130 services under one form of URL (Telegram, Feishu/Lark, DingTalk, Bark,
ntfy, e-mail, web hooks …), kept since 2017, in pure Python. It blocks, so a message is sent in a worker thread, one per
target at a time; and it is heavy (28 MB, its service list), so it is imported by the first one that has a target.

URLs hold tokens and passwords. A target is known by its scheme and a short digest of its URL; what the library says in
its log is heard here alone, freed of every part of the URL, and told as the reason why a message did not get through.
"""

from __future__ import annotations

import hashlib
import logging
import re
import urllib.parse
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Final

import trio

from actors.errors import NotTold

WORDS_MAX: Final = 200  # characters of a reason
PART_MIN: Final = 4  # characters of a part of a URL that may be a secret; shorter ones are words of their own
LOUD: Final = ("urllib3", "requests", "requests_oauthlib", "oauthlib")  # they log URLs

_said: ContextVar[list[str] | None] = ContextVar("said", default=None)


class AppriseNotices:
    """ports.Notices. urls: by the target's name."""

    def __init__(self, urls: Mapping[str, str]) -> None:
        self._urls = dict(urls)
        self._limiters = {name: trio.CapacityLimiter(1) for name in urls}

    def __repr__(self) -> str:
        return f"AppriseNotices({', '.join(self._urls)})"

    async def send(self, target: str, title: str, text: str) -> None:
        """Raises: NotTold. A cancelled call gives up waiting; its thread ends with apprise's own time-outs."""
        url = self._urls[target]
        reason = await trio.to_thread.run_sync(
            _send, url, title, text, limiter=self._limiters[target], abandon_on_cancel=True
        )
        if reason is not None:
            raise NotTold(_scrubbed(reason, url), where=target, do="otoctl notify test, once it is mended")


def target_name(url: str) -> str:
    """ "tgram-5e0a91c2": the same for the same URL, whatever else is configured."""
    scheme = url.partition("://")[0].lower()
    return f"{scheme}-{hashlib.blake2b(url.encode(), digest_size=4).hexdigest()}"


def understood(url: str) -> bool:
    """Whether it names a service, with all that this service needs. Nothing is sent."""
    return _apprise().Apprise.instantiate(url, suppress_exceptions=True) is not None


def _send(url: str, title: str, text: str) -> str | None:
    """Why the service did not take it, None if it did. Blocks."""
    said: list[str] = []
    _said.set(said)
    apprise = _apprise()
    way = apprise.Apprise.instantiate(url, suppress_exceptions=True)
    if way is None:
        return "apprise does not understand its URL"
    ways = apprise.Apprise()
    ways.add(way)
    # It catches whatever a service's code raises, and says so in its log.
    taken = ways.notify(body=text, title=title, body_format=apprise.NotifyFormat.TEXT)
    if taken:
        return None
    return said[-1] if said else "the service did not take it"


@cache
def _apprise() -> ModuleType:
    import apprise

    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    log = logging.getLogger("apprise")
    log.setLevel(logging.WARNING)
    log.addFilter(_heard)
    return apprise


def _heard(record: logging.LogRecord) -> bool:
    """Keeps what apprise says while it sends for us, and lets nothing of it into any log."""
    said = _said.get()
    if said is not None:
        said.append(record.getMessage())
    return False


def _scrubbed(text: str, url: str) -> str:
    """Without any part of the URL that is longer than a short word, as it stands there or unquoted."""
    scheme, _, rest = url.partition("://")
    parts = {part for part in re.split(r"[/?&=@:,;#]", rest) if len(part) >= PART_MIN}
    parts |= {urllib.parse.unquote(part) for part in parts} | {rest}
    for part in sorted(parts - {scheme}, key=len, reverse=True):
        text = re.sub(re.escape(part), "…", text, flags=re.IGNORECASE)
    flat = " ".join(text.split())
    return flat if len(flat) <= WORDS_MAX else f"{flat[:WORDS_MAX]}…"
