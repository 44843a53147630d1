"""The virtual environment of a release: made once per set of install inputs, trusted only when it was finished.

An install that leaves anything behind that belongs to its checkout (``pip install -e .``, ``pip install .``,
``node_modules``) is valid for this checkout only: sharing it would test and run another commit's code. So that is
looked for after each install, and such an installation is *bound*: made again for every release.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from feature_delivery.adapters.platforms.local.processes import base_interpreter
from feature_delivery.adapters.platforms.local.variables import variables_of_installs
from feature_delivery.domain.errors import Misconfigured, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.adapters.platforms.local.layout import Layout
    from feature_delivery.adapters.platforms.local.settings import Settings
    from feature_delivery.adapters.platforms.local.state import ReleaseRecord
    from feature_delivery.domain.plan import Command, DeliveryPlan

MARKER = ".complete.json"
# Python writes these wherever it runs; they bind nothing.
_BYPRODUCTS = ("__pycache__", ".pytest_cache")


@dataclass(frozen=True, slots=True)
class Installer:
    """Fills the virtual environment of one release.

    ``run`` runs one command of the release with more variables, and raises when it fails.
    """

    layout: Layout
    settings: Settings
    run: Callable[[Command, dict[str, str]], None]
    say: Callable[[str], None]

    def find(self, checkout: Path, plan: DeliveryPlan) -> str | None:
        """Return the name of a finished virtual environment that fits the checkout, if there is one."""
        inputs = inputs_of(checkout, plan)
        for marker in sorted(self.layout.directory.glob(f"venv-{inputs}-*/{MARKER}")):
            if json.loads(marker.read_text(encoding="utf-8")) == {"bound": False}:
                return marker.parent.name
        return None

    def install(self, release: ReleaseRecord) -> None:
        """Make the virtual environment ``release.venv`` and run the plan's install commands in it.

        The marker is written last: what a kill leaves in the middle is never used.
        """
        checkout = self.layout.releases / release.name
        venv = self.layout.directory / release.venv
        variables = self._variables()
        self.say("Make a virtual environment.")
        venv.mkdir(exist_ok=True)  # only what is there can be opened in the fence
        # A project's own choice of Python wins; otherwise the one that runs us is known to be there.
        chosen = () if (checkout / ".python-version").exists() else ("--python", base_interpreter())
        self.run(("uv", "venv", "--quiet", "--no-project", *chosen, str(venv)), variables)
        before = _files(checkout)
        for command in release.plan.install:
            self.say(f"Install: {' '.join(command)}")
            self.run(command, variables)
        bound = _files(checkout) != before or _refers_to(venv, checkout)
        fresh = venv / f"{MARKER}.new"
        fresh.write_text(json.dumps({"bound": bound}), encoding="utf-8")
        fresh.replace(venv / MARKER)

    def _variables(self) -> dict[str, str]:
        cache = self.settings.uv_cache_of(self.layout.name)
        cache.mkdir(parents=True, exist_ok=True)
        provide_uv(self.layout)
        return {
            **variables_of_installs(),
            "UV_CACHE_DIR": str(cache),
            # Linked files would be one file in the cache and in every environment: a branch that writes to its own
            # would change production's.
            "UV_LINK_MODE": "copy",
            "npm_config_cache": str(self.settings.npm_cache),
            "npm_config_update_notifier": "false",
            **self.settings.install_variables,
        }


def inputs_of(checkout: Path, plan: DeliveryPlan) -> str:
    """Return the hash of everything that decides what an install gives.

    Raises:
        Refused: An install input leads out of the checkout.
    """
    digest = hashlib.sha256(json.dumps([base_interpreter(), plan.install, sorted(plan.variables.items())]).encode())
    for name in sorted({*plan.install_inputs, ".python-version"}):
        path = checkout / name
        if not path.resolve().is_relative_to(checkout.resolve()):
            raise Refused(f"Could not install: the install input {name!r} of delivery.yaml leads out of the checkout.")
        digest.update(f"\0{name}\0{path.is_file()}\0".encode())
        if path.is_file():
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def provide_uv(layout: Layout) -> None:
    """Put ``uv`` (from our own wheel, or the machine's) and a ``pip`` that means it on the ``PATH``."""
    link = layout.commands / "uv"
    binary = _uv_binary()
    if not (link.is_symlink() and Path(os.readlink(link)) == binary):  # noqa: PTH115 - compares the text
        link.unlink(missing_ok=True)
        link.symlink_to(binary)

    # Without this, a plain "pip install" would find the machine's pip and change the machine.
    for name in ("pip", "pip3"):
        shim = layout.commands / name
        if not shim.exists():
            shim.write_text('#!/bin/sh\nexec uv pip "$@"\n', encoding="utf-8")
            shim.chmod(0o755)


def _uv_binary() -> Path:
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - optional: a distribution may bring its own uv instead

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError) as error:
        if found := shutil.which("uv"):
            return Path(found)
        raise Misconfigured(
            "Could not make a virtual environment: uv is not installed. Install the uv package."
        ) from error


def _files(checkout: Path) -> frozenset[str]:
    """Return what lies in a checkout, byproducts of running Python aside."""
    found: set[str] = set()
    for directory, below, files in os.walk(checkout):
        below[:] = [name for name in below if name not in _BYPRODUCTS]
        found.update(os.path.join(directory, name) for name in (*below, *files))  # noqa: PTH118 - tens of thousands
    return frozenset(found)


def _refers_to(venv: Path, checkout: Path) -> bool:
    """Say whether something was installed from the checkout (PEP 610), or by a path into it."""
    site_packages = [path for path in venv.glob("lib/python*/site-packages") if path.is_dir()]
    for place in site_packages:
        for origin in place.glob("*.dist-info/direct_url.json"):
            url = urlsplit(json.loads(origin.read_text(encoding="utf-8")).get("url", ""))
            if url.scheme == "file" and Path(unquote(url.path)).resolve().is_relative_to(checkout.resolve()):
                return True
        if any(str(checkout) in pth.read_text(encoding="utf-8", errors="replace") for pth in place.glob("*.pth")):
            return True
    return False
