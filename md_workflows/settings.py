"""The base of every settings object of this room, and one-sentence messages for what they refuse."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Frozen settings that refuse unknown keys, infinities and NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


S = TypeVar("S", bound=Settings)


def parse_settings(model: type[S], values: Mapping[str, Any]) -> S:
    """Build `model` from `values`; what it refuses becomes one plain sentence.

    Raises:
        ValueError: for an unknown key (naming the nearest known one), a missing key or a value out of range.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ValueError("; ".join(_sentence(model, detail) for detail in error.errors())) from None


def _sentence(model: type[Settings], detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        owner, key = _owner(model, detail["loc"])
        near = get_close_matches(key, owner.model_fields, n=1, cutoff=0.6)
        hint = f"did you mean '{near[0]}'? " if near else ""
        return f"{owner.__name__} does not take '{key}'; {hint}it takes {', '.join(owner.model_fields)}."
    if detail["type"] == "missing":
        return f"{place} is needed by {model.__name__} and was not given."
    if detail["type"] == "union_tag_invalid":
        given = detail["ctx"]["tag"]
        return f"{place} '{given}' is not known; allowed are {detail['ctx']['expected_tags']}."
    return f"{place or model.__name__} = {detail['input']!r} is refused: {detail['msg']}."


def _owner(model: type[Settings], location: tuple[int | str, ...]) -> tuple[type[Settings], str]:
    """Follow `location` into nested settings; return the settings class that met the key, and the key."""
    owner = model
    for part in location[:-1]:
        nested = owner.model_fields.get(str(part))
        candidates = (
            _settings_classes(nested.annotation)
            if nested is not None
            else [found for field in owner.model_fields.values() for found in _settings_classes(field.annotation)]
        )
        tagged = [c for c in candidates if getattr(c.model_fields.get("name"), "default", None) == part]
        owner = (tagged or (candidates if len(candidates) == 1 else [owner]))[0]
    return owner, str(location[-1])


def _settings_classes(annotation: Any) -> list[type[Settings]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Settings) else []
    return [found for argument in getattr(annotation, "__args__", ()) for found in _settings_classes(argument)]
