"""One tree of errors, each with a code of its own."""

from __future__ import annotations

import pickle

from core.errors import BitfrontError, Infeasible


def subclasses(base: type[BitfrontError]) -> list[type[BitfrontError]]:
    return [base, *(found for child in base.__subclasses__() for found in subclasses(child))]


def test_every_error_has_a_code_and_a_title_of_its_own() -> None:
    errors = subclasses(BitfrontError)
    assert len({error.code for error in errors}) == len(errors)
    for error in errors:
        problem = error("what was wrong", hint="what to do").as_problem()
        assert problem["type"] == f"urn:bitfront:problem:{error.code}"
        assert problem["title"]
        assert problem["hint"] == "what to do"
        assert 400 <= problem["status"] < 600


def test_facts_travel_with_the_problem() -> None:
    assert Infeasible("too tight", smallest=3.4).as_problem()["facts"] == {"smallest": 3.4}


def test_an_error_keeps_its_hint_between_processes() -> None:
    copy = pickle.loads(pickle.dumps(Infeasible("too tight", hint="loosen it", smallest=3.4)))
    assert (copy.hint, copy.detail) == ("loosen it", {"smallest": 3.4})
