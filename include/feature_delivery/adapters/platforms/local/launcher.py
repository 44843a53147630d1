"""Start a command that belongs to nobody: ``launcher.py LOG COMMAND...``. Runs by path, standard library only.

The launcher forks, prints the child's process id and ends; the child leads a session of its own, writes to LOG and
becomes the command. So the command is a child of init and no descendant of the task that asked for it.
"""

import os
import sys


def main(log: str, command: list[str]) -> None:
    """Fork; the parent reports, the child becomes ``command``."""
    # O_APPEND: the log may be cut to size while the command writes.
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    child = os.fork()
    if child:
        os.write(1, b"%d" % child)
        return
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"Could not start {command[0]!r}: {error.strerror}.\n".encode())
        os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
