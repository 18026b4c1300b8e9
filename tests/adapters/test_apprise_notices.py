"""The ways to people: a real receiver on the loopback, real threads, and no part of a URL in any word."""

from __future__ import annotations

import json
import logging

import pytest
import trio

from actors.adapters.notices import AppriseNotices, target_name, understood
from actors.adapters.paper_http import converse
from actors.domain.trading import PAUSE_REASONS
from actors.errors import NotTold
from actors.notices import Target
from actors.paper.api import Request, Response
from tests.actors.test_notifier import NOON, Scene


class Receiver:
    """An HTTP server that keeps what it was sent; status: what it answers; slow_s: after so long."""

    def __init__(self) -> None:
        self.bodies: list[dict] = []
        self.status, self.slow_s = 200, 0.0
        self.port = 0

    async def answer(self, request: Request) -> Response:
        await trio.sleep(self.slow_s)
        self.bodies.append(json.loads(request.body))
        return Response(status=self.status)

    async def serve(self, *, task_status=trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(lambda stream: converse(stream, self.answer, lambda: 0), listeners)

    def url(self, path: str = "s3cr3t-path") -> str:
        return f"json://us3r:p4ssw0rd@127.0.0.1:{self.port}/{path}?+X-Token=t0k3n-value"


@pytest.fixture
async def receiver(nursery):
    made = Receiver()
    await nursery.start(made.serve)
    return made


def ways(url: str) -> tuple[AppriseNotices, str]:
    return AppriseNotices({target_name(url): url}), target_name(url)


async def test_a_message_arrives(receiver):
    notices, name = ways(receiver.url())
    await notices.send(name, "otod: PAUSED", "alice & <bob>: 5 > 4")
    assert [(body["title"], body["message"]) for body in receiver.bodies] == [("otod: PAUSED", "alice & <bob>: 5 > 4")]


@pytest.mark.parametrize("status", [403, 500])
async def test_a_service_that_refuses_is_told_without_its_url(receiver, status, caplog):
    receiver.status = status
    url = receiver.url()
    notices, name = ways(url)
    with caplog.at_level(logging.DEBUG), pytest.raises(NotTold) as raised:
        await notices.send(name, "t", "x")
    assert str(status) in str(raised.value)
    for secret in ("s3cr3t", "us3r", "p4ssw0rd", "t0k3n", "127.0.0.1"):
        assert secret not in f"{raised.value!s} {caplog.text} {notices!r}"


async def test_nobody_there_is_told_without_its_url(caplog):
    notices, name = ways("json://127.0.0.1:9/s3cr3t-path")
    with pytest.raises(NotTold) as raised:
        await notices.send(name, "t", "x")
    assert "s3cr3t" not in f"{raised.value} {caplog.text}"


async def test_the_loop_goes_on_while_a_service_is_slow_and_giving_up_is_prompt(receiver):
    receiver.slow_s = 3.0
    notices, name = ways(receiver.url())
    turns = 0
    with trio.move_on_after(0.5) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(notices.send, name, "t", "x")
            while True:
                await trio.sleep(0.01)
                turns += 1
    assert scope.cancelled_caught
    assert turns > 10
    receiver.slow_s = 0.0


async def test_each_reason_reaches_a_receiver_within_ten_seconds(receiver, nursery):
    """The real notifier, library, thread and socket on real time; what leads to each pause is others' test."""
    url = receiver.url()
    scene = Scene(nursery, Target(target_name(url)), epoch_ms=NOON)
    scene.phones = AppriseNotices({target_name(url): url})
    await scene.start()
    began_s = trio.current_time()
    for number, reason in enumerate(PAUSE_REASONS):
        scene.pause(f"user{number}", reason, "because")
    with trio.fail_after(10):
        while not receiver.bodies:  # noqa: ASYNC110  a thread sends
            await trio.sleep(0.05)
    assert trio.current_time() - began_s < 10
    (body,) = receiver.bodies
    for number, reason in enumerate(PAUSE_REASONS):
        assert f"PAUSED user{number}: {reason}: because" in body["message"]
    await scene.kill()


def test_names_hold_no_secret_and_stay_the_same():
    url = "tgram://123456789:abcdefg_hijklmnop/12349876"
    assert target_name(url) == target_name(url)
    assert target_name(url).startswith("tgram-")
    assert target_name(url) != target_name(url + "7")
    assert len(target_name(url)) == len("tgram-") + 8


@pytest.mark.parametrize(
    ("url", "sound"),
    [
        ("tgram://123456789:abcdefg_hijklmnop/12349876", True),
        ("feishu://token123456/", True),
        ("lark://tok-en-123456", True),
        ("dingtalk://secret@ABCDEF1234567890/", True),
        ("barks://host/devicekey", True),
        ("ntfys://ntfy.example/topic", True),
        ("mailtos://user:pass@smtp.example.com?to=a@example.com", True),
        ("jsons://host/path", True),
        ("tgram://x", False),
        ("nonsense://host", False),
    ],
)
def test_the_services_of_the_readme_are_understood(url, sound, caplog):
    assert understood(url) is sound
    assert caplog.text == ""
