"""The code of a branch on the local platform, run as the shop, as its installation and as its tests: what it gets."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from feature_delivery.adapters.platforms.local import fence, fencing
from feature_delivery.adapters.platforms.local.layout import layout_of
from feature_delivery.adapters.platforms.local.local_platform import LocalPlatform
from feature_delivery.adapters.platforms.local.processes import MARK_HOME, MARK_ROLE, base_interpreter
from feature_delivery.adapters.platforms.local.settings import Limits
from feature_delivery.adapters.platforms.local.state import ReleaseRecord
from feature_delivery.adapters.platforms.local.variables import handed
from feature_delivery.bootstrap import tools
from feature_delivery.bootstrap.project_file import parse_project
from feature_delivery.domain.errors import Misconfigured, Refused
from feature_delivery.domain.plan import SuitePlan
from feature_delivery.ports.platform import Release
from tests import shops
from tests.attacks.hostile import OPEN, attack, behind
from tests.local_bench import PRODUCTION, PROJECT, Bench, get, reference
from tests.support.web_app import PROJECT_FILE

CANARY = "canary-4d1f0c"
LIBC = ctypes.CDLL(None)

pytestmark = pytest.mark.skipif(
    fence.version() < 1, reason="This kernel has no Landlock: nothing fences the code of a branch in here."
)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """An instance with secrets in its home and in the environment of its processes, and two environments."""
    home = tmp_path_factory.mktemp("instance")
    (home / "secrets.json").write_text(CANARY)
    (home / "pyproject.toml").write_text("[project]\nname = 'around-the-instance'\n")
    with pytest.MonkeyPatch.context() as patched:
        for name in ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW_CONN_GITHUB", "AIRFLOW__CORE__FERNET_KEY"):
            patched.setenv(name, f"{name}-{CANARY}")
        patched.setenv("FEATURE_DELIVERY_TASK_TOKEN", CANARY)
        patched.setenv("AIRFLOW_HOME", str(home / "airflow"))
        patched.setenv("FEATURE_DELIVERY_HOME", str(home))
        made = Bench(home / "environments")
        made.platform.provision(PRODUCTION)
        made.platform.deploy(PRODUCTION, shops.release("live"), say=made.say)
        made.platform.provision(reference())
        made.platform.deploy(reference(), shops.release("one"), say=made.say)
        (made.directory("production") / "data" / "orders.txt").write_text(CANARY)
        yield made
        made.platform.stop_all(PROJECT)


@pytest.fixture(scope="module")
def release() -> Release:
    return shops.release("one")


@pytest.fixture
def tight(bench: Bench) -> LocalPlatform:
    """The same environments, with limits that are soon reached."""
    limits = Limits(memory_bytes=200 << 20, processes=60, file_bytes=1 << 20, ports=((443, 443), (9418, 9420)))
    return LocalPlatform(replace(bench.platform.settings, limits=limits))


def test_its_environment_has_no_variable_of_ours(bench: Bench, release: Release) -> None:
    _, said = attack(bench, release, "import os, json\nprint(json.dumps(dict(os.environ)))")
    variables = json.loads(said)
    assert CANARY not in said
    assert not [name for name in variables if name.startswith(("AIRFLOW", "FEATURE_DELIVERY"))]


def test_no_other_process_shows_it_its_environment_or_memory(bench: Bench, release: Release) -> None:
    """Its own user runs Airflow: the kernel alone keeps the two apart."""
    script = f"""
import os
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "mem", "maps"):
        if int(pid) != os.getpid() and opens(f"/proc/{{pid}}/{{name}}", "rb") not in {{"PermissionError", "empty",
                "FileNotFoundError", "ProcessLookupError"}}:
            print("READS", pid, name)
print(opens("/proc/{os.getpid()}/environ"), opens("/proc/{os.getpid()}/root/etc/passwd"))
"""
    report, said = attack(bench, release, script)
    assert (report.problem, said) == ("", "PermissionError PermissionError")


def test_the_instances_files_and_other_environments_are_closed_to_it(bench: Bench, release: Release) -> None:
    home, own = bench.root.parent, bench.directory()
    read = [home / "secrets.json", bench.directory("production") / "data" / "orders.txt", own / "environment.json"]
    script = f"""
