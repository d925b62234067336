"""Everything about one point in one archive: its files, what they are worth, how to run them, how to make them again.

No torch: the service puts bundles together from what its workers left. Equal points give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from core.deploy.archive import Chunks, Entry, read_zip
from core.jobs.specification import JobSpecification, SearchChoice
from core.policy import Policy

Json = Mapping[str, Any]

C_ARCHIVE = "model.c.zip"
HASHES = "SHA256SUMS"
_C_FOLDER = "c"


@dataclass(frozen=True)
class PointFile:
    """A file that the export wrote, under its own name."""

    name: str
    size_bytes: int
    sha256: str
    read: Chunks


@dataclass(frozen=True)
class Source:
    """A network or a data set that was uploaded: where to find it here, and what it is anywhere. Files: name, hash."""

    id: str
    name: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Point:
    """What a bundle is made from. `figures` and `provenance` are written as they are."""

    name: str
    policy: Policy
    specification: JobSpecification
    figures: Json
    provenance: Json
    model: Source
    dataset: Source
    files: Sequence[PointFile]


def bundle_entries(point: Point) -> Iterator[Entry]:
    """All in one folder with the point's name; the hashes of the rest come last, as sha256sum reads them."""
    hashes = []
    for name, entry, sha256 in _contents(point):
        hashes.append(f"{sha256}  {name}\n")
        yield Entry(f"{point.name}/{name}", entry.content, entry.size_bytes)
    yield Entry(f"{point.name}/{HASHES}", "".join(sorted(hashes)).encode())


def _contents(point: Point) -> Iterator[tuple[str, Entry, str]]:
    names = [file.name for file in point.files]
    texts = {
        "README.txt": readme(point, names),
        "job.json": _json(reproducing_job(point).model_dump(mode="json")),
        "figures.json": _json(point.figures),
        "provenance.json": _json({**point.provenance, "sources": _sources(point)}),
        "packed_reader.py": files("core.deploy").joinpath("packed_reader.py").read_text(encoding="utf-8"),
    }
    for name, text in texts.items():
        yield _of_bytes(name, text.encode())
    for file in sorted(point.files, key=lambda file: file.name):
        if file.name == C_ARCHIVE:
            yield from (_of_bytes(f"{_C_FOLDER}/{name}", content) for name, content in _unpacked(file.read()))
        else:
            yield file.name, Entry(file.name, file.read, file.size_bytes), file.sha256


def _of_bytes(name: str, content: bytes) -> tuple[str, Entry, str]:
    return name, Entry(name, content), hashlib.sha256(content).hexdigest()


