"""What hostile programs try behind a wall, and what comes of it.

The right answer to every question here is f() == 42, and no program gives it.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from walls import CLOSED, asked, behind

from weightlens.evaluate.code.launch import ENVIRONMENT, Wall
from weightlens.evaluate.code.limits import Checks, Limits
from weightlens.evaluate.code.sandbox import Sandbox

WRONG = "\ndef f():\n    return 41\n"


@pytest.fixture(params=CLOSED)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return behind(request.param)


@pytest.fixture(params=[*CLOSED, "none"])
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Also without a wall: for programs that harm nothing but their verdict."""
    return behind(request.param)


FORGERIES = {
    "ends itself at once": "import os\nos._exit(0)",
    "ends itself when asked": "import os\ndef f():\n    os._exit(0)",
    "exits": "import sys\nsys.exit(0)",
    "exits when asked": "def f():\n    raise SystemExit(0)",
    "interrupts": "def f():\n    raise KeyboardInterrupt",
    "raises what nobody catches": "class E(BaseException): pass\ndef f():\n    raise E()",
    "prints the marker": "def f():\n    print('passed')\n    return 41\nprint('passed')",
    "exits through a handler": "import atexit, os\natexit.register(os._exit, 0)" + WRONG,
    "replaces AssertionError": "import builtins\nbuiltins.AssertionError = ValueError" + WRONG,
    "replaces exec": "import builtins\nbuiltins.exec = lambda *a: None" + WRONG,
    "replaces compile and print": "import builtins as b\nb.compile = b.print = b.id" + WRONG,
    "empties sys.modules": "import sys\nsys.modules.clear()" + WRONG,
    "puts itself for the tests": "import sys\nsys.modules['tests'] = sys.modules['program']"
    + WRONG,
    "traces every line": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(print)" + WRONG,
    "equals everything": (
        "class Same:\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n"
        "    __hash__ = lambda s: hash(42)\ndef f():\n    return Same()"
    ),
    "is an int that equals everything": (
        "class Same(int):\n    def __eq__(self, other): return True\ndef f():\n    return Same(41)"
    ),
    "defines no f": "g = 42",
    "is no Python": "def f(:",
    "answers in a signal handler": (
        "import signal\nsignal.signal(signal.SIGALRM, lambda *a: 42)\nsignal.alarm(1)" + WRONG
    ),
    "prints to every descriptor": (
        "import os\nfor d in range(64):\n    try:\n        os.write(d, b'passed' * 3)\n"
        "    except OSError: pass" + WRONG
    ),
    "copies descriptors over each other": (
        "import os\nfor d in range(3, 30):\n    try:\n        os.dup2(1, d)\n"
        "    except OSError: pass" + WRONG
    ),
    "closes every descriptor": "import os\nos.closerange(0, 64)" + WRONG,
    "answers from a grandchild": (
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork():\n        os._exit(0)\n"
        "else:\n    pass" + WRONG
    ),
    "reads what is to be typed": "import sys\nassert sys.stdin.read() == ''\ninput()",
    "dies of a bad pointer": "import ctypes\ndef f():\n    ctypes.string_at(0)",
    "recurses": "def f():\n    return f()",
    "recurses without a limit": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef f():\n    return eval('f()')"
    ),
}


@pytest.mark.parametrize("program", FORGERIES.values(), ids=FORGERIES)
def test_no_program_passes_but_by_its_answers(any_sandbox: Sandbox, program: str) -> None:
    finished = asked(any_sandbox, program)
    assert finished.outcome in ("failed", "killed", "timed out"), finished
    assert finished.detail
    assert "\n" not in finished.detail


def test_a_verdict_written_to_every_descriptor_is_no_verdict(any_sandbox: Sandbox) -> None:
    # ("passed", "") exactly as the checker writes it, and as the answer to a call
    program = (
        "import os\nbody = b't\\0\\0\\0\\2s\\0\\0\\0\\6passeds\\0\\0\\0\\0'\n"
        "for message in (body, b'=' + body):\n"
        "    message = len(message).to_bytes(4, 'big') + message\n"
        "    for d in range(64):\n"
        "        try:\n            os.write(d, message * 5)\n"
        "        except OSError:\n            pass\n"
    )
    assert asked(any_sandbox, program + WRONG).outcome != "passed"


