"""What on GitHub would keep us from pushing to a branch: classic protection and rulesets, as far as we may see them.

A promotion is a push of a merge commit without force, so what forbids force pushes or deletion does not matter here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from feature_delivery.adapters.git_hosts.github.failures import said
from feature_delivery.domain.errors import NotFound, Refused

if TYPE_CHECKING:
    from feature_delivery.adapters.git_hosts.github.client import Client

READ = "Administration: read"

_RULES = {
    "pull_request": "takes pull requests only",
    "required_status_checks": "demands checks",
    "required_linear_history": "takes no merge commits",
    "required_signatures": "takes signed commits only",
    "required_deployments": "demands deployments first",
    "merge_queue": "is fed by a merge queue only",
    "update": "may not be updated",
    "workflows": "demands workflows first",
}


def obstacles(client: Client, branch: str, *, admin: bool) -> list[str]:
    """Return what stands in our way, each a clause without its subject (``demands checks: ci/build``).

    Raises:
        NotFound: There is no such branch.
    """
    path = f"{client.repository.url}/branches/{quote(branch, safe='')}"
    with client.doing(f"look at branch {branch!r}", right="Contents: read"):
        _, found = client.get(path)
        protected = bool(found.get("protected"))
    by_rules, ruled = _rules(client, branch)
    return by_rules + (_classic(client, path, branch, admin=admin, ruled=ruled) if protected else [])


def _rules(client: Client, branch: str) -> tuple[list[str], bool]:
    """Return what rulesets forbid us, and whether there are any rules."""
    found: list[str] = []
    bypassed: dict[int, bool] = {}
    with client.doing(f"look at the rules of branch {branch!r}", right="Metadata: read"):
        rules = _pages(client, f"{client.repository.url}/rules/branches/{quote(branch, safe='')}")
        for rule in rules:
            clause = _RULES.get(str(rule["type"]))
            if clause is None:
                continue
            number = int(rule["ruleset_id"])
            if number not in bypassed:
                bypassed[number] = _may_bypass(client, number)
            if not bypassed[number]:
                names = [
                    str(one["context"]) for one in (rule.get("parameters") or {}).get("required_status_checks", [])
                ]
                found.append(clause + (f": {', '.join(names)}" if names else ""))
    return list(dict.fromkeys(found)), bool(rules)


def _may_bypass(client: Client, ruleset: int) -> bool:
    try:
        with client.doing(f"look at ruleset {ruleset}", right="Metadata: read"):
            _, found = client.get(f"{client.repository.url}/rulesets/{ruleset}")
    except (NotFound, Refused):
        return False
    return bool(found.get("current_user_can_bypass") == "always")


def _pages(client: Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(page := client.get(path, per_page=100, page=len(found) // 100 + 1)[1]) == 100:
        found += page
    return found + list(page)


def _classic(client: Client, path: str, branch: str, *, admin: bool, ruled: bool) -> list[str]:
    doing = f"look at the protection of branch {branch!r}"
    try:
        with client.doing(doing, right=READ):
            _, rules = client.get(f"{path}/protection")
            return _clauses(client, rules, admin=admin)
    except (NotFound, Refused) as error:
        words = said(error)
        if (words is not None and words.mentions("branch not protected")) or ruled:
            return []
        return [f"is protected, and the token may not see how (it lacks '{READ}')"]


def _clauses(client: Client, rules: dict[str, Any], *, admin: bool) -> list[str]:
    found = ["is locked"] if _on(rules, "lock_branch") else []
    limits = rules.get("restrictions")
    if limits is not None and not _names_us(client, limits):
        found.append("may be pushed to by some people, teams and Apps only")
    if admin and not _on(rules, "enforce_admins"):
        return found  # the rest does not bind administrators
    reviews = rules.get("required_pull_request_reviews")
    if reviews is not None and not _names_us(client, reviews.get("bypass_pull_request_allowances") or {}):
        found.append("takes pull requests only")
    if (checks := rules.get("required_status_checks")) is not None:
        names = ", ".join(str(name) for name in checks.get("contexts") or []) or "some"
        found.append(f"demands checks: {names}")
    found += [_RULES[name] for name in ("required_linear_history", "required_signatures") if _on(rules, name)]
    return found


def _names_us(client: Client, who: dict[str, Any]) -> bool:
    """Say whether a list of users, teams and Apps has us in it; who is in a team is not asked."""
    names = {str(one.get("login", "")).lower() for one in who.get("users") or []}
    names |= {f"{one.get('slug', '')}[bot]".lower() for one in who.get("apps") or []}
    return client.me.lower() in names


def _on(rules: dict[str, Any], name: str) -> bool:
    return bool((rules.get(name) or {}).get("enabled"))
