"""Known vulnerabilities of what is locked, and a bill of materials: ``make audit``.

    audit.py UV PYTHON BUILD

Writes ``BUILD/sbom.cdx.json`` (CycloneDX, from ``uv.lock``: everything that runs, with its hashes) and asks an advisory
service about the same packages through pip-audit. A vulnerability fails, unless ``[tool.audit]`` of pyproject.toml
excuses it with a reason and a last day. Where the service cannot be reached nothing is known, which is said loudly and
fails nobody: whoever releases runs it where it can.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
EXPORT = ("export", "--quiet", "--locked", "--no-dev", "--all-extras", "--no-emit-project")
SERVICE_SECONDS = 15
ALL_SECONDS = 300
WIDTH = 100
_AWAY = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError|ProxyError|no answer within|\b50[234]\b"
)
"""What pip-audit's last words hold when nobody could be asked; anything else is a fault."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """A vulnerability that is known and borne for a while."""

    id: str
    reason: str
    until: date


class FaultError(Exception):
    """What is wrong, as a sentence."""


def excuses(project: dict[str, Any], *, today: date) -> list[Excuse]:
    """Return what may be left as it is.

    Raises:
        FaultError: One is incomplete, or its time is over.
    """
    found = []
    for entry in project.get("tool", {}).get("audit", {}).get("ignore", []):
        name, reason, until = (entry.get(key) for key in ("id", "reason", "until"))
        if not name or not isinstance(reason, str) or not reason.strip() or not isinstance(until, date):
            raise FaultError(
                f"[tool.audit] ignores {name!r} without id, reason and last day ('until'). Write all three."
            )
        if until < today:
            raise FaultError(f"[tool.audit] ignores {name} until {until}, which is over: mend it, or say why not yet.")
        found.append(Excuse(name, reason.strip(), until))
    return found


def vulnerabilities(report: dict[str, Any]) -> list[str]:
    """Return a sentence for each vulnerability in pip-audit's report."""
    return [
        f"{package['name']} {package['version']}: {each['id']}, mended in "
        f"{', '.join(each.get('fix_versions', ())) or 'no version yet'}."
        for package in report.get("dependencies", ())
        for each in package.get("vulns", ())
    ]


def loudly(sentence: str) -> str:
    """Return a sentence that nobody overlooks in a log."""
    return f"\n{'!' * WIDTH}\n{sentence}\n{'!' * WIDTH}\n"


def judged(output: str, errors: str, *, excused: list[Excuse]) -> tuple[int, str]:
    """Return the exit code for what pip-audit said, and what to say."""
    try:
        report = json.loads(output)
    except ValueError:
        why = (errors.strip().splitlines() or ["it said nothing"])[-1][:300]
        if not _AWAY.search(errors):
            return 1, f"pip-audit failed: {why}"
        return 0, loudly(f"NOT AUDITED: the advisory service cannot be reached, so nothing is known. ({why})")
    found = vulnerabilities(report)
    count = len(report.get("dependencies", ()))
    known = "".join(f"\nBorne until {one.until}: {one.id}, {one.reason}" for one in excused)
    if found:
        return 1, "\n".join(["Vulnerable packages are locked:", *found]) + known
    return 0, f"{count} packages audited, no vulnerability is known that is not borne.{known}"


def _run(*command: str, seconds: int = ALL_SECONDS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)


def main(uv: str, python: str, build: Path) -> int:
    """Write the bill of materials, audit, and say what was found; returns the exit code."""
    build.mkdir(parents=True, exist_ok=True)
    sbom, requirements = build / "sbom.cdx.json", build / "audited.txt"
    for kind, file in (("cyclonedx1.5", sbom), ("requirements.txt", requirements)):
        done = _run(uv, *EXPORT, "--format", kind, "--output-file", str(file))
        if done.returncode:
            sys.stderr.write(done.stderr)
            return 1
    sys.stdout.write(f"{sbom}: {len(json.loads(sbom.read_text('utf-8'))['components'])} components.\n")
    try:
        excused = excuses(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")), today=datetime.now(UTC).date())
    except FaultError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    command = [python, "-m", "pip_audit", "--requirement", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--vulnerability-service", "osv", "--timeout", str(SERVICE_SECONDS), "--format", "json"]
    command += ["--progress-spinner", "off", *(part for one in excused for part in ("--ignore-vuln", one.id))]
    try:
        asked = _run(*command)
        code, said = judged(asked.stdout, asked.stderr, excused=excused)
    except subprocess.TimeoutExpired:
        code, said = judged("", f"no answer within {ALL_SECONDS} s", excused=excused)
    sys.stdout.write(f"{said}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