def _unpacked(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    yield from read_zip(io.BytesIO(b"".join(chunks)))


def _json(value: Json) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _sources(point: Point) -> Json:
    return {kind: _source(each) for kind, each in (("model", point.model), ("dataset", point.dataset))}


def _source(source: Source) -> Json:
    listed = [{"name": name, "sha256": sha256} for name, sha256 in source.files]
    return {"id": source.id, "name": source.name, "files": listed}


def reproducing_job(point: Point) -> JobSpecification:
    """The job whose own policy this point's is: same quantizer, data, recipe and seed; one searched point beside it.

    Pins and constraints steer a search only, and might forbid the policy that was found without them.
    """
    before = point.specification
    search = SearchChoice.model_validate({**before.search.model_dump(), "points": 1, "constraints": ()})
    name = f"{point.name} again"
    changes = {"name": name, "pins": {}, "search": search, "policies": (point.policy,)}
    return before.model_copy(update=changes)


def readme(point: Point, names: Sequence[str]) -> str:
    """How to run each of the files that are there."""
    parts = [_HEAD.format(name=point.name, model=point.model.name, dataset=point.dataset.name)]
    parts += [text for file, text in _HOW_TO_RUN.items() if file in names]
    known = {*_HOW_TO_RUN, *_TOLD_OF_ALL, C_ARCHIVE}
    more = [name for name in names if name not in known]
    if more:
        parts.append("Further files\n-------------\n" + "".join(f"{name}\n" for name in sorted(more)))
    parts.append(_TAIL.format(model=_listed(point.model), dataset=_listed(point.dataset)))
    return "\n".join(parts)


def _listed(source: Source) -> str:
    return "".join(f"    {sha256}  {name}\n" for name, sha256 in source.files)


_TOLD_OF_ALL = frozenset({"policy.json", "policy.csv", "parity.json", "speed.json"})
_HEAD = """\
{name}
{model}, quantized for {dataset} with Bitfront.

policy.json, policy.csv  bits of each layer
figures.json             accuracy, latency, energy and size, and where each comes from
parity.json              every file run beside the trained network: what differs, and by how much
speed.json               measured time of one image in onnxruntime, on the machine that made this
provenance.json          seed, versions, splits, recipe, hashes of what was uploaded
job.json                 makes the same policy again
SHA256SUMS               check with: sha256sum -c SHA256SUMS

Images are N, C, H, W float32, prepared as `preprocessing` in provenance.json says:
(pixel / scale - mean) / std.
"""
_HOW_TO_RUN = {
    "model.onnx": """\
model.onnx
----------
QuantizeLinear and DequantizeLinear around float operators; onnxruntime fuses them.

    pip install onnxruntime numpy
    python -c "
    import numpy, onnxruntime
    session = onnxruntime.InferenceSession('model.onnx')
    entry = session.get_inputs()[0]
    images = numpy.zeros([1, *entry.shape[1:]], 'float32')
    print(session.run(None, {entry.name: images})[0])"
""",
    "model.integer.onnx": """\
model.integer.onnx
------------------
Integer operators only between the image and the scores. Run it as model.onnx; the input is called `image`.
Slower than model.onnx on a processor, and the same integers on whatever runs it.
""",
    "model.qonnx.onnx": """\
model.qonnx.onnx
----------------
QONNX, for FINN, hls4ml and Brevitas; onnxruntime has no Quant. The batch is free, and those tools want a number.

    pip install qonnx
    python -c "
    import numpy
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes
    model = ModelWrapper('model.qonnx.onnx')
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    model = model.transform(InferShapes())
    name = model.graph.input[0].name
    image = numpy.zeros(model.get_tensor_shape(name), 'float32')
    print(execute_onnx(model, {name: image}))"
""",
    "tensorrt.json": """\
tensorrt.json
-------------
`layers` has the precision to set on each layer, `tensors` the range for ITensor.set_dynamic_range.
""",
    "aimet.encodings.json": """\
aimet.encodings.json
--------------------
Quantization overrides for Qualcomm's converters, for the float network with batch norms folded.
""",
    "policy.haq.npy": """\
policy.haq.npy
--------------
numpy.load('policy.haq.npy'): weight and activation bits of each layer in order; -1 stays float.
""",
    "policy.hawq.json": """\
policy.hawq.json
----------------
A bit_config for HAWQ's quantized ResNets.
""",
    "model.packed.safetensors": """\
model.packed.safetensors
------------------------
Weights at their true width; numpy is all that is needed.

    python -c "
    from packed_reader import read_packed
    for name, layer in read_packed('model.packed.safetensors').items():
        print(name, layer.codes().shape, layer.values().std())"
""",
    C_ARCHIVE: """\
c/
--
C99, integers only, no heap, no library. `main.c` reads codes of images and writes integers; `network.h` says how a
pixel becomes a code and what an integer is worth.

    cc -std=c99 -Wall -Wextra -Werror -O2 -o network c/network.c c/main.c
    ./network < codes > integers
""",
}
_TAIL = """\
The same again
--------------
    curl -H "Content-Type: application/json" --data @job.json http://127.0.0.1:8000/jobs

The policy is the candidate `own-1` of that job. `model_id` and `dataset_id` are those of the installation that made
this; elsewhere, upload the files with these hashes (SHA-256), and put the ids that you are given in their place:

model
{model}
data set
{dataset}"""
