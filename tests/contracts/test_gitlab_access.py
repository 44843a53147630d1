"""The Connection, the wire and what goes wrong on it."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.adapters.git.address import remote_address
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.git_hosts.gitlab import GitLabHost, client, git_access
from feature_delivery.adapters.git_hosts.gitlab.access import entry
from feature_delivery.domain.errors import (
    Conflict,
    Error,
    Misconfigured,
    NotFound,
    RateLimited,
    Refused,
    Unavailable,
)
from feature_delivery.domain.login import Login
from feature_delivery.domain.names import BranchName
from feature_delivery.domain.project import HostConfig
from feature_delivery.ports.git_host import DeploymentState, StatusState
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.gitlab import BOT, PATH, TOKEN
from tests.fakes.hosts.gitlab_state import REPORTER, now
from tests.support.gitlab_stage import FEATURE, KEY, PREPROD, GitLabStage, gitlab_stage

CONFIG = HostConfig(kind="gitlab", connection="gitlab", repository=PATH)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GitLabStage]:
    with gitlab_stage(tmp_path) as made:
        made.push(FEATURE)
        yield made


def told(status: int, body: Any, **headers: str) -> Answer:
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (told(400, {"error": "title is missing"}), Refused, "title is missing"),
        (told(400, {"message": {"title": ["is too long"], "base": ["odd"]}}), Refused, "title is too long base odd"),
        (told(401, {"message": "401 Unauthorized"}), Misconfigured, "does not accept the token. Put a valid one"),
        (
            told(401, {"error": "invalid_token", "error_description": "Token is expired."}),
            Misconfigured,
            "(it is expired)",
        ),
        (told(403, {"message": "403 Forbidden"}), Refused, "lacks the role Reporter"),
        (
            told(403, {"error": "insufficient_scope", "error_description": "…", "scope": "api read_api"}),
            Refused,
            "lacks the scope 'api read_api'",
        ),
        (
            told(403, {"message": "You cannot perform write operations on a read-only instance"}),
            Unavailable,
            "maintenance",
        ),
        (told(403, b"<html>IP not allowed</html>", Content_Type="text/html"), Refused, "lacks the role Reporter"),
        (told(404, {"message": "404 Project Not Found"}), NotFound, "may not see it"),
        (told(408, {"message": {"error": "Request timed out"}}), Unavailable, "took too long"),
        (told(409, {"message": "SHA does not match HEAD of source branch: 0"}), Conflict, "SHA does not match"),
        (told(422, {"message": ["You can't use same project/branch"]}), Refused, "You can't use same project/branch"),
        (told(500, {"message": "500 Internal Server Error"}), Unavailable, "it answered 500"),
        (told(502, b"<html>GitLab is not responding</html>", Content_Type="text/html"), Unavailable, "it answered 502"),
        (told(503, {"message": "503 Service Unavailable"}), Unavailable, "it answered 503"),
        (told(302, b"", Location="https://sso.example.test/login"), Misconfigured, "leads to another address"),
        (told(200, b"<html>Log in</html>", Content_Type="text/html"), Unavailable, "not one of GitLab's API"),
        (told(200, b'{"iid": 1'), Unavailable, "not one of GitLab's API"),
        (told(200, {"iid": "one"}), Unavailable, "not one of GitLab's API"),
        (told(200, [1, 2]), Unavailable, "not one of GitLab's API"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else None,
)
def test_every_answer_has_an_error_of_its_own_and_is_asked_for_once(
    stage: GitLabStage, answer: Answer, kind: type[Error], sentence: str
) -> None:
    stage.fake.server.faults.rules.append(("GET", "/merge_requests/7$", answer))
    with pytest.raises(kind) as caught:
        stage.host().request(7)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("Could not read request 7 on GitLab: ")
    assert sentence in str(caught.value)
    assert caught.value.__cause__ is not None
    assert len(stage.fake.server.calls()) == 1


def at_zero(seconds: int) -> str:
    return format_datetime(now() + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "30"}, 30),
        ({"Retry-After": "0"}, 1),
        ({"RateLimit-Reset": "+41", "RateLimit-Remaining": "0"}, 41),
        ({"RateLimit-Reset": "1"}, 1),
        ({"Retry-After": "7", "RateLimit-Reset": "+41"}, 7),
        ({}, 60),
        ({"Retry-After": "soon"}, 60),
    ],
)
def test_a_rate_limit_says_how_long_to_wait_and_nobody_waits_in_here(
    stage: GitLabStage, headers: dict[str, str], seconds: int
) -> None:
    headers = {name: str(int(time.time()) + int(one)) if one[0] == "+" else one for name, one in headers.items()}
    body = Answer(429, b"Retry later\n", {"Content-Type": "text/plain", **headers})
    stage.fake.server.faults.rules.append(("GET", "merge_requests", body))
    begin = time.monotonic()
    with pytest.raises(RateLimited, match=r"asks to wait for \d+ seconds") as caught:
        stage.host().request(7)
    assert caught.value.retry_after_seconds == pytest.approx(seconds, abs=5)
    assert time.monotonic() - begin < 6, "it has waited itself"
    assert len(stage.fake.server.calls()) == 1


def test_a_date_to_wait_for_is_understood_by_gitlabs_own_clock(stage: GitLabStage) -> None:
    stage.fake.server.faults.next_answers.append(told(429, b"", Retry_After=at_zero(120), Date=at_zero(60)))
    with pytest.raises(RateLimited) as caught:
        stage.host().request(7)
    assert caught.value.retry_after_seconds == pytest.approx(60, abs=2)


def test_a_limit_in_the_middle_of_a_listing_is_told(stage: GitLabStage) -> None:
    stage.opened()
    stage.push("feature/SHOP-2")
    stage.opened(source=BranchName("feature/SHOP-2"))
    stage.fake.most_per_page = 1
    first = stage.fake.project.shown_request(stage.fake.project.requests[1])
    link = f'<{stage.fake.url}/api/v4/projects/x/merge_requests?page=2>; rel="next"'
    stage.fake.server.faults.next_answers += [Answer(200, [first], {"Link": link}), told(429, b"", Retry_After="9")]
    with pytest.raises(RateLimited):
        stage.host().changed_requests(now() - timedelta(hours=1))


def test_a_listing_without_end_is_given_up(stage: GitLabStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LISTING_SECONDS", 0.2)
    stage.opened()
    shown = stage.fake.project.shown_request(stage.fake.project.requests[1])
    link = f'<{stage.fake.url}/api/v4/projects/x/merge_requests?page=2>; rel="next"'
    stage.fake.server.faults.rules.append(("GET", "merge_requests", Answer(200, [shown], {"Link": link})))
    with pytest.raises(Unavailable, match="to its end"):
        stage.host().changed_requests(now() - timedelta(hours=1))


def test_a_host_that_is_slow_or_not_there_is_unavailable(stage: GitLabStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", (0.5, 0.3))
    stage.fake.server.faults.delay_seconds = 1.0
    with pytest.raises(Unavailable, match=r"did not answer \(ReadTimeout\)"):
        stage.host().request(1)
    nobody = Login("gitlab", url="http://127.0.0.1:9", secret=TOKEN)
    with pytest.raises(Unavailable, match=r"did not answer \(ConnectionError\)"):
        stage.host(nobody).request(1)


def test_reading_is_repeated_once_when_the_connection_breaks_and_writing_never(stage: GitLabStage) -> None:
    host, number = stage.host(), stage.opened().number
    stage.fake.server.faults.lost_answers = 1
    assert host.request(number).number == number
    stage.fake.server.faults.lost_answers = 2
    with pytest.raises(Unavailable):
        host.request(number)
    host.comment(number, "first", marker="a")
    notes = len(stage.fake.server.calls("POST", "/notes$"))
    stage.fake.server.faults.rules.append(("GET", "/notes$", Answer(200, [])))
    stage.fake.server.faults.lost_answers = 0
    host._client._wire.hooks["response"] = []
    stage.fake.server.faults.rules.clear()

    original = host._client.post

    def then_ask(*given: Any, **more: Any) -> Any:
        stage.fake.server.faults.lost_answers = 1
        return original(*given, **more)

    host._client.post = then_ask  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        host.comment(number, "second", marker="b")
    assert len(stage.fake.server.calls("POST", "/notes$")) == notes + 1
    host._client.post = original  # type: ignore[method-assign]
    host.comment(number, "second", marker="b")  # found, although its answer was lost
    assert len(stage.fake.server.calls("POST", "/notes$")) == notes + 1


def test_a_project_that_has_moved_is_not_followed_and_the_token_goes_nowhere_else(stage: GitLabStage) -> None:
    stage.fake.moved["shop/cart"] = PATH
    with pytest.raises(Misconfigured, match="Correct the project's path in the project file"):
        stage.host(repository="shop/cart").request(1)
    assert len(stage.fake.server.calls()) == 1


@pytest.mark.parametrize(
    ("login", "repository", "sentence"),
    [
        (Login("c", secret="t"), "cart", "no project on GitLab"),
        (Login("c", secret="t"), "shop/../cart", "no project on GitLab"),
        (Login("c", secret="t"), "shop/cart?x=1", "no project on GitLab"),
        (Login("c", secret="t"), "shop/cart/-/issues", "no project on GitLab"),
        (Login("c"), "shop/cart", "holds no token"),
        (Login("c", secret="glpat-a b"), "shop/cart", "holds no token"),
        (Login("c", secret="glpat-a\r\nX: y"), "shop/cart", "holds no token"),
        (Login("c", url="ftp://gitlab.example.com", secret="t"), "shop/cart", "no address of a GitLab"),
        (Login("c", url="https://", secret="t"), "shop/cart", "no address of a GitLab"),
        (Login("c", url="https://gitlab.example.com:http", secret="t"), "shop/cart", "no address of a GitLab"),
        (Login("c", url="https://me:pw@gitlab.example.com", secret="t"), "shop/cart", "more than an address"),
        (Login("c", url="https://gitlab.example.com?private_token=x", secret="t"), "shop/cart", "more than an address"),
        (Login("c", secret="t", options={"ca_file": 7}), "shop/cart", "'ca_file'"),
    ],
)
def test_a_connection_that_lacks_something_is_refused_without_asking_anybody(
    login: Login, repository: str, sentence: str
) -> None:
    with pytest.raises(Misconfigured, match=sentence) as caught:
        GitLabHost(login, config=HostConfig(repository=repository))
    assert "pw" not in str(caught.value)
    assert "glpat" not in str(caught.value)


def test_the_site_needs_no_address_and_a_sub_path_is_no_group() -> None:
    assert entry(Login("c", secret="t"), "shop/web/cart").url == "https://gitlab.com"
    made = entry(Login("c", url="https://example.com/gitlab/", secret="t"), "/gitlab/shop/cart.git")
    assert (made.url, made.project) == ("https://example.com/gitlab", "shop/cart")
    assert entry(Login("c", url="https://example.com/api/v4", secret="t"), "shop/cart").url == "https://example.com"
    assert entry(Login("c", url="https://example.com/shop", secret="t"), "shop/cart").project == "shop/cart"


def test_a_file_of_certificates_that_is_not_there_is_named_by_its_field() -> None:
    login = Login("c", url="https://127.0.0.1:9", secret="t", options={"ca_file": "/nowhere/ca.pem"})
    with pytest.raises(Misconfigured, match="'ca_file' of the Connection 'c'"):
        GitLabHost(login, config=CONFIG).request(1)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (
            lambda host: host.set_status("a" * 40, name="n", state=StatusState.SUCCESS, description="", url=""),
            "Developer",
        ),
        (lambda host: host.retarget(1, BranchName("production")), "the role Developer"),
        (
            lambda host: host.record_deployment(
                key=KEY, commit="a" * 40, environment="e", state=DeploymentState.DONE, url=""
            ),
            "the role Developer",
        ),
    ],
)
def test_a_right_that_the_account_lacks_is_named(
    stage: GitLabStage, write: Callable[[GitLabHost], None], sentence: str
) -> None:
    stage.opened()
    stage.fake.project.members[BOT] = REPORTER
    stage.fake.project.requests[1].user = stage.fake.user("bob")
    stage.fake.server.faults.rules += [("GET", "/commits/", Answer(200, []))]
    with pytest.raises(Refused, match=sentence):
        write(stage.host())


def test_a_token_that_may_only_read_is_told_so_by_its_scope(stage: GitLabStage) -> None:
    stage.fake.bot.token.scopes = ("read_api", "write_repository")
    with pytest.raises(Refused, match=r"lacks the scope 'api'\. Make one that has it"):
        stage.opened()


# --- Git --------------------------------------------------------------------------------------------------------------


def repository(stage: GitLabStage, directory: Path, login: Login) -> GitRepository:
    return GitRepository(
        stage.fake.project.git.url,
        directory / "mirror.git",
        production=BranchName("production"),
        candidate_prefix="candidate/",
        access=git_access(login, CONFIG),
    )


def test_git_clones_and_pushes_with_the_token_of_the_connection(stage: GitLabStage, tmp_path: Path) -> None:
    git = repository(stage, tmp_path / "work", stage.login())
    heads = git.heads()
    assert heads[FEATURE] == stage.fake.project.git.head(FEATURE)
    git.create_branch(BranchName("feature/SHOP-9"), heads[PREPROD])
    assert stage.fake.project.git.head("feature/SHOP-9") == heads[PREPROD]
    wrong = repository(stage, tmp_path / "other", stage.login("glpat-wrong"))
    with pytest.raises(Misconfigured):
        wrong.heads()


def test_git_gets_in_with_the_user_that_gitlab_documents_whoever_the_connection_names() -> None:
    access = git_access(Login("c", user="someone", secret="t"), CONFIG)
    assert (access.username, access.password) == ("oauth2", "t")
    address = remote_address("https://gitlab.example.com/shop/web/cart.git", access)
    assert TOKEN not in address.url
    options = {"ssh_key_file": "/run/secrets/key", "known_hosts_file": "/run/hosts", "ca_file": "/run/ca.pem"}
    access = git_access(Login("c", options=options), CONFIG)
    assert '-oIdentityFile="/run/secrets/key"' in access.ssh_command
    assert '-oUserKnownHostsFile="/run/hosts"' in access.ssh_command
    assert access.variables == {"GIT_SSL_CAINFO": "/run/ca.pem"}
    with pytest.raises(Misconfigured, match="ssh_key_file"):
        git_access(Login("c", options={"ssh_key_file": "key; rm -rf /"}), CONFIG)


def test_git_gets_in_without_the_import_of_python_gitlab() -> None:
    code = (
        "import sys; from feature_delivery.adapters.git_hosts.gitlab import git_access; "
        "from feature_delivery.domain.login import Login; from feature_delivery.domain.project import HostConfig; "
        "assert git_access(Login('c', secret='t'), HostConfig(repository='shop/cart')).password == 't'; "
        "print({'gitlab', 'requests', 'pydantic'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


# --- the token --------------------------------------------------------------------------------------------------------


def test_the_token_is_nowhere_to_be_seen(stage: GitLabStage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    login, host = stage.login(), stage.host()
    number = stage.opened(host, reviewers=["nobody"]).number
    host.comment(number, "hello", marker="m")
    host.record_deployment(key=KEY, commit=stage.push(PREPROD), environment="e", state=DeploymentState.DONE, url="")
    shown = [repr(host), repr(login), repr(host._client.entry), repr(git_access(login, CONFIG))]
    for body in (
        {"message": f"the token {TOKEN} is not known"},
        {"error": "invalid_token", "error_description": f"{TOKEN}"},
        {"error": "insufficient_scope", "scope": TOKEN},
        {"message": {"base": [f"{TOKEN}"]}},
    ):
        for status in (400, 401, 403, 404, 409, 422, 429, 500):
            stage.fake.server.faults.next_answers.append(Answer(status, body))
            with pytest.raises(Error) as caught:
                host.request(number)
            cause = caught.value.__cause__
            shown += [str(caught.value), repr(caught.value), repr(cause), str(vars(cause))]
    for call in stage.fake.server.calls():
        shown += [call.path, str(call.query), call.body.decode()]
        assert call.headers["private-token"] == TOKEN
        assert "authorization" not in call.headers
    for text in (caplog.text, *shown):
        assert TOKEN not in text


def test_a_token_that_has_ended_is_a_matter_of_the_connection(stage: GitLabStage) -> None:
    stage.fake.bot.token.state = "expired"
    stage.fake.bot.token.expires = date(2020, 1, 1)
    with pytest.raises(Misconfigured, match=r"\(it is expired\)\. Put a valid one into the Connection 'gitlab'"):
        stage.host().request(1)
