"""The local platform with real processes, ports and files, and what kills, races and hostile shops do to it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError

import psutil
import pytest

from feature_delivery.adapters.platforms.local import LocalPlatform, processes
from feature_delivery.adapters.platforms.local.layout import layout_of, remove_tree
from feature_delivery.domain.errors import Conflict, NotFound, Refused
from feature_delivery.domain.names import ProjectName
from feature_delivery.domain.suites import why_red
from feature_delivery.ports.platform import Release
from tests import shops
from tests.local_bench import (
    PRODUCTION,
    PROJECT,
    Bench,
    get,
    processes_of,
    reference,
    run_python,
    settings,
    wait_until,
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "environments")
    yield bench
    bench.platform.stop_all(PROJECT)
    assert processes_of(bench.root) == []


def deploying(bench: Bench, body: str) -> subprocess.Popen[bytes]:
    """Start another process that runs ``body`` with a platform of its own."""
    code = "from pathlib import Path\nfrom tests import shops\nfrom tests.local_bench import *\n"
    code += f"bench = Bench(Path({str(bench.root)!r}))\n{body}"
    return subprocess.Popen(run_python(code), start_new_session=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


# --- addresses, switch, retirement ---


def test_the_address_stays_the_same_while_releases_change_behind_it(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    with pytest.raises(HTTPError, match="503"):
        get(address)
    for label in ("one", "two", "three"):
        status = bench.platform.deploy(reference(), shops.release(label), say=bench.say)
        assert status.address == address
        assert get(address) == shops.commit_of(label)
    assert len(bench.servers()) == 1
    assert bench.releases() == {shops.commit_of("two")[:12], shops.commit_of("three")[:12]}


def test_no_request_fails_while_releases_switch(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("0"), say=bench.say)
    port = int(address.rpartition(":")[2])
    stop, failures, seen = threading.Event(), [], set()

    def shop_with_a_kept_connection(path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while not stop.is_set():
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                seen.add(response.read().decode())
                assert response.status == 200
            except Exception as error:  # noqa: BLE001 - any failure is the finding
                failures.append(repr(error))
                connection.close()
        connection.close()

    paths = ("/", "/", "/", "/slow?0.3", "/slow?1")
    clients = [threading.Thread(target=shop_with_a_kept_connection, args=(path,)) for path in paths]
    for client in clients:
        client.start()
    for label in ("1", "2", "3"):
        bench.platform.deploy(reference(), shops.release(label), say=bench.say)
    stop.set()
    for client in clients:
        client.join()
    assert failures == []
    assert seen == {shops.commit_of(label) for label in "0123"}


def test_data_outlive_releases_and_restarts_and_go_with_the_environment(bench: Bench) -> None:
    status = bench.platform.provision(PRODUCTION)
    bench.platform.deploy(PRODUCTION, shops.release("one"), say=bench.say)
    data = Path(json.loads(get(status.address, "/env"))["DATA_DIR"])
    (data / "orders.db").write_text("1 gift card")
    bench.platform.deploy(PRODUCTION, shops.release("two"), say=bench.say)
    bench.platform.stop_all(PROJECT)
    assert processes_of(bench.root) == []
    (resumed,) = bench.platform.resume(PROJECT, say=bench.say)
    assert (resumed.address, resumed.healthy) == (status.address, True)
    assert get(status.address) == shops.commit_of("two")
    assert (data / "orders.db").read_text() == "1 gift card"
    bench.platform.provision(reference())
    inside = bench.directory() / "data"
    bench.platform.destroy(reference())
    assert not inside.exists()


def test_a_port_taken_while_we_were_down_is_chosen_anew(bench: Bench) -> None:
    first = bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    bench.platform.stop_all(PROJECT)
    port = int(first.address.rpartition(":")[2])
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        (status,) = bench.platform.resume(PROJECT, say=bench.say)
        assert status.address != first.address
        assert get(status.address) == shops.commit_of("one")


def test_environments_never_share_a_port_even_when_one_is_stopped(bench: Bench) -> None:
    first = bench.platform.provision(reference())
    bench.platform.stop_all(PROJECT)
    port = int(first.address.rpartition(":")[2])
    narrow = LocalPlatform(settings(bench.root, ports=range(port, port + 2)))
    assert narrow.provision(reference("preprod-shop-1")).address == f"http://127.0.0.1:{port + 1}"
    with pytest.raises(Exception, match="no port from"):
        narrow.provision(reference("preprod-shop-2"))
    assert not bench.directory("preprod-shop-2").exists()


# --- releases that fail ---


def test_a_crash_at_start_is_reported_at_once_with_the_log(bench: Bench) -> None:
    bench.platform.provision(reference())
    with pytest.raises(Refused, match="ended before it was healthy") as caught:
        bench.platform.deploy(
            reference(), shops.release("one", {"shop.py": shops.CRASH}, health_seconds=500), say=bench.say
        )
    assert "no price list found" in str(caught.value)
    assert bench.releases() == set()
    assert bench.servers() == []


def test_a_shop_that_never_becomes_healthy_is_removed_and_the_old_one_serves(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    for label, files, variables in (
        ("silent", {"shop.py": shops.SILENT}, {}),
        ("sick", {}, {"SICK": "/healthz"}),
    ):
        with pytest.raises(Refused, match="did not answer 200 within 2 seconds"):
            bench.platform.deploy(
                reference(), shops.release(label, files, health_seconds=2, variables=variables), say=bench.say
            )
        assert get(address) == shops.commit_of("one")
        assert bench.releases() == {shops.commit_of("one")[:12]}
        assert len(bench.servers()) == 1


@pytest.mark.parametrize("start", [("no-such-program",), ("./shop.py",), ("/",)])
def test_a_start_command_that_does_not_exist_is_a_refusal(bench: Bench, start: tuple[str, ...]) -> None:
    bench.platform.provision(reference())
    with pytest.raises(Refused, match="Could not start"):
        bench.platform.deploy(reference(), shops.release("one", start=start), say=bench.say)


def test_a_strangers_answer_does_not_pass_for_the_releases(bench: Bench) -> None:
    """The shop ignores $PORT and ends up silent while somebody else answers on the port."""
    bench.platform.provision(reference())
    answers = (
        "import os, subprocess, sys, time\n"
        "code = 'import http.server, os; os.environ.clear(); "
        'http.server.HTTPServer(("127.0.0.1", int(__import__("sys").argv[1])), '
        "http.server.SimpleHTTPRequestHandler).serve_forever()'\n"
        "stranger = subprocess.Popen([sys.executable, '-c', code, os.environ['PORT']], env={}, "
        "start_new_session=True)\n"
        "open(os.path.join(os.environ['DATA_DIR'], 'stranger'), 'a').write(f'{stranger.pid} ')\n"
        "time.sleep(600)\n"
    )
    release = shops.release("one", {"shop.py": answers}, health="/", health_seconds=3)
    with pytest.raises(Exception, match="ports are always taken"):
        bench.platform.deploy(reference(), release, say=bench.say)
    strangers = (bench.directory() / "data" / "stranger").read_text().split()
    assert len(strangers) == 3
    assert not any(processes.lives(processes.identity(int(pid))) for pid in strangers)


def test_a_shop_whose_master_ends_on_a_signal_leaves_no_worker(bench: Bench) -> None:
    worker = (
        "import os, subprocess, sys\n"
        "if len(sys.argv) == 1:\n"
        "    for _ in range(3):\n"
        "        subprocess.Popen([sys.executable, '-c', 'import signal, time; "
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)'], start_new_session=True)\n"
    )
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one", {"shop.py": worker + shops.SHOP}), say=bench.say)
    assert len(bench.servers()) == 4
    bench.platform.destroy(reference())
    assert processes_of(bench.root) == []


# --- installs and migrations ---


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
    assert len(bench.servers()) == 1
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
def test_a_shop_that_answers_something_else_than_200_learns_what_to_do(bench: Bench, status: int, advice: str) -> None:
    bench.platform.provision(reference())
    other = shops.release("one", {"shop.py": shops.SHOP.replace("else 200)", f"else {status})")}, health_seconds=1.5)
    with pytest.raises(Refused, match=rf"(?s)last: {status}.*{advice}.*Its log ends with"):
        bench.platform.deploy(reference(), other, say=bench.say)


def test_a_shop_that_listens_on_a_port_of_its_own_choice_is_told_which_one(bench: Bench) -> None:
    bench.platform.provision(reference())
    stubborn = shops.SHOP.replace('int(os.environ["PORT"])', "0")
    with pytest.raises(Refused, match=r"(?s)It listens on port \d+ instead: let it listen on \$HOST and \$PORT"):
        bench.platform.deploy(
            reference(), shops.release("one", {"shop.py": stubborn}, health_seconds=1.5), say=bench.say
        )


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
        assert f"cache {tmp_path / 'npm'}" in bench.said
        assert "npm_config_cache" not in json.loads(get(status.address, "/env"))
    finally:
        bench.platform.stop_all(PROJECT)


# --- kills, races, generations ---


def test_a_deploy_killed_between_start_and_switch_leaks_nothing_after_the_next(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    release = "shops.release('two', {'shop.py': shops.SILENT}, health_seconds=500)"
    other = deploying(bench, f"bench.platform.deploy(reference(), {release}, say=bench.say)")
    wait_until(lambda: len(bench.running("release")) == 2)
    kill(other)
    assert get(address) == shops.commit_of("one")
    bench.platform.deploy(reference(), shops.release("two"), say=bench.say)
    assert get(address) == shops.commit_of("two")
    assert len(bench.servers()) == 1
    assert bench.releases() == {shops.commit_of("one")[:12], shops.commit_of("two")[:12]}


def test_a_checkout_that_was_killed_leaves_nothing(bench: Bench) -> None:
    bench.platform.provision(reference())
    body = (
        "import time\nfrom dataclasses import replace\n"
        "def hang(directory):\n    (directory / 'half').write_text('x')\n    time.sleep(600)\n"
        "bench.platform.deploy(reference(), replace(shops.release('one'), checkout=hang), say=bench.say)"
    )
    other = deploying(bench, body)
    wait_until(lambda: list(bench.root.glob("*/.staging/*/half")))
    bench.platform.provision(reference())
    assert list(bench.root.glob("*/.staging/*/half")), "the staging of a living process was swept"
    kill(other)
    bench.platform.destroy(reference())
    assert [path for path in bench.root.rglob("*") if path.is_file()] == []


def test_a_newer_generation_overtakes_a_stalled_deploy_which_then_gives_up(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    release = "shops.release('old', {'shop.py': shops.SILENT}, health_seconds=500)"
    body = (
        "from feature_delivery.domain.errors import Conflict\n"
        f"try: bench.platform.deploy(reference(), {release}, say=bench.say)\n"
        "except Conflict as error: raise SystemExit(42)"
    )
    other = deploying(bench, body)
    wait_until(lambda: bench.running("release"))
    bench.platform.deploy(reference(generation=2), shops.release("new"), say=bench.say)
    assert other.wait(60) == 42
    assert get(address) == shops.commit_of("new")
    assert bench.releases() == {shops.commit_of("new")[:12]}
    assert len(bench.servers()) == 1


def test_a_suspended_deploy_that_wakes_up_after_a_newer_one_changes_nothing(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    body = (
        "import time\nfrom dataclasses import replace\nfrom feature_delivery.domain.errors import Conflict\n"
        "one = shops.release('old')\n"
        f"go = Path({str(bench.root)!r}) / 'go'\n"
        "def slow(directory):\n    one.checkout(directory)\n    (go.parent / 'ready').touch()\n"
        "    while not go.exists(): time.sleep(0.01)\n"
        "try: bench.platform.deploy(reference(), replace(one, checkout=slow), say=bench.say)\n"
        "except Conflict as error: raise SystemExit(42)"
    )
    other = deploying(bench, body)
    wait_until((bench.root / "ready").exists)
    bench.platform.deploy(reference(generation=2), shops.release("new"), say=bench.say)
    before = (bench.directory() / "environment.json").read_text()
    (bench.root / "go").touch()
    assert other.wait(60) == 42
    assert get(address) == shops.commit_of("new")
    assert (bench.directory() / "environment.json").read_text() == before
    assert not (bench.root / PROJECT / ".staging").exists()


def test_of_two_deploys_at_once_the_newer_generation_wins_and_one_server_is_left(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    for generation in range(2, 7, 2):
        others = [
            deploying(
                bench,
                "from feature_delivery.domain.errors import Conflict\n"
                f"ref, release = reference(generation={number}), shops.release('{number}')\n"
                "try: bench.platform.deploy(ref, release, say=bench.say)\n"
                "except Conflict: raise SystemExit(42)",
            )
            for number in (generation, generation + 1)
        ]
        codes = [other.wait(120) for other in others]
        assert codes[1] == 0
        assert codes[0] in {0, 42}
        assert get(address) == shops.commit_of(str(generation + 1))
        assert len(bench.servers()) == 1


def test_a_deploy_into_an_environment_that_is_destroyed_meanwhile_leaves_nothing(bench: Bench) -> None:
    bench.platform.provision(reference())
    install = (("python", "-c", "import time; time.sleep(600)"),)
    body = (
        "from feature_delivery.domain.errors import Conflict, NotFound\n"
        f"try: bench.platform.deploy(reference(), shops.release('one', install={install!r}), say=bench.say)\n"
        "except (Conflict, NotFound): raise SystemExit(42)"
    )
    other = deploying(bench, body)
    wait_until(lambda: any(p.cmdline()[-1].startswith("import time") for p in bench.running("install")))
    bench.platform.destroy(reference())
    assert other.wait(60) == 42
    assert not bench.directory().exists()
    assert processes_of(bench.root) == []


def test_the_shop_outlives_the_process_group_and_the_descendants_of_its_deployer(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    body = "bench.platform.deploy(reference(), shops.release('one'), say=bench.say)\nimport time; time.sleep(600)"
    other = deploying(bench, body)
    wait_until(lambda: bench.platform.list(PROJECT)[0].healthy)
    assert psutil.Process(other.pid).children(recursive=True) == []
    os.killpg(other.pid, signal.SIGTERM)
    other.wait()
    assert get(address) == shops.commit_of("one")


def test_a_shop_that_dies_is_seen_and_revived_at_the_same_address(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    os.kill(int(get(address, "/pid")), signal.SIGKILL)
    wait_until(lambda: bench.servers() == [])
    status = bench.platform.status(reference())
    assert status is not None
    assert (status.healthy, status.commit) == (False, shops.commit_of("one"))
    assert bench.platform.revive(reference(), say=bench.say).healthy
    pid = get(address, "/pid")
    assert bench.platform.revive(reference(), say=bench.say).healthy
    assert get(address, "/pid") == pid


def test_what_has_ended_is_started_again_and_what_is_only_slow_is_left_alone(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    assert not bench.platform.keep_running(reference(), say=bench.say), "nothing has been deployed"
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    pid = int(get(address, "/pid"))
    os.kill(pid, signal.SIGSTOP)
    assert not bench.platform.keep_running(reference(), say=bench.say)
    os.kill(pid, signal.SIGCONT)
    assert int(get(address, "/pid")) == pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: bench.servers() == [])
    with pytest.raises(Conflict, match="generation"):
        bench.platform.keep_running(replace(reference(), generation=0), say=bench.say)
    assert bench.platform.keep_running(reference(), say=bench.say)
    assert get(address) == shops.commit_of("one")
    bench.platform.destroy(reference())
    assert not bench.platform.keep_running(reference(), say=bench.say)


def test_a_forwarder_that_dies_is_started_again_by_whoever_comes_next(bench: Bench) -> None:
    address = bench.platform.provision(reference()).address
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    (forwarder,) = [p for p in processes_of(bench.root) if p not in bench.servers()]
    forwarder.kill()
    wait_until(lambda: not forwarder.is_running())
    assert bench.platform.provision(reference()).healthy
    assert get(address) == shops.commit_of("one")


def test_a_reused_process_id_is_never_killed_and_never_passes_for_the_shop(bench: Bench) -> None:
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    bench.platform.stop_all(PROJECT)
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        file = bench.directory() / "environment.json"
        record = json.loads(file.read_text())
        started = record["current"]["process"].partition("@")[2]
        record["current"]["process"] = record["forwarder"] = f"{bystander.pid}@{started}"
        file.write_text(json.dumps(record))
        bench.platform.revive(reference(), say=bench.say)
        bench.platform.deploy(reference(), shops.release("two"), say=bench.say)
        bench.platform.destroy(reference())
        assert bystander.poll() is None
    finally:
        kill(bystander)


def test_an_identity_names_one_process_only(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "600"])
    found = processes.identity(process.pid)
    assert processes.lives(found)
    assert not processes.lives(f"{process.pid}@1")
    process.kill()
    wait_until(lambda: not processes.lives(found))  # a zombie does not live
    process.wait()
    for nonsense in (None, "", "@", "x@y", "-1@1", "999999999@1"):
        assert not processes.lives(nonsense)


# --- what a shop sees ---


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
