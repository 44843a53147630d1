"""The repository against a hostile world: kills, races, bad names, bad servers, secrets, foreign settings."""

from __future__ import annotations

import concurrent.futures
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from feature_delivery.adapters.git.address import GitAccess
from feature_delivery.adapters.git.checkout import leads_out
from feature_delivery.adapters.git.mirror import MARKER, PACKS_BEFORE_REPACK
from feature_delivery.adapters.git.objects import shown_path
from feature_delivery.adapters.git.patches import FILES_LIMIT
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Conflict, Error, Misconfigured, NotFound, RateLimited, Refused, Unavailable
from feature_delivery.domain.names import BranchName, CommitSha
from feature_delivery.web.board.changes_page import files_of
from tests.support.git_world import PRODUCTION, GitWorld, git, git_over_http
from tests.support.ports import unanswered_port

FEATURE = BranchName("feature/SHOP-1-gifts")


@pytest.fixture
def world(tmp_path: Path) -> GitWorld:
    return GitWorld.make(tmp_path)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    return tmp_path / "state" / "mirror"


@pytest.fixture
def repository(world: GitWorld, mirror: Path) -> GitRepository:
    return GitRepository(str(world.host), mirror)


# -- races ---------------------------------------------------------------------------------------------------------

_PROMOTE = """
import sys
from pathlib import Path
from feature_delivery.adapters.git.repository import GitRepository
from feature_delivery.domain.errors import Conflict
remote, mirror, old, new = sys.argv[1:]
repository = GitRepository(remote, Path(mirror))
repository.fetch(old, new)
print("ready", flush=True)
sys.stdin.readline()
try:
    repository.promote("production", old=old, new=new)
except Conflict as error:
    print("conflict", error)
else:
    print("won")
"""


@pytest.mark.parametrize("shared", [True, False])
def test_of_two_processes_that_promote_at_once_exactly_one_wins(
    world: GitWorld, tmp_path: Path, *, shared: bool
) -> None:
    base = world.head(PRODUCTION)
    rivals = [world.commit(f"feature/SHOP-{n}-x", {f"f{n}": "1"}, on=base) for n in (1, 2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROMOTE, str(world.host), str(tmp_path / f"m{0 if shared else n}"), base, rival],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for n, rival in enumerate(rivals)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].split()[0] for process in processes]
    assert sorted(said) == ["conflict", "won"]
    assert world.head(PRODUCTION) == rivals[said.index("won")]


def test_parallel_tasks_share_one_mirror_from_its_first_use_on(world: GitWorld, mirror: Path) -> None:
    base = world.head(PRODUCTION)
    heads = [world.commit(f"feature/SHOP-{n}-x", {f"f{n}": "1"}, on=base) for n in range(1, 9)]

    def work(head: CommitSha) -> CommitSha:
        repository = GitRepository(str(world.host), mirror)
        repository.fetch(head)
        return repository.build_candidate(production=base, feature=head, past=(), message="x").commit

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        built = list(pool.map(work, heads))
    assert len(set(built)) == 8
    assert sorted(path.name for path in mirror.parent.iterdir()) == ["mirror", "mirror.lock"]


# -- crashes -------------------------------------------------------------------------------------------------------


def test_locks_and_halves_that_a_kill_left_are_cleared(world: GitWorld, mirror: Path) -> None:
    GitRepository(str(world.host), mirror).fetch()
    head = world.commit(PRODUCTION, {"a": "1"})
    (mirror / "packed-refs.lock").touch()
    (mirror / "refs/remotes/origin/production.lock").touch()
    (mirror / "objects/pack/tmp_pack_x").write_bytes(b"half")
    repository = GitRepository(str(world.host), mirror)
    repository.fetch()
    assert repository.commit(head).sha == head
    assert git(mirror, "rev-parse", "refs/remotes/origin/production") == head
    assert not list((mirror / "objects/pack").glob("tmp_*"))


def test_a_mirror_that_vanishes_under_our_hands_is_filled_again(world: GitWorld, mirror: Path) -> None:
    head = world.head(PRODUCTION)
    repository = GitRepository(str(world.host), mirror)
    repository.fetch(head)
    shutil.rmtree(mirror)
    GitRepository(str(world.host), mirror).heads()  # makes an empty one, as another task would
    repository.fetch(head)
    assert repository.commit(head).sha == head


