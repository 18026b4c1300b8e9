"""What pynng 0.9 and nng 1.11 do, where control leans on it (probes § 1). Real sockets, real time, no virtual clock."""

from __future__ import annotations

import os
import resource
import stat

import pynng
import pytest
import trio

from tests.control import raw


@pytest.fixture
def url(tmp_path):
    return f"ipc://{tmp_path}/s"


async def test_permissions_set_before_listening_are_the_files(url, tmp_path):
    with pynng.Rep0() as rep:
        pynng.options._setopt_int(rep, "ipc:permissions", 0o660)
        rep.listen(url)
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o660
    assert not (tmp_path / "s").exists()  # a clean close unlinks it


async def test_the_kernel_tells_who_is_on_the_other_end(url):
    with pynng.Rep0(listen=url) as rep, rep.new_context() as context, pynng.Req0(dial=url, block_on_dial=True) as req:
        await req.asend(b"?")
        message = await context.arecv_msg()
        told = {}
        for option in (b"ipc:peer-uid", b"ipc:peer-pid"):
            value = pynng.ffi.new("uint64_t *")
            assert pynng.lib.nng_pipe_get_uint64(message.pipe.pipe, option, value) == 0
            told[option] = value[0]
        assert told == {b"ipc:peer-uid": os.getuid(), b"ipc:peer-pid": os.getpid()}


async def test_nothing_bounds_a_message_unless_we_do(url):
    with pynng.Rep0() as rep:
        assert rep.recv_max_size == 0


async def test_a_message_beyond_the_bound_ends_the_connection_not_the_socket(url):
    with pynng.Rep0(listen=url, recv_max_size=1000) as rep, rep.new_context() as context:
        with pynng.Req0(dial=url, block_on_dial=True, recv_timeout=2000) as req:
            pynng.check_err(pynng.lib.nng_socket_set_ms(req.socket, b"req:resend-time", -1))
            await req.asend(b"x" * 2000)
            with pytest.raises(pynng.ConnectionReset):
                await req.arecv()
        with pynng.Req0(dial=url, block_on_dial=True) as req:
            await req.asend(b"small")
            assert (await context.arecv_msg()).bytes == b"small"


async def test_a_request_without_resending_ends_with_its_connection(url):
    with pynng.Req0(recv_timeout=5000) as req:
        pynng.check_err(pynng.lib.nng_socket_set_ms(req.socket, b"req:resend-time", -1))
        with pynng.Rep0(listen=url) as rep, rep.new_context() as context:
            req.dial(url, block=True)
            await req.asend(b"?")
            await context.arecv_msg()
        with pytest.raises(pynng.ConnectionReset):
            await req.arecv()


async def test_a_request_is_sent_again_by_default(url):
    with (
        pynng.Rep0(listen=url) as rep,
        rep.new_context() as one,
        rep.new_context() as two,
        pynng.Req0(dial=url, block_on_dial=True, resend_time=50) as req,
    ):
        await req.asend(b"?")
        assert (await one.arecv_msg()).bytes == b"?"
        with trio.fail_after(5):
            assert (await two.arecv_msg()).bytes == b"?"


async def test_a_live_listener_is_not_displaced_and_a_stale_file_is(url, tmp_path):
    with pynng.Rep0(listen=url), pynng.Rep0() as other, pytest.raises(pynng.AddressInUse):
        other.listen(url)
    left_over = raw.socket.socket(raw.socket.AF_UNIX)
    left_over.bind(str(tmp_path / "s"))
    left_over.close()
    with pynng.Rep0(listen=url):
        pass


async def test_a_regular_file_of_that_name_is_deleted_without_a_word(url, tmp_path):
    """Why the server looks before it listens."""
    (tmp_path / "s").write_text("precious")
    with pynng.Rep0(listen=url):
        assert not (tmp_path / "s").is_file()


async def test_dialling_nobody_is_refused_at_once(url):
    with pynng.Req0() as req, pytest.raises(pynng.ConnectionRefused):
        req.dial(url, block=True)


async def test_a_cancelled_receive_leaves_the_context_usable(url):
    with pynng.Rep0(listen=url) as rep, rep.new_context() as context, pynng.Req0(dial=url, block_on_dial=True) as req:
        with trio.move_on_after(0.02) as scope:
            await context.arecv_msg()
        assert scope.cancelled_caught
        await req.asend(b"?")
        assert (await context.arecv_msg()).bytes == b"?"
        await context.asend(b"!")
        assert await req.arecv() == b"!"


async def test_publishing_waits_for_nobody(url):
    with pynng.Pub0(listen=url) as pub:
        for _ in range(1000):
            pub.send(b"nobody listens", block=False)
        with raw.connect(url, hello=b"\0SP\0\0\x21\0\0"):  # a subscriber that never reads
            await trio.sleep(0.05)
            assert len(pub.pipes) == 1
            sent = [pub.send(b"x" * 1000, block=False) for _ in range(2000)]
    assert sent == [None] * 2000


async def test_a_send_that_nobody_takes_times_out_and_its_message_can_be_given_back(url):
    """pynng counts a message as taken when the send begins; a failed one would leak (30 x 4 MB here)."""
    with pynng.Rep0(listen=url, send_timeout=10) as rep, rep.new_context() as context, raw.connect(url) as client:
        timeouts = 0
        before_kb = _peak_kb()
        for n in range(30):
            client.sendall(raw.frame(b"?", request=n))
            message = await context.arecv_msg()
            del message
            reply = pynng.Message(b"x" * 4_000_000)
            try:
                await context.asend_msg(reply)
            except pynng.Timeout:
                timeouts += 1
                assert reply._mem_freed
                reply._mem_freed = False
        assert timeouts >= 28
        assert _peak_kb() - before_kb < 60_000


def _peak_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
