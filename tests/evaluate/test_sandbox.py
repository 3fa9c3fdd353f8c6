"""What a sandbox says of itself, and how it judges programs that mean well."""

import ast
import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from walls import SMALL, asked, behind

from weightlens.errors import EvaluationError
from weightlens.evaluate.code import launch, protections, sandbox
from weightlens.evaluate.code.limits import Checks, Limits
from weightlens.evaluate.code.sandbox import Sandbox

WALLS = ("bubblewrap", "namespaces", "none")


@pytest.fixture(params=WALLS)
def walled(request: pytest.FixtureRequest) -> Sandbox:
    return behind(request.param)


def test_a_right_answer_passes(walled: Sandbox) -> None:
    finished = asked(walled, "def f():\n    return 42\n")
    assert (finished.outcome, finished.detail) == ("passed", "")
    assert 0 < finished.seconds < 60


def test_a_wrong_answer_fails_with_the_test_that_it_failed(walled: Sandbox) -> None:
    finished = asked(walled, "def f():\n    return 41\n", "x = 1\nassert f() == 42, f'is {f()}'\n")
    assert finished.outcome == "failed"
    assert finished.detail == "AssertionError: is 41: assert f() == 42, f'is {f()}'"


def test_a_program_without_checks_passes_when_it_ends(walled: Sandbox) -> None:
    assert walled.run("x = 1").outcome == "passed"
    assert walled.run("x = 1 / 0").detail == "ZeroDivisionError: division by zero"
    assert walled.run("").outcome == "passed"
    assert walled.run("def f(:").detail.startswith("SyntaxError: invalid syntax")


def test_the_details_are_one_printable_line(walled: Sandbox) -> None:
    finished = walled.run("raise ValueError('a\\nb\\x1b[31m\\u202e' + 'c' * 1000)")
    assert finished.detail.isprintable()
    assert finished.detail.startswith("ValueError: a b [31m")
    assert len(finished.detail) == 200


def test_the_standard_library_is_there_and_nothing_else(walled: Sandbox) -> None:
    program = "import " + ", ".join(
        "asyncio bisect collections cmath copy ctypes dataclasses datetime decimal fractions"
        " functools hashlib heapq itertools json math operator random re sqlite3 ssl statistics"
        " string sys threading time typing unittest".split()
    )
    assert walled.run(program).outcome == "passed"
    for name in ("numpy", "torch", "pytest", "weightlens", "weightlens.evaluate"):
        finished = walled.run(f"import {name}")
        assert finished.detail.startswith("ModuleNotFoundError"), finished


def test_a_program_may_use_its_folder_and_threads_and_processes(walled: Sandbox) -> None:
    program = """
import os, subprocess, tempfile, threading
def f():
    assert os.listdir(".") == [] and os.getcwd() == os.path.realpath(os.environ["HOME"])
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("4")
        file.seek(0)
        first = file.read()
    out = []
    threads = [threading.Thread(target=out.append, args=("2",)) for _ in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    echoed = subprocess.run(["/bin/sh", "-c", "echo 2"], capture_output=True, text=True)
    return int(first + echoed.stdout), out
"""
    finished = asked(walled, program, "assert f() == (42, ['2'] * 4), f()")
    assert finished.outcome == "passed", finished


def test_sets_have_one_order_in_every_run(walled: Sandbox) -> None:
    program = "def f():\n    return str({'one', 'two', 'three', 'four', 'five'})"
    orders = {asked(walled, program, "assert 0, f()").detail for _ in range(4)}
    assert len(orders) == 1


def test_tests_may_print_and_read_nothing(walled: Sandbox) -> None:
    tests = "import sys\nprint('passed' * 100)\nassert sys.stdin.read() == ''\nassert f() == 42"
    assert asked(walled, "f = lambda: 42", tests).outcome == "passed"


def test_objects_of_the_program_can_be_used_by_its_tests(walled: Sandbox) -> None:
    program = """
class Node:
    def __init__(self, value):
        self.value, self.items = value, {}
    def __len__(self):
        return 3
    def __iter__(self):
        yield from "ab"
    def __getitem__(self, key):
        return self.items[key]
    def __setitem__(self, key, value):
        self.items[key] = value
    def __contains__(self, key):
        return key in self.items
    def __str__(self):
        return "node"
def f(node):
    return node
"""
    tests = """
node = Node(5)
node.value += 1
node["k"] = [1, 2]
assert f(node) is node and f(node) == node and node != Node(5)
assert (node.value, node["k"], len(node)) == (6, [1, 2], 3)
assert (list(node), str(node)) == (["a", "b"], "node")
assert "k" in node and "l" not in node and node
try:
    node["absent"]
except KeyError:
    pass
else:
    assert False
"""
    finished = walled.run(program, Checks(tests, ("f", "Node")))
    assert finished.outcome == "passed", finished


def test_programs_side_by_side_do_not_mix(walled: Sandbox) -> None:
    jobs = [
        (f"def f():\n    return {n}", Checks(f"assert f() % 3 == 0, {n}", ("f",))) for n in range(9)
    ]
    with ThreadPoolExecutor(3) as threads:
        outcomes = [found.outcome for found in threads.map(lambda job: walled.run(*job), jobs)]
    assert outcomes == ["passed", "failed", "failed"] * 3