def test_a_half_made_mirror_is_made_again(world: GitWorld, mirror: Path) -> None:
    half = mirror.with_name(".mirror.new")
    half.mkdir(parents=True)
    (half / "HEAD").write_text("garbage")
    mirror.mkdir()
    GitRepository(str(world.host), mirror).fetch()
    (mirror / "HEAD").unlink()
    repository = GitRepository(str(world.host), mirror)
    repository.fetch()
    assert repository.commit(world.head(PRODUCTION)).subject == "Begin"


@pytest.mark.parametrize("suffixes", [("pack",), ("idx",), ("pack", "idx")])
def test_a_damaged_mirror_heals_within_three_tries(world: GitWorld, mirror: Path, suffixes: tuple[str, ...]) -> None:
    repository = GitRepository(str(world.host), mirror)
    base = world.commit(PRODUCTION, {"a": "1"})
    repository.fetch(base)
    for suffix in suffixes:
        for file in (mirror / "objects/pack").glob(f"*.{suffix}"):
            file.chmod(0o600)
            file.write_bytes(file.read_bytes()[:40])
    head = world.commit(FEATURE, {"b": "1"}, on=base)
    tries = 0
    while True:
        tries += 1
        try:
            repository.fetch(base, head)
            repository.build_candidate(production=base, feature=head, past=(), message="x")
        except Unavailable:
            assert tries < 3
        else:
            break


def test_a_directory_of_somebody_else_is_left_alone(world: GitWorld, mirror: Path) -> None:
    mirror.mkdir(parents=True)
    (mirror / "thesis.txt").write_text("mine")
    with pytest.raises(Misconfigured, match="something else in it"):
        GitRepository(str(world.host), mirror).fetch()
    assert (mirror / "thesis.txt").read_text() == "mine"


def test_a_kill_in_the_middle_of_a_fetch_leaves_a_usable_mirror(world: GitWorld, mirror: Path) -> None:
    world.commit(PRODUCTION, {f"big{n}": os.urandom(400_000) for n in range(20)})
    script = (
        "import sys; from pathlib import Path; from feature_delivery.adapters.git.repository import GitRepository;"
        "print('go', flush=True); GitRepository(sys.argv[1], Path(sys.argv[2])).fetch()"
    )
    for delay in (0.0, 0.02, 0.05, 0.1):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(world.host), str(mirror)], stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    repository = GitRepository(str(world.host), mirror)
    repository.fetch(world.head(PRODUCTION))
    git(mirror, "fsck", "--connectivity-only")
    assert len(repository.changed_paths(repository.commit(world.head(PRODUCTION)).parents[0], world.head(PRODUCTION)))


def test_many_fetches_do_not_leave_many_packs(world: GitWorld, mirror: Path, repository: GitRepository) -> None:
    begin = world.head(PRODUCTION)
    repository.fetch()
    for n in range(PACKS_BEFORE_REPACK + 2):
        repository.fetch(world.commit(PRODUCTION, {"n": str(n)}))
    assert len(list((mirror / "objects/pack").glob("*.pack"))) < PACKS_BEFORE_REPACK
    assert len(repository.ahead(world.head(PRODUCTION), begin)) == PACKS_BEFORE_REPACK + 2


# -- the host does not behave --------------------------------------------------------------------------------------


def test_no_network_is_used_for_what_is_here(world: GitWorld, tmp_path: Path, mirror: Path) -> None:
    with git_over_http(tmp_path) as server:
        repository = GitRepository(f"{server.url}/host.git", mirror)
        repository.fetch(world.head(PRODUCTION))
        asked = len(server.requests)
        repository.fetch(world.head(PRODUCTION))
        assert len(server.requests) == asked
        assert repository.heads() == {PRODUCTION: world.head(PRODUCTION)}
        assert len(server.requests) <= asked + 2


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("500 Broken", Unavailable),
        ("503 Busy", Unavailable),
        ("429 Too Many Requests", RateLimited),
        ("401 Unauthorized", Misconfigured),
        ("403 Forbidden", Misconfigured),
        ("404 Not Found", NotFound),
    ],
)
def test_what_the_host_answers_becomes_one_sentence_without_a_secret(
    world: GitWorld, tmp_path: Path, mirror: Path, status: str, kind: type[Error]
) -> None:
    with git_over_http(tmp_path) as server:
        server.answer = status
        remote = server.url.replace("//", "//bot:hunter2@") + "/host.git"
        repository = GitRepository(remote, mirror)
        for call in (repository.heads, repository.fetch):
            with pytest.raises(kind) as caught:
                call()
            assert "hunter2" not in str(caught.value)
            assert str(caught.value).startswith(("Could not list the branches", "Could not fetch"))
            assert str(caught.value).count("\n") == 0


