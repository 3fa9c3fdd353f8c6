"""Writing LoRA adapters as PEFT reads them: factored deltas by the name of the base's tensor.

    adapter_config.json          r, alpha, their exceptions by module, the modules themselves
    adapter_model.safetensors    base_model.model.MODULE.lora_A.weight (r x in), lora_B (out x r)

The scale alpha / r is exactly 1 for every module, whatever its rank: alpha is r, and what scale a
delta has goes into B. Exceptions are keyed by the whole name of the module, escaped and anchored,
because PEFT reads them as regular expressions for the end of a name.
"""

import json
import re
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.adapter import CONFIG_FILE, WEIGHTS_FILE
from weightlens.checkpoint.adapter_names import check_factored, is_embedding, module_of
from weightlens.checkpoint.appended import AppendedFile
from weightlens.checkpoint.output import PROVENANCE_FILE, check_output, partial_of
from weightlens.checkpoint.partial import filled
from weightlens.checkpoint.weights import all_finite
from weightlens.delta import Factored
from weightlens.errors import InputError, NonFiniteTensor, OutputError, UnsupportedTensor

_PREFIX = "base_model.model."
_LONGEST_KEY = f"{_PREFIX}.base_layer.lora_embedding_A.weight"
"""What a name grows by at most."""


def write_adapter(
    out: Path,
    factors: Mapping[str, Factored],
    *,
    base_model: str | None,
    revision: str | None = None,
    whole: Mapping[str, Tensor] = MappingProxyType({}),
    transposed: Collection[str] = (),
    dtype: torch.dtype = torch.float32,
    provenance: str | None = None,
    overwrite: bool = False,
) -> None:
    """Writes deltas as a LoRA adapter in PEFT's form; the folder is whole or absent.

    factors: by the name of the base's tensor, oriented like it; those of rank 0 are left out.
    base_model, revision: where PEFT finds the base, as far as is known. whole: tensors that take
    the place of the base's, all of a module's or none (`modules_to_save`), or the bias of a layer
    that has factors. transposed: the tensors that the base stores as inputs x outputs
    (`Weights.transposed`). dtype: what everything is written in. provenance: the text of
    weightlens.json, without which a later run will not overwrite the folder.

    Raises as `AdapterWriter` does.
    """
    kept = {name: delta for name, delta in factors.items() if delta.rank}
    writer = AdapterWriter(
        out,
        kept,
        whole=whole,
        base_model=base_model,
        revision=revision,
        transposed=transposed,
        dtype=dtype,
        overwrite=overwrite,
    )
    with writer:
        for name, delta in kept.items():
            writer.add(name, delta)
        for name, tensor in whole.items():
            writer.add_whole(name, tensor)
        if provenance is not None:
            writer.add_provenance(provenance)


