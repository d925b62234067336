"""A job from what was typed and from a file with parts of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitfront.data_files import DataFile
from bitfront.job_body import check, completed, method_words, read_job_file
from bitfront.own_policies import read_policies, with_policies
from bitfront.quantize import QuantizeRequest, _specification
from core.catalogue import cards_by_id, load_catalogue
from core.errors import InvalidInput, InvalidSpecification
from core.hardware.targets import load_targets
from core.jobs.granularity import with_granularity
from core.jobs.specification import JobSpecification
from core.jobs.task import ModelInput
from tests.api.served import inventory

DATA = Path("images.npz")
MODEL = ModelInput(path=Path("m.onnx"), filename="m.onnx", sha256="0" * 64)
CONFIGURABLE = [card for card in load_catalogue()["methods"] if card["settings_schema"].get("properties")]


def typed(**request: Any) -> JobSpecification:
    asked = QuantizeRequest(model=Path("m.onnx"), data=[DataFile(DATA)], out=Path("out"), **request)
    return _specification(asked, MODEL)


def test_with_nothing_typed_a_job_is_as_the_service_has_it() -> None:
    plain = JobSpecification(model_id=typed().model_id, dataset_id=typed().dataset_id)
    assert typed() == with_granularity(plain, cards_by_id("methods"), load_targets())


def test_what_is_typed_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "job.toml"
    file.write_text(
        'seed = 3\n[quantizer]\nfirst_last = "float"\nmethod = "hadq"\n'
        '[training]\nepochs = 20\nprogressive_bits = [5, 4]\nschedule = "step"\n'
    )
    job = typed(job=file, epochs=9, method="lsq", bits=(2, 4), targets=["bismo-edge"], at_most=0.5)
    assert job.training is not None
    assert (job.training.epochs, job.training.progressive_bits, job.training.schedule) == (9, (5, 4), "step")
    assert (job.quantizer.method, job.quantizer.first_last, job.seed) == ("lsq", "float", 3)
    assert job.bits.weights == job.bits.activations == (2, 4)
    assert (job.search.constraints[0].target, job.search.constraints[0].at_most) == ("bismo-edge", 0.5)


def test_a_specification_that_was_downloaded_can_be_given_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    before = typed(method="hadq", epochs=0, seed=5)
    file.write_text(json.dumps(before.model_dump(mode="json")))
    assert typed(job=file) == before
    again = typed(job=file, epochs=2)
    assert again.training is not None
    assert again.training.epochs == 2


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.toml", "= 1"), ("a.json", "[1]")])
def test_a_file_that_holds_no_job_is_refused_with_an_example(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InvalidSpecification) as refusal:
        read_job_file(file)
    assert refusal.value.hint


def test_every_wrong_field_of_a_file_is_named() -> None:
    body = {"training": {"epochs": 0, "batch_size": 1}, "quantizer": {"granularity": "kernel"}}
    with pytest.raises(InvalidSpecification) as refusal:
        completed(body, "0" * 64, DATA, [])
    paths = {fault["path"] for fault in refusal.value.detail["errors"]}
    assert paths == {"training.epochs", "training.batch_size", "quantizer.granularity"}


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidSpecification, match="has no value"):
        typed(settings=["start"])


@pytest.mark.parametrize("card", CONFIGURABLE, ids=lambda card: card["id"])
def test_settings_are_read_as_what_the_method_takes(card: dict[str, Any]) -> None:
    properties = card["settings_schema"]["properties"]
    defaults = {name: each["default"] for name, each in properties.items() if each.get("default") is not None}
    written = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in defaults.items()]
    job = typed(method=card["id"], settings=written)
    assert job.quantizer.settings == defaults
    assert {name: type(value) for name, value in job.quantizer.settings.items() if not isinstance(value, float)} == {
        name: type(value) for name, value in defaults.items() if not isinstance(value, float)
    }


def test_a_method_without_a_scale_per_channel_gets_the_one_it_has() -> None:
    coarse = next(card for card in load_catalogue()["methods"] if "channel" not in card["granularities"])
    assert typed(method=coarse["id"]).quantizer.granularity == "tensor"
    asked = {"quantizer": {"method": coarse["id"], "granularity": "channel"}}
    with pytest.raises(InvalidSpecification, match="no scale per channel"):
        check(completed(asked, "0" * 64, DATA, []), inventory())


def test_the_rules_are_those_of_the_service() -> None:
    with pytest.raises(InvalidSpecification) as refusal:
        check(typed(method="no-such-method", targets=["no-such-chip"]), inventory())
    assert {fault["path"] for fault in refusal.value.detail["errors"]} == {"quantizer.method", "targets.0"}


def test_a_method_is_introduced_with_its_paper_and_what_was_reconstructed() -> None:
    title, notes = method_words(typed(method="hadq"))
    assert "Electronics 2025" in title
    assert notes.startswith("Reconstruction: Only the paper's abstract is public.")


def test_policies_come_from_files_and_from_one_of_several_configs(tmp_path: Path) -> None:
    list_of_pairs, several = tmp_path / "haq.txt", tmp_path / "bit_config.py"
    list_of_pairs.write_text("[[8, -1], [4, 3], [2, 6]]")
    bits = {"stem": {"weights": 4, "activations": 4}}
    several.write_text(f"configs = {{'a': {bits!r}, 'b': {bits!r}}}")
    (found,) = read_policies([str(list_of_pairs)], inventory())
    job = with_policies(typed(), [found])
    assert job.policies == (found.policy,)
    assert job.policies[0].layers["left"].activations == 6
    for given, told in (
        (f"{several}:a", "no policy that is known"),
        (f"{several}:c", "there is no 'c'"),
        (str(several), "it has to be said which"),
        ("nowhere.npy", "there is no file nowhere.npy"),
    ):
        with pytest.raises(InvalidInput, match=told):
            list(read_policies([given], inventory()))
