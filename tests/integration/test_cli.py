"""``init``, ``up`` and ``doctor`` on real repositories: what they make of them, what they leave when they cannot."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from feature_delivery.cli.shop import Shop, prepare
from feature_delivery.domain.errors import Error, Misconfigured, NotFound, Refused, Unavailable
from feature_delivery.services.delivery_file import read_delivery_file
from feature_delivery.services.delivery_template import first_file
from tests.support.command_line import Command, git
from tests.support.ports import unanswered_port


def shop_at(directory: Path, *, branch: str = "main", delivery: bool = True) -> Path:
    """Make a repository as a newcomer has it."""
    directory.mkdir(parents=True)
    git(directory, "init", "--quiet", "--initial-branch", branch)
    (directory / "Makefile").write_text("start:\n\ttrue\n")
    if delivery:
        (directory / "delivery.yaml").write_text(first_file(directory).text)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", "The shop")
    return directory


def made(home: Path, repository: Path | str, *, name: str = "", branch: str = "") -> Shop:
    return prepare(home, repository=str(repository), name=name, branch=branch, say=lambda _text: None)


def heads(repository: Path | None) -> dict[str, str]:
    assert repository, "only a shop on a host has no repository here"
    lines = git(repository, "for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
    return dict(line.split() for line in lines)


@pytest.mark.parametrize("branch", ["main", "master", "production", "trunk"])
def test_the_shops_main_branch_becomes_production_whatever_its_name(tmp_path: Path, branch: str) -> None:
    original = shop_at(tmp_path / "my shop", branch=branch)
    shop = made(tmp_path / "home", original)
    head = git(original, "rev-parse", "HEAD")
    assert shop.project.name == "my_shop"
    assert shop.project.branches.production == branch
    assert heads(shop.repository) == {branch: head, "preprod": head}
    assert heads(original) == {branch: head}


def test_production_is_preferred_to_main_and_another_branch_may_be_named(tmp_path: Path) -> None:
    original = shop_at(tmp_path / "shop")
    git(original, "branch", "production")
    git(original, "branch", "stable")
    assert made(tmp_path / "a", original).project.branches.production == "production"
    assert made(tmp_path / "b", original, branch="stable").project.branches.production == "stable"
    with pytest.raises(Misconfigured, match="has no branch 'nope'"):
        made(tmp_path / "c", original, branch="nope")


def test_a_preprod_branch_of_the_original_does_not_come_along(tmp_path: Path) -> None:
    original = shop_at(tmp_path / "shop")
    git(original, "checkout", "--quiet", "-b", "preprod")
    git(original, "commit", "--quiet", "--allow-empty", "--message", "Never shipped")
    shop = made(tmp_path / "home", original)
    assert len(set(heads(shop.repository).values())) == 1


@pytest.mark.parametrize("wording", ["{}", "{}/", "{}/.git", "file://{}"])
def test_a_project_is_named_after_its_directory(tmp_path: Path, wording: str) -> None:
    original = shop_at(tmp_path / "toy-shop")
    assert made(tmp_path / "home", wording.format(original)).project.name == "toy_shop"


def test_a_checkout_named_by_a_dot_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop_at(tmp_path / "toyshop"))
    assert made(tmp_path / "home", ".").project.name == "toyshop"


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    original, home = shop_at(tmp_path / "shop"), tmp_path / "home"
    first = made(home, original)
    file = home / "projects" / "shop.yaml"
    file.write_text(file.read_text() + "\n# mine\n")
    assert made(home, original).project == first.project
    assert file.read_text().endswith("# mine\n")


def test_before_production_has_run_the_copy_follows_the_original(tmp_path: Path) -> None:
    original, home = shop_at(tmp_path / "shop"), tmp_path / "home"
    made(home, original)
    git(original, "commit", "--quiet", "--allow-empty", "--message", "The health check mended")
    shop = made(home, original)
    assert set(heads(shop.repository).values()) == {git(original, "rev-parse", "HEAD")}


@pytest.mark.parametrize("ran", [False, True], ids=["never ran", "in production"])
def test_a_copy_of_another_branch_is_named_and_goes_on_when_no_branch_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ran: bool
) -> None:
    monkeypatch.setattr("feature_delivery.cli.shop._ran", lambda *_about: ran)
    original, home = shop_at(tmp_path / "shop"), tmp_path / "home"
    git(original, "branch", "17.0")
    assert made(home, original, branch="17.0").project.branches.production == "17.0"
    with pytest.raises(Misconfigured, match=r"from branch '17\.0' of .*, not from 'main'\. Leave --branch out"):
        made(home, original, branch="main")
    assert set(heads(made(home, original).repository)) == {"17.0", "preprod"}


def test_another_shop_of_the_same_name_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    made(home, shop_at(tmp_path / "a" / "shop"))
    other = shop_at(tmp_path / "b" / "shop")
    with pytest.raises(Refused, match=r"is a copy of .*Name this shop otherwise with --project"):
        made(home, other)
    assert made(home, other, name="other").project.name == "other"
    source = home / "repositories" / "shop.source"
    assert source.read_text() == str(tmp_path / "a" / "shop")
    assert made(home, tmp_path / "b" / ".." / "a" / "shop").project.name == "shop", "the same, named from elsewhere"
    source.write_text(str(tmp_path / "b" / ".." / "a" / "shop"))  # as it was written down before
    assert made(home, tmp_path / "a" / "shop").project.name == "shop"


def bad_repositories(place: Path) -> Iterator[tuple[str, str, type[Error], str]]:
    empty = place / "empty"
    empty.mkdir()
    yield "not a repository", str(empty), NotFound, "no Git repository"
    yield "nothing there", str(place / "nowhere"), NotFound, "no Git repository"
    git(place, "init", "--quiet", "bare")
    yield "no commit", str(place / "bare"), Misconfigured, "has no commit yet"
    yield "no delivery.yaml", str(shop_at(place / "plain", delivery=False)), Misconfigured, "feature-delivery init"
    broken = shop_at(place / "broken")
    (broken / "delivery.yaml").write_text("version: 1\nsuites: [\n")
    git(broken, "commit", "--quiet", "--all", "--message", "Broken")
    yield "broken delivery.yaml", str(broken), Misconfigured, "delivery.yaml"
    several = shop_at(place / "several", branch="one")
    git(several, "branch", "two")
    yield "no main branch", str(several), Misconfigured, "--branch"
    yield "preprod alone", str(shop_at(place / "pre", branch="preprod")), Misconfigured, "preprod"
    with unanswered_port() as port:
        yield "nobody answers", f"http://127.0.0.1:{port}/shop.git", Unavailable, "did not answer"
    yield "a program", "ext::sh -c touch% /tmp/x", Misconfigured, "not allowed"
    yield "an option", "--upload-pack=touch", Misconfigured, "not the address"
    yield "characters", "a\nshop", Misconfigured, "not the address"


def test_what_is_no_usable_repository_gives_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    for what, repository, kind, words in bad_repositories(tmp_path):
        home = tmp_path / "home"
        with pytest.raises(kind) as caught:
            made(home, repository, name="shop")
        assert words in str(caught.value), what
        assert not [path for path in home.rglob("*") if path.name != "repositories"], what


def test_a_password_in_the_address_is_never_said_nor_kept(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with unanswered_port() as port, pytest.raises(Error) as caught:
        made(home, f"http://nina:s3cret-word@127.0.0.1:{port}/shop.git", name="shop")
    assert "s3cret-word" not in str(caught.value)


def test_a_broken_project_file_is_named_and_not_replaced(command: Command, tmp_path: Path) -> None:
    home, original = tmp_path / "home", shop_at(tmp_path / "shop")
    made(home, original)
    file = home / "projects" / "shop.yaml"
    file.write_text("name: shop\npeople: {}\n")
    command("up", "--repository", original, "--home", home).refused("shop.yaml", "field")
    assert file.read_text() == "name: shop\npeople: {}\n"
    assert "shop.yaml" in command("doctor", "--home", home).out


@pytest.mark.parametrize(
    ("files", "signs"),
    [
        ({"app.py": "", "pytest.ini": "[pytest]\n"}, "python"),
        ({"package.json": '{"scripts": {"lint": "x"}}'}, "npm"),
        ({"Makefile": "start:\n"}, "make"),
        ({}, "no pytest, npm or Makefile"),
    ],
)
def test_init_writes_a_file_that_reads_back_and_is_never_overwritten(
    command: Command, tmp_path: Path, files: dict[str, str], signs: str
) -> None:
    place = tmp_path / "shop"
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text)
    answer = command("init", place)
    assert answer.code == 0
    assert signs in answer.out
    assert f"up --repository {place}" in answer.out
    written = (place / "delivery.yaml").read_bytes()
    read_delivery_file(written, where="delivery.yaml")
    command("init", place).refused("there already")
    assert (place / "delivery.yaml").read_bytes() == written


def test_init_says_what_has_to_be_seen_to_and_writes_it_into_the_file(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "shop"
    (place / "shop").mkdir(parents=True)
    (place / "manage.py").write_text('os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n')
    (place / "shop" / "settings.py").write_text(
        'ENGINE, NAME = "django.db.backends.sqlite3", BASE_DIR / "db.sqlite3"\n'
    )
    answer = command("init", place)
    assert answer.code == 0
    assert "signs of django" in answer.out
    assert "each release would begin with an empty one" in answer.out
    text = (place / "delivery.yaml").read_text()
    assert "# * The database of shop.settings is a file in the checkout" in text
    assert "no tests/unit" in text


def test_init_checks_the_syntax_of_modules_that_lie_at_the_top(command: Command, tmp_path: Path) -> None:
    place = tmp_path / "shop"
    for name in ("tests", ".venv", "node_modules"):
        (place / name).mkdir(parents=True)
        (place / name / "test_x.py").write_text("x = 1\n" if name == "tests" else "not python at all\n")
    (place / "app.py").write_text("x = 1\n")
    command("init", place)
    suite = read_delivery_file((place / "delivery.yaml").read_bytes(), where="x").suites
    words = list(next(plan for name, plan in suite.items() if name == "syntax").command)
    assert subprocess.run(words, cwd=place, check=False, timeout=60).returncode == 0
    (place / "later.py").write_text("def broken(:\n")
    assert subprocess.run(words, cwd=place, check=False, timeout=60, capture_output=True).returncode != 0


class Elsewhere(BaseHTTPRequestHandler):
    """An installation that lets nobody in, or is somebody else's web server."""

    answers: tuple[int, bytes] = (401, b'{"detail": "Invalid credentials"}')
    heard: list[bytes]

    def do_POST(self) -> None:
        self.heard.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        status, body = self.answers
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815 - as http.server has it

    def log_message(self, *_words: Any) -> None:
        return


