"""Whatever a project, a key or a branch is called: valid, unique, reversible."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.adapters.platforms.kubernetes.kubernetes_platform import ref_of
from feature_delivery.adapters.platforms.kubernetes.names import (
    app_name,
    dns_label,
    identity_of,
    label_value,
    labels_of,
    namespace_name,
)
from feature_delivery.domain.errors import Refused
from feature_delivery.domain.names import FeatureKey, ProjectName, environment_name
from feature_delivery.ports.platform import EnvironmentKind, EnvironmentRef

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
SERVICE = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")

projects = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True).map(ProjectName)
keys = st.from_regex(r"[A-Z][A-Z0-9_]{0,19}-[1-9][0-9]{0,8}", fullmatch=True).map(FeatureKey)
kinds = st.sampled_from([EnvironmentKind.DEVELOPMENT, EnvironmentKind.PREPROD])


@given(projects, kinds, keys)
def test_every_environment_has_a_namespace_that_is_a_dns_label(
    project: ProjectName, kind: EnvironmentKind, key: FeatureKey
) -> None:
    assert LABEL.fullmatch(namespace_name(project, environment_name(kind, key)))


@given(st.tuples(projects, kinds, keys), st.tuples(projects, kinds, keys))
def test_two_environments_never_share_a_namespace(
    one: tuple[ProjectName, EnvironmentKind, FeatureKey], two: tuple[ProjectName, EnvironmentKind, FeatureKey]
) -> None:
    names = [namespace_name(project, environment_name(kind, key)) for project, kind, key in (one, two)]
    assert (names[0] == names[1]) == (one == two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a_development", "development-x-1"), ("a", "development-development-x-1")),
        (("a__b", "preprod-x-1"), ("a_b", "preprod-x-1")),
        (("a_", "preprod-x-1"), ("a", "preprod-x-1")),
        (("a" * 40, "development-" + "x" * 50), ("a" * 40, "development-" + "x" * 49 + "y")),
    ],
)
def test_names_that_look_alike_once_joined_stay_apart(one: tuple[str, str], two: tuple[str, str]) -> None:
    assert namespace_name(ProjectName(one[0]), one[1]) != namespace_name(ProjectName(two[0]), two[1])


def test_an_ordinary_name_is_what_people_expect() -> None:
    assert namespace_name(ProjectName("demo_store"), "preprod-shop-123") == "demo-store-preprod-shop-123"
    assert app_name(ProjectName("demo_store")) == "demo-store"


@pytest.mark.parametrize("name", ["", "Preprod", "preprod/x", "preprod-", "../x", "x" * 64, "preprod-x\n"])
def test_what_is_no_environments_name_reaches_no_path(name: str) -> None:
    with pytest.raises(Refused):
        namespace_name(ProjectName("shop"), name)


@given(projects)
def test_a_projects_objects_have_a_name_that_services_may_have(project: ProjectName) -> None:
    assert SERVICE.fullmatch(app_name(project))
    assert len(app_name(project)) <= 40


@given(st.text(max_size=200), st.text(max_size=200))
def test_dns_labels_are_valid_and_unique_for_any_text(one: str, two: str) -> None:
    labels = [dns_label(text, limit=30) for text in (one, two)]
    assert all(SERVICE.fullmatch(label) and len(label) <= 30 for label in labels)
    assert (labels[0] == labels[1]) == (one == two)


@given(st.text(max_size=200), st.text(max_size=200))
def test_label_values_are_valid_and_unique_for_any_text(one: str, two: str) -> None:
    values = [label_value(text) for text in (one, two)]
    assert all(VALUE.fullmatch(value) for value in values)
    assert (values[0] == values[1]) == (one == two)


@given(st.text(min_size=1, max_size=100), projects, kinds, keys, st.integers(0, 10**9))
def test_a_namespace_says_exactly_which_environment_it_is(
    instance: str, project: ProjectName, kind: EnvironmentKind, key: FeatureKey, generation: int
) -> None:
    ref = EnvironmentRef(
        instance=instance,
        project=project,
        name=environment_name(kind, key),
        kind=kind,
        key=key,
        generation=generation,
    )
    meta = {"name": namespace_name(project, ref.name), "labels": labels_of(ref), "annotations": identity_of(ref)}
    assert ref_of({"metadata": meta}) == ref
    assert all(VALUE.fullmatch(value) for value in labels_of(ref).values())
