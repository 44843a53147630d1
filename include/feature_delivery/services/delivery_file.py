"""Reads ``delivery.yaml``, the contract between a shop and its deliveries.

The file comes from the shop's repository, so nothing in it is trusted: its size is bounded, YAML cannot build
objects, paths stay inside the checkout, and commands become argument lists that never see a shell.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from datetime import time, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema

from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.plan import Command, DeliveryPlan, HealthPlan, MigrationPlan, Suite, SuitePlan
from feature_delivery.domain.watching import ShopMetrics

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pydantic_core import ErrorDetails

SIZE_LIMIT_BYTES = 64 * 1024
DEPTH_LIMIT = 20
SHORTEST, LONGEST = timedelta(milliseconds=1), timedelta(hours=24)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}
_SHELL_WORDS = frozenset({"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"})
# What every platform itself tells an environment; with other values the shop would not be found, or not be itself.
_RESERVED = re.compile(r"(HOST|PORT|DATA_DIR|BASE_URL|JUNIT_XML|PATH|HOME|TMPDIR|VIRTUAL_ENV|DELIVERY_.*)\Z")


def _duration(value: object) -> timedelta:
    seconds = math.nan
    if isinstance(value, str) and (found := re.match(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|)\Z", value)):
        seconds = float(found[1]) * _UNITS[found[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(min(value, 10**9))
    if not SHORTEST.total_seconds() <= seconds <= LONGEST.total_seconds():
        raise ValueError(
            "is not a duration. Write seconds as a number or a text like 30s, 2m, 1h, at least 1ms, at most 24h"
        )
    return timedelta(seconds=seconds)


def _command(value: object) -> Command:
    if isinstance(value, str):
        words = _split(value)
    elif isinstance(value, list) and all(isinstance(word, str) for word in value):
        words = tuple(value)
    else:
        raise ValueError("is not a command. Write a text or a list of texts, numbers in quotes")
    if not words or not words[0].strip():
        raise ValueError("is an empty command. Name a program, or remove the field if it may be left out")
    if any("\0" in word for word in words):
        raise ValueError("holds a NUL character. Remove it")
    return words


def _split(text: str) -> Command:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"cannot be split into arguments ({error}). Correct the quotes, or write a list") from None
    if shell := next((word for word in words if word in _SHELL_WORDS), None):
        raise ValueError(f"holds {shell!r}, but no shell reads it. Put the steps into a script and name that")
    if found := re.search(r"\$\{?[A-Za-z_]", text):
        raise ValueError(
            f"holds a variable ({text[found.start() : found.start() + 20]!r}), but no shell fills it in. "
            "Let the program read its environment, or write a list that calls sh -c itself"
        )
    return words


def _inside(value: object) -> str:
    path = value if isinstance(value, str) else ""
    parts = PurePosixPath(path).parts
    if (
        not parts
        or ".." in parts
        or parts[0] == "/"
        or not re.match(r"[^\\\x00-\x1f\x7f]{1,200}\Z", path)
        or path[0] == "-"
    ):
        raise ValueError("is not a file inside the checkout. Write a relative path without '..', like reports/unit.xml")
    return str(PurePosixPath(path))


def _address(value: object) -> str:
    if not isinstance(value, str) or not re.match(r"/(?!/)[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,199}\Z", value):
        raise ValueError("is not a path of the shop. Write one that begins with a single '/', like /healthz")
    return value


def _variable(name: object) -> str:
    if not isinstance(name, str) or not re.match(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z", name):
        raise ValueError("is not a variable's name. Use letters, digits and '_'")
    if _RESERVED.match(name):
        raise ValueError("is a variable that the environment itself sets. Take another name")
    return name


def _version(value: object) -> object:
    if value is True:  # True equals 1
        raise ValueError(_FAULTS["literal_error"])
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value or len(value) > 10_000:
        raise ValueError("is not a text. Write it in quotes")
    return value


_Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "description": "Seconds, or a text like 30s, 2m, 1h.",
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,9})? ?(ms|s|m|h|)$"}],
        }
    ),
]
_Command = Annotated[
    Command,
    BeforeValidator(_command),
    WithJsonSchema(
        {
            "description": "A program and its arguments, as a text or a list; no shell reads it.",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ],
        }
    ),
]
_Inside = Annotated[str, BeforeValidator(_inside)]
_Address = Annotated[str, BeforeValidator(_address)]
_Name = Annotated[str, BeforeValidator(_variable)]
_Text = Annotated[str, BeforeValidator(_text)]


class EditorSchema(GenerateJsonSchema):
    """A schema for editors: defaults as people write them, names of fields as they are."""

    def encode_default(self, dft: object) -> object:
        """Return a default as it stands in a file."""
        if isinstance(dft, timedelta):
            return _written(dft)
        if isinstance(dft, time):
            return f"{dft:%H:%M}"
        return super().encode_default(dft)

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        """Leave titles out: they repeat the names."""
        return False


def _written(duration: timedelta) -> str:
    seconds = duration.total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{int(seconds / length)}{unit}"
    return f"{seconds:g}s"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class _Install(_Part):
    commands: Annotated[list[_Command], Field(max_length=50)] = []
    inputs: Annotated[list[_Inside], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _knows_when_to_run_again(self) -> _Install:
        if self.commands and not self.inputs:
            raise ValueError("has commands but no inputs. Name the files whose change installs again")
        return self


class _Health(_Part):
    path: _Address
    timeout: _Duration = timedelta(seconds=30)


class _Migration(_Part):
    forward: _Command | None = None
    back: _Command | None = None
    reversible: StrictBool | None = None

    @model_validator(mode="after")
    def _keeps_its_word(self) -> _Migration:
        if self.reversible and self.forward and not self.back:
            raise ValueError("is reversible but has no way back. Add 'back', or say 'reversible: false'")
        return self

    def plan(self) -> MigrationPlan:
        reversible = self.forward is None or self.back is not None if self.reversible is None else self.reversible
        return MigrationPlan(forward=self.forward, back=self.back, reversible=reversible)


def _selected(value: object) -> str:
    if not isinstance(value, str) or not re.match(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}(\{[^{}\n]{0,300}\})?\Z", value):
        raise ValueError('is not the name of a metric. Write it like http_requests_total{status=~"5.."}, in quotes')
    return value


_Metric = Annotated[str, BeforeValidator(_selected)]


class _Metrics(_Part):
    path: _Address
    requests: _Metric = ""
    errors: _Metric = ""
    duration: _Metric = ""

    def names(self) -> ShopMetrics | None:
        named = ShopMetrics(requests=self.requests, errors=self.errors, duration=self.duration)
        return None if named == ShopMetrics() else named


class _Load(_Part):
    pages: Annotated[list[_Address], Field(max_length=20)] = []


class _SuiteSection(_Part):
    command: _Command
    timeout: _Duration = timedelta(minutes=10)
    junit: _Inside | None = None

    def plan(self) -> SuitePlan:
        return SuitePlan(command=self.command, timeout=self.timeout, junit=self.junit)


class _Suites(_Part):
    syntax: _SuiteSection
    unit: _SuiteSection
    functional: _SuiteSection
    integration: _SuiteSection
    load: _SuiteSection | None = None

    def plans(self) -> dict[Suite, SuitePlan]:
        sections: dict[Suite, _SuiteSection | None] = {suite: getattr(self, suite.value) for suite in Suite}
        return {suite: section.plan() for suite, section in sections.items() if section is not None}


class _File(_Part):
    version: Annotated[Literal[1], BeforeValidator(_version)]
    install: _Install = _Install()
    start: _Command
    health: _Health
    migration: _Migration = _Migration()
    variables: dict[_Name, _Text] = {}
    metrics: _Metrics | None = None
    load: _Load = _Load()
    suites: _Suites

    def plan(self) -> DeliveryPlan:
        return DeliveryPlan(
            install=tuple(self.install.commands),
            install_inputs=tuple(self.install.inputs),
            start=self.start,
            health=HealthPlan(path=self.health.path, timeout=self.health.timeout),
            migration=self.migration.plan(),
            suites=self.suites.plans(),
            variables=dict(self.variables),
            metrics_path=self.metrics.path if self.metrics else None,
            metrics=self.metrics.names() if self.metrics else None,
            load_pages=tuple(self.load.pages),
        )


def delivery_schema() -> dict[str, object]:
    """Return the JSON Schema of ``delivery.yaml``, for editors; what only whole files can be wrong in is not in it."""
    return _File.model_json_schema(schema_generator=EditorSchema)


_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc, valid-type]  # the C loader is there or not: known at run time only
    """The safe loader that refuses a key given twice: plain YAML drops the first in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Build the mapping once its keys are known to differ."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"line {line} gives {str(key.value)[:40]!r} a second time")
            seen.add((key.tag, str(key.value)))
        built: dict[Hashable, object] = super().construct_mapping(node, deep=deep)
        return built


