from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from feature_delivery.domain.errors import Misconfigured
from feature_delivery.domain.plan import DeliveryPlan, Suite
from feature_delivery.services.delivery_file import SIZE_LIMIT_BYTES, read_delivery_file

STORE = Path(__file__).parents[3] / "include" / "demo_store" / "delivery.yaml"
SUITES = {name: {"command": "true"} for name in ("syntax", "unit", "functional", "integration")}
LEAST: dict[str, object] = {"version": 1, "start": "serve", "health": {"path": "/"}, "suites": SUITES}


def read(document: Mapping[str, object] | bytes, **changes: object) -> DeliveryPlan:
    content = document if isinstance(document, bytes) else yaml.safe_dump({**document, **changes}).encode()
    return read_delivery_file(content, where="delivery.yaml at 3f9c2ab")


def fault(document: Mapping[str, object] | bytes, **changes: object) -> str:
    with pytest.raises(Misconfigured) as raised:
        read(document, **changes)
    sentence = str(raised.value)
    assert sentence.startswith("Could not read delivery.yaml at 3f9c2ab: ")
    assert "\n" not in sentence
    assert len(sentence) < 400
    return sentence


def test_the_demo_shop_says_all_there_is_to_say() -> None:
    plan = read(STORE.read_bytes())
    assert plan.install == (("uv", "pip", "install", "-r", "requirements.txt"),)
    assert plan.start == ("python", "-m", "store")
    assert plan.health.timeout == timedelta(seconds=30)
    assert plan.migration.reversible
    assert plan.metrics_path == "/metrics"
    assert plan.variables == {"SHOP_NAME": "Lantern & Loom"}
    assert plan.suites[Suite.UNIT].junit == "reports/unit.xml"
    assert plan.suites[Suite.SYNTAX].junit is None


def test_what_may_be_left_out_has_a_harmless_default() -> None:
    plan = read(LEAST)
    assert (plan.install, plan.install_inputs, plan.variables, plan.metrics_path) == ((), (), {}, None)
    assert (plan.migration.forward, plan.migration.back, plan.migration.reversible) == (None, None, True)
    assert set(plan.suites) == set(Suite) - {Suite.LOAD}


@pytest.mark.parametrize("field", ["version", "start", "health", "suites"])
def test_what_must_be_there_is_named_when_it_is_missing(field: str) -> None:
    assert f"`{field}` is missing" in fault({name: value for name, value in LEAST.items() if name != field})


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_only_the_load_suite_may_be_missing(suite: str) -> None:
    assert f"`suites.{suite}` is missing" in fault(LEAST, suites={k: v for k, v in SUITES.items() if k != suite})


def test_a_misspelt_field_is_named_with_the_right_spelling() -> None:
    suites = SUITES | {"unit": {"command": "true", "timeuot": "5s"}}
    assert "`suites.unit.timeuot` is not known. Write `timeout`" in fault(LEAST, suites=suites)
    assert "`strat` is not known. Write `start`" in fault({k: v for k, v in LEAST.items() if k != "start"}, strat="x")


def test_a_suite_of_another_name_is_refused() -> None:
    assert "`suites.smoke` is not known" in fault(LEAST, suites=SUITES | {"smoke": {"command": "true"}})


@pytest.mark.parametrize("version", [2, 0, "1", True, None, 1.5])
def test_another_version_is_refused(version: object) -> None:
    assert "`version`" in fault(LEAST, version=version)


@pytest.mark.parametrize(
    ("written", "seconds"), [("30s", 30), ("2m", 120), ("1h", 3600), ("500ms", 0.5), (45, 45), (1.5, 1.5), ("7", 7)]
)
def test_durations_are_read(written: object, seconds: float) -> None:
    assert read(LEAST, health={"path": "/", "timeout": written}).health.timeout == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "written",
    [0, -1, "0s", "-5s", "soon", "5 weeks", True, None, [], 10**400, float("inf"), float("nan"), "25h", "1m\n", "٣s"],
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    assert "`health.timeout` is not a duration" in fault(LEAST, health={"path": "/", "timeout": written})


def test_a_text_is_split_as_a_shell_would_and_a_list_is_taken_as_it_is() -> None:
    assert read(LEAST, start="serve --name 'my shop'").start == ("serve", "--name", "my shop")
    assert read(LEAST, start=["sh", "-c", 'exec serve "$PORT" && true']).start[2] == 'exec serve "$PORT" && true'


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("a && b", "no shell reads it"),
        ("a | tee log", "no shell reads it"),
        ("serve --port $PORT", "no shell fills it in"),
        ("serve ${PORT}", "no shell fills it in"),
        ("serve 'x", "No closing quotation"),
        ("", "empty"),
        ("   ", "empty"),
        ([], "empty"),
        ([""], "empty"),
        (["a", 1], "not a command"),
        (7, "not a command"),
        ({"a": 1}, "not a command"),
        (["a\0b"], "NUL"),
    ],
)
def test_a_command_that_would_not_do_what_it_looks_like_is_refused(command: object, why: str) -> None:
    assert why in fault(LEAST, start=command)


