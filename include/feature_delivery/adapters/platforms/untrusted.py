"""Files that the code of a branch may change while we look at them: read, copied, removed, and nothing else.

Between two looks at a path a folder on it may become a link, and a file a pipe that nobody writes to. So a path is
followed one name at a time, from a folder that only we can replace: each name is opened in the folder that was opened
before it, never through a symbolic link and never waiting; what it is, is asked of what has been opened.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import FileIO
    from pathlib import Path

DEPTH_LIMIT = 200
"""Each level is an open file of ours; no path that a program is given by its name is half as deep."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_PERMISSIONS = 0o777
_CHUNK, _SHOWN = 1 << 20, 99
_PATH_LIMIT_BYTES = 3_000
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
_NOTHING: frozenset[str] = frozenset()
_CHANGED = "it changed meanwhile"
_PASSED_OVER = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.ESTALE), _CHANGED),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "it may not be read"),
    errno.EAGAIN: "somebody holds it for themselves",  # by a lease
}
"""What the code of a branch can bring about in its own files; what else fails is ours."""


def open_file(path: Path, *, inside: Path) -> int:
    """Return a descriptor of the regular file ``path``, which lies below the folder ``inside``.

    Raises:
        OSError: It is not there, is no regular file, or a symbolic link is on the way; ``strerror`` says so.
    """
    descriptor = os.open(inside, _FOLDER)
    for name in path.relative_to(inside).parts:
        above = descriptor
        try:
            descriptor = os.open(name, _FILE, dir_fd=above)
        finally:
            os.close(above)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return descriptor


