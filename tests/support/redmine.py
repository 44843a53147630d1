"""The real Redmine of Debian, on a copy of its files, a database of its own and a free port; nothing of it stays.

Tests install it only where that is wanted: as root, with ``CI=true`` or ``FEATURE_DELIVERY_TEST_REDMINE=1``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_delivery.adapters.trackers.unseen import unmarked
from feature_delivery.domain.login import Login
from tests.support.ports import free_port

PACKAGES = ("redmine", "redmine-sqlite", "puma")
FILES = Path("/usr/share/redmine")
LOCK = Path("/var/lib/redmine/Gemfile.lock")
WANTED = "FEATURE_DELIVERY_TEST_REDMINE"

WORLD = """
ActiveRecord::Migration.verbose = false
ActiveRecord::Base.connection.migration_context.migrate
ActiveRecord::Base.descendants.each(&:reset_column_information)
Redmine::DefaultData::Loader.load('en')
Setting.rest_api_enabled = '1'
Setting.default_language = 'en'

def person(login, admin: false)
  user = User.new(firstname: login.capitalize, lastname: 'Test', mail: "#{login}@shop.test", language: 'en')
  user.login = login
  user.admin = admin
  user.password = user.password_confirmation = SecureRandom.hex
  user.save!
  puts "#{login} #{user.id} #{user.api_key}"
  user
end

everybody = %w[bot bob mia eve].map { |login| person(login) } + [person('boss', admin: true)]
%w[shop other].each do |name|
  Project.create!(name: name.capitalize, identifier: name, is_public: true, trackers: Tracker.all.to_a,
                  enabled_module_names: ['issue_tracking'])
end
bot = Role.create!(name: 'Delivery', permissions: Role.find_by(name: 'Developer').permissions + [:edit_own_issue_notes])
everybody.first(4).each do |user|
  role = { 'bot' => bot, 'mia' => Role.find_by(name: 'Reporter') }[user.login] || Role.find_by(name: 'Developer')
  Member.create!(project: Project.find('shop'), user: user, roles: [role])
end
"""


@dataclass
class RealRedmine:
    """A running server. ``people``: number and API key of each; ``boss`` is its administrator."""

    url: str
    directory: Path
    people: dict[str, tuple[int, str]]

    def login(self, user: str = "bot") -> Login:
        return Login(connection="redmine", url=self.url, secret=self.people[user][1])

    def ask(self, method: str, where: str, body: Any = None, *, by: str = "boss") -> Any:
        """Do what somebody may do, as that person; returns the answer's content."""
        headers = {"X-Redmine-API-Key": self.people[by][1]}
        answer = httpx.request(method, f"{self.url}{where}", json=body, headers=headers, timeout=30, trust_env=False)
        assert answer.is_success, f"{method} {where}: {answer.status_code} {answer.text[:300]}"
        return answer.json() if answer.content else None

    def give(self, number: int, *, project: str = "shop", by: str = "mia") -> None:
        """Create an issue under this number."""
        self.sql("UPDATE sqlite_sequence SET seq = ? WHERE name = 'issues'", number - 1)
        words = {"project_id": project, "subject": "Gift cards", "description": "Sell them.", "tracker_id": 2}
        made = self.ask("POST", "/issues.json", {"issue": words}, by=by)
        assert made["issue"]["id"] == number

    def assign(self, number: int, person: str | None) -> None:
        assignee = self.people[person][0] if person else ""
        self.ask("PUT", f"/issues/{number}.json", {"issue": {"assigned_to_id": assignee}})

    def move(self, number: int, status: int) -> None:
        self.ask("PUT", f"/issues/{number}.json", {"issue": {"status_id": status}})

    def notes(self, number: int) -> list[str]:
        return [unmarked(note) for note in self.raw_notes(number)]

    def raw_notes(self, number: int) -> list[str]:
        issue = self.ask("GET", f"/issues/{number}.json?include=journals")["issue"]
        return [one["notes"] for one in issue["journals"] if one["notes"]]

    def forbid(self, role: str, end: str) -> None:
        """Take from a role every way to a status."""
        numbers = self.number("roles", role), self.number("issue_statuses", end)
        self.sql("DELETE FROM workflows WHERE role_id = ? AND new_status_id = ?", *numbers)

    def allow(self, role: str, begin: str, end: str) -> None:
        """Allow a role to go from one status to another, in the workflow of every tracker."""
        numbers = [self.number("roles", role), self.number("issue_statuses", begin), self.number("issue_statuses", end)]
        for tracker in (1, 2, 3):
            self.sql(
                "INSERT INTO workflows (tracker_id, role_id, old_status_id, new_status_id, type) "
                "VALUES (?, ?, ?, ?, 'WorkflowTransition')",
                tracker,
                *numbers,
            )

    def number(self, table: str, name: str) -> int:
        return int(self.sql(f"SELECT id FROM {table} WHERE name = ?", name)[0][0])  # noqa: S608 - our own words

    def empty(self) -> None:
        """Take away every issue, and every transition that a test has allowed to the role ``Delivery``."""
        for table in ("journal_details", "journals", "issues"):
            self.sql(f"DELETE FROM {table}")  # noqa: S608 - our own words
        self.sql("DELETE FROM workflows WHERE role_id = ?", self.number("roles", "Delivery"))

    def sql(self, statement: str, *values: Any) -> list[Any]:
        database = self.directory / "instances/default/redmine.sqlite3"
        with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
            return connection.execute(statement, values).fetchall()


