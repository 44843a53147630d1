"""What a shop sees of us, paths that lead elsewhere, and strangers."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from feature_delivery.adapters.platforms.local.layout import layout_of, remove_tree
from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.suites import why_red
from tests import shops
from tests.local_bench import (
    PROJECT,
    Bench,
    get,
    processes_of,
    reference,
)


def test_a_shop_sees_its_own_variables_and_none_of_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW_CONN_SLACK",
        "FEATURE_DELIVERY_TOKEN",
        "DATABASE_URL",
        "PGPASSWORD",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
    ):
        monkeypatch.setenv(name, "a-secret")
    monkeypatch.setenv("UV_INDEX_URL", "https://user:a-secret@registry.example/simple")
    address = bench.platform.provision(reference()).address
    look = "import json, os; print('SAW', json.dumps(dict(os.environ)))"
    release = shops.release(
        "one", install=(("python", "-c", look),), forward=("python", "-c", look), variables={"THEME": "x", "HOME": "/"}
    )
    bench.platform.deploy(reference(), release, say=bench.say)
    bench.platform.run_suite(
        reference(),
        name="unit",
        suite=shops.suite(look, junit=None),
        release=release,
        variables={"BROWSER": "none"},
        say=bench.say,
    )
    views = [json.loads(line.partition(" ")[2]) for line in bench.said if line.startswith("SAW ")]
    assert len(views) == 3
    server = json.loads(get(address, "/env"))
    for seen in (*views, server):
        assert "a-secret" not in json.dumps(seen)
        assert seen["DELIVERY_COMMIT"] == release.commit
        assert seen["BASE_URL"] == address
        assert seen["THEME"] == "x"
        assert seen["HOME"] == str(bench.directory() / "home")
        assert seen["PATH"].startswith(str(bench.directory() / "venv-"))
    assert views[2]["BROWSER"] == "none"
    assert "BROWSER" not in server
    assert set(server) - set(views[1]) == {"PORT"}


def test_pytest_of_ours_is_not_found_by_a_shop_that_has_none(bench: Bench) -> None:
    bench.platform.provision(reference())
    release = shops.release("one")
    bench.platform.deploy(reference(), release, say=bench.say)
    suite = shops.suite(
        f"import shutil, sys; sys.exit((shutil.which('alembic') or '').startswith({sys.prefix!r}))", junit=None
    )
    report = bench.platform.run_suite(
        reference(), name="unit", suite=suite, release=release, variables={}, say=bench.say
    )
    assert why_red(report, production_executed=None) is None


# --- paths and strangers ---


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", "a\n", "-a", "A", ".staging", "x" * 64, "a b", "$x"])
def test_a_name_that_could_leave_the_root_is_refused(bench: Bench, name: str) -> None:
    for call in (bench.platform.provision, bench.platform.destroy, bench.platform.status):
        with pytest.raises(Refused):
            call(reference(name))
    with pytest.raises(Refused):
        bench.platform.list(ProjectName("../etc"))
    assert not bench.root.exists()


def test_strangers_are_reported_as_foreign_and_never_touched(bench: Bench) -> None:
    bench.platform.provision(reference())
    for name, text in (("broken", "{"), ("other-shape", "{}"), ("without", None), ("Odd Name", None)):
        directory = bench.directory(name)
        directory.mkdir()
        (directory / "precious").write_text("data")
        if text is not None:
            (directory / "environment.json").write_text(text)
    moved = bench.directory("moved")
    moved.mkdir()
    (moved / "environment.json").write_text((bench.directory() / "environment.json").read_text())
    listed = {status.ref.name: status.foreign for status in bench.platform.list(PROJECT)}
    foreign = {"broken", "other-shape", "without", "Odd Name", "moved"}
    assert listed == {**dict.fromkeys(foreign, True), "development-shop-1": False}
    for name in foreign:
        for call in (bench.platform.provision, bench.platform.destroy):
            with pytest.raises(Refused):
                call(reference(name))
    assert len(list(bench.root.rglob("precious"))) == 4
    assert not (bench.directory("without") / "lock").exists()


def test_a_link_in_place_of_an_environment_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "precious").write_text("data")
    bench.platform.provision(reference())
    bench.directory("linked").symlink_to(victim)
    for call in (bench.platform.provision, bench.platform.destroy):
        with pytest.raises(Refused, match="symbolic link"):
            call(reference("linked"))
    assert {s.ref.name: s.foreign for s in bench.platform.list(PROJECT)}["linked"]
    # Links that the shop itself makes go as links.
    for place in (bench.directory(), bench.directory() / "data", bench.directory() / "releases"):
        (place / "out").symlink_to(victim)
    bench.platform.destroy(reference())
    assert not bench.directory().exists()
    assert (victim / "precious").read_text() == "data"


def test_a_link_on_the_way_keeps_a_removal_from_leaving_the_root(bench: Bench, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "one").mkdir(parents=True)
    layout = layout_of(bench.root.resolve(), PROJECT, "a")
    layout.directory.mkdir(parents=True)
    layout.releases.symlink_to(victim)
    with pytest.raises(Refused, match="symbolic link"):
        remove_tree(layout.releases / "one", inside=layout.root)
    assert (victim / "one").is_dir()


def test_an_interrupted_destruction_is_finished_by_either_call(bench: Bench) -> None:
    for finish in (bench.platform.destroy, bench.platform.provision):
        bench.platform.provision(reference())
        file = bench.directory() / "environment.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "leaving": True}))
        (bench.directory() / "data" / "old").write_text("x")
        with pytest.raises(NotFound):
            bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
        finish(reference())
        assert not (bench.directory() / "data" / "old").exists()
    bench.platform.destroy(reference())
    bench.directory().mkdir(parents=True)  # what a kill at the very end leaves
    (bench.directory() / "lock").touch()
    assert bench.platform.list(PROJECT) == ()
    bench.platform.destroy(reference())
    assert not bench.directory().exists()


def test_of_many_who_provision_and_destroy_at_once_none_breaks(bench: Bench) -> None:
    errors: list[BaseException] = []

    def loop(number: int) -> None:
        for _ in range(4):
            try:
                (bench.platform.provision if number % 2 else bench.platform.destroy)(reference())
            except (Conflict, NotFound) as error:
                errors.append(error)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    bench.platform.destroy(reference())
    assert processes_of(bench.root) == []
    assert not bench.directory().exists()
