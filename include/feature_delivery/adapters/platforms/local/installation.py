"""The virtual environment of a release: made once per set of install inputs, trusted only when it was finished.

Which ones are finished is in the environment's record: the code of a branch may write what it likes into its own.

An install that leaves anything behind that belongs to its checkout (``pip install -e .``, ``pip install .``,
``node_modules``) is valid for this checkout only: sharing it would test and run another commit's code. So that is
looked for after each install, and such an installation is *bound*: made again for every release.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from feature_delivery.adapters.platforms import untrusted
from feature_delivery.adapters.platforms.links import leads_out
from feature_delivery.adapters.platforms.local.processes import base_interpreter
from feature_delivery.adapters.platforms.local.variables import variables_of_installs
from feature_delivery.domain.errors import Misconfigured, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_delivery.adapters.platforms.local.layout import Layout
    from feature_delivery.adapters.platforms.local.settings import Settings
    from feature_delivery.adapters.platforms.local.state import EnvironmentRecord, ReleaseRecord
    from feature_delivery.domain.plan import Command, DeliveryPlan

# Python writes these wherever it runs; they bind nothing.
_BYPRODUCTS = frozenset({"__pycache__", ".pytest_cache"})
_TO_PACKAGES = ("lib", "python*", "site-packages", "*.dist-info")
_ORIGIN_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Installer:
    """Fills the virtual environment of one release.

    ``run`` runs one command of the release with more variables, and raises when it fails.
    """

    layout: Layout
    settings: Settings
    run: Callable[[Command, dict[str, str]], None]
    say: Callable[[str], None]

    def find(self, record: EnvironmentRecord, inputs: str) -> str | None:
        """Return the name of a finished virtual environment that fits ``inputs``, if there is one."""
        for release in record.kept:
            fits = not release.bound and release.venv.startswith(f"venv-{inputs}-")
            if fits and (self.layout.directory / release.venv).is_dir():
                return release.venv
        return None

    def install(self, release: ReleaseRecord) -> bool:
        """Make the virtual environment ``release.venv`` and run the plan's install commands in it.

        Returns whether it is bound. What a kill leaves in the middle is in no record, so it is never used.
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
        return _files(checkout) != before or _refers_to(venv, checkout)

    def _variables(self) -> dict[str, str]:
        caches = self.settings.caches_of(self.layout.name)
        for cache, whole in caches.values():
            if cache != whole and cache.is_symlink():
                raise Misconfigured(
                    f"Could not install: {str(cache)!r} is a symbolic link, and an install may have made it. Remove it."
                )
            cache.mkdir(parents=True, exist_ok=True)
        provide_uv(self.layout)
        return {
            **variables_of_installs(),
            **{variable: str(cache) for variable, (cache, _whole) in caches.items()},
            # Linked files would be one file in the cache and in every environment: a branch that writes to its own
            # would change production's.
            "UV_LINK_MODE": "copy",
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
        if leads_out(path, of=checkout):
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
    return frozenset(
        f"{folder.path}{name}"
        for folder in untrusted.walk(checkout, leave_out=_BYPRODUCTS)
        for name in (*folder.below, *(entry.name for entry in folder.others))
    )


def _refers_to(venv: Path, checkout: Path) -> bool:
    """Say whether something was installed from the checkout (PEP 610), or by a path into it; in doubt it was."""
    in_doubt: list[str] = []
    seen = 0
    for folder in untrusted.walk(venv, lost=lambda path, _: in_doubt.append(path)):
        depth = folder.path.count("/")
        folder.below[:] = fnmatch.filter(folder.below, _TO_PACKAGES[depth]) if depth < len(_TO_PACKAGES) else []
        seen = max(seen, depth)
        for name in (entry.name for entry in folder.others):
            path = venv / folder.path / name
            if depth == 3 and name.endswith(".pth") and _names(path, venv, checkout):
                return True
            if depth == 4 and name == "direct_url.json" and _is_from(path, venv, checkout):
                return True
    return bool(in_doubt) or seen < 3


def _names(pth: Path, venv: Path, checkout: Path) -> bool:
    text = _origin(pth, venv)
    return text is None or os.fsencode(checkout) in text


def _is_from(direct_url: Path, venv: Path, checkout: Path) -> bool:
    text = _origin(direct_url, venv)
    try:
        url = urlsplit(json.loads(text or b"")["url"])
        # Not resolved: it is what somebody has written there.
        return url.scheme == "file" and Path(os.path.normpath(unquote(url.path))).is_relative_to(checkout)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return True


def _origin(path: Path, venv: Path) -> bytes | None:
    """Return a file that tells where a package is from; ``None`` when it cannot be read, or not whole."""
    try:
        text = untrusted.read(path, inside=venv, limit_bytes=_ORIGIN_LIMIT_BYTES + 1)
    except OSError:
        return None
    return text if len(text) <= _ORIGIN_LIMIT_BYTES else None
