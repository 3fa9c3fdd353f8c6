"""Leaving the machine behind: namespaces, a root of its own, no privileges, limits.

Linux only, through libc: `unshare(2)`, `mount(2)`, `pivot_root(2)`, `mount_setattr(2)` (5.12),
`prctl(2)`. Every function raises OSError where the machine does not let it.
"""

import ctypes
import os
import resource

NEW_USER, NEW_PID, NEW_NET = 0x10000000, 0x20000000, 0x40000000
NEW_MOUNTS, NEW_IPC, NEW_NAMES = 0x00020000, 0x08000000, 0x04000000

READ_ONLY, NO_SUID, NO_DEVICES, NO_EXECUTION = 1, 2, 4, 8
REMOUNT, BIND, RECURSIVE, PRIVATE = 32, 4096, 16384, 1 << 18
DETACH = 2

PARENT_DEATH, DUMPABLE, NO_NEW_PRIVILEGES, SUBREAPER = 1, 4, 38, 36
KILL = 9

DEVICES = ("null", "zero", "full", "random", "urandom")

SPARE_USER = 2_000_000_000
"""User ids from here up belong to nobody; a run as root takes this plus its thread's number."""

NOBODY = 65534

_libc = ctypes.CDLL(None, use_errno=True)


class _Attributes(ctypes.Structure):
    """struct mount_attr."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("users", ctypes.c_uint64),
    )


_MOUNT_SETATTR = 442  # the same number on every architecture, as for all system calls since 424
_HERE, _ALL_BELOW = -100, 0x8000


def _checked(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def control(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    zero = ctypes.c_ulong(0)
    _checked(_libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero), f"prctl {option}")


def mount(source: str, target: str, kind: str = "", *, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    arguments = (source.encode(), target.encode(), kind.encode() or None)
    result = _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None)
    _checked(result, f"mount {target}")


def show(source: str, target: str) -> None:
    """Makes `source` and all that is mounted in it visible at `target`, read-only."""
    mount(source, target, flags=BIND | RECURSIVE)
    flags = READ_ONLY | NO_SUID | NO_DEVICES
    wanted = _Attributes(flags, 0, 0, 0)
    result = _libc.syscall(
        ctypes.c_long(_MOUNT_SETATTR),
        ctypes.c_long(_HERE),
        target.encode(),
        ctypes.c_ulong(_ALL_BELOW),
        ctypes.byref(wanted),
        ctypes.c_ulong(ctypes.sizeof(wanted)),
    )
    _checked(result, f"mount_setattr {target}")


def spare_user(number: int = 0) -> int | None:
    """A user that root can become and that owns nothing; None where there is none to become.

    number: below 2^22; as many users there are, so that those who run at once are told apart.
    """
    if os.geteuid() != 0:
        return None
    with open("/proc/self/uid_map") as lines:
        ranges = [tuple(map(int, line.split())) for line in lines]
    for user in (SPARE_USER + number, NOBODY):
        if any(first <= user < first + count for first, _, count in ranges):
            return user
    return None


def leave(*, own_user: bool) -> None:
    """Into fresh namespaces; processes begun from now on live in the new PID namespace."""
    user, group = os.geteuid(), os.getegid()
    flags = NEW_PID | NEW_NET | NEW_MOUNTS | NEW_IPC | NEW_NAMES
    _checked(_libc.unshare(flags | (NEW_USER if own_user else 0)), "unshare")
    if own_user:
        inside = user or NOBODY
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{inside} {user} 1"),
            ("gid_map", f"{group or NOBODY} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def hide(ground: str, shown: list[str], links: list[list[str]], *, folder_mib: int) -> None:
    """A root of its own that holds nothing but `shown`, read-only, and an empty /tmp in memory.

    ground: an existing empty folder to mount on. links: symbolic links as target and path.
    Called by the first process of a new PID namespace.
    """
    mount("none", "/", flags=RECURSIVE | PRIVATE)
    quiet = NO_SUID | NO_DEVICES
    mount("tmpfs", ground, "tmpfs", flags=quiet, options="size=1m,nr_inodes=1k,mode=755")
    os.mkdir(f"{ground}/old")
    _checked(_libc.pivot_root(ground.encode(), f"{ground}/old".encode()), "pivot_root")
    os.chdir("/")
    for path in shown:
        if os.path.isdir(f"/old{path}"):
            os.makedirs(path, exist_ok=True)
        else:
            _empty_file(path)
        show(f"/old{path}", path)
    for target, path in links:
        os.symlink(target, path)
    os.mkdir("/dev")
    for name in DEVICES:
        _empty_file(f"/dev/{name}")
        mount(f"/old/dev/{name}", f"/dev/{name}", flags=BIND)
    for path in ("/proc", "/tmp"):
        os.makedirs(path, exist_ok=True)
    mount("proc", "/proc", "proc", flags=quiet | NO_EXECUTION)
    size = f"size={folder_mib}m,nr_inodes={folder_mib * 256},mode=1777"
    mount("tmpfs", "/tmp", "tmpfs", flags=quiet, options=size)
    _checked(_libc.umount2(b"/old", DETACH), "umount /old")
    os.rmdir("/old")
    mount("none", "/", flags=REMOUNT | BIND | READ_ONLY | quiet)
    os.chdir("/tmp")


def _empty_file(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def drop(user: int | None) -> None:
    """Gives up root for `user`, every capability, and the way back to either."""
    control(NO_NEW_PRIVILEGES, 1)
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # capability version 3, this process
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def limit(settings: dict[str, int], *, others: int | None) -> None:
    """The limits of every process begun from here on, this one included.

    others: processes and threads that this user has besides the program's; None where they
    cannot be told, and the number of processes is left to the checker's count.
    """
    mib = 1 << 20
    wanted = {
        "AS": settings["memory_mib"] * mib,
        "FSIZE": settings["file_mib"] * mib,
        "NOFILE": settings["open_files"],
        "CPU": settings["cpu_seconds"] + 1,
        "CORE": 0,
        "MEMLOCK": 0,
        "MSGQUEUE": 64,
        "SIGPENDING": 64,
    }
    if others is not None:
        # beside the program's own: the checker, and the one outside that waits for it
        wanted["NPROC"] = others + settings["processes"] + 2
    for name, most in wanted.items():
        which = getattr(resource, f"RLIMIT_{name}", None)
        if which is not None:
            _, hard = resource.getrlimit(which)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            # at the soft limit of CPU time a signal says why, a second later comes the end
            resource.setrlimit(which, (most - 1 if name == "CPU" else most, most))


def family(*, own_namespace: bool) -> list[int]:
    """The processes of the program: all but this one, or all that descend from this one."""
    here = os.getpid()
    present = [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != here]
    if own_namespace:
        return present
    parents = {process: _parent(process) for process in present}
    found: list[int] = []
    generation = {here}
    while generation:
        generation = {process for process, parent in parents.items() if parent in generation}
        found += generation
    return found


def _parent(process: int) -> int:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def resident_mib(processes: list[int]) -> int:
    """The memory that the processes hold, pages that they share counted for each."""
    pages = 0
    for process in processes:
        try:
            with open(f"/proc/{process}/statm", "rb") as file:
                pages += int(file.read().split()[1])
        except OSError:
            continue  # ended in between
    return pages * resource.getpagesize() >> 20


def tasks_of_this_user() -> int:
    """Processes and threads of this user on the whole machine."""
    total, user = 0, os.getuid()
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == user:
                total += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue  # ended in between
    return total