def read(path: Path, *, inside: Path, limit_bytes: int) -> bytes:
    """Return the first ``limit_bytes`` of the regular file ``path``, which lies below the folder ``inside``.

    Raises:
        OSError: As of ``open_file``.
    """
    with os.fdopen(open_file(path, inside=inside), "rb") as file:
        return file.read(limit_bytes)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder while it is looked into.

    Attributes:
        path: From the top, which is ``""``; with its own ``/`` at the end.
        descriptor: It is open as.
        below: Names of the folders in it; who takes one out is not shown it.
        others: Whatever else is in it; links, whatever they lead to, are here.
    """

    path: str
    descriptor: int
    below: list[str]
    others: list[os.DirEntry[str]]


def walk(
    directory: Path,
    *,
    leave_out: frozenset[str] = _NOTHING,
    lost: Callable[[str, str], None] = lambda _path, _why: None,
) -> Iterator[Folder]:
    """Yield ``directory`` and each folder in it, the upper one first.

    Args:
        directory: Only we can replace it.
        leave_out: Names, of folders and of others, that are passed over.
        lost: Told which folder is not looked into, and why.

    Raises:
        OSError: ``directory`` cannot be opened.
    """
    with ExitStack() as kept:
        way = [_look_into("", os.open(directory, _FOLDER), leave_out)]
        kept.callback(_close, way)
        yield way[0]
        while way:
            here = way[-1]
            if not here.below:
                os.close(way.pop().descriptor)
                continue
            name = here.below.pop()
            path = f"{here.path}{name}/"
            if len(way) > DEPTH_LIMIT or len(os.fsencode(path)) > _PATH_LIMIT_BYTES:
                lost(path, "it lies too deep")
                continue
            try:
                way.append(_look_into(path, os.open(name, _FOLDER, dir_fd=here.descriptor), leave_out))
            except OSError as error:
                lost(path, _why(error))
            else:
                yield way[-1]


def copy(source: Path, target: Path, *, leave_out: frozenset[str]) -> list[str]:
    """Copy the folder ``source`` to ``target``, which is made; return what was left out and why, one phrase each.

    Links are copied as links; pipes, sockets and what changes while it is copied are left out.

    Args:
        source: Only we can replace it.
        target: Only we can write there.
        leave_out: Names that are passed over without a word.

    Raises:
        OSError: ``target`` cannot be written.
    """
    left: list[str] = []
    made: list[tuple[str, os.stat_result]] = []

    def lost(path: str, why: str) -> None:
        left.append(f"{_cut(path)} ({why})")

    for folder in walk(source, leave_out=leave_out, lost=lost):
        to = os.path.join(target, folder.path)  # noqa: PTH118 - tens of thousands
        os.mkdir(to, stat.S_IRWXU)  # noqa: PTH102
        made.append((to, os.fstat(folder.descriptor)))
        for entry in folder.others:
            if why := _copy_entry(entry, folder.descriptor, f"{to}{os.sep if not folder.path else ''}{entry.name}"):
                lost(f"{folder.path}{entry.name}", why)
    for to, found in reversed(made):  # last: some may not be written to
        os.utime(to, ns=(found.st_atime_ns, found.st_mtime_ns))
        os.chmod(to, found.st_mode & _PERMISSIONS)  # noqa: PTH101
    return left


def _copy_entry(entry: os.DirEntry[str], folder: int, to: str) -> str:
    """Copy what is no folder; return why not, or nothing."""
    try:
        if entry.is_symlink():
            leads_to = os.readlink(entry.name, dir_fd=folder)
        elif entry.is_file(follow_symlinks=False):
            descriptor = os.open(entry.name, _FILE, dir_fd=folder)
        else:
            found = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
            return _KINDS.get(stat.S_IFMT(found.st_mode), "neither a file nor a folder nor a link")
    except OSError as error:
        return _why(error)
    if entry.is_symlink():
        os.symlink(leads_to, to)  # noqa: PTH211
        return ""
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return _CHANGED
        _copy_file(file, to, found)
    return ""


def _copy_file(file: FileIO, to: str, found: os.stat_result) -> None:
    """Copy as much as a file has held when it was opened: somebody may write to it faster than we read."""
    with open(to, "xb", buffering=0) as copied:  # noqa: PTH123
        left = found.st_size
        while left > 0 and (data := file.read(min(left, _CHUNK))):
            left -= len(data)
            while data:  # what is not taken whole is refused, or taken, the next time
                data = data[copied.write(data) :]
        os.utime(copied.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
        os.fchmod(copied.fileno(), found.st_mode & _PERMISSIONS)


def remove(path: Path) -> None:
    """Remove ``path`` with all that is in it; links as links. Gone already is done.

    Folders that their owner made unwritable are opened first, and those that lie very deep are brought up.

    Args:
        path: Nobody but us can replace the folder that it is in.

    Raises:
        OSError: Something could not be removed, or something new has come.
    """
    try:
        above = os.open(path.parent, _FOLDER)
    except FileNotFoundError:
        return
    try:
        if stat.S_ISDIR(os.stat(path.name, dir_fd=above, follow_symlinks=False).st_mode):
            descriptor = _open_to_empty(path.name, above)
            try:
                _empty(descriptor)
            finally:
                os.close(descriptor)
            os.rmdir(path.name, dir_fd=above)
        else:
            os.unlink(path.name, dir_fd=above)
    except FileNotFoundError:
        pass
    except OSError as error:
        inner = str(error.filename or "")
        error.filename, error.filename2 = str(path) if inner == path.name else f"{path}/{_cut(inner)}", None
        raise
    finally:
        os.close(above)


def _empty(directory: int) -> None:
    """Remove all that is in an open folder."""
    way: list[tuple[int, str, list[str]]] = [(directory, "", _remove_others(directory))]
    try:
        while True:
            here, name, below = way[-1]
            if not below:
                if len(way) == 1:
                    return
                os.close(way.pop()[0])
                with suppress(FileNotFoundError):
                    os.rmdir(name, dir_fd=way[-1][0])
                continue
            child = below.pop()
            with suppress(FileNotFoundError):
                descriptor = _open_to_empty(child, here)
                if len(way) > DEPTH_LIMIT:
                    os.close(descriptor)  # it was opened for the right to move it
                    risen = f".{secrets.token_hex(8)}"
                    os.rename(child, risen, src_dir_fd=here, dst_dir_fd=directory)
                    way[0][2].append(risen)
                    continue
                way.append((descriptor, child, []))
                way[-1][2].extend(_remove_others(descriptor))
    except OSError as error:
        error.filename = "/".join([*(name for _, name, _ in way[1:]), str(error.filename or "")])
        raise
    finally:
        for descriptor, _, _ in way[1:]:
            os.close(descriptor)


def _open_to_empty(name: str, folder: int) -> int:
    """Return a descriptor of a folder in another one, with our right to empty it."""
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    except PermissionError:
        _unlock(name, folder)
        descriptor = os.open(name, _FOLDER, dir_fd=folder)
    mode = os.fstat(descriptor).st_mode
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IRWXU)
    return descriptor


def _unlock(name: str, folder: int) -> None:
    """Give ourselves the rights on a folder that cannot be opened, and never on what a link in its place leads to."""
    if not hasattr(os, "O_PATH"):
        os.chmod(name, stat.S_IRWXU, dir_fd=folder, follow_symlinks=False)
        return
    place = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.chmod(f"/proc/self/fd/{place}", stat.S_IRWXU)  # noqa: PTH101
    finally:
        os.close(place)


def _remove_others(folder: int) -> list[str]:
    """Remove what is no folder; return the names of the folders."""
    below = []
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            below.append(entry.name)
        else:
            with suppress(FileNotFoundError):
                os.unlink(entry.name, dir_fd=folder)
    return below


def _cut(path: str) -> str:
    return path if len(path) <= _SHOWN else f"{path[:_SHOWN]}…"


def _close(way: list[Folder]) -> None:
    for folder in way:
        os.close(folder.descriptor)


def _look_into(path: str, descriptor: int, leave_out: frozenset[str]) -> Folder:
    folder = Folder(path, descriptor, [], [])
    try:
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if entry.name in leave_out:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folder.below.append(entry.name)
                else:
                    folder.others.append(entry)
    except OSError:
        os.close(descriptor)
        raise
    return folder


def _why(error: OSError) -> str:
    """Return why something is passed over; raise what is no doing of a branch's."""
    try:
        return _PASSED_OVER[error.errno or 0]
    except KeyError:
        raise error from None
