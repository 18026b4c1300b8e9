"""A web hook's receiver: a real HTTP server in a thread of the test that keeps what it is told, and when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from msgspec import Struct

SECRET = "s3cr3t-hook-path"


class Heard(Struct, frozen=True):
    """at_s: time.time(); text: title and message."""

    at_s: float
    text: str


class Receiver:
    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if receiver.status == 200:
                    receiver.heard.append(Heard(time.time(), f"{body['title']}\n{body['message']}"))
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nobody's business."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/{SECRET}"

    def texts(self) -> str:
        return "\n".join(one.text for one in self.heard)

    def when(self, words: str) -> float | None:
        """When these words were heard first."""
        return next((one.at_s for one in self.heard if words in one.text), None)


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()
