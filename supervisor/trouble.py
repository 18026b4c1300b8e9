"""What goes wrong in `otod simulate --faults normal|harsh`: switches of the paper exchange, and a network that tears.

Only what ends by itself: an expired login or an extra verification would stop everybody until somebody acts, and tell
nothing of what a configuration costs. normal is a bad hour of a real exchange all day long, harsh is ten of them.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct
from msgspec.structs import replace

from actors.adapters.sim_net import Calm, Side, Wire
from actors.paper.faults import Fault, Faults

PLACE, CANCEL = "order/place", "order/cancel"
USER, BOTH = "alpha@", "@"


class Trouble(Struct, frozen=True, kw_only=True):
    """faults: kinds of occasions with their shares. refused: share of dials. torn: share of sends that break."""

    faults: tuple[Fault, ...] = ()
    refused: float = 0.0
    torn: float = 0.0

    def switches(self, rng: Random) -> Faults:
        """A set of its own: switches are used up."""
        return Faults(*(replace(one) for one in self.faults), rng=rng)


def _bad(times: float) -> Trouble:
    return Trouble(
        faults=(
            Fault(kind="lost_reply", path=PLACE, share=0.002 * times),
            Fault(kind="late_reply", seconds=12, share=0.001 * times),
            Fault(kind="http_error", status=502, share=0.002 * times),
            Fault(kind="http_error", status=429, retry_after=5, share=0.0005 * times),
            Fault(kind="late_acceptance", path=PLACE, seconds=3, share=0.001 * times),
            Fault(kind="error_code", path=CANCEL, share=0.005 * times),
            Fault(kind="read_lag", seconds=2, share=0.05 * times),
            Fault(kind="non_atomic", seconds=1, share=0.02 * times),
            Fault(kind="drop_frame", stream=USER, share=0.002 * times),
            Fault(kind="duplicate_frame", stream=USER, share=0.01 * times),
            Fault(kind="delay_frame", stream=USER, seconds=2, share=0.01 * times),
            Fault(kind="disconnect", stream=USER, share=0.001 * times),
            Fault(kind="disconnect", stream=BOTH, share=0.00001 * times),
            Fault(kind="partial_fill", seconds=3, share=0.03 * times),
            Fault(kind="refuse_release", share=0.001 * times),
        ),
        refused=0.01 * times,
        torn=0.00002 * times,  # of a dozen frames a second
    )


TROUBLE: dict[str, Trouble] = {"none": Trouble(), "normal": _bad(1), "harsh": _bad(10)}


class Unsteady(Calm):
    """sim_net.Weather with the network's part of the trouble."""

    def __init__(self, trouble: Trouble, rng: Random, *, delay_s: tuple[float, float]) -> None:
        super().__init__(rng, delay_s=delay_s)
        self._trouble = trouble

    def dial(self, port: int, machine: str) -> str | None:
        return "refused" if self._strikes(self._trouble.refused) else None

    def torn(self, wire: Wire, side: Side, size: int) -> int | None:
        return self._rng.randint(0, size) if self._strikes(self._trouble.torn) else None

    def _strikes(self, share: float) -> bool:
        return share > 0 and self._rng.random() < share
