"""Recipes as written: mergekit's YAML with weightlens's additions. Unknown keys are errors."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from weightlens.merge.settings import Setting
from weightlens.merge.transforms import Strip

DtypeName = Annotated[
    Literal["float32", "bfloat16", "float16", "float64"],
    BeforeValidator(lambda v: v.removeprefix("torch.") if isinstance(v, str) else v),
]
Embeddings = Literal["base", "common", "tokenizer"]


def _reference(value: Any) -> Any:
    """A model as text; mergekit also writes {model: {path, revision}, lora: {…}}."""
    if not isinstance(value, dict):
        return value
    if not (set(value) <= {"model", "lora"} and value.get("model")):
        raise ValueError("a model is a name, or a mapping with model and lora")
    return "+".join(_with_revision(value[k]) for k in ("model", "lora") if value.get(k))


def _with_revision(path: Any) -> str:
    if isinstance(path, dict):
        if not (set(path) <= {"path", "revision"} and isinstance(path.get("path"), str)):
            raise ValueError("a model in a mapping is a name, or has path and revision")
        revision = path.get("revision")
        return f"{path['path']}@{revision}" if revision else str(path["path"])
    if not isinstance(path, str):
        raise ValueError("a model in a mapping is a name, or has path and revision")
    return path


ModelName = Annotated[str, StringConstraints(min_length=1), BeforeValidator(_reference)]
Parameters = Annotated[dict[str, Setting], BeforeValidator(lambda v: {} if v is None else v)]
"""A key with nothing after it says nothing, as in mergekit."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Part):
    """A model named in a recipe, and its own parameters."""

    model: ModelName
    parameters: Parameters = Field(default_factory=dict)


class LayerSource(Source):
    """A model and the layers of it that go into a slice: from the first to before the second."""

    layer_range: Annotated[tuple[int, int], Field(min_length=2, max_length=2)]

    @model_validator(mode="after")
    def _forwards(self) -> "LayerSource":
        first, end = self.layer_range
        if not 0 <= first < end:
            raise ValueError(f"layer_range [{first}, {end}] holds no layers")
        return self


class Slice(_Part):
    """Layers of the output: those of its sources, merged. All have the same number of them.

    residual_weight: accepted and without effect, as in mergekit.
    """

    sources: list[LayerSource] = Field(min_length=1)
    base_model: ModelName | None = None
    residual_weight: float | None = None
    parameters: Parameters = Field(default_factory=dict)

    @model_validator(mode="after")
    def _same_length(self) -> "Slice":
        if len({s.layer_range[1] - s.layer_range[0] for s in self.sources}) > 1:
            raise ValueError("all sources of a slice need the same number of layers")
        return self


class Module(_Part):
    """One part of a model of several (a language model, a vision tower)."""

    slices: list[Slice] | None = Field(default=None, min_length=1)
    models: list[Source] | None = Field(default=None, min_length=1)
    parameters: Parameters = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> "Module":
        if (self.slices is None) == (self.models is None):
            raise ValueError("a module has either slices or models")
        return self


class TransformEntry(_Part):
    """One transform; the key is its name."""

    strip: Strip


class Tokenizer(_Part):
    """The tokenizer of the output. source: union, base or a model; tokens: embeddings of single
    tokens; pad_to_multiple_of: rows of the embeddings."""

    source: ModelName = "union"
    tokens: dict[str, Any] | None = None
    pad_to_multiple_of: int | None = Field(default=None, ge=1)


class Recipe(_Part):
    """A recipe as written.

    dtype: the type that inputs are read as, and written where out_dtype is not given. name: what
    other recipes of the same file call the result. embeddings: what happens where vocabularies
    differ. output: model, or adapter for a LoRA adapter. `merge_method: strip` is task arithmetic
    after one strip transform, whose parameters stand among the recipe's.
    """

    merge_method: str
    base_model: ModelName | None = None
    models: list[Source] | None = Field(default=None, min_length=1)
    slices: list[Slice] | None = Field(default=None, min_length=1)
    modules: dict[str, Module] | None = Field(default=None, min_length=1)
    parameters: Parameters = Field(default_factory=dict)
    transforms: Annotated[
        list[TransformEntry], BeforeValidator(lambda v: [] if v is None else v)
    ] = Field(default_factory=list)
    dtype: DtypeName | None = None
    out_dtype: DtypeName | None = None
    tokenizer_source: ModelName | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    embeddings: Embeddings | None = None
    output: Literal["model", "adapter"] = "model"
    name: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_form(self) -> "Recipe":
        if sum(form is not None for form in (self.models, self.slices, self.modules)) != 1:
            raise ValueError("a recipe has exactly one of models, slices and modules")
        if self.tokenizer is not None and self.tokenizer_source is not None:
            raise ValueError("give tokenizer or tokenizer_source, not both")
        return self

    @property
    def read_dtype(self) -> torch.dtype | None:
        """The type that inputs are read as; None for as stored."""
        return getattr(torch, self.dtype) if self.dtype else None

    @property
    def write_dtype(self) -> torch.dtype | None:
        """The type written; None for the sources' own, tensor by tensor."""
        name = self.out_dtype or self.dtype
        return getattr(torch, name) if name else None

    @property
    def wanted_tokenizer(self) -> str | None:
        """union, base or a model; None where nothing is said."""
        return self.tokenizer.source if self.tokenizer else self.tokenizer_source

    def references(self) -> Sequence[str]:
        """Every model that the recipe names, once, the base first, then in order."""
        modules = list((self.modules or {}).values())
        lists = [self.models or [], *(module.models or [] for module in modules)]
        slices = [*(self.slices or []), *(s for module in modules for s in module.slices or [])]
        named = [
            self.base_model,
            *(source.model for sources in lists for source in sources),
            *(model for s in slices for model in (s.base_model, *(o.model for o in s.sources))),
        ]
        return list(dict.fromkeys(model for model in named if model is not None))
