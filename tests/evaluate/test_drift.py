"""Drift: against transformers' own loss and torch's own KL, by its laws, and with bad input."""

import copy
import json
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from weightlens.errors import EvaluationError
from weightlens.evaluate.chat import load_chat
from weightlens.evaluate.drift import (
    Speaker,
    Trace,
    divergence,
    drift,
    drift_sentence,
    largest,
    measure,
    prepare,
    reading,
)
from weightlens.experiment.tiny.shipped import SHIPPED


@dataclass
class Tiny:
    """A speaker that renders prompts as the shipped tiny models do."""

    label: str
    model: Any
    tokenizer: Any

    def render(self, prompt: str) -> str:
        return f"<u>{prompt}<a>"

    def encode(self, rendered: str) -> list[int]:
        return list(self.tokenizer.encode(rendered, add_special_tokens=False))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(SHIPPED / "base")


def tiny_llama(tokenizer: Any, seed: int = 0, **config: Any) -> Tiny:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 256, "initializer_range": 0.2,
    }  # fmt: skip
    model = LlamaForCausalLM(LlamaConfig(**sizes | config)).eval()
    return Tiny(f"llama-{seed}", model, tokenizer)


@pytest.fixture(scope="module")
def base(tokenizer: Any) -> Tiny:
    return tiny_llama(tokenizer)


def perturbed(speaker: Tiny, size: float, seed: int = 1) -> Tiny:
    """Every weight times 1 + size times the same noise."""
    model, generator = copy.deepcopy(speaker.model), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight *= 1 + size * torch.randn(weight.shape, generator=generator)
    return Tiny(f"{speaker.label}+{size}", model, speaker.tokenizer)


TRACES = [
    Trace(id="a", prompt="16-7+5", answer="<think>16-7=9 9+5=14</think>14"),
    Trace(id="b", prompt="2+2", answer="4"),
    Trace(id="c", prompt="9-3+1-2+8", answer="<think>9-3=6 6+1=7 7-2=5 5+8=13</think>13"),
    Trace(id="d", prompt="16-7+5+9-20+3", answer="no no no", kind="refusal"),
    Trace(id="e", prompt="1+1", answer="3-1=2 not 5", kind="refusal"),
]


def labelled_loss(speaker: Tiny, trace: Trace) -> float:
    """What transformers calls the loss of the answer given the prompt: mean nats per token."""
    before = speaker.encode(speaker.render(trace.prompt))
    after = speaker.encode(trace.answer)
    labels = torch.tensor([[-100] * len(before) + after])
    with torch.inference_mode():
        return float(speaker.model(torch.tensor([before + after]), labels=labels).loss)


def test_the_nll_is_transformers_loss(base: Tiny) -> None:
    model = perturbed(base, 0.1)
    found = drift(base, model, TRACES)
    assert [trace.trace for trace in found.traces] == ["a", "b", "c", "d", "e"]
    for trace, measured in zip(TRACES, found.traces, strict=True):
        assert measured.tokens == len(base.encode(trace.answer))
        assert measured.nll_base == pytest.approx(labelled_loss(base, trace), rel=1e-5)
        assert measured.nll_model == pytest.approx(labelled_loss(model, trace), rel=1e-5)


def test_the_kl_is_torchs_over_whole_logits(base: Tiny) -> None:
    model = perturbed(base, 0.1)
    trace = TRACES[0]
    before = len(base.encode(base.render(trace.prompt)))
    ids = torch.tensor([base.encode(base.render(trace.prompt)) + base.encode(trace.answer)])
    with torch.inference_mode():
        p, q = (
            torch.log_softmax(s.model(ids).logits[0, before - 1 : -1].double(), -1)
            for s in (base, model)
        )
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1).mean()
    assert drift(base, model, [trace]).traces[0].kl == pytest.approx(float(expected), rel=1e-5)


def test_a_model_does_not_drift_from_itself(base: Tiny) -> None:
    found = drift(base, base, TRACES)
    assert [trace.kl for trace in found.traces] == [0.0] * 5
    assert [trace.increase for trace in found.traces] == [0.0] * 5
    assert "exactly as likely as under its base" in drift_sentence(found)


def test_a_larger_perturbation_drifts_further(base: Tiny) -> None:
    kls = [drift(base, perturbed(base, size), TRACES).parts[0].kl for size in (
        1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3)]  # fmt: skip
    values = [kl.value for kl in kls if kl is not None]
    assert len(values) == 6
    assert values == sorted(values)
    # KL grows with the square of a small step, down to where float32 logits round
    assert values[2] / values[1] == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("batch_tokens", [1, 64, 10_000])
