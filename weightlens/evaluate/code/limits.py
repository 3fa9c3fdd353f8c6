"""What a program may use, what is asked of it, and how it ended."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "timed out", "memory", "killed"]


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    cpu_seconds: of processor time, for each of its processes. wall_seconds: from start to end.
    memory_mib: address space of each process, and memory of all together. file_mib: one file.
    folder_mib: the temporary folder, where it lies in memory. open_files, processes: at once.
    """

    cpu_seconds: int = 10
    wall_seconds: float = 20.0
    memory_mib: int = 512
    file_mib: int = 16
    folder_mib: int = 64
    open_files: int = 64
    processes: int = 16

    def __str__(self) -> str:
        return (
            f"CPU {self.cpu_seconds} s, wall clock {self.wall_seconds:g} s, memory "
            f"{self.memory_mib} MiB, files of {self.file_mib} MiB, {self.open_files} open files, "
            f"{self.processes} processes"
        )


@dataclass(frozen=True)
class Checks:
    """Tests of a program, run outside it.

    tests: statements that raise where the program is wrong. names: globals of the program that
    the tests use. setup: statements before everything else, run in the program's namespace and in
    the tests'. header: statements whose names the tests may use, unless `names` has them too.
    """

    tests: str
    names: tuple[str, ...]
    setup: str = ""
    header: str = ""


@dataclass(frozen=True)
class Finished:
    """How a program ended.

    outcome: "failed" is a wrong answer, an exception or an early exit; "killed" a signal or too
    many processes. detail: one printable line on why, empty for "passed". seconds: from start to
    end, the sandbox's own share included.
    """

    outcome: Outcome
    detail: str
    seconds: float
