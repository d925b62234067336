"""Why a point has its bits, what another budget would cost, and what an edited policy would."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict

from api.dependencies import Principal, ServicesDep
from api.documentation import errors, json_body
from api.explanations import KnownProblem, budgets_around, explanation_of, prediction_of
from api.json_body import json_of
from api.schemas import Listing
from api.services import Services
from core.errors import Conflict, InvalidInput, InvalidSpecification, NotFound
from core.policy import Policy
from core.search.explained import Explanation, Prediction, WhatIf
from core.store.repositories.results import CandidateRepository
from core.store.tables import Candidate

router = APIRouter(tags=["explanations"])
_REFUSED = errors(NotFound, Conflict, InvalidInput)


class EditedPolicy(BaseModel):
    """A policy to predict; it is not kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: Policy


Percent = Annotated[int | None, Query(ge=-90, le=100, description="one step alone, such as -10 for ten per cent less")]
Edited = Annotated[EditedPolicy, Depends(json_of(EditedPolicy, InvalidSpecification))]


@router.get("/candidates/{candidate_id}/explanation", responses=_REFUSED)
def explain_candidate(candidate_id: UUID, services: ServicesDep, owner: Principal) -> Explanation:
    """Per layer and operand what one width more or fewer would change; what each limit is worth. 409 before a search.

    Latencies are in seconds, energies in joules, both by target; losses in the units of the loss.
    """
    known, candidate = _read(services, owner, candidate_id)
    return explanation_of(known, candidate)


@router.get("/candidates/{candidate_id}/budgets", responses=_REFUSED)
def budgets_of_candidate(
    candidate_id: UUID, services: ServicesDep, owner: Principal, percent: Percent = None
) -> Listing[WhatIf]:
    """The least predicted loss with 20 % less to 20 % more of each limited cost, each with the gap of its proof."""
    known, candidate = _read(services, owner, candidate_id)
    return Listing(items=budgets_around(known, candidate, percent))


@router.post(
    "/jobs/{job_id}/predictions",
    responses=errors(NotFound, Conflict, InvalidInput, InvalidSpecification),
    openapi_extra=json_body(EditedPolicy),
)
def predict_policy(job_id: UUID, edited: Edited, services: ServicesDep, owner: Principal) -> Prediction:
    """Costs on every target of the job, predicted loss, and what the policy does not keep. Nothing is stored."""
    with services.sessions() as session:
        known = services.problems.of_job(session, owner, job_id)
    return prediction_of(known, edited.policy)


def _read(services: Services, owner: UUID, candidate_id: UUID) -> tuple[KnownProblem, Candidate]:
    """Read, and let go of the database before anything is solved."""
    with services.sessions() as session:
        candidate = CandidateRepository(session, owner).get(candidate_id)
        known = services.problems.of_job(session, owner, candidate.job_id)
        session.expunge(candidate)
    return known, candidate
