"""Signing in: the token once, then a cookie that stands for it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from api.dependencies import ServicesDep
from api.documentation import errors
from api.errors import TooManyAttempts
from api.json_body import read_body
from api.security import SESSION_COOKIE, SESSION_S, client_address
from core.errors import InvalidInput, Unauthorized

router = APIRouter(tags=["session"])
_MAX_FORM_BYTES = 4_096


async def _form(request: Request) -> dict[str, str]:
    body = await read_body(request, _MAX_FORM_BYTES)
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=8)
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidInput("The form cannot be read.", hint="Send token=… in an urlencoded form.") from error
    return {name: values[0] for name, values in fields.items()}


@router.post("/ui/login", status_code=303, responses=errors(Unauthorized, TooManyAttempts, InvalidInput))
def sign_in(request: Request, services: ServicesDep, form: Annotated[dict[str, str], Depends(_form)]) -> Response:
    """Check the token (form field `token`) and set the session cookie; then lead to `next`."""
    services.gate.check_token(form.get("token", ""), client_address(request))
    response = RedirectResponse(_inside(form.get("next", "")), 303)
    response.set_cookie(
        SESSION_COOKIE,
        services.gate.new_session(),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.post("/ui/logout", status_code=303)
def sign_out() -> Response:
    """Forget the session."""
    response = RedirectResponse("/ui/login", 303)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return response


def _inside(wanted: str) -> str:
    """A page of ours; anything else would be an open redirect."""
    return wanted if wanted.startswith("/ui/") and "\\" not in wanted and "//" not in wanted else "/ui/"
