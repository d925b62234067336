"""What a bundle's README says: how to run each of the files that are there, and how to make the point again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.deploy.bundle import Source

C_ARCHIVE = "model.c.zip"
_PLOTS = "plots/"


def readme(name: str, model: Source, dataset: Source, files: Sequence[str]) -> str:
    """`files`: what the export wrote, and the plots."""
    parts = [_HEAD.format(name=name, model=model.name, dataset=dataset.name)]
    parts += [text for file, text in _HOW_TO_RUN.items() if file in files]
    plots = sorted(file for file in files if file.startswith(_PLOTS) and file.endswith(".json"))
    if plots:
        parts.append(_OF_PLOTS.format(one=next((each for each in plots if "front" in each), plots[0])))
    known = {*_HOW_TO_RUN, *_TOLD_OF_ALL, C_ARCHIVE}
    more = [file for file in files if file not in known and not file.startswith(_PLOTS)]
    if more:
        parts.append("Further files\n-------------\n" + "".join(f"{file}\n" for file in sorted(more)))
    parts.append(_tail(model, dataset))
    return "\n".join(parts)


def _tail(model: Source, dataset: Source) -> str:
    architecture = "" if model.architecture is None else f" --architecture {model.architecture}"
    data = " ".join(
        f"--data {_shell(file.name)}" if file.split is None else f"--data {_shell(f'{file.name}:{file.split}')}"
        for file in dataset.files
    )
    network = _shell(model.files[0].name)
    more = f"{data} --preprocessing preprocessing.json{architecture}"
    return _TAIL.format(network=network, more=more, model=_listed(model), dataset=_listed(dataset))


def _shell(text: str) -> str:
    """A file's name as one word of a shell, and on one line."""
    return shlex.quote("".join(letter if letter.isprintable() else "?" for letter in text))


def _listed(source: Source) -> str:
    return "".join(f"    {file.sha256}  {file.name}\n" for file in source.files)


_TOLD_OF_ALL = frozenset({"policy.json", "policy.csv", "parity.json", "speed.json", "packed_reader.py"})
_HEAD = """\
{name}
{model}, quantized for {dataset} with Bitfront.

policy.json, policy.csv  bits of each layer
figures.json             every figure with its unit and how it came about: evaluated, simulated, measured, ...
plots/                   the front, bits, sensitivity and latency by layer
parity.json              every file run beside the trained network: what differs, and by how much
speed.json               measured time of one image in onnxruntime, on the machine that made this
provenance.json          seed, versions, splits, recipe, hashes of what was uploaded
preprocessing.json       how pixels become inputs
job.json                 makes the same policy again
SHA256SUMS               check with: sha256sum -c SHA256SUMS

Images are N, C, H, W float32, prepared as preprocessing.json says: (pixel / scale - mean) / std.
"""
_HOW_TO_RUN = {
    "model.onnx": """\
model.onnx
----------
QuantizeLinear and DequantizeLinear around float operators; onnxruntime fuses them. It is written for the oldest ONNX
that has its types: opset 21 (onnxruntime 1.18), and opset 25 where weights have 2 bits, which takes a newer one;
provenance.json names the onnxruntime that ran it.

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
They write each node into a file of its own for onnxruntime, at the newest version that the package onnx has, which
onnxruntime may refuse ("Unsupported model IR version"): the second line keeps them to the version of this file.

    pip install qonnx
    python -c "
    import numpy, onnx
    onnx.IR_VERSION = onnx.load('model.qonnx.onnx').ir_version
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
C99, integers only, no heap, no library. `main.c` reads codes of images and writes integers; network.json says how a
pixel becomes a code and what an integer is worth, and run_network.py does both around the program.

    cc -std=c99 -Wall -Wextra -Werror -O2 -o network c/network.c c/main.c
    python -c "
    import json, numpy
    shape = json.load(open('c/network.json'))['input_shape']
    numpy.save('images.npy', numpy.zeros([1, *shape], 'float32'))"
    python c/run_network.py ./network images.npy
""",
}
_OF_PLOTS = """\
plots/
------
Each as JSON for plotly, and the same figures as a table (.csv). For a page that opens anywhere:

    pip install plotly
    python -c "
    import plotly.io
    plotly.io.read_json('{one}').write_html('plot.html')"
"""
_TAIL = """\
The same again
--------------
In a terminal, with the files that are listed below:

    bitfront quantize {network} {more} --job job.json --out again

By a service that runs; it uploads what is not there yet:

    bitfront submit job.json --model {network} {more}

Or, where this was made:

    curl -H "Content-Type: application/json" --data @job.json http://127.0.0.1:8000/jobs

The policy is the candidate `own-1` of that job. `model_id` and `dataset_id` in job.json are those of the installation
that made this. What was uploaded there (SHA-256):

model
{model}
data set
{dataset}"""
