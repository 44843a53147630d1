"""CODEOWNERS in the dialects of GitHub, GitLab and Gitea: the examples of their own documentation, and anything."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from feature_delivery.domain.codeowners import owners, places

GITHUB = r"""
# This is a comment.
*       @global-owner1 @global-owner2
*.js    @js-owner #This is an inline comment.
*.go docs@example.com
*.txt @octo-org/octocats
/build/logs/ @doctocat
docs/* docs@example.com
apps/ @octocat
/docs/ @doctocat
/scripts/ @doctocat @octocat
**/logs @octocat
/apps/ @octocat
/apps/github
path\ with\ spaces/ @space
!/negated @nobody
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("README.md", ("@global-owner1", "@global-owner2")),
        ("src/app.js", ("@js-owner",)),
        ("a/b/c.go", ("docs@example.com",)),
        ("notes.txt", ("@octo-org/octocats",)),
        ("build/logs/today/x.bin", ("@octocat",)),
        ("docs/getting-started.md", ("@doctocat",)),
        ("docs/build-app/troubleshooting.md", ("@doctocat",)),
        ("deep/apps/x", ("@octocat",)),
        ("scripts/x/y.sh", ("@doctocat", "@octocat")),
        ("deeply/nested/logs/x.bin", ("@octocat",)),
        ("apps/github", ()),
        ("apps/github/x", ()),
        ("path with spaces/x", ("@space",)),
        ("negated", ("@global-owner1", "@global-owner2")),
    ],
)
def test_the_last_pattern_that_fits_counts_on_github(path: str, expected: tuple[str, ...]) -> None:
    assert owners(GITHUB, [path], kind="github") == expected


GITLAB = """
* @general
[Documentation] @docs-team
docs/
README.md @readme
^[Database][2] @database
model/db/ @dba
config/db/
[README Owners]
README.md @user3
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("docs/x.md", ("@general", "@docs-team")),
        ("README.md", ("@general", "@readme", "@user3")),
        ("model/db/x.sql", ("@general", "@dba")),
        ("config/db/x.yml", ("@general", "@database")),
    ],
)
def test_every_section_has_its_own_owners_on_gitlab(path: str, expected: tuple[str, ...]) -> None:
    assert owners(GITLAB, [path], kind="gitlab") == expected


GITEA = r"""
.*\.go @go-team
frontend/.* @web @org/designers
!docs/.* @not-docs
(a+)+b @slow
[ @broken
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("main.go", ("@go-team", "@not-docs")),
        ("docs/main.go", ("@go-team",)),
        ("frontend/app.ts", ("@web", "@org/designers", "@not-docs")),
        ("a" * 40, ("@not-docs",)),
    ],
)
def test_every_expression_that_fits_counts_on_gitea(path: str, expected: tuple[str, ...]) -> None:
    assert owners(GITEA, [path], kind="gitea") == expected


def test_owners_of_many_paths_are_named_once() -> None:
    assert owners(GITHUB, ["a.js", "b.js", "apps/x"], kind="github") == ("@js-owner", "@octocat")


def test_each_host_looks_into_its_own_folder() -> None:
    assert places("github")[0] == ".github/CODEOWNERS"
    assert {"CODEOWNERS", ".gitlab/CODEOWNERS", "docs/CODEOWNERS"} <= set(places("gitlab"))
    assert ".gitea/CODEOWNERS" in places("gitea")


@given(st.text(), st.lists(st.text(alphabet="ab/*.", min_size=1, max_size=20), max_size=5))
def test_any_file_has_owners_or_none(text: str, paths: list[str]) -> None:
    for kind in ("github", "gitlab", "gitea"):
        assert all("@" in owner for owner in owners(text, paths, kind=kind))


@example("[[a]", "a")
@example("[^[a]", "a")
@example("[a--b]", "a")
@given(st.text(alphabet="ab*?/[]()+!. @#\\^-&~|", max_size=80), st.text(alphabet="ab/", min_size=1, max_size=60))
def test_no_pattern_takes_for_ever(pattern: str, path: str) -> None:
    for kind in ("github", "gitea"):
        owners(f"{pattern} @x", [path], kind=kind)