import os
for path in {[str(path) for path in read]!r}:
    print(opens(path), opens(path, "a"))
for folder in {[str(home), str(bench.root), str(own.parent / "production")]!r}:
    try: print(os.listdir(folder))
    except OSError as error: print(type(error).__name__)
print(opens({str(own / "lock")!r}, "w"))
os.symlink({str(home / "secrets.json")!r}, "link"); print(opens("link"))
"""
    _, said = attack(bench, release, script)
    assert set(said.split()) == {"PermissionError"}, said
    assert (home / "secrets.json").read_text() == CANARY


@pytest.fixture(scope="module")
def greedy(bench: Bench) -> list[str]:
    """What the code of a branch says whose ``delivery.yaml`` sets whatever it can."""
    home, at = bench.root.parent, len(bench.said)
    variables = {name: os.environ[name] for name in ("FEATURE_DELIVERY_HOME", "AIRFLOW_HOME")}
    folders = sorted(variables.values())
    variables |= {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(home / "linked")}
    script = f"""{OPEN}
import os
print("sees", os.environ.get("LD_DEBUG"), os.read(0, 9), flush=True)
for path in {[str(home / "secrets.json"), str(bench.directory("production") / "data" / "orders.txt")]!r}:
    print("asked", opens(path))
for folder in {folders!r}:
    try: print("asked", os.listdir(folder))
    except OSError as error: print("asked", type(error).__name__)
"""
    release = shops.release("greedy", variables=variables, install=(("python", "-c", script),))
    bench.platform.deploy(reference(), release, say=bench.say)
    status = bench.platform.status(reference())
    assert status is not None
    bench.said.append(f"serves {json.loads(get(status.address, '/env'))['LD_DEBUG']}")
    attack(bench, release, script)
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    return bench.said[at:]


def test_no_variable_that_it_sets_opens_what_ours_of_that_name_means(greedy: list[str]) -> None:
    """Its ``delivery.yaml`` names our folders word for word; a branch can guess them from its own."""
    answers = [line.split()[1:] for line in greedy if line.startswith("asked")]
    assert len(answers) == 8, "while it is installed, and in its suite"
    assert [one for one in answers if one not in (["PermissionError"], ["FileNotFoundError"])] == []


def test_no_variable_that_it_sets_reaches_a_program_of_ours(bench: Bench, greedy: list[str]) -> None:
    """What the dynamic linker does for a variable, it does before the fence: here it writes where it is told to.

    The shop gets its variables all the same: ``LD_PRELOAD`` may be how it takes another allocator.
    """
    assert list(bench.root.parent.glob("linked*")) == []
    assert [line for line in greedy if line.startswith("sees")] == ["sees files b''"] * 2
    assert "serves files" in greedy


@pytest.mark.parametrize("rules", [[], ["off"], ["stays"]])
def test_without_a_fence_the_command_has_its_variables_and_they_reach_nothing_of_ours(
    rules: list[str], tmp_path: Path
) -> None:
    """A kernel without Landlock, and an operator who wants no fence."""
    code = (
        f"import sys; sys.path.insert(0, {str(Path(fence.__file__).parent)!r})\n"
        "import fence; fence.version = lambda: 0\n"
        "fence.main(sys.argv[2:], ['python', '-c', sys.argv[1]])"
    )
    shown = "import os, json; print(json.dumps([dict(os.environ), os.readlink('/proc/self/fd/0')]))"
    variables = {"PATH": f"{Path(sys.executable).parent}", "NAME": "a=b\nc", "LANG": "C.UTF-8", "ODD": "\udcff"}
    linked = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "linked")}
    with handed({**variables, **linked}) as given:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, shown, *rules],
            stdin=given,
            env={},
            capture_output=True,
            check=True,
        )
    assert json.loads(done.stdout) == [{**variables, **linked}, "/dev/null"]
    assert len(list(tmp_path.iterdir())) == 1, "the command alone was linked with them"


def test_its_own_data_and_temporary_files_are_open_to_it(bench: Bench, release: Release) -> None:
    script = """
