"""The table of operators, filled by one file per family."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.graph.operators.operation import Operation, Value

Importer = Callable[[Operation], Value | Sequence[Value]]
OPERATORS: dict[str, Importer] = {}


def operator(*names: str) -> Callable[[Importer], Importer]:
    """Enter a function in the table as the importer of these ONNX operators."""

    def enter(importer: Importer) -> Importer:
        for name in names:
            OPERATORS[name] = importer
        return importer

    return enter
