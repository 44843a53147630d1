"""Run a command behind a fence: ``fence.py [RULE...] -- COMMAND...``. Runs by path, standard library only.

The code of a branch is a guest on this machine. Landlock (a part of the kernel, no rights needed) lets it touch what
RULES and the machine's programs are, and nothing else: not the instance's secrets, not other environments, not the
memory or the environment of any other process, not even by signals where the kernel can forbid them. A filter of
system calls keeps others' limits and priorities from it, and shared memory and terminals are its own where the machine
lets them be. What it starts inherits the fence, and nobody can step out of it. Root loses the rights that would lead
around it.

Rules: ``write:PATH`` and ``read:PATH`` are there for the command, ``programs:PATH`` is a folder of the machine's
programs, ``hidden:PATH`` is a tree that stays closed even where programs lie around it, ``required`` refuses to run on
a kernel that cannot fence. Nothing is opened because the command's own environment names it. ``memory:BYTES`` and
``file:BYTES`` bound each process and each file, ``processes:NUMBER`` what may come to those that run, ``nice:NUMBER``
lets others go first. ``port:FROM-TO`` are the only ports that may be connected to by TCP; without one, all are open.
``stays`` keeps this program outside, above the command: whatever the command has started ends with it, also what has
left its session and dropped every sign of where it comes from. ``off`` puts up nothing. ``fence.py apart`` only says,
by ending with 0, that commands can have shared memory and terminals of their own here.

The command's environment comes by standard input, as ``NAME=value`` with NUL between: in our own, what a branch wants
for its shop (``LD_PRELOAD``) would take effect before the fence is up.

Each command of a shop starts with this program, so it imports little: ``json`` alone would double what it costs.
"""

# The module ``signal`` only wraps this one in enums, and importing these costs more than all the rest.
import _signal  # type: ignore[import-not-found]
import ctypes
import os
import resource
import stat
import struct
import sys
import time

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same on every architecture but Alpha
_NO_NEW_PRIVILEGES, _DROP_FROM_BOUNDING_SET = 38, 24
_TAKE_ORPHANS, _GRACE_SECONDS, _LOOK_SECONDS = 36, 1, 0.02
_VERSION, _PATH_BENEATH = 1, 1
_SCOPES = 0b11  # abstract sockets, signals

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_KNOWN = {1: 13, 2: 14, 3: 15, 4: 15}
_NEWEST = 16
"""How many rights each version of the kernel knows, from the lowest bit on."""

_PROGRAMS = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/snap"),
    *("/etc", "/proc", "/sys", "/run/systemd/resolve", "/var/cache/fontconfig"),
)
_SECRETS = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssh"),
    *("/etc/ssl/private", "/etc/letsencrypt", "/etc/kubernetes", "/etc/rancher", "/etc/docker", "/etc/airflow"),
    *(
        "/etc/wireguard",
        "/etc/openvpn",
        "/etc/krb5.keytab",
        "/etc/NetworkManager",
        "/etc/postgresql",
        "/etc/machine-id",
    ),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx")
_SHARED_MEMORY, _TERMINALS = "/dev/shm", "/dev/pts"  # noqa: S108
_MOUNTS, _IPC, _USERS = 0x00020000, 0x08000000, 0x10000000  # namespaces
_FOLLOWS, _PLAIN = 0x4000 | 1 << 19, 0x2 | 0x8
"""Of mounts: it and all below it change with the machine's, and nothing flows back; no set-user-id, no programs."""
_BESIDE = ("lib", "lib64", "libexec")
"""What a program in a ``bin`` directory may need of the directory above it."""

_KEPT_BY_ROOT = frozenset({0, 1, 3, 4, 5, 6, 7, 10})
"""chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service."""

_CAPABILITIES = 64

_PORT, _CONNECT_TCP = 2, 1 << 1
_SET_FILTER, _FILTER = 22, 2
_FAST_OPEN, _MULTIPATH_TCP, _SMC = 0x20000000, 262, 43
_LOOKED_AT = (
    *("socket", "sendto", "sendmsg", "sendmmsg"),
    *("prlimit64", "setpriority", "ioprio_set"),
    *("sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"),
)
_CALLS = {
    "x86_64": (0xC000003E, (41, 44, 46, 307, 302, 141, 251, 142, 144, 203, 314)),
    "aarch64": (0xC00000B7, (198, 206, 211, 269, 261, 140, 30, 118, 119, 122, 274)),
}
"""Per machine: how it is called by the kernel, and the numbers of the calls that are looked at."""
_RINGS, _FOREIGN_CALLS = 425, 0x40000000
_LOAD, _EQUAL, _LEAST, _ANY_OF, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_MACHINE, _CALL, _ARGUMENTS = 4, 0, (16, 24, 32, 40)
"""Where the kernel shows these to a filter; of an argument, the lower half."""


