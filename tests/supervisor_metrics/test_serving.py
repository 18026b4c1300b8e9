"""The child `metrics`: over a real loopback socket, and in a file that nobody ever sees half written."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
import trio.testing

from actors.adapters.files import AtomicFile
from actors.errors import Refusal
from actors.ports import Stop
from supervisor.config import Metrics
from supervisor.metrics import serving
from supervisor.metrics.render import CONTENT_TYPE
from tests.control.daemon import TEN_MS, QuietLog


async def figures() -> str:
    await trio.lowlevel.checkpoint()
    return "otod_users 3\n"


class Inbox:
    """Nobody says anything before `stop`."""

    def __init__(self) -> None:
        self.waits = False
        self.stop = trio.Event()

    async def take(self) -> Stop:
        self.waits = True
        await self.stop.wait()
        return Stop()


async def test_it_waits_for_messages_as_its_sign_of_life_and_ends_when_told(nursery, tmp_path):
    inbox, ended = Inbox(), trio.Event()

    async def live(*, task_status):
        await serving.run(
            inbox, render=figures, now_ms=lambda: TEN_MS, log=QuietLog(), textfile=tmp_path / "x.prom",
            task_status=task_status,
        )  # fmt: skip
        ended.set()

    await nursery.start(live)
    await trio.testing.wait_all_tasks_blocked()
    assert inbox.waits
    inbox.stop.set()
    with trio.fail_after(5):
        await ended.wait()


async def serve(nursery: trio.Nursery, render=figures) -> str:
    listeners = await nursery.start(serving._serve, ("127.0.0.1", 0), render, lambda: TEN_MS)
    return f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/metrics", 200, "otod_users 3\n"),
        ("GET", "/", 404, "see /metrics\n"),
        ("POST", "/metrics", 405, "GET it\n"),
    ],
)
async def test_it_answers(nursery, method, path, status, body):
    base = await serve(nursery)
    async with httpx.AsyncClient(trust_env=False) as client:
        reply = await client.request(method, base + path)
    assert (reply.status_code, reply.text) == (status, body)
    if status == 200:
        assert reply.headers["content-type"] == CONTENT_TYPE


async def test_who_connects_and_says_nothing_holds_up_nobody(nursery):
    base = await serve(nursery)
    async with AsyncExitStack() as stack:
        for _ in range(serving.CONNECTIONS_MAX - 1):
            stream = await trio.open_tcp_stream("127.0.0.1", int(base.rpartition(":")[2]))
            await stack.enter_async_context(stream)
        client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False))
        assert (await client.get(f"{base}/metrics")).status_code == 200


async def test_a_port_that_is_taken_ends_the_incarnation_with_a_word(nursery):
    port = int((await serve(nursery)).rpartition(":")[2])
    with pytest.raises(BaseExceptionGroup) as raised:
        await serving.run(
            Inbox(),
            render=figures, now_ms=lambda: TEN_MS, log=QuietLog(), listen=("127.0.0.1", port),
            task_status=trio.TASK_STATUS_IGNORED,
        )  # fmt: skip
    assert raised.group_contains(Refusal, match="cannot listen on 127.0.0.1")


async def test_the_file_is_replaced_whole_and_its_trouble_told_once(nursery, tmp_path):
    directory = tmp_path / "collector"
    log, path = QuietLog(), directory / "otod.prom"
    start = partial(
        serving.run, Inbox(), render=figures, now_ms=lambda: TEN_MS, log=log, textfile=path, textfile_s=0.01
    )  # fmt: skip
    await nursery.start(start)
    with trio.fail_after(10):
        while not log.lines:  # noqa: ASYNC110  another thread writes
            await trio.sleep(0.01)
        await trio.sleep(0.05)
        directory.mkdir()
        while not path.exists():  # noqa: ASYNC110
            await trio.sleep(0.01)
    assert path.read_text() == "otod_users 3\n"
    assert path.stat().st_mode & 0o777 == 0o644
    await trio.sleep(0.05)
    assert [event for _, event, _ in log.lines] == ["textfile_failed", "textfile_written_again"]


async def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path):
    path = tmp_path / "otod.prom"
    file = AtomicFile(path)
    await file.write("first")
    (tmp_path / ".otod.prom.new").unlink(missing_ok=True)
    (tmp_path / ".otod.prom.new").mkdir()
    with pytest.raises(OSError):
        await file.write("second")
    assert path.read_text() == "first"


def test_there_is_none_unless_somebody_wants_one():
    assert serving.body(Metrics(), None) is None
    assert serving.body(Metrics(listen="127.0.0.1:9464"), None) is not None
    assert serving.body(Metrics(textfile="/x/otod.prom"), None) is not None
