"""Getting into GitHub: errors and limits, tokens and Apps, Git with the same token, and secrets that stay secret."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.adapters.git_hosts.github import GitHubHost, client, git_access
from feature_delivery.adapters.git_hosts.github.access import entry
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
from feature_delivery.ports.git_host import ReviewKind
from tests.contracts.github_world import FEATURE, PREPROD, PRODUCTION, GitHubWorld, github_world
from tests.fakes.hosts.common import Answer
from tests.fakes.hosts.github import BOT_TOKEN
from tests.fakes.hosts.github_state import message
from tests.local_bench import wait_until

RIGHTS = {
    "contents": "write",
    "pull_requests": "write",
    "statuses": "write",
    "deployments": "write",
    "issues": "write",
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GitHubWorld]:
    with github_world(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    """A private key as GitHub makes it for an App, and the public one."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@pytest.fixture
def app(world: GitHubWorld, keys: tuple[str, str], request: pytest.FixtureRequest) -> Login:
    """A Connection for an App that is installed; its id is its own, for tokens are kept for the whole process."""
    app_id = str(abs(hash(request.node.name)) % 10_000_000 + 1)
    world.fake.api.app.install(app_id, keys[1], **RIGHTS)
    return Login("github", url=world.server.url, options={"app_id": app_id, "private_key": keys[0]})


# --- errors ---

HTML = Answer(502, b"<html>Unicorn!</html>", {"Content-Type": "text/html"})
FAR = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": "1800000060", "Date": "Fri, 15 Jan 2027 08:00:00 GMT"}
"""The limit is renewed a minute after the moment that GitHub's own clock shows."""


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (message(401, "Bad credentials"), Misconfigured, "does not accept the token.*Connection 'github'"),
        (message(403, "Resource not accessible by integration"), Refused, "lacks the right 'Pull requests: read'"),
        (
            message(403, "Forbidden", X_Accepted_GitHub_Permissions="pull_requests=read"),
            Refused,
            r"\(pull_requests=read\)",
        ),
        (message(403, "SAML", X_GitHub_SSO="required; url=x"), Refused, "single sign-on"),
        (message(403, "Repository was archived so is read-only."), Refused, "archived"),
        (message(404, "Not Found"), NotFound, "request 1 .*not there"),
        (message(409, "Head branch was modified"), Conflict, "Head branch was modified"),
        (message(410, "Gone"), NotFound, "not there"),
        (message(422, "Validation Failed", [{"field": "head", "code": "invalid"}]), Refused, "head is invalid"),
        (message(307, "Temporary Redirect"), Misconfigured, "has moved"),
        (message(500, "Server Error"), Unavailable, "answered 500"),
        (HTML, Unavailable, "answered 502"),
        (Answer(200, b"<html>Please log in</html>", {"Content-Type": "text/html"}), Unavailable, "not one of GitHub's"),
        (Answer(200, b"{broken"), Unavailable, "not one of GitHub's"),
        (Answer(200, [None]), Unavailable, "not one of GitHub's"),
        (Answer(200, {"number": "seven"}), Unavailable, "not one of GitHub's"),
        (message(429, "Too many"), RateLimited, "60 seconds"),
    ],
)
def test_every_answer_has_an_error_of_its_own_and_is_asked_for_once(
    world: GitHubWorld, answer: Answer, kind: type[Error], sentence: str
) -> None:
    world.opened()
    world.forget()
    world.server.faults.rules.append(("GET", "/pulls/1$", answer))
    with pytest.raises(kind, match=sentence) as caught:
        world.host().request(1)
    assert type(caught.value) is kind
    assert "Unicorn" not in str(caught.value)
    assert caught.value.__cause__ is not None
    assert len(world.server.calls("GET", "/pulls/1$")) == 1


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (message(403, "You have exceeded a secondary rate limit.", Retry_After="17"), 17),
        (message(403, "API rate limit exceeded for user ID 1.", **FAR), 60),
        (message(429, "Too many requests", **FAR), 60),
        (message(403, "You have triggered an abuse detection mechanism."), 60),
        (message(429, "", Retry_After="Fri, 15 Jan 2027 08:00:30 GMT", Date=FAR["Date"]), 30),
        (message(429, "", Retry_After="soon"), 60),
    ],
)
def test_a_rate_limit_says_how_long_to_wait_by_githubs_own_clock(
    world: GitHubWorld, answer: Answer, seconds: float
) -> None:
    world.server.faults.next_answers.append(answer)
    began = time.monotonic()
    with pytest.raises(RateLimited) as caught:
        world.host().find_request(FEATURE)
    assert caught.value.retry_after_seconds == pytest.approx(seconds, abs=2)
    assert time.monotonic() - began < 15, "it has waited itself"