import os, tempfile, pathlib, subprocess, sys
pathlib.Path(os.environ["DATA_DIR"], "mine").write_text("x"); tempfile.NamedTemporaryFile().write(b"x")
pathlib.Path("made").write_text("x"); pathlib.Path.home().joinpath("rc").write_text("x")
print(subprocess.run([sys.executable, "-c", "print('child')"], capture_output=True, text=True).stdout)
print(opens("/dev/null", "w"), opens("/etc/hosts")[:3])
above = pathlib.Path.cwd().parents
print([opens(str(p / "pyproject.toml"))[:9] for p in above if (p / "pyproject.toml").is_file()])
"""
    report, said = attack(bench, release, script)
    assert report.problem == ""
    assert said.split()[0] == "child"
    assert "[project]" in said, "tools look for where a project begins, and would fail on what they may not read"


def test_it_can_neither_end_nor_trace_a_process_that_is_not_its_own(bench: Bench, release: Release) -> None:
    if fence.version() < 6:
        pytest.skip("This kernel's Landlock cannot forbid signals: they came with version 6.")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    servers = [process.pid for process in bench.servers()]
    script = f"""
import os
for pid in {[victim.pid, os.getpid(), *servers]!r}:
    try: os.kill(pid, 9); print("KILLED", pid)
    except OSError as error: print(type(error).__name__)
"""
    try:
        _, said = attack(bench, release, script)
        assert set(said.split()) == {"PermissionError"}
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()


def test_it_bounds_and_slows_no_process_that_is_not_its_own(bench: Bench, release: Release) -> None:
    """The kernel kills what has used its share of the processor, and asks only whether the user is the same.

    On itself it may, and to look at others it may.
    """
    if not fence.can_filter():
        pytest.skip("Calls of the kernel are filtered on x86-64 and ARM alone.")
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    before = _bounds(victim.pid)
    script = f"""
import ctypes, os, resource, subprocess
libc = ctypes.CDLL(None, use_errno=True)
def tried(what):
    try: what(); return "DONE"
    except OSError as error: return error.strerror
def call(*arguments):
    if libc.syscall(*arguments) == -1: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
scheduling = ctypes.create_string_buffer(bytes([56, 0, 0, 0, 5]), 56)
io = {{"x86_64": 251, "aarch64": 30}}[os.uname().machine]
attributes = {{"x86_64": 314, "aarch64": 274}}[os.uname().machine]
for pid in {[victim.pid, *(process.pid for process in bench.servers())]!r}:
    for bound in ((resource.RLIMIT_CPU, (1, 1)), (resource.RLIMIT_NOFILE, (3, 3))):
        print(tried(lambda: resource.prlimit(pid, *bound)))
    for which in (os.PRIO_PROCESS, os.PRIO_PGRP): print(tried(lambda: os.setpriority(which, pid, 19)))
    print(tried(lambda: os.setpriority(os.PRIO_USER, 0, 19)))
    print(tried(lambda: os.sched_setaffinity(pid, [0])))
    print(tried(lambda: os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))))
    print(tried(lambda: os.sched_setparam(pid, os.sched_param(0))))
    print(tried(lambda: call(attributes, pid, scheduling, 0)))
    for which in (1, 2, 3): print(tried(lambda: call(io, which, pid, 3 << 13)))
print("its own:", resource.prlimit({victim.pid}, resource.RLIMIT_CPU) == {before[0]!r})
def itself():
    resource.setrlimit(resource.RLIMIT_CPU, (99, 99)); resource.prlimit(0, resource.RLIMIT_NOFILE, (64, 64))
    os.nice(1); os.setpriority(os.PRIO_PROCESS, 0, 19)
    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)); os.sched_setparam(0, os.sched_param(0))
    call(attributes, 0, scheduling, 0); call(io, 1, 0, 3 << 13)
