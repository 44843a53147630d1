"""Start a command that belongs to nobody: ``launcher.py bare|kept LOG COMMAND...``. By path, standard library only.

The launcher forks, prints the child's process id and ends; the child leads a session of its own, writes to LOG and
becomes the command, a program by its path. So the command is a child of init and no descendant of the task that asked
for it.

``kept``: a process of ours stays above it, the *keeper*. Servers that set their title (gunicorn, puma, nginx) write it
over their environment, and the marks with it by which everybody knows whose they are; programs of a branch may drop
them on purpose. The keeper's stay, and all that the command has started is found below it, orphans too. It ends when
nothing is left below it, and only then: it does not listen to SIGTERM.
"""

import os
import sys

_TAKE_ORPHANS = 36


def main(kept: bool, log: str, command: "list[str]") -> None:  # noqa: FBT001 - two words of a command line
    """Fork; a parent reports, the child becomes ``command``."""
    # O_APPEND: the log may be cut to size while the command writes.
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    if kept:
        if os.fork():
            return
        os.setsid()
        _take_orphans()
    child = os.fork()
    if child:
        os.write(1, b"%d" % child)
        if kept:
            _keep()
        return
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"Could not start {command[0]!r}: {error.strerror}.\n".encode())
        os._exit(127)


def _take_orphans() -> None:
    """Be the parent of all that loses its own below this process; before there is anything below it."""
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - half as much again as the whole launcher, which forwarders need not wait for

        ctypes.CDLL(None).prctl(_TAKE_ORPHANS, 1, 0, 0, 0)


def _keep() -> None:
    """Wait until nothing is left below this process."""
    import _signal  # type: ignore[import-not-found] # noqa: PLC0415 - the module ``signal`` is three times as dear

    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP):
        _signal.signal(number, _signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)  # whoever asked for the start reads to the end
    os.chdir("/")
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main(sys.argv[1] == "kept", sys.argv[2], sys.argv[3:])
