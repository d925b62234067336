"""The one tree of errors.

    BitfrontError
    ├── InvalidInput (422)            what a client sent cannot be used
    │   ├── UnsupportedFormat (415)   a file of a kind that is not accepted
    │   ├── BrokenFile                a file of the right kind whose content is damaged or hostile
    │   ├── UnsupportedModel          a sound file whose network cannot be quantized here
    │   ├── InvalidSpecification      a job that cannot be run as written
    │   └── Infeasible                constraints that no policy meets
    ├── TooLarge (413)
    ├── NotFound (404)
    ├── Conflict (409)                the state of the thing forbids it
    ├── Unauthorized (401)
    ├── Unavailable (503)             a server that is needed does not answer
    ├── DiskFull (507)                no room is left for what should be stored
    ├── TaskFailed (500)              a task of a job ended without a result
    │   ├── OutOfMemory
    │   ├── ChildDied
    │   ├── DependencyFailed
    │   └── Diverged
    └── ConfigurationError (500)      this installation is set up wrongly

Each class names a stable `code`; each instance says what was wrong (`message`) and what to do (`hint`).
`detail` carries machine-readable facts, such as the smallest value that can be reached.
"""

from __future__ import annotations

from typing import Any, ClassVar


class BitfrontError(Exception):
    """Base of every expected error. `status` is the HTTP status the API answers with."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(self, message: str, *, hint: str = "", **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.detail = detail

    def as_problem(self) -> dict[str, Any]:
        """RFC 9457 members: `type`, `title`, `status`, `code`, `detail`, `hint`, and the facts."""
        return {
            "type": f"urn:bitfront:problem:{self.code}",
            "title": (type(self).__doc__ or self.code).split("\n")[0].rstrip("."),
            "status": self.status,
            "code": self.code,
            "detail": self.message,
            "hint": self.hint,
            **({"facts": self.detail} if self.detail else {}),
        }


class InvalidInput(BitfrontError):
    """The request cannot be used."""

    code = "invalid-input"
    status = 422


class UnsupportedFormat(InvalidInput):
    """A file of this kind is not accepted."""

    code = "unsupported-format"
    status = 415


class BrokenFile(InvalidInput):
    """The file is damaged, incomplete or hostile."""

    code = "broken-file"


class UnsupportedModel(InvalidInput):
    """The network cannot be quantized here."""

    code = "unsupported-model"


class InvalidSpecification(InvalidInput):
    """The job cannot be run as written."""

    code = "invalid-specification"


class Infeasible(InvalidInput):
    """No policy meets the constraints."""

    code = "infeasible"


class TooLarge(BitfrontError):
    """The upload is larger than this server accepts."""

    code = "too-large"
    status = 413


class NotFound(BitfrontError):
    """There is no such thing, or it is not yours."""

    code = "not-found"
    status = 404


class Conflict(BitfrontError):
    """The thing is in a state that forbids this."""

    code = "conflict"
    status = 409


class Unauthorized(BitfrontError):
    """A valid token is needed."""

    code = "unauthorized"
    status = 401


class Unavailable(BitfrontError):
    """A server that is needed does not answer."""

    code = "unavailable"
    status = 503


class DiskFull(BitfrontError):
    """No room is left on the disk."""

    code = "disk-full"
    status = 507


class TaskFailed(BitfrontError):
    """A task of the job ended without a result."""

    code = "task-failed"


class OutOfMemory(TaskFailed):
    """The task needed more memory than there is."""

    code = "out-of-memory"


class ChildDied(TaskFailed):
    """The process that ran the task ended unexpectedly."""

    code = "child-died"


class DependencyFailed(TaskFailed):
    """A task that this one needs ended without a result."""

    code = "dependency-failed"


class Diverged(TaskFailed):
    """Training diverged."""

    code = "diverged"


class ConfigurationError(BitfrontError):
    """This installation is set up wrongly."""

    code = "configuration"