def test_a_wrong_password_is_misconfigured_and_the_right_one_is_sent_as_a_header(
    world: GitWorld, tmp_path: Path, mirror: Path
) -> None:
    with git_over_http(tmp_path, password="right") as server:
        remote = f"{server.url}/host.git"
        with pytest.raises(Misconfigured, match="credentials"):
            GitRepository(remote, mirror).heads()
        with pytest.raises(Misconfigured, match="credentials"):
            GitRepository(remote, mirror, access=GitAccess(password="wrong")).heads()
        assert GitRepository(remote, mirror, access=GitAccess(password="right")).heads()
        asker = tmp_path / "ask"
        asker.write_text("#!/bin/sh\necho right\n")
        asker.chmod(0o700)
        by_program = GitAccess(variables={"GIT_ASKPASS": str(asker)})
        assert GitRepository(remote, mirror, access=by_program).heads()


def test_secrets_are_neither_arguments_nor_files(
    world: GitWorld, tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "argv"
    wrapper = tmp_path / "bin" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> {log}\nexec /usr/bin/git "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
    with git_over_http(tmp_path, password="hunter2") as server:
        git(world.host, "config", "http.receivepack", "true")
        repository = GitRepository(server.url.replace("//", "//bot:hunter2@") + "/host.git", mirror)
        repository.create_branch(FEATURE, world.head(PRODUCTION))
        assert "hunter2" not in repr(repository.address)
    assert "push" in log.read_text()
    assert "hunter2" not in log.read_text()
    stored = b"".join(path.read_bytes() for path in mirror.rglob("*") if path.is_file())
    assert b"hunter2" not in stored
    assert b"127.0.0.1" not in stored


@contextmanager
def _silent_server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


def test_a_host_that_never_answers_is_given_up_and_no_process_stays(mirror: Path) -> None:
    with _silent_server() as port:
        repository = GitRepository(
            f"http://127.0.0.1:{port}/x.git",
            mirror,
            transfer_timeout=timedelta(seconds=0.6),
            listing_timeout=timedelta(seconds=0.4),
        )
        for call, seconds in ((repository.heads, 0.4), (repository.fetch, 0.6)):
            with pytest.raises(Unavailable, match=f"after {seconds} seconds"):
                call()
        left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=False).stdout
        assert f"127.0.0.1:{port}" not in left


def test_a_host_that_is_not_there_is_unavailable_or_not_found(tmp_path: Path, mirror: Path) -> None:
    with unanswered_port() as port, pytest.raises(Unavailable, match="did not answer"):
        GitRepository(f"http://127.0.0.1:{port}/x.git", mirror).heads()
    with pytest.raises(NotFound, match="no Git repository"):
        GitRepository(str(tmp_path / "nowhere.git"), mirror).heads()


