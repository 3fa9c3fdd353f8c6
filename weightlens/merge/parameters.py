"""The parameters of a method by the names that recipes use, read off its fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from weightlens.merge.method import MergeMethod, PerSource
from weightlens.merge.methods import METHODS
from weightlens.merge.settings import Scalar


@dataclass(frozen=True)
class Parameter:
    """One parameter of a method.

    field: its name in the model; per_source: set where each source has a value of its own; default:
    of the recipe, or of a source that has none; needed: whether there is no default.
    """

    name: str
    field: str
    per_source: PerSource | None
    default: Any
    needed: bool
    annotation: Any
    validate: Callable[[Any], Any]

    def typed(self, value: Scalar) -> Any:
        """A value from a recipe in the parameter's type. Raises ValueError, with what is wrong."""
        try:
            return self.validate(value)
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["msg"])) from error


@cache
def parameters_of(kind: type[MergeMethod]) -> Mapping[str, Parameter]:
    """By name, in the order of the class."""
    found = {}
    for key, field in kind.model_fields.items():
        if key != "method":
            parameter = _parameter(key, field)
            found[parameter.name] = parameter
    return found


def _parameter(key: str, field: FieldInfo) -> Parameter:
    marker = next((m for m in field.metadata if isinstance(m, PerSource)), None)
    constraints = tuple(m for m in field.metadata if not isinstance(m, PerSource))
    annotation: Any = field.annotation
    if marker is not None:
        annotation = get_args(annotation)[0]
    elif constraints:
        annotation = Annotated[(annotation, *constraints)]
    return Parameter(
        name=field.alias or key,
        field=key,
        per_source=marker,
        default=marker.default if marker else field.get_default(call_default_factory=True),
        needed=marker.needed if marker else field.is_required(),
        annotation=annotation,
        validate=TypeAdapter(annotation).validate_python,
    )


@cache
def foreign_parameters() -> frozenset[str]:
    """Names of the parameters of all methods: one of them in a recipe for another method is a
    leftover, not a slip of the pen."""
    return frozenset(name for kind in METHODS.values() for name in parameters_of(kind))


def type_name(parameter: Parameter) -> str:
    """What a recipe writes for it: number, true/false or a word."""
    annotation = parameter.annotation
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if annotation is bool:
        return "true or false"
    return "whole number" if annotation is int else "number"
