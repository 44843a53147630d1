"""The Secrets of the installation on Kubernetes, made by one command."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from scripts.helm_secrets import EXAMPLE, main, manifest, read, secrets
from scripts.make_env import filled

ROOT = Path(__file__).parents[2]
AWKWARD = "p\"w:@/%#? '1"


def given(**changes: str) -> dict[str, str]:
    return {**read(filled(EXAMPLE.read_text("utf-8"), "")), "DATABASE_PASSWORD": AWKWARD, **changes}


@pytest.mark.parametrize("key", ["connection", "direct"])
def test_an_awkward_password_arrives_as_it_is(key: str) -> None:
    url = make_url(secrets(given())["feature-delivery-metadata"][key])
    assert (url.password, url.username, url.drivername) == (AWKWARD, "airflow", "postgresql+psycopg2")


def test_airflow_goes_through_the_pool_and_migrations_past_it() -> None:
    made = secrets(given(RELEASE="deliveries"))["feature-delivery-metadata"]
    pooled, direct = make_url(made["connection"]), make_url(made["direct"])
    assert (pooled.host, pooled.port, pooled.database) == ("deliveries-pgbouncer", 6543, "deliveries-metadata")
    assert (direct.host, direct.port, direct.query["sslmode"]) == ("postgres.example.org", 5432, "require")
    # asyncpg, whose address Airflow makes from this one, knows no `sslmode`.
    assert not pooled.query


def test_the_pools_files_say_the_same_as_the_addresses() -> None:
    made = secrets(given(DATABASE_POOL="7"))
    files = made["feature-delivery-pgbouncer"]
    for name in ("metadata", "result-backend"):
        database = make_url(made[f"feature-delivery-{name}"]["connection"].removeprefix("db+")).database
        assert f"\n{database} = host=postgres.example.org port=5432 dbname=airflow" in files["pgbouncer.ini"]
    assert "max_db_connections = 7\n" in files["pgbouncer.ini"]
    assert files["users.txt"] == '"airflow" "p""w:@/%#? \'1"\n'
    assert make_url(files["stats"]).password == AWKWARD


def test_the_broker_is_this_releases_redis() -> None:
    made = secrets(given(RELEASE="deliveries"))
    url = make_url(made["feature-delivery-broker"]["connection"])
    assert (url.host, url.password) == ("deliveries-redis", made["feature-delivery-redis"]["password"])


def test_users_have_the_passwords_that_are_given_else_admin_has_one() -> None:
    one = given()
    assert json.loads(secrets(one)["feature-delivery"]["passwords.json"]) == {"admin": one["ADMIN_PASSWORD"]}
    several = '{"admin": "a", "ann": "b"}'
    assert secrets(given(PASSWORDS=several))["feature-delivery"]["passwords.json"] == several


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RELEASE", "Deliveries"),
        ("NAMESPACE", "a/b"),
        ("DATABASE_HOST", "db.example.org\nauth_type = any"),
        ("DATABASE_USER", 'air"flow'),
        ("DATABASE_NAME", "x y"),
        ("DATABASE_PORT", "5432 host=evil"),
        ("DATABASE_SSLMODE", "prefer"),
        ("DATABASE_PASSWORD", "two\nlines"),
        ("DATABASE_POOL", "many"),
        ("FERNET_KEY", ""),
        ("PASSWORDS", "secret-and-no-json"),
        ("PASSWORDS", '{"admin": 1}'),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name) as refused:
        secrets(given(**{name: value}))
    assert not value or value not in str(refused.value)


def test_printing_twice_changes_nothing_on_the_cluster() -> None:
    one = given()
    assert manifest(one) == manifest(one)
    items = json.loads(manifest(one))["items"]
    assert {item["metadata"]["namespace"] for item in items} == {"feature-delivery"}


def test_the_commands_work_with_nothing_but_python(tmp_path: Path) -> None:
    def run(command: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-S", "-m", "scripts.helm_secrets", command, str(tmp_path)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert "make helm-env" in run("print").stderr
    said, path = run("env").stdout, tmp_path / "helm.env"
    assert "FERNET_KEY" in said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lacking = run("print")
    assert (lacking.returncode, lacking.stdout) == (1, "")
    assert "DATABASE_PASSWORD" in lacking.stderr
    path.write_text(path.read_text("utf-8").replace("DATABASE_PASSWORD=", "DATABASE_PASSWORD=x"), "utf-8")
    assert len(json.loads(run("print").stdout)["items"]) == 6
    kept = path.read_text("utf-8")
    assert "nothing added" in run("env").stdout
    assert path.read_text("utf-8") == kept


def test_an_unknown_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no command 'all'"):
        main("all", tmp_path)
