"""Teams with rights of their own by the real FAB auth manager: roles and groups there are roles in the project."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from feature_delivery.domain.names import PersonName
from feature_delivery.domain.process import Step
from feature_delivery.web import logins, members
from tests.support.airflow import copied_engine
from tests.support.postgres import PostgresServer
from tests.support.web_app import DAG, Shop, eventually, running_shop, whole_airflow

# Flask, and what FAB is built on, warn of their own age.
pytestmark = pytest.mark.filterwarnings("ignore")

FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
PREFIX = "/feature-delivery"
SEES = (("can_read", f"DAG:{DAG}"), ("can_read", "DAG Runs"), ("can_read", "website"))
STAFF = {
    "max": ("Shop managers",),
    "dora": ("Shop developers",),
    "rita": ("Shop reviewers",),
    "tess": ("Shop developers",),  # and a tester by her group
    "ota": ("Stall team",),
    "gone": ("Shop managers",),
}
PEOPLE = """
people:
  rita: {roles: [], logins: [rita-on-the-host], emails: [rita@home.example]}
groups:
  Shop managers: [manager]
  Shop developers: [developer]
  Shop reviewers: [reviewer]
  The testers: [tester]
"""


@pytest.fixture(scope="module")
def fab(
    postgres_server: PostgresServer, airflow_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """Airflow's whole API server with FAB, its users and their roles."""
    directory = tmp_path_factory.mktemp("fab")
    with pytest.MonkeyPatch.context() as patched, copied_engine(postgres_server, airflow_template, patched) as engine:
        address = engine.url.render_as_string(hide_password=False)
        patched.setenv("AIRFLOW__CORE__AUTH_MANAGER", FAB)
        patched.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", address)
        patched.setattr("airflow.settings.SQL_ALCHEMY_CONN", address)
        _tables(engine)
        with running_shop(directory, patched) as inner:
            file = directory / "projects" / "shop.yaml"
            head, _, tail = file.read_text().partition("people:")
            choices = tail[tail.index("choices:") :]
            file.write_text(head + PEOPLE + choices)
            (directory / "projects" / "stall.yaml").write_text(
                (head + PEOPLE.replace("Shop ", "Stall ") + choices).replace("name: shop", "name: stall")
            )
            with whole_airflow(inner, patched) as found:
                _people()
                members.directory.forget()
                yield found
    members.directory.forget()
    from airflow.api_fastapi.app import init_auth_manager  # noqa: PLC0415 - as everybody else's tests have it

    init_auth_manager()


def _tables(engine: Engine) -> None:
    from airflow.providers.fab.auth_manager.models import Model  # noqa: PLC0415 - takes a second
    from airflow.providers.fab.auth_manager.models.db import _get_flask_db  # noqa: PLC0415

    Model.metadata.create_all(engine)
    db, app = _get_flask_db(engine.url.render_as_string(hide_password=False))
    with app.app_context():
        db.create_all()


def _people() -> None:
    from airflow.api_fastapi.app import get_auth_manager  # noqa: PLC0415 - as above
    from airflow.providers.fab.auth_manager.models import Group, User  # noqa: PLC0415

    manager: Any = get_auth_manager()
    with manager.flask_app.app_context():
        security = manager.security_manager
        for name in sorted({role for roles in STAFF.values() for role in roles}):
            project = "stall" if name.startswith("Stall") else "shop"
            role = security.add_role(name)
            for action, resource in SEES:
                wanted = resource.replace(DAG, f"feature_delivery_{project}")
                security.add_permission_to_role(role, security.create_permission(action, wanted))
        for name, roles in STAFF.items():
            found = [security.find_role(role) for role in roles]
            assert security.add_user(name, "Max", "Olga", f"{name}@Shop.example", found, password=f"{name}-secret")
        session = manager.session
        group = Group(name="The testers", label="", description="")
        group.users.append(session.query(User).filter_by(username="tess").one())
        session.query(User).filter_by(username="gone").one().active = False
        session.add(group)
        session.commit()


