"""Controllers and nodes: Deployments become pods, pods run or fail as a test has it, namespaces go."""

from __future__ import annotations

import hashlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.kubernetes.logs import Written
from tests.fakes.kubernetes.store import Change, Key, Object, Store, stamp

COMMIT, RELEASE = "feature-delivery.io/commit", "feature-delivery.io/release"


@dataclass(frozen=True)
class Fate:
    """What becomes of a pod: ``serves``, ``runs`` (for real, as a process here), or one of the ways to fail."""

    kind: str
    log: str = ""
    code: int = 1


SERVES, RUNS = Fate("serves"), Fate("runs")


@dataclass
class Cluster:
    """Plays scheduler, kubelet and controller manager over a ``Store``.

    Attributes:
        fate: What becomes of a pod; tests set it.
        logs: By namespace, pod and container.
        finalizers: Namespaces of these names never go, with what they wait for.
        quota: Message with which pods are refused.
    """

    store: Store
    fate: Callable[[Object], Fate | None] = lambda _: None
    logs: dict[tuple[str, str, str], Written] = field(default_factory=dict)
    finalizers: dict[str, str] = field(default_factory=dict)
    quota: str = ""
    ran: list[Object] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._queue: queue.Queue[Key | threading.Event | None] = queue.Queue()
        self.store.listeners.append(self._hear)
        self._thread = threading.Thread(target=self._work, daemon=True, name="fake-controllers")
        self._thread.start()

    def stop(self) -> None:
        self._queue.put(None)
        self._thread.join(10)

    def settle(self) -> None:
        """Wait until everything has been seen to that has changed so far: for tests in virtual time."""
        seen_to = threading.Event()
        self._queue.put(seen_to)
        assert seen_to.wait(60), "the controllers are dead"

    def serve(self, namespace: str) -> None:
        """Let every pod of a namespace serve that has waited so far."""
        for pod in self.store.list("pods", namespace):
            self.store.set_status(
                ("pods", namespace, pod["metadata"]["name"]), status_of(SERVES, pod["spec"]["containers"][0])
            )

    def _hear(self, change: Change) -> None:
        resource, namespace, _ = change.key
        if resource in {"deployments", "statefulsets", "namespaces"}:
            self._queue.put(change.key)
        elif resource == "pods":
            for key in list(self.store.objects):
                if key[0] in {"deployments", "statefulsets"} and key[1] == namespace:
                    self._queue.put(key)
            if change.kind == "ADDED":
                self._queue.put(change.key)

    def _work(self) -> None:
        while (key := self._queue.get()) is not None:
            if isinstance(key, threading.Event):
                key.set()
                continue
            with self.store.lock:
                found = self.store.objects.get(key)
            if key[0] == "namespaces" and found is not None:
                self._namespace(key, found)
            elif key[0] == "pods" and found is not None:
                self._pod(key, found)
            elif key[0] in {"deployments", "statefulsets"}:
                self._deployment(key, found)

    def _namespace(self, key: Key, found: Object) -> None:
        if not found["metadata"].get("deletionTimestamp"):
            return
        with self.store.lock:
            for inner in [inner for inner in self.store.objects if inner[1] == key[2]]:
                self.store.remove(inner)
        waits = self.finalizers.get(key[2])
        if waits:
            condition = {"type": "NamespaceFinalizersRemaining", "status": "True", "message": waits}
            self.store.set_status(key, {"phase": "Terminating", "conditions": [condition]})
        else:
            self.store.remove(key)

    def _deployment(self, key: Key, found: Object | None) -> None:
        with self.store.lock:
            pods = [
                (each, pod)
                for each, pod in self.store.objects.items()
                if each[0] == "pods" and each[1] == key[1] and _owner(pod) == f"{key[0]}/{key[2]}"
            ]
            if found is None:
                for each, _ in pods:
                    self.store.remove(each)
                return
            found = self.store.objects.get(key)
            if found is None:
                return
            self._reconcile(key, found, pods)

    def _reconcile(self, key: Key, found: Object, pods: list[tuple[Key, Object]]) -> None:
        """One step of a rolling update: surge by one, never fewer ready ones than wanted."""
        spec = found["spec"]
        wanted = int(spec.get("replicas", 1))
        marked = hashlib.sha256(json.dumps(spec["template"], sort_keys=True).encode()).hexdigest()[:10]
        new = [(each, pod) for each, pod in pods if pod["metadata"]["labels"]["pod-template-hash"] == marked]
        old = [(each, pod) for each, pod in pods if (each, pod) not in new]
        ready = sum(_ready(pod) for _, pod in new)
        conditions: list[Object] = []
        if len(new) < wanted and self.quota:
            conditions.append({"type": "ReplicaFailure", "status": "True", "message": self.quota})
        elif len(new) < wanted:
            self._make(key, found, marked, len(new))
        if old and ready >= wanted:
            self.store.remove(old[0][0])
        elif len(new) > wanted:
            self.store.remove(new[-1][0])
        if any(_hopeless(pod) for _, pod in new):
            conditions.append({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"})
        status = {
            "observedGeneration": found["metadata"]["generation"],
            "replicas": len(new) + len(old),
            "updatedReplicas": len(new),
            "readyReplicas": ready + sum(_ready(pod) for _, pod in old),
            "availableReplicas": ready + sum(_ready(pod) for _, pod in old),
            "conditions": conditions,
        }
        self.store.set_status(key, status)

    def _make(self, key: Key, found: Object, marked: str, number: int) -> None:
        template = found["spec"]["template"]
        name = f"{key[2]}-{marked}-{number}"
        meta = template.get("metadata") or {}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": {**(meta.get("labels") or {}), "pod-template-hash": marked},
                "ownerReferences": [{"kind": key[0], "name": key[2]}],
            },
            "spec": template["spec"],
        }
        self.store.create("pods", key[1], body, manager="controller")

    def _pod(self, key: Key, pod: Object) -> None:
        owned = bool(_owner(pod))
        fate = self.fate(pod) or (SERVES if owned else RUNS)
        container = pod["spec"]["containers"][0]
        log_key = (key[1], key[2], container["name"])
        if fate.log:
            self.logs[log_key] = self.logs[key[1], key[2], "install-1"] = Written()
            self.logs[log_key].write(fate.log.encode())
        if fate.kind == "runs":
            self.logs[log_key] = Written()
            self.store.set_status(key, running(container))
            threading.Thread(target=self._run, args=(key, pod), daemon=True).start()
            return
        found = status_of(fate, container)
        if pod["spec"].get("restartPolicy") == "Never" and any(
            "terminated" in one.get("state", {}) for one in _all(found)
        ):
            found["phase"] = "Failed" if fate.code else "Succeeded"
        self.store.set_status(key, found)

    def _run(self, key: Key, pod: Object) -> None:
        self.ran.append(pod)
        container = pod["spec"]["containers"][0]
        log = self.logs[key[1], key[2], container["name"]]
        code = run_for_real(pod, log)
        log.end()
        self.store.set_status(key, ended(container, code))


