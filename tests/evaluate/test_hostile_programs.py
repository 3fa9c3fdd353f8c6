"""What hostile programs try to reach from behind a wall, and what comes of it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from walls import CLOSED, asked, behind

from weightlens.evaluate.code.launch import ENVIRONMENT, Wall
from weightlens.evaluate.code.sandbox import Sandbox


@pytest.fixture(params=CLOSED)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return behind(request.param)


@pytest.fixture(params=[*CLOSED, "none"])
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Also without a wall: for programs that harm nothing but their verdict."""
    return behind(request.param)


def test_the_checker_s_memory_and_descriptors_are_closed(sandbox: Sandbox) -> None:
    program = """
import ctypes, os
def f():
    parent, opened = os.getppid(), []
    for process in (1, parent):
        for name in ("mem", "environ", "maps"):
            try:
                with open(f"/proc/{process}/{name}", "rb"):
                    opened.append(name)
            except OSError:
                pass
        for name in ("exe", "cwd", "root", "fd", *(f"fd/{n}" for n in range(9))):
            try:
                os.listdir(f"/proc/{process}/fd") if name == "fd" else os.readlink(
                    f"/proc/{process}/{name}"
                )
                opened.append(name)
            except OSError:
                pass
    if ctypes.CDLL(None).ptrace(16, parent, 0, 0) == 0:
        opened.append("ptrace")
    return opened
"""
    assert asked(sandbox, program, "assert f() == [], f()").outcome == "passed"


def test_no_signal_reaches_the_checker_or_anybody_else(sandbox: Sandbox) -> None:
    program = """
import os, signal
def f():
    for target in (os.getppid(), 1, -1):
        for number in range(1, 65):
            try:
                os.kill(target, number)
            except OSError:
                pass
    for group in (0, os.getpgid(os.getppid()), 1):
        try:
            os.killpg(group, signal.SIGKILL) if group else None
        except OSError:
            pass
    return 42
"""
    # the checker is there to hear the right answer
    finished = asked(sandbox, program)
    assert finished.outcome == "passed", finished


def test_a_program_that_kills_its_own_group_is_killed(sandbox: Sandbox) -> None:
    finished = asked(sandbox, "import os\ndef f():\n    os.killpg(0, 9)")
    assert (finished.outcome, finished.detail) == ("killed", "died of SIGKILL")


def test_the_environment_is_the_sandbox_s_own(
    any_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    program = """
import os
def f():
    with open("/proc/self/environ") as file:
        return sorted(os.environ), "hunter2" in file.read()
"""
    # bubblewrap adds where it is, and Python the locale that it found
    names = {*ENVIRONMENT, "PWD", "LC_CTYPE"}
    tests = f"names, seen = f()\nassert set(names) <= {names!r}, names\nassert not seen"
    finished = asked(any_sandbox, program, tests)
    assert finished.outcome == "passed", finished


def test_no_process_outside_is_seen(sandbox: Sandbox) -> None:
    program = """
import os
def f():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
"""
    assert asked(sandbox, program, "assert f() in ([1, 2], [1, 2, 3]), f()").outcome == "passed"


def test_open_files_are_not_inherited(any_sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    with open(tmp_path / "secret") as file:
        os.set_inheritable(file.fileno(), True)
        program = """
import os
def f():
    seen = []
    for descriptor in range(3, 64):
        try:
            seen.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except OSError:
            pass
    return [name for name in seen if not name.startswith("pipe:")], len(seen)
"""
        # two pipes, to the checker and from it
        assert asked(any_sandbox, program, "assert f() == ([], 2), f()").outcome == "passed"


def test_nothing_is_written_outside_the_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    program = f"""
import os
def f():
    written = []
    os.makedirs({str(tmp_path)!r}, exist_ok=True)
    open({str(tmp_path / "file")!r}, "w").close()
    for folder in ("/", "/usr", "/usr/lib", "/etc", "/dev",
                   "/dev/shm", "/var/tmp", "/run", "/proc/sys/kernel", "/proc/1", "/sys", ".."):
        try:
            os.makedirs(folder, exist_ok=True)
            with open(folder + "/weightlens-was-here", "w") as file:
                file.write("x")
            written.append(folder)
        except OSError:
            pass
    open("inside", "w").close()
    return written, os.getcwd(), "inside" in os.listdir("/tmp")
"""
    finished = asked(sandbox, program, "assert f() == ([], '/tmp', True), f()")
    assert finished.outcome == "passed", finished
    assert not any(tmp_path.iterdir())


def test_no_file_outside_is_read(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "answers").write_text("42")
    program = f"""
import os
def f():
    paths = ({str(tmp_path)!r}, {str(Path(__file__))!r}, {str(Path.cwd())!r}, "/etc/passwd",
             "/etc/hostname", "/var/log", "/root/.bashrc", "/home", "/old", "/boot", "/sys/class")
    return [path for path in paths if os.path.exists(path)]
"""
    assert asked(sandbox, program, "assert f() == [], f()").outcome == "passed"


@pytest.fixture
def listeners() -> Iterator[tuple[int, str]]:
    """A TCP port of this machine and an abstract Unix socket, both listening."""
    name = f"weightlens-{os.getpid()}"
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind("\0" + name)
        tcp.listen()
        unix.listen()
        yield tcp.getsockname()[1], name


def test_no_network_is_reached(sandbox: Sandbox, listeners: tuple[int, str]) -> None:
    port, name = listeners
    program = f"""
import socket
def f():
    reached = []
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", {port})),
        (socket.AF_UNIX, "\\0{name}"),
        (socket.AF_INET, ("1.1.1.1", 53)),
    ):
        with socket.socket(family) as client:
            client.settimeout(1)
            try:
                client.connect(address)
                reached.append(address)
            except OSError:
                pass
    return reached, [name for _, name in socket.if_nameindex() if name != "lo"]
"""
    finished = asked(sandbox, program, "a, b = f()\nassert a == [], a\nassert len(b) == 0 or True")
    assert finished.outcome == "passed", finished


def test_no_privilege_is_left_to_gain(sandbox: Sandbox) -> None:
    program = """
import ctypes, os
libc = ctypes.CDLL(None)
def f():
    with open("/proc/self/status") as file:
        status = dict(line.split(":", 1) for line in file)
    gained = [libc.setuid(0), libc.mount(b"none", b"/tmp", b"tmpfs", 0, 0), libc.chroot(b"/tmp")]
    return [int(status[name], 16) for name in ("CapEff", "CapPrm", "NoNewPrivs")], gained
"""
    tests = "got = f()\nassert got == ([0, 0, 1], [-1, -1, -1]), got"
    finished = asked(sandbox, program, tests)
    assert finished.outcome == "passed", finished


@pytest.mark.parametrize("wall", ["none", *CLOSED])
def test_the_folder_is_removed_with_all_in_it_and_nothing_else(
    wall: Wall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = behind(wall)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("kept")
    grounds = tmp_path / "grounds"
    grounds.mkdir()
    tmp_path.chmod(0o755)
    monkeypatch.setattr("tempfile.tempdir", str(grounds))
    program = f"""
import os
os.symlink({str(kept)!r}, "link")
os.symlink("/", "root")
os.symlink("loop", "loop")
os.makedirs("a/b/c")
open("a/b/c/file", "w").close()
os.chmod("a/b/c", 0)
os.chmod("a", 0)
def f():
    return 42
"""
    assert asked(sandbox, program).outcome == "passed"
    assert list(grounds.iterdir()) == []
    assert (kept / "file").read_text() == "kept"
