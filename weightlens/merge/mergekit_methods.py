"""Our merge methods under mergekit's engine, as weightlens_NAME, and weightlens_strip.

The recipe's parameters are the methods' own. Arithmetic is in float32 on the processor, whatever
the recipe's dtype, as in our engine; what comes out has the dtype that went in, as mergekit expects
of its methods. Draws and random subspaces are keyed by the seed that mergekit was given (0 where it
was given none), by source and by tensor, and not by the order of work.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Annotated, Any, TypeVar, get_args

import torch
from jaxtyping import Float
from pydantic import BaseModel, ValidationError, WrapValidator
from pydantic.fields import FieldInfo
from torch import Tensor

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import place_of
from weightlens.checkpoint.orientation import transposed_names
from weightlens.checkpoint.selection import Selection
from weightlens.delta import Dense
from weightlens.errors import InputError, RecipeError
from weightlens.merge.matrix import MatrixName, MatrixSurgery
from weightlens.merge.method import MergeMethod, PerSource, merged
from weightlens.merge.methods import METHODS
from weightlens.merge.methods.task_arithmetic import TaskArithmetic
from weightlens.merge.streaming import Held, Key
from weightlens.merge.transforms import Strip
from weightlens.merge.work import single_threaded

PREFIX = "weightlens_"
STRIP = f"{PREFIX}strip"

_UNSEEDED = 67280421310721
"""torch's seed where nobody has given one."""

_Model = TypeVar("_Model", bound=BaseModel)


def register_methods() -> tuple[str, ...]:
    """Makes every method of ours known to mergekit in this process; returns their names there.

    Those that are known already stay. Raises ImportError where mergekit is not installed.
    """
    from mergekit.merge_methods import register, registered_methods
    from mergekit.merge_methods.base import FunctionalGroupMergeMethod

    known = {method.spec.name for method in registered_methods()}
    methods = {
        f"{PREFIX}{name}": (_spec(f"{PREFIX}{name}", _fields(kind), kind), _merging(kind))
        for name, kind in METHODS.items()
    }
    fields = [*Strip.model_fields.items(), *_fields(TaskArithmetic)]
    methods[STRIP] = (_spec(STRIP, fields, TaskArithmetic), _stripped_group)
    for name, (spec, implementation) in methods.items():
        if name not in known:
            register(FunctionalGroupMergeMethod(spec, implementation))
    return tuple(methods)


def _merging(kind: type[MergeMethod]) -> Callable[..., Tensor]:
    return partial(_merged_group, kind)


def _fields(kind: type[MergeMethod]) -> list[tuple[str, FieldInfo]]:
    """A method's parameters by the names that recipes use."""
    return [(f.alias or key, f) for key, f in kind.model_fields.items() if key != "method"]


def _spec(name: str, fields: Iterable[tuple[str, FieldInfo]], kind: type[MergeMethod]) -> Any:
    from mergekit.merge_methods import BasePolicy, InputContract, MergeMethodSpec

    if kind.base == "ignored":
        contract = InputContract(BasePolicy.IGNORED, kind.fewest, kind.most)
    else:
        policy = BasePolicy.REQUIRED if kind.base == "required" else BasePolicy.OPTIONAL
        contract = InputContract(policy, min_non_base=kind.fewest, max_non_base=kind.most)
    return MergeMethodSpec(
        name=name,
        parameters=tuple(_parameter(key, field, kind) for key, field in fields),
        contract=contract,
        pretty_name=f"{name.removeprefix(PREFIX)} of weightlens",
        uses_accelerator=False,
    )


def _parameter(name: str, field: FieldInfo, kind: type[MergeMethod]) -> Any:
    from mergekit.merge_methods import ParameterScope
    from mergekit.merge_methods.base import MISSING, ParameterSpec

    each = next((m for m in field.metadata if isinstance(m, PerSource)), None)
    if each is None:
        default = MISSING if field.is_required() else field.get_default()
        value_type = _named(name, field.annotation, field.metadata)
        return ParameterSpec(name, value_type, ParameterScope.SHARED, default)
    scope = ParameterScope.INPUT if kind.base == "ignored" else ParameterScope.NON_BASE
    default = MISSING if each.needed else each.default
    return ParameterSpec(name, _named(name, get_args(field.annotation)[0]), scope, default)


