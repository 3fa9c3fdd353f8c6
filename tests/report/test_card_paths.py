"""What a card does not say of the machine it was written on, and what it says all the same."""

from pathlib import Path

import pytest

from weightlens.merge.ingredients import Ingredient
from weightlens.merge.record import MergeReport
from weightlens.report.card_paths import without_paths
from weightlens.report.card_subject import CardSubject


@pytest.fixture
def subject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CardSubject:
    """A merge of two folders under a home with a blank in it."""
    monkeypatch.setenv("HOME", "/export/jane doe")
    record = MergeReport(
        weightlens="0", torch="2", recipe="", base=None, sources=[], seed=0, plan=None,
        warnings=[], tensors=0, bytes=0, matrices=[],
    )  # fmt: skip
    tuned = Ingredient("tuned", "/srv/models of mine/tuned", "source", None, None, "b2")
    hub = Ingredient("org/base", "org/base", "base", "org/base", "c0ffee", "b1")
    return CardSubject(tmp_path / "merged", "our merge", record, (hub, tuned))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kept at /home/jane doe/other model/x now", "kept at x now"),
        ("kept at /export/jane doe/other model/x now", "kept at x now"),
        ("kept at /export/jane doe.", "kept at ~."),
        ("see file:///home/jane/x/y, too", "see y, too"),
        ("see file:///export/jane doe/x", "see x"),
        ("see file:///C:/Users/jane/x", "see x"),
        ("in ~/models and ~jane/more/x", "in models and x"),
        ("in /data, and in '/data/lr=0.1,bs=2/ckpt'", "in data, and in 'ckpt'"),
        ("of /home/bob and /Users/bob, of /scratch/jane doe", "of ~ and ~, of ~"),
        ("of /scratch/jane doe/jane doe.txt", "of jane doe.txt"),
        (r"of C:\Users\jane\my models\x", "of x"),
        ("cache=/var/tmp/x:/var/tmp/y", "cache=x:y"),
        ("org/base+/home/joe/secret/adapter", "org/base+adapter"),
        ("base+~/joe/x and a+/data/secret/y", "base+x and a+y"),
        ("#/home/joe/models/x, →/home/joe/y, @/home/joe/z", "#x, →y, @z"),
        (r"on \\srv\joe\x", "on x"),
        ("a mount:/srv/one/two", "a mount:two"),
        ("/srv/models of mine/tuned", "tuned"),
        ("/srv/models of mine/tuned/tokenizer.json", "tokenizer.json"),
        ("model: /srv/a b/c\nother: /srv/d e/f", "model: c\nother: f"),
    ],
)
def test_of_a_path_the_end_is_told(subject: CardSubject, text: str, said: str) -> None:
    assert without_paths(text, subject) == said


@pytest.mark.parametrize(
    "text",
    [
        "org/base, jane/model and Qwen/Qwen2.5-7B@main",
        "1/2 of it, 3 / 4, and/or, n/a, 12 tokens/s, 5 %/s, ‖Δ‖/‖W‖ and Δ/W, ×/chance",
        "https://huggingface.co/jane doe/x and https://host:8000/home/jane/x/y",
        "hf://datasets/org/words/data.csv",
        "path/to/base and ./here",
        r"--include '\.self_attn\.q_proj|\.mlp\.' and '(?:\.a\d+)\.b' or \"\\.mlp\\.up\"",
        "| `a` | b<br>c</b> |",
        "~ 5 and ~10 points",
    ],
)
def test_what_is_no_path_of_the_machine_stays(subject: CardSubject, text: str) -> None:
    assert without_paths(text, subject) == text


def test_a_hub_id_in_the_same_sentence_as_a_path_stays(subject: CardSubject) -> None:
    text = "from org/base, /data/x with org/tuned, and /data/my y, org/other"
    said = "from org/base, x with org/tuned, and my y, org/other"
    assert without_paths(text, subject) == said
