"""Releases that do not come up."""

from __future__ import annotations

import pytest

from feature_delivery.adapters.platforms.local import processes
from feature_delivery.domain.errors import Refused
from tests import shops
from tests.integration.local_platform.conftest import PatienceEnds
from tests.local_bench import (
    Bench,
    get,
    processes_of,
    reference,
)


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


def test_a_strangers_answer_does_not_pass_for_the_releases(bench: Bench, patience_ends: PatienceEnds) -> None:
    """The shop ignores $PORT and ends up silent while somebody else answers on the port."""
    bench.platform.provision(reference())
    patience_ends(lambda found: found == 200)
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
    release = shops.release("one", {"shop.py": answers}, health="/")
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
