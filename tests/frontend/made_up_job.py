"""A job that never ran, in the shapes the API answers, for looking at the pages only. No figure here is a result."""

from __future__ import annotations

import math
import random
from typing import Any

Json = dict[str, Any]
MODEL_ID, DATASET_ID = "00000000-0000-7000-8000-00000000000a", "00000000-0000-7000-8000-00000000000b"
TARGETS = {"bismo-cloud": ("BISMO cloud", 16, 1.0), "bismo-edge": ("BISMO edge", 1, 6.5)}
STAGES = (
    "inspect",
    "calibrate",
    "traces",
    "sensitivity",
    "costs",
    "search",
    "evaluate",
    "finetune",
    "export",
    "report",
)
TRAINED = {
    "calibrated_select_accuracy": 0.871,
    "best_epoch": 4,
    "stopped": "patience",
    "diverged": None,
    "resumed_from_epoch": 0,
    "stages": [
        {"title": "at least 5 bits", "epochs": 2, "layers": ["conv1", "fc"]},
        {"title": "the policy itself", "epochs": 3, "layers": ["fc"]},
    ],
    "block_order": "together",
    "batch_norm": "measured anew",
    "first_last": "8/8",
}
_MSE = {"observer": "mse", "rounding": "nearest", "bias_correction": "none"}
_ROUNDED = {"observer": "mse", "rounding": "adaround", "bias_correction": "none"}
_UNIT = {"layers": ["conv1"], "kept": "rounded", "why": "", "error_nearest": 0.02, "error_rounded": 0.01,
         "moved": 0.125, "iterations": 500}  # fmt: skip
POST_TRAINING = {
    "budget_s": 120.0,
    "kept": _ROUNDED,
    "tried": [
        {"treatment": _MSE, "divergence": 0.0412, "agreement": 0.95, "seconds": 1.5, "why_not": "", "report": None},
        {"treatment": _ROUNDED, "divergence": 0.0123, "agreement": 0.98, "seconds": 80.0, "why_not": "",
         "report": {"rounding": {"rounding": "adaround", "images": 512, "held_back": 64, "units": [_UNIT],
                                 "resumed_from_unit": 0, "seconds": 78.0}, "bias_correction": "none", "seconds": 78.0}},
        {"treatment": {**_ROUNDED, "rounding": "qdrop"}, "divergence": None, "agreement": None, "seconds": 0.0,
         "why_not": "the budget was used up", "report": None},
    ],
}  # fmt: skip
HOSTILE = '<img src=x onerror="window.hacked=1">'


def layer_name(index: int, hostile: bool) -> str:
    if hostile and index == 3:
        return HOSTILE
    return "conv1" if index == 0 else f"layer{1 + index // 9}.{index % 9 // 2}.conv{1 + index % 2}"


