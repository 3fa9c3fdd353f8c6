"""What a tensor's name says: layer, module, expert, role."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from weightlens.checkpoint.config import text_config

Held = TypeVar("Held")

_LAYER = re.compile(
    r"^(?:(?P<stack>.+?)\.)?(?:layers|h|blocks?|layer)\.(?P<layer>\d+)\.(?P<rest>.+)$"
)
_ONLY_STACK = {None, "model", "transformer", "gpt_neox", "model.decoder", "model.language_model"}
"""Prefixes of the language model's own layers; any other (a vision tower's) stays in the module."""
_EXPERT = re.compile(r"\bexperts\.(\d+)\.")
_COMPUTED = re.compile(
    r"(?:^|\.)(?:rotary_emb\.inv_freq|attn\.masked_bias|attention\.masked_bias)$"
)

_MASK = re.compile(r"(?:^|\.)(?:h|layers)\.\d+\.(?:attn|attention|attn\.attention)\.bias$")
"""What GPT-2, GPT-Neo and GPT-NeoX call the triangle that hides later tokens: 1 x 1 x n x n."""

Role = Literal["tokens", "table", "output", "beside"]
"""What a tensor is to the vocabulary, not to a layer.

tokens: the input's table, a row for each token. table: one of positions, token types and the like.
output: what scores each token. beside: else in the module of one of these, as `lm_head.dense`.
"""


def _ends(*modules: str) -> re.Pattern[str]:
    return re.compile(rf"(?:^|\.)(?:{'|'.join(modules)})$")


_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("tokens", _ends("embed_tokens", "embed_in", "tok_embeddings", "tokens_embed", "wte",
                     "word_embeddings?", "token_embeddings?")),
    ("table", _ends("wpe", "positions_embed", "embed_positions", "pos_embed", "embed_timestep",
                    r"\w*position(?:al)?_embeddings?", r"\w*type_embeddings?", "rel_embeddings",
                    "distance_embedding", "relative_attention_bias", "embed_tokens_per_layer")),
    ("output", _ends(r"(?:generator_)?lm_head(?:\.decoder|\.out_proj)?", r"shared_head\.head")),
)  # fmt: skip
"""By the end of the module's name."""

_ROLES_OUTSIDE: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("tokens", _ends("shared", "embeddings?")),
    ("output", _ends("embed_out", "output_layer", "output_projection",
                     r"predictions(?:\.decoder)?")),
    ("output", re.compile(r"^(?:(?:language_)?model\.)*output$")),
)  # fmt: skip
"""Words that mean something else within a layer."""

_OF_OTHERS = re.compile(r"(?:^|\.)(?:embed_vision|embed_audio)\.")
"""Modules of other senses, whose tables have no rows for tokens of text."""

_BESIDE = re.compile(r"(?:^|\.)(?:lm_head|embed_tokens|embeddings?)\.")

TIED = {
    "lm_head.weight": (
        "model.embed_tokens.weight",
        "model.language_model.embed_tokens.weight",
        "model.decoder.embed_tokens.weight",
        "transformer.wte.weight",
        "transformer.word_embeddings.weight",
        "shared.weight",
    ),
    "language_model.lm_head.weight": ("language_model.model.embed_tokens.weight",),
}
"""Tensors that a checkpoint may leave out, and those of which one stands in for each."""


@dataclass(frozen=True)
class Place:
    """Where in the model a tensor sits.

    module: the name below the layer without `.weight`, after that of the stack of layers where it
    is not the language model's.
    """

    layer: int | None
    module: str
    expert: int | None


@dataclass(frozen=True)
class Layered:
    """A tensor's name around the number of its layer."""

    before: str
    layer: int
    after: str

    def at(self, layer: int) -> str:
        """The name of the same tensor of another layer."""
        return f"{self.before}{layer}{self.after}"


