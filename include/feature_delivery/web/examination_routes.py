"""What the command line asks a running instance: only here are the Connections of hosts and trackers."""

from __future__ import annotations

from functools import partial

from airflow.configuration import conf
from fastapi import APIRouter

from feature_delivery.bootstrap import messengers, outside, settings
from feature_delivery.domain.finding import Finding
from feature_delivery.domain.watching import ShopMetrics
from feature_delivery.services.control.examine import Parts, examine
from feature_delivery.services.own_rules import named_in_production
from feature_delivery.web.access import Readable
from feature_delivery.web.errors import problems
from feature_delivery.web.queues import takers
from feature_delivery.web.transaction import session

router = APIRouter(prefix="/projects/{project}", tags=["people"])


@router.get("/examination", responses=problems(401, 403, 404, 409))
def examine_project(project: Readable) -> list[Finding]:
    """Look at host, tracker, Git access, webhook secret, people and channels of a project; says of each what to do."""
    parts = Parts(
        repository=partial(outside.repository, project),
        host=partial(outside.git_host, project, session),
        tracker=partial(outside.tracker, project, session),
        secrets=lambda: len(settings.webhook_secrets(project.name)),
        platform=partial(outside.examine_platform, project, executor=conf.get("core", "executor"), takers=takers),
        path=f"{conf.get('api', 'base_url', fallback='').rstrip('/')}{settings.URL_PREFIX}/webhooks/{project.name}",
        messages=lambda: messengers.examine(project, session),
    )
    return examine(project, parts)


@router.get("/metrics", responses=problems(401, 403, 404, 409))
def metric_names(project: Readable) -> ShopMetrics:
    """Return what production's delivery file calls the shop's metrics; empty names: it keeps to the common ones."""
    return named_in_production(outside.repository(project), project.branches.production)