@pytest.mark.parametrize(
    "path", ["/etc/x.xml", "../x.xml", "a/../../x", "", ".", "a\\b", "a\nb", "-rf", 5, None, "x" * 201]
)
def test_a_report_or_an_input_outside_the_checkout_is_refused(path: object) -> None:
    assert "`install.inputs.0` is not a file inside" in fault(LEAST, install={"commands": ["true"], "inputs": [path]})
    if path is not None:
        assert "`suites.unit.junit`" in fault(LEAST, suites=SUITES | {"unit": {"command": "x", "junit": path}})


@pytest.mark.parametrize(
    "path", ["healthz", "//evil.example/", "http://evil.example/", "", "/a b", "/a\r\nX: y", "/é", None]
)
def test_a_health_path_stays_on_the_shop(path: object) -> None:
    assert "`health.path`" in fault(LEAST, health={"path": path})
    if path is not None:
        assert "`metrics.path`" in fault(LEAST, metrics={"path": path})


@pytest.mark.parametrize("name", ["PORT", "HOST", "PATH", "DELIVERY_COMMIT", "DATA_DIR", "JUNIT_XML", "a-b", "1", ""])
def test_a_variable_cannot_take_the_environment_over(name: str) -> None:
    assert "`variables" in fault(LEAST, variables={name: "x"})


def test_a_variable_that_only_looks_like_one_of_ours_is_the_shops() -> None:
    names = {"LDAP_URL": "x", "PORTAL": "x", "PATH_PREFIX": "x", "PYTHONPATH": "src", "DATABASE": "x", "HOSTNAME": "x"}
    assert read(LEAST, variables=names).variables == names


@pytest.mark.parametrize("value", [1, True, None, ["x"], "a\0b"])
def test_a_variable_is_a_text(value: object) -> None:
    assert "`variables.LEVEL`" in fault(LEAST, variables={"LEVEL": value})


def test_commands_to_install_need_inputs() -> None:
    assert "no inputs" in fault(LEAST, install={"commands": ["make"]})


def test_a_migration_without_a_way_back_is_not_reversible() -> None:
    assert not read(LEAST, migration={"forward": "up"}).migration.reversible
    assert read(LEAST, migration={"forward": "up", "back": "down"}).migration.reversible
    assert not read(LEAST, migration={"forward": "up", "back": "down", "reversible": False}).migration.reversible
    assert "no way back" in fault(LEAST, migration={"forward": "up", "reversible": True})
    assert "`migration.reversible`" in fault(LEAST, migration={"reversible": "maybe"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"- a\n- b\n",
        b"just a text",
        b"a: [",
        b"\xff\xfe",
        b"[" * 60_000,  # ends the process by a segmentation fault in PyYAML's C loader
        b"{a: " * 10_000,
        b"x: &a [*a]",
        b"a: &a {k: v}\nb: &b {<<: [*a, *a, *a]}\nc: {<<: [*b, *b, *b]}\n",
        b"a: 2026-13-45",
        b"a: " + b"9" * 5_000,
        b"version: 1\nversion: 1\n",
        b"? [a]\n: 1",
        b'a: !!python/object/apply:os.system ["true"]',
        b"#" * (SIZE_LIMIT_BYTES + 1),
        b"a: 1\n---\nb: 2\n",
        b"\0",
    ],
)
def test_a_file_that_is_no_plan_at_all_is_one_clear_sentence(content: bytes) -> None:
    assert fault(content).endswith((".", ")"))


def test_a_key_given_twice_is_refused_instead_of_forgotten() -> None:
    assert "'start' a second time" in fault(yaml.safe_dump(LEAST).encode() + b"start: other\n")


def test_a_hostile_key_is_not_repeated_raw() -> None:
    assert "\x1b" not in fault(LEAST, **{"\x1b[31mred": 1})


@given(st.binary(max_size=300))
def test_any_bytes_give_a_plan_or_a_sentence(content: bytes) -> None:
    with pytest.raises(Misconfigured):
        read(content)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from([*LEAST, "install", "migration", "variables", "metrics"]), value=_anything)
def test_anything_in_any_field_gives_a_plan_or_a_sentence(field: str, value: object) -> None:
    try:
        plan = read(LEAST, **{field: value})
    except Misconfigured as error:
        sentence = str(error)
        assert "\n" not in sentence
    else:
        assert plan.start
        assert plan.health.path.startswith("/")


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=5
    )
)
def test_a_list_comes_back_word_for_word(words: list[str]) -> None:
    words[0] = words[0].strip() or "x"
    assert read(LEAST, start=words).start == tuple(words)


@given(
    suite=st.sampled_from(["syntax", "unit", "load"]),
    field=st.sampled_from(["command", "timeout", "x"]),
    value=_anything,
)
def test_anything_inside_a_suite_gives_a_plan_or_a_sentence(suite: str, field: str, value: object) -> None:
    try:
        plan = read(LEAST, suites=SUITES | {suite: {"command": "true", field: value}})
    except Misconfigured as error:
        sentence = str(error)
        assert f"suites.{suite}" in sentence
    else:
        assert plan.suites[Suite(suite)].timeout > timedelta(0)
