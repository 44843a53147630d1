"""Every ``FEATURE_DELIVERY_*`` variable: its name, its default, what it means; docs/settings.md is made from here."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.finding import Finding

PREFIX = "FEATURE_DELIVERY_"
WEBHOOK_SECRET = "WEBHOOK_SECRET_"  # noqa: S105 - how names begin
OF_TESTS = ("TEST_", "EXAMPLES")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

SERVER, EVERYWHERE, CLI = "API server", "every process of Airflow", "command line"


def _networks(value: object) -> object:
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


def _places(value: object) -> object:
    return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value


def _port_spans(value: object) -> object:
    if not isinstance(value, str):
        return value
    spans = []
    for part in value.replace(",", " ").split():
        first, dash, last = part.partition("-")
        spans.append((int(first), int(last) if dash else int(first)))
    if any(not 0 < first <= last < 1 << 16 for first, last in spans):
        raise ValueError("Ports are from 1 to 65535.")
    return tuple(spans)


def _slashless(value: object) -> object:
    return value.rstrip("/") if isinstance(value, str) else value


def _variable(default: Any, text: str, *, read_by: str, secret: bool = False, **limits: Any) -> Any:
    return Field(default, description=text, json_schema_extra={"read_by": read_by, "secret": secret}, **limits)


Address = Annotated[str, BeforeValidator(_slashless)]


class Variables(BaseModel):
    """What this installation is told by its environment; an empty variable is one that is not set."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Path = _variable(
        Path(".feature-delivery"),
        "State on this machine: mirrors of repositories, local environments, secrets, logs. A folder that outlives the "
        "process.",
        read_by=EVERYWHERE,
    )
    projects: Path | None = _variable(
        None,
        "Folder of the project files, one YAML per shop; `projects` in the home when it is not set. A changed file "
        "counts at once, without a restart.",
        read_by=EVERYWHERE,
    )
    instance: str = _variable(
        "",
        "Id of this instance: whose environments and branches are ours to destroy. A second instance must have another "
        "one. Without it the ledger makes one up. See docs/upgrade.md.",
        read_by=SERVER,
        pattern=r"^([a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?)?$",
    )
    task_token: str = _variable(
        "",
        "What tasks show to the ledger; the same as the password of the Connection `feature_delivery`.",
        read_by=SERVER,
        secret=True,
    )
    webhooks_per_minute: int = _variable(
        6000,
        "Webhooks of one project that one API server process takes in a minute; more get 429.",
        read_by=SERVER,
        ge=1,
    )
    metrics_token: str = _variable(
        "",
        "What opens `/metrics`. Without it: `secrets/metrics-token` in the home, else the Connection "
        "`feature_delivery_metrics`.",
        read_by=SERVER,
        secret=True,
    )
    metrics_networks: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = _variable(
        (),
        "Networks whose clients may read `/metrics` without the token, like `10.1.0.0/16`; several with a space.",
        read_by=SERVER,
    )
    runbooks_url: Address = _variable(
        "docs/runbooks", "Where people read the runbooks; becomes the link of every alert.", read_by=SERVER
    )
    fence: Literal["auto", "required", "off"] = _variable(
        "auto",
        "Whether the code of branches on the platform `local` runs behind a fence around its own files: `auto` where "
        "the kernel can, `required` (nothing runs without it), `off`. See docs/security.md.",
        read_by=EVERYWHERE,
    )
    fence_open: Annotated[tuple[Path, ...], BeforeValidator(_places)] = _variable(
        (),
        "More places that shops may read and write behind the fence, separated by colons: `/tmp`, a folder of wheels.",
        read_by=EVERYWHERE,
    )
    fence_memory_mb: int = _variable(
        0,
        "Memory, in MiB, that one command of a shop on the platform `local` may use with all that it starts, and each "
        "of its processes; 0: three quarters of the machine's.",
        read_by=EVERYWHERE,
        ge=0,
    )
    fence_processes: int = _variable(
        2048,
        "Processes and threads that one command of a shop on the platform `local` may start.",
        read_by=EVERYWHERE,
        ge=16,
    )
    fence_file_mb: int = _variable(
        8192,
        "Size, in MiB, of the largest file that a shop on the platform `local` may write.",
        read_by=EVERYWHERE,
        ge=1,
    )
    fence_ports: Annotated[tuple[tuple[int, int], ...], BeforeValidator(_port_spans)] = _variable(
        (),
        "The only ports that shops on the platform `local` may connect to by TCP, besides their own: `80 443 8000-8999`"
        ". All when it is not set. See docs/security.md for what it costs.",
        read_by=EVERYWHERE,
    )
    may_lose: str = _variable(
        "",
        "For `airflow db-manager downgrade` alone: the revision that is gone back to, when what the migrations on the "
        "way forget may be forgotten.",
        read_by=CLI,
    )
    url: Address = _variable(
        "",
        "Airflow's address; without it the instance in the home is spoken to. Where an authority of your own has "
        "signed its certificate, `SSL_CERT_FILE` names the file with that authority's.",
        read_by=CLI,
    )
    user: str = _variable("", "Who speaks, with `FEATURE_DELIVERY_PASSWORD`.", read_by=CLI)
    password: str = _variable("", "The user's password.", read_by=CLI, secret=True)
    token: str = _variable(
        "", "A token of Airflow's (`POST /auth/token`), in the place of user and password.", read_by=CLI, secret=True
    )
    prometheus_url: Address = _variable("", "The Prometheus that `feature-delivery doctor` looks at.", read_by=CLI)


