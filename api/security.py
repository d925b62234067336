"""What stands between the network and the routes: host, origin, token; and the headers of every answer.

The guard refuses before anything is read: a host name that is not ours (DNS rebinding), an unsafe request that another
site's page sent, and, where a token is set, a request without it. Tokens are compared in constant time, never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import CrossSite, MalformedRequest, TooManyAttempts
from api.headers import add_security_headers
from api.problems import problem_response
from core.errors import BitfrontError, Unauthorized
from core.settings import LOOPBACK, Settings

SESSION_COOKIE = "bitfront_session"
SESSION_S = 7 * 24 * 3600
LOGIN_PAGE = "/ui/login"
_OPEN_PATHS = frozenset({"/health/live", "/health/ready", "/session", LOGIN_PAGE})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_MAX_FAILURES = 10
_WINDOW_S = 60.0
_MAX_ADDRESSES = 10_000


class Gate:
    """Knows the token. `clock` answers seconds since the epoch."""

    def __init__(self, token: str | None, clock: Callable[[], float] = time.time) -> None:
        self._token = token
        self._clock = clock
        self._failures: dict[str, tuple[float, int]] = {}

    def check(self, headers: Headers, cookies: dict[str, str], address: str) -> None:
        """Pass, or raise Unauthorized or TooManyAttempts."""
        if self._token is None or self._valid_session(cookies.get(SESSION_COOKIE, "")):
            return
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("This server needs a token.")
        self.check_token(credentials.strip(), address)

    def check_token(self, candidate: str, address: str) -> None:
        """Compare a token, and count the wrong ones of each address."""
        since, failures = self._failures.get(address, (self._clock(), 0))
        if self._clock() - since > _WINDOW_S:
            since, failures = self._clock(), 0
        if failures >= _MAX_FAILURES:
            raise TooManyAttempts(f"{failures} wrong tokens came from this address within a minute.")
        if self._token is None or _equal(candidate, self._token):
            self._failures.pop(address, None)
            return
        if len(self._failures) >= _MAX_ADDRESSES:
            self._failures.clear()
        self._failures[address] = (since, failures + 1)
        raise Unauthorized("The token is wrong.")

    def new_session(self) -> str:
        """A cookie value that stands for the token for a week, without containing it."""
        return self._signed(str(int(self._clock()) + SESSION_S))

    def _valid_session(self, value: str) -> bool:
        expiry = value.partition(".")[0]
        if not expiry.isdecimal() or len(expiry) > 12:
            return False
        return _equal(value, self._signed(expiry)) and int(expiry) > self._clock()

    def _signed(self, expiry: str) -> str:
        key = (self._token or "").encode()
        return f"{expiry}.{hmac.new(key, b'bitfront session ' + expiry.encode(), hashlib.sha256).hexdigest()}"


def _equal(left: str, right: str) -> bool:
    """Compare in a time that depends on neither, not even on their lengths."""
    return hmac.compare_digest(hashlib.sha256(left.encode()).digest(), hashlib.sha256(right.encode()).digest())


def check_host(headers: Headers, settings: Settings) -> None:
    """On loopback only loopback's names are ours; elsewhere the token guards."""
    if settings.host not in LOOPBACK:
        return
    if _host_name(headers.get("host", "")) not in LOOPBACK:
        raise MalformedRequest(
            "The Host header names another server.", hint=f"Open http://{settings.host}:{settings.port}/ instead."
        )


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # "[" and the like
        return None


def check_same_origin(method: str, headers: Headers) -> None:
    """Refuse an unsafe request that a page of another origin sent.

    Browsers say so in Sec-Fetch-Site; older ones, and those on plain HTTP, only send Origin, which then must be ours.
    """
    if method in _SAFE_METHODS:
        return
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise CrossSite("A page of another site sent this request.")
    elif origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise CrossSite("The Origin of this request is another site.")


class Guard:
    """ASGI middleware that applies the checks above and sets the headers of every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, gate: Gate) -> None:
        self.app = app
        self.settings = settings
        self.gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))
        await (refusal or self.app)(scope, receive, _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        try:
            check_host(request.headers, self.settings)
            check_same_origin(request.method, request.headers)
            if not _is_open(request.url.path):
                self.gate.check(request.headers, request.cookies, client_address(request))
        except Unauthorized as error:
            return _to_login(request) or problem_response(error)
        except (BitfrontError, ValueError) as error:  # ValueError: a Host or Origin that is no address at all
            return problem_response(
                error if isinstance(error, BitfrontError) else MalformedRequest("Unreadable address.")
            )
        return None


def client_address(request: Request) -> str:
    """The peer's address, which attempts are counted by."""
    return request.client.host if request.client else ""


def _is_open(path: str) -> bool:
    return path in _OPEN_PATHS or path.startswith("/static/")


def _to_login(request: Request) -> Response | None:
    """A person who opens a page is led to the login; programs get the problem document."""
    page = request.url.path == "/" or request.url.path.startswith("/ui")
    if request.method != "GET" or not page:
        return None
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{LOGIN_PAGE}?next={quote(wanted, safe='')}", 303)


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            add_security_headers(MutableHeaders(scope=message))
        await send(message)

    return send_with_headers
