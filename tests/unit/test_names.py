"""Names from outside: what passes is harmless everywhere it is put."""

from __future__ import annotations

import re
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_delivery.domain import names
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import FeatureKey, environment_name, slug
from feature_delivery.domain.project import Branches

HOSTILE = [
    "; rm -rf /",
    "$(id)",
    "`id`",
    "a\nb",
    "main\n",
    "../x",
    "a b",
    "<b>",
    "'",
    '"',
    "\\",
    "a\x00b",
    "-rf",
    "ä",
    "",
]
CHECKS = [names.project_name, names.feature_key, names.branch_name, names.commit_sha, names.tree_sha, names.person_name]
keys = st.from_regex(names.KEY_PATTERN, fullmatch=True).filter(lambda text: "\n" not in text)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("check", CHECKS)
def test_a_hostile_name_is_refused_with_an_example(check: object, hostile: str) -> None:
    with pytest.raises(Refused, match="Use a name like"):
        check(hostile)  # type: ignore[operator]


@pytest.mark.parametrize("check", CHECKS)
@given(text=st.text(max_size=60))
def test_whatever_passes_needs_no_quoting(check: object, text: str) -> None:
    try:
        passed = check(text)  # type: ignore[operator]
    except Refused:
        return
    assert re.fullmatch(r"[A-Za-z0-9._/@+#-]+", passed)
    assert not passed.startswith("-")
    assert ".." not in passed or check is names.person_name, "no path has a person's name in it"


@settings(max_examples=25)
@given(st.from_regex(names.BRANCH_PATTERN, fullmatch=True).filter(lambda text: "\n" not in text))
def test_git_agrees_with_every_branch_name_that_passes(text: str) -> None:
    branch = names.branch_name(text)
    done = subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"], check=False, timeout=10)
    assert done.returncode == 0, branch


@pytest.mark.parametrize("good", ["feature/SHOP-1-gift-cards", "main", "a@b", "x#1", "dependabot/npm/a+b"])
def test_usual_branch_names_pass(good: str) -> None:
    assert names.branch_name(good) == good


@pytest.mark.parametrize("bad", ["a..b", "a//b", "a/.b", "a.lock", "a.lock/b", "a/", "a.", "@{", "a@{b", ".a", "/a"])
def test_branch_names_that_git_refuses_are_refused(bad: str) -> None:
    with pytest.raises(Refused):
        names.branch_name(bad)


@given(st.text())
def test_a_slug_is_a_part_of_a_branch_name(text: str) -> None:
    found = slug(text)
    assert re.fullmatch(r"[a-z0-9]*(-[a-z0-9]+)*", found)
    assert len(found) <= 40


@given(keys, st.sampled_from(["development", "preprod"]))
def test_an_environment_name_is_a_dns_label(key: str, kind: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", environment_name(kind, FeatureKey(key)))


@given(st.lists(keys, min_size=2, max_size=2, unique=True))
def test_two_keys_never_share_an_environment(two: list[str]) -> None:
    one, other = (environment_name("preprod", FeatureKey(key)) for key in two)
    assert one != other


@pytest.mark.parametrize("pair", [("A_B-1", "AB-1"), ("A__B-1", "A_B-1"), ("A" * 20 + "-1", "A" * 20 + "-11")])
def test_keys_that_look_alike_have_environments_of_their_own(pair: tuple[str, str]) -> None:
    one, other = (environment_name("development", FeatureKey(key)) for key in pair)
    assert one != other


@given(keys, st.text(max_size=80))
def test_the_key_of_a_branch_we_made_is_found_again(key: str, title: str) -> None:
    branches = Branches(production=names.branch_name("main"), preprod=names.branch_name("preprod"))
    assert branches.key_of(branches.feature(FeatureKey(key), title)) == key
    assert branches.key_of(branches.candidate(FeatureKey(key))) is None


@given(keys, st.integers(1, 50))
def test_every_delivery_has_a_run_id_of_its_own(key: str, delivery: int) -> None:
    found = names.run_id(FeatureKey(key), delivery)
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]+", found)
    assert found != names.run_id(FeatureKey(key), delivery + 1)
