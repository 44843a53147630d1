"""Pods that run once: migrations, seeds, commands, suites. They are a release's pod with another command."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from feature_delivery.adapters.platforms.kubernetes.manifests.parts import TEMPORARY, resources, variables, words
from feature_delivery.adapters.platforms.kubernetes.names import COMMIT, RELEASE, ROLE, label_value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from feature_delivery.adapters.platforms.kubernetes.record import ReleaseRecord
    from feature_delivery.adapters.platforms.kubernetes.resources import Manifest
    from feature_delivery.domain.cluster import Resources
    from feature_delivery.domain.plan import Command

TASK = "task"
"""The container that does the work."""

REPORT_BEGINS, REPORT_ENDS = "feature-delivery-report-begins", "feature-delivery-ended"

REPORTING = """timeout=$1 report=$2 token=$3; shift 3
rm -f "$report"; mkdir -p "$(dirname "$report")"
began=$(date +%s)
if command -v timeout >/dev/null; then timeout -k 5 "$timeout" "$@"; else "$@"; fi
code=$?
if [ -f "$report" ]; then echo; echo "feature-delivery-report-begins $token"; base64 "$report"; fi
echo; echo "feature-delivery-ended $token $code $(($(date +%s) - began))"
"""
"""Runs a suite and prints its report behind it: reading the log is a right that we need anyway, a way into a running
container is not. A suite's exit code is a result, so that the container ends well; one that did not is the cluster's
doing. The token only keeps a suite's own words apart from ours: whoever writes the suite writes its report, too."""


def once(
    release: ReleaseRecord,
    command: Command,
    *,
    name: str,
    namespace: str,
    role: str,
    limit: timedelta,
    extra: Mapping[str, str] | None = None,
    needs: Resources | None = None,
) -> Manifest:
    """Return a pod that runs ``command`` in a release's code.

    Args:
        release: Whose pod template it is.
        command: Argument list.
        name: The pod's name; the same errand has the same one, so that it is found and not begun twice.
        namespace: Where.
        role: What it is for: ``migration``, ``suite`` …
        limit: After it the cluster ends the pod; init containers are part of it.
        extra: More variables, stronger than the release's.
        needs: Other resources than the shop's own.
    """
    template = release.pod
    main = {**template["containers"][0], "name": TASK, "command": words(command)}
    told = variables(extra or {})
    names = {entry["name"] for entry in told}
    main["env"] = [*(entry for entry in main["env"] if entry["name"] not in names), *told]
    if needs is not None:
        main["resources"] = resources(needs)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {ROLE: role, RELEASE: release.id, COMMIT: label_value(release.commit)},
        },
        "spec": {
            **template,
            "containers": [main],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": max(math.ceil(limit.total_seconds()), 1),
        },
    }


def reporting(command: Command, *, timeout: timedelta, report: str, token: str) -> Command:
    """Return a suite's command with its report printed behind it."""
    seconds = f"{max(timeout.total_seconds(), 1):g}"
    return ("sh", "-c", REPORTING, "suite", seconds, report or f"{TEMPORARY}/no-report", token, *command)