class AdapterWriter:
    """Fills `OUT.partial` with an adapter, tensor by tensor, and renames it to OUT on a clean exit.

    Used as a context manager; an exception removes the partial folder. ranks: of the factors that
    are in it, by tensor.
    """

    def __init__(
        self,
        out: Path,
        factored: Collection[str],
        *,
        base_model: str | None,
        revision: str | None = None,
        whole: Collection[str] = (),
        transposed: Collection[str] = (),
        embeddings: Collection[str] | None = None,
        dtype: torch.dtype = torch.float32,
        overwrite: bool = False,
        fresh: bool = False,
    ) -> None:
        """factored, whole: the names that may come; embeddings: which of them are tables of
        embeddings, by their names where nothing is said; fresh: even if a merge that was
        interrupted has left finished tensors; the rest is as for `write_adapter`.

        Raises OutputError where OUT holds something and overwrite is not set, UnsupportedTensor
        for names that PEFT has no place for, and for deltas of both orientations.
        """
        check_output(out, overwrite=overwrite)
        by_name = filter(is_embedding, factored)
        self._embeddings = frozenset(by_name if embeddings is None else embeddings)
        check_factored(factored, transposed, self._embeddings)
        self.out, self.dtype = out.resolve(), dtype
        self.ranks: dict[str, int] = {}
        self._names = [*factored, *whole]
        self._base = {"base_model_name_or_path": base_model, "revision": revision}
        self._transposed = frozenset(transposed)
        self._whole: set[str] = set()
        self._filled = filled(out, overwrite=overwrite, fresh=fresh)
        self._open = ExitStack()
        self._folder = partial_of(self.out)
        self._file: AppendedFile | None = None

    @property
    def nbytes(self) -> int:
        """Size of the tensors that are in it."""
        return self._file.nbytes if self._file else 0

    @property
    def tensors(self) -> int:
        """How many are in it, each factor one."""
        return self._file.tensors if self._file else 0

    @property
    def checksums(self) -> dict[str, str]:
        """The xxh3-128 of every tensor that is in it."""
        return dict(self._file.checksums) if self._file else {}

    def __enter__(self) -> "AdapterWriter":
        """Makes the folder. Raises OutputError where another run is filling it."""
        with ExitStack() as stack:
            stack.enter_context(self._filled)
            keys = [name + _LONGEST_KEY for name in self._names for _ in "AB"]
            self._file = AppendedFile(self._folder / WEIGHTS_FILE, keys)
            stack.callback(self._file.close)
            self._open = stack.pop_all()
        return self

    def add(self, name: str, delta: Factored) -> None:
        """Writes the factors of one tensor, unless their rank is 0.

        Raises NonFiniteTensor where the dtype cannot hold them, OutputError where the disk cannot.
        """
        assert not self._whole, "factors come first: whole tensors are named after them"
        if not delta.rank:
            return
        a, b = delta.a, delta.b
        if name in self._embeddings:
            keys, a, b = ("lora_embedding_A", "lora_embedding_B"), b.T, a.T
        else:
            keys = ("lora_A.weight", "lora_B.weight")
            if name in self._transposed:
                a, b = b.T, a.T
        for key, factor in zip(keys, (a, b * delta.scale), strict=True):
            self._append(f"{module_of(name)}.{key}", factor)
        self.ranks[name] = delta.rank

    def add_whole(self, name: str, tensor: Float[Tensor, "..."]) -> None:
        """Writes a tensor that takes the place of the base's, once all factors are written.

        Raises as `add` does, and UnsupportedTensor where PEFT has no place for it.
        """
        module = module_of(name)
        if f"{module}.weight" not in self.ranks:
            self._append(name, tensor)
        elif name == f"{module}.bias":
            self._append(f"{module}.base_layer.bias", tensor)
        else:
            raise UnsupportedTensor(
                f"{name}: cannot be saved whole and have factors as well; leave one of them out"
            )
        self._whole.add(name)

    def add_provenance(self, text: str) -> None:
        """Writes how the adapter was made, as weightlens.json."""
        (self._folder / PROVENANCE_FILE).write_text(text, encoding="utf-8")

    def verify(self) -> None:
        """Reads every tensor back from the disk. Raises OutputError where one is not what was
        written."""
        assert self._file is not None, "outside of its `with`"
        differing = self._file.differing()
        if differing is not None:
            raise OutputError(
                f"{self.out}: {differing} is not on the disk as it was written, so nothing is left "
                "of it; look after the disk and run again"
            )

    def _append(self, key: str, tensor: Float[Tensor, "..."]) -> None:
        assert self._file is not None, "outside of its `with`"
        written = tensor.to(self.dtype)
        if not all_finite(written):
            raise NonFiniteTensor(f"{key}: holds numbers beyond {self.dtype}; choose a wider dtype")
        self._file.append(_PREFIX + key, written)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Configuration and header, then one rename; nothing of it while an exception passes."""
        if error is not None:
            self._open.__exit__(kind, error, trace)
            return
        with self._open:
            self._finish()

    def _finish(self) -> None:
        assert self._file is not None
        if not self.ranks:
            raise InputError(f"{self.out}: no matrix has a delta to write; it would be no adapter")
        config = json.dumps(self._config(), indent=2) + "\n"
        (self._folder / CONFIG_FILE).write_text(config, encoding="utf-8")
        self._file.finish()

    def _config(self) -> dict[str, Any]:
        modules = {module_of(name): rank for name, rank in self.ranks.items()}
        largest = max(modules.values())
        # PEFT: re.match(rf"(.*\.)?({key})$", module); only an anchor keeps other ends of names out
        pattern = {f"^{re.escape(m)}": r for m, r in modules.items() if r != largest}
        replaced = {module_of(name) for name in self._whole}
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            **self._base,
            "r": largest,
            "lora_alpha": largest,
            "rank_pattern": pattern,
            "alpha_pattern": pattern,
            "target_modules": list(modules),
            "modules_to_save": sorted(replaced - set(modules)) or None,
            "fan_in_fan_out": not self._transposed.isdisjoint(self.ranks),
            "bias": "lora_only" if replaced & set(modules) else "none",
            "lora_dropout": 0.0,
            "use_rslora": False,
            "use_dora": False,
            "init_lora_weights": True,
            "inference_mode": True,
        }
