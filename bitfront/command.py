"""The command `bitfront`. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from core.errors import BitfrontError

app = typer.Typer(
    name="bitfront",
    help="How few bits does each layer of a neural network need on a given chip?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console()

Targets = Annotated[
    list[str],
    typer.Option("--target", help="hardware, or a TOML file of your own; may be given several times"),
]
Architecture = Annotated[
    str | None, typer.Option(help="for .safetensors: the named architecture (see: bitfront methods)")
]

Data = Annotated[
    list[str],
    typer.Option(help=".npz or .zip, or FILE:train, FILE:select, FILE:report; several make one data set"),
]
Server = Annotated[str | None, typer.Option(help="address of a service  [default: the one on this machine]")]


@app.command()
def up() -> None:
    """Start everything on this machine and print the address; Ctrl-C stops it."""
    from bitfront.supervisor import run_everything  # noqa: PLC0415
    from core.settings import Settings  # noqa: PLC0415

    run_everything(Settings())


@app.command()
def quantize(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=".onnx or .safetensors")],
    out: Annotated[Path, typer.Option(help="where the results go; must not exist or be empty")],
    data: Data = [],  # noqa: B006
    synthetic: Annotated[
        str | None,
        typer.Option(help="without --data, where images come from: distilled, generator, range-noise"),
    ] = None,
    target: Targets = [],  # noqa: B006 - typer copies it
    points: Annotated[int | None, typer.Option(min=1, max=64, help="on the front  [default: 8]")] = None,
    method: Annotated[str | None, typer.Option(help="quantizer; see: bitfront methods  [default: lsq]")] = None,
    setting: Annotated[
        list[str], typer.Option(help="of the method, as name=value; may be given several times (see: bitfront methods)")
    ] = [],  # noqa: B006
    insert_normalisation: Annotated[
        bool, typer.Option("--insert-normalisation", help="put batch norms behind layers that came without")
    ] = False,
    strategy: Annotated[str | None, typer.Option(help="search strategy  [default: exact]")] = None,
    metric: Annotated[str | None, typer.Option(help="sensitivity metric  [default: hessian-trace]")] = None,
    epochs: Annotated[int | None, typer.Option(min=0, help="of fine-tuning; 0 only calibrates  [default: 3]")] = None,
    bits: Annotated[
        str | None, typer.Option(help="widths to choose from, for example 4,8 or 2-6  [default: 2-8]")
    ] = None,
    at_most: Annotated[
        float | None, typer.Option(help="latency on the first target, as a share of uniform 8/8")
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="JSON or TOML with parts of a job, such as [training]: the recipe; what is typed wins over it",
        ),
    ] = None,
    policy: Annotated[
        list[str],
        typer.Option(
            help="file with a policy to evaluate beside the front: policy.json, HAQ's .npy, HAWQ's bit_config "
            "(FILE:NAME for one of several), AIMET's encodings; may be given several times",
        ),
    ] = [],  # noqa: B006
    architecture: Architecture = None,
    preprocessing: Annotated[
        Path | None, typer.Option(exists=True, help="JSON: scale, mean, std, channel_order, size")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    processes: Annotated[int, typer.Option(min=1, max=256, help="tasks that run at once")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
) -> None:
    """Find the bits of every layer, train, export, and compare: the service's stages in the terminal."""
    from bitfront.data_files import data_files  # noqa: PLC0415
    from bitfront.quantize import QuantizeRequest, quantize_locally  # noqa: PLC0415

    request = QuantizeRequest(
        model=model, data=data_files(data), out=out, targets=target, points=points, method=method, settings=setting,
        insert_normalisation=insert_normalisation, strategy=strategy, metric=metric, epochs=epochs,
        bits=parse_bits(bits) if bits else (), at_most=at_most, job=job, policies=policy, architecture=architecture,
        preprocessing=preprocessing, synthetic=synthetic, seed=seed, processes=processes, device=device,
    )  # fmt: skip
    quantize_locally(request, console)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="where the results go")] = Path("bitfront-demo"),
    processes: Annotated[int, typer.Option(min=1, max=256)] = 2,
) -> None:
    """Run the example (scanned digits) in the terminal."""
    from uuid import NAMESPACE_URL, uuid5  # noqa: PLC0415

    from bitfront.data_files import DataFile  # noqa: PLC0415
    from bitfront.example import (  # noqa: PLC0415
        example_dataset_path,
        example_model_path,
        example_preprocessing_path,
        example_specification,
    )
    from bitfront.quantize import QuantizeRequest, quantize_locally  # noqa: PLC0415
    from core.jobs.specification import JobSpecification  # noqa: PLC0415

    model, data = example_model_path(), example_dataset_path()
    body = example_specification(uuid5(NAMESPACE_URL, model.name), uuid5(NAMESPACE_URL, data.name))
    specification = JobSpecification.model_validate(body)
    request = QuantizeRequest(
        model=model, data=[DataFile(data)], out=out, targets=list(specification.targets),
        preprocessing=example_preprocessing_path(), processes=processes,
    )  # fmt: skip
    quantize_locally(request, console, specification)


