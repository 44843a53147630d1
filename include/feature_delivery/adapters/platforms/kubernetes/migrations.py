"""The data of an environment: brought to what a release expects, and back, each once and never two at a time.

A migration is a pod whose name follows from its token. What cannot be seen from here is written down before it begins:
forward, which release's data are on their way (``unsettled``); back, that and the token (``going_back``), because the
way back outlives the deploy that began it. Whoever comes next, a further try, a rollback, another commit, hears that
pod first; and no migration begins while the pod of another one runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.errands import Errands
from feature_delivery.domain.errors import Conflict, Error, Refused, Temporary

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.adapters.platforms.kubernetes.place import Place
    from feature_delivery.adapters.platforms.kubernetes.record import EnvironmentRecord, ReleaseRecord
    from feature_delivery.adapters.platforms.kubernetes.waiting import Waits
    from feature_delivery.domain.plan import Command, DeliveryPlan

_REASON_LIMIT = 4_000
_ROLE = "migration"


class Migrations:
    """Migrations of one environment, on behalf of one deploy."""

    def __init__(self, place: Place, waits: Waits, say: Callable[[str], None], *, launch: str, token: str) -> None:
        """Nothing happens yet; ``launch`` and ``token``: of the deploy."""
        self.place = place
        self.waits = waits
        self.say = say
        self.launch = launch
        self.token = token

    def forward(self, record: EnvironmentRecord, target: ReleaseRecord) -> None:
        """Run the forward migration once, however often the deploy is taken up again; without one, do nothing.

        Raises:
            Refused: It has failed.
        """
        forward = target.plan.migration.forward
        if forward is None:
            return
        if record.unsettled is not None and record.unsettled.id == target.id and record.migrated:
            return
        self._write(unsettled=target, migrated=False, taken_back="")
        errands = self._errands(self.token)
        title = f"Migrate: {' '.join(forward)}"
        errands.wait_for_others(target, forward, role=_ROLE)
        errands.must(target, forward, doing="migrate", role=_ROLE, title=title)
        self._write(migrated=True)
        errands.clear()

    def finish(self, record: EnvironmentRecord) -> EnvironmentRecord:
        """Hear how a way back ended that a deploy before this one has begun; return the record as it is then.

        One that has failed is said and no more: what comes next migrates forward from wherever the data are.
        """
        leaving = _going_back(record)
        if leaving is not None and (back := leaving.plan.migration.way_back) is not None:
            failed = self._back(leaving, back)
            if failed is not None:
                self.say(f"The migration of {leaving.commit[:12]} could not be taken back: {failed}")
        return self.place.read(launch=self.launch)

    def take_back(self, record: EnvironmentRecord, target: ReleaseRecord, plan: DeliveryPlan) -> None:
        """Run the backward migration of the release that goes, in its own code: only that one knows it.

        Raises:
            Refused: It has failed; the release that should go goes on.
        """
        current, begun = record.current, _going_back(record)
        leaving = begun or record.unsettled or (current if current and current.commit != target.commit else None)
        if leaving is not None and record.taken_back == leaving.id:
            return
        back = (plan if begun is None else begun.plan).migration.way_back
        if leaving is None or back is None:
            self._write(unsettled=None, migrated=False, taken_back=leaving.id if leaving is not None else "")
            return
        failed = self._back(leaving, back)
        if failed is not None:
            raise Refused(
                f"{failed}\n{leaving.commit[:12]} goes on serving. Mend its data by hand until that command "
                "succeeds, then deploy again."
            ) from failed

    def undo(self, record: EnvironmentRecord, target: ReleaseRecord, error: Error) -> None:
        """Bring the data back that were migrated for a release that never served, where that is possible.

        Raises:
            Temporary: Nobody knows yet how that ended; the next try goes on here.
            Conflict: Another deploy has taken over.
        """
        current, back = record.current, target.plan.migration.way_back
        if current is not None and current.commit == target.commit:
            self._write(unsettled=None, migrated=False)
            error.add_note("Its migration stays: the same commit goes on serving, and needs it.")
            return
        if back is None:
            error.add_note("Its migration has run and stays; the old release goes on with migrated data.")
            return
        # Whoever takes this up again has to go on here: the release must not be tried on data that are half way back.
        self._write(failed=str(error)[:_REASON_LIMIT])
        try:
            failed: Error | None = self._back(target, back)
        except (Conflict, Temporary):
            raise
        except Error as failure:
            failed = failure
        short = target.commit[:12]
        if failed is None:
            self.say(f"The migration of {short} was taken back.")
        else:
            self.say(f"The migration of {short} could not be taken back: {failed}")

    def _back(self, leaving: ReleaseRecord, back: Command) -> Refused | None:
        """Run a way back, or go on with the one that was begun; return why it has failed, if it has.

        What is raised leaves it begun in the record: its pod may run, or may have ended well.
        """

        def begun(known: EnvironmentRecord) -> EnvironmentRecord:
            found = known.going_back == leaving.id
            return known if found else known.changed(going_back=leaving.id, back_token=self.token)

        errands = self._errands(self.place.change(begun, launch=self.launch).back_token)
        title = f"Take the migration of {leaving.commit[:12]} back: {' '.join(back)}"
        errands.wait_for_others(leaving, back, role=_ROLE)
        failed = errands.failure(leaving, back, doing="migrate back", role=_ROLE, title=title)
        # Where it has failed nobody knows how far the data have gone back, not even of a release that goes on serving.
        done = {"unsettled": None, "taken_back": leaving.id} if failed is None else {"unsettled": leaving}
        self._write(migrated=False, going_back="", back_token="", **done)
        errands.clear()
        return failed

    def _errands(self, token: str) -> Errands:
        return Errands(self.place, self.waits, self.say, token=token)

    def _write(self, **values: object) -> None:
        self.place.change(lambda known: known.changed(**values), launch=self.launch)


def is_migrated(record: EnvironmentRecord, target: ReleaseRecord) -> bool:
    """Say whether the data are what ``target`` expects: it was switched to, and nothing has been at them since."""
    current = record.current
    if current is None or current.id != target.id or record.unsettled is not None:
        return False
    return target.id not in {record.taken_back, record.going_back}


def _going_back(record: EnvironmentRecord) -> ReleaseRecord | None:
    """Return the release whose way back was begun and not heard of since."""
    known = (record.unsettled, record.current)
    return next((each for each in known if each is not None and each.id == record.going_back), None)
