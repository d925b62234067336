"""A Bitfront service over HTTP. What it refuses is raised as the error that it is there, with its hint."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from core.errors import BitfrontError, BrokenFile, InvalidInput, Unavailable
from core.settings import Settings

Json = dict[str, Any]
TIMEOUT_S = 60.0
POLL_S = 0.5
_FILENAME = re.compile(r'filename="(\w[\w.+-]*)"')
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}  # noqa: S104 - where a server listens


def default_address(settings: Settings) -> str:
    """Of the service that `bitfront up` starts with the same settings."""
    return f"http://{_EVERYWHERE.get(settings.host, settings.host)}:{settings.port}"


class Client:
    """Calls to one service; close it, or use it in a `with`."""

    def __init__(self, address: str, token: str | None = None) -> None:
        self.address = address.rstrip("/")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            self._http = httpx.Client(base_url=self.address, headers=headers, timeout=TIMEOUT_S)
        except httpx.InvalidURL as error:
            raise InvalidInput(f"{address!r:.200} is no address", hint="for example http://127.0.0.1:8000") from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, **content: Any) -> Json:
        """The answer as JSON."""
        try:
            answer = self._http.request(method, path, **content)
        except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
            raise self._silent(error) from error
        _raise_refused(answer)
        body: Json = answer.json() if answer.content else {}
        return body

    def items(self, path: str) -> Iterator[Json]:
        """Every item of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.call("GET", path, params={"cursor": cursor} if cursor else {})
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def upload(self, path: str, file: Path, fields: Mapping[str, str | None]) -> Json:
        """A file with the fields that are given."""
        given = {name: value for name, value in fields.items() if value is not None}
        with file.open("rb") as content:
            return self.call("POST", path, data=given, files={"file": (file.name, content)}, timeout=None)

    def ready(self, path: str) -> Json:
        """Waits until an upload was inspected. Raises what was wrong with it."""
        while True:
            found = self.call("GET", path)
            if found["state"] == "rejected":
                raise _error(found.get("problem") or {}, 422)
            if found["state"] == "ready":
                return found
            time.sleep(POLL_S)

    def filename(self, path: str) -> str:
        """What a download is called, as a name without folders."""
        try:
            answer = self._http.head(path)
        except httpx.TransportError as error:
            raise self._silent(error) from error
        if answer.is_error:  # which says nothing: asked again, it says why
            self.call("GET", path)
        found = _FILENAME.search(answer.headers.get("content-disposition", ""))
        return found.group(1) if found else "download"

    def download(self, path: str, target: Path) -> None:
        """Writes a file, whole or not at all; its bytes must have the SHA-256 that the service names."""
        partial, digest = target.with_name(f".{target.name}.part"), hashlib.sha256()
        try:
            with self._http.stream("GET", path) as answer, partial.open("wb") as file:
                if answer.is_error:
                    answer.read()
                _raise_refused(answer)
                for chunk in answer.iter_bytes():
                    file.write(chunk)
                    digest.update(chunk)
            if answer.headers.get("etag", "").strip('"') != digest.hexdigest():
                raise BrokenFile(f"{target.name} did not arrive as it was sent", hint="fetch it again")
            partial.replace(target)
        except httpx.TransportError as error:
            raise self._silent(error) from error
        finally:
            partial.unlink(missing_ok=True)

    def _silent(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"no Bitfront answers at {self.address}: {error}",
            hint="start it with `bitfront up`, or name it by --server",
        )


def connect(server: str | None) -> Client:
    """To that address, or to the service of this machine; with the token of the settings."""
    settings = Settings()
    token = None if settings.token is None else settings.token.get_secret_value()
    return Client(server or default_address(settings), token)


def _raise_refused(answer: httpx.Response) -> None:
    if not answer.is_error:
        return
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    raise _error(problem if isinstance(problem, dict) else {}, answer.status_code)


def _error(problem: Json, status: int) -> BitfrontError:
    """The error of that code; of its status where the code is not known here."""
    known = {kind.code: kind for kind in _kinds(BitfrontError)}
    otherwise = InvalidInput if status < httpx.codes.INTERNAL_SERVER_ERROR else Unavailable
    kind = known.get(problem.get("code", ""), otherwise)
    error = kind(problem.get("detail") or f"the service answered {status}", hint=problem.get("hint") or "")
    error.detail = problem.get("facts") or {}
    return error


def _kinds(base: type[BitfrontError]) -> Iterator[type[BitfrontError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)
