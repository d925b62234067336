"""Policies from files: own ones, and published ones in the formats of HAQ, HAWQ, AIMET and TensorRT."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from api.dependencies import Principal, ServicesDep
from api.documentation import errors, form_body
from api.job_submission import check_ready
from api.schemas import PolicyAnswer
from api.services import Services
from api.upload_fields import only
from api.uploads import Upload, receive_upload
from core.deploy.foreign.read import IS_IT_A_POLICY, LARGEST_BYTES, read_policy
from core.errors import BrokenFile, Conflict, InvalidInput, InvalidSpecification, NotFound, TooLarge, UnsupportedFormat
from core.graph.inventory import Inventory
from core.store.repositories.uploads import ModelRepository

router = APIRouter(prefix="/policies", tags=["policies"])


@router.post(
    "/convert",
    responses=errors(NotFound, Conflict, InvalidInput, InvalidSpecification, UnsupportedFormat, BrokenFile, TooLarge),
    openapi_extra=form_body(
        model_id="the network that the policy is for", config="for a file with several bit_configs: the name of one"
    ),
)
async def convert_policy(request: Request, services: ServicesDep, owner: Principal) -> PolicyAnswer:
    """Read a policy file for a network; the answer's `policy` fits into `policies` of `POST /jobs`. Nothing is kept.

    Accepted: policy.json, HAQ's .npy, HAWQ's bit_config (JSON or Python), AIMET's encodings, tensorrt.json.
    """
    try:
        async with receive_upload(request, services.uploads, LARGEST_BYTES) as upload:
            return await run_in_threadpool(_converted, services, owner, upload)
    except TooLarge as error:
        error.hint = IS_IT_A_POLICY  # the limit of other uploads can be raised, this one cannot
        raise


def _converted(services: Services, owner: UUID, upload: Upload) -> PolicyAnswer:
    only(upload.fields, "model_id", "config")
    found = read_policy(
        upload.path.read_bytes(), _inventory(services, owner, upload), upload.fields.get("config", "").strip() or None
    )
    return PolicyAnswer(policy=found.policy, kind=found.kind, notes=found.notes)


def _inventory(services: Services, owner: UUID, upload: Upload) -> Inventory:
    given = upload.fields.get("model_id", "").strip()
    try:
        model_id = UUID(given)
    except ValueError as error:
        wrong = f"{given[:80]!r} is no model's id." if given else "It is not said which network the policy is for."
        raise InvalidInput(wrong, hint="Send the field 'model_id'.") from error
    with services.sessions() as session:
        model = ModelRepository(session, owner).get(model_id)
        check_ready("model", model)
        return Inventory.model_validate(model.inventory)
