"""The targets that ship with Bitfront, one TOML file each."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from core.errors import InvalidInput
from core.hardware.kinds.registry import kind_of
from core.hardware.target import Target

TARGETS_FOLDER = Path(__file__).parent


def read_target(path: Path) -> Target:
    """One target; InvalidInput names the file and what is wrong with it."""
    try:
        target = Target.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} is not TOML: {error}", hint="see the targets that ship") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{path.name}: {place}: {first['msg']}", hint="see the targets that ship") from error
    kind_of(target).check(target)
    return target


@cache
def load_targets() -> dict[str, Target]:
    """All targets by id, in alphabetical order."""
    targets = [read_target(path) for path in sorted(TARGETS_FOLDER.glob("*.toml"))]
    return {target.id: target for target in targets}
