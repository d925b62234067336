from __future__ import annotations

from dataclasses import replace
from typing import Any

from core.jobs.keys import TaskIdentity, input_key

SPECIFICATION: dict[str, Any] = {
    "targets": ["bismo-cloud"],
    "quantizer": {"method": "lsq", "granularity": "channel", "residual_bits": 16},
    "calibration": {"observer": "mse", "samples": 512},
    "sensitivity": {"metric": "hessian-trace", "budget_s": 60, "samples": 256},
    "search": {"points": 8},
    "training": {"epochs": 2},
    "seed": 0,
}
SEARCH = {"candidates": [{"point": 0, "policy": {"layers": {"a": 4}}}, {"point": 1, "policy": {"layers": {"a": 4}}}]}


def identity(stage: str, **changes: Any) -> TaskIdentity:
    return replace(
        TaskIdentity(
            stage,
            specification=SPECIFICATION,
            model={"sha256": "m"},
            dataset={"files": ["d"]},
            upstream={"calibrate": "c", "search": "s"},
            search_result=SEARCH,
        ),
        **changes,
    )


def changed(name: str, **values: Any) -> dict[str, Any]:
    return {**SPECIFICATION, name: {**SPECIFICATION[name], **values}}


def test_equal_inputs_have_equal_keys() -> None:
    assert input_key(identity("calibrate")) == input_key(identity("calibrate"))


def test_other_weights_and_other_images_have_other_keys() -> None:
    assert input_key(identity("calibrate")) != input_key(identity("calibrate", model={"sha256": "n"}))
    assert input_key(identity("calibrate")) != input_key(identity("calibrate", dataset={"files": ["e"]}))


def test_traces_do_not_depend_on_the_quantizer() -> None:
    other = identity("traces", specification=changed("quantizer", method="hadq"))
    assert input_key(identity("traces")) == input_key(other)
    other = identity("sensitivity", specification=changed("quantizer", method="hadq"))
    assert input_key(identity("sensitivity")) != input_key(other)


def test_calibration_depends_on_whether_norms_are_put_in_and_not_on_the_method() -> None:
    with_norms = identity("calibrate", specification=changed("quantizer", insert_normalisation=True))
    assert input_key(identity("calibrate")) != input_key(with_norms)
    assert input_key(identity("inspect")) != input_key(replace(with_norms, stage="inspect"))
    other = identity("calibrate", specification=changed("quantizer", method="hadq"))
    assert input_key(identity("calibrate")) == input_key(other)


def test_cost_tables_depend_on_layer_shapes_and_not_on_weights_or_images() -> None:
    def costs(sha256: str, layers: list[int], inspected: str) -> str | None:
        model = {"sha256": sha256, "inventory": {"layers": layers}}
        return input_key(identity("costs", model=model, dataset={"files": [sha256]}, upstream={"inspect": inspected}))

    assert costs("m", [1], "i") == costs("n", [1], "j")
    assert costs("m", [1], "i") != costs("m", [2], "i")


def test_cost_tables_of_a_model_that_is_still_inspected_are_not_another_models() -> None:
    first, second = (
        identity("costs", model={"sha256": "m", "inventory": {}}, upstream={"inspect": key}) for key in "ij"
    )
    assert input_key(first) != input_key(second)


def test_training_depends_on_the_policy_and_not_on_the_search_that_found_it() -> None:
    first = identity("finetune", point=0)
    assert input_key(first) == input_key(identity("finetune", point=1))
    assert input_key(first) == input_key(replace(first, upstream={"calibrate": "c", "search": "other"}))
    other = {"candidates": [{"point": 0, "policy": {"layers": {"a": 3}}}]}
    assert input_key(first) != input_key(replace(first, search_result=other))
    assert input_key(first) != input_key(replace(first, specification=changed("training", epochs=3)))


def test_a_search_depends_on_network_and_images_where_it_reads_them() -> None:
    tables = identity("search", upstream={"sensitivity": "s", "costs": "c"})
    assert input_key(tables) == input_key(replace(tables, model={"sha256": "n"}, dataset={"files": ["e"]}))
    training = identity("search", upstream={"sensitivity": "s", "costs": "c", "calibrate": "r"})
    assert input_key(training) != input_key(replace(training, model={"sha256": "n"}))
    assert input_key(training) != input_key(replace(training, dataset={"files": ["e"]}))
    assert input_key(training) != input_key(replace(training, specification={**SPECIFICATION, "seed": 1}))


def test_training_all_widths_together_depends_on_no_search_and_no_limit() -> None:
    first = identity("joint")
    assert input_key(first) == input_key(replace(first, upstream={"calibrate": "c", "search": "other"}))
    assert input_key(first) == input_key(replace(first, specification=changed("search", points=3)))
    assert input_key(first) != input_key(replace(first, upstream={"calibrate": "d", "search": "s"}))
    assert input_key(first) != input_key(replace(first, specification=changed("quantizer", settings={"bits": "4,2"})))


def test_a_report_is_never_re_used() -> None:
    assert input_key(identity("report")) is None
