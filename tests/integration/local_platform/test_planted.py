"""What the code of a branch plants in its own files for us to fall over, outside of the fence: links, pipes, races."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from feature_delivery.adapters.platforms import untrusted
from feature_delivery.adapters.platforms.local import installation
from feature_delivery.adapters.platforms.local.layout import remove_tree
from feature_delivery.domain.errors import Refused
from tests import shops
from tests.local_bench import PRODUCTION, Bench, get, reference


def python(code: str) -> tuple[str, ...]:
    """Return the command that runs ``code``, on one line, in a release."""
    return ("python", "-c", code)


def test_an_install_cannot_have_us_write_over_production(bench: Bench) -> None:
    """By a link in its own packages, where we had put down that they are whole."""
    bench.platform.provision(PRODUCTION)
    bench.platform.deploy(PRODUCTION, shops.release("live"), say=bench.say)
    record = bench.directory("production") / "environment.json"
    before = record.read_bytes()
    bench.platform.provision(reference())
    plant = f"import os; os.symlink({str(record)!r}, os.environ['VIRTUAL_ENV'] + '/.complete.json.new')"
    bench.platform.deploy(reference(), shops.release("one", install=(python(plant),)), say=bench.say)
    assert record.read_bytes() == before
    assert bench.platform.status(PRODUCTION).healthy  # type: ignore[union-attr]


PIPES = """
import glob, os
packages = glob.glob(os.environ['VIRTUAL_ENV'] + '/lib/*/site-packages')[0]
os.mkfifo(packages + '/waits.pth')
os.mkdir(packages + '/a.dist-info'); os.mkfifo(packages + '/a.dist-info/direct_url.json')
os.mkdir(packages + '/b.dist-info'); open(packages + '/b.dist-info/direct_url.json', 'w').write('[' * 100_000)
os.mkfifo(os.environ['VIRTUAL_ENV'] + '/.complete.json')
"""


def test_pipes_among_its_packages_hold_nobody_up(bench: Bench) -> None:
    """``python -S``: a shop that reads its own pipe waits for itself alone."""
    bench.platform.provision(reference())
    for label in ("one", "two"):
        release = shops.release(label, install=(python(PIPES),), start=("python", "-S", "shop.py"))
        bench.platform.deploy(reference(), release, say=bench.say)
    assert sum(line.startswith("Install:") for line in bench.said) == 2, "nobody knows what they are bound to"


def test_packages_that_an_older_version_has_made_are_made_again(bench: Bench) -> None:
    """What it knew of them it had put down among them, where a branch could change it."""
    bench.platform.provision(reference())
    bench.platform.deploy(reference(), shops.release("one"), say=bench.say)
    file = bench.directory() / "environment.json"
    record = json.loads(file.read_text())
    record["current"].pop("bound", None)
    file.write_text(json.dumps(record))
    (bench.directory() / record["current"]["venv"] / ".complete.json").write_text('{"bound": false}')
    status = bench.platform.deploy(reference(), shops.release("two"), say=bench.say)
    assert not any("use the virtual environment that is there" in line for line in bench.said)
    bench.platform.deploy(reference(), shops.release("three"), say=bench.say)
    assert any("use the virtual environment that is there" in line for line in bench.said)
    assert get(status.address) == shops.commit_of("three")


FLIPS = """
import os, time
if os.fork() == 0:
    names = [f"flip{n}" for n in range(100)]
    os.mkdir("__pycache__")  # what is in there is not copied
    new = "__pycache__/new"
    end = time.monotonic() + 60
    while time.monotonic() < end and os.getppid() != 1:
        for name in names:
            os.symlink(SECRET, new); os.replace(new, name)
        for name in names:
            open(new, "w").close(); os.replace(new, name)
    os._exit(0)
while not os.path.lexists("flip99"): time.sleep(0.01)
"""
LOOKS = """
import pathlib
for path in pathlib.Path().glob("flip*"):
    try: print("GOT" if path.read_text() else "looked")
    except OSError: print("looked")
