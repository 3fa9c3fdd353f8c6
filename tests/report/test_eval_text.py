"""Results as CSV and as Markdown, read back."""

import csv
import io
import re

from evaluated import REFUSALS, pair, report, result

from weightlens.report.eval_csv import scores_csv
from weightlens.report.eval_markdown import escaped, eval_markdown

BASE, TUNED = "models/base", "models/tuned"


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def cells(line: str) -> list[str]:
    """The cells of a line of a GitHub table: a pipe behind a backslash is no border."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(text: str) -> list[list[list[str]]]:
    blocks = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    return [[cells(line) for line in block] for block in blocks]


def test_scores_are_a_line_for_every_model_task_and_group() -> None:
    tasks = [
        result("aime24", 0.25, n=30, draws=8, more={"pass@8": 0.7}),
        result("xstest", 0.1, group="safe", metric=REFUSALS, higher_is_better=False),
        result("xstest", 0.9, group="unsafe", metric=REFUSALS, degenerate=0.02),
    ]
    kinds = {(BASE, "xstest", "unsafe"): {"looping": 0.02}}
    found = rows(scores_csv(report({BASE: tasks, TUNED: tasks}), kinds))
    assert [(r["model"], r["task"], r["group"]) for r in found] == [
        (model, task, group)
        for model in (BASE, TUNED)
        for task, group in (("aime24", ""), ("xstest", "safe"), ("xstest", "unsafe"))
    ]
    first, safe, unsafe = found[:3]
    assert (first["value"], first["ci95.low"], first["draws"]) == ("0.25", "0.15", "8")
    assert (first["more.pass@8"], safe["more.pass@8"]) == ("0.7", "")
    assert (safe["higher_is_better"], unsafe["higher_is_better"]) == ("False", "True")
    assert (unsafe["degenerate.looping"], unsafe["degenerate.empty"]) == ("0.02", "0.0")
    assert found[-1]["degenerate.looping"] == ""


def test_every_field_of_a_score_is_in_the_csv() -> None:
    line = rows(scores_csv(report({BASE: [result("gsm8k")]})))[0]
    fields = set(result("gsm8k").model_dump()) - {"ci95", "more"}
    assert fields | {"model", "hash", "ci95.low", "ci95.high"} == set(line)


def test_a_difference_stands_beside_the_score_of_the_model_that_was_compared() -> None:
    said = 'a "loss", 4.0 points;\nnot more'
    tasks = [
        result("gsm8k"),
        result("gsm8k", metric="judged"),
        result("xstest", group="safe", metric=REFUSALS, higher_is_better=False),
    ]
    pairs = [
        pair(BASE, TUNED, "gsm8k", sentence=said),
        pair(BASE, TUNED, "xstest", group="safe", difference=0.5, p_adjusted=0.01),
    ]
    found = rows(scores_csv(report({BASE: tasks, TUNED: tasks}, pairs)))
    columns = ("against", "difference", "difference.ci95.high", "difference.p_adjusted")
    nothing = ("", "", "", "")
    assert [tuple(row[column] for column in columns) for row in found] == [
        nothing, nothing, nothing,
        (BASE, "-0.04", "0.01", ""), nothing, (BASE, "0.5", "0.01", "0.01"),
    ]  # fmt: skip
    assert found[3]["difference.sentence"] == said


def test_markdown_has_a_row_a_model_with_intervals() -> None:
    tasks = [result("gsm8k", 0.62, truncated=0.02), result("aime24", draws=8)]
    (table,) = tables(eval_markdown(report({BASE: tasks, TUNED: tasks})))
    assert table[0] == ["model", "gsm8k<br>accuracy ↑<br>n = 50",
                        "aime24<br>accuracy ↑<br>n = 50 × 8 draws"]  # fmt: skip
    assert table[2] == ["base", "62.0 [52.0, 72.0]<br>2.0 % truncated", "50.0 [40.0, 60.0]"]


def test_markdown_of_many_tasks_has_a_row_for_every_task_and_model() -> None:
    tasks = [result(f"task{i}") for i in range(5)]
    (table,) = tables(eval_markdown(report({BASE: tasks, TUNED: tasks[1:]})))
    assert len(table) == 2 + 5 * 2
    assert table[3] == ["", "tuned", "–", ""]
    assert table[4][:3] == ["task1, accuracy ↑, n = 50", "base", "50.0 [40.0, 60.0]"]


def test_markdown_has_differences_with_their_sentences() -> None:
    tasks = [result("gsm8k")]
    pairs = [pair(BASE, TUNED, "gsm8k", sentence="no loss | none", p_adjusted=0.25)]
    _, table = tables(eval_markdown(report({BASE: tasks, TUNED: tasks}, pairs)))
    assert table[0] == [
        "model", "against", "task", "difference", "p", "p (Holm)", "lower", "higher",
    ]  # fmt: skip
    assert table[2] == ["tuned", "base", "gsm8k", r"no loss \| none", "0.12", "0.25", "3", "1"]


def test_names_cannot_break_a_table_or_become_markup() -> None:
    odd = "a|b\n*c* `d` <img src=x> [e](f) \\"
    text = eval_markdown(report({odd: [result("x|y")], "b": [result("x|y")]}))
    (table,) = tables(text)
    assert {len(line) for line in table} == {2}
    assert table[2][0] == r"a\|b \*c\* \`d\` \<img src=x\> \[e\](f) \\"
    assert "<img" not in text.replace(r"\<img", "")


def test_notes_are_a_list() -> None:
    assert "\n- gsm8k: a note\n" in eval_markdown(report({BASE: [result("gsm8k")]},
                                                         notes=["gsm8k: a note"]))  # fmt: skip


def test_escaped_text_is_one_line() -> None:
    assert escaped("a\r\n\tb") == "a b"
