"""What is wrong with a run file, in sentences: where, what was given, what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

Models = list[type[BaseModel]]


def sentences(error: ValidationError, root: type[BaseModel], data: Any) -> list[str]:
    """One sentence for each mistake that pydantic found in `data` (the tables as they were read)."""
    found = error.errors()
    # pydantic also calls a list too short whose entries are wrong
    wrong_within = {details["loc"][:1] for details in found if len(details["loc"]) > 1}
    return [
        _sentence(details, root, data)
        for details in found
        if details["type"] != "too_short" or details["loc"] not in wrong_within
    ]


def _sentence(details: Any, root: type[BaseModel], data: Any) -> str:
    location: Sequence[str | int] = details["loc"]
    names, models = _walk(location, root)
    where = _dotted(names, data)
    kind, given = details["type"], details["input"]
    if kind == "extra_forbidden":
        return _unknown_key(location, root, data)
    if kind == "missing":
        return f"{where} is missing; {_meaning(names, location, root)}"
    if kind == "value_error":
        return f"{where}: {details['ctx']['error']}" if where else str(details["ctx"]["error"])
    if kind == "union_tag_invalid":
        tags = [str(model.model_fields["name"].default) for model in models]
        return f"{where}.name is {given['name']!r}; it must be {_listed(tags)}{near(str(given['name']), tags)}"
    return f"{where} is {_given(kind, given)}; {_allowed(kind, where, details)}"


def _given(kind: str, given: Any) -> str:
    if kind == "too_short":
        return "empty"
    return "one table" if kind == "tuple_type" and isinstance(given, Mapping) else _short(given)


def _short(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _allowed(kind: str, where: str, details: Any) -> str:
    if kind == "too_short":
        return "it must hold at least one"
    if kind == "tuple_type" and isinstance(details["input"], Mapping):
        return f"write [[{where}]], in double brackets, for each entry of the list"
    text = re.sub(r"^Input should be", "it must be", details["msg"])
    text = text.replace("an object", "a table").replace("a valid array", "a list")
    return text if text.startswith("it must be") else f"{text[:1].lower()}{text[1:]}"


def _meaning(names: list[str | int], location: Sequence[str | int], root: type[BaseModel]) -> str:
    _, models = _walk(location[:-1], root)
    table = models[0].__name__.removesuffix("Config").lower() if models else "run"
    return f"write {names[-1]} = ... in {'every [[dataset]]' if table == 'dataset' else 'the run file'}"


def _unknown_key(location: Sequence[str | int], root: type[BaseModel], data: Any) -> str:
    names, models = _walk(location[:-1], root)
    key, where = str(location[-1]), _dotted(names, data)
    keys = sorted({name for model in models for name in model.model_fields})
    meant = near(key, keys)
    if not meant:
        elsewhere = [path for path in _all_keys(root) if path.split(".")[-1] == key]
        meant = f"; did you mean {elsewhere[0]}?" if elsewhere else f"; it has {', '.join(keys)}"
    return f"unknown key {key!r} in {f'[{where}]' if where else 'the run file'}{meant}"


def near(word: str, words: Sequence[str]) -> str:
    """The end of a sentence that names the nearest word; nothing where none is near."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def _listed(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _all_keys(root: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in root.model_fields.items():
        yield f"{prefix}{name}"
        for model in _models(field.annotation):
            yield from _all_keys(model, f"{prefix}{name}.")


def _walk(location: Sequence[str | int], root: type[BaseModel]) -> tuple[list[str | int], Models]:
    """Names along a location of pydantic's, without the tags of unions, and the models that may stand at its end."""
    names: list[str | int] = []
    models: Models = [root]
    for part in location:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        tagged = [
            model for model in models if "name" in model.model_fields and model.model_fields["name"].default == part
        ]
        if isinstance(part, int) or not (fields or tagged):
            names.append(part)
        elif fields:
            names.append(part)
            models = _models(fields[0].annotation)
        else:
            models = tagged
    return names, models


def _models(annotation: Any) -> Models:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _dotted(names: Sequence[str | int], data: Any) -> str:
    """`dataset.acac.weight`: as an override is written; an entry of a list by its name where it has one."""
    words = []
    for part in names:
        data = _step(data, part)
        name = data.get("name") if isinstance(part, int) and isinstance(data, Mapping) else None
        words.append(name if isinstance(name, str) else str(part))
    return ".".join(words)


def _step(data: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return data[part] if isinstance(data, list) and part < len(data) else None
    return data.get(part) if isinstance(data, Mapping) else None
