"""A web server on this machine that sends a file no faster than a given bandwidth."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Pieces a second; at small bandwidths a piece is still a packet.
PIECES_A_SECOND = 200
LEAST_PIECE_BYTES = 1400


@contextmanager
def throttled_server(content: bytes, megabits: float) -> Iterator[str]:
    """Serves the content at every path; gives the URL.

    Args:
      content: the file.
      megabits: a second, of each connection.

    Example:
      with throttled_server(b"model", 8) as url:
          urllib.request.urlopen(url).read()
    """
    with _Server(content, megabits * 1e6 / 8) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/model.tflite"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, content: bytes, bytes_a_second: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.bytes_a_second = content, bytes_a_second


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        content, rate = self.server.content, self.server.bytes_a_second
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        piece, started = max(LEAST_PIECE_BYTES, int(rate / PIECES_A_SECOND)), time.monotonic()
        for start in range(0, len(content), piece):
            data = content[start : start + piece]
            # A piece has arrived when the link has had the time for all of it.
            time.sleep(max(0.0, started + (start + len(data)) / rate - time.monotonic()))
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing on stderr."""
