"""What programs do to be judged right without being right, and what comes of it.

The right answer to every question here is f() == 42, and no program that gives another passes.
"""

import pytest
from walls import CLOSED, asked, behind

from weightlens.evaluate.code.limits import Checks
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