@pytest.mark.parametrize("logits", [1, 3_000, 2**25])
def test_batches_padding_and_steps_change_nothing(
    base: Tiny, monkeypatch: pytest.MonkeyPatch, batch_tokens: int, logits: int
) -> None:
    model = perturbed(base, 0.1)
    expected = drift(base, model, TRACES, batch_tokens=1)
    monkeypatch.setattr(reading, "LOGITS", logits)
    monkeypatch.setattr(divergence, "ENTRIES", min(logits, 100))
    found = drift(base, model, TRACES[::-1], batch_tokens=batch_tokens)
    for one, other in zip(expected.traces, found.traces[::-1], strict=True):
        assert (one.trace, one.tokens) == (other.trace, other.tokens)
        assert one.nll_base == pytest.approx(other.nll_base, abs=1e-5)
        assert one.nll_model == pytest.approx(other.nll_model, abs=1e-5)
        assert one.kl == pytest.approx(other.kl, abs=1e-5)


@pytest.mark.parametrize("kind", ["gemma2", "mistral"])
def test_steps_change_nothing_for_windows_and_capped_logits(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        sliding_window=6, initializer_range=0.3,
    )  # fmt: skip
    speaker = Tiny(kind, AutoModelForCausalLM.from_config(config).eval(), tokenizer)
    expected = [labelled_loss(speaker, trace) for trace in TRACES]
    monkeypatch.setattr(reading, "LOGITS", 5 * len(TRACES) * len(tokenizer))
    found = drift(speaker, perturbed(speaker, 0.05), TRACES)
    assert [t.nll_base for t in found.traces] == pytest.approx(expected, abs=1e-4)


def test_no_more_logits_are_held_than_allowed(base: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    model = perturbed(base, 0.1)
    model.model.lm_head.register_forward_hook(lambda *given: held.append(given[2].numel()))
    monkeypatch.setattr(reading, "LOGITS", 3_000)
    drift(base, model, TRACES)
    assert 0 < max(held) <= 3_000


def test_kinds_are_told_apart_and_the_largest_named(base: Tiny) -> None:
    found = drift(base, perturbed(base, 0.3), TRACES)
    assert [(part.kind, part.n) for part in found.parts] == [
        ("", 5), ("reasoning", 3), ("refusal", 2),
    ]  # fmt: skip
    kls = [trace.kl for trace in largest(found, 5)]
    assert kls == sorted(kls, key=lambda kl: kl or 0.0, reverse=True)
    assert len(largest(found)) == 3
    whole = found.parts[0]
    mean = sum(trace.increase for trace in found.traces) / 5
    assert whole.increase.value == pytest.approx(mean)
    assert whole.tokens == sum(trace.tokens for trace in found.traces)
    low, high = whole.increase.ci95
    assert low is not None
    assert high is not None
    assert low < mean < high
    said = drift_sentence(found)
    assert "reasoning answers" in said
    assert "refusal answers" in said
    assert "nats per token" in said


def test_records_read_back_as_they_were_written(base: Tiny) -> None:
    from weightlens.evaluate.drift import Drift, TraceDrift

    one = drift(base, perturbed(base, 0.1), TRACES[:1])
    assert one.parts[0].increase.ci95 == (None, None)
    assert "too few for an interval" in drift_sentence(one)
    assert Drift.model_validate_json(one.to_json()) == one
    (trace,) = one.traces
    assert TraceDrift.model_validate_json(trace.model_dump_json()) == trace


def test_traces_that_are_done_are_not_read_again(base: Tiny) -> None:
    model, told = perturbed(base, 0.1), []
    probe = prepare(base, model, TRACES)
    rest = measure(
        probe, done={"a", "c"}, batch_tokens=1, progress=lambda done, total: told.append(done)
    )
    assert sorted(found.trace for found in rest) == ["b", "d", "e"]
    assert told == [2, 3, 4, 5]


def test_the_evaluators_chat_is_a_speaker(base: Tiny) -> None:
    speaker: Speaker = load_chat(SHIPPED / "base")
    tuned = load_chat(SHIPPED / "safe-full")
    found = drift(speaker, tuned, [Trace(id="1", prompt="2+3", answer="<think>2+3=5</think>5")])
    plain = Tiny("base", speaker.model, speaker.tokenizer)
    rendered = speaker.render("2+3")
    assert rendered == plain.render("2+3")
    trace = Trace(id="1", prompt="2+3", answer="<think>2+3=5</think>5")
    assert found.traces[0].nll_base == pytest.approx(labelled_loss(plain, trace), rel=1e-4)
    assert (found.traces[0].kl or 0) > 0


def another_tokenizer(tokenizer: Any) -> Any:
    """The same characters under other numbers."""
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    from tokenizers import Tokenizer

    numbers = sorted(state["model"]["vocab"].values())
    state["model"]["vocab"] = {
        token: numbers[-1 - numbers.index(number)]
        for token, number in state["model"]["vocab"].items()
    }
    for added in state["added_tokens"]:
        added["id"] = state["model"]["vocab"].get(added["content"], added["id"])
    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)))
    other.chat_template = tokenizer.chat_template
    return other


