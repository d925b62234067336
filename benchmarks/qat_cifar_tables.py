"""The tables and checks of benchmarks.qat_cifar, from kept results alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.paired import Difference, paired_difference
from benchmarks.published_accuracy import RESNET20, Published, orders, published
from benchmarks.qat_document import table
from benchmarks.qat_runs import FloatResult, Group, RunResult, by_group, decoded

SEEDS = 3
MOST_LOST = {(4, 4): 0.5, (3, 3): 1.5, (2, 4): 3.0}  # points, by widths
HADQ_BITS = (4, 5, 8)
Groups = dict[Group, list[RunResult]]


@dataclass(frozen=True)
class Check:
    """`met` is None where a run is still missing."""

    name: str
    goal: str
    measured: str
    met: bool | None

    @property
    def state(self) -> str:
        """In words."""
        return "not yet run" if self.met is None else "met" if self.met else "missed"


def right(runs: Sequence[RunResult]) -> NDArray[np.bool_]:
    """Seeds x images."""
    return np.stack([decoded(run.trained)[1] for run in runs])


def difference(groups: Groups, one: Group, other: Group) -> Difference | None:
    """`one` minus `other`, over the seeds that both have; None where there is none."""
    first = {run.config.seed: run for run in groups.get(one, [])}
    second = {run.config.seed: run for run in groups.get(other, [])}
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return None
    return paired_difference(right([first[seed] for seed in seeds]), right([second[seed] for seed in seeds]))


def of_recipe(results: Sequence[RunResult], recipe: str) -> Groups:
    """The runs of a recipe."""
    return by_group(result for result in results if result.config.recipe == recipe)


def mean_of(runs: Sequence[RunResult]) -> float:
    """Percent right, over the seeds."""
    return 100 * float(np.mean([run.report.trained for run in runs]))


# Tables


def section(exact: FloatResult, results: Sequence[RunResult]) -> list[str]:
    """Everything, as Markdown."""
    lines = [f"Float: {100 * exact.report:.1f} % on the {len(exact.predictions)} test images.", ""]
    for recipe in ("common", "best"):
        groups = of_recipe(results, recipe)
        if groups:
            lines += [f"### The {recipe} recipe", "", recipe_text(results, recipe), ""]
            lines += accuracy_table(exact, groups)
    lines += ["### Method against method, the common recipe", ""]
    lines += [
        "Points by which the first is above the second, paired by image and seed, with 95 % intervals (crossed",
        "bootstrap over images and seeds). An order is contradicted where an interval lies on the other side of zero.",
        "",
    ]
    lines += pair_table(of_recipe(results, "common"))
    lines += ["### Checks", ""]
    return lines + table(
        ("check", "goal", "measured", ""),
        [(check.name, check.goal, check.measured, check.state) for check in checks(exact, results)],
    )


def recipe_text(results: Sequence[RunResult], recipe: str) -> str:
    """The recipe as the runs hold it."""
    run = next(result.config for result in results if result.config.recipe == recipe)
    fields = ", ".join(f"{name} {value}" for name, value in run.training.items())
    return f"{fields}; first and last layer {run.first_last}, joins {run.residual_bits} bits; from the float network."


def accuracy_table(exact: FloatResult, groups: Groups) -> list[str]:
    """A row for each method at each pair of widths."""
    head = ("W/A", "method", "seeds", "calibrated", "trained", "to float", "published", "min a run")
    order = sorted(groups, key=lambda group: (-group[1], -group[2], -mean_of(groups[group])))
    return table(head, [_accuracy_row(exact, group, groups[group]) for group in order])


def _accuracy_row(exact: FloatResult, group: Group, runs: Sequence[RunResult]) -> list[str]:
    method, weights, activations = group
    trained = np.array([100 * run.report.trained for run in runs])
    spread = f" ± {trained.std(ddof=1):.1f}" if len(runs) > 1 else ""
    diverged = f", {sum(run.diverged is not None for run in runs)} diverged" if any(r.diverged for r in runs) else ""
    printed = published(method, weights) if weights == activations else []
    return [
        f"{weights}/{activations}",
        method,
        str(len(runs)),
        f"{100 * np.mean([run.report.calibrated for run in runs]):.1f}",
        f"{trained.mean():.1f}{spread}{diverged}",
        f"{trained.mean() - 100 * exact.report:+.1f}",
        "; ".join(map(_printed, printed)) or "-",
        f"{np.mean([run.seconds for run in runs]) / 60:.1f}",
    ]


def _printed(figure: Published) -> str:
    where = "" if figure.network == RESNET20 else f" on {figure.network}"
    return f"{figure.accuracy:g}{where} ({figure.source})"


def pair_table(groups: Groups) -> list[str]:
    """Every published order at every width that both methods have run at, and every other pair."""
    rows = []
    for bits in sorted({weights for _, weights, activations in groups if weights == activations}, reverse=True):
        lower_than = {(one.method, other.method): (one, other) for one, other in reversed(orders(bits))}
        methods = sorted({method for method, *widths in groups if widths == [bits, bits]})
        for pair in ((high, low) for high in methods for low in methods if high != low):
            if (pair[1], pair[0]) in lower_than or (pair[0] < pair[1] and pair not in lower_than):
                rows.append(_pair_row(groups, bits, pair, lower_than.get((pair[1], pair[0]))))
    return table(("W/A", "pair", "difference", "published", "order"), rows)


def _pair_row(
    groups: Groups, bits: int, pair: tuple[str, str], printed: tuple[Published, Published] | None
) -> list[str]:
    found = difference(groups, (pair[0], bits, bits), (pair[1], bits, bits))
    assert found is not None or printed is not None
    shown, verdict = "-", "-"
    if printed is not None:
        shown = f"{printed[1].accuracy - printed[0].accuracy:+.1f} on {printed[0].network} ({printed[1].source})"
        verdict = "contradicted" if _contradicts(found) else "kept"
    return [f"{bits}/{bits}", f"{pair[0]} - {pair[1]}", found.text if found else "-", shown, verdict]


def _contradicts(found: Difference | None) -> bool:
    return found is not None and found.high < 0


# Checks


def checks(exact: FloatResult, results: Sequence[RunResult]) -> list[Check]:
    """Everything that is asked for."""
    common = of_recipe(results, "common")
    return [
        *(_best_method(exact, results, widths) for widths in MOST_LOST),
        *(_order(common, bits) for bits in (4, 3, 2)),
        *(_not_below(common, bits, other) for bits in HADQ_BITS for other in ("dorefa", "pact")),
        *(_near_lsq(common, bits) for bits in HADQ_BITS),
        _above_calibrated(common),
    ]


def _best_method(exact: FloatResult, results: Sequence[RunResult], widths: tuple[int, int]) -> Check:
    name, goal = f"best method at {widths[0]}/{widths[1]}", f"at most {MOST_LOST[widths]} points under float"
    groups = {
        (recipe, group[0]): runs
        for recipe in ("common", "best")
        for group, runs in of_recipe(results, recipe).items()
        if group[1:] == widths and len(runs) >= SEEDS
    }
    if not groups:
        return Check(name, goal, "-", None)
    recipe, method = max(groups, key=lambda key: mean_of(groups[key]))
    lost = 100 * exact.report - mean_of(groups[recipe, method])
    return Check(name, goal, f"{lost:+.1f} under ({method}, {recipe} recipe)", lost <= MOST_LOST[widths])


def _order(groups: Groups, bits: int) -> Check:
    pairs = sorted({(one.method, other.method) for one, other in orders(bits)})
    pairs = [pair for pair in pairs if "apot" not in pair]
    name, goal = f"papers' order at {bits}/{bits}", "no interval on the other side of zero"
    found = {pair: difference(groups, (pair[1], bits, bits), (pair[0], bits, bits)) for pair in pairs}
    against = [f"{low} above {high} by {-d.mean * 100:.1f}" for (low, high), d in found.items() if d and d.high < 0]
    if against:
        return Check(name, goal, "; ".join(against), met=False)
    complete = all(len(groups.get((method, bits, bits), [])) >= SEEDS for pair in pairs for method in pair)
    return Check(name, goal, f"{len(pairs)} pairs, none" if complete else "-", True if complete else None)


def _not_below(groups: Groups, bits: int, other: str) -> Check:
    found = _complete(groups, "hadq", other, bits)
    name, goal = f"HADQ-Net against {other} at {bits}/{bits}", "not below: interval reaches 0"
    return Check(name, goal, found.text if found else "-", found.high >= 0 if found else None)


def _near_lsq(groups: Groups, bits: int) -> Check:
    found = _complete(groups, "hadq", "lsq", bits)
    name, goal = f"HADQ-Net against lsq at {bits}/{bits}", "at most 1 point under"
    return Check(name, goal, found.text if found else "-", found.mean >= -0.01 if found else None)


def _above_calibrated(groups: Groups) -> Check:
    runs = groups.get(("hadq", 4, 4), [])
    name, goal = "HADQ-Net trained against calibrated at 4/4", "at least 2 points above"
    if len(runs) < SEEDS:
        return Check(name, goal, "-", None)
    found = paired_difference(right(runs), np.stack([decoded(run.calibrated)[1] for run in runs]))
    return Check(name, goal, found.text, found.mean >= 0.02)


def _complete(groups: Groups, one: str, other: str, bits: int) -> Difference | None:
    if any(len(groups.get((method, bits, bits), [])) < SEEDS for method in (one, other)):
        return None
    return difference(groups, (one, bits, bits), (other, bits, bits))


def show_checks(found: Sequence[Check]) -> int:
    """Print each; 1 where one is missed."""
    for check in found:
        print(f"{check.state:12} {check.name}: {check.measured} ({check.goal})")
    return int(any(check.met is False for check in found))