def read_delivery_file(content: bytes, *, where: str) -> DeliveryPlan:
    """Return the plan in ``content``; ``where`` names the file in errors (``delivery.yaml at 3f9c2ab``).

    Raises:
        Misconfigured: Anything is wrong with it; the sentence names the place, the field and the way out.
    """
    loaded = _load(content, where=where)
    if not isinstance(loaded, dict):
        raise Misconfigured(
            f"Could not read {where}: it holds no fields. Write one with `feature-delivery init` and commit it."
        )
    try:
        return _File.model_validate(loaded).plan()
    except ValidationError as error:
        raise Misconfigured(_sentence(error, where=where)) from None


def _load(content: bytes, *, where: str) -> object:
    if len(content) > SIZE_LIMIT_BYTES:
        raise Misconfigured(
            f"Could not read {where}: it has {len(content)} bytes. Bring it down to at most {SIZE_LIMIT_BYTES}."
        )
    try:
        text = content.decode("utf-8")
        _refuse_bombs(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - _Loader is a safe loader
    except UnicodeDecodeError:
        raise Misconfigured(f"Could not read {where}: it is not UTF-8 text. Save it as UTF-8.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error) or "a mistake"
        place = f" in line {mark.line + 1}" if mark else ""
        raise Misconfigured(
            f"Could not read {where}: it is not valid YAML{place} ({_shown(problem)}). Correct it."
        ) from None
    except (ValueError, OverflowError) as error:
        # PyYAML lets these through for impossible dates and numbers.
        raise Misconfigured(f"Could not read {where}: {_shown(str(error))}. Correct it.") from None


def _refuse_bombs(text: str) -> None:
    """Refuse what a small text can blow up with, before anything is built from it.

    Seen with PyYAML's C loader: 60,000 opening brackets end the process by a segmentation fault, for it builds by
    recursion in C; and aliases that are merged into each other (``<<: [*a, *a]``) grow without end.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {line} uses an alias, write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH_LIMIT:
            raise yaml.YAMLError(f"line {line} is nested too deeply")


def _shown(text: str) -> str:
    return re.sub(r"[^ -~]+", " ", text).strip()[:120]


def _sentence(error: ValidationError, *, where: str) -> str:
    details = error.errors(include_url=False, include_input=False)
    # A misspelt field is also a missing one: the spelling is the better hint.
    first = next((detail for detail in details if detail["type"] == "extra_forbidden"), details[0])
    field = _shown(".".join(str(part) for part in first["loc"] if part != "[key]")) or "the file"
    more = f" ({len(details) - 1} more after that.)" if len(details) > 1 else ""
    return f"Could not read {where}: `{field}` {_fault(first)}.{more}"


_FAULTS = {
    "missing": "is missing. Add it; `feature-delivery init` writes a commented example",
    "literal_error": "is not a version that is understood. Write 1",
    "model_type": "must hold fields. Indent them below it",
    "dict_type": "must hold fields. Indent them below it",
    "bool_type": "is neither true nor false. Write one of them",
    "list_type": "is not a list. Write it in brackets, like [requirements.txt]",
}


def _fault(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        near = _nearest(detail["loc"])
        return "is not known. " + (f"Write `{near}` if that is meant" if near else "Remove it")
    if detail["type"] == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    return _FAULTS.get(detail["type"]) or f"is wrong: {_shown(detail['msg'])}. Correct it"


def _nearest(location: tuple[int | str, ...]) -> str | None:
    """Return the known field of the same section that is spelled most like the unknown one."""
    section: type[BaseModel] = _File
    for part in location[:-1]:
        annotation = section.model_fields[str(part)].annotation
        section = next(kind for kind in (annotation, *get_args(annotation)) if _is_section(kind))
    near = difflib.get_close_matches(str(location[-1]), section.model_fields, n=1)
    return near[0] if near else None


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