def test_limits_can_be_given_for_one_run(walled: Sandbox) -> None:
    program = "x = bytearray(150 << 20)"
    assert walled.run(program).outcome == "passed"
    little = dataclasses.replace(SMALL, memory_mib=100)
    assert walled.run(program, limits=little).outcome == "memory"


def test_a_program_of_more_than_16_mib_is_refused(walled: Sandbox) -> None:
    with pytest.raises(EvaluationError, match="more than 16 MiB"):
        walled.run("#" * (17 << 20))


def test_the_first_wall_that_holds_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    broken: set[str] = set()
    monkeypatch.setattr(protections, "failure", lambda run, wall: "no" * (wall in broken))
    for wall in WALLS:
        assert Sandbox.detect(unsafe=True).wall == wall
        broken.add(wall)


def test_what_is_found_here_holds() -> None:
    found = Sandbox.detect(unsafe=True)
    assert asked(found, "f = lambda: 42").outcome == "passed"
    words = "; ".join(found.protections)
    assert "memory 512 MiB" in words
    assert ("no network" in words) == (found.wall != "none")
    assert ("the network can be reached" in found.missing) == (found.wall == "none")
    if found.wall == "bubblewrap":
        assert "file system hidden" in words
        assert "bubblewrap" in words


def test_without_a_wall_code_is_refused_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        protections, "failure", lambda run, wall: "" if wall == "none" else "not permitted"
    )
    with pytest.raises(EvaluationError) as error:
        Sandbox.detect()
    message = str(error.value)
    assert "\n" not in message
    assert "bubblewrap: not permitted; namespaces: not permitted" in message
    assert "--unsafe-code" in message
    assert Sandbox.detect(unsafe=True).wall == "none"


def test_a_machine_where_nothing_works_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "interpreter", lambda: ["/nonexistent/python"])
    with pytest.raises(EvaluationError, match="did not start: /nonexistent/python"):
        Sandbox.detect(unsafe=True)
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(EvaluationError, match="Linux only"):
        Sandbox.detect(unsafe=True)


def test_a_wall_that_cannot_be_built_is_an_error_and_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behind("namespaces")
    monkeypatch.setattr(launch, "_visible", lambda: (["/nonexistent"], []))
    limits = Limits()
    with pytest.raises(EvaluationError, match=r"the sandbox did not start: .*nonexistent"):
        Sandbox("namespaces", limits, (), ()).run("x = 1")


def test_a_checker_that_hangs_is_ended_from_outside(
    walled: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "GRACE", 0.5)
    # one call into C that no timer interrupts, in the tests themselves
    tests = "import _signal\n_signal.setitimer(0, 0)\nwhile True: pass"
    limits = Limits(wall_seconds=0.5)
    finished = walled.run("x = 1", Checks(tests, ()), limits=limits)
    assert finished.outcome == "timed out"
    assert "did not end with the wall clock" in finished.detail


def test_an_interruption_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    walled = behind("namespaces")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    name = f"wlint{os.getpid()}"

    def interrupted(self: object, *_: object, **__: object) -> None:
        monkeypatch.undo()
        time.sleep(0.5)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        walled.run(f"open('/proc/self/comm', 'w').write('{name}')\nwhile True: pass")
    assert list(tmp_path.iterdir()) == []


def test_nothing_outlives_a_weightlens_that_was_killed(walled: Sandbox) -> None:
    name = f"wlkill{os.getpid()}"
    program = f"open('/proc/self/comm', 'w').write({name!r})\nwhile True: pass"
    script = (
        "from weightlens.evaluate.code.sandbox import Limits, Sandbox\n"
        f"Sandbox({walled.wall!r}, Limits(), (), ()).run({program!r})"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        assert _wait_for(lambda: name in _names())
        process.kill()
    assert _wait_for(lambda: name not in _names())


def _names() -> set[str]:
    """The names of all processes of this machine."""
    found = set()
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            found.add(Path(f"/proc/{process}/comm").read_text().strip())
        except OSError:
            continue  # ended in between
    return found


def _wait_for(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 10
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def test_what_is_sent_inside_needs_the_standard_library_alone() -> None:
    folder = Path(launch.__file__).with_name("jail")
    assert {f"{name}.py" for name in (*launch.JAIL, "__init__")} == {
        p.name for p in folder.glob("*.py")
    }
    here = "weightlens.evaluate.code.jail"
    for name in launch.JAIL:
        known = {f"{here}.{other}" for other in launch.JAIL[: launch.JAIL.index(name)]}
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                modules = inner if node.module == here else [node.module or ""]
            assert all(
                m in known or m.partition(".")[0] in sys.stdlib_module_names for m in modules
            )


def test_the_overhead_of_a_program(walled: Sandbox, measured: Callable[[str], None]) -> None:
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        assert asked(walled, "def f():\n    return 42").outcome == "passed"
        seconds.append(time.perf_counter() - started)
    milliseconds = statistics.median(seconds) * 1000
    measured(f"a trivial program behind {walled.wall}: {milliseconds:.0f} ms (at most 60)")