print(tried(itself), subprocess.run(["true"]).returncode)
"""
    try:
        report, said = attack(bench, release, script)
        others, _, itself = said.partition("its own: ")
        assert set(others.splitlines()) == {"Operation not permitted"}
        assert (report.problem, itself) == ("", "True\nDONE 0")
        assert _bounds(victim.pid) == before
    finally:
        victim.kill()
        victim.wait()


def _bounds(pid: int) -> list[object]:
    return [
        *(resource.prlimit(pid, what) for what in (resource.RLIMIT_CPU, resource.RLIMIT_NOFILE)),
        os.getpriority(os.PRIO_PROCESS, pid),
        os.sched_getaffinity(pid),
        os.sched_getscheduler(pid),
    ]


@pytest.fixture
def shared() -> Iterator[Path]:
    """What production keeps in the machine's shared memory."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="cart-") as file:
        Path(file.name).write_text(CANARY)
        yield Path(file.name)


def test_it_has_shared_memory_and_terminals_of_its_own(bench: Bench, release: Release, shared: Path) -> None:
    """System V's, too. Locks and pools of Python, Celery's workers, browsers and PostgreSQL need some."""
    if not fencing.can_set_apart():
        pytest.skip("This machine lets nobody mount anything, not even for itself.")
    number = os.getpid()
    segment = LIBC.shmget(number, 64, 0o1600)
    script = f"""
import ctypes, multiprocessing, multiprocessing.shared_memory, os
print(opens({str(shared)!r}), opens({str(shared)!r}, "r+"), ctypes.CDLL(None).shmget({number}, 64, 0))
with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2]))
memory = multiprocessing.shared_memory.SharedMemory("mine-{number}", create=True, size=9)
print(os.listdir("/dev/shm")); memory.unlink()
above, terminal = os.openpty(); os.write(above, b"typed\\n")
print(os.ttyname(terminal), os.read(os.open(os.ttyname(terminal), os.O_RDWR), 9))
"""
    try:
        report, said = attack(bench, release, script)
    finally:
        LIBC.shmctl(segment, 0, None)
    assert (report.problem, said.split("\n")) == (
        "",
        ["FileNotFoundError FileNotFoundError -1", "[1, 2]", f"['mine-{number}']", "/dev/pts/0 b'typed\\n'"],
    )


@pytest.mark.parametrize(
    ("rules", "met"), [(["required"], "Permission denied"), ([], CANARY), (["required", "write:/dev/shm"], CANARY)]
)
def test_where_it_can_have_none_of_its_own_that_of_the_machine_is_closed_if_the_fence_is_required(
    rules: list[str], met: str, shared: Path
) -> None:
    """As in most containers. Without any, many an ordinary shop does not run."""
    if os.geteuid():
        pytest.skip("Only root has the right to lose it.")
    without = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")
    (said,) = behind(*rules, command=("cat", str(shared)), before=without)
    assert said.endswith(met)


def test_an_ordinary_user_has_shared_memory_of_its_own_too(shared: Path) -> None:
    """By a namespace of users, in which it is who it was."""
    shared.chmod(0o666)
    before = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups") if os.geteuid() == 0 else ()
    id_before = subprocess.run([*before, "id"], capture_output=True, text=True, check=True).stdout.strip()
    id_behind, said = behind(command=("sh", "-c", f"id; cat {shared}"), before=before)
    if said == CANARY:
        pytest.skip("This machine gives ordinary users no namespace.")
    assert id_behind == id_before
    assert said.endswith("No such file or directory")


def test_it_reads_and_writes_no_terminal(bench: Bench, release: Release) -> None:
    """As that in which the operator has started the instance, as the same user."""
    kept = [os.openpty() for _ in range(3)]
    ours, theirs = kept[-1]
    try:
        os.write(ours, b"a password\n")
        name = os.ttyname(theirs)
        _, said = attack(bench, release, f"print(opens({name!r}), opens({name!r}, 'w'), opens('/dev/tty'))")
    finally:
        for pair in kept:
            os.close(pair[0])
            os.close(pair[1])
    *theirs_met, own_met = said.split()
    assert len(theirs_met) == 2
    assert {*theirs_met} <= {"PermissionError", "FileNotFoundError"}
    assert own_met == "OSError", "it has none"


