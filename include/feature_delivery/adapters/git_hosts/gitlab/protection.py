"""Rules of a project on GitLab that stand in the way of deliveries, which push merge commits and never force them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from feature_delivery.adapters.git_hosts.gitlab.answers import (
    ApprovalSettings,
    Branch,
    ProtectedBranch,
    PushRules,
)
from feature_delivery.adapters.git_hosts.gitlab.failures import Answered
from feature_delivery.domain.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from feature_delivery.adapters.git_hosts.gitlab.client import Client

Settings = TypeVar("Settings", PushRules, ApprovalSettings)

NOT_OURS = frozenset({401, 403, 404})
"""What GitLab answers where the edition has no such settings, or the account may not see them."""


def look_at_branch(client: Client, name: str, *, production: bool) -> Finding:
    """Say whether deliveries can move a branch, and whether somebody could rewrite production."""
    what = f"branch {name!r}"
    with client.doing(f"look at the branch {name!r}", right="the role Reporter"):
        branch = client.find(client.project("repository", "branches", name), Branch)
        if branch is None:
            return Finding(what, well=False, sentence="It is not there. Push it, or correct its name.")
        rules = [rule for rule in _rules(client) if fnmatchcase(name, rule.name)]
        me = client.me.username
    found = [*_obstacles(branch, rules, production=production)]
    if found:
        return Finding(what, well=False, sentence=f"{' '.join(found)} Deliveries push there as {me!r}.")
    if not branch.protected:
        sentence = "Deliveries can move it, and so can every developer: protect it, with pushes allowed to "
        return Finding(what, well=True, sentence=f"{sentence}{me!r} alone.")
    return Finding(what, well=True, sentence=f"It is protected, and {me!r} may push.")


def look_at_reviews(client: Client) -> Finding:
    """Say whether rules for approvals and pushes let deliveries through. Editions without such rules have none."""
    with client.doing("look at the rules for pushes and approvals", right="the role Maintainer"):
        rules = _seen(client, client.project("push_rule"), PushRules)
        approvals = _seen(client, client.project("approvals"), ApprovalSettings)
    if rules is not None and (strict := [*_refused_commits(rules)]):
        sentence = f"The push rules {' and '.join(strict)}: candidates would be refused. Lift that for this project."
        return Finding("reviews", well=False, sentence=sentence)
    told = []
    if rules is not None and any(
        (rules.commit_message_regex, rules.author_email_regex, rules.branch_name_regex, rules.commit_committer_check)
    ):
        told.append("There are push rules: see that they let the candidates' branches and commits through.")
    if approvals is None or not approvals.reset_approvals_on_push:
        told.append(
            "Approvals stay when somebody pushes, and count for the commit they were given on only: who has approved "
            "before takes that back and approves again."
        )
    return Finding("reviews", well=True, sentence=" ".join(told) or "Approvals end with a push, as they should.")


def _rules(client: Client) -> list[ProtectedBranch]:
    """Return the rules that protect branches; nothing where we may not see them."""
    try:
        return client.all(client.project("protected_branches"), ProtectedBranch)
    except Answered as error:
        if error.status in NOT_OURS:
            return []
        raise


def _obstacles(branch: Branch, rules: list[ProtectedBranch], *, production: bool) -> Iterator[str]:
    if not branch.can_push:
        allowed = {level.access_level_description for rule in rules for level in rule.push_access_levels}
        who = f" by {', '.join(sorted(filter(None, allowed)))}" if any(allowed) else ""
        yield f"It may be pushed to{who} only, not by us. Add our account under 'Allowed to push and merge'."
    if any(rule.code_owner_approval_required for rule in rules):
        yield "Pushes that touch files of code owners are refused. Switch off 'Code owner approval' for it."
    if production and any(rule.allow_force_push for rule in rules):
        yield "It may be rewritten by a forced push. Switch that off: rollbacks need its history."


def _refused_commits(rules: PushRules) -> Iterator[str]:
    if rules.reject_unsigned_commits:
        yield "refuse commits without a signature"
    if rules.reject_non_dco_commits:
        yield "refuse commits without 'Signed-off-by'"
    if rules.member_check:
        yield "refuse commits of authors who are no users of GitLab"


def _seen(client: Client, where: str, model: type[Settings]) -> Settings | None:
    """Return settings, or nothing where the edition has none or we may not see them."""
    try:
        return client.get(where, model)
    except Answered as error:
        if error.status in NOT_OURS:
            return None
        raise