def layered(name: str) -> Layered | None:
    """The parts of the name of a layer's tensor; None outside the stacks of layers.

    Tensors of one stack have the same `before`.
    """
    found = _LAYER.search(name)
    if found is None:
        return None
    first, last = found.span("layer")
    return Layered(name[:first], int(found["layer"]), name[last:])


def place_of(name: str) -> Place:
    """Layer, module and expert of a tensor; the layer is None outside the stack of layers."""
    stem = name.removesuffix(".weight")
    found = _LAYER.search(stem)
    layer, module = (int(found["layer"]), found["rest"]) if found else (None, stem)
    if found and found["stack"] not in _ONLY_STACK:
        module = f"{found['stack']}.{module}"
    expert = _EXPERT.search(module)
    return Place(
        layer,
        _EXPERT.sub("experts.", module),
        int(expert[1]) if expert else None,
    )


def is_computed(name: str, shape: Sequence[int] = ()) -> bool:
    """Whether models compute the tensor by themselves and load it from no checkpoint: rotary
    frequencies, masks and the like, which older checkpoints hold and newer ones do not.

    shape: tells a mask that is called a bias from a bias.
    """
    if _MASK.search(name) is not None:
        return len(shape) == 4 and tuple(shape[:2]) == (1, 1) and shape[2] == shape[3]
    return _COMPUTED.search(name) is not None


def role_of(name: str) -> Role | None:
    """What a weight or bias is to the vocabulary; None for what layers are made of, and for what is
    not known by its name."""
    module = re.sub(r"\.(?:weight|bias)$", "", name)
    outside = _ROLES_OUTSIDE if layered(name) is None else ()
    for role, pattern in (*_ROLES, *outside):
        if pattern.search(module):
            return "table" if role == "tokens" and _OF_OTHERS.search(name) else role
    return "beside" if _BESIDE.search(name) else None


def has_row_for_each_token(name: str) -> bool:
    """Whether the rows of a tensor are the vocabulary's: embeddings of tokens, output layers and
    their biases."""
    return role_of(name) in ("tokens", "output") and name.endswith((".weight", ".bias"))


def tied_to(name: str, names: Collection[str]) -> str | None:
    """The one of a checkpoint's tensors that stands in for another where that is left out; None
    where none does."""
    return next((partner for partner in TIED.get(name, ()) if partner in names), None)


def are_tied(config: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether input and output of a model share their embeddings: as its config says, or where it
    says nothing, if it has no output layer of its own."""
    said = text_config(config).get("tie_word_embeddings", config.get("tie_word_embeddings"))
    return not any(is_head(name) for name in names) if said is None else bool(said)


def is_head(name: str) -> bool:
    """Whether a tensor is the weight of the output layer."""
    return role_of(name) == "output" and name.endswith(".weight")


_CORE = {"gpt2": "transformer.", "bloom": "transformer.", "gpt_neo": "transformer.",
         "opt": "model."}  # fmt: skip
"""By model_type, where models with an output layer keep the model itself."""
_WITH_HEAD = ("LMHeadModel", "ForCausalLM")
"""Ends of the names of their classes."""


def with_prefix(tensors: Mapping[str, Held], config: Mapping[str, Any]) -> dict[str, Held]:
    """A checkpoint's tensors by the names that a model with an output layer has for them.

    Some, `gpt2` and Bloom's on the Hub among them, were saved without that layer and without the
    prefix that adapters and fine-tunes have; transformers adds it as it loads them.
    """
    prefix = _CORE.get(str(config.get("model_type")), "")
    named = config.get("architectures")
    with_head = isinstance(named, list) and any(str(n).endswith(_WITH_HEAD) for n in named)
    bare = any((at := _LAYER.search(name)) and at["stack"] in (None, "decoder") for name in tensors)
    if not (prefix and with_head and bare):
        return dict(tensors)
    return {n if n.startswith("lm_head.") else prefix + n: held for n, held in tensors.items()}
