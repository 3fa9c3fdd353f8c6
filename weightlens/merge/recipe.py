"""Recipes as written: mergekit's YAML with weightlens's transforms. Unknown keys are errors."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from weightlens.merge.transforms import Strip

DtypeName = Literal["float32", "bfloat16", "float16"]
Parameter = bool | float | str


class Source(BaseModel):
    """A model named in a recipe, and its own parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    parameters: dict[str, Parameter] = Field(default_factory=dict)


class TransformEntry(BaseModel):
    """One transform; the key is its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strip: Strip


class Recipe(BaseModel):
    """A recipe as written.

    dtype: the type that inputs are read as, and written where out_dtype is not given.
    `merge_method: strip` is task arithmetic after one strip transform, whose parameters stand
    among the recipe's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    merge_method: str
    base_model: str | None = Field(default=None, min_length=1)
    models: list[Source] = Field(min_length=1)
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    transforms: list[TransformEntry] = Field(default_factory=list)
    dtype: DtypeName | None = None
    out_dtype: DtypeName | None = None

    @property
    def read_dtype(self) -> torch.dtype | None:
        """The type that inputs are read as; None for as stored."""
        return getattr(torch, self.dtype) if self.dtype else None

    @property
    def write_dtype(self) -> torch.dtype | None:
        """The type written; None for the base's own, tensor by tensor."""
        name = self.out_dtype or self.dtype
        return getattr(torch, name) if name else None