SEARCHES_ITS_MEMORY = """
def f():
    head, tail, found = b"expected: ", str(3141592650 + 3).encode(), 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            first, last = (int(x, 16) for x in line.split()[0].split("-"))
            if "r" in line.split()[1] and "[v" not in line:
                try:
                    memory.seek(first)
                    text = memory.read(last - first)
                except (OSError, ValueError, OverflowError):
                    continue
                at = text.find(head)
                while at >= 0:
                    found += text[at + 10 : at + 20] == tail
                    at = text.find(head, at + 1)
    return found > 0
"""


@pytest.mark.parametrize("told", [False, True])
def test_no_test_is_in_the_program_s_memory(sandbox: Sandbox, told: bool) -> None:
    # the search finds what it looks for where that is there: in a setup, which programs do see
    note = "# expected: 3141592653"
    checks = Checks(
        f"assert f() is {told}  {note}", ("f",), setup=f"told = {note!r}" if told else ""
    )
    finished = sandbox.run(SEARCHES_ITS_MEMORY, checks)
    assert finished.outcome == "passed", finished


def test_the_checker_s_memory_and_descriptors_are_closed(sandbox: Sandbox) -> None:
    program = """
import ctypes, os
def f():
    parent, opened = os.getppid(), []
    for name in ("mem", "environ", "maps", "fd/0", "fd/1", "fd/3", "fd/4", "fd/5", "cwd", "root"):
        for process in (1, parent):
            try:
                with open(f"/proc/{process}/{name}", "rb") as file:
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


def _named(name: str) -> list[str]:
    """Processes of the machine that carry this name."""
    found = []
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if Path(f"/proc/{process}/comm").read_text().strip() == name:
                found.append(process)
        except OSError:
            continue
    return found


def _named_for_long(name: str) -> list[str]:
    """The same after up to two seconds: the last of a family may still be dying."""
    until = time.monotonic() + 2
    while (found := _named(name)) and time.monotonic() < until:
        time.sleep(0.02)
    return found


DAEMON = """
import os, time
def detach(name):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open("/proc/self/comm", "w") as file:
                file.write(name)
            while True:
                time.sleep(0.01)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("how", ["answers", "exits", "hangs"])
def test_no_daemon_outlives_its_program(any_sandbox: Sandbox, how: str) -> None:
    name = f"wl{os.getpid()}{how[:3]}"
    end = {"answers": "return 42", "exits": "os._exit(0)", "hangs": "time.sleep(60)"}[how]
    program = f"{DAEMON}\ndef f():\n    detach({name!r})\n    time.sleep(0.1)\n    {end}\n"
    outcome = {"answers": "passed", "exits": "failed", "hangs": "timed out"}[how]
    limits = Limits(wall_seconds=2.0 if how == "hangs" else 20.0)
    finished = any_sandbox.run(program, Checks("assert f() == 42", ("f",)), limits=limits)
    assert finished.outcome == outcome, finished
    assert _named_for_long(name) == []


def test_a_thread_left_running_keeps_nobody(any_sandbox: Sandbox) -> None:
    program = """
import threading, time
def f():
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(60,)).start()
    return 42
"""
    finished = asked(any_sandbox, program)
    assert finished.outcome == "passed", finished
    assert finished.seconds < 3


def test_a_fork_bomb_ends(sandbox: Sandbox) -> None:
    name = f"wlbomb{os.getpid()}"
    program = f"""
import os
with open("/proc/self/comm", "w") as file:
    file.write({name!r})
def f():
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""
    most = [0]
    done = threading.Event()

    def count() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], len(_named(name)))

    thread = threading.Thread(target=count)
    thread.start()
    finished = asked(sandbox, program)
    done.set()
    thread.join()
    assert finished.outcome in ("killed", "timed out", "memory"), finished
    # as many as are allowed, and the checker and its companion, where the kernel counts
    assert most[0] < 64
    assert _named_for_long(name) == []


def test_a_memory_bomb_is_told_from_a_wrong_answer(any_sandbox: Sandbox) -> None:
    finished = asked(any_sandbox, "def f():\n    return bytearray(10 ** 10)")
    assert finished.outcome == "memory"


def test_memory_is_counted_over_all_processes(sandbox: Sandbox) -> None:
    # eight times 100 MiB, each below the limit of 256
    program = """