def login(fab: Shop, name: str) -> httpx.Client:
    body = {"username": name, "password": f"{name}-secret"}
    answer = httpx.post(f"{fab.address}/auth/token", json=body, trust_env=False, timeout=60)
    assert answer.status_code == 201, answer.text
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    return httpx.Client(base_url=fab.address + PREFIX, headers=headers, trust_env=False, timeout=60)


def test_a_role_or_group_of_fab_is_a_role_in_the_project(fab: Shop) -> None:
    with closing(login(fab, "max")) as boss:
        started = boss.post("/projects/shop/features", json={"key": "SHOP-1", "title": "Cards"})
    assert started.status_code == 201, started.text
    fab.tasks.base_url = httpx.URL(fab.address + PREFIX)
    fab.register()
    fab.gate(Step.WAIT_FOR_START)
    said = {"gate": "start", "kind": "approve"}
    path = "/projects/shop/features/SHOP-1/decisions"
    with closing(login(fab, "rita")) as reviewer:
        refused = reviewer.post(path, json=said)
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        "rita is not developer of this project: dora, tess may decide at intake.wait_for_start."
    ), "everybody who may is named, whether they have ever logged in or not"
    with closing(login(fab, "tess")) as tester:
        assert tester.post(path, json=said).json() == {"accepted": True, "reason": ""}


def test_a_login_that_fab_refuses_on_its_page_is_noted_and_one_that_it_takes_is_not(
    fab: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[tuple[str, str]] = []
    monkeypatch.setattr(logins, "note", lambda name, address: noted.append((name, address)))
    for password in ("guess", "rita-secret"):
        with httpx.Client(base_url=fab.address, trust_env=False, timeout=60) as browser:
            page = browser.get("/auth/login/")
            token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
            assert token
            form = {"username": "rita", "password": password, "csrf_token": token[1]}
            assert browser.post("/auth/login/", data=form).status_code == 302
    eventually(lambda: noted == [("rita", "127.0.0.1")])
    assert httpx.post(f"{fab.address}/auth/token", json={"username": "rita", "password": "x"}).status_code == 401
    eventually(lambda: len(noted) == 2)  # the answer is sent before it is looked at


def test_one_team_neither_sees_nor_touches_the_project_of_another(fab: Shop) -> None:
    with closing(login(fab, "ota")) as other:
        assert [one["name"] for one in other.get("/projects").json()] == ["stall"]
        for path in ("/projects/shop", "/projects/shop/features", "/projects/shop/audit", "/board/shop/SHOP-1"):
            assert other.get(path).status_code == 403, path
        body = {"gate": "start", "kind": "approve"}
        assert other.post("/projects/shop/features/SHOP-1/decisions", json=body).status_code == 403
        assert other.post("/projects/shop/lock/break", json={"reason": "mine"}).status_code == 403
        assert "SHOP-1" not in other.get("/board/").text
        airflow = other.get(f"{fab.address}/api/v2/dags/{DAG}/dagRuns")
        assert airflow.status_code == 403


def test_members_are_known_by_the_addresses_that_fab_keeps_and_by_the_projects_own(fab: Shop) -> None:
    from feature_delivery.bootstrap import settings  # noqa: PLC0415 - as the web app has it now

    people = settings.project("shop").people
    assert people.by_emails(["DORA@shop.example", "rita@home.example"]) == {"dora", "rita"}
    assert people.speaking_as("rita-on-the-host") == "rita"
    assert people.speaking_as("rita") is None, "the host's rita is not ours: ours has told her login there"
    assert "gone" not in people.persons, "an account that is closed is nobody's"
    assert people.role_at("tess", Step.WAIT_FOR_ACCEPTANCE) == "tester"


def test_who_leaves_a_group_loses_its_role(fab: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.fab.auth_manager.models import User  # noqa: PLC0415 - as above

    from feature_delivery.bootstrap import settings  # noqa: PLC0415
    from feature_delivery.web.transaction import session  # noqa: PLC0415

    later = [members.directory.clock()]
    monkeypatch.setattr(members.directory, "clock", lambda: later[0])
    assert PersonName("tess") in settings.project("shop").people.persons
    with session() as opened:
        tess = opened.query(User).filter_by(username="tess").one()
        tess.groups, tess.roles = [], []
    later[0] += members.FRESH_SECONDS + 1
    assert "tess" not in settings.project("shop").people.persons
