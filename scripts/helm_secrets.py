"""Makes the Secrets that include/helm's values name, from ``helm.env``. Needs nothing but Python, 3.9 or newer.

    python3 -m scripts.helm_secrets env      writes helm.env, or adds what it lacks
    python3 -m scripts.helm_secrets print    prints the Secrets as JSON, for `kubectl apply -f -`

The same ``helm.env`` gives the same Secrets, so that printing them again on an upgrade changes nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from scripts.make_env import filled, write_private

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "include" / "helm" / "secrets.env.example"
_LINE = re.compile(r"^([A-Z][A-Z0-9_]*)=(.*)$")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_SSL = ("disable", "require", "verify-ca", "verify-full")
POOL_PORT = 6543

Secrets = dict[str, dict[str, str]]
"""Keys and values by the name of their Secret."""


def read(text: str) -> dict[str, str]:
    """Return the settings that ``text`` has, one ``NAME=value`` a line."""
    return {found[1]: found[2].strip() for line in text.splitlines() if (found := _LINE.match(line.strip()))}


def secrets(given: Mapping[str, str]) -> Secrets:
    """Return every Secret by its name, with keys and values as they are.

    Raises:
        ValueError: A setting is missing or is not what its name says; the sentence names it and never its value.
    """
    _check(given)
    database = _database(given)
    return {
        "feature-delivery": {
            "instance": given["INSTANCE"],
            "task-token": given["TASK_TOKEN"],
            "metrics-token": given["METRICS_TOKEN"],
            "fernet-key": given["FERNET_KEY"],
            "api-secret-key": given["API_SECRET_KEY"],
            "jwt-secret": given["JWT_SECRET"],
            "passwords.json": _passwords(given),
        },
        **database,
        "feature-delivery-redis": {"password": given["REDIS_PASSWORD"]},
        "feature-delivery-broker": {
            "connection": f"redis://:{quote(given['REDIS_PASSWORD'], safe='')}@{given['RELEASE']}-redis:6379/0"
        },
    }


def manifest(given: Mapping[str, str]) -> str:
    """Return the Secrets as one Kubernetes List.

    Raises:
        ValueError: As of ``secrets``.
    """
    labels = {"app.kubernetes.io/part-of": "feature-delivery"}
    items = [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": given["NAMESPACE"], "labels": labels},
            "type": "Opaque",
            "stringData": content,
        }
        for name, content in secrets(given).items()
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=1)


def _check(given: Mapping[str, str]) -> None:
    """Refuse what would become a wrong address, or a line of its own in PgBouncer's file."""
    needed = read(EXAMPLE.read_text("utf-8"))
    missing = [name for name in needed if name != "PASSWORDS" and not given.get(name)]
    if missing:
        raise ValueError(f"helm.env says nothing for {', '.join(missing)}. Fill it in; `make helm-env` adds new ones.")
    forms = {"NAMESPACE": _LABEL, "RELEASE": _LABEL, "DATABASE_HOST": _HOST, "DATABASE_NAME": _NAME}
    forms |= {"DATABASE_USER": _NAME, "DATABASE_PORT": re.compile(r"\d{1,5}"), "DATABASE_POOL": re.compile(r"\d{1,4}")}
    wrong = [name for name, form in forms.items() if not form.fullmatch(given[name])]
    if given["DATABASE_SSLMODE"] not in _SSL:
        wrong.append("DATABASE_SSLMODE")
    if not given["DATABASE_PASSWORD"].isprintable():
        wrong.append("DATABASE_PASSWORD")
    if wrong:
        raise ValueError(f"helm.env: {', '.join(wrong)} cannot be used as it is. The comments there say what fits.")


def _database(given: Mapping[str, str]) -> Secrets:
    """Return addresses and PgBouncer's files. The driver is named: SQLAlchemy's default is not installed."""
    user, password = given["DATABASE_USER"], given["DATABASE_PASSWORD"]
    release, port = given["RELEASE"], given["DATABASE_PORT"]
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    pool = f"{login}@{release}-pgbouncer:{POOL_PORT}"
    direct = f"{given['DATABASE_HOST']}:{port}/{given['DATABASE_NAME']}?sslmode={given['DATABASE_SSLMODE']}"
    target = f"host={given['DATABASE_HOST']} port={port} dbname={given['DATABASE_NAME']}"
    ini = f"""[databases]
{release}-metadata = {target}
{release}-result-backend = {target} pool_size=5

[pgbouncer]
pool_mode = transaction
listen_addr = *
listen_port = {POOL_PORT}
auth_type = scram-sha-256
auth_file = /etc/pgbouncer/users.txt
stats_users = {user}
ignore_startup_parameters = extra_float_digits
; asyncpg prepares its statements by name.
max_prepared_statements = 200
max_client_conn = 1000
default_pool_size = {given["DATABASE_POOL"]}
max_db_connections = {given["DATABASE_POOL"]}
server_tls_sslmode = {given["DATABASE_SSLMODE"]}
"""
    quoted = password.replace('"', '""')
    return {
        "feature-delivery-metadata": {
            "connection": f"postgresql+psycopg2://{pool}/{release}-metadata",
            "direct": f"postgresql+psycopg2://{login}@{direct}",
        },
        "feature-delivery-result-backend": {"connection": f"db+postgresql+psycopg2://{pool}/{release}-result-backend"},
        "feature-delivery-pgbouncer": {
            "pgbouncer.ini": ini,
            "users.txt": f'"{user}" "{quoted}"\n',
            "stats": f"postgresql://{login}@127.0.0.1:{POOL_PORT}/pgbouncer?sslmode=disable",
        },
    }


def _passwords(given: Mapping[str, str]) -> str:
    text = given.get("PASSWORDS", "")
    if not text:
        return json.dumps({"admin": given["ADMIN_PASSWORD"]})
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(
            'helm.env: PASSWORDS is no JSON. Write one line like {"admin": "...", "ann": "..."}.'
        ) from error
    if not isinstance(found, dict) or not all(isinstance(one, str) and one for one in found.values()):
        raise ValueError('helm.env: PASSWORDS has to give each user one password, like {"admin": "..."}.')
    return text


def main(command: str, directory: Path) -> None:
    """Do what ``command`` says with ``helm.env`` of ``directory``; ends with a sentence where it cannot."""
    path = directory / "helm.env"
    existing = path.read_text("utf-8") if path.exists() else ""
    if command == "env":
        text = filled(EXAMPLE.read_text("utf-8"), existing)
        write_private(path, text)
        added = sorted(read(text).keys() - read(existing).keys())
        sys.stdout.write(f"{path}: {', '.join(added) or 'nothing'} added.\n")
    elif command != "print":
        sys.exit(f"There is no command {command!r}. Say env or print.")
    elif not existing:
        sys.exit(f"There is no {path}. `make helm-env` writes one.")
    else:
        try:
            sys.stdout.write(f"{manifest(read(existing))}\n")
        except ValueError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "", Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT)
