"""A real HTTP server on this machine that serves one file, with ranges or without, and fails as it is told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PIECE_BYTES = 4096


class ModelServer(ThreadingHTTPServer):
    """Serves `content` at every path, but for /release, which sets `released`.

    Attributes:
        content, etag, modified: the file, its ETag and its date; None for no such header.
        ranges: whether it serves ranges.
        tells_length: whether it sends Content-Length.
        cuts: positions in the file at which connections break off, one for each connection in turn.
        answers: status codes to refuse with, one for each connection in turn.
        at: what to call before the byte at a position is sent, in any connection.
        pause: seconds between pieces of PIECE_BYTES.
        requests: Range headers in order, None where there was none.
        sent: bytes of the file, in all.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.etag: str | None = '"1"'
        self.modified: str | None = None
        self.ranges = self.tells_length = True
        self.cuts: list[int] = []
        self.answers: list[int] = []
        self.at: dict[int, Callable[[], Any]] = {}
        self.pause = 0.0
        self.requests: list[str | None] = []
        self.sent = 0
        self.released = threading.Event()

    @property
    def url(self) -> str:
        """Of the file."""
        return f"http://127.0.0.1:{self.server_port}/model.tflite"

    def wait_for_release(self) -> None:
        """Until somebody asks for /release."""
        assert self.released.wait(60)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: ModelServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/release":
            self.server.released.set()
            self.send_response(204)
            self.end_headers()
            return
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append(wanted)
        self.close_connection = True
        if server.answers and (status := server.answers.pop(0)):
            self.send_error(status)
            return
        start = self._start(wanted)
        if start is None:
            self.send_error(416)
            return
        self._head(start, is_partial=start > 0)
        self._send(start, server.cuts.pop(0) if server.cuts else len(server.content))

    def _start(self, wanted: str | None) -> int | None:
        server, condition = self.server, self.headers.get("If-Range")
        if not wanted or not server.ranges or (condition and condition not in (server.etag, server.modified)):
            return 0
        match = re.fullmatch(r"bytes=(\d+)-", wanted)
        assert match
        return int(match[1]) if int(match[1]) < len(server.content) else None

    def _head(self, start: int, *, is_partial: bool) -> None:
        server, size = self.server, len(self.server.content)
        self.send_response(206 if is_partial else 200)
        if is_partial:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if server.tells_length:
            self.send_header("Content-Length", str(size - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.modified:
            self.send_header("Last-Modified", server.modified)
        self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, start: int, end: int) -> None:
        server, position = self.server, start
        edges = sorted({*range(start, end, PIECE_BYTES), *(p for p in server.at if start <= p < end), end} - {start})
        for edge in edges:
            if position in server.at:
                server.at[position]()
            server.sent += edge - position  # before the client can have them
            self.wfile.write(server.content[position:edge])
            position = edge
            if server.pause:
                time.sleep(server.pause)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on stderr."""


@contextmanager
def serving(content: bytes) -> Iterator[ModelServer]:
    """A running server."""
    with ModelServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
