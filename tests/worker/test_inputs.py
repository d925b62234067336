import json
from pathlib import Path

import pytest
from obstore.store import LocalStore

from core.errors import TaskFailed
from core.jobs.task import OutputFile
from core.store.artifacts import ArtifactStore
from worker.inputs import Upstream, _write_upstream, carry_checkpoints, store_outputs


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    root = tmp_path / "artifacts"
    root.mkdir()
    return ArtifactStore(LocalStore(root), tmp_path / "incoming", root)


def test_an_attempt_begins_with_the_newest_checkpoints_of_those_before(tmp_path: Path) -> None:
    first = carry_checkpoints(tmp_path / "task", 1)
    (first / "epoch.json").write_text("1")
    second = carry_checkpoints(tmp_path / "task", 2)
    part = second / "epoch.part"
    part.write_text("2")
    part.replace(second / "epoch.json")
    third = carry_checkpoints(tmp_path / "task", 4)
    assert (third / "epoch.json").read_text() == "2"
    assert (first / "epoch.json").read_text() == "1", "an older attempt's files do not change"


def test_an_attempt_that_left_nothing_is_passed_over(tmp_path: Path) -> None:
    (carry_checkpoints(tmp_path, 1) / "model").mkdir()
    (tmp_path / "1" / "model" / "weights").write_text("w")
    carry_checkpoints(tmp_path, 2).joinpath("model", "weights").unlink()
    assert (carry_checkpoints(tmp_path, 3) / "model" / "weights").read_text() == "w"


def test_outputs_are_copied_and_described(store: ArtifactStore, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "m.onnx").write_bytes(b"model")
    [described] = store_outputs(store, out, [OutputFile(name="model.onnx", path="m.onnx", kind="onnx-qdq")])
    (out / "m.onnx").write_bytes(b"other")
    assert store.read(described["sha256"]) == b"model"
    assert described["size_bytes"] == 5
    directory = _write_upstream(Upstream("export", 0, None, {"a": 1}, [described]), store, tmp_path / "up" / "export")
    assert json.loads((directory / "result.json").read_text()) == {"a": 1}
    assert (directory / "model.onnx").read_bytes() == b"model"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("passwd", "../../etc/passwd"), ("passwd", "/etc/passwd"), ("link", "link"), ("folder", "folder"),
        ("gone", "gone"), ("../up", "m.onnx"), (".hidden", "m.onnx"), ("a/b", "m.onnx"), ("", "m.onnx"),
        ("result.json", "m.onnx"),
    ],
)  # fmt: skip
def test_files_outside_the_task_and_odd_names_are_refused(
    store: ArtifactStore, tmp_path: Path, name: str, path: str
) -> None:
    out = tmp_path / "out"
    (out / "folder").mkdir(parents=True)
    (out / "m.onnx").write_bytes(b"model")
    (out / "link").symlink_to("/etc/passwd")
    with pytest.raises(TaskFailed):
        store_outputs(store, out, [OutputFile(name=name, path=path, kind="stolen")])