def _error(number: int) -> "tuple[int, int, int, int]":
    return (_ANSWER, 0, 0, 0x00050000 | number)


_ALLOW = (_ANSWER, 0, 0, 0x7FFF0000)
_NOT_PERMITTED, _NO_SUCH_CALL, _NO_SUCH_PROTOCOL, _NOT_SUPPORTED = map(_error, (1, 38, 93, 95))

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Return the version of Landlock here, from 1; less when there is none."""
    return int(_libc.syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION)))


def can_filter() -> bool:
    """Say whether calls of the kernel can be looked at here: their numbers are known for 64 bits of x86 and ARM."""
    return os.uname().machine in _CALLS and sys.maxsize > 1 << 32


def can_close_ports() -> bool:
    """Say whether ports can be closed here: Landlock knows them from version 4 on, and the ways around must be shut."""
    return version() >= 4 and can_filter()


def main(rules: "list[str]", command: "list[str]") -> None:
    """Fence this process in and become ``command``."""
    found = 0 if "off" in rules else version()
    if found < 1 and "required" in rules:
        _say("Did not start: this kernel cannot fence the code of a branch in (no Landlock).")
        sys.exit(126)
    if "required" in rules and _values(rules, "port") and not can_close_ports():
        _say("Did not start: this kernel cannot close ports to the code of a branch.")
        sys.exit(126)
    if "off" not in rules:
        _limit(rules)
    if "stays" in rules:
        _stay_above()
    if found >= 1:
        try:
            _enclose(rules, found)
        except OSError as error:
            _say(f"Did not start: the fence could not be put up ({error.strerror}).")
            sys.exit(126)
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)  # Python ignores them, and what is ignored stays so
    try:
        os.execvpe(command[0], command, _given())
    except OSError as error:
        _say(f"Could not start {command[0]!r}: {error.strerror}.")
        sys.exit(127)


def _given() -> "dict[bytes, bytes]":
    """Read the command's environment, and leave it nothing to read; end where there is none."""
    parts = []
    while part := os.read(0, 1 << 16):
        parts.append(part)
    nowhere = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(nowhere, 0)
    if not parts:  # whoever starts us gives marks at least
        _say("Did not start: this program was replaced while it was used. Stop Airflow, then start it and try again.")
        sys.exit(126)
    pairs = (pair.partition(b"=") for pair in b"".join(parts).split(b"\0") if pair)
    return {name: value for name, _, value in pairs}


def _stay_above() -> None:
    """Go on as a child; this process waits for it, ends what it has left behind, and ends as it did.

    Orphans come to the nearest process above that asks for them. SIGTERM leaves a second to whatever runs, SIGUSR1
    nothing. The command is reaped last: until then its number cannot mean another group.
    """
    _libc.prctl(_TAKE_ORPHANS, 1, 0, 0, 0)
    command = os.fork()
    if command == 0:
        os.setpgid(0, 0)  # so that all of it that stays together is ended by one call
        return
    hurry = []

    def end_now(*_: object) -> None:
        hurry.append(True)
        _end(command, [command, *_children()], _signal.SIGKILL)

    _signal.signal(_signal.SIGTERM, lambda *_: _signal.alarm(_GRACE_SECONDS))
    _signal.signal(_signal.SIGALRM, end_now)
    _signal.signal(_signal.SIGUSR1, end_now)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)  # whoever reads sees the end when the command closes what it writes to
    while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)) and ended.si_pid != command:
        os.waitpid(ended.si_pid, 0)
    asked: set[int] = set()
    _signal.alarm(_GRACE_SECONDS)
    while left := [child for child in _children() if child != command]:
        if hurry:
            _end(command, left, _signal.SIGKILL)
        else:
            _end(command, [child for child in left if child not in asked], _signal.SIGTERM)
        asked.update(left)
        for child in left:
            os.waitpid(child, os.WNOHANG)
        time.sleep(_LOOK_SECONDS)
    _end_as(os.waitpid(command, 0)[1])


def _end(command: int, some: "list[int]", number: int) -> None:
    """Send a signal to children of ours, and to whatever else is in the command's group."""
    if some:
        for send, whom in ((os.killpg, command), *((os.kill, child) for child in some)):
            try:  # noqa: SIM105 - importing contextlib costs more than all the rest
                send(whom, number)
            except OSError:
                pass  # it has ended


def _children() -> "list[int]":
    me, found = str(os.getpid()), []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                if file.read().rpartition(")")[2].split()[1] == me:
                    found.append(int(name))
        except OSError:
            pass  # it has ended
    return found


