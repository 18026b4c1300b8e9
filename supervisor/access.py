"""Who may do what at the control socket: roles by uid, as the kernel tells it (`[control]` of the configuration).

    operators   see everything, act on everything
    viewers     see everything
    [control.users] alice = […]   see alice and act on her, and see nothing of the others

Root and the daemon's own user are operators, whatever the configuration says; with empty lists nobody else is. Whoever
is none of these is a stranger: every request is answered NOT_PERMITTED, whatever is in it, so it tells nothing.

A caller of the remote socket is known by the common name of its certificate instead (`[control.remote]`).

Entries are uids, or names of users or groups; a caller belongs to its primary group and to those that list it. What the
system says of a uid is remembered until the configuration is read again (system.reload).
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

Entry = int | str


class Rights(Struct, frozen=True, kw_only=True):
    """looks, acts: at and on everything. own: the users of otod that this caller looks at and acts on in any case."""

    looks: bool = False
    acts: bool = False
    own: frozenset[str] = frozenset()

    @property
    def stranger(self) -> bool:
        return not (self.looks or self.acts or self.own)

    @property
    def sees_all(self) -> bool:
        return self.looks or self.acts

    def sees(self, user: str) -> bool:
        return self.sees_all or user in self.own

    def acts_on(self, user: str) -> bool:
        return self.acts or user in self.own


OPERATOR = Rights(looks=True, acts=True)


def names_of(uid: int) -> frozenset[str]:
    """The name of a uid and those of its groups, as the system knows them; empty for a uid without a name."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return frozenset()
    names = {entry.pw_name}
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue  # a group without a name: it may be listed by nobody
    return frozenset(names)


class Access:
    """The roles of one configuration. own_uid: the daemon's. names: what the system says of a uid."""

    def __init__(
        self,
        *,
        operators: Iterable[Entry] = (),
        viewers: Iterable[Entry] = (),
        users: Mapping[str, Iterable[Entry]] | None = None,
        remote_operators: Iterable[str] = (),
        remote_viewers: Iterable[str] = (),
        own_uid: int,
        names: Callable[[int], frozenset[str]] = names_of,
    ) -> None:
        self._operators = frozenset(operators) | {0, own_uid}
        self._viewers = frozenset(viewers)
        self._users = {user: frozenset(entries) for user, entries in (users or {}).items()}
        self._remote_operators = frozenset(remote_operators)
        self._remote_viewers = frozenset(remote_viewers)
        self._names = names
        self._known: dict[int, Rights] = {}

    def rights(self, uid: int) -> Rights:
        """Also called from nng's threads: reading and writing one dict entry is safe there."""
        found = self._known.get(uid)
        if found is None:
            found = self._known[uid] = self._look_up(uid)
        return found

    def remote(self, name: str) -> Rights:
        """Of a client with a certificate of this common name; an empty one is nobody's."""
        acts = bool(name) and name in self._remote_operators
        return Rights(looks=acts or (bool(name) and name in self._remote_viewers), acts=acts)

    def _look_up(self, uid: int) -> Rights:
        if uid in self._operators:
            return OPERATOR
        who: frozenset[Entry] = frozenset({uid}) | self._names(uid)
        return Rights(
            looks=bool(who & self._viewers),
            acts=bool(who & self._operators),
            own=frozenset(user for user, entries in self._users.items() if who & entries),
        )


def nobody_else() -> Access:
    """Root and the daemon's own user alone."""
    return Access(own_uid=os.geteuid())
