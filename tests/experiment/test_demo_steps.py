"""The demo counts its steps. Nothing is merged or asked here."""

from pathlib import Path
from unittest.mock import MagicMock

import pytest

from weightlens.experiment import demo
from weightlens.report.story import Story

_PARTS = (
    "load_chat", "ask", "measure_overlap", "Bench", "write_evaluation", "Story", "run_merge",
    "summarise_strips", "write_story_page", "write_story_figure", "write_report_page", "read_runs",
    "subject_of", "write_card", "_model_row", "_matched_row", "_curve", "_written_row",
    "_write_chosen",
)  # fmt: skip


def test_every_step_is_told_once_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in _PARTS:
        monkeypatch.setattr(demo, name, MagicMock())
    monkeypatch.setattr(demo, "_write_chosen", lambda out, chosen: ("", []))
    monkeypatch.setattr(demo, "_asked", lambda name, models: [])
    story = MagicMock(spec=Story, chosen="strip row", overlap=MagicMock())
    story.to_json.return_value = story.overlap.to_json.return_value = "{}"
    monkeypatch.setattr(demo, "Story", lambda **fields: story)
    (tmp_path / "models").mkdir()
    told: list[tuple[str, int, int]] = []
    demo.run_demo(
        tmp_path / "out", models=tmp_path / "models",
        progress=lambda step, done, total: told.append((step, done, total)),
    )  # fmt: skip
    total = len(told) - 1
    assert [(done, of) for _, done, of in told] == [(i, total) for i in range(total + 1)]
    assert [step for step, _, _ in told[-3:]] == ["writing the chosen merge", "writing the pages",
                                                  "done"]  # fmt: skip
