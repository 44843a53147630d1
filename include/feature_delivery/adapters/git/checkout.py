"""Writes a commit's files into a directory, and nothing anywhere else."""

from __future__ import annotations

import tempfile
from pathlib import Path

from feature_delivery.adapters.git.commands import GitCommands
from feature_delivery.adapters.git.objects import Objects, shown_path
from feature_delivery.domain.errors import Refused, Unavailable
from feature_delivery.domain.names import CommitSha


def checkout(commands: GitCommands, objects: Objects, *, commit: CommitSha, directory: Path) -> None:
    """Fill the empty ``directory`` with the files of ``commit``.

    ``read-tree`` and ``checkout-index`` with an index of their own, not ``git archive``: that leaves out what
    ``export-ignore`` names, and what runs must be what was merged, tests included. Git itself refuses entries named
    ``.git`` or ``..`` and never writes through a symbolic link. Submodules stay empty directories and LFS files stay
    pointers: nothing is fetched from anywhere else.

    A symbolic link that leads out of the repository is refused, as a whole commit: written as it is, the shop could
    be made to serve any file of the machine; written as a plain file, something else would run than was reviewed.

    Raises:
        Refused: Such a link; a directory that is missing or not empty; entries that Git refuses to write.
    """
    target = directory.absolute()
    if not target.is_dir() or any(target.iterdir()):
        raise Refused(f"Commit {commit[:12]} cannot be written to {str(target)!r}: it is not an empty directory.")
    for name, link in objects.symbolic_links(commit).items():
        if leads_out(name, link):
            raise Refused(
                f"Commit {commit[:12]} is refused: its symbolic link {shown_path(name)!r} leads out of the repository "
                f"({shown_path(link)[:80]!r}). Replace it by a relative link to a file inside."
            )
    doing = f"write the files of {commit[:12]}"
    try:
        with tempfile.TemporaryDirectory(prefix="feature-delivery-index-") as scratch:
            index = {"GIT_INDEX_FILE": f"{scratch}/index"}
            commands.run("read-tree", "--end-of-options", commit, doing=doing, variables=index)
            commands.run(f"--work-tree={target}", "checkout-index", "--all", "--quiet", doing=doing, variables=index)
    except OSError as error:
        raise Unavailable(f"Could not {doing}: {error.strerror}. Free some space and try again.") from error


def leads_out(name: bytes, target: bytes) -> bool:
    """Say whether the symbolic link ``name`` may point outside of the repository.

    Its own directory is a real one (a tree's entry cannot be both), so leading ``..`` are counted against its depth.
    A ``..`` behind a name is refused whatever it adds up to: that name may be a link itself (``s -> .``, then
    ``s/../x`` is outside). So each link ends inside, and a chain of them does.
    """
    parts = [part for part in target.split(b"/") if part not in {b"", b"."}]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    return target.startswith(b"/") or b".." in parts[ups:] or ups > name.count(b"/")
