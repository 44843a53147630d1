"""Rights by Airflow's Keycloak auth manager, the provider's own code, and a fake Keycloak over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from sqlalchemy import Engine

from feature_delivery.bootstrap import settings
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.domain.records import Attempt, now
from feature_delivery.ports.git_host import MergeRequest, RequestState, Review, ReviewKind
from feature_delivery.services.control.requests import observe_request
from feature_delivery.web import members
from feature_delivery.web.transaction import begin
from tests.fakes.keycloak import CLIENT, REALM, SECRET, FakeKeycloak, access_token, serving
from tests.support.web_app import DAG, Shop, running_shop

MANAGER = "airflow.providers.keycloak.auth_manager.keycloak_auth_manager.KeycloakAuthManager"
PEOPLE = """
people:
  dora: {roles: [developer]}
  rita: {roles: [reviewer]}
groups:
  shop-manager: [manager]
  /shop/testers: [tester]
  no-such-role: [operator]
"""
BODY = {"key": "SHOP-1", "title": "Cards"}


@pytest.fixture
def keycloak() -> Iterator[FakeKeycloak]:
    made = FakeKeycloak(
        roles={"shop-manager": [f"m{number}" for number in range(150)]},
        groups={"/shop/testers": ["tess", "gone"]},
        disabled={"gone"},
        reads={"m149": {DAG}, "tess": {DAG}, "ota": {"feature_delivery_stall"}},
    )
    with serving(made):
        yield made


@pytest.fixture
def shop(
    keycloak: FakeKeycloak,
    airflow_engine: Engine,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    monkeypatch.setenv("AIRFLOW__CORE__AUTH_MANAGER", MANAGER)
    named = {"SERVER_URL": keycloak.address, "REALM": REALM, "CLIENT_ID": CLIENT, "CLIENT_SECRET": SECRET}
    for name, value in named.items():
        monkeypatch.setenv(f"AIRFLOW__KEYCLOAK_AUTH_MANAGER__{name}", value)
    directory = tmp_path_factory.mktemp("keycloak")
    members.directory.forget()
    with running_shop(directory, monkeypatch) as found:
        file = directory / "projects" / "shop.yaml"
        head, _, tail = file.read_text().partition("people:")
        file.write_text(head + PEOPLE + tail[tail.index("choices:") :])
        yield found
    members.directory.forget()
    monkeypatch.undo()
    from airflow.api_fastapi.app import init_auth_manager  # noqa: PLC0415 - as everybody else's tests have it

    init_auth_manager()


def person(shop: Shop, name: str) -> httpx.Client:
    """Somebody whom Keycloak has let in: their Airflow token has Keycloak's in it, as the provider makes it."""
    from airflow.api_fastapi.app import get_auth_manager  # noqa: PLC0415 - as above
    from airflow.providers.keycloak.auth_manager.user import KeycloakAuthManagerUser  # noqa: PLC0415

    user = KeycloakAuthManagerUser(user_id=f"id-{name}", name=name, access_token=access_token(name), refresh_token=None)
    token = get_auth_manager().generate_api_jwt(user)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=shop.address, headers=headers, trust_env=False, timeout=60)


def test_roles_and_groups_of_keycloak_are_roles_in_the_project(shop: Shop, keycloak: FakeKeycloak) -> None:
    with closing(person(shop, "m149")) as boss, closing(person(shop, "tess")) as tester:
        assert boss.post("/projects/shop/features", json=BODY).status_code == 201, "the 150th member counts too"
        refused = tester.post("/projects/shop/features/SHOP-1/cancel", json={"reason": "no"})
        assert refused.status_code == 403
        assert refused.json()["message"].startswith("tess may not cancel a feature in shop: dora, m0, m1, ")
        people = settings.project("shop").people
        assert people.role_at("tess", next(s for s in people.policies if "acceptance" in s)) == "tester"
        assert "gone" not in people.persons
        assert people.by_emails(["tess@shop.example"]) == {"tess"}
        lists = [path for path in keycloak.asked if path.endswith(("/users", "/members"))]
    assert len(lists) <= 4, f"however many requests come: {lists}"


