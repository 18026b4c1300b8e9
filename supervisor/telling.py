"""From the configuration to the notifier's ways to people."""

from __future__ import annotations

from actors import notifier
from actors.adapters.notices import AppriseNotices, target_name
from actors.notices import Target
from actors.ports import Notices
from supervisor.bus import EventBus
from supervisor.config import Notifications
from supervisor.log import rfc3339
from supervisor.outfit import Telling
from supervisor.redact import redact_text

AREAS = frozenset({"pause", "pair", "progress", "actor", "system"})
"""What notices are made of (actors/notices.py); orders, fills and streams come by the hundred and make none."""


def telling_of(settings: Notifications, bus: EventBus, *, instance: str) -> Telling | None:
    """None: nobody is to be told. A URL that stands at several users is one target; an operator's hears everything."""
    users: dict[str, set[str]] = {}
    for user, urls in settings.users.items():
        for url in urls:
            users.setdefault(url, set()).add(user)
    targets = {url: Target(target_name(url), frozenset(names)) for url, names in users.items()}
    targets |= {url: Target(target_name(url)) for url in settings.urls}
    if not targets:
        return None
    return Telling(
        settings=notifier.Settings(
            targets=tuple(targets.values()),
            repeat_s=settings.repeat_s,
            credential_days=settings.credential_days,
            summaries=settings.summaries,
            instance=instance,
        ),
        notices=Discreet(AppriseNotices({target.name: url for url, target in targets.items()})),
        hearing=bus.follow("notifier", areas=AREAS),
        moment=moment,
    )


class Discreet:
    """Notices that leave this machine hold what crashes and the exchange said: no secret leaves with them (F86)."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    async def send(self, target: str, title: str, text: str) -> None:
        """Raises: NotTold."""
        await self._notices.send(target, title, redact_text(text))


def moment(at_ms: int) -> str:
    """ "10:00:00Z": messages carry their own day."""
    return f"{rfc3339(at_ms)[11:19]}Z"
