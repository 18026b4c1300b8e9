"""What a changed configuration means for a daemon that runs: which keys are in force at once, which actors have to be
started again for it, and which wait for the next start of the process. Pure, but for `Reload` at the end.

A file is read and checked as a whole before anything changes. An actor that does not come up with the new settings gets
the old ones back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import trio
from msgspec import Struct
from msgspec.structs import replace

from actors import desk
from actors.errors import Refusal
from supervisor.access import Access
from supervisor.config import Config, Control, access, kept
from supervisor.log import Logging
from supervisor.outfit import Patience
from supervisor.tree import Answer

Effect = Literal["at once", "kept", "control", "store", "keeper", "feeds", "traders", "process"]
"""kept: how feeds and traders are restarted; in force with their next end. The actors named start anew. process: a
restart of the service."""

EFFECTS: Mapping[str, tuple[Effect, ...]] = {
    "instance": ("process",),
    "state_dir": ("process",),
    "runtime_dir": ("process",),
    "exchange": ("process",),
    "exchange.listen_key_renew_s": ("keeper",),
    "control.operators": ("at once",),
    "control.viewers": ("at once",),
    "control.users": ("at once",),
    "control.remote.operators": ("at once",),
    "control.remote.viewers": ("at once",),
    "control": ("control",),
    "store.commit_rows": ("store",),
    "store.commit_wait_s": ("store",),
    "store.publish_s": ("store",),
    "store": ("process",),
    "supervision": ("kept",),
    "market": ("feeds", "traders"),
    "placement": ("traders",),
    "service": ("at once",),
    "logging.level": ("at once",),
    "logging": ("process",),
    "metrics": ("process",),
    "notifications": ("process",),
}
"""The longest beginning of a key's path counts."""


class Plan(Struct, frozen=True, kw_only=True):
    """changed: paths of keys, in the order of the file. effects: what they need, without doubles."""

    changed: tuple[str, ...]
    effects: frozenset[Effect]
    process: tuple[str, ...]  # keys that wait for the next start


class Outcome(Struct, frozen=True, kw_only=True):
    """Of a reload. restarted: paths. control: its socket has to be opened anew yet. before: what was in force."""

    plan: Plan
    restarted: tuple[str, ...]
    control: bool
    before: Config

    def shown(self) -> dict[str, Any]:
        return {
            "changed": list(self.plan.changed),
            "restarted": [*self.restarted, *(["control"] if self.control else [])],
            "restart_needed": bool(self.plan.process),
            "waiting_for_restart": list(self.plan.process),
        }


def plan(before: Config, after: Config) -> Plan:
    changed = tuple(_differing(before, after))
    wanted = {key: effect_of(key) for key in changed}
    return Plan(
        changed=changed,
        effects=frozenset(effect for effects in wanted.values() for effect in effects),
        process=tuple(key for key, effects in wanted.items() if "process" in effects),
    )


def effect_of(key: str) -> tuple[Effect, ...]:
    """Of a key that nobody has thought about: a restart of the service, which is always right."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        found = EFFECTS.get(".".join(parts[:length]))
        if found is not None:
            return found
    return ("process",)


def in_force(before: Config, after: Config) -> Config:
    """After a reload: the new settings, but for those that wait for the next start, and so will differ again then."""
    merged: Config = _merged(before, after, "")
    return merged


def _differing(before: Struct, after: Struct, path: str = "") -> list[str]:
    found: list[str] = []
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, Struct):
            found += _differing(old, new, f"{path}{name}.")
        elif old != new:
            found.append(f"{path}{name}")
    return found


def _merged(before: Any, after: Any, path: str) -> Any:
    values = {}
    for name in before.__struct_fields__:
        old, new = getattr(before, name), getattr(after, name)
        if isinstance(old, Struct):
            values[name] = _merged(old, new, f"{path}{name}.")
        else:
            values[name] = old if "process" in effect_of(f"{path}{name}") else new
    return type(before)(**values)


class Runs(Protocol):
    """The daemon that runs; the wiring is one."""

    access: Access

    def running(self) -> list[str]: ...

    def reconfigure(self, settings: desk.Settings, patience: Patience, kept: Mapping[str, Any]) -> None: ...

    async def renew_actor(self, path: str) -> Answer: ...


class Door(Protocol):
    """The control socket's settings, for its next incarnation."""

    def reset(self, control: Control) -> None: ...


