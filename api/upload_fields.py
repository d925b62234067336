"""The text fields that come with an upload."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath

from pydantic import ValidationError

from api.json_body import strict_json
from api.problems import from_validation
from api.uploads import Upload
from core.data.part import SPLIT_NAMES
from core.data.preprocessing import Preprocessing
from core.errors import InvalidInput

MAX_NAME_CHARACTERS = 200


def only(fields: Mapping[str, str], *known: str) -> None:
    """Refuse fields that nobody reads."""
    for name in fields:
        if name not in known:
            raise InvalidInput(f"There is no field {name!r}.", hint=f"Known fields: file, {', '.join(known)}.")


def name_of(upload: Upload) -> str:
    """The field `name`, or the file's name without its ending."""
    name = upload.fields.get("name", "").strip() or PurePath(upload.filename).stem
    if len(name) > MAX_NAME_CHARACTERS:
        raise InvalidInput(f"The name is longer than {MAX_NAME_CHARACTERS} characters.", hint="Choose a shorter one.")
    return name


def preprocessing_of(upload: Upload) -> Preprocessing | None:
    """The field `preprocessing`: JSON, or nothing."""
    text = upload.fields.get("preprocessing", "").strip()
    if not text:
        return None
    value = strict_json(text)
    if value is None:
        return None
    try:
        return Preprocessing.model_validate(value)
    except ValidationError as error:
        raise from_validation(error) from error


def split_of(upload: Upload) -> str | None:
    """The field `split`: train, select or report; nothing where the file itself says or nobody does."""
    split = upload.fields.get("split", "").strip().lower()
    if split and split not in SPLIT_NAMES:
        raise InvalidInput(f"There is no split {split[:40]!r}.", hint=f"Choose from {', '.join(SPLIT_NAMES)}.")
    return split or None