def _wheel(folder: Path) -> None:
    """Write the wheel of a package whose one module says what everything costs."""
    folder.mkdir()
    about = "pricelist-1.0.dist-info/"
    files = {
        "pricelist.py": "PRICE = 100\n",
        f"{about}METADATA": "Metadata-Version: 2.1\nName: pricelist\nVersion: 1.0\n",
        f"{about}WHEEL": "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{about}RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{about}RECORD"))
    with zipfile.ZipFile(folder / "pricelist-1.0-py3-none-any.whl", "w") as made:
        for name, text in files.items():
            made.writestr(name, text)


def test_what_it_writes_into_its_packages_changes_no_cache_and_no_other_environment(
    bench: Bench, tmp_path: Path
) -> None:
    """One wheel, installed by uv for both: linked files would be one file everywhere, a cache for both one package.

    Its install fills its cache with what it likes, and uv takes from a cache what is there.
    """
    _wheel(tmp_path / "wheels")
    offline = {"UV_FIND_LINKS": str(tmp_path / "wheels"), "UV_NO_INDEX": "1", "UV_OFFLINE": "1"}
    cache = tmp_path / "cache"
    platform = LocalPlatform(replace(bench.platform.settings, uv_cache=cache, install_variables=offline))
    install, linked = (("uv", "pip", "install", "--quiet", "pricelist"),), {"UV_LINK_MODE": "hardlink"}
    poison = (
        "import os, pathlib\n"
        "for one in pathlib.Path(os.environ['UV_CACHE_DIR']).rglob('pricelist.py'):\n"
        "    one.write_text('PRICE = 2\\n')\n"
        f"try:\n    pathlib.Path({str(cache / 'poison')!r}).touch()\n"
        "except OSError as error:\n    print(error)\n"
        "else:\n    raise SystemExit('It may write to the cache of production.')"
    )
    # It asks for links in its own delivery.yaml, too.
    release = shops.release("spoils", install=(*install, ("python", "-c", poison)), variables=linked)
    platform.deploy(reference(), release, say=bench.say)
    spoil = "import pricelist, pathlib\npathlib.Path(pricelist.__file__).write_text('PRICE = 1\\n')\nprint('spoilt')\n"
    spoil += f"print(opens({str(cache)!r}), opens({str(cache / 'spoilt')!r}, 'w'))"
    report, said = attack(bench, release, spoil, platform=platform)
    assert (report.problem, said.split()) == ("", ["spoilt", "PermissionError", "PermissionError"])
    platform.deploy(PRODUCTION, shops.release("buys", install=install), say=bench.say)
    found = {
        place: [one.read_text() for one in directory.rglob("pricelist.py")]
        for place, directory in (
            ("branch", bench.directory()),
            ("cache of branches", cache / "branches"),
            ("production", bench.directory("production")),
        )
    }
    assert found == {
        "branch": ["PRICE = 1\n"],
        "cache of branches": ["PRICE = 2\n"],
        "production": ["PRICE = 100\n"],
    }
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)


def test_a_link_in_place_of_its_programs_opens_nothing(bench: Bench, tmp_path: Path) -> None:
    """They are first on its ``PATH``, and what is named there was opened to it, wherever it leads."""
    (tmp_path / "key").write_text(CANARY)
    plant = f"""
import os
os.chdir(os.environ['VIRTUAL_ENV']); os.rename('bin', 'bin2'); os.symlink({str(tmp_path)!r}, 'bin')
"""
    release = shops.release("leads elsewhere", install=(("true",),))
    bench.platform.deploy(reference(), release, say=bench.say)
    attack(bench, release, plant)
    look = f"{OPEN}\nprint(opens({str(tmp_path / 'key')!r}))"
    suite = SuitePlan(command=(base_interpreter(), "-c", look), timeout=timedelta(seconds=30), junit=None)
    bench.platform.run_suite(reference(), name="unit", suite=suite, release=release, variables={}, say=bench.say)
    assert bench.said[-1] == "PermissionError"
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)


