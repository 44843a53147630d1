from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_delivery.domain.plan import DeliveryPlan, Suite
from feature_delivery.services.delivery_file import read_delivery_file
from feature_delivery.services.delivery_template import ShopKind, detect, template


def put(directory: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return directory


def plan(directory: Path) -> DeliveryPlan:
    return read_delivery_file(template(directory).encode(), where="the template")


CASES: list[tuple[dict[str, str], ShopKind]] = [
    ({"pytest.ini": ""}, ShopKind.PYTHON),
    ({"pyproject.toml": "[tool.pytest.ini_options]\n", "package.json": "{}"}, ShopKind.PYTHON),
    ({"setup.cfg": "[tool:pytest]\n"}, ShopKind.PYTHON),
    ({"tests/conftest.py": ""}, ShopKind.PYTHON),
    ({"requirements.txt": "django", "Makefile": ""}, ShopKind.PYTHON),
    ({"package.json": "{}", "requirements.txt": ""}, ShopKind.NPM),
    ({"package.json": "not json", "Makefile": ""}, ShopKind.NPM),
    ({"Makefile": "test:\n"}, ShopKind.MAKE),
    ({"README.md": ""}, ShopKind.UNKNOWN),
    ({}, ShopKind.UNKNOWN),
    ({"pyproject.toml": "broken ["}, ShopKind.PYTHON),
]


@pytest.mark.parametrize(("files", "kind"), CASES)
def test_the_kind_is_told_by_the_files_and_the_template_reads_back(
    tmp_path: Path, files: dict[str, str], kind: ShopKind
) -> None:
    put(tmp_path, files)
    assert detect(tmp_path) is kind
    assert set(plan(tmp_path).suites) == set(Suite) - {Suite.LOAD}


def test_a_python_package_that_runs_is_started_and_its_suites_report(tmp_path: Path) -> None:
    put(
        tmp_path,
        {"shop/__init__.py": "", "shop/__main__.py": "", "pytest.ini": "", "requirements.txt": "", "tests/unit/x": ""},
    )
    found = plan(tmp_path)
    assert found.start == ("python", "-m", "shop")
    assert found.install == (("uv", "pip", "install", "-r", "requirements.txt"),)
    assert found.install_inputs == ("requirements.txt",)
    assert found.suites[Suite.SYNTAX].command[-2:] == ("shop", "tests")
    assert found.suites[Suite.UNIT].junit == "reports/unit.xml"


def test_a_django_shop_gets_its_port_by_a_shell_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, {"manage.py": "", "pyproject.toml": ""})
    assert plan(tmp_path).start == ("sh", "-c", 'exec python manage.py runserver --noreload "$HOST:$PORT"')


def test_npm_takes_the_lock_file_and_the_scripts_that_are_there(tmp_path: Path) -> None:
    package = {"scripts": {"check": "x", "test:unit": "y"}}
    put(tmp_path, {"package.json": json.dumps(package), "package-lock.json": "{}"})
    found = plan(tmp_path)
    assert found.install == (("npm", "ci"),)
    assert found.suites[Suite.SYNTAX].command == ("npm", "run", "check")
    assert found.suites[Suite.UNIT].command == ("npm", "run", "test:unit")
    assert found.suites[Suite.UNIT].junit is None


def test_make_takes_the_targets_that_are_there(tmp_path: Path) -> None:
    put(tmp_path, {"Makefile": "VERSION := 1\nrun:\n\t./serve\nunit-tests: run\n"})
    found = plan(tmp_path)
    assert found.start == ("make", "run")
    assert found.suites[Suite.UNIT].command == ("make", "unit-tests")


def test_what_is_not_known_fails_instead_of_passing(tmp_path: Path) -> None:
    assert plan(tmp_path).suites[Suite.UNIT].command == ("./run-unit-tests",)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    content=st.text(max_size=60),
    name=st.sampled_from(["package.json", "pyproject.toml", "Makefile", "setup.cfg", "tox.ini"]),
)
def test_whatever_the_files_hold_the_template_reads_back(tmp_path: Path, content: str, name: str) -> None:
    put(tmp_path, {name: content})
    assert plan(tmp_path).start
