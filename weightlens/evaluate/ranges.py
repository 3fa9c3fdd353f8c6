"""The ranges of the numbers that a run is asked for: the same in task files, suites, judges, on the
command line and from Python."""

from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from weightlens.errors import EvaluationError

Count = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1)]


def check(of: object) -> None:
    """Raises EvaluationError where a dataclass has a field beyond the range in its annotation."""
    model = _ranged(type(of))
    try:
        model.model_validate({name: getattr(of, name) for name in model.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        message = f"{first['loc'][0]}: {first['msg']}, not {first['input']}"
        raise EvaluationError(message) from error


def _ranged(owner: type) -> type[BaseModel]:
    """A model of the fields whose annotation has a range, None allowed or not."""
    hints = get_type_hints(owner, include_extras=True)
    fields: dict[str, Any] = {
        name: (hint, ...)
        for name, hint in hints.items()
        if any(get_origin(part) is Annotated for part in (hint, *get_args(hint)))
    }
    return create_model(owner.__name__, __config__=ConfigDict(strict=True), **fields)
