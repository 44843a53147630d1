"""What Airflow's pages say about a DAG and its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from feature_delivery.domain.process import GATES, PROCESS, SETUPS, TEARDOWNS, Step, row_of

if TYPE_CHECKING:
    from feature_delivery.domain.people import GatePolicy
    from feature_delivery.domain.project import ProjectConfig


def dag_doc(project: ProjectConfig) -> str:
    """Return the page of the DAG: the process table and how to steer a run."""
    rows = "\n".join(
        f"| {row.number} | {', '.join(row.who)} | {row.title} | {', '.join(f'`{step}`' for step in row.steps)} |"
        for row in PROCESS
    )
    return f"""# {project.title or project.name}: from issue to production

One run carries one feature; the run id is its issue key. A newer commit, a rejection or a rollback *rewinds* the run:
its tasks are cleared back to an earlier step. A failed step parks the run at the next gate, which says what failed.

| # | who | step | tasks |
|---|---|---|---|
{rows}

**Start** a feature here (*Trigger*), with `feature-delivery start KEY`, or by pushing
`{project.branches.feature_prefix}KEY-words`. **Decide** with `feature-delivery approve|reject KEY --gate G`, on the
*Required Actions* page, or by a review. **Any task may be cleared on any day**: what it may do then is decided by its
permit, not by the state of the tasks before it.
"""


def task_doc(project: ProjectConfig, step: Step) -> str:
    """Return the page of a task."""
    row = row_of(step)
    lines = [f"**Row {row.number}: {row.title}** ({', '.join(row.who)})", ""]
    if step in GATES:
        policy = project.people.policies.get(step)
        lines.append(_gate_doc(project, policy) if policy else "Waits for an event; costs nothing while it waits.")
    elif step in SETUPS:
        lines.append("Writes the environment into the ledger before anything is built, so that teardown knows of it.")
    elif step in TEARDOWNS:
        lines.append("Runs when the feature is kept or given up, whatever failed before. Refused while it is active.")
    else:
        lines.append("Takes its permit, does its step, reports. Clear it to do it again: it finds what is there first.")
    return "\n".join(lines)


def _gate_doc(project: ProjectConfig, policy: GatePolicy) -> str:
    names = ", ".join(project.people.with_role(*policy.roles)) or "nobody"
    until = f" within {policy.timeout} (then: {policy.on_expiry})" if policy.timeout else ""
    kinds = " or ".join(sorted(policy.kinds))
    return f"Waits until {policy.count} of {names} say {kinds}{until}. Costs nothing while it waits."
