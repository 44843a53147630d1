"""Errors, limits, pages and secrets between us and a Gitea: one place turns them into ours."""

from __future__ import annotations

import logging
import ssl
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_delivery.adapters.git_hosts.gitea.answers import Label
from feature_delivery.adapters.git_hosts.gitea.client import GiteaClient, path
from feature_delivery.adapters.git_hosts.gitea.host import GiteaHost
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
from tests.fakes.hosts.common import Answer, Call, Exchange
from tests.fakes.hosts.gitea import BOT, TOKEN
from tests.support.gitea_description import DESCRIPTION, MISSING, not_as_described
from tests.support.gitea_stage import CONFIG, GiteaStage, gitea_stage

FEATURE = BranchName("feature/SHOP-1-gift")


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[GiteaStage]:
    with gitea_stage(tmp_path) as made:
        made.described = False
        yield made


def always(stage: GiteaStage, answer: Answer, *, method: str = "GET", where: str = "") -> None:
    stage.fake.server.faults.rules.append((method, where, answer))


def refusal(status: int, message: str = "no", **headers: str) -> Answer:
    return Answer(status, {"message": message, "url": ""}, {name.replace("_", "-"): v for name, v in headers.items()})


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (refusal(401), Misconfigured, "'gitea' is not accepted"),
        (refusal(403), Refused, "lacks the right"),
        (refusal(404), NotFound, "request 7"),
        (refusal(405), Refused, "405"),
        (refusal(409), Conflict, "changed meanwhile"),
        (refusal(412), Refused, "still open"),
        (refusal(422), Refused, "422"),
        (refusal(423), Refused, "archived"),
        (refusal(429), RateLimited, "wait"),
        (refusal(403, Retry_After="3"), RateLimited, "wait"),
        (refusal(500), Unavailable, "500"),
        (refusal(502), Unavailable, "502"),
        (refusal(301, Location="http://elsewhere.test/"), Misconfigured, "sends us elsewhere"),
        (Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"}), Unavailable, "with its sub path"),
        (Answer(200, {"number": "seven"}), Unavailable, "not what Gitea or Forgejo answer"),
        (Answer(200, []), Unavailable, "not what Gitea or Forgejo answer"),
    ],
)
def test_what_the_server_answers_becomes_an_error_that_says_what_to_do(
    stage: GiteaStage, answer: Answer, error: type[Error], says: str
) -> None:
    always(stage, answer)
    with pytest.raises(error, match=says) as caught:
        stage.host.request(7)
    assert type(caught.value) is error
    assert str(caught.value).startswith("Could not read request 7 (shop/cart on 127.0.0.1:")
    assert "elsewhere.test" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("17", 17.0),
        ("", None),
        ("soon", None),
        ("in a minute", 60.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_the_pause_that_is_asked_for_is_handed_on(stage: GiteaStage, text: str, seconds: float | None) -> None:
    if text == "in a minute":
        text = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    always(stage, refusal(429, Retry_After=text))
    with pytest.raises(RateLimited) as caught:
        stage.host.request(7)
    found = caught.value.retry_after_seconds
    assert (found is None) if seconds is None else found == pytest.approx(seconds, abs=5)


def test_the_scope_that_the_token_lacks_is_named(stage: GiteaStage) -> None:
    stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.fake.bot.scopes = frozenset({"read:repository", "read:issue", "read:user"})
    with pytest.raises(Refused, match=r"lacks the scope 'write:issue'\. Make a token that has it\."):
        stage.host.comment(number, "hello", marker="m")
    with pytest.raises(Refused, match="'write:repository'"):
        stage.host.retarget(number, BranchName("production"))


def test_the_right_that_the_user_lacks_is_named(stage: GiteaStage) -> None:
    stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.fake.repository.rights[BOT] = "read"
    with pytest.raises(Refused, match="lacks write access to the repository's code and pull requests"):
        stage.host.retarget(number, BranchName("production"))


def test_a_token_that_may_not_say_whose_it_is_is_taken_for_the_connection_s_login(stage: GiteaStage) -> None:
    stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.host.comment(number, "first", marker="m")
    stage.fake.bot.scopes = frozenset({"write:repository", "write:issue"})
    login = Login(connection="gitea", url=stage.fake.url, user=BOT, secret=TOKEN)
    GiteaHost(login, config=CONFIG).comment(number, "second", marker="m")
    assert stage.comments(number) == ["second"]
    with pytest.raises(Misconfigured, match="read:user"):
        stage.host_with().comment(number, "third", marker="m")


def test_a_server_that_does_not_answer_in_time_is_unavailable(stage: GiteaStage) -> None:
    stage.fake.server.faults.delay_seconds = 1.0
    host = GiteaHost(stage.login, config=CONFIG, timeout=httpx.Timeout(0.2))
    with pytest.raises(Unavailable, match="no answer"):
        host.request(7)


def test_nobody_at_the_address_is_unavailable() -> None:
    host = GiteaHost(Login(connection="gitea", url="http://127.0.0.1:9", secret=TOKEN), config=CONFIG)
    with pytest.raises(Unavailable, match=r"no answer \(ConnectError\)"):
        host.request(7)


def test_reading_is_repeated_once_when_the_connection_breaks_and_writing_never(stage: GiteaStage) -> None:
    stage.push(FEATURE)
    number = stage.fake.person("bob").open(FEATURE)
    stage.fake.server.faults.lost_answers = 1
    assert stage.host.request(number).number == number

    def lose_the_answer(_call: Call) -> None:
        stage.fake.server.faults.lost_answers = 1

    _on_post(stage, lose_the_answer)
    before = len(stage.fake.server.calls("POST"))
    with pytest.raises(Unavailable):
        stage.host.comment(number, "hello", marker="m")
    assert len(stage.fake.server.calls("POST")) == before + 1
    # The comment is there all the same, and found when the errand is run again.
    stage.host.comment(number, "hello", marker="m")
    assert stage.comments(number) == ["hello"]


def _on_post(stage: GiteaStage, act: Callable[[Call], None]) -> None:
    answers = stage.fake.answer

    def answer(call: Call) -> Answer:
        if call.method == "POST":
            act(call)
        return answers(call)

    stage.fake.answer = answer  # type: ignore[method-assign]


# --- pages ----------------------------------------------------------------------------------------------------------


def labels(client: GiteaClient) -> list[str]:
    return [one.name for one in client.listing(client.in_repository("labels"), Label, doing="read the labels")]


def listing(stage: GiteaStage, pages: list[Answer]) -> list[str]:
    """Return what is read of pages as a server gives them; more than these are not asked for."""
    given = list(pages)

    def answer(call: Call) -> Answer:
        return given.pop(0)

    stage.fake.answer = answer  # type: ignore[method-assign]
    found = labels(GiteaClient(stage.login, "shop/cart"))
    assert not given
    return found


def of(*ids: int, **headers: str) -> Answer:
    body: list[dict[str, Any]] = [{"id": one, "name": str(one)} for one in ids]
    return Answer(200, body, {name.replace("_", "-"): value for name, value in headers.items()})


def test_a_listing_is_complete_with_links_alone_with_a_total_alone_and_with_neither(stage: GiteaStage) -> None:
    more = '<http://x/?page=2>; rel="next",<http://x/?page=2>; rel="last"'
    back = '<http://x/?page=1>; rel="first",<http://x/?page=1>; rel="prev"'
    assert listing(stage, [of(1, 2, Link=more), of(3, Link=back)]) == ["1", "2", "3"]
    assert listing(stage, [of(1, 2, X_Total_Count="3"), of(3, X_Total_Count="3")]) == ["1", "2", "3"]
    assert listing(stage, [of(1, 2), of(3), of()]) == ["1", "2", "3"]
    assert listing(stage, [of()]) == []


def test_a_server_that_knows_no_pages_gives_the_same_again_and_is_believed_the_second_time(stage: GiteaStage) -> None:
    assert listing(stage, [of(1, 2), of(1, 2)]) == ["1", "2"]


def test_a_total_that_counts_what_we_may_not_see_ends_with_an_empty_page(stage: GiteaStage) -> None:
    assert listing(stage, [of(1, X_Total_Count="5"), of(X_Total_Count="5")]) == ["1"]


def test_a_member_that_moves_to_the_next_page_is_there_once(stage: GiteaStage) -> None:
    assert listing(stage, [of(1, 2, X_Total_Count="3"), of(2, 3, X_Total_Count="3")]) == ["1", "2", "3"]


def test_a_listing_whose_total_changes_is_read_again_but_not_for_ever(stage: GiteaStage) -> None:
    changing = [of(1, 2, X_Total_Count="4"), of(4, X_Total_Count="3")]
    steady = [of(1, 3, X_Total_Count="3"), of(4, X_Total_Count="3")]
    assert listing(stage, changing + steady) == ["1", "3", "4"]
    assert listing(stage, changing * 3) == ["1", "2", "4"]


def test_null_is_an_empty_listing(stage: GiteaStage) -> None:
    assert listing(stage, [Answer(200, b"null")]) == []


# --- names and secrets ----------------------------------------------------------------------------------------------


def test_every_part_of_a_path_stays_in_its_place(stage: GiteaStage) -> None:
    assert path("repos", "a/../b", "c?d#e", 7, "%2F") == "/repos/a%2F..%2Fb/c%3Fd%23e/7/%252F"
    stage.fake.server.exchanges.clear()
    branch = BranchName("feature/SHOP-1#2+x@y")
    assert stage.host.find_request(branch) is None
    asked = [call.path for call in stage.fake.server.calls("GET", "/pulls/")]
    assert asked[0].endswith("/pulls/production/feature%2FSHOP-1%232%2Bx%40y")


def test_the_token_is_nowhere_to_be_seen(stage: GiteaStage, caplog: pytest.LogCaptureFixture) -> None:
    """Forgejo quotes a token that it does not know; so nothing that the server says is repeated."""
    caplog.set_level(logging.DEBUG)
    secret = "s3cret-t0ken-that-nobody-may-see"
    login = Login(connection="gitea", url=stage.fake.url, user=BOT, secret=secret)
    host = GiteaHost(login, config=CONFIG)
    with pytest.raises(Misconfigured) as caught:
        host.request(7)
    assert any(secret in str(one.answer.body) for one in stage.fake.server.exchanges), "the fake did not quote it"
    findings = host.examine()
    assert [one.well for one in findings] == [False]
    shown = [*traceback.format_exception(caught.value), caplog.text, repr(login), repr(host), repr(findings)]
    shown += [call.path + str(call.query) for call in stage.fake.server.calls()]
    assert not [text for text in shown if secret in text]


def test_a_file_of_certificates_that_cannot_be_read_is_named_by_its_field(tmp_path: Path) -> None:
    for file in ("/nowhere/ca.pem", str(_text(tmp_path / "ca.pem", "no certificate"))):
        login = Login(connection="gitea", url="https://git.shop.test", secret=TOKEN, options={"ca_file": file})
        with pytest.raises(Misconfigured, match="ca_file"):
            GiteaHost(login, config=CONFIG)
    authority = ssl.get_default_verify_paths().cafile
    if authority is None or not Path(authority).is_file():
        pytest.skip("this machine has no file of certificates to trust")
    GiteaHost(
        Login(connection="gitea", url="https://git.shop.test", secret=TOKEN, options={"ca_file": authority}),
        config=CONFIG,
    )


def _text(file: Path, text: str) -> Path:
    file.write_text(text, encoding="utf-8")
    return file


# --- the published description --------------------------------------------------------------------------------------


def test_the_comparison_with_the_published_description_sees_what_is_wrong() -> None:
    """The stages compare every exchange of every test; here is that the comparison is no rubber stamp."""
    if not DESCRIPTION.is_file():
        pytest.skip(MISSING)

    def exchange(method: str, where: str, body: bytes = b"", answer: Answer | None = None) -> Exchange:
        place, _, query = where.partition("?")
        asked = {name: [value] for name, _, value in (one.partition("=") for one in query.split("&") if one)}
        return Exchange(Call(method, f"/api/v1{place}", asked, {}, body), answer or Answer(200))

    merge = "/repos/shop/cart/pulls/1/merge"
    assert not_as_described([exchange("POST", merge, b'{"Do": "manually-merged"}')]) == []
    wrong = {
        "no such route": exchange("GET", "/repos/shop/cart/pull/1"),
        "is not one of": exchange("POST", merge, b'{"Do": "by-magic"}'),
        "'Do' is a required property": exchange("POST", merge, b'{"merge_method": "merge"}'),
        "'nonsense' is not known": exchange("GET", "/repos/shop/cart/pulls?nonsense=1", answer=Answer(200, [])),
        "state=merged is not known": exchange("GET", "/repos/shop/cart/pulls?state=merged", answer=Answer(200, [])),
        "status 204 is not known": exchange("GET", "/repos/shop/cart/pulls", answer=Answer(204)),
        "is not of type 'integer'": exchange("GET", "/repos/shop/cart/pulls/1", answer=Answer(200, {"number": "1"})),
        "field .nonsense is not known": exchange(
            "GET", "/repos/shop/cart/pulls/1", answer=Answer(200, {"nonsense": 1})
        ),
    }
    for says, one in wrong.items():
        assert any(says in fault for fault in not_as_described([one])), says
