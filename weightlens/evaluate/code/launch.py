"""How a run begins: the interpreter, the code it is sent, and what it may see of the disk."""

import functools
import marshal
import os
import shutil
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from weightlens.errors import EvaluationError
from weightlens.evaluate.code.jail import isolation, wire
from weightlens.evaluate.code.limits import Checks, Limits

Wall = Literal["bubblewrap", "namespaces", "none"]
"""What stands between a program and the machine."""

JAIL = ("wire", "peer", "isolation", "subject", "checker", "entry")
"""The modules of `jail`, each after those that it imports."""

ENVIRONMENT = {
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    # sets iterate in the same order in every run: a program that leans on it has one verdict
    "PYTHONHASHSEED": "0",
    # each further arena would take 64 MiB of the address space for every thread
    "MALLOC_ARENA_MAX": "1",
}
"""All that a program finds in its environment."""

_LOADER = """
import marshal, os, sys
def take(length):
    raw = b""
    while len(raw) < length:
        raw += os.read(0, length - len(raw)) or sys.exit("no code came")
    return raw
package, modules = marshal.loads(take(int.from_bytes(take(4), "big")))
sys.modules[package] = type(sys)(package)
for name, code in modules:
    module = sys.modules[name] = type(sys)(name)
    exec(code, module.__dict__)
module.main()
"""


def interpreter() -> list[str]:
    """The bare interpreter under this one: no site packages, no folder of its own on the path."""
    if not sys.executable:
        raise EvaluationError("programs need an interpreter, but sys.executable is empty")
    # past the virtual environment's link: its folder stays hidden
    return [os.path.realpath(sys.executable), "-s", "-S", "-P", "-B", "-c", _LOADER]


@functools.cache
def bundle() -> bytes:
    """The modules of `jail` as compiled code, behind their length."""
    folder = Path(__file__).with_name("jail")
    package = f"{__package__}.jail"
    codes = []
    for name in JAIL:
        path = folder / f"{name}.py"
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        codes.append((f"{package}.{name}", code))
    raw = marshal.dumps((package, codes))
    return len(raw).to_bytes(4, "big") + raw


@functools.cache
def _visible() -> tuple[list[str], list[list[str]]]:
    """Paths that a program may read, and symbolic links (target, path) at the root."""
    shown, links = ["/usr"], []
    for path in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(path):
            links.append([os.readlink(path), path])
        elif os.path.isdir(path):
            shown.append(path)
    own = [sys.base_prefix, sys.base_exec_prefix, os.path.dirname(interpreter()[0])]
    own += [os.path.dirname(os.__file__), "/nix/store"]
    for path in map(os.path.realpath, own):
        inside = any(path == known or path.startswith(f"{known}/") for known in shown)
        if os.path.isdir(path) and path != "/" and not inside:
            shown.append(path)
    if os.path.isfile("/etc/ld.so.cache"):
        shown.append("/etc/ld.so.cache")
    return shown, links


def command(wall: Wall, limits: Limits) -> list[str]:
    """What to execute for a run behind this wall."""
    if wall != "bubblewrap":
        return interpreter()
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise EvaluationError("bubblewrap is not installed")
    shown, links = _visible()
    arguments = ["--die-with-parent", "--as-pid-1", "--unshare-pid", "--unshare-net"]
    arguments += ["--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if isolation.spare_user() is None:
        arguments.append("--unshare-user-try")
    for path in shown:
        # left to itself it makes folders on the way that only their owner may enter
        for folder in reversed(Path(path).parents[:-1]):
            arguments += ["--perms", "0755", "--dir", str(folder)]
        arguments += ["--ro-bind", path, path]
    for target, path in links:
        arguments += ["--symlink", target, path]
    space = ["--perms", "1777", "--size", str(limits.folder_mib << 20), "--tmpfs", "/tmp"]
    arguments += ["--proc", "/proc", "--dev", "/dev", *space]
    # what bubblewrap made in memory has no size limit: nothing more may be written there
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--"]
    return [bubblewrap, *arguments, *interpreter()]


def orders(
    program: str, checks: Checks | None, *, wall: Wall, limits: Limits, ground: str
) -> bytes:
    """All that is written to the run: the code, its orders, and the checks.

    ground: an empty folder, to work in or to mount on. EvaluationError: a program or checks of
    more than 16 MiB.
    """
    shown, links = _visible()
    settings = asdict(limits)
    settings["wall_ms"] = round(settings.pop("wall_seconds") * 1000)
    settings |= {"program": program, "wall": wall, "ground": ground, "shown": shown, "links": links}
    reads = wall != "none" or readable_by_others()
    settings["user"] = isolation.spare_user(threading.get_native_id()) if reads else None
    settings["machine"] = os.readlink("/proc/self/ns/user") if wall != "none" else ""
    asked = checks and (checks.header, checks.setup, checks.tests, checks.names)
    try:
        messages = [wire.encode(value, _refuse) for value in (settings, asked)]
    except wire.WireError as error:
        raise EvaluationError(f"a program or its tests cannot be run: {error}") from None
    return bundle() + b"".join(len(body).to_bytes(4, "big") + body for body in messages)


def _refuse(value: object) -> bytes:
    raise wire.WireError(f"{type(value).__name__} is no plain value")


def readable_by_others() -> bool:
    """Whether a user who owns nothing can read the interpreter where it lies."""
    library = Path(os.__file__).resolve().parent
    return all(folder.stat().st_mode & 0o005 == 0o005 for folder in (library, *library.parents))