def inventory(count: int, hostile: bool = False) -> Json:
    layers, size, channels = [], 32, 16
    for index in range(count - 1):
        if index in (count // 3, 2 * count // 3):
            size, channels = size // 2, channels * 2
        inputs = 3 if index == 0 else channels
        layers.append(
            {
                "name": layer_name(index, hostile),
                "kind": "conv2d",
                "input_shape": [inputs, size, size],
                "output_shape": [channels, size, size],
                "weight_shape": [channels, inputs, 3, 3],
                "stride": [1, 1],
                "padding": [1, 1, 1, 1],
                "groups": 1,
                "macs": 9 * inputs * channels * size * size,
                "parameters": 9 * inputs * channels,
                "bias_parameters": 0,
                "reads": f"relu_{5 if index == 6 else index}",
                "reads_signed": index == 0,
                "batch_norm": f"bn{index}",
                "tied_with": [layer_name(11 - index, hostile)] if index in (5, 6) else [],
            }
        )
    layers.append(
        {
            "name": "fc",
            "kind": "linear",
            "input_shape": [channels],
            "output_shape": [10],
            "weight_shape": [10, channels],
            "stride": [1, 1],
            "padding": [0, 0, 0, 0],
            "groups": 1,
            "macs": 10 * channels,
            "parameters": 10 * channels,
            "bias_parameters": 10,
            "reads": "pool",
            "reads_signed": False,
            "batch_norm": None,
            "tied_with": [],
        }
    )
    return {
        "source": "ONNX opset 17, pytorch 2.13",
        "input_shape": [3, 32, 32],
        "input_layout": "NCHW",
        "classes": 10,
        "layers": layers,
        "total_parameters": sum(layer["parameters"] for layer in layers),
        "total_macs": sum(layer["macs"] for layer in layers),
        "warnings": [],
    }


def policy(layers: list[Json], budget: float, chance: random.Random) -> Json:
    def draw() -> int:
        return max(2, min(8, round(chance.gauss(budget, 1.2))))

    bits = {layer["name"]: {"weights": draw(), "activations": draw()} for layer in layers}
    bits[layers[6]["name"]]["activations"] = bits[layers[5]["name"]]["activations"]  # they read one tensor
    bits[layers[0]["name"]] = bits[layers[-1]["name"]] = {"weights": 8, "activations": 8}
    return {"version": 1, "layers": bits, "residual_bits": 16}


def uniform(layers: list[Json], width: int) -> Json:
    bits = {layer["name"]: {"weights": width, "activations": width} for layer in layers}
    bits[layers[6]["name"]]["activations"] = bits[layers[5]["name"]]["activations"]  # they read one tensor
    bits[layers[0]["name"]] = bits[layers[-1]["name"]] = {"weights": 8, "activations": 8}
    return {"version": 1, "layers": bits, "residual_bits": 16}


def costs(layers: list[Json], bits: Json, factor: float) -> Json:
    rows = []
    for layer in layers:
        chosen = bits["layers"][layer["name"]]
        compute = layer["macs"] * chosen["weights"] * chosen["activations"] / 4e13 * factor
        memory = layer["parameters"] * chosen["weights"] / 2e10 * factor
        cause = "compute" if compute > memory else "weight transfer"
        rows.append({"name": layer["name"], "latency_s": max(compute, memory), "bound_by": cause})
    return {
        "latency_s": sum(row["latency_s"] for row in rows),
        "energy_j": None,
        "provenance": "simulated",
        "layers": rows,
        "bound_by": {row["name"]: row["bound_by"] for row in rows},
    }


def comparison(name: str, **figures: Any) -> Json:
    return {"name": name, "title": f"{name} title", "meaning": f"what {name} means", "skipped": None, "images": 1000,
            "outputs": 10_000, "outputs_equal": 10_000, "agreement": 1.0, "max_abs_difference": 0.0,
            "largest_output": 12.5, "accuracy": 0.9, "accuracy_against": 0.9, "codes": None, **figures}  # fmt: skip


def parity(trained: float) -> Json:
    codes = {"sites": 20, "codes": 10**6, "equal": 0.9981, "within_one_step": 0.99999}
    close = {"agreement": 0.9989, "max_abs_difference": 0.013, "accuracy": trained - 0.0003,
             "accuracy_against": trained}  # fmt: skip
    return {
        "images": 1000,
        "comparisons": [
            comparison("qdq-training", outputs_equal=9000, **close),
            comparison("executor-training", outputs_equal=10, codes=codes, **close),
            comparison("executor-deploy", images=48, outputs=480, outputs_equal=480),
            comparison("integer-onnx-executor", outputs_equal=9_999),
            comparison("compiled-executor", skipped="not compiled here: no C compiler (cc) was found"),
        ],
        "refused": {"model.c.zip": HOSTILE},
        "files": [{"name": "model.onnx", "file_bytes": 300_000, "promised_bytes": 130_000, "note": "types of ONNX"}],
    }


def timing(network: str, median_s: float) -> Json:
    return {"network": network, "median_s": median_s, "lower_quartile_s": 0.9 * median_s,
            "upper_quartile_s": 1.2 * median_s, "fastest_s": 0.8 * median_s}  # fmt: skip


SPEED: Json = {
    "provenance": "measured",
    "device": "A processor",
    "threads": 1,
    "batch": 1,
    "warm_up": 3,
    "repetitions": 57,
    "onnxruntime_version": "1.31.1",
    "timings": [timing("float", 2e-3), timing("8 bits", 1e-3), timing("this point", 2.5e-3)],
    "notes": ["Fewer than 8 bits bring no speed on this device: so it says."],
}


def candidate(number: int, name: str, origin: str, layers: list[Json], bits: Json, evaluated: bool = True) -> Json:
    mean = sum(b["weights"] + b["activations"] for b in bits["layers"].values()) / (2 * len(layers))
    searched = 0.9 if origin == "search" else 0.0
    loss = 2.2 * math.exp(-0.95 * (mean + searched)) * (1 + 0.1 * math.sin(number))
    calibrated, trained = max(0.1, 0.934 - 1.6 * loss), 0.934 - 0.3 * loss

    def measured(accuracy: float) -> Json:
        return {
            split: {"accuracy": accuracy + shift, "loss": 0.2 + loss}
            for split, shift in (("select", 0.004), ("report", 0))
        }

    history = [
        {"epoch": e, "loss": loss + 1.2 / (e + 1), "select_accuracy": trained - 0.05 / (e + 1), "seconds": 3.1}
        for e in range(5)
    ]
    return {
        "id": f"00000000-0000-7000-8000-0000000001{number:02d}",
        "name": name,
        "origin": origin,
        "point": number,
        "state": "exported" if evaluated else "proposed",
        "policy": bits,
        "costs": {key: costs(layers, bits, factor) for key, (_, _, factor) in TARGETS.items()},
        "size_bytes": sum(layer["parameters"] * bits["layers"][layer["name"]]["weights"] for layer in layers) / 8,
        "bit_operations": sum(
            layer["macs"] * b["weights"] * b["activations"]
            for layer, b in zip(layers, bits["layers"].values(), strict=False)
        ),
        "predicted": {"loss_increase": loss},
        "on_front": evaluated and origin == "search",
        "dominated": origin != "search",
        "measured": {"calibrated": measured(calibrated), "trained": measured(trained)} if evaluated else None,
        "problem": None,
        "certificate": certificate(number, loss),
        "parity": parity(trained) if evaluated else None,
        "speed": SPEED if evaluated else None,
        "history": history if evaluated else None,
        "post_training": POST_TRAINING if evaluated else None,
        "training": TRAINED if evaluated else None,
    }


def certificate(number: int, loss: float) -> Json | None:
    """Proved by looking at everything, by a solver with a gap left, by a whole front, and not at all."""
    if number % 4 == 3:
        return None
    proof, gap = (("enumeration", 0.0), ("solver", 0.01 * loss), ("front", 0.002 * loss))[number % 4]
    return {"of": "predicted loss", "objective": loss, "bound": loss - gap, "gap": gap, "proof": proof,
            "rechecked": True}  # fmt: skip


def candidates(count: int, running: bool = False, hostile: bool = False) -> list[Json]:
    layers, chance = inventory(count, hostile)["layers"], random.Random(7)
    found = [
        candidate(
            k, f"point-{k + 1}", "search", layers, policy(layers, 2.4 + 0.62 * k, chance), not (running and k > 4)
        )
        for k in range(8)
    ]
    found += [
        candidate(8 + k, f"uniform-{width}", "uniform", layers, uniform(layers, width), not running)
        for k, width in enumerate((8, 6, 5, 4, 3, 2))
    ]
    if not running:
        found[13].update(
            state="failed",
            measured=None,
            parity=None,
            history=found[13]["history"][:1],
            training={**TRAINED, "best_epoch": 0, "stopped": "diverged", "diverged": "the loss became infinite"},
            problem={
                "title": "Training diverged",
                "code": "diverged",
                "status": 500,
                "detail": "the loss became infinite in epoch 2",
                "hint": "lower the learning rate",
            },
        )
    return found


def metrics_compared(count: int) -> Json:
    """Three metrics beside the measured loss."""

    def side(value: float) -> Json:
        return {"value": value, "standard_error": 0.08, "count": count}

    rows = [("hessian-trace", 0.81, 0.62), ("fisher", 0.86, 0.9), ("signal-to-noise", -0.2, 0.31)]
    return {
        "weight_bits": 4, "activation_bits": 4, "measured_weights": {}, "measured_activations": {}, "images": 128,
        "seconds": 9.5, "weights_reliability": side(0.93), "activations_reliability": side(0.95),
        "metrics": [
            {"metric": name, "weights": side(w), "activations": side(a), "weights_values": {}, "activations_values": {},
             "seconds": 21.3, "budget_s": 60, "reached_error": 0.07}
            for name, w, a in rows
        ],
    }  # fmt: skip


def searched() -> Json:
    """An agent's course, and three strategies beside it: one that is worse, one that could not, one unknown."""
    costs = [0.02 * 1.35**k for k in range(8)]

    def outcome(name: str, factor: float, **more: Any) -> Json:
        points = [{"axis_cost": x, "predicted_loss": factor * 0.05 / x, "measured_error": None} for x in costs]
        return {"strategy": name, "title": name, "reason": "", "front": points, "hypervolume": 0.8 / factor,
                "seconds": 3.0 * factor, "evaluations": 600, "notes": [],
                "course": [[k, 0.8 / factor * k / 600] for k in (1, 60, 300, 600)], **more}  # fmt: skip

    failed = {"front": [], "hypervolume": None, "course": [], "evaluations": 0, "seconds": 0.0}
    outcomes = [
        outcome("haq", 1.1),
        outcome("random", 1.7),
        outcome("exact", 1.0, course=[], evaluations=0),
        outcome("frontier", 1.0, reason=f"it cannot keep {HOSTILE}", **failed),
    ]
    steps = [
        {"evaluations": 10 * k, "best_loss": 2.0 / (1 + k % 20), "reward": -1 / k, "budget": k // 20}
        for k in range(1, 61)
    ]
    return {
        "strategy": "haq",
        "axis": "latency on bismo-cloud",
        "seconds": 12.0,
        "evaluations": 600,
        "steps": steps,
        "notes": [],
        "predicted_front": [[1.4e-5 * 1.1**k, 0.2 / (1 + k)] for k in range(20)],
        "comparison": {
            "axis": "latency on bismo-cloud",
            "evaluations": 600,
            "ideal": [0.02, 0.1],
            "reference": [0.17, 2.6],
            "tells": "loss",
            "outcomes": outcomes,
        },
    }


def report(count: int, hostile: bool = False) -> Json:
    facts, chance = inventory(count, hostile), random.Random(3)
    layers = []
    for layer in facts["layers"]:
        trace = 10 ** chance.uniform(-2.5, 0.5)
        layers.append(
            {
                "name": layer["name"],
                "score": trace,
                "standard_error": trace * 0.08,
                "weights": {str(bits): trace * 4.0 ** (2 - bits) for bits in range(1, 9)},
                "activations": {str(bits): 0.4 * trace * 4.0 ** (2 - bits) for bits in range(1, 9)},
            }
        )
    return {
        "inventory": facts,
        "float": {"select": {"accuracy": 0.938, "loss": 0.2}, "report": {"accuracy": 0.934, "loss": 0.2}},
        "sensitivity": {
            "metric": "hessian-trace",
            "score": "mean Hessian trace",
            "layers": layers,
            "seconds": 21.3,
            "budget_s": 60,
            "notes": [],
            "comparison": metrics_compared(count),
        },
        "costs": {
            key: {
                "name": name,
                "batch": batch,
                "provenance": "simulated",
                "source": "published cycle model",
                "bound_by": ["compute", "weight transfer"],
                "layers": [],
            }
            for key, (name, batch, _) in TARGETS.items()
        },
        "search": searched(),
        "on_front": {"bismo-cloud": [0, 1], "bismo-edge": [1]},
        "split_note": "train and report as given; select cut from train by seed 0",
        "provenance": {
            "seed": 0,
            "versions": {"torch": "2.13.0", "numpy": "2.3.1", "onnx": "1.23.2", "bitfront": "0.1.0"},
            "hashes": {"model": "9f86d081884c7d659a2feaa0c55ad015", "dataset": "60303ae22b998861bce3b28f33eec1be"},
            "recipe": {"epochs": 5, "learning_rate": 0.01, "distillation": True},
            "first_last": "8/8",
            "device": "cpu",
            "threads": 1,
        },
    }


def specification() -> Json:
    return {
        "model_id": MODEL_ID,
        "dataset_id": DATASET_ID,
        "name": "",
        "targets": list(TARGETS),
        "bits": {"weights": [2, 3, 4, 5, 6, 7, 8], "activations": [2, 3, 4, 5, 6, 7, 8]},
        "pins": {},
        "quantizer": {"method": "lsq", "granularity": "channel", "first_last": "8/8", "residual_bits": 16},
        "calibration": {"observer": "mse", "samples": 512},
        "sensitivity": {"metric": "hessian-trace", "budget_s": 60, "samples": 256},
        "search": {
            "strategy": "exact",
            "points": 8,
            "axis": "latency",
            "constraints": [
                {"metric": "latency", "target": "bismo-cloud", "relative_to": "uniform-8", "at_most": 0.6, "unit": None}
            ],
        },
        "training": {"epochs": 5, "learning_rate": 0.01},
        "policies": [],
        "seed": 0,
    }


def job(job_id: str, name: str, state: str = "succeeded") -> Json:
    running = state == "running"
    stages = []
    for index, stage in enumerate(STAGES):
        total = 14 if stage in ("evaluate", "finetune", "export") else 1
        done = total if not running or index < 6 else {"evaluate": 14, "finetune": 5}.get(stage, 0)
        stage_state = "succeeded" if done == total else ("running" if done else "waiting")
        stages.append(
            {
                "stage": stage,
                "state": stage_state,
                "done": done,
                "total": total,
                "progress": done / total,
                "seconds": 1.3 * (index + 1) if done else None,
                "message": "",
                "problem": None,
            }
        )
    problem = None
    if state == "failed":
        stages[5].update(state="failed", done=0)
        for stage in stages[6:]:
            stage.update(state="cancelled", done=0, progress=0, seconds=None)
        problem = {
            "title": "No policy meets the constraints",
            "code": "infeasible",
            "status": 422,
            "detail": "latency on bismo-cloud cannot be below 0.0034 s; conv1 and fc bind",
            "hint": "allow at least 0.0034 s, or fewer bits for conv1 and fc",
            "facts": {
                "metric": "latency",
                "target": "bismo-cloud",
                "smallest": 0.0034,
                "smallest_absolute": 0.0034,
                "unit": "s",
                "layers": ["conv1", "fc"],
            },
        }
        stages[5]["problem"] = problem
    return {
        "id": job_id,
        "name": name,
        "state": state,
        "stage": "finetune" if running else None,
        "progress": 0.62 if running else 1.0,
        "eta_s": 41.0 if running else None,
        "queue_position": None,
        "problem": problem,
        "created_at": "2026-11-21T02:50:00Z",
        "finished_at": None if running else "2026-11-21T02:51:31Z",
        "elapsed_s": 91.0,
        "model": {"id": MODEL_ID, "name": "resnet20"},
        "dataset": {"id": DATASET_ID, "name": "cifar10"},
        "specification": specification(),
        "stages": stages,
    }
