"""The exchange's front door: who asks, which call it is, and what goes wrong on the way in or out.

A fault may strike before the request is looked at (nothing happened), or spoil the reply of a request that took effect.
"""

from __future__ import annotations

import random
from collections import deque
from email.utils import formatdate
from typing import Any

import msgspec

from actors.paper.accounts import NAME, Account
from actors.paper.api import Request, Response
from actors.paper.faults import Fault, Faults
from actors.paper.journal import Late
from actors.paper.private import PLACEMENTS, Private
from actors.paper.public import Public
from actors.paper.replies import LOGIN_EXPIRED, VERIFICATION, Refused, refusal, success
from actors.paper.rules import Rules
from actors.paper.state import State
from actors.paper.timetable import Timetable

COOKIE = "paper_account"
PAGE = b"<!DOCTYPE html><html><head><title>Attention Required</title></head><body>Please verify.</body></html>"
JSON = "application/json;charset=UTF-8"
HTML = "text/html; charset=utf-8"
ERROR_STATUS = 502  # of http_error, unless the fault has one


class Pace:
    """How many requests came in the last second, and in the busiest one."""

    def __init__(self) -> None:
        self.most = 0
        self._times: deque[int] = deque()

    def count(self, now_ms: int) -> int:
        times = self._times
        times.append(now_ms)
        while times[0] <= now_ms - 1_000:
            times.popleft()
        self.most = max(self.most, len(times))
        return len(times)


