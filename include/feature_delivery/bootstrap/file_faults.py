"""What is wrong with a project file, fault by fault: the field, its line, and what to do."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, get_args

import yaml
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

Place = tuple[int | str, ...]


def faults(error: ValidationError, content: str, *, model: type[BaseModel]) -> list[str]:
    """Return a sentence for each field that is wrong, in the order of the file."""
    tree = _tree(content)
    found: dict[str, tuple[tuple[int, bool], str]] = {}
    for detail in error.errors(include_url=False, include_input=False):
        place = tuple(part for part in detail["loc"] if "[" not in str(part))
        field, line = ".".join(map(str, place)) or "the whole file", _line(tree, place)
        at = f" (line {line})" if line else ""
        # A misspelt field is a missing one, too: the spelling is the better hint.
        order = line, detail["type"] == "missing"
        found.setdefault(field, (order, f"field {field!r}{at}: {_said(detail, place, model)}"))
    return [sentence for _order, sentence in sorted(found.values(), key=lambda one: one[0])]


def _tree(content: str) -> yaml.Node | None:
    try:
        node: yaml.Node | None = yaml.compose(content, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return None
    return node


def _line(tree: yaml.Node | None, place: Place) -> int:
    """Return the line of a field, or of the part that lacks it; 0: nobody knows."""
    if tree is None:
        return 0
    line, node = tree.start_mark.line + 1, tree
    for part in place:
        step = next(_steps(node, part), None)
        if step is None:
            break
        line, node = step
    return int(line)


def _steps(node: yaml.Node, part: int | str) -> Iterator[tuple[int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                yield key.start_mark.line + 1, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        yield node.value[part].start_mark.line + 1, node.value[part]


def _said(detail: ErrorDetails, place: Place, model: type[BaseModel]) -> str:
    match detail["type"]:
        case "extra_forbidden":
            near = _nearest(place, model)
            return "it is not known here. " + (f"Is {near!r} meant?" if near else "Remove it.")
        case "missing":
            return "it is missing. Add it."
        case _:
            return " ".join(detail["msg"].removeprefix("Value error, ").split()).rstrip(".") + "."


def _nearest(place: Place, model: type[BaseModel]) -> str:
    """Return the known field of the same part that is spelled most like the unknown one."""
    part = model
    for name in place[:-1]:
        info = part.model_fields.get(str(name))
        inner = _model_in(info.annotation) if info is not None else None
        # Below a mapping by names (people, gates) the name itself is no field.
        part = inner or part
    near = difflib.get_close_matches(str(place[-1]), part.model_fields, n=1)
    return near[0] if near else ""


def _model_in(kind: object) -> type[BaseModel] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    return next((found for one in get_args(kind) if (found := _model_in(one)) is not None), None)