def test_malformed_objects_are_refused(world: GitWorld, repository: GitRepository) -> None:
    blob = git(world.host, "hash-object", "-w", "--stdin", stdin=b"[core]")
    raw = b"40000 .git\0" + bytes.fromhex(git(world.host, "mktree", stdin=f"100644 blob {blob}\thooks\n".encode()))
    tree = git(world.host, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", stdin=raw)
    world.branch(FEATURE, world.commit_tree(tree, world.head(PRODUCTION)))
    with pytest.raises(Refused, match="malformed"):
        repository.fetch()


# -- the machine does not behave -----------------------------------------------------------------------------------


def test_foreign_settings_hooks_and_variables_change_nothing(
    world: GitWorld, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = world.commit(
        FEATURE,
        on=world.head(PRODUCTION),
        changes={"a": "1\r\n", ".gitattributes": "* filter=evil diff=evil merge=evil\n"},
    )
    home = tmp_path / "home"
    home.mkdir()
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    trace = tmp_path / "ran"
    for name in ("post-index-change", "reference-transaction", "pre-push", "post-checkout"):
        (hooks / name).write_text(f"#!/bin/sh\necho {name} >> {trace}\n")
        (hooks / name).chmod(0o755)
    (home / ".gitconfig").write_text(
        f'[core]\n hooksPath={hooks}\n autocrlf=true\n[filter "evil"]\n smudge=touch {trace}\n required=true\n'
        f'[diff "evil"]\n textconv=touch {trace}\n[url "/nowhere"]\n insteadOf={world.host}\n'
    )
    monkeypatch.setenv("HOME", str(home))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_QUARANTINE_PATH"):
        monkeypatch.setenv(name, str(tmp_path / "leak"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.hooksPath=" + str(hooks) + "'")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", f"touch {trace}")
    repository = GitRepository(str(world.host), mirror)
    repository.fetch(head)
    target = tmp_path / "out"
    target.mkdir()
    repository.checkout(head, target)
    repository.create_branch(BranchName("feature/SHOP-2-x"), head)
    assert (target / "a").read_bytes() == b"1\r\n"
    assert repository.diff_stat(world.head(PRODUCTION), head)
    assert not trace.exists()


@pytest.mark.parametrize(
    "remote",
    ["ext::sh -c id", "fd::3", "-oProxyCommand=id", "git://host/x", "ftp://h/x", "", "a\nb", "ssh://-oX/x", "-h:x"],
)
def test_addresses_that_could_start_programs_are_refused(remote: str, mirror: Path) -> None:
    with pytest.raises(Misconfigured):
        GitRepository(remote, mirror)


@pytest.mark.parametrize("bad", ["--upload-pack=id", "HEAD", "abc", "1" * 39, "1" * 40 + "\n", "1" * 40 + "^"])
def test_ids_that_are_none_never_reach_git(repository: GitRepository, bad: str, tmp_path: Path) -> None:
    sha = CommitSha(bad)
    good = CommitSha("1" * 40)
    for call in (
        lambda: repository.fetch(sha),
        lambda: repository.commit(sha),
        lambda: repository.ahead(sha, good),
        lambda: repository.ahead(good, sha),
        lambda: repository.read_file(sha, "x"),
        lambda: repository.checkout(sha, tmp_path),
        lambda: repository.create_branch(FEATURE, sha),
        lambda: repository.delete_branch(FEATURE, expect=sha),
        lambda: repository.promote(FEATURE, old=good, new=sha),
        lambda: repository.build_candidate(production=good, feature=sha, past=(), message="x"),
    ):
        with pytest.raises(Refused):
            call()


@pytest.mark.parametrize("bad", ["-d", "--all", "a..b", "a b", "a:b", "x;id", "a\n", "refs/../x", "+x", "@{-1}"])
def test_branch_names_that_are_none_never_reach_git(repository: GitRepository, world: GitWorld, bad: str) -> None:
    base = world.head(PRODUCTION)
    for call in (
        lambda: repository.create_branch(BranchName(bad), base),
        lambda: repository.delete_branch(BranchName(bad), expect=base),
        lambda: repository.publish_candidate(BranchName(bad), base, over=None),
        lambda: repository.promote(BranchName(bad), old=base, new=base),
        lambda: repository.level(BranchName(bad), expect=None, to=base),
    ):
        with pytest.raises(Refused):
            call()
    assert world.branches() == {PRODUCTION: base}


def test_only_candidates_are_overwritten(repository: GitRepository, world: GitWorld) -> None:
    world.branch(FEATURE, world.head(PRODUCTION))
    with pytest.raises(Refused, match="only branches under 'candidate/'"):
        repository.publish_candidate(FEATURE, world.head(PRODUCTION), over=None)


# -- checkout ------------------------------------------------------------------------------------------------------


def test_file_names_in_odd_encodings_survive(repository: GitRepository, world: GitWorld, tmp_path: Path) -> None:
    names = [b"caf\xe9.txt", "ü/ß.py".encode(), b"new\nline", b"-rf", b"tab\tquote\"'", b"\\back"]
    head = world.commit(FEATURE, {os.fsdecode(name): b"x" for name in names}, on=world.head(PRODUCTION))
    repository.fetch(head)
    target = tmp_path / "out"
    target.mkdir()
    repository.checkout(head, target)
    found = {
        os.path.relpath(folder + b"/" + name, os.fsencode(target))
        for folder, _, files in os.walk(os.fsencode(target))
        for name in files
    }
    assert found == {*names, b"README"}
    shown = repository.changed_paths(world.head(PRODUCTION), head)
    assert "caf\\xe9.txt" in shown
    json.dumps(shown).encode()


@pytest.mark.parametrize("many", [False, True], ids=["all of them", "some of too many"])
def test_no_name_hides_a_change_from_who_reads_it(repository: GitRepository, world: GitWorld, *, many: bool) -> None:
    names = [
        "пирог.py",
        'q"uote.py',
        "tab\there",
        "new\nline",
        "back\\slash",
        ":(glob)x",
        "*",
        " b/x b",
        os.fsdecode(b"caf\xe9"),
    ]
    filler = {f"я/{number}": "y\n" for number in range(FILES_LIMIT)} if many else {}
    changes = {**dict.fromkeys(names, "seen\n"), "empty": "", **filler}
    head = world.commit(FEATURE, changes, on=world.head(PRODUCTION))
    repository.fetch(head)
    patch = repository.patch(world.head(PRODUCTION), head)
    found = {file.path: file for file in files_of(patch)}
    for name in names[:-1] if many else names:  # among too many, a name that is no UTF-8 cannot be asked for
        shown = found[shown_path(os.fsencode(name))]
        assert ([line.text for line in shown.lines if line.kind == "add"], shown.note) == (["seen"], ""), name
    assert found["empty"].note == "empty"
    assert bool(patch.left_out) is many


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "d/../../x", "s/../x", "../../host.git"])
def test_links_that_lead_out_are_refused(
    repository: GitRepository, world: GitWorld, tmp_path: Path, target: str
) -> None:
    head = world.commit(FEATURE, {"s": "\x00link:.", "evil": f"\x00link:{target}"}, on=world.head(PRODUCTION))
    repository.fetch(head)
    directory = tmp_path / "out"
    directory.mkdir()
    with pytest.raises(Refused, match="symbolic link 'evil' leads out"):
        repository.checkout(head, directory)
    assert not list(directory.iterdir())


@pytest.mark.parametrize(
    ("name", "target", "out"),
    [(b"a", b"b", False), (b"d/a", b"../b", False), (b"d/a", b"../../b", True), (b"a", b"./b//c/.", False)],
)
def test_links_inside_are_kept(name: bytes, target: bytes, *, out: bool) -> None:
    assert leads_out(name, target) is out


def test_submodules_and_lfs_are_not_followed(repository: GitRepository, world: GitWorld, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    head = world.commit(
        None,
        {
            ".gitmodules": '[submodule "x"]\n path = x\n url = ext::touch /tmp/pwned\n',
            ".gitattributes": "*.bin filter=lfs\n",
            "a.bin": pointer,
        },
        on=world.head(PRODUCTION),
    )
    tree = git(world.host, "ls-tree", head) + f"\n160000 commit {head}\tx"
    world.branch(FEATURE, world.commit_tree(git(world.host, "mktree", "--missing", stdin=tree.encode()), head))
    try:
        repository.fetch(world.head(FEATURE))
    except Refused:
        return  # Newer rules of git fsck refuse the address itself.
    directory = tmp_path / "out"
    directory.mkdir()
    repository.checkout(world.head(FEATURE), directory)
    assert (directory / "a.bin").read_text() == pointer
    assert not list((directory / "x").iterdir())


def test_a_lost_answer_of_a_promotion_is_recognised(world: GitWorld, mirror: Path, repository: GitRepository) -> None:
    base = world.head(PRODUCTION)
    head = world.commit(FEATURE, {"a": "1"}, on=base)
    repository.fetch()
    world.branch(PRODUCTION, head)  # The push arrived, the process died before it heard so.
    repository.promote(PRODUCTION, old=base, new=head)
    assert (mirror / MARKER).exists()
    with pytest.raises(Conflict):
        repository.promote(PRODUCTION, old=head, new=base)
