"""The targets that ship with Bitfront, one TOML file each."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from core.errors import InvalidInput
from core.hardware.target import Target
from core.hardware.target_file import MAX_BYTES, read_target_text

TARGETS_FOLDER = Path(__file__).parent


def read_target(path: Path) -> Target:
    """One target; InvalidInput names the file, the line and what is wrong there."""
    if path.stat().st_size > MAX_BYTES:
        raise InvalidInput(f"{path.name} is larger than {MAX_BYTES:,} bytes", hint="is it the text of a target?")
    try:
        return read_target_text(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path.name} is not text in UTF-8", hint="see the targets that ship") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path.name}: {error.message}", hint=error.hint, **error.detail) from error


@cache
def load_targets() -> dict[str, Target]:
    """All targets by id, in alphabetical order."""
    targets = [read_target(path) for path in sorted(TARGETS_FOLDER.glob("*.toml"))]
    return {target.id: target for target in targets}


def target_text(target_id: str) -> str:
    """The TOML of one that ships, with its comments: a text to start one's own from."""
    return (TARGETS_FOLDER / f"{load_targets()[target_id].id}.toml").read_text(encoding="utf-8")
