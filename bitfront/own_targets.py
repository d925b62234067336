"""Targets as they are typed: the id of one that ships, or a TOML file of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from core.errors import InvalidInput
from core.hardware.target import Target
from core.hardware.targets import load_targets, read_target

SUFFIX = ".toml"


def named_target(name: str) -> Target:
    """InvalidInput where there is neither a target nor a file of that name, and for every fault in a file."""
    shipped = load_targets()
    if name in shipped:
        return shipped[name]
    if Path(name).is_file():
        return read_target(Path(name))
    if name.endswith(SUFFIX):
        raise InvalidInput(f"there is no file {name}", hint="name a TOML file, or the id of a target that ships")
    near = get_close_matches(name, shipped, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise InvalidInput(f"there is no target {name!r}", hint=f"{meant}name a TOML file, or one of {', '.join(shipped)}")


def with_files(body: dict[str, Any], named: Sequence[str] = ()) -> dict[str, Any]:
    """The parts of a job with `named`, if any, as its targets; those that are TOML files go along in `own_targets`.

    Other names stay as they are: a service may know them.
    """
    wanted = list(named or body.get("targets") or ())
    own = {name: read_file(name) for name in wanted if name.endswith(SUFFIX)}
    targets = [own[name].id if name in own else name for name in wanted]
    known = {**(body.get("own_targets") or {}), **{each.id: each.model_dump(mode="json") for each in own.values()}}
    brought = {name: target for name, target in known.items() if name in targets or not named}
    return {
        **body,
        **({"targets": targets} if targets else {}),
        **({"own_targets": brought} if brought or "own_targets" in body else {}),
    }


def read_file(name: str) -> Target:
    """A TOML file whose id does not belong to a target that ships."""
    if not Path(name).is_file():
        raise InvalidInput(f"there is no file {name}", hint="name a TOML file, or the id of a target that ships")
    target = read_target(Path(name))
    if target.id in load_targets():
        raise InvalidInput(
            f"{name}: the id {target.id!r} belongs to a target that ships with Bitfront",
            hint=f'give it another id, such as id = "my-{target.id}"',
        )
    return target
