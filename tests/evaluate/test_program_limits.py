"""What programs may use, and that nothing of them stays."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from walls import CLOSED, asked, behind

from weightlens.evaluate.code.limits import Checks, Limits
from weightlens.evaluate.code.sandbox import Sandbox


@pytest.fixture(params=CLOSED)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return behind(request.param)


@pytest.fixture(params=[*CLOSED, "none"])
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Also without a wall: for programs that harm nothing but their verdict."""
    return behind(request.param)


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
    limits = Limits(wall_seconds=1.0 if how == "hangs" else 20.0)
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
        assert any_sandbox.run(program, limits=Limits(wall_seconds=0.5)).outcome == "timed out"


def test_a_busy_loop_and_a_sleep_run_out_of_time(any_sandbox: Sandbox) -> None:
    checks = Checks("f()", ("f",))
    patient = Limits(cpu_seconds=1, wall_seconds=60.0)
    busy = any_sandbox.run("def f():\n    while True: pass", checks, limits=patient)
    assert (busy.outcome, busy.detail) == ("timed out", "the CPU time ran out")
    hasty = Limits(wall_seconds=0.5)
    idle = any_sandbox.run("import time\ntime.sleep(1000)", checks, limits=hasty)
    assert (idle.outcome, idle.detail) == ("timed out", "the wall clock ran out")


def test_a_program_deaf_to_the_cpu_signal_ends_all_the_same(sandbox: Sandbox) -> None:
    program = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    limits = Limits(cpu_seconds=1, wall_seconds=60.0)
    assert sandbox.run(program, limits=limits).detail == "died of SIGKILL"


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
    checks = Checks("assert f() == 42", ("f",))
    with ThreadPoolExecutor(4) as threads:
        found = threads.map(lambda _: sandbox.run(program, checks).outcome, range(4))
        assert list(found) == ["passed"] * 4