@app.command()
def submit(
    job: Annotated[
        Path,
        typer.Argument(exists=True, dir_okay=False, help="job.json of a bundle, or JSON or TOML with parts of a job"),
    ],
    model: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="the network; uploaded unless it is there already")
    ] = None,
    data: Data = [],  # noqa: B006
    architecture: Architecture = None,
    preprocessing: Annotated[
        Path | None, typer.Option(exists=True, help="JSON; preprocessing.json of a bundle, for example")
    ] = None,
    policy: Annotated[
        list[str], typer.Option(help="file with a policy to evaluate beside the front, as for quantize")
    ] = [],  # noqa: B006
    target: Targets = [],  # noqa: B006
    wait: Annotated[bool, typer.Option("--wait", help="until the job has ended; status 1 if it failed")] = False,
    server: Server = None,
) -> None:
    """Start a job at a service; upload what it has not got."""
    from bitfront import submit as sending  # noqa: PLC0415
    from bitfront.client import connect  # noqa: PLC0415
    from bitfront.data_files import data_files  # noqa: PLC0415

    given = sending.Submission(job, model, data_files(data), architecture, preprocessing, policy, target)
    with connect(server) as client:
        made = sending.submit(client, given)
        console.print(f"Job {made['id']}: {client.address}/ui/jobs/{made['id']}", markup=False, soft_wrap=True)
        if wait:
            sending.wait(client, made["id"], console)


@app.command()
def jobs(server: Server = None) -> None:
    """List the jobs of a service, newest first, with their points."""
    from bitfront.client import connect  # noqa: PLC0415

    table = Table(Column("id", no_wrap=True), "name", "state", "points", title="Jobs")
    with connect(server) as client:
        for job in client.call("GET", "/jobs")["items"]:
            points = ", ".join(each["name"] for each in client.items(f"/jobs/{job['id']}/candidates"))
            table.add_row(job["id"], escape(job["name"]), job["state"], points)
    console.print(table)


@app.command()
def bundle(
    point: Annotated[
        str, typer.Argument(help="JOB/NAME, such as 01a1…/point-3 (see: bitfront jobs), or a candidate's id")
    ],
    out: Annotated[Path | None, typer.Option(help="file or folder  [default: NAME.bundle.zip here]")] = None,
    server: Server = None,
) -> None:
    """Fetch everything about a point of a service in one zip: files, parity, figures, how to run it, job.json."""
    from bitfront.bundle_download import fetch_bundle  # noqa: PLC0415
    from bitfront.client import connect  # noqa: PLC0415

    with connect(server) as client:
        console.print(str(fetch_bundle(client, point, out)), markup=False, soft_wrap=True)


@app.command()
def targets(
    name: Annotated[
        str | None, typer.Argument(help="an id, or a TOML file of your own, which is checked: all there is to know")
    ] = None,
    toml: Annotated[bool, typer.Option("--toml", help="its TOML, to start your own from")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="keep a file at a service, new or in place of itself")] = False,
    server: Server = None,
) -> None:
    """List the hardware that can be searched for; or describe one target, and check or keep one of your own."""
    from bitfront.client import connect  # noqa: PLC0415
    from bitfront.targets import keep_target, print_target, print_targets  # noqa: PLC0415

    if name is None:
        print_targets(console)
        return
    if not keep:
        print_target(name, console, toml=toml)
        return
    with connect(server) as client:
        kept = keep_target(client, name)
        console.print(f"Kept: {client.address}/ui/targets/{kept['id']}", markup=False, soft_wrap=True)


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(help="a quantizer: all there is to know about it, and its settings")
    ] = None,
) -> None:
    """List quantizers, observers, sensitivity metrics, strategies and architectures; or describe one quantizer."""
    from bitfront.methods import print_method, print_methods  # noqa: PLC0415

    if name is None:
        print_methods(console)
    else:
        print_method(name, console)