class Front:
    def __init__(
        self,
        state: State,
        rules: Rules,
        faults: Faults,
        rng: random.Random,
        timetable: Timetable,
        public: Public,
        private: Private,
    ) -> None:
        self._state = state
        self._rules = rules
        self._faults = faults
        self._rng = rng
        self._timetable = timetable
        self._paces: dict[str, Pace] = {}
        self._public = public
        self._private = private

    def answer(self, request: Request, now_ms: int) -> Response:
        name = request.cookies.get(COOKIE)
        pace = self._paces.setdefault(name if name and NAME.fullmatch(name) else "", Pace())
        limit = self._rules.requests_per_s_most
        if pace.count(now_ms) > limit > 0:
            return self._http_error(Fault(kind="http_error", status=429, retry_after=1), now_ms, 0)
        occasion = {"account": name, "path": request.path}
        delay_ms = self._rng.randint(*self._rules.reply_ms)
        if broken := self._broken(occasion, takes_effect=False, now_ms=now_ms, delay_ms=delay_ms):
            return broken
        placement = request.path.endswith(PLACEMENTS)
        if placement and (fault := self._faults.strike("late_acceptance", account=name, path=request.path)):
            return self._accept_later(request, fault, now_ms, delay_ms)
        if fault := self._faults.strike("late_reply", account=name, path=request.path):
            delay_ms += fault.ms
            if not fault.takes_effect:
                return Response(lost=True, delay_ms=delay_ms)
        status, body = self._perform(request, now_ms)
        if broken := self._broken(occasion, takes_effect=True, now_ms=now_ms, delay_ms=delay_ms):
            return broken
        if fault := self._faults.strike("edit_body", account=name, path=request.path):
            body = edited(body, fault)
        if self._faults.strike("truncated_body", account=name, path=request.path):
            body = body[: len(body) // 2]
        return self._response(status, body, now_ms, delay_ms)

    def most_per_s(self, name: str) -> int:
        """The most requests of an account in any second; "" stands for those without an account."""
        pace = self._paces.get(name)
        return pace.most if pace else 0

    def account(self, name: str, now_ms: int) -> Account:
        """The account of this name; one that is seen for the first time is opened with its start balance."""
        account = self._state.accounts.get(name)
        if account is None:
            account = Account(name, now_ms)
            self._state.add_account(account)
            if self._rules.start_balance > 0:
                account.credit("funding", "USDT", self._rules.start_balance)
                self._state.book("deposited", "USDT", self._rules.start_balance)
        return account

    def restore(self) -> None:
        """After a restart: placements that were to take effect later still do."""
        for late in list(self._state.late.values()):
            self._timetable.at(late.due_ms, lambda at_ms, late=late: self._perform_late(late, at_ms))  # type: ignore[misc]

    # -- inside

    def _perform(self, request: Request, now_ms: int) -> tuple[int, bytes]:
        key = (request.method, request.path)
        try:
            if call := self._public.calls.get(key):
                return 200, success(call(request, now_ms))
            private = self._private.calls.get(key)
            if private is None:
                return 404, refusal("404", f"no such call: {request.method} {request.path}")
            name = request.cookies.get(COOKIE, "")
            if not NAME.fullmatch(name):
                return self._rules.login_status, refusal(LOGIN_EXPIRED, "")
            return 200, success(private(self.account(name, now_ms), request, now_ms))
        except Refused as no:
            return self._rules.refusal_status, refusal(no.code, no.message)

    def _broken(self, occasion: dict[str, Any], *, takes_effect: bool, now_ms: int, delay_ms: int) -> Response | None:
        """A reply that a fault makes in the place of the real one."""
        strike = self._faults.strike
        if not takes_effect:
            if strike("login_expired", **occasion):
                return self._response(self._rules.login_status, refusal(LOGIN_EXPIRED, ""), now_ms, delay_ms)
            if strike("verification", **occasion):
                headers = (("risk_challenge_biz_no", "paper"), ("risk_challenge_enable_flow", "true"))
                body = refusal(VERIFICATION, "step flows have not finish")
                return self._response(200, body, now_ms, delay_ms, headers)
        if fault := strike("error_code", takes_effect=takes_effect, **occasion):
            body = refusal(fault.code, fault.message)
            return self._response(fault.status or 200, body, now_ms, delay_ms + fault.ms)
        if fault := strike("http_error", takes_effect=takes_effect, **occasion):
            return self._http_error(fault, now_ms, delay_ms)
        if fault := strike("html_body", takes_effect=takes_effect, **occasion):
            return self._response(fault.status or 200, PAGE, now_ms, delay_ms + fault.ms, content_type=HTML)
        if fault := strike("lost_reply", takes_effect=takes_effect, **occasion):
            return Response(lost=True, delay_ms=delay_ms + fault.ms)
        return None

    def _http_error(self, fault: Fault, now_ms: int, delay_ms: int) -> Response:
        headers = () if fault.retry_after is None else (("Retry-After", str(fault.retry_after)),)
        status = fault.status or ERROR_STATUS
        body, kind = (PAGE, HTML) if status == 403 else (b"", JSON)
        return self._response(status, body, now_ms, delay_ms + fault.ms, headers, content_type=kind)

    def _accept_later(self, request: Request, fault: Fault, now_ms: int, delay_ms: int) -> Response:
        name = request.cookies.get(COOKIE, "")
        if NAME.fullmatch(name):
            late = Late(
                number=self._state.ids.take("deferred"),
                account=name,
                path=request.path,
                body=request.body.decode(errors="replace"),
                due_ms=now_ms + fault.ms,
            )
            self._state.add_late(late)
            self._timetable.at(late.due_ms, lambda at_ms: self._perform_late(late, at_ms))
        if fault.status:
            return self._http_error(fault, now_ms, delay_ms)
        return Response(lost=True, delay_ms=delay_ms)

    def _perform_late(self, late: Late, now_ms: int) -> None:
        """What comes of it nobody is told but by stream and reads; a refusal is told to nobody."""
        self._state.finish(late.number)
        request = Request(
            method="POST",
            path=late.path,
            query={},
            headers={},
            cookies={COOKIE: late.account},
            body=late.body.encode(),
        )
        self._perform(request, now_ms)

    def _response(
        self,
        status: int,
        body: bytes,
        now_ms: int,
        delay_ms: int,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        content_type: str = JSON,
    ) -> Response:
        """Date is the exchange's clock: clients have no other to compare theirs with (wire § 3)."""
        skew = self._faults.strike("clock_skew")
        date = formatdate((now_ms + (skew.ms if skew else 0)) // 1000, usegmt=True)
        return Response(
            status=status,
            headers=(("Content-Type", content_type), ("Date", date), *headers),
            body=body,
            delay_ms=delay_ms,
        )


def edited(body: bytes, fault: Fault) -> bytes:
    """A reply whose data lacks keys or has other values: the protocol changed (reliability F43)."""
    document = msgspec.json.decode(body)
    data = document.get("data")
    for row in data if isinstance(data, list) else [data]:
        if isinstance(row, dict):
            row.update(fault.set)
            for name in fault.remove:
                row.pop(name, None)
    return msgspec.json.encode(document)
