"""How a task reaches the control plane: through the Airflow Connection ``feature_delivery``."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from feature_delivery.bootstrap.settings import URL_PREFIX
from feature_delivery.domain.errors import Misconfigured, Unavailable
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.process import Step
from feature_delivery.domain.proofs import seal
from feature_delivery.ports.runs import RunRef, TaskRef

if TYPE_CHECKING:
    from airflow.sdk import Context

    from feature_delivery.adapters.control_channel import Channel
    from feature_delivery.ports.control import Control

CONNECTION = "feature_delivery"


@dataclass(frozen=True, slots=True)
class Link:
    """One open way to the control plane, and who speaks through it."""

    channel: Channel
    control: Control
    task_instance: str
    proof: Proof


@contextmanager
def link(context: Context) -> Iterator[Link]:
    """Open the way to the control plane for the running task.

    Raises:
        Misconfigured: There is no such Connection, or it names no server.
    """
    from feature_delivery.bootstrap import tools  # noqa: PLC0415 - tasks need it, DAG files do not

    me = str(context["ti"].id)
    proof = Proof()
    channel = tools.channel(*address(), proof=proof)
    try:
        yield Link(channel=channel, control=tools.control(channel, task_instance=me), task_instance=me, proof=proof)
    finally:
        proof.settle()
        channel.close()


class Proof:
    """By what the running task shows which one it is, when it has something to tell: a secret of its own.

    The secret's seal goes where Airflow keeps the label of a mapped task, which ours have none of: the one text of a
    task instance that its supervisor alone can write, and no page, command or other task.
    """

    def __init__(self) -> None:
        """Make the secret up; nothing is sent yet."""
        self._secret = secrets.token_urlsafe(32)
        self._refused: Exception | None = None
        self._sealing: threading.Thread | None = None

    def begin(self) -> None:
        """Have the seal written while the task goes on: it costs a task as much as a request to the ledger."""
        if self._sealing is None:
            self._sealing = threading.Thread(target=self._seal, name="seal", daemon=True)
            self._sealing.start()

    def settle(self) -> None:
        """Wait until whatever was begun has ended: after the task nobody may speak to its supervisor."""
        if self._sealing is not None:
            self._sealing.join()

    def __call__(self) -> str:
        """Return the secret, whose seal is written.

        Raises:
            Unavailable: Airflow did not take it.
        """
        self.begin()
        self.settle()
        if self._refused is not None:
            raise Unavailable(
                "Airflow did not take the seal by which this task shows which one it is. Try again."
            ) from self._refused
        return self._secret

    def _seal(self) -> None:
        from airflow.sdk.execution_time import task_runner  # noqa: PLC0415 - as above
        from airflow.sdk.execution_time.comms import SetRenderedMapIndex  # noqa: PLC0415

        try:
            task_runner.SUPERVISOR_COMMS.send(SetRenderedMapIndex(rendered_map_index=seal(self._secret)))
        except Exception as error:  # noqa: BLE001 - raised where somebody waits for it
            self._refused = error


def address() -> tuple[str, str]:
    """Return URL and token of the control plane, from the Connection.

    Raises:
        Misconfigured: There is no such Connection, or it names no server.
    """
    try:
        found: Any = BaseHook.get_connection(CONNECTION)
    except Exception as error:  # the SDK's own errors differ by where the task runs
        raise Misconfigured(
            f"Could not read the Connection {CONNECTION!r} ({type(error).__name__}). Add one of type HTTP: host is the "
            "API server's address, password is its FEATURE_DELIVERY_TASK_TOKEN."
        ) from error
    host = (found.host or "").rstrip("/")
    if not host or not found.password:
        raise Misconfigured(
            f"The Connection {CONNECTION!r} lacks its {'password' if host else 'host'}. Host is the API server's "
            "address, password is its FEATURE_DELIVERY_TASK_TOKEN."
        )
    if "://" not in host:
        host = f"{found.schema or 'http'}://{host}"
    if found.port:
        host = f"{host}:{found.port}"
    return host.removesuffix(URL_PREFIX) + URL_PREFIX, str(found.password)


def task_ref(context: Context, *, project: str, step: Step) -> TaskRef:
    """Return the running try of the running task."""
    ti = context["ti"]
    return TaskRef(
        run=RunRef(ProjectName(project), str(ti.run_id)),
        step=step,
        try_number=int(ti.try_number),
        task_instance=str(ti.id),
    )
