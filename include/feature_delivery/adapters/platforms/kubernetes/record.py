"""What an environment is and runs: one ConfigMap in its namespace, replaced only as it was read.

The ConfigMap carries the generation as an annotation like every other object of ours; whoever wants to change anything
begins here, and the API server refuses a writer whose reading is old.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from feature_delivery.adapters.platforms.kubernetes.names import GENERATION, app_name, labels_of
from feature_delivery.adapters.platforms.kubernetes.resources import CONFIG_MAP
from feature_delivery.adapters.platforms.records import IdentifiedRecord, Record
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import CommitSha, ProjectName
from feature_delivery.domain.plan import DeliveryPlan
from feature_delivery.ports.platform import EnvironmentRef

if TYPE_CHECKING:
    from feature_delivery.adapters.platforms.kubernetes.api import Cluster
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest

_KEY = "environment.json"
MANIFESTS_LIMIT_BYTES = 250_000
"""Compressed, of one release: three of them have to fit into one ConfigMap of a mebibyte."""


class ReleaseRecord(Record):
    """A release.

    Attributes:
        id: The same for the same commit, plan and manifests; marks its pods.
        packed: Its manifests as they were applied: what brings it back when its successor fails.
        pod: The pod template that its suites, commands and migrations run with.
    """

    id: str
    commit: CommitSha
    plan: DeliveryPlan
    packed: str
    pod: dict[str, Any]

    @property
    def manifests(self) -> list[Manifest]:
        """The objects to apply."""
        found: list[Manifest] = json.loads(gzip.decompress(base64.b64decode(self.packed)))
        return found


class EnvironmentRecord(IdentifiedRecord):
    """The content of the ConfigMap.

    Attributes:
        current: What answers at the address.
        previous: What was switched away from.
        unsettled: A release whose forward migration was begun and neither switched to nor taken back.
        migrated: The forward migration of ``unsettled`` ended well.
        seeded: Backing services hold their data to test with.
        built: The last release whose image was built here.
        launch: The deploy under way. Whoever began last owns the environment; the others find it out before they
            change anything.
        begun: Generation at which it was begun; one that is taken up again keeps it, and finds its pods by it.
        failed: Why the deploy under way has failed; it is being taken back.
        taken_back: ``current``, when its migration was taken back already by a deploy that has not come to its end.
        going_back: ``unsettled`` or ``current``, when taking its migration back was begun and nobody knows yet how that
            ended: neither its data nor ``migrated`` can be relied on before its pod has been heard.
        back_token: What that pod is found by, whoever asks.
        rest: Kind and name of objects that may be there and that ``current`` has no use for.
        leaving: Destruction has begun.
    """

    layout: int = 1
    current: ReleaseRecord | None = None
    previous: ReleaseRecord | None = None
    unsettled: ReleaseRecord | None = None
    migrated: bool = False
    seeded: bool = False
    built: str = ""
    launch: str = ""
    begun: int = 0
    failed: str = ""
    taken_back: str = ""
    going_back: str = ""
    back_token: str = ""
    rest: tuple[dict[str, Any], ...] = ()
    leaving: bool = False


def fresh_record(ref: EnvironmentRef) -> EnvironmentRecord:
    """Return the record of an environment in which nothing has happened yet."""
    return EnvironmentRecord(
        instance=ref.instance,
        project=ref.project,
        name=ref.name,
        kind=ref.kind,
        key=ref.key,
        generation=ref.generation,
    )


def pack(manifests: list[Manifest]) -> str:
    """Return manifests as a release keeps them.

    Raises:
        Refused: They are too large to be kept.
    """
    # mtime=0: the same manifests give the same text.
    packed = gzip.compress(json.dumps(manifests, sort_keys=True).encode(), mtime=0)
    if len(packed) > MANIFESTS_LIMIT_BYTES:
        limit = MANIFESTS_LIMIT_BYTES // 1000
        raise Refused(f"The shop's manifests are {len(packed) // 1000} kB compressed; at most {limit} can be kept.")
    return base64.b64encode(packed).decode()


def record_name(project: ProjectName) -> str:
    """Return the name of the ConfigMap; a production namespace may hold several projects."""
    return f"{app_name(project)}-environment"


def load(cluster: Cluster, namespace: str, project: ProjectName) -> tuple[EnvironmentRecord, Manifest] | None:
    """Return the record and the object it was read from, or ``None``.

    Raises:
        Refused: There is a ConfigMap of that name that is not understood, so that it is not ours to change.
    """
    found = cluster.get(CONFIG_MAP, record_name(project), namespace=namespace)
    if found is None:
        return None
    try:
        return EnvironmentRecord.model_validate_json((found.get("data") or {})[_KEY]), found
    except (KeyError, ValidationError) as error:
        raise Refused(
            f"Did not touch namespace {namespace!r}: its ConfigMap {record_name(project)!r} is not understood, so it "
            "may belong to somebody else. Look at it and remove it by hand."
        ) from error


def create(cluster: Cluster, namespace: str, record: EnvironmentRecord) -> None:
    """Write the first record.

    Raises:
        Conflict: There is one.
    """
    cluster.create(CONFIG_MAP, _manifest(namespace, record), namespace=namespace)


def replace(cluster: Cluster, namespace: str, record: EnvironmentRecord, *, read: Manifest) -> None:
    """Write a record over the one that was read.

    Raises:
        Conflict: Somebody else has written meanwhile.
    """
    manifest = _manifest(namespace, record)
    manifest["metadata"]["resourceVersion"] = read["metadata"]["resourceVersion"]
    cluster.replace(CONFIG_MAP, manifest)


def _manifest(namespace: str, record: EnvironmentRecord) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": record_name(record.project),
            "namespace": namespace,
            "labels": labels_of(record.ref),
            "annotations": {GENERATION: str(record.generation)},
        },
        "data": {_KEY: record.model_dump_json()},
    }
