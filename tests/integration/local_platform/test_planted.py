"""What the code of a branch plants in its own files for us to fall over, outside of the fence: links, pipes, races."""

from __future__ import annotations

import json

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