def run_for_real(pod: Object, log: Written) -> int:
    """Run a pod's command as a process of this machine; its volumes are folders of their own."""
    container = pod["spec"]["containers"][0]
    with tempfile.TemporaryDirectory() as root:
        mounts = [mount["mountPath"] for mount in container.get("volumeMounts") or []]
        for mount in mounts:
            Path(root, mount.strip("/")).mkdir(parents=True, exist_ok=True)

        def here(text: str) -> str:
            for mount in mounts:
                text = text.replace(f"{mount}/", f"{root}{mount}/") if text.startswith(f"{mount}/") else text
            return text.replace("$$(", "$(")

        told = {entry["name"]: here(entry.get("value", "")) for entry in container.get("env") or []}
        folder = Path(root, (container.get("workingDir") or "/tmp").strip("/"))  # noqa: S108
        folder.mkdir(parents=True, exist_ok=True)
        process = subprocess.Popen(
            [here(word) for word in container["command"]],
            env={**told, "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        timer = threading.Timer(60, process.kill)
        timer.start()
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
        code = process.wait()
        timer.cancel()
        process.stdout.close()
    return code


def running(container: Object) -> Object:
    """Return the status of a pod whose command runs."""
    one = {**_base(container), "state": {"running": {"startedAt": stamp()}}, "ready": True}
    return {"phase": "Running", "containerStatuses": [one]}


def ended(container: Object, code: int) -> Object:
    """Return the status of a pod whose command has ended."""
    one = {**_base(container), "state": {"terminated": {"exitCode": code}}}
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": [one]}


def _all(status: Object) -> list[Object]:
    found: list[Object] = status.get("containerStatuses") or []
    return found


def _owner(pod: Object) -> str:
    owners = pod["metadata"].get("ownerReferences") or [{}]
    return f"{owners[0].get('kind')}/{owners[0].get('name')}" if owners[0] else ""


def _ready(pod: Object) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return bool(statuses) and all(one.get("ready") for one in statuses)


def _hopeless(pod: Object) -> bool:
    """Time does not pass here: what would wait for the progress deadline is past it at once."""
    return (pod.get("status") or {}).get("x-hopeless") is True


def _base(container: Object) -> Object:
    """Return what every container's status has."""
    named = {"name": container["name"], "image": container["image"], "imageID": ""}
    return {**named, "restartCount": 0, "ready": False, "started": True}


def status_of(fate: Fate, container: Object) -> Object:  # noqa: C901 - one case for each fate
    base = _base(container)
    died: Object = {"terminated": {"exitCode": fate.code, "reason": "Error"}}

    def runs(**one: Any) -> Object:
        return {"phase": "Running", "containerStatuses": [{**base, **one}]}

    waiting: Object = {"phase": "Pending", "containerStatuses": [base]}
    match fate.kind:
        case "serves":
            return runs(state={"running": {}}, ready=True)
        case "crashes":
            back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
            return runs(state=back_off, lastState=died, restartCount=2)
        case "out_of_memory":
            killed = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
            return runs(state=killed, restartCount=1)
        case "no_image":
            said = {"reason": "ImagePullBackOff", "message": "manifest unknown"}
            return {**waiting, "containerStatuses": [{**base, "state": {"waiting": said}}]}
        case "no_secret":
            said = {"reason": "CreateContainerConfigError", "message": 'secret "shop" not found'}
            return {**waiting, "containerStatuses": [{**base, "state": {"waiting": said}}]}
        case "unhealthy":
            return runs(state={"running": {}}, lastState={"terminated": {"exitCode": 137}}, restartCount=1)
        case "not_ready":
            return {**runs(state={"running": {}}), "x-hopeless": True}
        case "unschedulable":
            said = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient memory"}
            return {"phase": "Pending", "conditions": [said], "x-hopeless": True}
        case "no_install":
            failed = {**base, "name": "install-1", "state": {"terminated": {"exitCode": 1}}}
            return {"phase": "Failed", "initContainerStatuses": [failed], "containerStatuses": [base]}
        case "pending":
            return {"phase": "Pending"}
        case "evicted":
            return {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
        case "ends":
            done = {**base, "state": {"terminated": {"exitCode": fate.code}}}
            return {"phase": "Failed" if fate.code else "Succeeded", "containerStatuses": [done]}
        case "late":
            return {"phase": "Failed", "reason": "DeadlineExceeded"}
        case other:
            raise AssertionError(other)
