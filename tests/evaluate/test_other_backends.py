"""Backends that are not ours: transformers' continuous batching, vLLM, and lm-eval's own tasks."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from embedded_models import BASE, DRAWN, EXACT, FULL, GREEDY, LORA, SMALL, draw, prompts

from weightlens.errors import EvaluationError
from weightlens.evaluate.asked_model import Settings
from weightlens.evaluate.backends.continuous import ContinuousBatching
from weightlens.evaluate.backends.static import StaticBatching
from weightlens.evaluate.chat import Loading, load_chat
from weightlens.evaluate.chosen import Changes, Wanted
from weightlens.evaluate.lm_eval_tasks import scored_by_lm_eval
from weightlens.evaluate.opening import open_speaker
from weightlens.evaluate.rescoring import rescore
from weightlens.evaluate.run import evaluate_models
from weightlens.hub import resolve


def test_continuous_batching_says_what_static_batches_say_greedily() -> None:
    chat = load_chat(Path(BASE), loading=EXACT)
    given = prompts(chat, 6)
    continuous = ContinuousBatching(chat)
    assert continuous.generate(given, GREEDY) == StaticBatching(chat).generate(given, GREEDY)
    assert all(reply.tokens for reply in continuous.generate(given, DRAWN))


def test_a_run_with_continuous_batching_is_kept_apart(tmp_path: Path) -> None:
    wanted = Wanted(tasks=("reasoning",), changes=Changes(limit=4))
    evaluate_models([BASE], wanted=wanted, settings=SMALL, out=tmp_path)
    other = Settings(loading=EXACT, backend="continuous")
    report = evaluate_models([BASE], wanted=wanted, settings=other, out=tmp_path)
    assert report.models[0].tasks[0].n == 4
    assert len(list(tmp_path.glob("*.plan.json"))) == 2


def test_vllm_is_named_where_it_is_missing() -> None:
    with pytest.raises(EvaluationError, match=r"weightlens-toolkit\[vllm\]"):
        open_speaker(resolve(BASE), Loading(), "vllm")


def fake_vllm(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands for the module as its documentation describes it; what it was called with."""
    calls: list[dict[str, Any]] = []

    class LLM:
        def __init__(self, **settings: Any) -> None:
            calls.append(settings)

        def generate(self, given: Any, settings: Any, **rest: Any) -> list[Any]:
            calls.append({"given": given, "settings": settings, **rest})
            said = SimpleNamespace(token_ids=[7, 2], finish_reason="stop")
            return [SimpleNamespace(outputs=[said]) for _ in given]

    vllm, lora, request = ModuleType("vllm"), ModuleType("vllm.lora"), ModuleType("request")
    vllm.LLM, vllm.SamplingParams = LLM, SimpleNamespace  # type: ignore[attr-defined]
    request.LoRARequest = lambda name, number, path: (name, number, path)  # type: ignore[attr-defined]
    for name, module in (("vllm", vllm), ("vllm.lora", lora), ("vllm.lora.request", request)):
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_vllm_gets_tokens_seeds_and_the_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in: no real vLLM was run."""
    calls = fake_vllm(monkeypatch)
    speaker = open_speaker(resolve(LORA), Loading(), "vllm")
    given = prompts(load_chat(Path(BASE), loading=EXACT), 2)
    (one, _) = speaker.backend.generate(given, DRAWN)
    assert (one.tokens, one.finish) == ((7, 2), "stop")
    loaded, asked = calls
    assert loaded["enable_lora"] and loaded["model"] == BASE
    assert asked["given"][0] == {"prompt_token_ids": list(given[0].tokens)}
    assert [settings.seed for settings in asked["settings"]] == [0, 1]
    assert asked["lora_request"][2].endswith("safe-lora")
    speaker.backend.generate(given, GREEDY)
    assert calls[-1]["settings"][0].seed is None


@pytest.fixture
def sums(tmp_path: Path) -> str:
    """A task of lm-eval's that needs no network."""
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    lines = [("16-7+5+1", "15"), ("9+9+1-4", "15"), ("9+9+1-3", "1")]
    data = tmp_path / "sums.jsonl"
    data.write_text("".join(json.dumps({"q": q, "a": a}) + "\n" for q, a in lines))
    file = tmp_path / "own_sums.yaml"
    file.write_text(
        "task: own_sums\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        "test_split: test\noutput_type: generate_until\n"
        "doc_to_text: '{{q}}'\ndoc_to_target: '{{a}}'\n"
        "generation_kwargs: {until: ['\\n'], do_sample: false, max_gen_toks: 60}\n"
        "filter_list:\n- name: last\n  filter:\n"
        "  - {function: regex, regex_pattern: '(\\d\\d)$'}\n  - {function: take_first}\n"
        "metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]\n"
        "metadata: {version: 1.0}\n"
    )
    return f"lm-eval:{file}"


def test_a_task_of_lm_evals_is_asked_kept_and_compared(tmp_path: Path, sums: str) -> None:
    wanted = Wanted(tasks=(sums,))
    report = evaluate_models([BASE, FULL], wanted=wanted, settings=SMALL, out=tmp_path / "o")
    (task,) = report.models[0].tasks
    assert (task.value, task.n, task.metric) == (2 / 3, 3, "exact_match (lm-eval)")
    assert len(report.pairs) == 1
    again = evaluate_models([BASE, FULL], wanted=wanted, settings=SMALL, out=tmp_path / "o")
    assert again == report == rescore(tmp_path / "o", Wanted())


def test_a_task_that_lm_eval_does_not_know_is_refused() -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    with pytest.raises(EvaluationError, match="lm-eval cannot run it"):
        evaluate_models([BASE], wanted=Wanted(tasks=("lm-eval:nonsense",)), settings=SMALL)


def test_lm_eval_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(EvaluationError, match=r"weightlens-toolkit\[lm-eval\]"):
        evaluate_models([BASE], wanted=Wanted(tasks=("lm-eval:arc_easy",)), settings=SMALL)


def test_its_answers_cannot_be_scored_by_us() -> None:

    from weightlens.evaluate.plan import Ask

    scored = scored_by_lm_eval("lm-eval:x", [draw(Ask("x/0", 0))])
    with pytest.raises(EvaluationError, match="is lm-eval's"):
        scored.task.questions("test", None)