import os, time
def f():
    for _ in range(8):
        if os.fork() == 0:
            held = bytearray(b"x") * (100 << 20)
            time.sleep(60)
    time.sleep(60)
"""
    assert asked(sandbox, program).outcome == "memory"


def test_an_answer_that_unfolds_to_more_than_memory_is_refused(any_sandbox: Sandbox) -> None:
    # 2^40 times 64 KiB, held in 40 lists
    program = (
        "def f():\n    a = ['x' * 65536]\n    for _ in range(40):\n        a = [a, a]\n    return a"
    )
    finished = asked(any_sandbox, program)
    assert (finished.outcome, "16 MiB" in finished.detail) == ("failed", True)


def test_the_folder_in_memory_has_a_bottom(sandbox: Sandbox) -> None:
    program = """
def f():
    written = 0
    try:
        for number in range(100):
            with open(f"file{number}", "wb") as file:
                file.write(bytes(1 << 20))
            written += 1
    except OSError:
        pass
    return written
"""
    assert asked(sandbox, program, "assert 6 <= f() <= 8, f()").outcome == "passed"


def test_one_file_has_a_largest_size(any_sandbox: Sandbox) -> None:
    program = """
def f():
    with open("large", "wb") as file:
        for _ in range(100):
            file.write(bytes(1 << 20))
"""
    finished = asked(any_sandbox, program)
    assert finished.outcome == "failed"
    assert "OSError: [Errno 27] File too large" in finished.detail


def test_endless_output_fills_nothing(any_sandbox: Sandbox) -> None:
    for stream in ("stdout", "stderr"):
        program = f"import sys\nwhile True:\n    sys.{stream}.write('x' * 4096)\n"
        assert any_sandbox.run(program, limits=Limits(wall_seconds=1.0)).outcome == "timed out"


def test_a_busy_loop_and_a_sleep_run_out_of_time(any_sandbox: Sandbox) -> None:
    checks = Checks("f()", ("f",))
    patient = Limits(cpu_seconds=1, wall_seconds=60.0)
    busy = any_sandbox.run("def f():\n    while True: pass", checks, limits=patient)
    assert (busy.outcome, busy.detail) == ("timed out", "the CPU time ran out")
    hasty = Limits(wall_seconds=0.5)
    idle = any_sandbox.run("import time\ntime.sleep(1000)", checks, limits=hasty)
    assert (idle.outcome, idle.detail) == ("timed out", "the wall clock ran out")


def test_a_program_deaf_to_the_cpu_signal_ends_all_the_same(any_sandbox: Sandbox) -> None:
    program = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    limits = Limits(cpu_seconds=1, wall_seconds=60.0)
    assert any_sandbox.run(program, limits=limits).detail == "died of SIGKILL"


def test_nonsense_on_the_line_ends_the_conversation(any_sandbox: Sandbox) -> None:
    for message in ("b'\\xff' * 100", "b'\\0\\0\\0\\2=X'", "b'\\0\\0\\0\\1?'", "bytes(9)"):
        program = f"""
import os
def f():
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, {message})
        except OSError:
            pass
    os.kill(os.getpid(), 19)
"""
        finished = asked(any_sandbox, program)
        assert finished.outcome == "killed", finished


def test_a_function_handed_over_can_be_called_and_nothing_else(any_sandbox: Sandbox) -> None:
    tests = "secret = 42\ndef double(x):\n    return 2 * x\nassert f(double) == 42"
    assert asked(any_sandbox, "def f(g):\n    return g(21)", tests).outcome == "passed"
    stolen = "def f(g):\n    return g._peer.ask('get', g, '__globals__')['secret']"
    finished = asked(any_sandbox, stolen, tests)
    assert finished.outcome == "killed", finished


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


def test_programs_side_by_side_do_not_count_for_each_other() -> None:
    sandbox = behind("namespaces", Limits(processes=4, wall_seconds=20.0))
    program = """
import os, time
def f():
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(60)
    time.sleep(0.2)
    return 42
"""
    jobs = [(program, Checks("assert f() == 42", ("f",)))] * 4
    assert [finished.outcome for finished in sandbox.run_many(jobs, workers=4)] == ["passed"] * 4
