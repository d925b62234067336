"""What a method cannot do, and training that makes no sense, is refused with the field and what to do instead."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some

from core.catalogue import load_catalogue
from core.errors import InvalidSpecification
from core.graph.inventory import Inventory, Layer
from core.hardware.targets import load_targets
from core.jobs.rules.fault import widths
from core.jobs.rules.job import Circumstances, check_job
from core.jobs.rules.settings import KEYWORDS, settings_faults
from core.jobs.specification import JobSpecification
from core.quantizers.card import MethodCard
from core.quantizers.method import MethodSettings, NoSettings
from core.quantizers.registry import METHODS

IDS = {"model_id": UUID(int=1), "dataset_id": UUID(int=2)}
SCHEMA = {
    "$defs": {"Start": {"enum": ["mean", "largest"], "type": "string"}},
    "properties": {
        "rounds": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "share": {"type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": 0.5},
        "bounded": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "null"}], "default": None},
        "symmetric": {"type": "boolean", "default": True},
        "start": {"$ref": "#/$defs/Start", "default": "mean"},
    },
}


def card(name: str, **changes: Any) -> dict[str, Any]:
    facts = {
        "id": name, "title": name.upper(), "paper": "A paper", "link": "https://example.org", "summary": "",
        "paper_bits": "2 to 4", "granularities": ("tensor", "channel", "kernel"), "zero_level": True,
        "lowest_level": True, "projects_weights": True, "needs_following_normalisation": False, "one_bit": "",
        "first_last": "", **changes,
    }  # fmt: skip
    return MethodCard.model_validate(facts).model_dump(mode="json")


METHOD_CARDS = {
    "able": card("able"),
    "few": card("few", weight_bits=(2, 3, 4), activation_bits=(2, 3, 4), granularities=("tensor",)),
    "scaled": card("scaled", needs_following_normalisation=True),
    "adjusting": card("adjusting", needs_following_normalisation=True, adjusts_scale=True),
    "set": card("set", settings_schema=SCHEMA),
    "narrow": card("narrow", weight_bits=(2, 3, 4)),
    "moving": card("moving", projects_weights=False),
}


def layer(name: str, **changes: Any) -> Layer:
    facts = {
        "name": name, "kind": "conv2d", "input_shape": (3, 8, 8), "output_shape": (4, 8, 8),
        "weight_shape": (4, 3, 3, 3), "macs": 6912, "parameters": 108, "reads": f"x_{name}", "reads_signed": False,
        "batch_norm": f"norm_{name}", **changes,
    }  # fmt: skip
    return Layer.model_validate(facts)


FOLDED = {"batch_norm": None}


def refused(
    body: dict[str, Any], *, folded: bool = False, layers: tuple[Layer, ...] = (), **summary: Any
) -> dict[str, str]:
    """Messages by path."""
    bare = FOLDED if folded else {}
    inventory = Inventory(
        source="ONNX", input_shape=(3, 8, 8), classes=4, total_parameters=1, total_macs=1,
        layers=layers or (layer("stem", **bare), layer("middle", **bare), layer("scores", **FOLDED)),
    )  # fmt: skip
    catalogue = {name: {one["id"]: one for one in load_catalogue()[name]} for name in
                 ("observers", "roundings", "sensitivity_metrics", "strategies")}  # fmt: skip
    around = Circumstances(inventory, summary, {**catalogue, "methods": METHOD_CARDS}, load_targets())
    try:
        check_job(JobSpecification.model_validate({**IDS, **body}), around)
    except InvalidSpecification as error:
        return {fault["path"]: fault["message"] for fault in error.detail["errors"]}
    return {}


def few(**changes: Any) -> dict[str, Any]:
    """A job that the method of few bits can do."""
    fitting = {"method": "few", "granularity": "tensor", "first_last": "float"}
    return {"quantizer": fitting, "bits": {"weights": [2, 4], "activations": [2, 4]}, **changes}


def policy(**bits: Any) -> dict[str, Any]:
    layers = {name: {"weights": 4, "activations": 4} for name in ("stem", "middle", "scores")}
    for name, weights in bits.items():
        layers[name] = {"weights": weights, "activations": 4}
    return {"layers": layers}


def test_a_job_within_the_methods_means_is_accepted() -> None:
    assert refused(few()) == {}
    assert refused({"quantizer": {"method": "able"}}) == {}


def test_a_search_that_trains_has_no_widths_for_groups_of_channels() -> None:
    body = {"bits": {"kernel_groups": 4}, "sensitivity": {"metric": "hessian-trace", "per_channel": True}}
    faults = refused({**body, "quantizer": {"method": "able"}, "search": {"strategy": "fracbits"}})
    assert list(faults) == ["bits.kernel_groups"]
    assert "one width for each layer" in faults["bits.kernel_groups"]
    assert refused({**body, "quantizer": {"method": "able"}}) == {}


def test_all_faults_are_told_at_once_with_the_method_that_can() -> None:
    faults = refused(
        {
            "quantizer": {"method": "few", "granularity": "channel"},
            "bits": {"weights": [1, 2, 8], "activations": [4, 5]},
        }
    )
    assert set(faults) == {"bits.weights", "bits.activations", "quantizer.granularity", "quantizer.first_last"}
    assert faults["bits.weights"] == (
        "leave out 1, 8: FEW has 2 to 4 bits for weights; for 1, 8 choose able, scaled, adjusting, set, moving"
    )
    assert "choose tensor, or a method that has one: able" in faults["quantizer.granularity"]
    assert "leave these layers float" in faults["quantizer.first_last"]


def test_a_pin_to_a_width_that_the_method_lacks_is_refused_at_the_pin() -> None:
    faults = refused(few(pins={"stem": {"weights": 8}, "middle": {"weights": 32, "activations": 2}}))
    assert set(faults) == {"pins.stem.weights"}


def test_a_progressive_width_that_the_method_lacks_is_refused() -> None:
    faults = refused(few(training={"epochs": 9, "progressive_bits": [5, 4, 3]}))
    assert set(faults) == {"training.progressive_bits"}
    assert "leave out 5" in faults["training.progressive_bits"]


def test_own_policies_are_held_to_the_methods_widths_whole_and_by_channel() -> None:
    faults = refused(few(policies=[policy(stem=8), policy(), policy(stem=16)]))
    assert set(faults) == {"policies.0.layers.stem"}
    assert "8-bit weights" in faults["policies.0.layers.stem"]
    narrow = {"quantizer": {"method": "narrow", "first_last": "float"}, "bits": {"weights": [2]}}
    faults = refused({**narrow, "policies": [policy(stem=(2, 3, 4, 4)), policy(stem=(2, 3, 4, 5))]})
    assert set(faults) == {"policies.1.layers.stem"}
    assert "5-bit weights" in faults["policies.1.layers.stem"]


def test_widths_by_channel_need_a_method_that_has_them() -> None:
    body = few(policies=[policy(stem=(2, 3, 4, 0))])
    assert "choose a method that can: able, scaled, adjusting, set, narrow" in refused(body)["policies.0.layers.stem"]
    assert refused({"quantizer": {"method": "able"}, "policies": [policy(stem=(2, 3, 4, 0))]}) == {}


def test_one_width_of_0_for_a_layer_is_refused_and_the_refusal_says_how_channels_are_pruned() -> None:
    faults = refused({"quantizer": {"method": "able"}, "policies": [policy(stem=0)]})
    assert set(faults) == {"policies.0.layers.stem"}
    for words in ("stem would have no weights left", "a list with one width for each output channel", "as many zeros"):
        assert words in faults["policies.0.layers.stem"]
    whole_only = refused(few(policies=[policy(stem=0)]))["policies.0.layers.stem"]
    assert "with a method that can: able, scaled" in whole_only


def test_all_channels_of_a_layer_may_be_pruned() -> None:
    assert refused({"quantizer": {"method": "able"}, "policies": [policy(stem=(0, 0, 0, 0))]}) == {}


def test_activations_cannot_be_pruned() -> None:
    faults = refused({"quantizer": {"method": "able"}, "policies": [{
        "layers": {**policy()["layers"], "stem": {"weights": 4, "activations": 0}}
    }]})  # fmt: skip
    assert "0-bit activations (0 prunes single channels of weights)" in faults["policies.0.layers.stem"]


def test_a_channel_cannot_stay_float() -> None:
    mixed = refused({"quantizer": {"method": "able"}, "policies": [policy(stem=(32, 4, 4, 4))]})
    assert "give the whole layer 32 bits" in mixed["policies.0.layers.stem"]


def test_a_fault_of_many_layers_is_told_once_and_names_them() -> None:
    faults = refused(few(policies=[policy(stem=8, middle=8)]))
    assert "stem, middle cannot have 8-bit weights" in faults["policies.0"]


def test_a_network_without_the_norms_a_method_needs_is_refused_naming_layers_and_ways_out() -> None:
    message = refused({"quantizer": {"method": "scaled"}}, folded=True)["quantizer.method"]
    assert "stem, middle have none" in message
    assert "scores" not in message
    for way_out in ("quantizer.insert_normalisation", "quantizer.scale_adjustment", "able, few"):
        assert way_out in message


@pytest.mark.parametrize("way_out", [{"insert_normalisation": True}, {"scale_adjustment": True}, {"method": "able"}])
def test_each_way_out_that_is_named_is_accepted(way_out: dict[str, Any]) -> None:
    assert refused({"quantizer": {"method": "scaled", **way_out}}, folded=True) == {}
    assert refused({"quantizer": {"method": "scaled"}}) == {}


def test_a_method_that_adjusts_scales_takes_networks_without_norms_where_it_trains() -> None:
    assert refused({"quantizer": {"method": "adjusting"}}, folded=True) == {}
    untrained = refused({"quantizer": {"method": "adjusting"}, "training": None}, folded=True)["quantizer.method"]
    assert "train the job, which rescaled layers need" in untrained
    assert "quantizer.scale_adjustment" not in untrained
    switched_off = {"quantizer": {"method": "adjusting", "scale_adjustment": False}}
    assert "set quantizer.scale_adjustment" in refused(switched_off, folded=True)["quantizer.method"]
    asked = {"quantizer": {"method": "scaled", "scale_adjustment": True}, "training": None}
    assert "train the job" in refused(asked, folded=True)["quantizer.method"]
    assert refused({"quantizer": {"method": "adjusting"}, "training": None}) == {}


def test_a_layer_that_takes_no_batch_norm_is_still_refused_where_norms_are_inserted() -> None:
    words = layer("words", kind="linear", output_shape=(7, 4), **FOLDED)
    quantizer = {"method": "scaled", "insert_normalisation": True}
    message = refused({"quantizer": quantizer}, layers=(words, layer("scores", **FOLDED)))["quantizer.method"]
    assert "words has none" in message
    assert "insert_normalisation" not in message


SETTINGS = [
    ("rounds", 10, "should be at most 9; left out, it is 3"),
    ("rounds", 0, "should be at least 1"),
    ("rounds", 1.5, "should be a whole number"),
    ("rounds", True, "should be a whole number"),
    ("rounds", "3", "should be a whole number"),
    ("share", 0, "should be more than 0"),
    ("share", "much", "should be a number"),
    ("bounded", -1, "should be at least 0"),
    ("bounded", "no", "should be a number"),
    ("symmetric", 1, "should be true or false; left out, it is true"),
    ("start", "median", "choose from mean, largest"),
    ("sahre", 0.5, "no such setting; its settings: rounds, share, bounded, symmetric, start"),
]


@pytest.mark.parametrize(("name", "value", "said"), SETTINGS)
def test_a_setting_that_does_not_fit_is_refused_at_its_field(name: str, value: Any, said: str) -> None:
    faults = refused({"quantizer": {"method": "set", "settings": {name: value}}})
    assert set(faults) == {f"quantizer.settings.{name}"}
    assert said in faults[f"quantizer.settings.{name}"]


def test_settings_that_fit_are_accepted() -> None:
    fitting = {"rounds": 9, "share": 1, "bounded": 0.0, "symmetric": False, "start": "largest"}
    assert refused({"quantizer": {"method": "set", "settings": fitting}}) == {}


def test_a_method_with_nothing_to_set_says_so() -> None:
    faults = refused({"quantizer": {"method": "able", "settings": {"rounds": 3}}})
    assert "it has nothing to set" in faults["quantizer.settings.rounds"]


@pytest.mark.parametrize("name", METHODS)
def test_every_card_describes_its_settings_in_words_that_are_checked_here(name: str) -> None:
    method = METHODS[name]
    schema = method.card.settings_schema
    if method.settings_type is NoSettings:
        assert not schema.get("properties")
        return
    assert schema == method.settings_type.model_json_schema()
    parts = [*schema["properties"].values(), *schema.get("$defs", {}).values()]
    for each in (*parts, *(one for part in parts for one in part.get("anyOf", ()))):
        assert set(each) <= KEYWORDS, each
    assert all(part.get("description") for part in schema["properties"].values())


@given(data=some.data())
def test_what_the_schema_lets_pass_the_settings_class_takes(data: some.DataObject) -> None:
    configurable = [method for method in METHODS.values() if method.settings_type is not NoSettings]
    if not configurable:
        return
    kind: type[MethodSettings] = data.draw(some.sampled_from(configurable)).settings_type
    schema = kind.model_json_schema()
    name = data.draw(some.sampled_from(sorted(schema["properties"])))
    described = schema["properties"][name]
    free = described.get("type") == "string" and "enum" not in described  # what such a text says is another rule's
    choices = [each for part in (described, *schema.get("$defs", {}).values()) for each in part.get("enum", ())]
    texts = some.sampled_from([described["default"]] if free else [*choices, "x"])
    value = data.draw(some.one_of(some.booleans(), some.integers(-5, 70), some.floats(-2, 70), texts))
    if not list(settings_faults({name: value}, schema, "")):
        kind.model_validate({name: value})


TRAINING = [
    ({"epochs": 3, "warmup_epochs": 3}, "training.warmup_epochs", "choose less than 3"),
    ({"epochs": 3, "progressive_bits": [5, 4, 3]}, "training.progressive_bits", "at least 4 epochs"),
    ({"batch_norm": "frozen", "batch_norm_batches": 8}, "training.batch_norm_batches", "keep their statistics"),
]


@pytest.mark.parametrize(("training", "path", "said"), TRAINING)
def test_training_settings_that_contradict_each_other_are_refused(
    training: dict[str, Any], path: str, said: str
) -> None:
    faults = refused({"quantizer": {"method": "able"}, "training": training})
    assert set(faults) == {path}
    assert said in faults[path]


def test_what_an_observer_does_not_let_one_set_is_refused_at_the_field() -> None:
    def observed(observer: str, **settings: Any) -> dict[str, str]:
        calibration = {"observer": observer, "settings": settings}
        return refused({"quantizer": {"method": "able"}, "calibration": calibration})

    assert observed("percentile", percentile=99.9) == {}
    assert observed("aciq", distribution="laplace") == {}
    assert "at most 100" in observed("percentile", percentile=101)["calibration.settings.percentile"]
    assert "has nothing to set" in observed("min-max", norm=2)["calibration.settings.norm"]
    assert "no such setting; its settings: norm" in observed("mse", percentile=99)["calibration.settings.percentile"]


def test_measuring_batch_norms_anew_needs_batch_norms() -> None:
    body = {"quantizer": {"method": "able"}, "training": {"batch_norm_batches": 9}}
    assert set(refused(body, folded=True)) == {"training.batch_norm_batches"}
    assert refused(body) == {}
    body["quantizer"]["insert_normalisation"] = True
    assert refused(body, folded=True) == {}


def test_one_training_image_is_too_few_unless_nothing_is_trained() -> None:
    splits = {"train": {"images": 1}}
    assert "at least two images" in refused({"quantizer": {"method": "able"}}, splits=splits)["dataset_id"]
    assert refused({"quantizer": {"method": "able"}, "training": None}, splits=splits) == {}


def test_widths_are_shown_as_a_range_where_they_are_one() -> None:
    assert [widths(bits) for bits in ((4, 2, 3), (2, 4, 8), (3, 4), ())] == ["2 to 4", "2, 4, 8", "3, 4", "none"]


@pytest.mark.parametrize(
    ("post_training", "rest", "path", "words"),
    [
        ({"rounding": "adaround"}, {"quantizer": {"method": "moving"}}, "post_training.rounding", "able"),
        ({"preset": "best"}, {"quantizer": {"method": "moving"}}, "post_training.preset", "round to the nearest"),
        ({"equalization": True}, {"quantizer": {"method": "scaled"}}, "post_training.equalization",
         "insert_normalisation"),
        ({"rounding": "gptq"}, {"training": {"progressive_bits": [5, 4]}}, "post_training.rounding",
         "training.progressive_bits"),
        ({"rounding": "adaround"}, {"quantizer": {"method": "able", "scale_adjustment": True}},
         "quantizer.scale_adjustment", "round to the nearest"),
        ({"rounding": "gptq", "fisher": True}, {}, "post_training.fisher", "brecq, qdrop"),
        ({"rounding": "upwards"}, {}, "post_training.rounding", "adaround"),
    ],
)  # fmt: skip
def test_what_is_done_without_training_must_fit_the_method_and_the_recipe(
    post_training: dict[str, Any], rest: dict[str, Any], path: str, words: str
) -> None:
    body = {"quantizer": {"method": "able"}, **rest, "post_training": post_training}
    assert words in refused(body)[path]


def test_levels_of_choice_are_fine_where_steps_stay() -> None:
    body = {"quantizer": {"method": "able"}, "post_training": {"rounding": "qdrop", "bias_correction": "empirical"}}
    assert not refused(body)


def test_levels_are_not_chosen_by_a_handful_of_images() -> None:
    body = {"quantizer": {"method": "able"}, "post_training": {"rounding": "gptq"}}
    few_images = refused(body, splits={"train": {"images": 20}})
    assert "20 images are too few" in few_images["dataset_id"]
    asked = {**body, "post_training": {"rounding": "gptq", "samples": 8}}
    assert "8 images are too few" in refused(asked, splits={"train": {"images": 900}})["post_training.samples"]
    assert not refused(body, splits={"train": {"images": 32}})


def test_metrics_that_are_compared_exist_and_channels_are_asked_of_those_that_tell_them_apart() -> None:
    faults = refused(few(sensitivity={"metric": "direct", "per_channel": True, "compare": ["fisher", "magic"]}))
    assert set(faults) == {"sensitivity.compare.1", "sensitivity.per_channel"}
    assert "fisher" in faults["sensitivity.per_channel"]
    assert refused(few(sensitivity={"metric": "fisher", "per_channel": True, "compare": ["direct"]})) == {}
