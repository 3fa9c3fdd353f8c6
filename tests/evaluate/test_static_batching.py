"""Static batches: what is beside an answer, and what has left, does not change it."""

import pytest
import torch
from embedded_models import DRAWN, EXACT, GREEDY, prompts

from weightlens.evaluate.backends.backend import OutOfMemory, Prompt, Reply
from weightlens.evaluate.backends.capacity import token_bytes
from weightlens.evaluate.backends.static import StaticBatching
from weightlens.evaluate.chat import Chat, load_chat
from weightlens.evaluate.forward import cache_name
from weightlens.evaluate.task import Sampling
from weightlens.experiment.tiny.shipped import SHIPPED


@pytest.fixture(scope="module")
def chat() -> Chat:
    return load_chat(SHIPPED / "base", loading=EXACT)


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN])
def test_answers_do_not_depend_on_the_batch(chat: Chat, sampling: Sampling) -> None:
    """In float32; rows leave at different times, so the batch of 16 shrinks on its way."""
    backend, given = StaticBatching(chat), prompts(chat, 16)
    together = backend.generate(given, sampling)
    assert [backend.generate([p], sampling)[0] for p in given] == together
    assert len({len(reply.tokens) for reply in together}) > 3
    assert backend.generate(given[::-1], sampling) == together[::-1]


def test_answers_are_those_of_a_plain_loop_over_the_logits(chat: Chat) -> None:
    """Greedy decoding by hand, without cache, padding or batch."""
    for prompt in prompts(chat, 3):
        ids = [*prompt.tokens]
        while len(ids) - len(prompt.tokens) < 80 and ids[-1] not in chat.words.ends:
            with torch.inference_mode():
                ids.append(int(chat.model(torch.tensor([ids])).logits[0, -1].argmax()))
        said = tuple(ids[len(prompt.tokens) :])
        assert StaticBatching(chat).generate([prompt], GREEDY) == [Reply(said, "stop")]


def test_greedy_answers_are_those_of_transformers_own_generate(chat: Chat) -> None:
    given = prompts(chat, 12)
    width = max(len(p.tokens) for p in given)
    ids = torch.tensor([[chat.words.pad] * (width - len(p.tokens)) + [*p.tokens] for p in given])
    mask = torch.tensor([[0] * (width - len(p.tokens)) + [1] * len(p.tokens) for p in given])
    rows = chat.model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=80, do_sample=False,
        eos_token_id=chat.words.ends, pad_token_id=chat.words.pad,
    )[:, width:].tolist()  # fmt: skip
    for row, reply in zip(rows, StaticBatching(chat).generate(given, GREEDY), strict=True):
        assert tuple(row[: len(reply.tokens)]) == reply.tokens


def test_another_seed_is_another_answer_and_the_same_seed_the_same(chat: Chat) -> None:
    (prompt,) = prompts(chat, 1)
    backend = StaticBatching(chat)
    drawn = [backend.generate([Prompt(prompt.tokens, seed)], DRAWN)[0] for seed in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3] and len(set(drawn)) > 1


def test_an_answer_is_cut_off_at_its_limit_and_at_the_models_context(chat: Chat) -> None:
    (prompt,) = prompts(chat, 1)
    (reply,) = StaticBatching(chat).generate([prompt], Sampling(max_new_tokens=5))
    assert (len(reply.tokens), reply.finish) == (5, "length")
    assert chat.words.context is not None
    long = Prompt(prompt.tokens * (chat.words.context // len(prompt.tokens)))
    long = Prompt((long.tokens + prompt.tokens)[: chat.words.context - 3])
    (reply,) = StaticBatching(chat).generate([long], GREEDY)
    assert len(reply.tokens) <= 3


def test_what_the_allocator_says_is_told_as_out_of_memory(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = StaticBatching(chat)
    for error in (
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
    ):
        monkeypatch.setattr(backend, "_generate", lambda *_, error=error: _raise(error))
        with pytest.raises(OutOfMemory):
            backend.generate(prompts(chat, 1), GREEDY)
    monkeypatch.setattr(backend, "_generate", lambda *_: _raise(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        backend.generate(prompts(chat, 1), GREEDY)


def _raise(error: Exception) -> None:
    raise error


def test_nothing_asked_is_nothing_answered(chat: Chat) -> None:
    assert StaticBatching(chat).generate([], GREEDY) == []


def test_keys_and_values_of_a_token_are_counted(chat: Chat) -> None:
    """Measured on the cache of a forward: keys and values, 4 layers, 4 heads of 32, float32."""
    from transformers import DynamicCache

    cache = DynamicCache(config=chat.model.config)
    given = {cache_name(chat.model): cache}
    chat.model(torch.zeros(1, 7, dtype=torch.long), use_cache=True, **given)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 7 * token_bytes(chat.model) == 7 * 2 * 4 * 4 * 32 * 4