"""


def test_a_release_that_serves_gets_nothing_copied_that_it_may_not_read(bench: Bench, tmp_path: Path) -> None:
    """It turns files of its own into links, and back, while the copy is made that its suite runs in."""
    (tmp_path / "key").write_text("canary-7c")
    bench.platform.provision(reference())
    release = shops.release("flips", {"shop.py": f"SECRET = {str(tmp_path / 'key')!r}\n{FLIPS}{shops.SHOP}"})
    bench.platform.deploy(reference(), release, say=bench.say)
    report = bench.platform.run_suite(
        reference(), name="unit", suite=shops.suite(LOOKS, junit=None), release=release, variables={}, say=bench.say
    )
    assert report.problem == ""
    assert "looked" in bench.said
    assert "GOT" not in bench.said


CLUTTER = """
import os, socket
os.mkfifo("pipe"); os.mkdir("tmp"); kept = socket.socket(socket.AF_UNIX); kept.bind("tmp/puma.sock")
os.symlink("/nowhere", ".suite-tmp"); os.symlink("tmp", "linked")
"""


def test_what_a_release_leaves_in_its_checkout_keeps_no_suite_from_running(bench: Bench) -> None:
    """A socket as puma's, a pipe, a link where a suite's own files belong."""
    bench.platform.provision(reference())
    release = shops.release("clutters", {"shop.py": f"{CLUTTER}{shops.SHOP}"})
    bench.platform.deploy(reference(), release, say=bench.say)
    in_the_way = shops.suite("pass", junit="shop.py/report.xml")
    with pytest.raises(Refused, match="a file or a link lies where the folder of its report"):
        bench.platform.run_suite(
            reference(), name="unit", suite=in_the_way, release=release, variables={}, say=bench.say
        )
    bench.said.clear()
    suite = shops.suite("import os; print(sorted(os.listdir()), os.readlink('linked'))", junit=None)
    report = bench.platform.run_suite(
        reference(), name="unit", suite=suite, release=release, variables={}, say=bench.say
    )
    assert (report.problem, report.executed) == ("", 1)
    assert bench.said[-1] == "['.suite-tmp', 'linked', 'shop.py', 'tmp'] tmp"
    (said,) = [line for line in bench.said if line.startswith("Left out of the copy")]
    assert "pipe (a pipe)" in said
    assert "tmp/puma.sock (a socket)" in said


@contextmanager
def restless(code: str) -> Iterator[None]:
    """Repeat ``code`` in another process, which may call what may fail ``quietly``."""
    whole = f"""
import os, sys
def quietly(do, *args):
    try: do(*args)
    except OSError: pass
print("moves", flush=True)
while os.getppid() == {os.getpid()}:
{textwrap.indent(textwrap.dedent(code), "    ")}
"""
    with subprocess.Popen([sys.executable, "-c", whole], stdout=subprocess.PIPE) as mover:
        assert mover.stdout is not None
        mover.stdout.readline()
        try:
            yield
        finally:
            mover.kill()


def test_a_copy_that_is_not_whole_fails(tmp_path: Path) -> None:
    """The kernel takes less of a write than it is given before it refuses the next: at a limit, or on a full disk."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "big").write_bytes(b"x" * (3 << 19))
    code = f"""
import resource
from pathlib import Path
from feature_delivery.adapters.platforms import untrusted
resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 18, 5 << 18))
try: untrusted.copy(Path({str(tmp_path / "source")!r}), Path({str(tmp_path / "copy")!r}), leave_out=frozenset())
except OSError as error: print(error.strerror)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout == b"File too large\n"


LEASE = """
import fcntl, os, signal, sys, time
signal.signal(signal.SIGIO, signal.SIG_IGN)
kept = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.fcntl(kept, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("leased", flush=True)
time.sleep(60)
"""


def test_a_file_that_its_owner_holds_for_itself_is_left_out_of_a_copy(tmp_path: Path) -> None:
    """Who opens a file with a lease waits for it, or is refused."""
    (tmp_path / "source").mkdir()
    leased = tmp_path / "source" / "leased"
    with subprocess.Popen([sys.executable, "-c", LEASE, str(leased)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"leased\n"
            left = untrusted.copy(tmp_path / "source", tmp_path / "copy", leave_out=frozenset())
        finally:
            holder.kill()
    assert left == ["leased (somebody holds it for themselves)"]


def test_a_link_that_leads_to_itself_is_no_file_of_an_install_and_no_way_to_remove_by(tmp_path: Path) -> None:
    (tmp_path / "uv.lock").symlink_to("uv.lock")
    plan = shops.plan(inputs=("uv.lock",))
    without = installation.inputs_of(tmp_path, plan)
    (tmp_path / "uv.lock").unlink()
    assert installation.inputs_of(tmp_path, plan) == without
    (tmp_path / "round").symlink_to("round")
    for path in (tmp_path / "round" / "x", tmp_path / "round" / "x" / "y"):
        with pytest.raises(Refused, match="a symbolic link on the way"):
            remove_tree(path, inside=tmp_path)


def test_a_copy_of_what_changes_meanwhile_holds_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Files and folders that become links and pipes."""
    elsewhere, moving = tmp_path / "elsewhere", tmp_path / "moving"
    elsewhere.mkdir()
    moving.mkdir()
    (elsewhere / "key").write_text("canary")
    changes = f"""
        os.chdir({str(moving)!r})
        for n in range(20):
            quietly(os.mkdir, f"d{{n}}"); quietly(lambda: open(f"d{{n}}/key", "w").close())
            quietly(lambda: open(f"f{{n}}", "w").close())
        for n in range(20):
            quietly(os.rename, f"d{{n}}", f"old{{n}}")
            quietly(os.symlink, {str(elsewhere)!r}, f"d{{n}}") if n % 2 else quietly(os.mkfifo, f"d{{n}}")
            quietly(os.symlink, {str(elsewhere / "key")!r}, "new"); quietly(os.replace, "new", f"f{{n}}")
        for n in range(20):
            quietly(os.unlink, f"d{{n}}"); quietly(os.rename, f"old{{n}}", f"d{{n}}")
            quietly(os.mkfifo, "new"); quietly(os.replace, "new", f"f{{n}}")
    """
    seen: set[str] = set()
    with restless(changes):
        for n in range(600):
            if n >= 30 and seen:
                break
            copy = tmp_path / f"copy{n}"
            untrusted.copy(moving, copy, leave_out=frozenset())
            for folder in untrusted.walk(copy):
                for entry in folder.others:
                    if not entry.is_symlink():
                        seen.add((copy / folder.path / entry.name).read_text())
    assert seen == {""}


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder where folders are made and removed at once."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def test_a_removal_touches_nothing_that_a_link_leads_to(in_memory: Path) -> None:
    """It gives itself the right to empty folders, but not to those that come to lie behind a link meanwhile."""
    elsewhere, moving = in_memory / "elsewhere", in_memory / "moving"
    for n in range(60):
        (elsewhere / str(n)).mkdir(parents=True, mode=0o500)
    changes = f"""
        quietly(os.mkdir, {str(moving)!r}); quietly(os.chdir, {str(moving)!r}); quietly(os.mkdir, "w")
        for n in range(60): quietly(os.mkdir, f"w/{{n}}")
        for _ in range(100):
            quietly(os.rename, "w", "x"); quietly(os.symlink, {str(elsewhere)!r}, "w")
            quietly(os.unlink, "w"); quietly(os.rename, "x", "w")
    """
    end = time.monotonic() + 1
    with restless(changes):
        while time.monotonic() < end:
            with suppress(OSError):
                remove_tree(moving, inside=in_memory)
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in elsewhere.iterdir()} == {0o500}
    assert len(list(elsewhere.iterdir())) == 60


