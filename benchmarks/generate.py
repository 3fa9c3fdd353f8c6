"""Tokens per second of an evaluation's answers, beside its peers on the same questions.

    python benchmarks/generate.py MODEL --data QUESTIONS.jsonl [--questions 96] [--batch 16]
        [--max-new-tokens 256] [--device cpu] [--rows weightlens,generate,lm-eval]

Questions: one JSON object a line with a `question`; asked through the model's chat template,
greedily, with batches of the same size. The rows:

    weightlens     sorted by length, finished rows leave, keys and values grow in place,
                   bfloat16 weights packed on the CPU
    generate       transformers' model.generate, batches in the order of the file
    lm-eval        lm-eval's `hf` backend (its generate_until), where lm-eval is installed

All load the weights in the dtype that they are stored in. Answers are cut at their first end
token; a token per second is one that is part of an answer, not of padding. Each row is measured in
the same process, in turn, several times; the median counts.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from weightlens.evaluate.backends.backend import Prompt
from weightlens.evaluate.backends.continuous import ContinuousBatching
from weightlens.evaluate.backends.packing import pack_linears
from weightlens.evaluate.backends.static import StaticBatching
from weightlens.evaluate.chat import Chat, Loading, load_chat
from weightlens.evaluate.task import Sampling


def main() -> None:
    """Prints a table."""
    options = _options()
    lines = options.data.read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["question"] for line in lines[: options.questions]]
    chat, plain = (load_chat(options.model, loading=Loading(device=options.device)) for _ in "12")
    pack_linears(chat.model)
    rendered = [chat.render(text) for text in texts]
    rows = {name: row for name, row in ROWS.items() if name in options.rows.split(",")}
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    tokens: dict[str, int] = {}
    for _ in range(options.repeats):
        for name, row in rows.items():
            began = time.perf_counter()
            used = chat if name in ("weightlens", "continuous") else plain
            tokens[name] = row(used, rendered, options)
            seconds[name].append(time.perf_counter() - began)
            print(f"{name}: {tokens[name]} tokens, {seconds[name][-1]:.1f} s", file=sys.stderr)
    print(f"{len(texts)} questions, batches of {options.batch}, at most {options.max_new_tokens} "
          f"new tokens, {chat.model.dtype}, {chat.model.device}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    ours = tokens[next(iter(rows))] / statistics.median(seconds[next(iter(rows))])
    print(f"{'':12} {'tokens':>8} {'seconds':>8} {'tokens/s':>9} {'ours is':>8}")
    for name in rows:
        taken = statistics.median(seconds[name])
        speed = tokens[name] / taken
        print(f"{name:12} {tokens[name]:8} {taken:8.1f} {speed:9.1f} {ours / speed:7.2f}x")


def _ours(chat: Chat, rendered: Sequence[str], options: Any) -> int:
    backend = StaticBatching(chat)
    prompts = sorted((Prompt(tuple(chat.words.encode(text))) for text in rendered),
                     key=lambda prompt: -len(prompt.tokens))  # fmt: skip
    sampling = Sampling(options.max_new_tokens)
    batches = (prompts[i : i + options.batch] for i in range(0, len(prompts), options.batch))
    return sum(len(r.tokens) for batch in batches for r in backend.generate(batch, sampling))


def _continuous(chat: Chat, rendered: Sequence[str], options: Any) -> int:
    prompts = [Prompt(tuple(chat.words.encode(text))) for text in rendered]
    replies = ContinuousBatching(chat).generate(prompts, Sampling(options.max_new_tokens))
    return sum(len(reply.tokens) for reply in replies)


def _generate(chat: Chat, rendered: Sequence[str], options: Any) -> int:
    total = 0
    tokenizer = chat.tokenizer
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    for start in range(0, len(rendered), options.batch):
        given = tokenizer(list(rendered[start : start + options.batch]), return_tensors="pt",
                          padding=True, add_special_tokens=False).to(chat.model.device)  # fmt: skip
        with torch.inference_mode():
            out = chat.model.generate(**given, max_new_tokens=options.max_new_tokens,
                                      do_sample=False, pad_token_id=chat.words.pad)  # fmt: skip
        for row in out[:, given["input_ids"].shape[1] :].tolist():
            end = next((i for i, token in enumerate(row) if token in chat.words.ends), len(row) - 1)
            total += end + 1
    return total


def _lm_eval(chat: Chat, rendered: Sequence[str], options: Any) -> int:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=chat.model, tokenizer=chat.tokenizer, batch_size=options.batch)
    settings = {"until": [chat.tokenizer.decode(e) for e in chat.words.ends], "do_sample": False,
                "max_gen_toks": options.max_new_tokens}  # fmt: skip
    asked = [Instance("generate_until", {}, (text, settings), i) for i, text in enumerate(rendered)]
    said = model.generate_until(asked, disable_tqdm=True)
    return sum(len(chat.words.encode(text)) + 1 for text in said)


Row = Callable[[Chat, Sequence[str], Any], int]
ROWS: dict[str, Row] = {
    "weightlens": _ours,
    "continuous": _continuous,
    "generate": _generate,
    "lm-eval": _lm_eval,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default=None)
    parser.add_argument("--rows", default="weightlens,generate,lm-eval")
    return parser.parse_args()


if __name__ == "__main__":
    main()
