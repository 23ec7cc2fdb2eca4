"""Where a model comes from: a web server that may serve ranges, or a stream that can be read once."""

from __future__ import annotations

import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit, urlunsplit

from nq_tflite.errors import DeliveryError, reason_of
from nq_tflite.version import __version__

CHUNK_BYTES = 1 << 16
_LOCAL_FILE = "For a local file, pass open(path, 'rb'), or in a shell: nq-tflite receive - OUTPUT < FILE."

#: Answers after which the same request may well succeed.
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_RANGE_NOT_SATISFIABLE = 416
_PARTIAL_CONTENT = 206
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class InterruptionError(DeliveryError):
    """The transfer broke off; trying again may help."""


class SourceChangedError(DeliveryError):
    """The source is another file than the one begun, or cannot say that it is the same."""


@dataclass(frozen=True)
class Body:
    """Bytes of a source, from some position on.

    Attributes:
        start: the position in the file of the first byte that `read` gives.
        length: of the whole file, if the source tells.
        validator: what tells this version of the source from others, if it has such: an ETag, or a date.
        read: at most so many bytes as soon as there are some; b"" at the end.
    """

    start: int
    length: int | None
    validator: str | None
    read: Callable[[int], bytes]


class Origin(Protocol):
    """A source of one model.

    Attributes:
        name: what tells it from others, None if it cannot be opened again.
    """

    @property
    def name(self) -> str | None: ...

    def open(self, position: int, validator: str | None) -> AbstractContextManager[Body]:
        """Gives a `Body` from `position` or from 0.

        `validator` is of the version whose bytes before `position` are there already.
        """


class HttpOrigin:
    """A URL. Its name leaves out query and fragment: they may hold secrets, and be new for each request."""

    def __init__(self, url: str, headers: Mapping[str, str], timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii():
            raise DeliveryError(
                "source",
                expected="an http or https URL, or a binary stream",
                got=repr(url),
                fix=_LOCAL_FILE,
            )
        if parts.username is not None:
            raise DeliveryError(
                "source",
                expected="a URL without user and password",
                got="both",
                fix="Pass headers={'Authorization': ...}.",
            )
        self._url, self._headers, self._timeout = url, headers, timeout
        self.name: str | None = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))

    @contextmanager
    def open(self, position: int, validator: str | None) -> Iterator[Body]:
        """Asks for what follows `position`, on condition that the file is still the same."""
        fixed = {"Accept-Encoding": "identity", "User-Agent": f"nq-tflite/{__version__}"}
        request = urllib.request.Request(self._url, headers=fixed)
        if position:
            request.add_header("Range", f"bytes={position}-")
            if validator:
                request.add_header("If-Range", validator)
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)  # a token is not for other hosts
        try:
            response = urllib.request.urlopen(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error, position) from error
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from error
        with response:
            yield self._body(response, position)

    def _body(self, response: Any, position: int) -> Body:
        headers, length, start = response.headers, response.headers.get("Content-Length"), 0
        if (encoding := headers.get("Content-Encoding", "identity")) != "identity":
            raise DeliveryError(
                str(self.name),
                expected="no encoding",
                got=f"Content-Encoding {encoding}",
                fix="Serve the file as it is.",
            )
        if response.status == _PARTIAL_CONTENT:
            found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
            if found is None or int(found[1]) != position:
                got = f"Content-Range {headers.get('Content-Range')!r}"
                raise SourceChangedError(str(self.name), expected=f"bytes from {position} on", got=got)
            start, length = position, None if found[2] == "*" else found[2]

        def read(limit: int) -> bytes:
            try:
                return bytes(response.read1(min(limit, CHUNK_BYTES)))
            except (OSError, http.client.HTTPException) as error:
                raise self._failure(error) from error

        return Body(start, int(length) if length and length.isdigit() else None, _validator(headers), read)

    def _refusal(self, error: urllib.error.HTTPError, position: int) -> DeliveryError:
        if error.code == _RANGE_NOT_SATISFIABLE and position:
            return SourceChangedError(
                str(self.name), expected=f"a file longer than {position} bytes", got="a shorter one"
            )
        kind = InterruptionError if error.code in _PASSING else DeliveryError
        return kind(
            str(self.name), expected="the model", got=f"HTTP status {error.code} {error.reason}", fix="Check the URL."
        )

    def _failure(self, error: Exception) -> DeliveryError:
        reason = getattr(error, "reason", None) or error
        kind = DeliveryError if isinstance(reason, ssl.SSLCertVerificationError) else InterruptionError
        got = (reason_of(reason) if isinstance(reason, Exception) else str(reason)) or type(reason).__name__
        return kind(str(self.name), expected="a working connection", got=got, fix="Call again: it resumes.")


class StreamOrigin:
    """Anything with a `read` that gives bytes. It starts where it stands and cannot be opened again."""

    name: str | None = None

    def __init__(self, stream: BinaryIO) -> None:
        self._read = getattr(stream, "read1", None) or getattr(stream, "read", None)
        if not callable(self._read):
            raise DeliveryError(
                "source",
                expected="an http or https URL, or a binary stream",
                got=f"a {type(stream).__name__}",
                fix=_LOCAL_FILE,
            )

    @contextmanager
    def open(self, position: int, validator: str | None) -> Iterator[Body]:
        """The stream from where it stands."""
        yield Body(0, None, None, self._read_some)

    def _read_some(self, limit: int) -> bytes:
        try:
            data = self._read(min(limit, CHUNK_BYTES))  # type: ignore[misc]
        except OSError as error:
            raise InterruptionError("stream", expected="bytes", got=str(error)) from error
        if not isinstance(data, bytes | bytearray):
            raise DeliveryError(
                "stream", expected="bytes", got=type(data).__name__, fix="Open it in binary, blocking mode."
            )
        return bytes(data)


def _validator(headers: Mapping[str, str]) -> str | None:
    """A weak ETag does not promise the same bytes, so RFC 9110 bars it from If-Range."""
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
