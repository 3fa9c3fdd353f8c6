"""An interrupted analysis leaves what it has measured, and the next run goes on there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders, llama_tensors, matrices, moved, write_model
from safetensors.torch import load_file, save_file

from weightlens.checkpoint.selection import Selection
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.records import matrix_record
from weightlens.survey.result import MatrixRecord, OverlapReport
from weightlens.survey.unfinished import Interrupted, Unfinished, unfinished_folder
from weightlens.survey.work import Step

NAMES = sorted(matrices(llama_tensors(0)))
"""Fourteen tensors, in the order in which they lie in the file and are measured."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test's own."""
    monkeypatch.setenv("WEIGHTLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["a target", "no target"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Unfinished:
    return Unfinished(tmp_path / "report.json" if request.param == "a target" else None)


def interrupting(after: int) -> Callable[[Step], None]:
    """Ctrl-C when so many tensors are done."""

    def progress(step: Step) -> None:
        if step.done == after:
            raise KeyboardInterrupt

    return progress


class Watching:
    """Takes down which tensors are measured; the last step has no name."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def __call__(self, step: Step) -> None:
        self.steps.append(step)

    @property
    def measured(self) -> list[str]:
        return [step.name for step in self.steps if step.name]


def interrupted(
    folders: Folders, place: Unfinished | None, after: int, **settings: Any
) -> Interrupted:
    with pytest.raises(Interrupted) as caught:
        measure_overlap(
            folders.base,
            settings.pop("tuned", [folders.full, folders.adapter]),
            unfinished=place,
            progress=interrupting(after),
            **settings,
        )
    return caught.value


def names_in(report: OverlapReport) -> list[list[str]]:
    return [[matrix.name for matrix in model.matrices] for model in report.models]


def left_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json")) if folder.exists() else []


@pytest.mark.parametrize("after", [1, 5, 13])
def test_what_was_measured_is_left_as_a_partial_report(
    folders: Folders, place: Unfinished, own_cache: Path, after: int
) -> None:
    interruption = interrupted(folders, place, after)
    assert interruption.report.partial
    assert names_in(interruption.report) == [NAMES[:after]] * 2
    file = interruption.file
    assert file is not None
    assert OverlapReport.from_file(file) == interruption.report
    assert json.loads(file.read_text())["partial"] is True
    assert file == place.target or (place.target is None and left_in(own_cache) == [file])
    assert file.parent == unfinished_folder() or place.target is not None


def test_what_is_left_reads_like_the_whole_run_reads_those_tensors(
    folders: Folders, place: Unfinished
) -> None:
    left = interrupted(folders, place, 5).report
    whole = measure_overlap(folders.base, [folders.full, folders.adapter])
    for ours, theirs in zip(left.models, whole.models, strict=True):
        assert ours.matrices == theirs.matrices[:5]
        assert ours.summary.all.matrices == 5


@pytest.mark.parametrize("more", [False, True])
def test_the_next_run_measures_the_rest_and_reads_like_an_uninterrupted_one(
    folders: Folders, place: Unfinished, own_cache: Path, more: bool
) -> None:
    settings: dict[str, Any] = {"more": more, "curves": more}
    whole = measure_overlap(folders.base, [folders.full, folders.adapter], **settings)
    interrupted(folders, place, 5, **settings)
    watching = Watching()
    report = measure_overlap(
        folders.base,
        [folders.full, folders.adapter],
        unfinished=place,
        progress=watching,
        **settings,
    )
    assert watching.measured == NAMES[5:]
    assert (watching.steps[0].done, watching.steps[0].total) == (5, 14)
    assert watching.steps[-1].done == 14
    assert not report.partial
    assert report == whole
    assert report.to_json() == whole.to_json()
    assert left_in(own_cache) == []


def test_a_run_may_be_interrupted_again_and_again(folders: Folders, place: Unfinished) -> None:
    for after in (2, 3, 9):
        interruption = interrupted(folders, place, after)
        assert names_in(interruption.report) == [NAMES[:after]] * 2
    watching = Watching()
    models = [folders.full, folders.adapter]
    report = measure_overlap(folders.base, models, unfinished=place, progress=watching)
    assert watching.measured == NAMES[9:]
    assert report == measure_overlap(folders.base, models)


def test_an_interruption_on_arrival_keeps_what_an_earlier_one_left(
    folders: Folders, place: Unfinished
) -> None:
    interrupted(folders, place, 4)
    again = interrupted(folders, place, 4)
    assert names_in(again.report) == [NAMES[:4]] * 2
    assert again.file is not None and OverlapReport.from_file(again.file) == again.report


def test_a_tensor_is_done_in_every_model_or_not_at_all(
    folders: Folders, place: Unfinished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second model of the fourth tensor: three are done."""
    calls: list[object] = []

    def counting(*arguments: Any) -> MatrixRecord:
        calls.append(arguments)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return matrix_record(*arguments)

    monkeypatch.setattr("weightlens.survey.overlap.matrix_record", counting)
    assert names_in(interrupted(folders, place, 99).report) == [NAMES[:3]] * 2


def test_a_tensor_that_one_model_lacks_is_measured_again(folders: Folders, tmp_path: Path) -> None:
    file = interrupted(folders, Unfinished(tmp_path / "report.json"), 5).file
    assert file is not None
    data = json.loads(file.read_text())
    del data["models"][1]["matrices"][2]
    file.write_text(json.dumps(data))
    watching, models = Watching(), [folders.full, folders.adapter]
    report = measure_overlap(folders.base, models, unfinished=Unfinished(file), progress=watching)
    assert watching.measured == [NAMES[2], *NAMES[5:]]
    assert report.models == measure_overlap(folders.base, models).models


def test_nothing_measured_leaves_nothing(
    folders: Folders, place: Unfinished, own_cache: Path
) -> None:
    interruption = interrupted(folders, place, 0)
    assert interruption.file is None
    assert str(interruption) == "interrupted"
    assert left_in(own_cache) == []
    assert place.target is None or not place.target.exists()


def test_without_a_place_nothing_is_left_but_the_report_is_there(
    folders: Folders, own_cache: Path
) -> None:
    interruption = interrupted(folders, None, 3)
    assert interruption.file is None
    assert names_in(interruption.report) == [NAMES[:3]] * 2
    assert left_in(own_cache) == []


def test_the_message_names_file_and_count(folders: Folders, place: Unfinished) -> None:
    interruption = interrupted(folders, place, 5)
    assert str(interruption.file) in str(interruption)
    assert "5 tensors" in str(interruption)
    assert isinstance(interruption, KeyboardInterrupt)


def goes_on(folders: Folders, place: Unfinished, **settings: Any) -> bool:
    """Whether a run takes what is there; False where it starts anew."""
    watching = Watching()
    tuned = settings.pop("tuned", [folders.full])
    base = settings.pop("base", folders.base)
    measure_overlap(base, tuned, unfinished=place, progress=watching, **settings)
    assert len(watching.measured) in (9, 14)
    return len(watching.measured) == 9


def rewritten(folder: Path) -> None:
    """Other numbers, as many bytes."""
    file = folder / "model.safetensors"
    tensors = {name: 2 * tensor for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})