def needed() -> None:
    """See that Redmine is installed, or skip with a sentence that says what is missing."""
    if FILES.is_dir() and LOCK.is_file() and shutil.which("puma"):
        return
    wanted = os.environ.get("CI") == "true" or os.environ.get(WANTED) == "1"
    if not wanted or os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip(
            f"Debian's packages {', '.join(PACKAGES)} are not installed: install them, or set {WANTED}=1 as root."
        )
    try:
        _install()
    except subprocess.SubprocessError as error:
        pytest.skip(f"Debian's packages {', '.join(PACKAGES)} could not be installed ({type(error).__name__}).")


def _install() -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    answers = b"redmine redmine/instances/default/dbconfig-install boolean false\n"
    subprocess.run(["debconf-set-selections"], input=answers, check=True, timeout=60)
    install = ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
    for arguments, seconds in ((["update", "-qq"], 60), (install, 150)):
        command = ["apt-get", "-o", "DPkg::Lock::Timeout=60", *arguments]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=seconds)


@contextmanager
def running_redmine(directory: Path) -> Iterator[RealRedmine]:
    """Run a Redmine with the projects ``shop`` and ``other`` under ``directory``."""
    place = _copy(directory)
    environment = {**os.environ, "RAILS_ENV": "production", "X_DEBIAN_SITEID": "default"}
    for name in ("RUBYOPT", "BUNDLE_GEMFILE", "RUBYLIB"):
        environment.pop(name, None)
    (directory / "world.rb").write_text(WORLD)
    made = subprocess.run(
        ["bin/rails", "runner", str(directory / "world.rb")],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert made.returncode == 0, made.stderr[:2000]  # what went wrong, then a long way to it
    lines = [line.split() for line in made.stdout.splitlines() if len(line.split()) == 3]
    people = {login: (int(number), key) for login, number, key in lines}
    port = free_port()
    with (directory / "puma.log").open("wb") as log:
        puma = subprocess.Popen(
            ["puma", "--environment", "production", "--bind", f"tcp://127.0.0.1:{port}", "--threads", "1:3"],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        redmine = RealRedmine(f"http://127.0.0.1:{port}", place, people)
        _wait(redmine, puma, directory / "puma.log")
        yield redmine
    finally:
        _stop(puma)


def _copy(directory: Path) -> Path:
    place = directory / "redmine"
    shutil.copytree(FILES, place, symlinks=True)
    for name in ("instances", "Gemfile.lock", "config/database.yml"):
        (place / name).unlink(missing_ok=True)
    shutil.copy(LOCK, place / "Gemfile.lock")
    # Which databases it needs drivers for is read from files at the place where Debian has installed it.
    gems = place / "Gemfile"
    gems.write_text(gems.read_text().replace(str(FILES), str(place)))
    instance = place / "instances/default"
    for name in ("config", "log", "tmp", "files", "public/plugin_assets"):
        (instance / name).mkdir(parents=True)
    # Mails would be written by threads of their own, and SQLite refuses one of two that write: nobody needs them.
    (place / "config/initializers/zz_no_mails.rb").write_text(
        "Rails.application.config.after_initialize { ActiveJob::Base.queue_adapter = :test }\n"
    )
    database = f"production:\n  adapter: sqlite3\n  database: {instance}/redmine.sqlite3\n  timeout: 20000\n"
    (instance / "config/database.yml").write_text(database)
    (instance / "config/secret_key.txt").write_text("0123456789abcdef" * 4)
    (place / "config/database.yml").symlink_to(instance / "config/database.yml")
    return place


def _wait(redmine: RealRedmine, puma: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + 60
    while puma.poll() is None and time.monotonic() < ends:
        try:
            redmine.ask("GET", "/users/current.json")
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"Redmine did not start: {log.read_text()[-2000:]}")


def _stop(puma: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(puma.pid, signal.SIGTERM)
        puma.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(puma.pid, signal.SIGKILL)
        puma.wait()
    except ProcessLookupError:
        pass
