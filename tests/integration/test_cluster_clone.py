"""What the cloning container of a cluster does, run by a real shell with a real Git against a real host over HTTP."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from feature_delivery.adapters.platforms.kubernetes.manifests.parts import WORKSPACE
from feature_delivery.adapters.platforms.kubernetes.manifests.workload import CODE, pod_of
from feature_delivery.domain.names import CommitSha
from tests.support.git_world import PRODUCTION, GitWorld, git_over_http
from tests.unit.adapters.test_kubernetes_manifests import SOURCE, shop

PASSWORD = "a token with $(touch spoilt) 'marks' \"in\" it"


def clone(address: str, commit: CommitSha, place: Path, *, password: str) -> subprocess.CompletedProcess[str]:
    """Run the container's command as it is, but for where the pod's volume is."""
    made = shop(SOURCE)
    made = replace(made, commit=commit, settings=replace(made.settings, repository=address))
    container = pod_of(made)["initContainers"][0]
    told = {one["name"]: one.get("value", "") for one in container["env"]}
    told |= {"GIT_USERNAME": "bot", "GIT_PASSWORD": password, "HOME": str(place), "PATH": os.environ["PATH"]}
    command = [part.replace(WORKSPACE, str(place)) for part in container["command"]]
    return subprocess.run(command, env=told, cwd=place, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("gives_single_commits", [True, False])
def test_exactly_the_commit_is_there_be_it_a_branchs_head_or_not(tmp_path: Path, *, gives_single_commits: bool) -> None:
    world = GitWorld.make(tmp_path)
    wanted = world.commit(PRODUCTION, {"shop.py": "one\n"}, message="One")
    world.commit(PRODUCTION, {"shop.py": "two\n"}, message="Two")
    allowed = str(gives_single_commits).lower()
    for name in ("uploadpack.allowReachableSHA1InWant", "uploadpack.allowAnySHA1InWant"):
        subprocess.run(["git", "-C", str(world.host), "config", name, allowed], check=True, timeout=30)
    place = tmp_path / "pod"
    place.mkdir()
    with git_over_http(tmp_path, password=PASSWORD) as host:
        done = clone(f"{host.url}/host.git", wanted, place, password=PASSWORD)
    assert done.returncode == 0, done.stderr
    code = Path(CODE.replace(WORKSPACE, str(place)))
    assert (code / "shop.py").read_text() == "one\n"
    assert not list(tmp_path.rglob("spoilt"))
    config = (code / ".git" / "config").read_text()
    assert "token" not in config, "the password stays in the variable"


def test_a_wrong_password_and_a_commit_that_is_nowhere_end_with_gits_own_words(tmp_path: Path) -> None:
    world = GitWorld.make(tmp_path)
    for number, (commit, password, word) in enumerate(
        [
            (world.head(PRODUCTION), "wrong", "Authentication failed"),
            (CommitSha("1" * 40), PASSWORD, "1" * 40),
        ]
    ):
        place = tmp_path / f"pod-{number}"
        place.mkdir()
        with git_over_http(tmp_path, password=PASSWORD) as host:
            done = clone(f"{host.url}/host.git", commit, place, password=password)
        assert done.returncode != 0
        assert word in done.stderr
        assert "token" not in done.stderr