@pytest.mark.parametrize("variable", ["UV_CACHE_DIR", "npm_config_cache"])
def test_a_link_in_place_of_the_cache_of_branches_opens_nothing(bench: Bench, tmp_path: Path, variable: str) -> None:
    """Production's installs write to the cache around it; what branches may write to is opened by its name."""
    (tmp_path / "elsewhere").mkdir()
    uv, npm = (tmp_path / ("cache" if one == variable else one) for one in ("UV_CACHE_DIR", "npm_config_cache"))
    platform = LocalPlatform(replace(bench.platform.settings, uv_cache=uv, npm_cache=npm))
    link = f"import os; os.symlink({str(tmp_path / 'elsewhere')!r}, os.environ[{variable!r}] + '/branches')"
    platform.deploy(PRODUCTION, shops.release("links", install=(("python", "-c", link),)), say=bench.say)
    with pytest.raises(Misconfigured, match="is a symbolic link"):
        platform.deploy(reference(), shops.release("writes", install=(("true", "again"),)), say=bench.say)
    rules = fencing.fenced(
        ("true",),
        layout=layout_of(bench.platform.settings.root, PROJECT, reference().name),
        settings=platform.settings,
        release=ReleaseRecord(name="x", commit=shops.commit_of("x"), venv="venv-x", plan=shops.plan()),
        variables={},
        directory=tmp_path / "cache",
        installs=True,
    )
    into = f"open({str(tmp_path / 'elsewhere' / 'planted')!r}, 'w')"
    start = rules.index(fence.__file__) + 1
    said = behind(*rules[start : rules.index("--")], command=(base_interpreter(), "-c", into))
    assert "PermissionError" in said[-1]


def test_it_writes_to_no_cache_of_npm_but_that_of_branches(bench: Bench, tmp_path: Path) -> None:
    """``npx`` of production's install, or in the operator's shell, would run what lies there."""
    cache = tmp_path / "npm"
    platform = LocalPlatform(replace(bench.platform.settings, npm_cache=cache))
    script = (
        f"{OPEN}\nimport os\nprint(opens(os.environ['npm_config_cache'] + '/x', 'w'), opens({str(cache / 'x')!r}, 'w'))"
    )
    install = ((base_interpreter(), "-c", script),)
    platform.deploy(reference(), shops.release("fills", install=install), say=bench.say)
    assert "UnsupportedOperation PermissionError" in bench.said, "it writes, which is not to be read"
    platform.deploy(PRODUCTION, shops.release("fills too", install=install), say=bench.say)
    assert (cache / "x").is_file()
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)


def test_root_has_lost_what_leads_around_the_fence(bench: Bench, release: Release) -> None:
    if os.geteuid():
        pytest.skip("Only root has rights to lose: these tests run as an ordinary user.")
    disks = [str(path) for path in Path("/dev").iterdir() if path.is_block_device()][:1]
    script = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(opens("/etc/shadow"), *(opens(path, "rb") for path in {disks!r}))
print(libc.mount(b"x", b"/", b"tmpfs", 0, None))
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")))
"""
    _, said = attack(bench, release, script)
    *files, mounted, capabilities = said.split()
    assert set(files) == {"PermissionError"}
    assert mounted == "-1"
    assert int(capabilities, 16) == 0x4FB, "what containers are given, and less"


def test_it_cannot_start_more_than_the_machine_bears(bench: Bench, release: Release) -> None:
    script = (
        "import resource\nprint(*resource.getrlimit(resource.RLIMIT_NPROC), *resource.getrlimit(resource.RLIMIT_CORE))"
    )
    _, said = attack(bench, release, script)
    soft, hard, *core = map(int, said.split())
    assert 0 < soft == hard < 40_000, "bounded; root's threads the kernel does not count"
    assert core == [0, 0]


def test_a_process_gets_no_more_memory_and_a_file_no_more_bytes_than_allowed(
    bench: Bench, release: Release, tight: LocalPlatform
) -> None:
    script = """
try: bytearray(300 << 20); print("has it")
except MemoryError: print("no memory")
try: open("big", "wb", buffering=0).write(b"x" * (2 << 20)); print(__import__("os").path.getsize("big") >> 20)
except OSError as error: print(error.errno)
with open("big", "ab", buffering=0) as file:
    try: file.write(b"x"); print("more")
    except OSError as error: print(error.strerror)
