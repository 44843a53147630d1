"""A shop's own manifests: read from its commit, checked, and brought into the environment's namespace.

They come from the branch under test, so that nothing in them is trusted: only kinds that stay inside a namespace, no
namespace but the environment's, no object that is not theirs to write.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from feature_delivery.adapters.platforms.kubernetes.resources import NETWORK_POLICY, WORKLOADS, resource_of
from feature_delivery.adapters.platforms.links import leads_out
from feature_delivery.domain.errors import Misconfigured, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

_OBJECTS_LIMIT = 100
_SIZE_LIMIT_BYTES = 2_000_000
_KUSTOMIZE_SECONDS = 120
_HANDED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
_NOWHERE = "http://127.0.0.1:9"
_NO_NETWORK = {"GIT_ALLOW_PROTOCOL": "none", "HTTP_PROXY": _NOWHERE, "HTTPS_PROXY": _NOWHERE, "NO_PROXY": ""}
_WALLS = frozenset({"deny-all", "allow-own", "allow-entrance"})
_HELD = frozenset({"labels", "annotations", "name"})


def read_manifests(folder: Path, *, where: str, values: Mapping[str, str]) -> list[Manifest]:
    """Return the objects that the files in ``folder`` hold.

    Args:
        folder: In a checkout of the commit.
        where: What the folder is called in sentences.
        values: What ``${NAME}`` in the files stands for: ``DELIVERY_COMMIT``, ``NAMESPACE`` …

    Raises:
        Refused: Something in them is wrong, or not theirs to say.
        Misconfigured: They are made with kustomize, and this machine has none.
    """
    if not folder.is_dir():
        raise Refused(f"The commit has no folder {where!r}, where 'platform.manifests' looks for its manifests.")
    text = _kustomized(folder, where) if any(folder.glob("kustomization.y*ml")) else _joined(folder, where)
    filled = re.sub(r"\$\{([A-Z_]+)\}", lambda found: values.get(found[1], found[0]), text)
    try:
        loaded = [each for each in yaml.load_all(filled, Loader=_Plain) if each is not None]
        found: list[object] = json.loads(json.dumps(loaded, allow_nan=False))
    except (yaml.YAMLError, TypeError, ValueError, OverflowError, RecursionError) as error:
        said = " ".join(str(error).split())[:200]
        raise Refused(f"The manifests in {where!r} are no valid YAML: {said}.") from error
    objects = list(_flat(found))
    if not 0 < len(objects) <= _OBJECTS_LIMIT:
        raise Refused(f"{where!r} holds {len(objects)} objects. There have to be some, at most {_OBJECTS_LIMIT}.")
    return objects


class _Plain(yaml.SafeLoader):
    """Without aliases, with which a small text could blow up; dates are text, as ``kubectl`` has it."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class has it so
        first: [(tag, rule) for tag, rule in known if tag != "tag:yaml.org,2002:timestamp"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias before anything is built from it."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it uses an alias; write the value out")
        return super().compose_node(parent, index)


def adapt(
    objects: list[Manifest], *, namespace: str, labels: dict[str, str], annotations: dict[str, str]
) -> list[Manifest]:
    """Return the objects as they are applied: in their namespace, pods with what tells whose they are.

    ``labels``, ``annotations``: of every pod; an annotation that the manifests have already is theirs.

    Raises:
        Refused: One of them is of a kind, or in a namespace, that is not theirs to write.
    """
    return [_adapted(each, namespace=namespace, labels=labels, annotations=annotations) for each in objects]


def _adapted(manifest: Manifest, *, namespace: str, labels: dict[str, str], annotations: dict[str, str]) -> Manifest:
    resource = resource_of(manifest)
    meta = manifest.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?", name):
        raise Refused(f"A {resource.kind} in the shop's manifests has no valid name: {str(name)[:80]!r}.")
    assert isinstance(meta, dict)
    if not resource.own or meta.get("namespace", namespace) != namespace:
        raise Refused(
            f"{resource.kind} {name} in the shop's manifests was not applied: a shop may only have objects that work "
            f"inside its own namespace, and names none or ${{NAMESPACE}}."
        )
    walls = resource is NETWORK_POLICY and name in _WALLS
    if walls or name == "feature-delivery" or name.endswith("-environment"):
        raise Refused(f"{resource.kind} {name} in the shop's manifests has a name that deliveries keep for themselves.")
    # Templates leave a word behind with nothing in it.
    kept = {field: value for field, value in meta.items() if field in _HELD and value is not None}
    made = {**manifest, "metadata": {**kept, "namespace": namespace}}
    try:
        made["metadata"] |= {field: dict(kept[field]) for field in ("labels", "annotations") if field in kept}
        if resource in WORKLOADS:
            made = _marked(made, labels, annotations)
    except (TypeError, ValueError) as error:
        raise Refused(
            f"{resource.kind} {name} in the shop's manifests has a list or a word in place of fields."
        ) from error
    made.pop("status", None)
    return made


def _marked(manifest: Manifest, labels: dict[str, str], annotations: dict[str, str]) -> Manifest:
    spec: dict[str, Any] = dict(manifest.get("spec") or {})
    template: dict[str, Any] = dict(spec.get("template") or {})
    meta: dict[str, Any] = dict(template.get("metadata") or {})
    meta["labels"] = {**(meta.get("labels") or {}), **labels}
    if annotations:
        meta["annotations"] = {**annotations, **(meta.get("annotations") or {})}
    return {**manifest, "spec": {**spec, "template": {**template, "metadata": meta}}}


def _joined(folder: Path, where: str) -> str:
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".yaml", ".yml", ".json"})
    for path in files:
        if leads_out(path, of=folder) or not path.is_file():
            raise Refused(f"{path.name!r} in {where!r} is a link that leads out of it.")
    if sum(path.stat().st_size for path in files) > _SIZE_LIMIT_BYTES:
        raise _too_large(where)
    return "\n---\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def _too_large(where: str) -> Refused:
    return Refused(f"The manifests in {where!r} are larger than {_SIZE_LIMIT_BYTES // 1_000_000} MB.")


def _kustomized(folder: Path, where: str) -> str:
    """Return what kustomize makes of a folder; its plugins stay off, as it has it by default.

    It would fetch remote parts: the branch under test would choose what the worker asks for, with the worker's rights
    in the network. Neither its Git nor its HTTP comes through, loopback addresses apart, and it is told none of the
    worker's own variables.
    """
    tool = shutil.which("kustomize")
    command = [tool, "build"] if tool else [shutil.which("kubectl") or "", "kustomize"]
    if not command[0]:
        raise Misconfigured(f"{where!r} needs kustomize, and this worker has neither that nor kubectl. Install one.")
    try:
        done = subprocess.run(
            [*command, str(folder)],
            env={**{name: os.environ[name] for name in _HANDED_ON if name in os.environ}, **_NO_NETWORK},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_KUSTOMIZE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"Kustomize took longer than {_KUSTOMIZE_SECONDS} seconds for {where!r}.") from error
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise Refused(f"Kustomize refused {where!r}: {said}")
    if len(done.stdout) > _SIZE_LIMIT_BYTES:
        raise _too_large(where)
    return done.stdout


def _flat(found: list[object]) -> Iterator[Manifest]:
    for each in found:
        if not isinstance(each, dict):
            raise Refused("A document in the shop's manifests is no object.")
        if each.get("kind") == "List":
            yield from _flat(each.get("items") or [])
        else:
            yield each
