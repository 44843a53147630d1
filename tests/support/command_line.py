"""The command line as its users have it: in this process where nothing else is needed, else as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from feature_delivery.cli.main import main
from feature_delivery.cli.signals import ENDING

PROGRAM = [sys.executable, "-c", "from feature_delivery.cli.main import main; main()"]


@dataclass(frozen=True)
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    def refused(self, *words: str) -> None:
        """Check that it failed with one clear sentence or two, on standard error, and no traceback."""
        assert self.code == 1, self
        assert "Traceback" not in self.err + self.out
        assert len(self.err.strip().splitlines()) == 1, self.err
        assert self.err.strip().endswith("."), self.err
        for word in words:
            assert word in self.err, self.err


Command = Callable[..., Answer]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Command]:
    """Call a command in this process, in an empty directory."""
    for name in [name for name in os.environ if name.startswith("FEATURE_DELIVERY")]:
        monkeypatch.delenv(name)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before = {number: signal.getsignal(number) for number in ENDING}

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr("sys.argv", ["feature-delivery", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    with mock.patch.dict(os.environ):  # a command may set variables for what it starts or imports
        yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def git(directory: Path, *arguments: str) -> str:
    """Run Git as a developer whose own configuration does not matter."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ["-c", "user.name=Nina", "-c", "user.email=nina@shop.example"]
    done = subprocess.run(
        ["git", *identity, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