import mmap
whole = mmap.mmap(-1, 1 << 40, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=mmap.PROT_READ)
print("reserves", len(whole) >> 40)
"""
    report, said = attack(bench, release, script, platform=tight)
    assert report.problem == ""
    assert said.split("\n") == ["no memory", "1", "File too large", "reserves 1"], "as Node and Java reserve it"


def test_processes_that_share_the_memory_out_are_ended_together(
    bench: Bench, release: Release, tight: LocalPlatform
) -> None:
    script = """
import os, time
for _ in range(3):
    if os.fork() == 0: break
kept = bytearray(os.urandom(1 << 20) * 90); time.sleep(25)
"""
    report, _ = attack(bench, release, script, platform=tight)
    assert "used more than 200 MiB of memory and was killed" in report.problem
    assert _left_of(bench) == []


def test_a_bomb_of_processes_is_put_out(bench: Bench, release: Release, tight: LocalPlatform) -> None:
    """The kernel stops an ordinary user's; root's it does not count, so we do."""
    script = """
import os, time
for _ in range(400):
    try:
        if os.fork() == 0: time.sleep(25); os._exit(0)
    except OSError as error: print(error.strerror); break
else: time.sleep(20)
"""
    report, said = attack(bench, release, script, platform=tight)
    stopped = "used more than 60 processes and threads and was killed" in report.problem
    assert stopped or "Resource temporarily unavailable" in said
    assert _left_of(bench) == []


def test_it_reaches_no_port_but_those_that_are_named_and_its_own(
    bench: Bench, release: Release, tight: LocalPlatform
) -> None:
    """Neither by ways of connecting that the kernel's fence does not know of, nor by a child."""
    if not fence.can_close_ports():
        pytest.skip("This kernel cannot close ports: that takes Landlock's version 4, on x86-64 or ARM.")
    with closing(socket.socket()) as door:
        door.bind(("127.0.0.1", 0))
        door.listen()
        script = f"""
import os, socket, threading, urllib.request
to = {door.getsockname()!r}
multipath = lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
def tried(what):
    try: what(); return "REACHED"
    except OSError as error: return error.strerror
print(tried(lambda: socket.create_connection(to, 5)))
print(tried(lambda: socket.create_connection(("::ffff:127.0.0.1", to[1]), 5)))
print(tried(lambda: multipath().connect(to)))
print(tried(lambda: socket.socket().sendto(b"GET /", 0x20000000, to)))
print(tried(lambda: socket.socket().sendmsg([b"GET /"], [], 0x20000000, to)))
import ctypes
print(ctypes.CDLL(None, use_errno=True).syscall(425, 1, ctypes.create_string_buffer(120)))
print(urllib.request.urlopen(os.environ["BASE_URL"] + "/healthz").status)
mine = socket.create_server(("127.0.0.1", 9419)); there = socket.create_connection(("127.0.0.1", 9419))
here = mine.accept()[0]; there.sendmsg([b"well"]); print(here.recv(9))
socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", to)
"""
        report, said = attack(bench, release, script, platform=tight)
        door.settimeout(0.1)
        with pytest.raises(TimeoutError):
            door.accept()
    assert report.problem == ""
    lines = said.split("\n")
    assert lines[:5] == ["Permission denied"] * 2 + ["Protocol not supported"] + ["Operation not supported"] * 2
    assert lines[5:] == ["-1", "200", "b'well'"]
    tight.deploy(reference(), release, say=bench.say)


def test_everything_it_started_ends_with_it(bench: Bench, release: Release) -> None:
    """A bomb of processes burns until the suite's time is over; then all of it is gone."""
    script = """
import os, time
for _ in range(60):
    if os.fork() == 0:
        os.setsid(); os.fork(); time.sleep(600)
os._exit(0)
"""
    report, _ = attack(bench, release, script)
    assert report.problem == ""
    assert _left_of(bench) == []


