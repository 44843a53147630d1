from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_delivery.domain.plan import DeliveryPlan, Suite
from feature_delivery.services.delivery_file import read_delivery_file
from feature_delivery.services.delivery_template import ShopKind, detect, first_file


def put(directory: Path, files: Mapping[str, str]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return directory


def plan(directory: Path) -> DeliveryPlan:
    return read_delivery_file(first_file(directory).text.encode(), where="the template")


def notes(directory: Path) -> str:
    found = first_file(directory)
    for note in found.notes:
        assert " ".join(note.split()[:5]) in found.text, "what init says is in the file, too"
    return " ".join(found.notes)


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
    ({"manage.py": "", "requirements.txt": ""}, ShopKind.DJANGO),
    ({"manage.py": "", "pytest.ini": "", "package.json": "{}"}, ShopKind.DJANGO),
    ({"GNUmakefile": "test:\n"}, ShopKind.MAKE),
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
        {
            "shop/__init__.py": "",
            "shop/__main__.py": "",
            "pytest.ini": "",
            "requirements.txt": "pytest",
            "tests/unit/x": "",
        },
    )
    found = plan(tmp_path)
    assert found.start == ("python", "-m", "shop")
    assert found.install == (("uv", "pip", "install", "-r", "requirements.txt"),)
    assert found.install_inputs == ("requirements.txt",)
    assert found.suites[Suite.SYNTAX].command[-1] == ".", "packages that a feature adds are checked, too"
    assert found.suites[Suite.UNIT].junit == "reports/unit.xml"
    assert "no tests/functional, no tests/integration" in notes(tmp_path)


PYPROJECT = """
[project]
name = "shop"
dependencies = ["flask"]
optional-dependencies = {docs = ["sphinx"], test = ["pytest>=8"]}
"""
LATE_PYTEST = ("uv", "pip", "install", "pytest")


@pytest.mark.parametrize(
    ("files", "install", "inputs"),
    [
        ({"requirements.txt": "flask"}, (("uv", "pip", "install", "-r", "requirements.txt"), LATE_PYTEST), None),
        ({"pyproject.toml": PYPROJECT}, (("uv", "pip", "install", "-e", ".[test]"),), ("pyproject.toml",)),
        (
            {"pyproject.toml": '[project]\nname = "s"\n[dependency-groups]\ndev = ["pytest"]\n'},
            (("uv", "pip", "install", "-e", ".", "--group", "dev"),),
            ("pyproject.toml",),
        ),
        (
            {"pyproject.toml": PYPROJECT.replace("pytest", "nose"), "setup.py": ""},
            (("uv", "pip", "install", "-e", ".[test]"), LATE_PYTEST),
            ("pyproject.toml", "setup.py"),
        ),
        (
            {"pyproject.toml": PYPROJECT + '[dependency-groups]\ndev = ["pytest"]\n', "uv.lock": ""},
            (("uv", "sync", "--locked", "--active"),),
            ("pyproject.toml", "uv.lock"),
        ),
        ({"pyproject.toml": "[tool.pytest.ini_options]\n"}, (LATE_PYTEST,), ("delivery.yaml",)),
        (
            {
                "requirements/dev.txt": "-r base.txt\npytest\n-r ../../etc/passwd\n",
                "requirements/base.txt": "-c pins.txt\nflask\n",
                "requirements/pins.txt": "flask==3\n",
            },
            (("uv", "pip", "install", "-r", "requirements/dev.txt"),),
            ("requirements/dev.txt", "requirements/base.txt", "requirements/pins.txt"),
        ),
    ],
)
def test_a_python_shops_packages_and_its_pytest_are_installed_by_what_names_them(
    tmp_path: Path, files: dict[str, str], install: tuple[tuple[str, ...], ...], inputs: tuple[str, ...] | None
) -> None:
    found = plan(put(tmp_path, {"app.py": "", **files}))
    assert found.install == install
    assert found.install_inputs == (inputs or tuple(files))


MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")\n'
SETTINGS = 'DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}\n'
DJANGO = {"manage.py": MANAGE, "config/__init__.py": "", "config/wsgi.py": "", "config/asgi.py": ""}


def test_a_django_shop_gets_its_port_by_a_shell_of_its_own_and_migrates(tmp_path: Path) -> None:
    found = plan(put(tmp_path, {"manage.py": "", "pyproject.toml": ""}))
    assert found.start == ("sh", "-c", 'exec python manage.py runserver --noreload "$HOST:$PORT"')
    assert found.migration.forward == ("python", "manage.py", "migrate", "--noinput")
    assert not found.migration.reversible, "nothing is known of a way back"
    assert found.install[-1][-2:] == ("pytest", "pytest-django")


@pytest.mark.parametrize(
    ("server", "static", "line"),
    [
        ("gunicorn", "", 'exec gunicorn config.wsgi:application --bind "$HOST:$PORT"'),
        (
            "gunicorn==27",
            "STATIC_ROOT = 1\n",
            'python manage.py collectstatic --noinput && exec gunicorn config.wsgi:application --bind "$HOST:$PORT"',
        ),
        ("uvicorn", "", 'exec uvicorn config.asgi:application --host "$HOST" --port "$PORT"'),
    ],
)
def test_a_django_shop_is_started_by_the_server_that_it_installs(
    tmp_path: Path, server: str, static: str, line: str
) -> None:
    put(tmp_path, {**DJANGO, "config/settings.py": static, "requirements.txt": server})
    assert plan(tmp_path).start == ("sh", "-c", line)


