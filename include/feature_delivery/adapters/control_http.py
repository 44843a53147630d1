"""The control plane and the tracker over HTTP, for tasks: they may not touch the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from feature_delivery.adapters.control_channel import Channel
from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.marks import Claim
from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.domain.upkeep import Found, ReapPlan
from feature_delivery.domain.watching import Glance
from feature_delivery.domain.work import GateAnswer, Result, Work
from feature_delivery.ports.runs import TaskRef
from feature_delivery.ports.tracker import Issue, IssueState


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # Built on first use: a task needs two of them, parsing a DAG file none.
    return TypeAdapter(kind)


def _read(kind: Any, content: object) -> Any:
    try:
        return _adapter(kind).validate_python(content)
    except ValidationError as error:
        field = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Misconfigured(
            f"The control plane's answer is not understood (field {field!r}). "
            "Is the same version installed in the API server and in the workers?"
        ) from error


def _plain(kind: Any, value: object) -> Any:
    return _adapter(kind).dump_python(value, mode="json")


def task_body(task: TaskRef) -> dict[str, object]:
    """Return a task's claim of itself as it travels; the server looks whether it is true."""
    return {
        "project": task.run.project,
        "run_id": task.run.run_id,
        "step": task.step.value,
        "try_number": task.try_number,
        "task_instance": task.task_instance,
    }


class HttpControl:
    """Implements ``Control``; ``task_instance``: who asks where no ``TaskRef`` says it, the housekeeping task."""

    def __init__(self, channel: Channel, *, task_instance: str = "") -> None:
        """Speak through ``channel``."""
        self._channel = channel
        self._me = {"task_instance": task_instance}

    def take_permit(self, task: TaskRef) -> Work:
        """See ``Control.take_permit``."""
        work: Work = _read(Work, self._channel.post("/tasks/permits", task_body(task), asks_only=True))
        return work

    def report(self, task: TaskRef, permit: int, result: Result) -> str:
        """See ``Control.report``."""
        body = {"task": task_body(task), "result": _plain(type(result), result)}
        return str(self._channel.post(f"/tasks/permits/{int(permit)}/results", body)["problem"])

    def ask_gate(self, task: TaskRef, event: Mapping[str, object] | None = None) -> GateAnswer:
        """See ``Control.ask_gate``."""
        said = _plain(dict[str, Any], dict(event)) if event else None
        body = {"task": task_body(task), "event": said}
        answer: GateAnswer = _read(GateAnswer, self._channel.post("/tasks/gates", body, asks_only=True))
        return answer

    def housekeeping(self) -> Mapping[str, int]:
        """See ``Control.housekeeping``."""
        found: dict[str, int] = _read(dict[str, int], self._channel.post("/tasks/housekeeping", self._me))
        return found

    def claim(self, project: ProjectName) -> Claim:
        """See ``Control.claim``."""
        found: Claim = _read(Claim, self._channel.post(f"/tasks/reaper/{project}/claim", self._me))
        return found

    def contested(self, project: ProjectName, found: str) -> None:
        """See ``Control.contested``."""
        self._channel.post(f"/tasks/marks/{project}/contested", {**self._me, "found": found[:64]})

    def plan_reaping(self, project: ProjectName, found: Sequence[Found], *, left: str = "") -> ReapPlan:
        """See ``Control.plan_reaping``."""
        body = {**self._me, "found": _plain(tuple[Found, ...], tuple(found)), "left": left}
        plan: ReapPlan = _read(ReapPlan, self._channel.post(f"/tasks/reaper/{project}/plan", body))
        return plan

    def reaped(self, project: ProjectName, *, name: str, generation: int) -> None:
        """See ``Control.reaped``."""
        self._channel.post(f"/tasks/reaper/{project}/reaped", {**self._me, "name": name, "generation": generation})


class HttpLooks:
    """Implements ``Looks``."""

    def __init__(self, channel: Channel) -> None:
        """Speak through ``channel``."""
        self._channel = channel

    def keep(self, task: TaskRef, permit: int, looks: Sequence[Glance]) -> None:
        """See ``Looks.keep``."""
        body = {"task": task_body(task), "looks": _plain(tuple[Glance, ...], tuple(looks))}
        self._channel.post(f"/tasks/permits/{int(permit)}/looks", body)

    def kept(self, task: TaskRef, permit: int) -> Sequence[Glance]:
        """See ``Looks.kept``."""
        answer = self._channel.post(f"/tasks/permits/{int(permit)}/looks/kept", task_body(task))
        looks: tuple[Glance, ...] = _read(tuple[Glance, ...], answer["looks"])
        return looks


class HttpTracker:
    """Implements ``Issues``: the control plane speaks to the tracker, whichever it is."""

    def __init__(self, channel: Channel, *, project: ProjectName, task_instance: str) -> None:
        """Speak of ``project``'s issues through ``channel``; ``task_instance``: the running task that asks."""
        self._channel = channel
        self._path = f"/tasks/tracker/{project}/issues"
        self._me = {"task_instance": task_instance}

    def find(self, key: FeatureKey) -> Issue | None:
        """See ``Issues.find``."""
        found: Issue | None = _read(Issue | None, self._post("find", key=key))
        return found

    def create(self, key: FeatureKey, *, title: str, description: str, reporter: str) -> Issue:
        """See ``Issues.create``."""
        created = self._post("create", key=key, title=title[:300], description=description, reporter=reporter)
        issue: Issue = _read(Issue, created)
        return issue

    def comment(self, key: FeatureKey, text: str, *, marker: str) -> None:
        """See ``Issues.comment``."""
        self._post("comment", key=key, text=text, marker=marker)

    def move(self, key: FeatureKey, state: IssueState) -> None:
        """See ``Issues.move``."""
        self._post("move", key=key, state=state.value)

    def _post(self, verb: str, **body: str) -> Any:
        return self._channel.post(f"{self._path}/{verb}", {**self._me, **body})
