"""Merges that are killed, interrupted, or out of disk: the same command comes to the same bytes."""

import json
import os
import random
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from checkpoints import Folders
from typer.testing import CliRunner

from weightlens.checkpoint import locking, shards, write
from weightlens.checkpoint.journal import Journal
from weightlens.errors import NonFiniteTensor, OutputError
from weightlens.merge import running
from weightlens.merge.engine import run_merge
from weightlens.merge.job import Job
from weightlens.merge.record import MergeReport
from weightlens.merge.running import Run
from weightlens_cli.main import app

SHARD_BYTES = 9000
TENSORS = 21
KILLS = 50 if os.environ.get("WEIGHTLENS_SOAK") == "1" else 8
KILLED = -9

DRIVER = """
import json, multiprocessing, os, signal, sys
from functools import partial
import weightlens.merge.engine
from weightlens.checkpoint import shards, write
from weightlens.checkpoint.journal import Journal
from weightlens_cli.main import app

def die():
    os.kill(run.process, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)  # a worker of it

def dying(function, half, when, n):
    calls = multiprocessing.get_context("fork").Value("i", 0)  # over all workers
    def called(*arguments, **named):
        with calls.get_lock():
            calls.value += 1
            mine = calls.value == n
        if not mine:
            return function(*arguments, **named)
        if when == "before":
            die()
        if when == "middle":
            half(*arguments, **named)
            die()
        function(*arguments, **named)
        die()
    return called

def half_line(journal, line):
    os.write(journal._file, line[:len(line) // 2])

whole_write = shards.ShardFiles.write

def half_tensor(files, name, raw, *, at):
    whole_write(files, name, raw[:len(raw) // 2], at=at)

def hooked(what, when, n):
    if what == "line":
        Journal._write = dying(Journal._write, half_line, when, n)
    elif what == "tensor":
        shards.ShardFiles.write = dying(whole_write, half_tensor, when, n)
    elif what == "rename":
        os.rename = dying(os.rename, None, when, n)

def run(step):
    run.process = os.getpid()
    write.plan_shards = partial(shards.plan_shards, limit=step["limit"])
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if step["kill"]:
        hooked(*step["kill"])
    try:
        app(step["command"])
    except SystemExit as end:
        os._exit(end.code or 0)

codes = []
for step in json.load(sys.stdin):
    if os.fork() == 0:
        run(step)
    codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
print(json.dumps(codes))
"""


def commands(*steps: tuple[list[object], tuple[str, str, int] | None]) -> list[int]:
    """Runs commands, each in a process of its own, and gives their exit codes. A command's process
    kills itself at the n-th time of what is given."""
    listed = [
        {"command": ["merge", *map(str, command)], "kill": kill, "limit": SHARD_BYTES}
        for command, kill in steps
    ]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(listed),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def assert_same(out: Path, undisturbed: Path) -> None:
    assert contents(out).keys() == contents(undisturbed).keys()
    for name, raw in contents(undisturbed).items():
        assert contents(out)[name] == raw, f"{out}: {name} differs"
    assert not out.with_name(f"{out.name}.partial").exists()


def shards_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def flip(file: Path, place: int = -1) -> None:
    raw = bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)


class StopAt:
    """A progress that ends the run when so many tensors are done; others may be under way."""

    def __init__(self, count: int, error: BaseException) -> None:
        self.count, self.error = count, error

    def __call__(self, done: int, total: int, name: str) -> None:
        if self.count == 0:
            raise self.error
        self.count -= 1


def interrupt(recipe: Path, out: Path, after: int = 5) -> int:
    """Returns how many tensors are finished: the given number or a few more."""
    with pytest.raises(
        KeyboardInterrupt, match=rf"interrupted; \d+ of {TENSORS} tensors"
    ) as caught:
        run_merge(recipe, out, progress=StopAt(after, KeyboardInterrupt()), workers=1)
    finished = int(str(caught.value).split()[1])
    assert after <= finished < TENSORS
    return finished