def _end_as(status: int) -> None:
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    if number != _signal.SIGKILL:
        _signal.signal(number, _signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _say(sentence: str) -> None:
    os.write(2, f"{sentence}\n".encode())


def _limit(rules: "list[str]") -> None:
    _bound(resource.RLIMIT_CORE, 0)
    for number in _values(rules, "memory"):
        # Not the address space: Node, Java, Go and browsers reserve far more of it than they ever use.
        _bound(resource.RLIMIT_DATA, int(number))
    for number in _values(rules, "file"):
        _bound(resource.RLIMIT_FSIZE, int(number))
    for number in _values(rules, "processes"):
        try:
            with open("/proc/loadavg", encoding="ascii") as file:
                _bound(resource.RLIMIT_NPROC, int(file.read().split()[3].partition("/")[2]) + int(number))
        except (OSError, ValueError, IndexError):
            pass  # a kernel that does not tell how many there are
    for number in _values(rules, "nice"):
        os.nice(int(number))
    if os.geteuid() == 0:
        for capability in set(range(_CAPABILITIES)) - _KEPT_BY_ROOT:
            _libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)  # unknown, or gone already: no matter


def _bound(what: int, most: int) -> None:
    _soft, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _enclose(rules: "list[str]", found: int) -> None:
    devices = [*_DEVICES, *_own_devices(rules)]
    handled = (1 << _KNOWN.get(found, _NEWEST)) - 1
    ports = _values(rules, "port") if can_close_ports() else []
    wanted = struct.pack("=QQQ", handled, _CONNECT_TCP if ports else 0, _SCOPES if found >= 6 else 0)
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    ruleset = _libc.syscall(_CREATE, wanted, ctypes.c_size_t(size), ctypes.c_uint32(0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    hidden = [*_SECRETS, *_values(rules, "hidden")]
    for path in [*_PROGRAMS, sys.base_prefix, *_beside_programs(_values(rules, "programs"))]:
        for part in _open_parts(path, hidden):
            _add(ruleset, part, _READ & handled)
    for path in devices:
        _add(ruleset, path, handled & ~_EXECUTE)
    for path in _values(rules, "read"):
        _add(ruleset, path, _READ & handled)
    for path in _values(rules, "write"):
        _add(ruleset, path, handled, more=os.O_NOFOLLOW)
    for span in ports:
        _open_ports(ruleset, span)
    if _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or _libc.syscall(_RESTRICT, ruleset, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.close(ruleset)
    if can_filter():
        _filter_calls(ports=bool(ports))


def _own_devices(rules: "list[str]") -> "list[str]":
    """Give the command shared memory and terminals of its own, unless RULES open the machine's; return what to open.

    Locks and pools of Python need shared memory. Where it can have none of its own, as in most containers, it has the
    machine's, in which production may keep something; where the fence is required, it has none. Never are terminals
    the machine's: somebody may type there.
    """
    if {os.path.realpath(_SHARED_MEMORY), _TERMINALS} & set(_values(rules, "write")):
        return []
    if (os.geteuid() == 0 or _may_set_apart()) and _set_apart():
        return [_SHARED_MEMORY, _TERMINALS]
    return [] if "required" in rules else [_SHARED_MEMORY]


def _may_set_apart() -> bool:
    """Try in a child: an ordinary user's attempt that fails half-way leaves a process without rights that it had."""
    child = os.fork()
    if child == 0:
        os._exit(0 if _set_apart() else 1)
    return os.waitpid(child, 0)[1] == 0


def _set_apart() -> bool:
    """Put what is empty in place of the machine's shared memory, System V's too, and terminals; say if that worked."""
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_MOUNTS | _IPC | (_USERS if user else 0)):
        return False
    try:
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            if user:
                with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                    file.write(text)
    except OSError:
        return False
    mounts = (
        (b"none", "/", None, _FOLLOWS, None),
        (b"devpts", _TERMINALS, b"devpts", _PLAIN, b"newinstance,ptmxmode=0666,mode=0620"),
        (b"tmpfs", _SHARED_MEMORY, b"tmpfs", _PLAIN, b"mode=1777,size=25%"),
    )
    for source, target, kind, flags, options in mounts:
        if _libc.mount(source, target.encode(), kind, ctypes.c_ulong(flags), options):
            return False
    return True


def _open_ports(ruleset: int, span: str) -> None:
    first, _, last = span.partition("-")
    rule = ctypes.create_string_buffer(struct.pack("=QQ", _CONNECT_TCP, 0), 16)
    number = ctypes.c_uint64.from_buffer(rule, 8)
    kind, none = ctypes.c_int(_PORT), ctypes.c_uint32(0)
    for port in range(int(first), int(last or first) + 1):
        number.value = port
        if _libc.syscall(_ADD, ruleset, kind, rule, none):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _filter_calls(*, ports: bool) -> None:
    """Forbid what the kernel allows without asking Landlock.

    Limits, priorities and processors of other processes: who gives a process a second of processor time has the kernel
    kill it. Only those of the caller itself may be set, by the number 0: a filter knows no other of its own.

    ``ports``: also what connects: Multipath TCP, SMC, data that opens a connection, rings of calls. Programs take the
    ordinary way then: each answer is one that a kernel without it gives.
    """
    machine, numbers = _CALLS[os.uname().machine]
    first, second, third, fourth = _ARGUMENTS
    itself = ((_LOAD, 0, 0, first), (_EQUAL, 0, 1, 0), _ALLOW, _NOT_PERMITTED)
    only_looks = ((_LOAD, 0, 0, third), (_EQUAL, 0, 3, 0), (_LOAD, 0, 0, third + 4), (_EQUAL, 0, 1, 0))
    looks: dict[str, tuple[tuple[int, int, int, int], ...]] = dict.fromkeys(_LOOKED_AT, itself)
    looks["prlimit64"] = ((_LOAD, 0, 0, first), (_EQUAL, 4, 0, 0), *only_looks, _ALLOW, _NOT_PERMITTED)
    for name, one_process in (("setpriority", 0), ("ioprio_set", 1)):
        looks[name] = ((_LOAD, 0, 0, first), (_EQUAL, 0, 3, one_process), (_LOAD, 0, 0, second), *itself[1:])
    looks["socket"] = (
        *((_LOAD, 0, 0, first), (_EQUAL, 2, 0, _SMC)),
        *((_LOAD, 0, 0, third), (_EQUAL, 0, 1, _MULTIPATH_TCP), _NO_SUCH_PROTOCOL, _ALLOW),
    )
    for name, flags in (("sendto", fourth), ("sendmsg", third), ("sendmmsg", fourth)):
        looks[name] = ((_LOAD, 0, 0, flags), (_ANY_OF, 0, 1, _FAST_OPEN), _NOT_SUPPORTED, _ALLOW)
    steps = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, machine), _NO_SUCH_CALL]
    steps += [(_LOAD, 0, 0, _CALL), (_LEAST, 0, 1, _FOREIGN_CALLS), _NO_SUCH_CALL]
    for name, number in zip(_LOOKED_AT, numbers, strict=True):
        if ports or not name.startswith(("socket", "send")):
            steps += [(_EQUAL, 0, len(looks[name]), number), *looks[name]]
    if ports:
        steps += [(_EQUAL, 0, 1, _RINGS), _NO_SUCH_CALL]
    steps.append(_ALLOW)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = struct.pack("@HP", len(steps), ctypes.addressof(code))
    if _libc.prctl(_SET_FILTER, _FILTER, program, 0, 0):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _values(rules: "list[str]", kind: str) -> "list[str]":
    return [rule[len(kind) + 1 :] for rule in rules if rule.startswith(f"{kind}:")]


