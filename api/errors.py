"""Errors that exist only on the wire. They join the one tree in `core.errors`.

BitfrontError
├── MalformedRequest (400)      the request is not one this server can read
├── CrossSite (403)             another site's page sent it
├── MethodNotAllowed (405)
├── RequestTimeout (408)        the rest of the body did not come
├── RangeNotSatisfiable (416)
└── TooManyAttempts (429)       too many wrong tokens
"""

from __future__ import annotations

from core.errors import BitfrontError


class MalformedRequest(BitfrontError):
    """The request cannot be read."""

    code = "malformed-request"
    status = 400


class CrossSite(BitfrontError):
    """The request was sent by a page of another site."""

    code = "cross-site"
    status = 403


class MethodNotAllowed(BitfrontError):
    """This address does not know that method."""

    code = "method-not-allowed"
    status = 405


class RequestTimeout(BitfrontError):
    """The rest of the request did not arrive in time."""

    code = "request-timeout"
    status = 408


class RangeNotSatisfiable(BitfrontError):
    """The file is shorter than the range that was asked for."""

    code = "range-not-satisfiable"
    status = 416


class TooManyAttempts(BitfrontError):
    """Too many wrong tokens from this address."""

    code = "too-many-attempts"
    status = 429
