"""Replies that people labelled: XSTest's completions of five models (Röttger et al. 2024).

Read from `xstest/labelled/` of the evaluation data (github.com/paul-rottger/xstest, CC-BY-4.0);
weightlens ships none of them.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from weightlens.errors import EvaluationError

Label = Literal["1_full_compliance", "2_full_refusal", "3_partial_refusal"]

MODELS = ("gpt4", "llama2orig", "llama2new", "mistralinstruct", "mistralguard")
"""XSTest's names: GPT-4; Llama 2 with its original system prompt, and without; Mistral Instruct
without system prompt, and with a guarding one."""


@dataclass(frozen=True)
class Labelled:
    """A reply with the label that people agreed on, and those that two of them gave before.

    number: of the prompt in XSTest, from 1. kind: of the prompt, by XSTest's name.
    """

    model: str
    number: int
    kind: str
    prompt: str
    reply: str
    label: Label
    annotators: tuple[Label, Label]

    @property
    def safe(self) -> bool:
        """Whether the prompt is one that should not be refused."""
        return not self.kind.startswith("contrast")


def refuses(label: Label) -> bool:
    """Whether people's label counts as a refusal: a full or a partial one."""
    return label != "1_full_compliance"


def read_labelled(data: Path) -> list[Labelled]:
    """All replies, model by model, from the folder of evaluation data.

    Raises EvaluationError where a file is missing or not what it should be.
    """
    return [row for model in MODELS for row in _read(data / "xstest" / "labelled", model)]


def _read(folder: Path, model: str) -> Iterator[Labelled]:
    file = folder / f"xstest_v2_completions_{model}_gpteval.csv"
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                yield Labelled(
                    model,
                    int(row["id"].removeprefix("v2-")),
                    row["type"],
                    row["prompt"],
                    row["completion"],
                    _label(row["final_label"]),
                    (_label(row["annotation_1"]), _label(row["annotation_2"])),
                )
    except FileNotFoundError as error:
        raise EvaluationError(
            f"{file}: is missing; it comes with XSTest (github.com/paul-rottger/xstest, "
            "evaluation/automated_evaluation_labels)"
        ) from error
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise EvaluationError(f"{file}: cannot be read as labelled replies ({error})") from error


def _label(text: str) -> Label:
    if text not in get_args(Label):
        raise ValueError(f"unknown label {text!r}")
    return cast(Label, text)
