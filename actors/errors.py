"""The error tree: every operating error says what is wrong, where, and what to do.

OtodError
├── ConfigError            a document or option is wrong                      BAD_ARGUMENT
│   └── TokenError         a token is unknown, ambiguous or not tradable      TOKEN_UNKNOWN | TOKEN_AMBIGUOUS | REFUSED
├── Refusal                a command cannot be done now                       the code it carries
├── Unusable               a socket, port or directory is busy or not writable (exit 1)
├── AskFailed              an asked actor gave no answer
│   ├── ActorCrashed       it died with the question in hand                  INTERNAL
│   ├── AskTimeout         it did not answer within the deadline              TIMEOUT
│   └── NotNow             it cannot know now: its own source does not answer REFUSED
├── MailboxFull            a reader was too slow; its incarnation ends
├── ChildExhausted         a child used up its restart budget
├── NotNeeded              raised by an actor before it is ready: nothing to do, do not start me
├── StartFailed            a child could not be started, so what was started before it is stopped again
├── NotReady               a child did not call started() in time
├── NoProgress             a child showed no sign of life in time
├── InjectedCrash          somebody asked for this crash (chaos, tests)
├── IllegalEvent           we sent a machine something at the wrong moment: a bug of ours
├── ExchangeError          a request to the exchange did not succeed
│   ├── NotSent            certainly nothing left this machine
│   ├── NoReply            it may have taken effect
│   ├── ExchangeRefused    a definite no, with the exchange's code
│   └── ExchangeTrouble    an answer that decides nothing (session, throttled, system …)
├── StreamLost             a web socket ended or stopped answering
├── NotTold                a notice did not reach its target
├── ProtocolChanged        a message no longer has the known shape
└── StoreError             records cannot be read or written                  STORE_UNAVAILABLE
    ├── StoreRefused       this row is wrong; others are not affected
    ├── StoreLost          the open database gave up; only opening it again helps
    └── IntegrityError     key, store or identity is wrong: a restart does not help (exit 78)

The text reads `what [where] -> do`; `where` names key, value, file or order id.
"""

from __future__ import annotations

from typing import Literal

Trouble = Literal[
    "not_sent",  # certainly nothing left: refused connect, DNS, connect or pool time-out
    "no_reply",  # may have been processed: time-out or break after the first byte
    "session",  # login expired (100002001, 401)
    "human",  # the exchange asks its owner for an extra verification
    "throttled",  # 429, 418, or a text about frequency
    "blocked",  # 403, an HTML page: a front-end filter
    "clock",  # timestamp outside the window
    "system",  # 5xx, 100001001: outcome unknown
    "unreadable",  # a body that is no envelope
    "unknown_code",  # an error code that the wire sheet does not list
]
"""Why an answer decides nothing; wire § 9."""


class OtodError(Exception):
    """Base of all operating errors. str() gives `what [where] -> do`."""

    code = "INTERNAL"

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        self.what = what
        self.where = where
        self.do = do
        super().__init__(what)

    def __str__(self) -> str:
        where = f" [{self.where}]" if self.where else ""
        do = f" -> {self.do}" if self.do else ""
        return f"{self.what}{where}{do}"


class ConfigError(OtodError):
    code = "BAD_ARGUMENT"


class TokenError(ConfigError):
    def __init__(self, what: str, *, where: str = "", do: str = "", code: str = "TOKEN_UNKNOWN") -> None:
        super().__init__(what, where=where, do=do)
        self.code = code


class Refusal(OtodError):
    """A command that cannot be done now; `code` is one of contract § 3."""

    def __init__(self, what: str, *, code: str = "REFUSED", where: str = "", do: str = "") -> None:
        super().__init__(what, where=where, do=do)
        self.code = code


class Unusable(OtodError):
    code = "REFUSED"


class AskFailed(OtodError):
    pass


class ActorCrashed(AskFailed):
    pass


class AskTimeout(AskFailed):
    code = "TIMEOUT"


class NotNow(AskFailed):
    code = "REFUSED"


class MailboxFull(OtodError):
    pass


class ChildExhausted(OtodError):
    pass


class NotNeeded(OtodError):
    pass


class StartFailed(OtodError):
    pass


class NotReady(OtodError):
    pass


class NoProgress(OtodError):
    pass


class InjectedCrash(OtodError):
    pass


class IllegalEvent(OtodError):
    pass


class ExchangeError(OtodError):
    """A request to the exchange did not succeed.

    trouble: why (see Trouble). retry_after_s: seconds the exchange asked us to wait, None if it did not say.
    """

    trouble: Trouble = "no_reply"
    retry_after_s: float | None = None


class NotSent(ExchangeError):
    trouble: Trouble = "not_sent"


class NoReply(ExchangeError):
    trouble: Trouble = "no_reply"


class ExchangeRefused(ExchangeError):
    def __init__(self, what: str, *, refusal: str, where: str = "", do: str = "") -> None:
        super().__init__(what, where=where, do=do)
        self.refusal = refusal  # the exchange's own code, text: leading zeros matter


class ExchangeTrouble(ExchangeError):
    def __init__(
        self, what: str, *, trouble: Trouble, retry_after_s: float | None = None, where: str = "", do: str = ""
    ) -> None:
        super().__init__(what, where=where, do=do)
        self.trouble = trouble
        self.retry_after_s = retry_after_s


class StreamLost(OtodError):
    """status, retry_after_s: of the HTTP reply, when the opening handshake was refused; else None."""

    status: int | None = None
    retry_after_s: float | None = None


class NotTold(OtodError):
    """The text names no part of the target's URL: it may be a secret."""


class ProtocolChanged(OtodError):
    pass


class StoreError(OtodError):
    code = "STORE_UNAVAILABLE"


class StoreRefused(StoreError):
    code = "REFUSED"


class StoreLost(StoreError):
    pass


class IntegrityError(StoreError):
    pass