class Reload:
    """settings: as they are in force. read: the file anew. Raises what config.load does."""

    def __init__(
        self, settings: Config, read: Callable[[], Config], *, daemon: Runs, door: Door, logging: Logging, ws_user: str
    ) -> None:
        self.settings, self._read, self._ws_user = settings, read, ws_user
        self._daemon, self._door, self._logging = daemon, door, logging
        self._one = trio.Lock()

    async def __call__(self) -> Outcome:
        """Reads, checks, applies. Raises: ConfigError, Refusal: nothing has changed."""
        async with self._one:
            before, after = self.settings, self._read()
            what = plan(before, after)
            self._set(in_force(before, after))
            try:
                restarted = await self._restart(what.effects)
            except Refusal:
                self._set(before)
                await self._restart(what.effects)
                raise
            self._logging.log.info(
                "reloaded", changed=what.changed, restarted=restarted, waiting_for_restart=what.process
            )
            return Outcome(plan=what, restarted=restarted, control="control" in what.effects, before=before)

    async def reopen_control(self, before: Config) -> None:
        """The last step of a reload that changed the control socket: after the reply, which goes through it.

        Raises: Refusal: the old settings of the socket are in force again.
        """
        async with self._one:
            try:
                await self._renew(["control"])
            except Refusal:
                self._set(replace(self.settings, control=before.control))
                await self._renew(["control"])
                raise

    def _set(self, settings: Config) -> None:
        self.settings = settings
        self._daemon.access = access(settings.control)
        self._logging.set_level(settings.logging.level)
        self._daemon.reconfigure(
            settings_of(settings, self._ws_user), patience_of(settings), kept(settings.supervision)
        )
        self._door.reset(settings.control)

    async def _restart(self, effects: frozenset[Effect]) -> tuple[str, ...]:
        """One class after the other, the store first: what it serves finds it there again."""
        restarted: list[str] = []
        running = self._daemon.running()
        for effect in ("store", "keeper", "feeds", "traders"):
            if effect in effects:
                paths = [path for path in running if path.split("/", maxsplit=1)[0] == effect]
                await self._renew(paths)
                restarted += paths
        return tuple(restarted)

    async def _renew(self, paths: list[str]) -> None:
        """All at once. Raises: Refusal, one of them did not come up."""
        failed: list[str] = []

        async def renew(path: str) -> None:
            answer = await self._daemon.renew_actor(path)
            if answer.did == "failed":
                failed.append(f"{path}: {answer.detail}")

        async with trio.open_nursery() as nursery:
            for path in paths:
                nursery.start_soon(renew, path)
        if failed:
            raise Refusal(
                f"{len(failed)} did not come up with the new settings: {failed[0]}",
                where="reload",
                do="the old settings are in force again; correct the file",
            )


def settings_of(settings: Config, ws_user: str) -> desk.Settings:
    """The traders' and feeds' patience."""
    return desk.Settings(
        ws_user=ws_user,
        stale_s=settings.market.stale_s,
        price_age_s_max=settings.market.price_age_s_max,
        settle_s=settings.placement.settle_s,
        looks=settings.placement.looks,
        poll_s=settings.placement.poll_s,
        credit_lag_s=settings.placement.credit_lag_s,
        rotate_s=settings.market.rotate_s,
    )


def patience_of(settings: Config) -> Patience:
    return Patience(
        publish_s=settings.store.publish_s,
        commit_wait_s=settings.store.commit_wait_s,
        commit_rows=settings.store.commit_rows,
        renew_s=settings.exchange.listen_key_renew_s,
    )
