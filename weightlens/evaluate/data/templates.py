"""Templates and expressions of a task file, compiled: Jinja in a sandbox, nothing undefined."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from weightlens.errors import EvaluationError
from weightlens.evaluate.written import Location, Written

T = TypeVar("T")
Context = Mapping[str, Any]


class Unfit(Exception):
    """A template that does not go with a row; the message says why."""


@cache
def _environment() -> Any:
    try:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise EvaluationError(
            "task files need Jinja2: pip install 'weightlens-toolkit[eval]'"
        ) from error
    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        finalize=_present,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )


def _present(value: Any) -> Any:
    if value is None:
        raise Unfit("a value is null")
    return value


def template(text: str, location: Location, written: Written) -> Callable[[Context], str]:
    """A template's text, without white space around it, for a row.

    location: of the field, for the EvaluationError that a faulty template raises here. The
    function raises Unfit.
    """
    environment = _environment()
    compiled = _compiled(environment.from_string, text, location, written)

    def rendered(context: Context) -> str:
        # as compiled.render, which would copy all globals twice: two thirds of its time
        shared = compiled.new_context({**environment.globals, **context}, shared=True)
        return _run(lambda: "".join(compiled.root_render_func(shared))).strip()

    return rendered


def expression(text: str, location: Location, written: Written) -> Callable[[Context], Any]:
    """An expression's value for a row; as `template`."""

    if text.isidentifier() and text.casefold() not in ("true", "false", "none"):
        return lambda context: _looked_up(text, context)

    def compile_(source: str) -> Any:
        return _environment().compile_expression(source, undefined_to_none=False)

    compiled = _compiled(compile_, text, location, written)

    def evaluated(context: Context) -> Any:
        value = _run(lambda: compiled(context))
        if type(value).__name__ == "StrictUndefined":
            raise Unfit(_run(lambda: str(value)))  # str raises, and says what is undefined
        return value

    return evaluated


def _looked_up(name: str, context: Context) -> Any:
    if name not in context:
        raise Unfit(f"{name!r} is undefined")
    return context[name]


def _compiled(
    compile_: Callable[[str], Any], text: str, location: Location, written: Written
) -> Any:
    from jinja2 import TemplateError

    try:
        return compile_(text)
    except (TemplateError, RecursionError) as error:
        message = getattr(error, "message", None) or "nested too deeply"
        raise written.error(location, f"not a template: {message}") from error


def _run(call: Callable[[], T]) -> T:
    from jinja2 import TemplateError

    try:
        return call()
    except Unfit:
        raise
    except TemplateError as error:
        raise Unfit(error.message or type(error).__name__) from error
    except Exception as error:  # whatever an expression can do wrong with a value
        raise Unfit(f"{type(error).__name__}: {error}") from error