@app.command()
def simulate(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    target: Targets,
    bits: Annotated[str, typer.Option(help="weights/activations of every layer, for what is printed")] = "8/8",
    architecture: Architecture = None,
    weight_bits: Annotated[str, typer.Option(help="widths of the files' tables, such as 1-8 or 2,4,8")] = "1-8",
    activation_bits: Annotated[str, typer.Option(help="the same for activations")] = "1-8",
    csv: Annotated[Path | None, typer.Option(help="write the table, layers x bits x bits, here")] = None,
    json: Annotated[Path | None, typer.Option(help="the same with units and the whole target")] = None,
    npy: Annotated[Path | None, typer.Option(help="latency in seconds as an array, described beside it")] = None,
    npz: Annotated[Path | None, typer.Option(help="every array of the table, described")] = None,
    haq: Annotated[Path | None, typer.Option(help="HAQ's own layout: clock cycles as .npy, 1 to 8 bits")] = None,
) -> None:
    """What a network costs on a target, layer by layer, or on several; and its tables as files."""
    from bitfront.simulate import SimulateRequest, simulate_model  # noqa: PLC0415

    weights, _, activations = bits.partition("/")
    if not (weights.isdigit() and activations.isdigit() and len(bits) < 8):
        raise typer.BadParameter(f"{bits!r} is not of the form 4/4", param_hint="--bits")
    given = {"csv": csv, "json": json, "npy": npy, "npz": npz, "haq": haq}
    files = {form: path for form, path in given.items() if path is not None}
    printed = int(weights), int(activations)
    request = SimulateRequest(model, target, printed, files, weight_bits, activation_bits, architecture)
    simulate_model(request, console)


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help=".onnx or .safetensors")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="TOML of the target, named after the file")],
    architecture: Architecture = None,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, max=1024, help="[default: all cores]")] = None,
    batch: Annotated[int, typer.Option(min=1, max=4096, help="images per pass")] = 1,
    repetitions: Annotated[int, typer.Option(min=5, max=100_000, help="of each layer, within a second")] = 50,
) -> None:
    """Measure a network on this machine, layer by layer and whole, in float and int8; the result is a target."""
    from bitfront.measure import MeasureRequest, measure_model  # noqa: PLC0415

    measure_model(MeasureRequest(model, out, architecture, device, threads, batch, repetitions), console)


@app.command()
def fit(
    target: Annotated[str, typer.Argument(help="TOML of a target, or an id (see: bitfront targets)")],
    measurements: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV, JSON, or TOML that measure wrote")
    ],
    model: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="the network that was measured")],
    free: Annotated[str, typer.Option(help="parameters to fit, as a,b")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="TOML of the fitted target, named after the file")],
    keep_apart: Annotated[float, typer.Option(min=0, max=0.99, help="share of the layers that only judges")] = 0.25,
    architecture: Architecture = None,
) -> None:
    """Fit a target's free parameters to measurements, and show how well they predict what was kept apart."""
    from bitfront.fit import fit_target  # noqa: PLC0415

    fit_target(target, measurements, model, architecture, free, keep_apart, out, console)


def parse_bits(text: str) -> tuple[int, ...]:
    """`2-8` or `2,4,8` as widths in increasing order. Raises typer.BadParameter."""
    try:
        first, dash, last = text.partition("-")
        widths = range(int(first), int(last) + 1) if dash else (int(part) for part in text.split(","))
        return tuple(sorted(set(widths)))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not of the form 2-8 or 2,4,8", param_hint="--bits") from None


def main() -> None:
    """Runs the command; an expected error is printed with what to do, and ends with status 1."""
    try:
        app()
    except BitfrontError as error:
        console.print(f"[bold red]{error.code}[/]: ", end="")
        console.print(error.message, markup=False, highlight=False)
        for fault in error.detail.get("errors", [])[1:]:
            line = f"line {fault['line']}: " if fault.get("line") else ""
            hint = f" ({fault['hint']})" if fault.get("hint") else ""
            console.print(f"  {line}{fault['path']}: {fault['message']}{hint}", markup=False, highlight=False)
        if error.hint:
            console.print(f"What to do: {error.hint}", markup=False, highlight=False)
        sys.exit(1)
