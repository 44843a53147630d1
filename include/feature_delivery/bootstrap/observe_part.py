"""How a project file says by what production is judged."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from feature_delivery.bootstrap.file_parts import Duration, Strict
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.judging.rules import Direction, MetricRule
from feature_delivery.domain.watching import Query, Watching


class MetricPart(Strict):
    """One figure that production is judged by; the meaning is in ``domain.judging.rules`` and ``domain.watching``."""

    query: str = Field(min_length=1, max_length=4000)
    of: str = Field(default="", max_length=4000)
    unit: str = Field(default="", max_length=20)
    direction: Literal["lower", "higher"] = "lower"
    limit: float | None = Field(default=None, allow_inf_nan=False)
    tolerance: float = Field(default=0.14, ge=0, le=100)
    least_change: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    compared: bool = True
    critical: bool = False
    weight: float = Field(default=1.0, ge=0, le=1000)

    def asked(self, name: str) -> Query:
        """Return the query with its rule."""
        own = self.model_dump(exclude={"query", "of", "direction"})
        unit = self.unit or ("ratio" if self.of else "")
        direction = Direction(self.direction)
        rule = MetricRule(name=name, direction=direction, counted=bool(self.of), **{**own, "unit": unit})
        return Query(rule=rule, query=self.query, of=self.of)


Label = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$", max_length=100)]


class ObservePart(Strict):
    """How production is watched; the meaning is in ``domain.watching.Watching``."""

    connection: str = ""
    labels: dict[Label, str] | None = None
    baseline: Duration = timedelta(hours=1)
    resolution: Duration = Field(default=timedelta(seconds=30), gt=timedelta())
    warm_up: Duration | None = None
    look_every: Duration = Field(default=timedelta(seconds=30), gt=timedelta())
    least_requests: float = Field(default=100.0, ge=0)
    conventions: bool = True
    metrics: dict[str, MetricPart] = Field(default_factory=dict, max_length=30)

    def watching(self, project: str) -> Watching:
        """Return it in the domain's words."""
        own = self.model_dump(include={"connection", "baseline", "resolution", "warm_up", "look_every"})
        if self.metrics and not self.connection:
            raise Refused(
                "'observe.metrics' asks Prometheus, but 'observe.connection' names none. Name its Connection."
            )
        labels = {"project": project, "environment": "production"} if self.labels is None else dict(self.labels)
        return Watching(
            labels=labels,
            least_requests=self.least_requests,
            conventions=self.conventions,
            queries=tuple(part.asked(name) for name, part in self.metrics.items()),
            **own,
        )
