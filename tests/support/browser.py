"""A headless Chromium, driven over the two pipes of its DevTools protocol: JSON, a zero byte behind each message."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-pipe",
)
#: The protocol's pipes are file descriptors 3 and 4 of the browser, whatever numbers they have here.
_START = """
import fcntl, os, sys
down, up = (fcntl.fcntl(int(each), fcntl.F_DUPFD, 10) for each in sys.argv[1:3])
os.dup2(down, 3), os.dup2(up, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_TIMEOUT = 60.0


class Browser:
    """A browser with one tab; a context manager.

    Attributes:
        requests: URLs that the page asked for, its own first.
        complaints: what the page's console had to say: errors, warnings, violations of its policy.
    """

    def __init__(self, profile: Path) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._buffer, self._number, self._session = b"", 0, ""
        down, self._write = os.pipe()
        self._read, up = os.pipe()
        assert CHROMIUM is not None
        command = [sys.executable, "-c", _START, str(down), str(up), CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            [*command, "about:blank"], pass_fds=(down, up), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(down)
        os.close(up)
        os.set_blocking(self._read, False)

    def __enter__(self) -> Browser:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)  # which ends it
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def look(self, page: Path, width: int, height: int = 800, scheme: str = "light", media: str = "screen") -> None:
        """Opens a page in a window of so many CSS pixels, in the colour scheme "light" or "dark"."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", media=media, features=features)
        answer = self._call("Page.navigate", url=page.as_uri())
        assert "errorText" not in answer, answer
        self._await(lambda message: message.get("method") == "Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def picture(self, path: Path) -> None:
        """Writes a .png of the whole page."""
        answer = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        os.write(
            self._write, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        answer = self._await(lambda message: message.get("id") == number)
        assert "error" not in answer, answer
        return answer["result"]

    def _await(self, wanted: Any) -> Any:
        """The first message that is wanted; those before it are noted."""
        until = time.monotonic() + _TIMEOUT
        while time.monotonic() < until:
            text, zero, rest = self._buffer.partition(b"\0")
            if not zero:
                self._receive()
                continue
            self._buffer = rest
            message = json.loads(text)
            self._note(message)
            if wanted(message):
                return message
        raise TimeoutError(f"no answer from the browser in {_TIMEOUT} s")

    def _receive(self) -> None:
        try:
            data = os.read(self._read, 1 << 20)
        except BlockingIOError:
            time.sleep(0.01)
            return
        assert data, f"the browser has ended with {self._process.poll()}"
        self._buffer += data

    def _note(self, message: dict[str, Any]) -> None:
        method, given = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(given["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(given["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(json.dumps(given["args"]))
        elif method == "Log.entryAdded":
            self.complaints.append(given["entry"]["text"])