def _beside_programs(folders: "list[str]") -> "list[str]":
    found = []
    for entry in folders:
        above, name = os.path.split(os.path.realpath(entry))
        found.append(entry)
        if name in {"bin", "sbin"}:
            found += [os.path.join(above, each) for each in _BESIDE]
        elif name == "shims":  # of a manager of versions: all that it has installed is beside them
            found.append(above)
    return found


def _open_parts(path: str, hidden: "list[str]") -> "list[str]":
    """Return ``path``, or, where something hidden lies in it, everything in it that leads to nothing hidden."""
    real = os.path.realpath(path)
    if any(real == each or real.startswith(f"{each}/") for each in hidden):
        return []
    if not any(each.startswith(f"{real.rstrip('/')}/") for each in hidden):
        return [real]
    try:
        names = os.listdir(real)
    except OSError:
        return []
    return [part for name in names for part in _open_parts(f"{real.rstrip('/')}/{name}", hidden)]


def _add(ruleset: int, path: str, rights: int, more: int = 0) -> None:
    """Allow ``rights`` on a path and below it; one that is not there needs nothing, nor a link that is not followed."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC | more)
    except OSError:
        return
    try:
        mode = os.fstat(place).st_mode
        if stat.S_ISLNK(mode):
            return
        if not stat.S_ISDIR(mode):
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, place)
        if _libc.syscall(_ADD, ruleset, _PATH_BENEATH, rule, ctypes.c_uint32(0)):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    finally:
        os.close(place)


if __name__ == "__main__":
    if sys.argv[1:] == ["apart"]:
        sys.exit(not _set_apart())
    _at = sys.argv.index("--")
    main(sys.argv[1:_at], sys.argv[_at + 1 :])
