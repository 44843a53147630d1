"""Small parts of the embedded instance, without any process: its logs, its secrets, what its Airflow is told."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.cli.embedded import guard
from feature_delivery.cli.embedded.airflow_settings import AirflowSettings
from feature_delivery.cli.embedded.home import Home
from feature_delivery.domain.errors import Misconfigured

ROOT = Path(__file__).parents[2]


def airflow_settings(home: Path) -> AirflowSettings:
    return AirflowSettings(
        home=home,
        logs=home,
        dags_folder=home,
        plugins_folder=home,
        database="postgresql+psycopg2://nobody@127.0.0.1:1/none",
        port=1,
        secrets={"task_token": "t", "instance": "i"},
        users={"admin": "admin"},
    )


@pytest.mark.parametrize("page", ["scale.md", "monitoring.md"])
def test_airflow_is_told_by_each_variable_that_the_docs_name_for_one_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    named = set(re.findall(r"\bAIRFLOW__[A-Z_]+", (ROOT / "docs" / page).read_text("utf-8")))
    assert named
    for name in named:
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "airflow")
    told = airflow_settings(tmp_path).environment()
    assert {name: told.get(name) for name in named} == dict.fromkeys(named, "7")
    assert told["OTEL_SERVICE_NAME"] == "airflow"
    assert "AIRFLOW__CORE__EXECUTOR" not in told


def test_secrets_that_cannot_be_read_are_never_advised_to_be_removed(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text('{"database": "half a fi')
    (tmp_path / "ports.json").write_text("[")
    with pytest.raises(Misconfigured, match=r"from a backup\. Do not remove it"):
        Home(tmp_path).secrets()
    with pytest.raises(Misconfigured, match="Do not remove it"):
        Home(tmp_path).is_elsewhere()
    with pytest.raises(Misconfigured, match="Remove it to have it made anew"):
        Home(tmp_path).port("airflow", preferred=8080)


@pytest.mark.parametrize("refused", ["replace", "open"])
def test_a_disk_that_is_full_when_a_log_is_turned_over_stops_no_part_and_the_log_goes_on_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(guard, "_LOG_LIMIT_BYTES", 10)
    log = guard.LimitedLog(tmp_path / "part.log")
    log.write(b"before\n")
    with monkeypatch.context() as while_full:
        while_full.setattr(Path, refused, full)
        log.write(b"lost 1\n")
        log.write(b"lost 2\n")
    log.write(b"after\n")
    assert (tmp_path / "part.log").read_bytes() == b"after\n"
    assert (tmp_path / "part.log.1").read_bytes() == b"before\n"
    log._file.close()
