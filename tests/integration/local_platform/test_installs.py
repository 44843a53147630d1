"""What a release installs and migrates."""

from __future__ import annotations

import json
import zipfile
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from feature_delivery.adapters.platforms.local import forwarding
from feature_delivery.domain.errors import Refused
from feature_delivery.ports.platform import Release
from tests import shops
from tests.integration.local_platform.conftest import PatienceEnds
from tests.local_bench import (
    PROJECT,
    Bench,
    deploying,
    get,
    kill,
    reference,
    wait_until,
)


def test_requirements_are_installed_once_per_content_and_really_used(bench: Bench, wheels: Path) -> None:
    shop = "import tinypriced\nprint(tinypriced.VERSION)\n" + shops.SHOP
    install = (("pip", "install", "--no-index", "--find-links", str(wheels), "-r", "requirements.txt"),)

    def release(label: str, version: str) -> Release:
        files = {"shop.py": shop, "requirements.txt": f"tinypriced=={version}\n"}
        return shops.release(label, files, install=install, inputs=("requirements.txt",))

    def served(label: str) -> str:
        logs = (bench.directory() / "logs").glob(f"{shops.commit_of(label)[:12]}*.log")
        (log,) = [one for one in logs if not one.name.endswith(".build.log")]
        return log.read_text().splitlines()[0]

    bench.platform.provision(reference())
    bench.platform.deploy(reference(), release("one", "1.0"), say=bench.say)
    assert served("one") == "1.0"
    bench.said.clear()
    bench.platform.deploy(reference(), release("two", "1.0"), say=bench.say)
    assert any("use the virtual environment that is there" in line for line in bench.said)
    bench.platform.deploy(reference(), release("three", "2.0"), say=bench.say)
    assert served("three") == "2.0"
    with pytest.raises(Refused, match=r"(?s)Could not install.*tinypriced"):
        bench.platform.deploy(reference(), release("four", "3.0"), say=bench.say)
    assert len(list(bench.directory().glob("venv-*"))) == 2