def test_a_limit_that_is_used_up_in_the_middle_of_a_listing_is_told(world: GitHubWorld) -> None:
    pull = world.fake.open_pull("bob", FEATURE, PREPROD).pull
    for _ in range(150):
        world.fake.new_item("bob", "Change", "", pull)
    world.fake.calls_left = 1
    with pytest.raises(RateLimited) as caught:
        world.host().changed_requests(datetime(2020, 1, 1, tzinfo=UTC))
    assert caught.value.retry_after_seconds == pytest.approx(1800, abs=5)


def test_a_host_that_is_slow_or_not_there_is_unavailable(world: GitHubWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_SECONDS", 0.2)
    world.server.faults.delay_seconds = 10.0
    began = time.monotonic()
    with pytest.raises(Unavailable, match="did not answer"):
        world.host().find_request(FEATURE)
    assert time.monotonic() - began < 9
    wait_until(lambda: world.server.exchanges)  # a server that is busy takes it up after its client has gone
    assert len(world.server.exchanges) == 1
    world.server.faults.delay_seconds = 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = Login("github", url=f"http://127.0.0.1:{taken.getsockname()[1]}", secret="x")
        with pytest.raises(Unavailable, match="did not answer"):
            world.host(nobody).find_request(FEATURE)


def test_a_repository_that_was_renamed_is_followed(world: GitHubWorld) -> None:
    request = world.opened()
    moved = Answer(301, {"message": "Moved"}, {"Location": f"{world.server.url}/repos/shop/cart/pulls/1"})
    world.server.faults.rules.append(("GET", "^/repos/shop/old/pulls/1$", moved))
    config = HostConfig(kind="github", connection="github", repository="shop/old")
    reviews = Answer(200, [])
    world.server.faults.rules.append(("GET", "^/repos/shop/old/pulls/1/reviews$", reviews))
    assert GitHubHost(world.login(), config=config).request(1) == request


# --- the Connection ---


@pytest.mark.parametrize(
    ("login", "repository", "sentence"),
    [
        (Login("github"), "shop/cart", "has no token"),
        (Login("github", secret="x"), "cart", "no repository on GitHub"),
        (Login("github", secret="x"), "shop/../cart", "no repository on GitHub"),
        (Login("github", secret="x"), "shop/..", "no repository on GitHub"),
        (Login("github", secret="x"), "shop/cart?x", "no repository on GitHub"),
        (Login("github", secret="x", url="ftp://host"), "shop/cart", "no address of a GitHub API"),
        (Login("github", secret="x", url="https://user:pw@host"), "shop/cart", "no address of a GitHub API"),
        (Login("github", options={"app_id": "7"}), "shop/cart", "no 'private_key'"),
        (Login("github", options={"app_id": "7 8", "private_key": "x"}), "shop/cart", "'app_id' that is none"),
        (
            Login("github", options={"app_id": 7, "private_key": "x", "installation_id": "a"}),
            "shop/cart",
            "'installation_id' that is no number",
        ),
        (Login("github", options={"app_id": 7, "private_key_file": "/nowhere"}), "shop/cart", "cannot be read"),
        (Login("github", options={"app_id": ["7"]}), "shop/cart", "no text"),
    ],
)
def test_a_connection_that_lacks_something_is_refused_without_asking_anybody(
    login: Login, repository: str, sentence: str
) -> None:
    with pytest.raises(Misconfigured, match=sentence):
        entry(login, repository)


def test_the_api_of_github_itself_needs_no_address() -> None:
    for url in ("", "https://github.com", "https://api.github.com/"):
        assert entry(Login("c", url=url, secret="x"), "shop/cart").api == "https://api.github.com"
    enterprise = Login("c", url="https://github.shop.test/api/v3", secret="x")
    assert entry(enterprise, "shop/cart").api == "https://github.shop.test/api/v3"


def test_enterprise_servers_are_asked_below_their_own_path(world: GitHubWorld) -> None:
    login = Login("github", url=f"{world.server.url}/api/v3", secret=BOT_TOKEN)
    with pytest.raises(NotFound):
        world.host(login).find_request(FEATURE)
    assert world.server.exchanges[-1].call.path.startswith("/api/v3/repos/shop/cart/pulls")


# --- Apps ---


def test_an_app_finds_its_installation_and_makes_one_token_for_all_hosts(world: GitHubWorld, app: Login) -> None:
    request = world.opened(world.host(app))
    world.fake.review(request.number, "carol", "APPROVED")
    (review,) = world.host(app).request(request.number).reviews
    assert (request.author, review.kind) == ("shop-delivery[bot]", ReviewKind.APPROVE)
    assert len(world.fake.api.app.given) == 1
    (asked,) = world.server.calls("POST", "/access_tokens$")
    assert asked.json() == {"repositories": ["cart"]}


def test_an_installation_that_is_named_is_not_looked_for(world: GitHubWorld, app: Login) -> None:
    named = Login("github", url=app.url, options={**app.options, "installation_id": 42})
    assert world.host(named).find_request(FEATURE) is None
    assert world.server.calls("GET", "/installation$") == []


def test_an_apps_token_is_renewed_before_it_ends_and_when_github_takes_it_back(world: GitHubWorld, app: Login) -> None:
    world.fake.api.app.lifetime = timedelta(seconds=90)
    host = world.host(app)
    host.find_request(FEATURE)
    world.fake.api.app.lifetime = timedelta(hours=1)
    host.find_request(FEATURE)
    host.find_request(FEATURE)
    given = world.fake.api.app.given
    assert len(given) > 1
    kept = len(given)
    del world.fake.tokens[given[-1]]
    assert host.find_request(FEATURE) is None
    assert len(given) == kept + 1


def test_an_apps_own_comment_is_replaced_and_not_read_as_a_persons(world: GitHubWorld, app: Login) -> None:
    number = world.opened(world.host(app)).number
    for text in ("first", "second"):
        world.host(app).comment(number, text, marker="environment")
    assert world.fake.texts(number) == ["second"]
    assert world.host(app).comments(number) == ()


def test_an_app_that_is_unknown_not_installed_or_suspended_is_a_matter_of_the_connection(
    world: GitHubWorld, app: Login, keys: tuple[str, str]
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    wrong = Login("github", url=app.url, options={**app.options, "private_key": other.decode()})
    with pytest.raises(Misconfigured, match="does not know the App by this key"):
        world.host(wrong).find_request(FEATURE)
    broken = Login("github", url=app.url, options={**app.options, "private_key": "-----BEGIN NONSENSE-----"})
    with pytest.raises(Misconfigured, match="no PEM key"):
        world.host(broken).find_request(FEATURE)
    elsewhere = Login("github", url=app.url, options={**app.options, "installation_id": 43})
    with pytest.raises(Misconfigured, match="not installed on shop/cart"):
        world.host(elsewhere).find_request(FEATURE)
    world.fake.api.app.suspended = True
    with pytest.raises(Misconfigured, match="suspended"):
        world.host(app).find_request(FEATURE)


def test_a_private_key_comes_from_a_file_or_with_written_line_ends(
    world: GitHubWorld, app: Login, keys: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "app.pem"
    file.write_text(keys[0], encoding="ascii")
    by_file = {"app_id": app.options["app_id"], "private_key_file": str(file)}
    flat = {"app_id": app.options["app_id"], "private_key": keys[0].replace("\n", "\\n")}
    for options in (by_file, flat):
        assert world.host(Login("github", url=app.url, options=options)).find_request(FEATURE) is None


# --- Git with the same token ---


def repository(world: GitHubWorld, directory: Path, login: Login) -> GitRepository:
    return GitRepository(
        world.fake.repository.url,
        directory / "mirror.git",
        production=PRODUCTION,
        candidate_prefix="candidate/",
        access=git_access(login, world.config()),
    )


@pytest.mark.parametrize("kind", ["token", "app"])
def test_git_clones_and_pushes_with_the_token_of_the_connection(
    world: GitHubWorld, app: Login, tmp_path: Path, kind: str
) -> None:
    login = app if kind == "app" else world.login()
    git = repository(world, tmp_path, login)
    heads = git.heads()
    assert set(heads) == {PRODUCTION, PREPROD, FEATURE}
    git.fetch(heads[FEATURE])
    made = git.create_branch(BranchName("feature/SHOP-2-new"), heads[PRODUCTION])
    assert made is None or made
    assert world.fake.repository.head("feature/SHOP-2-new") == heads[PRODUCTION]


def test_a_token_that_git_may_not_use_is_refused_with_a_sentence(world: GitHubWorld, tmp_path: Path) -> None:
    git = repository(world, tmp_path, world.login("wrong"))
    with pytest.raises(Misconfigured, match="does not accept the credentials"):
        git.heads()


def test_git_gets_a_token_that_lasts(world: GitHubWorld, app: Login) -> None:
    world.fake.api.app.lifetime = timedelta(minutes=20)
    world.host(app).find_request(FEATURE)
    world.fake.api.app.lifetime = timedelta(hours=1)
    access = git_access(app, world.config())
    assert (access.username, access.password) == ("x-access-token", world.fake.api.app.given[-1])
    assert len(world.fake.api.app.given) == 2


def test_ssh_is_used_with_the_key_that_the_connection_names() -> None:
    options = {"ssh_key_file": "/run/my secrets/key", "known_hosts_file": "/etc/known_hosts"}
    access = git_access(Login("github", options=options), HostConfig(repository="shop/cart"))
    assert "'-oIdentityFile=\"/run/my secrets/key\"'" in access.ssh_command
    assert '-oUserKnownHostsFile="/etc/known_hosts"' in access.ssh_command
    assert access.password == ""
    both = git_access(Login("github", secret="t", options=options), HostConfig(repository="shop/cart"))
    assert (both.password, both.ssh_command) == ("t", access.ssh_command)


@pytest.mark.parametrize("path", ["relative/key", "/a\nProxyCommand=x", '/a"b', "/a${HOME}", "/a%h", "/a'; id; '", 7])
def test_a_path_that_ssh_or_a_shell_would_read_otherwise_is_refused(path: object) -> None:
    login = Login("github", secret="t", options={"ssh_key_file": path})
    with pytest.raises(Misconfigured, match="plain absolute path"):
        git_access(login, HostConfig(repository="shop/cart"))


def test_git_gets_in_with_a_token_without_the_import_of_pygithub() -> None:
    code = (
        "import sys; from feature_delivery.adapters.git_hosts.github import git_access; "
        "from feature_delivery.domain.login import Login; from feature_delivery.domain.project import HostConfig; "
        "assert git_access(Login('c', secret='t'), HostConfig(repository='shop/cart')).password == 't'; "
        "sys.exit('github' in sys.modules or 'requests' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


# --- secrets ---


def arguments_of_processes() -> str:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(place.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return "\n".join(found)


def test_no_token_is_in_a_log_an_error_an_address_or_the_arguments_of_a_process(
    world: GitHubWorld, app: Login, keys: tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="github")  # PyGithub's own, which is not as quiet then
    seen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            seen.append(arguments_of_processes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    shown: list[Any] = []
    try:
        for login in (app, world.login()):
            host = world.host(login)
            world.opened(host)
            host.comment(1, "hello", marker="m")
            world.server.faults.next_answers.append(message(403, "Forbidden"))
            with pytest.raises(Refused) as caught:
                host.request(1)
            shown += [
                str(caught.value),
                repr(caught.value.__cause__),
                repr(host),
                repr(login),
                repr(host._client.entry),
            ]
            world.server.faults.delay_seconds = 0.2
            git = repository(world, tmp_path / ("token" if login.secret else "app"), login)
            git.heads()
            world.server.faults.delay_seconds = 0
            shown += [git.address, repr(git_access(login, world.config()))]
    finally:
        over.set()
        watcher.join()
    assert any("ls-remote" in text for text in seen), "no Git process was looked at"
    secrets = [BOT_TOKEN, *world.fake.api.app.given, keys[0].splitlines()[1]]
    asked = "\n".join(f"{one.call.path}?{one.call.query}" for one in world.server.exchanges)
    for secret in secrets:
        for text in (caplog.text, asked, *map(str, shown), *(one for one in seen if "git" in one)):
            assert secret not in text