@pytest.fixture
def recipes(tmp_path: Path, folders: Folders) -> dict[str, Path]:
    """One whose tensors are stripped whole, one whose tensors stream; with chat templates."""
    templates = folders.base / "additional_chat_templates"
    templates.mkdir()
    (templates / "tool.jinja").write_text("{}")
    models = f"base_model: {folders.base}\nmodels:\n- {{model: {folders.full}"
    texts = {
        "strip": f"merge_method: strip\n{models}, parameters: {{weight: 1}}}}\n"
                 "parameters: {target: 0, subspace: random}\nout_dtype: bfloat16\n",
        "task_arithmetic": f"merge_method: task_arithmetic\n{models}, parameters: "
                           "{weight: 0.5}}\n",
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return {name: tmp_path / f"{name}.yaml" for name in texts}


@pytest.fixture
def strip(recipes: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe for merges in this process, into several shards, streamed in several blocks."""
    monkeypatch.setattr(write, "plan_shards", partial(shards.plan_shards, limit=SHARD_BYTES))
    monkeypatch.setattr(running, "BLOCK", 100)
    return recipes["strip"]


def test_a_merge_killed_anywhere_is_gone_on_with(tmp_path: Path, recipes: dict[str, Path]) -> None:
    """Each time at random: before, in the middle of or after the n-th line or tensor."""
    seed = int(os.environ.get("WEIGHTLENS_SEED") or secrets.randbits(32))
    print(f"WEIGHTLENS_SEED={seed}")
    draw = random.Random(seed)
    steps = [([file, tmp_path / name], None) for name, file in recipes.items()]
    for i in range(KILLS):
        name = list(recipes)[i % 2]
        what = draw.choice(("line", "line", "tensor"))
        last = TENSORS + (what == "line")  # the first line names the plan
        kill = (what, draw.choice(("before", "middle", "after")), draw.randint(1, last))
        print(i, name, *kill)
        command = [recipes[name], tmp_path / f"out{i}"]
        steps += [(command, kill), (command, None)]
    assert commands(*steps) == [0, 0, *[KILLED, 0] * KILLS]
    assert all(len(shards_of(tmp_path / name)) > 2 for name in recipes)
    for i in range(KILLS):
        assert_same(tmp_path / f"out{i}", tmp_path / list(recipes)[i % 2])


def test_a_merge_killed_while_it_replaces_another_is_gone_on_with(
    tmp_path: Path, recipes: dict[str, Path]
) -> None:
    old, new = recipes.values()
    moments = [(when, n) for n in (1, 2) for when in ("before", "after")]
    outs = [tmp_path / f"out{i}" for i in range(len(moments))]
    begun = [([old, out], None) for out in outs]
    killed = [
        ([new, out, "--overwrite"], ("rename", when, n))
        for out, (when, n) in zip(outs, moments, strict=True)
    ]
    assert commands(([new, tmp_path / "new"], None), *begun, *killed) == [0] * 5 + [KILLED] * 4
    assert [out.exists() for out in outs] == [True, False, False, True]
    assert "model-00001" in " ".join(contents(outs[3]))
    assert commands(*(([new, out, "--overwrite"], None) for out in outs)) == [0] * 4
    for out in outs:
        assert_same(out, tmp_path / "new")


def test_a_kill_after_the_last_rename_leaves_an_output_that_can_be_used(
    tmp_path: Path, recipes: dict[str, Path]
) -> None:
    recipe, out = recipes["strip"], tmp_path / "out"
    assert commands(([recipe, out], ("rename", "after", 1)), ([recipe, tmp_path / "whole"], None)) \
        == [KILLED, 0]  # fmt: skip
    further = contents(out).keys() - contents(tmp_path / "whole").keys()
    assert further == {".weightlens-journal", ".weightlens-partial"}
    weights = {"merge_method": "linear", "models": [{"model": str(out)}]}
    (tmp_path / "again.yaml").write_text(json.dumps(weights | {"parameters": {"weight": 1}}))
    run_merge(tmp_path / "again.yaml", tmp_path / "again")


def test_what_is_finished_is_not_computed_again(
    tmp_path: Path, strip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = run_merge(strip, tmp_path / "whole")
    finished = interrupt(strip, tmp_path / "out", after=13)
    computed = []
    blocks = Run.blocks

    def counted(run: Run, job: Job) -> Iterator[tuple[int, object]]:
        computed.append(job.name)
        return blocks(run, job)

    monkeypatch.setattr(Run, "blocks", counted)
    assert run_merge(strip, tmp_path / "out") == report
    assert len(computed) == TENSORS - finished
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_the_record_of_an_output_names_its_plan(tmp_path: Path, strip: Path) -> None:
    report = run_merge(strip, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "weightlens.json").read_text())
    assert record["plan"] == report.plan
    assert len(record.pop("plan")) == 32
    assert MergeReport.model_validate(record).plan is None  # an old record


def test_the_plan_is_what_the_recipe_comes_to(tmp_path: Path, strip: Path) -> None:
    plan = run_merge(strip, tmp_path / "first").plan
    assert run_merge(strip, tmp_path / "second").plan == plan
    assert run_merge(strip, tmp_path / "third", seed=1).plan != plan
    text = strip.read_text()
    strip.write_text(f"# with a comment\n{text}")
    assert run_merge(strip, tmp_path / "fourth").plan == plan
    strip.write_text(text.replace("target: 0", "target: 0.01"))
    assert run_merge(strip, tmp_path / "fifth").plan != plan


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(
    tmp_path: Path, strip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_merge(strip, tmp_path / "whole")
    append = Journal.append

    def interrupted(journal: Journal, *line: object) -> None:
        append(journal, *line)
        if len(journal.finished) == 7:
            raise KeyboardInterrupt

    command = ["merge", str(strip), str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", interrupted)
        ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 130
    assert f"7 of {TENSORS} tensors are in {tmp_path / 'out.partial'}" in ended.stderr
    assert "the same command goes on" in ended.stderr
    assert not (tmp_path / "out").exists()
    assert CliRunner().invoke(app, command).exit_code == 0
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_ctrl_c_before_anything_is_finished_leaves_nothing(tmp_path: Path, strip: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        run_merge(strip, tmp_path / "out", progress=StopAt(0, KeyboardInterrupt()))
    assert str(caught.value) == ""
    assert not list(tmp_path.glob("out*"))


def test_a_source_touched_between_the_runs_is_refused_unless_fresh(
    tmp_path: Path, strip: Path, folders: Folders
) -> None:
    run_merge(strip, tmp_path / "whole")
    finished = interrupt(strip, tmp_path / "out")
    source = folders.full / "model.safetensors"
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))
    command = ["merge", str(strip), str(tmp_path / "out")]
    before = contents(tmp_path / "out.partial")
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 2
    assert (
        f"holds {finished} finished tensors, but the recipe, the seed, a source" in refused.stderr
    )
    assert "--fresh" in refused.stderr
    assert contents(tmp_path / "out.partial") == before
    assert CliRunner().invoke(app, [*command, "--fresh"]).exit_code == 0
    run_merge(strip, tmp_path / "whole", overwrite=True)
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_the_second_of_two_runs_at_once_is_refused(
    tmp_path: Path, strip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_merge(strip, tmp_path / "whole")
    monkeypatch.setattr(locking, "PATIENCE", 0)

    def meanwhile(done: int, total: int, name: str) -> None:
        for fresh in (False, True):
            with pytest.raises(OutputError, match="another run is filling it"):
                run_merge(strip, tmp_path / "out", fresh=fresh)

    run_merge(strip, tmp_path / "out", progress=meanwhile)
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_a_flipped_byte_in_a_finished_tensor_is_mended(tmp_path: Path, strip: Path) -> None:
    run_merge(strip, tmp_path / "whole")
    interrupt(strip, tmp_path / "out", after=13)
    flip(shards_of(tmp_path / "out.partial")[0])
    run_merge(strip, tmp_path / "out")
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_verify_catches_a_flipped_byte_and_the_next_run_mends_it(
    tmp_path: Path, strip: Path
) -> None:
    run_merge(strip, tmp_path / "whole", verify=True)

    def flipped(done: int, total: int, name: str) -> None:
        if done == total:
            flip(shards_of(tmp_path / "out.partial")[-1])

    with pytest.raises(OutputError, match=r"model\.norm\.weight is not on the disk as it was"):
        run_merge(strip, tmp_path / "out", verify=True, progress=flipped)
    assert not (tmp_path / "out").exists()
    run_merge(strip, tmp_path / "out", verify=True)
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_an_input_at_fault_leaves_nothing_though_tensors_were_finished(
    tmp_path: Path, strip: Path
) -> None:
    with pytest.raises(NonFiniteTensor):
        run_merge(strip, tmp_path / "out", progress=StopAt(5, NonFiniteTensor("x")))
    assert not list(tmp_path.glob("out*"))


def test_what_is_allocated_already_counts_as_room(
    tmp_path: Path, strip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(strip, tmp_path / "out")
    usage = shutil.disk_usage(tmp_path)._replace(free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="0 GB are free"):
        run_merge(strip, tmp_path / "elsewhere")
    run_merge(strip, tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here ({error})")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_fills_up_keeps_what_is_finished(
    tmp_path: Path, strip: Path, small_disk: Path
) -> None:
    run_merge(strip, tmp_path / "whole")
    out, filler = small_disk / "out", small_disk / "filler"

    seen = []

    def filling(done: int, total: int, name: str) -> None:
        seen.append(name)
        if len(seen) == 4:
            with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))

    again = r"disk is full .* run the same command again: it goes on where it stopped"
    with pytest.raises(OutputError, match=again):
        run_merge(strip, out, progress=filling)
    assert len(Journal(small_disk / "out.partial" / ".weightlens-journal").finished) >= 3
    filler.unlink()
    run_merge(strip, out)
    assert_same(out, tmp_path / "whole")