@pytest.fixture
def wheels(tmp_path: Path, bench: Bench) -> Path:
    """A folder with two versions of a wheel, which the operator has opened to shops."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    bench.fence_open = (folder,)
    for version in ("1.0", "2.0"):
        info = f"tinypriced-{version}.dist-info"
        with zipfile.ZipFile(folder / f"tinypriced-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("tinypriced.py", f"VERSION = {version!r}\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tinypriced\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    return folder


def test_an_install_that_belongs_to_its_checkout_is_never_shared(bench: Bench) -> None:
    """Like npm's node_modules, or an editable install: sharing it would run another commit's code."""
    install = (("python", "-c", "import os; open('built.txt', 'w').write(os.environ['DELIVERY_COMMIT'])"),)
    link = "import glob, os, site; open(glob.glob(os.environ['VIRTUAL_ENV'] + '/lib/*/site-packages')[0] + '/x.pth', "
    link += "'w').write(os.getcwd())"
    bench.platform.provision(reference())
    for command in (install, (("python", "-c", link),)):
        for label in ("one", "two"):
            bench.said.clear()
            bench.platform.deploy(reference(), shops.release(label, install=command), say=bench.say)
            assert any(line.startswith("Install:") for line in bench.said)


def test_an_install_that_was_killed_is_made_again(bench: Bench) -> None:
    bench.platform.provision(reference())
    release = "shops.release('one', install=(('python', '-c', 'import time; time.sleep(600)'),))"
    other = deploying(bench, f"bench.platform.deploy(reference(), {release}, say=bench.say)")
    wait_until(lambda: bench.is_installing("import time"))
    kill(other)
    assert bench.is_installing("import time"), "what it has started goes on without it"
    bench.platform.deploy(
        reference(), shops.release("one", install=(("python", "-c", "print('whole')"),)), say=bench.say
    )
    assert len(bench.servers()) == 1
    assert len(list(bench.directory().glob("venv-*"))) == 1
    assert "whole" in bench.said


def test_a_migration_of_a_release_that_fails_is_taken_back(bench: Bench) -> None:
    write = "import os, pathlib, sys; pathlib.Path(os.environ['DATA_DIR'], 'schema').open('a').write(sys.argv[1])"
    forward, back = ("python", "-c", write, "+"), ("python", "-c", write, "-")
    schema = bench.directory() / "data" / "schema"
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one", forward=forward, back=back), say=bench.say)
    assert schema.read_text() == "+"
    crash = shops.release("two", {"shop.py": shops.CRASH}, forward=forward, back=back)
    with pytest.raises(Refused):
        bench.platform.deploy(reference(), crash, say=bench.say)
    assert schema.read_text() == "++-"
    two = shops.release("two", forward=forward, back=back)
    bench.platform.deploy(reference(), two, say=bench.say)
    bench.platform.deploy(
        reference(), shops.release("one again", forward=forward), say=bench.say, migrate_back=two.plan
    )
    assert schema.read_text() == "++-+-"
    failing = ("python", "-c", "print('no such column'); raise SystemExit(1)")
    with pytest.raises(Refused, match=r"(?s)Could not migrate.*no such column"):
        bench.platform.deploy(reference(), shops.release("three", forward=failing), say=bench.say)
    assert get(bench.platform.provision(reference()).address) == shops.commit_of("one again")


SICKENS = shops.SHOP.replace('self.path == os.environ.get("SICK")', 'os.path.exists(os.environ["DATA_DIR"] + "/sick")')
MIGRATES = """
import os, pathlib, sys
data = pathlib.Path(os.environ["DATA_DIR"])
(data / "schema").open("a").write(sys.argv[1])
sys.exit(sys.argv[1] == "+" and (data / "breaks").exists())
"""


def test_a_commit_that_serves_keeps_its_migration_when_it_is_deployed_again_in_vain(bench: Bench) -> None:
    """It goes on serving, with the tables that it needs, and a rollback takes them back once."""
    forward, back = ("python", "migrate.py", "+"), ("python", "migrate.py", "-")
    files = {"shop.py": SICKENS, "migrate.py": MIGRATES}
    two = shops.release("two", files, forward=forward, back=back)
    soon = replace(two.plan, health=replace(two.plan.health, timeout=timedelta(seconds=1.5)))
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    bench.platform.deploy(reference(), two, say=bench.say)
    data = bench.directory() / "data"
    (data / "sick").touch()
    with pytest.raises(Refused, match="did not answer 200") as caught:
        bench.platform.deploy(reference(), replace(two, plan=soon), say=bench.say)
    assert caught.value.__notes__ == ["Its migration stays: the same commit goes on serving, and needs it."]
    (data / "sick").unlink()
    assert get(address) == two.commit
    assert (data / "schema").read_text() == "++"
    status = bench.platform.deploy(reference(), two, say=bench.say)
    assert (status.unsettled, (data / "schema").read_text()) == (None, "++")
    bench.platform.deploy(reference(), shops.release("restored"), say=bench.say, migrate_back=two.plan)
    assert (data / "schema").read_text() == "++-"


def test_a_rollback_that_is_tried_again_takes_a_commit_that_came_twice_back_once(bench: Bench) -> None:
    forward, back = ("python", "migrate.py", "+"), ("python", "migrate.py", "-")
    two = shops.release("two", {"shop.py": SICKENS, "migrate.py": MIGRATES}, forward=forward, back=back)
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), two, say=bench.say)
    data = bench.directory() / "data"
    (data / "sick").touch()
    (data / "breaks").touch()
    with pytest.raises(Refused, match="Could not migrate"):
        bench.platform.deploy(reference(), two, say=bench.say)
    for restored in (shops.release("broken", {"shop.py": shops.CRASH}), shops.release("restored")):
        with suppress(Refused):
            bench.platform.deploy(reference(), restored, say=bench.say, migrate_back=two.plan)
    assert (data / "schema").read_text() == "++-"


def test_a_rollback_takes_back_what_a_killed_deploy_had_migrated(bench: Bench) -> None:
    write = "import os, pathlib, sys; pathlib.Path(os.environ['DATA_DIR'], 'schema').open('a').write(sys.argv[1])"
    schema = bench.directory() / "data" / "schema"
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    options = f"forward=('python', '-c', {write!r}, '+'), back=('python', 'back.py')"
    other = deploying(
        bench,
        'import textwrap\nback = \'import os; open(os.environ["DATA_DIR"] + "/schema", "a").write("-")\'\n'
        f"release = shops.release('two', {{'shop.py': shops.SILENT, 'back.py': back}}, {options}, health_seconds=500)\n"
        "bench.platform.deploy(reference(), release, say=bench.say)",
    )
    wait_until(lambda: len(bench.running("release")) == 2)
    kill(other)
    two = shops.plan(back=("python", "back.py"))
    bench.platform.deploy(reference(generation=2), shops.release("restored"), say=bench.say, migrate_back=two)
    assert schema.read_text() == "+-"
    assert len(bench.servers()) == 1


def test_a_migration_that_is_declared_irreversible_is_never_taken_back(bench: Bench) -> None:
    write = "import os, pathlib, sys; pathlib.Path(os.environ['DATA_DIR'], 'schema').open('a').write(sys.argv[1])"
    forward, back = ("python", "-c", write, "+"), ("python", "-c", write, "-")
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    crash = shops.release("two", {"shop.py": shops.CRASH}, forward=forward, back=back, reversible=False)
    with pytest.raises(Refused) as caught:
        bench.platform.deploy(reference(), crash, say=bench.say)
    assert "the old release goes on with migrated data" in caught.value.__notes__[0]
    two = shops.release("two", forward=forward, back=back, reversible=False)
    bench.platform.deploy(reference(), two, say=bench.say)
    bench.platform.deploy(reference(), shops.release("one again"), say=bench.say, migrate_back=two.plan)
    assert (bench.directory() / "data" / "schema").read_text() == "++"
    assert get(bench.platform.provision(reference()).address) == shops.commit_of("one again")


def test_a_way_back_that_fails_says_what_serves_and_what_to_do(bench: Bench) -> None:
    bench.platform.provision(reference())
    failing = ("python", "-c", "print('not reversible'); raise SystemExit(1)")
    two = shops.release("two", forward=("true",), back=failing)
    bench.platform.deploy(reference(), two, say=bench.say)
    short = shops.commit_of("two")[:12]
    with pytest.raises(Refused, match=rf"(?s)not reversible.*{short} goes on serving. Mend its data by hand"):
        bench.platform.deploy(reference(), shops.release("one"), say=bench.say, migrate_back=two.plan)
    assert get(bench.platform.provision(reference()).address) == shops.commit_of("two")


def test_a_database_that_a_release_makes_in_its_checkout_is_warned_of(bench: Bench) -> None:
    bench.platform.provision(reference())
    committed = {"catalogue.sqlite3": "read only", "node_modules/a/a.db": "a package's"}
    write = "import os, pathlib, sys; pathlib.Path(sys.argv[1] or os.environ['DATA_DIR'], 'shop.sqlite3').touch()"
    good = shops.release("one", committed, forward=("python", "-c", write, ""))
    bench.platform.deploy(reference(), good, say=bench.say)
    assert not [line for line in bench.said if "Warning" in line]
    bad = shops.release("two", committed, forward=("python", "-c", write, "."))
    bench.platform.deploy(reference(), bad, say=bench.say)
    (line,) = [line for line in bench.said if "Warning" in line]
    assert "keeps shop.sqlite3 in its checkout" in line
    assert "$DATA_DIR" in line


@pytest.mark.parametrize(
    ("status", "advice"),
    [(404, "name one that answers 200"), (302, "Redirects are not followed"), (400, "ALLOWED_HOSTS"), (401, "log")],
)
def test_a_shop_that_answers_something_else_than_200_learns_what_to_do(
    bench: Bench, patience_ends: PatienceEnds, status: int, advice: str
) -> None:
    bench.platform.provision(reference())
    patience_ends(lambda found: isinstance(found, int))
    other = shops.release("one", {"shop.py": shops.SHOP.replace("else 200)", f"else {status})")})
    with pytest.raises(Refused, match=rf"(?s)last: {status}.*{advice}.*Its log ends with"):
        bench.platform.deploy(reference(), other, say=bench.say)


def test_a_shop_that_listens_on_a_port_of_its_own_choice_is_told_which_one(
    bench: Bench, patience_ends: PatienceEnds
) -> None:
    bench.platform.provision(reference())
    patience_ends(lambda _: forwarding.listening_elsewhere(bench.running("release"), port=0))
    stubborn = shops.SHOP.replace('int(os.environ["PORT"])', "0")
    with pytest.raises(Refused, match=r"(?s)It listens on port \d+ instead: let it listen on \$HOST and \$PORT"):
        bench.platform.deploy(reference(), shops.release("one", {"shop.py": stubborn}), say=bench.say)


def test_installs_share_the_users_caches_and_the_shop_itself_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
    bench = Bench(tmp_path / "environments")
    bench.platform.provision(reference())
    told = ("python", "-c", "import os; print('cache', os.environ['npm_config_cache'])")
    release = shops.release("one", install=(told,), inputs=("shop.py",))
    status = bench.platform.deploy(reference(), release, say=bench.say)
    try:
        assert f"cache {tmp_path / 'npm' / 'branches'}" in bench.said
        assert "npm_config_cache" not in json.loads(get(status.address, "/env"))
    finally:
        bench.platform.stop_all(PROJECT)