@contextlib.contextmanager
def elsewhere(
    status: int, body: bytes, *, heard: list[bytes] | None = None, certificate: Path | None = None
) -> Iterator[str]:
    handler = type("Handler", (Elsewhere,), {"answers": (status, body), "heard": [] if heard is None else heard})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if certificate is not None:
        inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inside.load_cert_chain(certificate)
        server.socket = inside.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b'{"detail": "Invalid credentials"}', "Check the password"),
        (500, b"<html>Traceback (most recent call last)</html>", "did not let"),
        (201, b"<html>a shop, not Airflow</html>", "is no Airflow"),
        (201, b'{"hello": "world"}', "is no Airflow"),
    ],
)
def test_a_wrong_password_or_a_foreign_server_gives_one_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, words: str
) -> None:
    with elsewhere(status, body) as address:
        monkeypatch.setenv("FEATURE_DELIVERY_URL", address)
        monkeypatch.setenv("FEATURE_DELIVERY_USER", "nina")
        monkeypatch.setenv("FEATURE_DELIVERY_PASSWORD", "wr0ng-password")
        answer = command("status")
    answer.refused(words)
    assert "wr0ng-password" not in answer.err


def test_with_a_token_nobody_is_put_in_the_place_of_whose_it_is(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    monkeypatch.setenv("FEATURE_DELIVERY_TOKEN", "t0ken")
    with elsewhere(200, b'{"key": "SHOP-1", "run_id": "SHOP-1", "started": true}', heard=heard) as address:
        monkeypatch.setenv("FEATURE_DELIVERY_URL", address)
        assert command("start", "SHOP-1", "--project", "shop").code == 0
        assert command("start", "SHOP-1", "--project", "shop", "--requester", "ann").code == 0
        said = command("approve", "SHOP-1", "--gate", "review", "--project", "shop")
        loud = command("override", "SHOP-1", "--gate", "turn", "--reason", "It burns", "--project", "shop")
    assert [json.loads(each)["requester"] for each in heard[:2]] == ["", "ann"]
    assert said.out == "It counts: approve at review.wait_for_review of SHOP-1.\n"
    assert loud.out.startswith("You broke glass at ")


def test_a_candidate_is_named_by_its_first_digits_and_another_one_is_not_decided_about(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bytes] = []
    candidate = "b7d04e2a91c35f68e0d1b2c3a4f5968778695a4b"
    monkeypatch.setenv("FEATURE_DELIVERY_TOKEN", "t0ken")
    words = ("SHOP-1", "--gate", "acceptance", "--project", "shop", "--candidate")
    why = ("--reason", "It burns")
    with elsewhere(200, json.dumps({"candidate": {"commit": candidate}}).encode(), heard=heard) as address:
        monkeypatch.setenv("FEATURE_DELIVERY_URL", address)
        assert command("approve", *words, candidate[:10]).code == 0
        assert command("override", *words, candidate[:10], *why).code == 0
        assert command("reject", *words, "e" * 40, "--comment", "No.").code == 0  # whether it will do says the server
        said = [json.loads(each)["candidate"] for each in heard if each]
        assert said == [candidate, candidate, "e" * 40]
        command("approve", *words, "52c8e0f4d3").refused(
            "This was said about candidate 52c8e0f4d3, but SHOP-1 is at candidate b7d04e2a91: look again."
        )
        assert command("approve", *words, "HEAD").code == 2
    assert len([each for each in heard if each]) == 3


def authority(folder: Path) -> tuple[Path, Path]:
    """Make an authority of one's own and a certificate of it for this machine, with its key."""
    openssl = (
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    )
    ca = ("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=Our own authority")
    own = ("-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
    server = (
        "-keyout",
        "server.key",
        "-out",
        "server.crt",
        "-subj",
        "/CN=here",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    )
    for words in (ca, (*own, *server)):
        subprocess.run([*openssl, *words], cwd=folder, check=True, capture_output=True, timeout=60)
    (folder / "server.pem").write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())
    return folder / "ca.crt", folder / "server.pem"


def test_an_installation_behind_an_authority_of_its_own_is_reached_when_that_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca, certificate = authority(tmp_path)
    monkeypatch.setenv("FEATURE_DELIVERY_TOKEN", "t0ken")
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    status = ("status", "--project", "shop")
    with elsewhere(200, b"[]", certificate=certificate) as address:
        monkeypatch.setenv("FEATURE_DELIVERY_URL", address)
        command(*status).refused("certificate", "unable to get local issuer certificate", "by SSL_CERT_FILE")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
        command(*status).refused("Could not read the certificates of SSL_CERT_FILE=", "nowhere.pem", "PEM")
        monkeypatch.setenv("SSL_CERT_FILE", str(ca))
        assert command(*status).code == 0
        # The name in a certificate still counts.
        monkeypatch.setenv("FEATURE_DELIVERY_URL", address.replace("127.0.0.1", "localhost"))
        command(*status).refused("certificate of https://localhost", "Hostname mismatch")


def test_a_direct_rollback_without_its_database_says_so(command: Command, tmp_path: Path) -> None:
    home = tmp_path / "home"
    made(home, shop_at(tmp_path / "shop"))
    (home / "airflow").mkdir()
    with unanswered_port() as port:
        nobody = f"postgresql+psycopg2://u:p@127.0.0.1:{port}/x"
        (home / "airflow" / "airflow.cfg").write_text(f"[database]\nsql_alchemy_conn = {nobody}\n")
        command("rollback", "SHOP-1", "--direct", "--home", home).refused("does not answer", "Start the instance")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=False, capture_output=True, timeout=20
    )
    if not done or done.returncode:
        pytest.skip("a small file system needs the right to mount one")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=20)


def test_a_full_disk_gives_one_sentence_and_no_half_made_shop(
    command: Command, small_disk: Path, tmp_path: Path
) -> None:
    original = shop_at(tmp_path / "shop")
    (original / "large").write_bytes(os.urandom(1_000_000))
    git(original, "add", "--all")
    git(original, "commit", "--quiet", "--message", "Large")
    home = small_disk / "home"
    command("up", "--repository", original, "--home", home).refused("Could not")
    assert not list((home / "repositories").iterdir())
    assert not (home / "projects").exists()
    shutil.rmtree(home)
    place = small_disk / "young"
    place.mkdir()
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(1024))
    command("init", place).refused("No space left")
    assert not list(place.iterdir())