def test_folders_in_folders_without_end_are_left_out_of_copies_and_removed(in_memory: Path) -> None:
    """More than Python may call itself, than files may be open, and than the name of one may be long."""
    top, copy = in_memory / "top", in_memory / "copy"
    code = f"import os\nos.mkdir({str(top)!r}); os.chdir({str(top)!r})\nopen('near', 'w').close()\n"
    code += "for n in range(1100): os.mkdir('deep'); os.chdir('deep')\nopen('far', 'w').close(); os.chmod('.', 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    (left,) = untrusted.copy(top, copy, leave_out=frozenset())
    assert left.endswith("… (it lies too deep)")
    assert len(left) < 200
    assert (copy / "near").is_file()
    for path in (top, copy):
        remove_tree(path, inside=in_memory)
        assert not path.exists()


def test_what_a_branch_has_closed_is_left_out_of_copies_and_removed() -> None:
    """Every folder on the way down, too; root can open anything, so this is done as somebody else."""
    code = """
import os, sys
from pathlib import Path
from feature_delivery.adapters.platforms import untrusted
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
top = Path(sys.argv[1], "top")
here = [os.open(top.parent, os.O_RDONLY)]
for name in ("top", *["deep"] * 260):
    os.mkdir(name, dir_fd=here[-1]); here.append(os.open(name, os.O_RDONLY, dir_fd=here[-1]))
(top / "closed").touch(mode=0)
for descriptor in reversed(here[2:]):
    os.fchmod(descriptor, 0); os.close(descriptor)
print(*sorted(untrusted.copy(top, top.with_name("copy"), leave_out=frozenset())), sep="; ")
os.chmod(top, 0o500)
untrusted.remove(top)
print(top.exists())
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["closed (it may not be read); deep/ (it may not be read)", "False"], done.stderr


def test_a_copy_is_what_was_there_with_its_modes_and_times(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "bin").mkdir(parents=True)
    (top / "__pycache__").mkdir()
    (top / "bin" / "tool").write_bytes(b"x" * 3_000_000)
    (top / "bin" / "tool").chmod(0o755)
    (top / "link").symlink_to("bin/tool")
    os.utime(top / "bin" / "tool", (1, 2))
    (top / "bin").chmod(0o555)
    copy = tmp_path / "copy"
    assert untrusted.copy(top, copy, leave_out=frozenset({"__pycache__"})) == []
    assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*")) == ["bin", "bin/tool", "link"]
    assert (copy / "link").readlink() == Path("bin/tool")
    assert (copy / "bin" / "tool").read_bytes() == b"x" * 3_000_000
    found = (copy / "bin" / "tool").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_mtime) == (0o755, 2)
    assert stat.S_IMODE((copy / "bin").stat().st_mode) == 0o555