def test_a_database_in_the_checkout_is_pointed_out_and_one_in_the_data_directory_is_not(tmp_path: Path) -> None:
    put(tmp_path, {**DJANGO, "config/settings.py": SETTINGS})
    assert "config.settings is a file in the checkout" in notes(tmp_path)
    put(tmp_path, {"config/settings.py": f'BASE_DIR = os.environ["DATA_DIR"]\n{SETTINGS}'})
    assert "checkout" not in notes(tmp_path)


def test_npm_takes_the_lock_file_and_the_scripts_that_are_there(tmp_path: Path) -> None:
    package = {"scripts": {"check": "x", "test:unit": "jest", "build": "tsc"}}
    put(tmp_path, {"package.json": json.dumps(package), "package-lock.json": "{}"})
    found = plan(tmp_path)
    assert found.install == (("npm", "ci"), ("npm", "run", "build"))
    assert found.install_inputs == ("package.json", "package-lock.json")
    assert found.suites[Suite.SYNTAX].command == ("npm", "run", "check")
    assert found.suites[Suite.UNIT].command == ("npm", "run", "test:unit")
    assert found.suites[Suite.UNIT].junit is None
    assert "no script test:functional, test:integration" in notes(tmp_path)
    assert "no script start" in notes(tmp_path)


def test_node_tests_write_a_report_and_those_that_need_a_shell_are_left_alone(tmp_path: Path) -> None:
    scripts = {
        "test:unit": "node --test test/unit/",
        "test:functional": "node --test $WHERE && true",
        "test:integration": "",
    }
    put(tmp_path, {"package.json": json.dumps({"scripts": scripts}), "server.js": ""})
    found = plan(tmp_path)
    assert found.start == ("node", "server.js")
    assert found.suites[Suite.UNIT].command[:2] == ("node", "--test")
    assert found.suites[Suite.UNIT].command[-1] == "test/unit/"
    assert found.suites[Suite.UNIT].junit == "reports/unit.xml"
    assert found.suites[Suite.FUNCTIONAL].command == ("npm", "run", "test:functional")
    assert "no package-lock.json" in notes(tmp_path)
    assert "yarn" in notes(put(tmp_path, {"yarn.lock": ""}))


def test_make_takes_the_targets_that_are_there(tmp_path: Path) -> None:
    put(tmp_path, {"Makefile": "VERSION := 1\nrun serve:\n\t./serve\nunit-tests: run\n", "go.sum": ""})
    found = plan(tmp_path)
    assert found.install == ()
    assert found.start == ("make", "run")
    assert found.suites[Suite.UNIT].command == ("make", "unit-tests")
    assert "no target lint, test-functional, test-integration" in notes(tmp_path)
    put(tmp_path, {"Makefile": "install:\n\tgo mod download\n"})
    assert plan(tmp_path).install_inputs == ("Makefile", "go.sum"), "what a target installs is named by other files"


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({"server.js": 'app.get("/health", ok)\n'}, "/health"),
        ({"urls.py": 'path("healthz/", ok)\n', "api.py": '"/ping"\n'}, "/healthz/"),
        ({"app.py": 'department = "health"\n'}, "/"),
        ({"tests/test_app.py": 'get("/healthz")\n', "node_modules/x/x.js": '"/healthz"\n'}, "/"),
    ],
)
def test_a_health_page_is_found_in_the_sources_else_the_front_page_is_asked(
    tmp_path: Path, files: dict[str, str], path: str
) -> None:
    put(tmp_path, {"Makefile": "start:\n\tserve $(PORT)\n", **files})
    assert plan(tmp_path).health.path == path
    assert ("No health page" in notes(tmp_path)) is (path == "/")
    found = {"/health": "server.js", "/healthz/": "urls.py"}.get(path)
    told = f'  path: "{path}"' + (f'  # from "{found}"' if found else "")
    assert told in first_file(tmp_path).text.splitlines()


def test_a_server_that_is_told_no_port_is_pointed_out(tmp_path: Path) -> None:
    put(tmp_path, {"package.json": '{"scripts": {"start": "node server.js"}}', "server.js": "listen(3000)\n"})
    assert "mentions PORT" in notes(tmp_path)
    put(tmp_path, {"server.js": "listen(process.env.PORT)\n"})
    assert "mentions PORT" not in notes(tmp_path)


def test_what_is_not_known_fails_instead_of_passing(tmp_path: Path) -> None:
    assert plan(tmp_path).suites[Suite.UNIT].command == ("./run-unit-tests",)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    content=st.text(max_size=60),
    name=st.sampled_from(
        [
            "package.json",
            "pyproject.toml",
            "Makefile",
            "setup.cfg",
            "tox.ini",
            "requirements.txt",
            "manage.py",
            "uv.lock",
        ]
    ),
)
def test_whatever_the_files_hold_the_template_reads_back(tmp_path: Path, content: str, name: str) -> None:
    put(tmp_path, {name: content})
    assert plan(tmp_path).start