def touched(folder: Path) -> None:
    file = folder / "model.safetensors"
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))


def configured(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rope_theta": 1e6}))


@pytest.mark.parametrize("change", [rewritten, touched, configured])
@pytest.mark.parametrize("which", ["base", "full"])
def test_a_file_that_has_changed_starts_it_anew(
    folders: Folders, which: str, change: Callable[[Path], None]
) -> None:
    interrupted(folders, Unfinished(), 5, tuned=[folders.full])
    change(getattr(folders, which))
    assert not goes_on(folders, Unfinished())


@pytest.mark.parametrize(
    "other",
    [
        {"size": SubspaceSize("energy", 0.6)},
        {"size": SubspaceSize("fraction", 0.5)},
        {"size": SubspaceSize("rank", 3)},
        {"selection": Selection(exclude="nothing")},
        {"more": True},
        {"curves": True},
    ],
)
def test_other_settings_start_it_anew(folders: Folders, other: dict[str, Any]) -> None:
    interrupted(folders, Unfinished(), 5, tuned=[folders.full])
    assert not goes_on(folders, Unfinished(), **other)


def test_another_selection_starts_it_anew(folders: Folders, place: Unfinished) -> None:
    chosen = Selection(include="layers.*proj")
    interrupted(folders, place, 5, tuned=[folders.full])
    assert not goes_on(folders, place, selection=chosen)
    interrupted(folders, place, 5, tuned=[folders.full], selection=chosen)
    assert goes_on(folders, place, selection=chosen)


def test_other_models_start_it_anew(folders: Folders, place: Unfinished) -> None:
    interrupted(folders, place, 5, tuned=[folders.full])
    for other in (
        {"tuned": [folders.adapter]},
        {"tuned": [folders.full, folders.adapter]},
        {"tuned": [f"{folders.base}+{folders.adapter}"]},
        {"base": folders.full},
        {"control": folders.full},
    ):
        assert not goes_on(folders, place, **other)


def test_a_control_is_not_taken_for_one_more_fine_tune(folders: Folders, place: Unfinished) -> None:
    """The same three folders in the same order, and two different questions."""
    interrupted(folders, place, 5, tuned=[folders.full], control=folders.full)
    report = measure_overlap(folders.base, [folders.full, folders.full], unfinished=place)
    assert report == measure_overlap(folders.base, [folders.full, folders.full])
    interrupted(folders, place, 5, tuned=[folders.full, folders.full])
    report = measure_overlap(folders.base, [folders.full], control=folders.full, unfinished=place)
    assert report == measure_overlap(folders.base, [folders.full], control=folders.full)


def test_the_same_question_goes_on(folders: Folders, place: Unfinished) -> None:
    interrupted(folders, place, 5, tuned=[folders.full])
    assert goes_on(folders, place)


def test_a_complete_report_in_the_target_is_not_taken_for_unfinished(
    folders: Folders, tmp_path: Path
) -> None:
    place = Unfinished(tmp_path / "report.json")
    whole = measure_overlap(folders.base, [folders.full])
    (tmp_path / "report.json").write_text(whole.to_json())
    assert not goes_on(folders, place)
    assert OverlapReport.from_file(tmp_path / "report.json") == whole


@pytest.mark.parametrize("text", ["a whole report", "notes of mine", ""])
def test_a_target_that_holds_something_else_is_not_written_over(
    folders: Folders, tmp_path: Path, text: str
) -> None:
    """Ctrl-C must not cost an earlier result; what was measured waits in the cache's folder."""
    target = tmp_path / "report.json"
    if text == "a whole report":
        text = measure_overlap(folders.base, [folders.adapter]).to_json()
    target.write_text(text)
    interruption = interrupted(folders, Unfinished(target), 5, tuned=[folders.full])
    assert target.read_text() == text
    assert interruption.file is not None
    assert interruption.file.parent == unfinished_folder()
    assert str(interruption.file) in str(interruption)
    assert goes_on(folders, Unfinished(target))
    assert left_in(unfinished_folder()) == []


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"partial": true}', "\udcff"])
def test_what_is_no_report_in_the_target_is_not_taken(
    folders: Folders, tmp_path: Path, text: str
) -> None:
    target = tmp_path / "report.json"
    target.write_bytes(text.encode(errors="surrogateescape"))
    assert not goes_on(folders, Unfinished(target))
    assert names_in(interrupted(folders, Unfinished(target), 5).report) == [NAMES[:5]] * 2