def test_whom_keycloak_lets_read_no_dag_of_the_project_sees_and_does_nothing(shop: Shop) -> None:
    with closing(person(shop, "ota")) as other, closing(person(shop, "mallory")) as nobody:
        for client in (other, nobody):
            assert client.get("/projects").json() == []
            assert client.get("/projects/shop/features").status_code == 403
            assert client.post("/projects/shop/features", json=BODY).status_code == 403


def test_while_keycloak_is_away_its_last_word_counts_for_minutes_and_then_nothing_is_concluded_from_its_silence(
    shop: Shop, keycloak: FakeKeycloak, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [members.directory.clock()]
    monkeypatch.setattr(members.directory, "clock", lambda: later[0])
    path = "/projects/shop/features"
    with closing(person(shop, "m149")) as boss, closing(person(shop, "tess")) as tester:
        assert boss.post(path, json=BODY).status_code == 201
        attempt_by("tess")
        keycloak.broken = True
        later[0] += members.FRESH_SECONDS + 1
        assert "tess" in settings.project("shop").people.persons
        later[0] += members.KEPT_SECONDS
        people = settings.project("shop").people
        assert (set(people.persons), people.known) == ({"dora", "rita"}, False)
        for refused in (
            boss.post(f"{path}/SHOP-1/cancel", json={"reason": "no"}),
            tester.post(f"{path}/SHOP-1/decisions", json=WORD),
            boss.post(f"{path}/SHOP-1/override", json={"gate": "review", "reason": "It burns."}),
        ):
            assert (refused.status_code, refused.json()["error"]) == (503, "Unavailable")
            assert "has not said lately who is in the groups" in refused.json()["message"]
        assert boss.get(path).json()[0]["state"] == "active", "reading goes on"
        assert boss.get("/projects/shop/audit").json() == [], "nobody was refused, and nothing is kept"
        request = reviewed_by("m7", "tess")
        assert "has not said lately" in observe(request)
        with begin() as unit:
            (attempt,) = unit.books.attempts(unit.books.features()[0])
            assert (attempt.authors, attempt.strangers) == (["dora"], ["tess@shop.example"])
        keycloak.broken = False
        later[0] += members.FRESH_SECONDS + 1
        assert "tess" in settings.project("shop").people.persons
        assert observe(request) == ""
        said = {row["who"]: row for row in boss.get("/projects/shop/audit").json()}
        assert said["tess"]["reason"].startswith("tess is not reviewer"), "refused for what is known now"
        again = tester.post(f"{path}/SHOP-1/decisions", json={**WORD, "gate": "acceptance"})
        assert (again.status_code, again.json()["message"]) == (
            403,
            "tess worked on this commit: somebody else must approve at preprod.wait_for_acceptance.",
        )


WORD = {"gate": "review", "kind": "approve"}
COMMIT = CommitSha("a" * 40)


def attempt_by(name: str) -> None:
    """An attempt whose author was nobody here when it began: their address became known later."""
    with begin() as unit:
        (feature,) = unit.books.features()
        feature.branch, feature.attempt_number = BranchName("feature/SHOP-1"), 1
        strangers = [f"{name}@shop.example"]
        unit.books.add(Attempt(feature_id=feature.id, number=1, commit=COMMIT, strangers=strangers))


def reviewed_by(*names: str) -> MergeRequest:
    reviews = tuple(Review(person=name, kind=ReviewKind.APPROVE, commit=COMMIT, comment="", at=now()) for name in names)
    return MergeRequest(
        number=6,
        source=BranchName("feature/SHOP-1"),
        target=settings.project("shop").branches.preprod,
        head=COMMIT,
        author="dora",
        title="",
        state=RequestState.OPEN,
        url="",
        reviews=reviews,
    )


def observe(request: MergeRequest) -> str:
    with begin() as unit:
        return observe_request(unit, settings.project("shop"), "SHOP-1", request, seen_at=now())