def _named(name: str, value_type: Any, constraints: Sequence[Any] = ()) -> Any:
    """The type of a parameter whose complaints say its name; mergekit's do not."""

    def validated(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise ValueError(f"{name}: {error.errors()[0]['msg']}, not {value!r}") from error

    annotated: Any = Annotated
    return annotated[(value_type, *constraints, WrapValidator(validated))]


def _validated(kind: type[_Model], name: str, values: Mapping[str, Any]) -> _Model:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = error.errors()[0]
        place = ".".join(str(part) for part in found["loc"])
        message = str(found["msg"]).removeprefix("Value error, ")
        where = f"{name}: {place}" if place else name
        raise RecipeError(f"{where}: {message}") from error


def _made(kind: type[MergeMethod], group: Any, name: str, values: Mapping[str, Any]) -> MergeMethod:
    """The method for one tensor. values: as mergekit has them, by source where they differ."""
    entries = group.entries if kind.base == "ignored" else group.non_base
    each = {
        key for key, field in _fields(kind) if any(isinstance(m, PerSource) for m in field.metadata)
    }
    given = {
        key: tuple(value[entry.id] for entry in entries) if key in each else value
        for key, value in values.items()
    }
    return _validated(kind, name, given)


def _inputs(
    group: Any, kind: type[MergeMethod]
) -> tuple[Float[Tensor, "*shape"] | None, list[Float[Tensor, "*shape"]]]:
    """The base, where the method has one, and the sources, in float32."""
    base = None if kind.base == "ignored" else group.base
    entries = group.entries if kind.base == "ignored" else group.non_base
    return None if base is None else _float32(base), [_float32(entry) for entry in entries]


def _float32(entry: Any) -> Float[Tensor, "*shape"]:
    found: Tensor = entry.tensor.detach().to(device="cpu", dtype=torch.float32)
    return found


def _merged_group(kind: type[MergeMethod], group: Any, **parameters: Any) -> Tensor:
    """One tensor by one of our methods. Raises RecipeError, InputError."""
    name = f"{PREFIX}{kind.model_fields['method'].default}"
    method = _made(kind, group, name, parameters)
    base, sources = _inputs(group, kind)
    try:
        with single_threaded():
            result = merged(method, sources, base, key=_key(group))
    except ValueError as error:
        raise InputError(f"{name}: {group.metadata.name}: {error}") from error
    return result.to(group.tensors[0])


def _stripped_group(group: Any, **parameters: Any) -> Tensor:
    """One tensor by task arithmetic after a strip. Raises RecipeError, InputError."""
    own = {key: parameters.pop(key) for key in Strip.model_fields}
    transform = _validated(Strip, STRIP, own)
    method = _made(TaskArithmetic, group, STRIP, parameters)
    base, sources = _inputs(group, TaskArithmetic)
    assert base is not None, "mergekit holds methods to their contract"
    deltas = [source - base for source in sources]
    info = TensorInfo(tuple(base.shape), base.dtype)
    if Selection().reason_to_skip(_name(group), info) is None:
        deltas = _stripped(group, transform, base, deltas)
    with single_threaded():
        tensor = Held(base, deltas, _key(group))
        blocks = [method.combine(block, None) for block in tensor.blocks()]
        result = base + torch.cat([torch.empty(0), *blocks]).reshape(base.shape)
    return result.to(group.tensors[0])


def _stripped(
    group: Any,
    transform: Strip,
    base: Float[Tensor, "*shape"],
    deltas: Sequence[Float[Tensor, "*shape"]],
) -> list[Float[Tensor, "*shape"]]:
    """Every source's delta after the strip, matrix by matrix where it is a stack of them."""
    name, turned = _name(group), _is_transposed(group)
    place = place_of(name)
    parts: list[list[Tensor]] = []
    for e, matrix in enumerate([base] if base.ndim == 2 else base):
        at = MatrixName(name, place.expert if base.ndim == 2 else e, place)
        oriented = matrix.T if turned else matrix
        surgery = MatrixSurgery(at, oriented, [transform], seed=_key(group).seed)
        parts.append([])
        for entry, delta in zip(group.non_base, deltas, strict=True):
            own = delta if base.ndim == 2 else delta[e]
            found = surgery.stripped(str(entry.id), Dense(own.T if turned else own)).dense()
            parts[-1].append(found.T if turned else found)
    return [torch.stack(each).reshape(base.shape) for each in zip(*parts, strict=True)]


def _name(group: Any) -> str:
    """The tensor's name; mergekit's calls in memory may leave it out."""
    return group.metadata.name or ""


def _key(group: Any) -> Key:
    seed = torch.initial_seed()
    return Key(0 if seed == _UNSEEDED else seed, _name(group))


def _is_transposed(group: Any) -> bool:
    """Whether the base stores the tensor as inputs x outputs; in memory it is taken not to."""
    from mergekit.common import ModelReference

    reference = group.base.id
    if not isinstance(reference, ModelReference):
        return False
    return bool(transposed_names(_config(reference), [_name(group)]))


@lru_cache(maxsize=8)
def _config(reference: Any) -> dict[str, Any]:
    from mergekit.io.tasks import LoaderCache

    config: dict[str, Any] = reference.config(LoaderCache().trust_remote_code).to_dict()
    return config