def name_of(field: str) -> str:
    """Return the variable of a field."""
    return PREFIX + field.upper()


def read(*fields: str) -> Variables:
    """Return these variables as they are now; the others at their defaults: a fault of one stops nothing else.

    Raises:
        Misconfigured: One of them is wrong; the sentence names it, and no secret.
    """
    found = {field: given for field in fields if (given := os.environ.get(name_of(field)))}
    try:
        return Variables.model_validate(found)
    except ValidationError as error:
        raise Misconfigured(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    field = str(first["loc"][0])
    info = Variables.model_fields[field]
    extra = info.json_schema_extra
    secret = isinstance(extra, dict) and bool(extra.get("secret"))
    given = "a secret" if secret else repr(os.environ.get(name_of(field), "")[:20])
    what = {
        "webhooks_per_minute": "Set a number from 1.",
        "metrics_networks": "Write networks like 10.0.0.0/8.",
        "fence": "Say auto, required or off.",
        "fence_memory_mb": "Set a number of MiB; 0: three quarters of the machine's.",
        "fence_processes": "Set a number from 16.",
        "fence_file_mb": "Set a number of MiB from 1.",
        "fence_ports": "Write ports and spans of them, like '80 443 8000-8999'.",
        "instance": "Use at most 12 small letters, digits and hyphens.",
    }.get(field, f"{first['msg']}.")
    return f"{name_of(field)} is {given}. {what}"


def examine() -> Iterator[Finding]:
    """Look at every variable that is set: what is wrong with it, and whether there is one of that name."""
    wrong = 0
    known = {name_of(field): field for field in Variables.model_fields}
    for name in sorted(os.environ):
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX).startswith((WEBHOOK_SECRET, *OF_TESTS)):
            continue
        try:
            _look(name, known)
        except Misconfigured as error:
            wrong += 1
            yield Finding(name, well=False, sentence=str(error))
    if not wrong:
        yield Finding("settings", well=True, sentence="Every variable that is set is known and can be used.")


def _look(name: str, known: dict[str, str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"Is {near[0]} meant?" if near else "Remove it; docs/settings.md lists all there are."
        raise Misconfigured(f"There is no setting {name}. {meant}")
    read(known[name])


def table() -> str:
    """Return docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "<!-- Written by scripts/reference.py from bootstrap/variables.py: change that, then run `make reference`. -->",
        "",
        "What an installation is told by its environment. `feature-delivery doctor` looks at what is set. What differs",
        "from shop to shop is in its project file: `include/projects/project.schema.json` describes that to editors.",
        "",
        "| variable | default | read by | meaning |",
        "|---|---|---|---|",
    ]
    for field, info in Variables.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        default = "" if info.default in {None, "", ()} else f"`{info.default}`"
        secret = " **Secret.**" if extra["secret"] else ""
        lines.append(f"| `{name_of(field)}` | {default} | {extra['read_by']} | {info.description}{secret} |")
    secrets = (
        "What webhooks of a project are signed with; several with a space, while one is changed. Without it: "
        "`secrets/webhook-<project>` in the home, one a line. **Secret.**"
    )
    lines += [
        f"| `{PREFIX}{WEBHOOK_SECRET}<PROJECT>` |  | {SERVER} | {secrets} |",
        "",
        "Secrets may be in Airflow's secrets backend instead, wherever a Connection is named. Airflow's own settings",
        "(`AIRFLOW__…`) are Airflow's; those that deliveries need are in `docker-compose.yaml`, each with its reason.",
        "What that file does not set goes into `settings.env` beside it: [On one server](production.md#settings).",
        "",
    ]
    return "\n".join(lines)