def test_state_dicts_leave_nothing(folders: Folders, place: Unfinished, own_cache: Path) -> None:
    """Nothing tells them apart, so nothing could find their report again."""
    base, tuned = llama_tensors(0), moved(llama_tensors(0), 1)
    for models in ((base, folders.full), (folders.base, tuned)):
        with pytest.raises(Interrupted) as caught:
            measure_overlap(models[0], [models[1]], unfinished=place, progress=interrupting(5))
        assert caught.value.file is None
        assert caught.value.report.fingerprint is None
        assert len(caught.value.report.models[0].matrices) == 5
        assert left_in(own_cache) == []
        assert place.target is None or not place.target.exists()


def test_a_place_that_cannot_be_written_is_still_an_interruption(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("WEIGHTLENS_CACHE", str(tmp_path / "file"))
    for place in (Unfinished(), Unfinished(tmp_path / "file" / "report.json")):
        interruption = interrupted(folders, place, 5)
        assert interruption.file is None
        assert str(interruption) == "interrupted"


def test_a_disk_that_fills_up_does_not_cost_what_was_left_before(
    folders: Folders, place: Unfinished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file on disk is whole or absent."""
    file = interrupted(folders, place, 5).file
    assert file is not None

    def full(path: Path, text: str, **settings: object) -> int:
        with path.open("w") as stream:
            stream.write(text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        assert interrupted(folders, place, 9).file is None
    assert names_in(OverlapReport.from_file(file)) == [NAMES[:5]] * 2
    assert [f.name for f in file.parent.iterdir() if f.is_file()] == [file.name]


def test_a_pipe_is_no_place_to_read_from(folders: Folders, tmp_path: Path) -> None:
    """`--json /dev/stdout | jq`: nothing is read back from there, nor is it replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def hanging(*arguments: object) -> None:
        raise TimeoutError("reads from a pipe that nobody writes to")

    before = signal.signal(signal.SIGALRM, hanging)
    signal.alarm(20)
    try:
        interruption = interrupted(folders, Unfinished(pipe), 5, tuned=[folders.full])
        assert interruption.file is not None
        assert interruption.file.parent == unfinished_folder()
        assert goes_on(folders, Unfinished(pipe))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert pipe.is_fifo()
    assert left_in(unfinished_folder()) == []


def test_a_target_behind_a_link_is_written_where_it_points(
    folders: Folders, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link, file = tmp_path / "link.json", tmp_path / "elsewhere" / "report.json"
    link.symlink_to(file)
    assert interrupted(folders, Unfinished(link), 5, tuned=[folders.full]).file == link
    assert link.is_symlink() and OverlapReport.from_file(file).partial
    assert goes_on(folders, Unfinished(link))


# A real process, a real signal.

PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job would ignore it
from weightlens_cli.main import app
app()
"""


def overlap_process(folder: Path, target: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"WEIGHTLENS_CACHE": str(folder / "kept"), "OMP_NUM_THREADS": "1"}
    arguments = ["overlap", str(folder / "base"), str(folder / "tuned"), "--json", str(target)]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def large_pair(folder: Path, count: int) -> list[str]:
    generator = torch.Generator().manual_seed(count)
    names = sorted(f"model.layers.{i}.mlp.up_proj.weight" for i in range(count))
    base = {name: torch.randn(700, 700, generator=generator) for name in names}
    write_model(folder / "base", base)
    write_model(folder / "tuned", moved(base, 1))
    return names


def interrupted_process(folder: Path, target: Path) -> tuple[int, str]:
    """Its exit code and what it says, when it gets a signal after its second factorisation."""
    process = overlap_process(folder, target)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list((folder / "kept" / "factors").glob("*.safetensors"))) >= 2:
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.005)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


def test_a_process_that_gets_a_signal_leaves_json_that_the_next_finishes(tmp_path: Path) -> None:
    for count in (12, 36):
        folder = tmp_path / str(count)
        target = folder / "report.json"
        names = large_pair(folder, count)
        code, said = interrupted_process(folder, target)
        if code != 0:
            break
    else:
        pytest.skip("the analysis was over before the signal came, twice")
    assert code == 130, said
    assert said.strip().splitlines()[-1].startswith("interrupted; ")
    assert str(target) in said
    assert "Traceback" not in said
    partial = OverlapReport.from_file(target)
    assert partial.partial
    done = len(partial.models[0].matrices)
    assert 0 < done < count
    assert names_in(partial) == [names[:done]]
    second = overlap_process(folder, target)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 0, said
    report = OverlapReport.from_file(target)
    assert not report.partial
    assert names_in(report) == [names]
    assert report.models[0].matrices[:done] == partial.models[0].matrices