def test_nothing_of_it_hides_by_dropping_what_it_is_known_by(bench: Bench, release: Release) -> None:
    """Without marks, parent and session; one of them writes without end into what the suite is read from."""
    name = f"hidden-{os.getpid()}"
    script = f"""
import os, subprocess
for what in ("import time; time.sleep(600)", "while True: print('x' * 9000)"):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve(sys.executable, ["python", "-c", what, {name!r}], {{}})
        os._exit(0)
import time
time.sleep(1)
"""
    report, _ = attack(bench, release, "import sys\n" + script)
    assert report.problem == ""
    assert [one for one in psutil.process_iter(["cmdline"]) if name in (one.info["cmdline"] or [])] == []


def _left_of(bench: Bench) -> list[psutil.Process]:
    """What of a suite lives on."""
    return [process for process in psutil.process_iter() if _is_of_a_suite(process, bench.root)]


def _is_of_a_suite(process: psutil.Process, root: Path) -> bool:
    try:
        marks = process.environ()
    except psutil.Error:
        return False
    return str(root) in marks.get(MARK_HOME, "") and marks.get(MARK_ROLE, "").startswith("suite:")


CURIOUS = """
import os
def look(path):
    try: return str(os.listdir(path)) if os.path.isdir(path) else open(path).read(100)
    except OSError as error: return type(error).__name__
"""


def test_a_shop_in_production_is_fenced_in_like_any_other(bench: Bench) -> None:
    """It is asked by whoever finds a hole in it, while it serves: what it may see is its own data."""
    peeks = 'if self.path.startswith("/look"): body = look(self.path[5:]).encode()\n        elif self.path == "/env"'
    curious = CURIOUS + shops.SHOP.replace('if self.path == "/env"', peeks)
    bench.platform.deploy(PRODUCTION, shops.release("curious", {"shop.py": curious}), say=bench.say)
    servers = [process for process in bench.servers() if "production" in process.cwd()]
    assert servers
    assert all("NoNewPrivs:\t1" in Path(f"/proc/{process.pid}/status").read_text() for process in servers)
    serving, home, other = bench.platform.status(PRODUCTION), bench.root.parent, bench.directory()
    assert serving is not None
    address = serving.address
    (other / "data" / "orders.txt").write_text(CANARY)
    closed = [home, home / "secrets.json", bench.root, bench.directory("production") / "environment.json"]
    closed += [other, other / "data", other / "data" / "orders.txt", other / "environment.json"]
    closed += [Path(f"/proc/{os.getpid()}/environ")]
    assert {str(path): get(address, f"/look{path}") for path in closed} == {
        str(path): "PermissionError" for path in closed
    }
    assert get(address, f"/look{bench.directory('production') / 'data' / 'orders.txt'}") == CANARY
    assert CANARY not in get(address, "/env")


def test_a_misspelt_wish_for_the_fence_opens_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    project = parse_project(PROJECT_FILE.format(repository="/srv/shop.git"), where="shop.yaml")
    made = tools.platform(project, "here", home=tmp_path)
    assert isinstance(made, LocalPlatform)
    assert made.settings.fence == "auto"
    monkeypatch.setenv("FEATURE_DELIVERY_FENCE", "of")
    with pytest.raises(Misconfigured, match="auto, required or off"):
        tools.platform(project, "here", home=tmp_path)


def test_where_the_fence_is_required_nothing_runs_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence, "version", lambda: 0)
    monkeypatch.setattr(fence, "_limit", lambda _rules: None)
    monkeypatch.setattr(os, "execvpe", lambda *_: pytest.fail("it ran"))
    with pytest.raises(SystemExit) as ended:
        fence.main(["required"], ["true"])
    assert ended.value.code == 126


def test_a_link_out_of_the_repository_an_input_or_a_report_outside_are_refused(bench: Bench, tmp_path: Path) -> None:
    """The checkout itself refuses links (test_git_repository); what a branch's file names stays inside, too."""
    release = shops.release("outside", install=(("true",),), inputs=("../../secrets.json",))
    with pytest.raises(Refused, match="leads out of the checkout"):
        bench.platform.deploy(reference(), release, say=bench.say)
    suite = shops.suite("pass", junit=str(tmp_path / "report.xml"))
    report = bench.platform.run_suite(
        reference(), name="unit", suite=suite, release=shops.release("one"), variables={}, say=bench.say
    )
    assert "leads out of the checkout" in report.problem
