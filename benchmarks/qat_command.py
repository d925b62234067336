"""What the studies of quantization-aware training share as commands: options, the runs, the tables in the page."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import cifar
from benchmarks.qat_document import write_section
from benchmarks.qat_runs import FloatResult, Opener, RunConfig, RunResult, all_kept, float_kept, run_missing

Section = Callable[[FloatResult, Sequence[RunResult]], list[str]]  # the tables, as Markdown


def study_parser(name: str, documentation: str | None, results: Path, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """The options of every study; what else it asks for, it adds. `name`: of its folder to work in."""
    parser = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter)
    cifar.add_data_argument(parser)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(seeds))
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "bitfront-qat" / name)
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--only-table", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results/qat.md")
    return parser


def parsed(parser: argparse.ArgumentParser, data: str) -> argparse.Namespace:
    """The command line; `folder` is where the data lie, None where nothing is to be computed."""
    arguments = parser.parse_args()
    arguments.folder = None if arguments.only_table else cifar.folder(parser, arguments.data, data)
    return arguments


def run_all(
    arguments: argparse.Namespace, opener: Opener, wanted: Sequence[RunConfig], write: Callable[[], None]
) -> None:
    """The runs that are missing; with `--write` the page follows every one, so that it never lags behind."""
    for _ in run_missing(opener, arguments.folder, arguments.work, arguments.results, wanted, jobs=arguments.jobs):
        if arguments.write:
            write()


def write_page(name: str, section: Section, results: Path) -> None:
    """The tables of what there is, into the page."""
    exact, found = float_kept(results), list(all_kept(results))
    if exact is not None and found:
        write_section(name, section(exact, found))


def show_all(results: Path, section: Section) -> tuple[FloatResult, list[RunResult]] | None:
    """Print the tables of what there is, and answer it; None where there is nothing yet."""
    exact, found = float_kept(results), list(all_kept(results))
    if exact is None or not found:
        print("there is no result yet", file=sys.stderr)
        return None
    print("\n".join(section(exact, found)))
    return exact, found
