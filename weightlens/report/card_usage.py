"""The sections of a card that hold code: how to load the model, and how to make it again."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from weightlens.checkpoint.adapter import CONFIG_FILE
from weightlens.checkpoint.chat import chat_template
from weightlens.merge.extract_record import ExtractReport, ExtractSettings
from weightlens.merge.ingredients import Ingredient
from weightlens.report.card_subject import RECORD, CardSubject
from weightlens.report.card_words import code, fenced, listed

_VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for the largest rank of an adapter."""

_ASKED = 'messages = [{"role": "user", "content": "What is the capital of France?"}]'
_CHAT = """\
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
).to(model.device)
"""
_PLAIN = 'inputs = tokenizer("The capital of France is", return_tensors="pt").to(model.device)\n'
_ANSWER = """\
output = model.generate(**inputs, max_new_tokens=256)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""


def usage(subject: CardSubject, repo: str) -> Iterator[str]:
    """How to load and ask it with transformers, and with vLLM. repo: where it lies on the Hub."""
    chat = _has_template(subject)
    yield "With transformers" + (" and PEFT" if subject.is_adapter else "") + ":"
    yield ""
    load = _load_adapter(subject, repo) if subject.is_adapter else _load(repo)
    asked = f"{_ASKED}\n{_CHAT}" if chat else _PLAIN
    yield fenced(f"{load}\n{asked}{_ANSWER}", "python")
    yield ""
    yield "With vLLM:"
    yield ""
    yield fenced(_vllm(subject, repo, chat), "python")
    if subject.is_adapter and (base := subject.base) is not None and base.repo is None:
        yield ""
        yield (
            f"The base {code(base.name)} was not taken from the Hub: put the path of your copy in "
            "the place of `path/to/`."
        )


def reproduction(subject: CardSubject, repo: str) -> Iterator[str]:
    """The one command that makes it again, and what it needs."""
    record = subject.record
    if isinstance(record, ExtractReport):
        yield fenced(_extraction(subject, record.settings), "bash")
        yield ""
        yield "The record of what was measured while it was extracted lies beside the weights as "
        yield f"`{RECORD}`."
        return
    local = [one for one in subject.ingredients if one.repo is None]
    given = "".join(f" \\\n    --source {_shell(one.name)}={_place(one)}" for one in local)
    fetched = f"hf download {_shell(repo)} {RECORD} --local-dir ."
    yield fenced(f"{fetched}\nweightlens merge {RECORD} rebuilt{given}", "bash")
    yield ""
    words = (
        f"`{RECORD}` holds the recipe, the seed ({record.seed}) and the hash of every model that "
        f"went in. It was made with weightlens {record.weightlens} (the distribution "
        f"weightlens-toolkit) and torch {record.torch}"
    )
    named = listed([code(one.name) for one in local])
    yield f"{words}. Give the paths of your copies of {named}." if local else f"{words}."


def _place(one: Ingredient) -> str:
    return shlex.quote(f"path/to/{one.name}")


def _python(text: str) -> str:
    """As a literal; so quoted, JSON is Python."""
    return json.dumps(text, ensure_ascii=False)


def _shell(name: str) -> str:
    return shlex.quote(name)


def _has_template(subject: CardSubject) -> bool:
    """Of an adapter that of its base; supposed where the base is not here to be asked."""
    if not subject.is_adapter:
        return chat_template(subject.folder) is not None
    base = subject.base
    if base is None or base.repo is not None or not Path(base.label).is_dir():
        return True
    return chat_template(Path(base.label)) is not None


def _load(repo: str) -> str:
    return f"""\
from transformers import AutoModelForCausalLM, AutoTokenizer

name = {_python(repo)}
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForCausalLM.from_pretrained(name, dtype="auto")
"""


def _load_adapter(subject: CardSubject, repo: str) -> str:
    return f"""\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = {_python(_base_place(subject))}
tokenizer = AutoTokenizer.from_pretrained(base)
model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
model = PeftModel.from_pretrained(model, {_python(repo)})
"""


def _base_place(subject: CardSubject) -> str:
    base = subject.base
    if base is None:
        return "path/to/base"
    return base.repo or f"path/to/{base.name}"


def _vllm(subject: CardSubject, repo: str, chat: bool) -> str:
    params = "SamplingParams(max_tokens=256)"
    call = f"llm.chat(messages, {params}" if chat else (
        f'llm.generate("The capital of France is", {params}')  # fmt: skip
    asked = f"{_ASKED}\n" if chat else ""
    if not subject.is_adapter:
        return (
            f"from vllm import LLM, SamplingParams\n\nllm = LLM(model={_python(repo)})\n{asked}"
            f"print({call})[0].outputs[0].text)"
        )
    config = json.loads((subject.folder / CONFIG_FILE).read_text(encoding="utf-8"))
    rank = int(config["r"])  # the largest: those of single modules are exceptions below it
    allowed = next((r for r in _VLLM_RANKS if r >= rank), rank)
    return f"""\
from huggingface_hub import snapshot_download
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

llm = LLM(model={_python(_base_place(subject))}, enable_lora=True, max_lora_rank={allowed})
adapter = LoRARequest({_python(subject.title)}, 1, snapshot_download({_python(repo)}))
{asked}print({call}, lora_request=adapter)[0].outputs[0].text)"""


def _extraction(subject: CardSubject, settings: ExtractSettings) -> str:
    size = settings.size
    options = ["--noise"] if size.by == "noise" else [f"--{size.by} {size.value:g}"]
    options += [f"--max-rank {size.most}"] if size.most is not None else []
    options += [f"--include {_shell(settings.include)}"] if settings.include else []
    options += [f"--exclude {_shell(settings.exclude)}"] if settings.exclude else []
    options += ["--save-rest"] if settings.save_rest else []
    base, *sources = subject.ingredients
    models = [
        (f"{one.repo}@{one.commit}" if one.commit else one.repo) or _place(one)
        for one in (base, *sources)
    ]
    return (
        f"weightlens extract {models[0]} {'+'.join(models[1:]) or models[0]} rebuilt \\\n    "
        + (" ".join(options))
    )