def test_models_of_different_tokenizers_are_compared_by_character(
    base: Tiny, tokenizer: Any
) -> None:
    other = tiny_llama(another_tokenizer(tokenizer), seed=5)
    other.label = "other"
    found = drift(base, other, TRACES)
    assert found.unit == "character"
    assert found.parts[0].kl is None
    for trace, measured in zip(TRACES, found.traces, strict=True):
        assert measured.kl is None
        nats = labelled_loss(other, trace) * len(other.encode(trace.answer))
        assert measured.nll_model == pytest.approx(nats / len(trace.answer), rel=1e-5)
    said = drift_sentence(found)
    assert "nats per character" in said
    assert "no KL, which compares the same tokens: base and model have different" in said
    assert [trace.trace for trace in largest(found, 1)]


def test_an_embedding_resized_leaves_the_kl_over_the_tokens_of_both(base: Tiny) -> None:
    larger = Tiny("larger", copy.deepcopy(base.model), base.tokenizer)
    larger.model.resize_token_embeddings(base.model.config.vocab_size + 8, mean_resizing=False)
    found = drift(base, larger, TRACES)
    assert [trace.kl for trace in found.traces] == pytest.approx([0.0] * 5, abs=1e-9)


def test_other_chat_templates_are_told_and_the_bases_is_read(base: Tiny) -> None:
    other = Tiny("other", base.model, copy.deepcopy(base.tokenizer))
    other.tokenizer.chat_template = "{{ messages[0]['content'] }}"
    found = drift(base, other, TRACES)
    assert found.notes == ["the chat templates differ: both read the base's"]
    assert found.parts[0].kl is not None
    assert found.parts[0].kl.value == 0.0


def test_answers_beyond_the_context_are_cut_or_left_out_and_told(tokenizer: Any) -> None:
    short = tiny_llama(tokenizer, max_position_embeddings=30)
    lengths = {t.id: len(short.encode(short.render(t.prompt) + t.answer)) for t in TRACES}
    assert lengths["c"] > 30 > lengths["b"]
    endless = Trace(id="f", prompt="1+" * 40, answer="9")
    found = drift(short, perturbed(short, 0.1), [*TRACES, endless])
    assert found.left_out == ["f"]
    cut = {trace.trace for trace in found.traces if trace.cut}
    assert cut == {name for name, length in lengths.items() if length > 30}
    (c,) = (trace for trace in found.traces if trace.trace == "c")
    assert c.tokens == 30 - len(short.encode(short.render(TRACES[2].prompt)))
    said = drift_sentence(found)
    assert f"{len(cut)} of 5 answers cut at the end of the context" in said
    assert "1 left out, too long for the context" in said
    with pytest.raises(EvaluationError, match="no trace fits the context"):
        drift(short, short, [endless])


def test_what_cannot_be_measured_is_refused(base: Tiny) -> None:
    with pytest.raises(EvaluationError, match="there are none"):
        drift(base, base, [])
    with pytest.raises(EvaluationError, match="share an id"):
        drift(base, base, [TRACES[0], TRACES[0]])
    broken = Tiny("broken", copy.deepcopy(base.model), base.tokenizer)
    with torch.no_grad():
        broken.model.lm_head.weight[3] = math.nan
    with pytest.raises(EvaluationError, match="llama-0 and broken: logits of trace a hold NaN"):
        drift(base, broken, TRACES[:1])


def test_a_tokenizer_that_knows_more_than_the_embedding_is_refused(base: Tiny) -> None:
    small = tiny_llama(base.tokenizer, vocab_size=20)
    with pytest.raises(EvaluationError, match=r"llama-0: token \d+ .* beyond the 20 rows"):
        drift(small, small, TRACES)


def test_a_model_without_a_cache_is_told(base: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        config, device = base.model.config, base.model.device
        get_output_embeddings = base.model.get_output_embeddings
        get_input_embeddings = base.model.get_input_embeddings

        def forward(self, input_ids: torch.Tensor, **_: object) -> Any:
            out = base.model(input_ids=input_ids)
            out.past_key_values = None
            return out

        __call__ = forward

    forgetful = Tiny("forgetful", Forgetful(), base.tokenizer)
    assert drift(forgetful, base, TRACES[:1]).traces[0].kl == pytest.approx(0, abs=1e-9)
    monkeypatch.setattr(reading, "LOGITS", 10 * base.model.config.vocab_size)
    with pytest.raises(EvaluationError, match="forgetful: keeps no key-value cache"):
        drift(forgetful, base, TRACES[:1])
