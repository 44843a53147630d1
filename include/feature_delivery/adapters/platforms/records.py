"""What every platform writes down of an environment, wherever it keeps it."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict

from feature_delivery.domain.names import FeatureKey, ProjectName
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef


class Record(BaseModel):
    """A value that is kept as JSON."""

    model_config = ConfigDict(frozen=True)


class IdentifiedRecord(Record):
    """Which environment it is; ``generation``: the highest seen."""

    instance: str
    project: ProjectName
    name: str
    kind: EnvironmentKind
    key: FeatureKey | None
    generation: int

    @property
    def ref(self) -> EnvironmentRef:
        """The environment as the port names it."""
        return EnvironmentRef(
            instance=self.instance,
            project=self.project,
            name=self.name,
            kind=self.kind,
            key=self.key,
            generation=self.generation,
        )

    def changed(self, **values: object) -> Self:
        """Return a copy with some values replaced."""
        return self.model_copy(update=values)
