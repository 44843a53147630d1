"""The values of include/helm through Helm and Airflow's official chart, where both are given."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
HELM = ROOT / "include" / "helm"
CHART_VARIABLE = "FEATURE_DELIVERY_TEST_CHART"
HELM_VARIABLE = "FEATURE_DELIVERY_TEST_HELM"
NAMESPACE = RELEASE = "feature-delivery"

_WITH_PODS = ("Deployment", "StatefulSet", "Job", "DaemonSet")

Object = dict[str, Any]


def official_chart() -> Path | None:
    """Return the folder of the official chart, where one is given."""
    given = os.environ.get(CHART_VARIABLE)
    return Path(given) if given else None


def program() -> str | None:
    """Return Helm's program, where it is installed."""
    return os.environ.get(HELM_VARIABLE) or shutil.which("helm")


def missing() -> str:
    """Say what is missing to render the chart; empty when nothing is."""
    if official_chart() is None:
        return f"No chart is given: {CHART_VARIABLE} names the unpacked folder of Airflow's official one."
    return "" if program() else f"Helm is not installed: put it on the PATH, or name it by {HELM_VARIABLE}."


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one choice of values becomes."""

    objects: tuple[Object, ...]

    def one(self, kind: str, name: str) -> Object:
        """Return an object by its name, which begins with the release's."""
        found = [o for o in self.objects if (o["kind"], o["metadata"]["name"]) == (kind, f"{RELEASE}-{name}")]
        assert len(found) == 1, f"{kind} {RELEASE}-{name}: {len(found)}"
        return found[0]

    def of(self, kind: str) -> list[Object]:
        """Return all objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    def pods(self) -> Iterator[tuple[str, Mapping[str, str], Object]]:
        """Give name, labels and spec of every pod, a task's too."""
        for one in self.objects:
            if one["kind"] in _WITH_PODS:
                template = one["spec"]["template"]
                yield one["metadata"]["name"], template["metadata"]["labels"], template["spec"]
        if (task := self.task_pod()) is not None:
            yield "task", task["metadata"]["labels"], task["spec"]

    def task_pod(self) -> Object | None:
        """Return the template of a task's pod, where tasks have pods."""
        text = self.one("ConfigMap", "config")["data"].get("pod_template_file.yaml")
        return None if text is None else yaml.safe_load(text)


def rendered(folder: Path, *values: str, more: tuple[str, ...] = ()) -> Rendered:
    """Render our chart with the official one below it, and the values' files of include/helm by name."""
    official, helm = official_chart(), program()
    assert official
    assert helm
    chart = folder / "feature-delivery"
    if not chart.exists():
        shutil.copytree(HELM / "feature-delivery", chart)
        (chart / "charts").mkdir(exist_ok=True)
        shutil.copytree(official, chart / "charts" / "airflow")
    files = [word for name in values for word in ("-f", str(HELM / f"{name}.yaml"))]
    command = [helm, "template", RELEASE, str(chart), "-n", NAMESPACE, *files, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return Rendered(tuple(one for one in yaml.safe_load_all(done.stdout) if one))
