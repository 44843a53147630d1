"""Suites on the local platform: what they see, what they cannot do, and how they end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from feature_delivery.adapters.platforms.local import LocalPlatform
from feature_delivery.domain import suites
from feature_delivery.domain.errors import Conflict, Unavailable
from feature_delivery.domain.plan import SuitePlan
from feature_delivery.ports.platform import Release
from tests import shops
from tests.local_bench import PROJECT, Bench, get, processes_of, reference, run_python, settings, wait_until

SLEEPER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


@pytest.fixture
def release(bench: Bench) -> Release:
    bench.platform.provision(reference())
    release = shops.release("one", {"report.xml": shops.GREEN, "tests/data.txt": "fixture"})
    bench.platform.deploy(reference(), release, say=bench.say)
    return release


def run(bench: Bench, release: Release, suite: SuitePlan, *, name: str = "unit") -> suites.SuiteReport:
    return bench.platform.run_suite(reference(), name=name, suite=suite, release=release, variables={}, say=bench.say)


def test_a_suite_reaches_the_shop_and_its_output_arrives_line_by_line(bench: Bench, release: Release) -> None:
    script = """
        import os, urllib.request
        print("first line", flush=True)
        print(urllib.request.urlopen(os.environ["BASE_URL"]).read().decode(), flush=True)
        print("colours \\x1b[31mred\\x1b[0m")
    """
    report = run(bench, release, shops.suite(script, junit=None))
    assert (report.problem, report.executed) == ("", 1)
    start = bench.said.index("first line")
    assert bench.said[start + 1] == release.commit
    assert bench.said[start + 2] == "colours red"
    assert "first line" in Path(report.log_path).read_text()


@pytest.mark.parametrize(
    ("script", "problem", "executed"),
    [
        ("pass", "there is no report at 'report.xml'", 0),
        (shops.writes("<testsuite><testcase"), "not well-formed", 0),
        (shops.writes('<!DOCTYPE t [<!ENTITY a "a">]><testsuite/>'), "document type", 0),
        (shops.writes(shops.GREEN, code=137), "137 (killed, most likely for want of memory) although its report", 1),
        (shops.writes("<testsuite/>", code=5), "exited with 5 although", 0),
        ("import os; os.symlink('/etc/passwd', os.environ['JUNIT_XML'])", "there is no report", 0),
        ("import os; os.mkfifo(os.environ['JUNIT_XML'])", "not a regular file", 0),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9 (killed, most likely for want of memory)", 0),
        (shops.writes(shops.RED, code=1), "", 1),
        (shops.writes(shops.RED, code=0), "", 1),
        (shops.writes("<testsuite/>"), "", 0),
    ],
)
def test_report_and_exit_code_have_to_agree(
    bench: Bench, release: Release, script: str, problem: str, executed: int
) -> None:
    report = run(bench, release, shops.suite(script))
    assert report.executed == executed
    assert problem in report.problem if problem else not report.problem
    assert suites.why_red(report, production_executed=None) is not None


def test_without_a_report_the_exit_code_alone_decides(bench: Bench, release: Release) -> None:
    red = run(bench, release, shops.suite("raise SystemExit('line 3: syntax')", junit=None), name="syntax")
    assert (red.problem, red.count(suites.CaseState.FAILED)) == ("", 1)
    assert "line 3: syntax" in red.cases[0].message


@pytest.mark.parametrize("junit", ["../report.xml", "/tmp/report.xml", "a/../../b.xml", ""])  # noqa: S108
def test_a_report_outside_of_the_checkout_is_not_read(bench: Bench, release: Release, junit: str) -> None:
    assert "leads out" in run(bench, release, shops.suite("pass", junit=junit)).problem


def test_a_linked_folder_cannot_bring_a_report_from_elsewhere(bench: Bench, release: Release, tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(shops.GREEN)
    script = f"import os; os.rmdir('out'); os.symlink({str(tmp_path)!r}, 'out')"
    report = run(bench, release, shops.suite(script, junit="out/report.xml"))
    assert "symbolic link" in report.problem


def test_a_suite_cannot_change_the_release_and_leaves_no_copy(bench: Bench, release: Release) -> None:
    script = """
        import os, pathlib
        assert pathlib.Path("tests/data.txt").read_text() == "fixture"
        for file in pathlib.Path().rglob("*"):
            if file.is_file(): file.write_text("changed")
    """
    for _ in range(2):
        assert run(bench, release, shops.suite(script, junit=None)).count(suites.CaseState.PASSED) == 1
    (serving,) = (bench.directory() / "releases").iterdir()
    assert (serving / "tests" / "data.txt").read_text() == "fixture"
    assert list((bench.directory() / "suites").iterdir()) == []


def test_suites_run_side_by_side_without_meeting(bench: Bench, release: Release) -> None:
    script = """
        import os, pathlib, sys, time
        mine = pathlib.Path("mine"); assert not mine.exists(); mine.touch()
        meeting = pathlib.Path(os.environ["DATA_DIR"], "meeting"); meeting.open("a").write("x")
        end = time.monotonic() + 60
        while len(meeting.read_text()) < 3 and time.monotonic() < end: time.sleep(0.01)
        assert len(meeting.read_text()) == 3
    """
    reports: list[suites.SuiteReport] = []

    def one(name: str) -> None:
        reports.append(run(bench, release, shops.suite(script, junit=None), name=name))

    threads = [threading.Thread(target=one, args=(name,)) for name in ("syntax", "unit", "functional")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [report.count(suites.CaseState.PASSED) for report in reports] == [1, 1, 1]


@pytest.mark.parametrize("ending", ["time.sleep(600)", "raise SystemExit(0)"])
def test_nothing_that_a_suite_started_outlives_it(bench: Bench, release: Release, ending: str) -> None:
    """Children, grandchildren, one with a session of its own, one that dropped its marks; none listens to SIGTERM."""
    sleeper = f"{SLEEPER} # {bench.root}"
    script = f"""
        import subprocess, sys, time, os
        sleeper = {sleeper!r}
        child = "import subprocess, sys; subprocess.run([sys.executable, '-c', " + repr(sleeper) + "])"
        subprocess.Popen([sys.executable, "-c", child])
        subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True)
        subprocess.Popen([sys.executable, "-c", sleeper], env={{}})
        print("pids", flush=True)
        time.sleep(1)
        {ending}
    """
    report = run(bench, release, shops.suite(script, seconds=3, junit=None))
    if "sleep" in ending:
        assert "did not end within 3 seconds and was killed" in report.problem
    sleepers = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # zombies have no command line
            if sleeper in process.cmdline():
                sleepers.append(process)
    assert sleepers == []
    assert bench.running("suite") == []


def test_a_flood_of_output_is_bounded_and_does_not_block(bench: Bench, release: Release) -> None:
    script = "import sys\nfor n in range(12000): print(n)\nsys.stdout.write('x' * 3_000_000)"
    report = run(bench, release, shops.suite(script, junit=None))
    assert report.count(suites.CaseState.PASSED) == 1
    assert len(bench.said) < 6000
    assert max(map(len, bench.said)) < 2100
    assert "only in" in bench.said[-1]


def test_output_that_is_no_text_is_shown_all_the_same(bench: Bench, release: Release) -> None:
    run(
        bench,
        release,
        shops.suite("import sys; sys.stdout.buffer.write(b'\\xff\\xfe caf\\xc3\\xa9\\n\\0')", junit=None),
    )
    assert "\ufffd\ufffd café" in bench.said


def test_a_command_that_does_not_exist_is_a_problem_not_a_crash(bench: Bench, release: Release) -> None:
    for name in ("no-such-tool", "./missing", "tests"):
        plan = SuitePlan(command=(name,), timeout=timedelta(seconds=5), junit="report.xml")
        report = run(bench, release, plan)
        assert "exited with 127" in report.problem
        assert f"Could not start {name!r}" in report.problem


def test_a_listener_that_breaks_stops_the_suite(bench: Bench, release: Release) -> None:
    """As Airflow's time-out does, which is raised in the middle of whatever runs."""

    def say(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.platform.run_suite(
            reference(),
            name="unit",
            suite=shops.suite("print(1, flush=True)\nimport time; time.sleep(600)"),
            release=release,
            variables={},
            say=say,
        )
    assert bench.running("suite") == []
    assert list((bench.directory() / "suites").iterdir()) == []


def test_a_suite_over_which_a_newer_release_comes_is_stopped_and_says_nothing(bench: Bench, release: Release) -> None:
    caught: list[Exception] = []

    def stalled() -> None:
        try:
            run(bench, release, shops.suite("import time; time.sleep(600)"))
        except Conflict as error:
            caught.append(error)

    thread = threading.Thread(target=stalled)
    thread.start()
    wait_until(lambda: bench.running("suite"))
    bench.platform.deploy(reference(generation=2), shops.release("two"), say=bench.say)
    thread.join(60)
    assert len(caught) == 1
    assert bench.running("suite") == []


def test_a_suite_whose_task_was_killed_is_swept_by_the_next(bench: Bench, release: Release) -> None:
    code = (
        "from pathlib import Path\nfrom tests import shops\nfrom tests.local_bench import *\n"
        f"bench = Bench(Path({str(bench.root)!r}))\n"
        "bench.platform.run_suite(reference(), name='unit', suite=shops.suite('import time; time.sleep(600)'), "
        "release=shops.release('one'), variables={}, say=bench.say)"
    )
    other = subprocess.Popen(run_python(code), start_new_session=True)
    wait_until(lambda: bench.running("suite"))
    other.kill()
    other.wait()
    assert bench.running("suite")
    assert run(bench, release, shops.suite(shops.writes(shops.GREEN))).problem == ""
    assert bench.running("suite") == []
    assert get(bench.platform.list(PROJECT)[0].address) == release.commit


# --- the machine's own limits ---


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("mounting a tiny file system needs root on Linux")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    yield disk
    Bench(disk / "environments").platform.stop_all(PROJECT)
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        size = 65536
        while size:
            try:
                filler.write(b"x" * size)
            except OSError:
                size //= 2


def test_a_full_disk_is_a_sentence_and_leaves_nothing_half_made(tiny_disk: Path) -> None:
    bench = Bench(tiny_disk / "environments")
    fill(tiny_disk)
    with pytest.raises(Unavailable, match=r"no space left.*Free some space"):
        bench.platform.provision(reference())
    assert bench.platform.list(PROJECT) == ()
    (tiny_disk / "filler").unlink()

    status = bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    before = bench.platform.status(reference())

    def too_much(directory: Path) -> None:
        (directory / "large").write_bytes(b"x" * 8_000_000)

    large = Release(shops.commit_of("large"), shops.plan(), too_much)
    with pytest.raises(Unavailable, match=r"Could not deploy.*no space left"):
        bench.platform.deploy(reference(), large, say=bench.say)
    code = "f = open('large', 'wb', buffering=0)\nwhile True: f.write(b'x' * 4096)"
    install = shops.release("two", install=(("python", "-c", code),))
    with pytest.raises(Unavailable, match=r"disk is full|no space left"):
        bench.platform.deploy(reference(), install, say=bench.say)
    assert bench.platform.status(reference()) == before
    assert bench.releases() == {shops.commit_of("one")[:12]}
    fill(tiny_disk)
    assert get(status.address) == shops.commit_of("one")
    bench.platform.destroy(reference())
    assert not bench.directory().exists()
    assert processes_of(bench.root) == []


def test_a_root_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    platform = LocalPlatform(settings(tmp_path / "file" / "environments"))
    with pytest.raises(Unavailable, match="Could not provision demo_store/development-shop-1: not a directory"):
        platform.provision(reference())
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(Unavailable, match="Give this user the right"):
            LocalPlatform(settings(tmp_path / "closed" / "environments")).provision(reference())
