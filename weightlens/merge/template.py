"""A recipe to begin with, for any method: valid as it stands, every parameter with a comment."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from weightlens.merge.catalogue import MethodEntry, ParameterEntry, method_entry

_WIDTH, _COLUMN = 100, 32
"""Where lines end, and where comments beside a value begin."""

_SHOWN: dict[str, float | str] = {"weight": 1.0, "t": 0.5, "energy": 0.5, "target": "chance"}
"""Values for what has no default, or one that does not go without the others."""
_NEAR = {"nearswap": {"t": 0.0001}}
"""The same where another method's would be out of place."""
_INSTEAD: dict[str, int | float] = {"scale": 0.5, "rank": 64, "fraction": 0.1, "strength": 0.8}
"""Values for what stays a comment, since nothing stands in for it."""

_LABELS = ("first", "second", "third")


@dataclass(frozen=True)
class _Line:
    """A line of YAML and what is said beside it."""

    code: str
    said: str = ""

    def rows(self, width: int = _WIDTH) -> list[str]:
        """With the comment wrapped in its column."""
        if not self.said:
            return [self.code]
        column = max(_COLUMN, len(self.code) + 2)
        first, *more = textwrap.wrap(self.said, width - column - 2)
        return [f"{self.code:<{column}}# {first}", *(" " * column + f"# {m}" for m in more)]


def template(method: str) -> str:
    """The recipe's text. Raises InputError for a method that there is not."""
    entry = method_entry(method)
    blocks = [
        _head(entry),
        [row for line in _body(entry) for row in line.rows()],
        *_further(entry),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _head(entry: MethodEntry) -> list[str]:
    said = textwrap.wrap(f"{entry.name}: {entry.text}", _WIDTH - 2)
    if entry.reference:
        said.append(f"{entry.reference}.")
    return _comment([
        *said,
        "",
        "  weightlens recipe check FILE     what it comes to; no model is read",
        "  weightlens merge FILE OUT        --dry-run plans it from the models' headers",
        "",
        "A model is a folder, an adapter's folder, an id on the Hub (org/name, org/name@revision)",
        "or a sum of these (BASE+ADAPTER).",
    ])  # fmt: skip


def _comment(lines: Sequence[str]) -> list[str]:
    return [f"# {line}".rstrip() for line in lines]


def _body(entry: MethodEntry) -> Iterator[_Line]:
    yield _Line(f"merge_method: {entry.name}")
    if entry.base == "required":
        yield _Line("base_model: org/base", _base_said(entry))
    elif entry.base == "optional":
        yield _Line("# base_model: org/base", "with it, deltas from it are merged, not weights")
    yield from _slices(entry) if _stacks(entry) else _models(entry)
    shared = [p for p in entry.parameters if not p.each]
    if shared:
        yield _Line("parameters:", "of the whole recipe")
        yield from (_parameter(entry, p, "  ") for p in shared)
    yield _Line("dtype: float32", "inputs are read as this; arithmetic is float32 in any case")
    yield _Line("out_dtype: bfloat16", "written as this; without it, as dtype")


def _base_said(entry: MethodEntry) -> str:
    return "deltas are taken from it" if entry.deltas else "one of the two, and not listed below"


def _stacks(entry: MethodEntry) -> bool:
    """Whether slices are what the method is for: it takes one model, and no base."""
    return entry.base == "ignored" and entry.most == 1


def _models(entry: MethodEntry) -> Iterator[_Line]:
    yield _Line("models:", _count_said(entry))
    for label in _LABELS[: _shown_sources(entry)]:
        yield _Line(f"  - model: org/{label}")
        yield from _own(entry, label, "    ")


def _slices(entry: MethodEntry) -> Iterator[_Line]:
    yield _Line("slices:", "layers of the output, from the first to the last")
    for i, label in enumerate(_LABELS[:2]):
        yield _Line("  - sources:")
        yield _Line(f"      - model: org/{label}")
        span = f"[{8 * i}, {8 * i + 16}]"
        said = "from the first to before the second" if i == 0 else ""
        yield _Line(f"        layer_range: {span}", said)
        yield from _own(entry, label, "        ")


def _own(entry: MethodEntry, label: str, indent: str) -> Iterator[_Line]:
    """The parameters of one source; explained for the first."""
    own = [p for p in entry.parameters if p.each]
    if not own:
        return
    given = any(_value(entry, p) is not None for p in own)
    said = "of this model; the recipe's below are for those that have none" if given else ""
    yield _Line(f"{indent}{'' if given else '# '}parameters:", said if label == "first" else "")
    for p in own:
        line = _parameter(entry, p, indent + "  ")
        yield line if label == "first" else _Line(line.code)


def _shown_sources(entry: MethodEntry) -> int:
    return max(entry.fewest, min(2, entry.most or 2))


def _count_said(entry: MethodEntry) -> str:
    beside = "" if entry.base == "ignored" else " besides the base"
    if entry.most is None:
        return f"{entry.fewest} or more{beside}"
    return f"{entry.most}{beside}"


def _value(entry: MethodEntry, parameter: ParameterEntry) -> bool | int | float | str | None:
    if parameter.default is not None:
        return parameter.default
    return (_SHOWN | _NEAR.get(entry.name, {})).get(parameter.name)


def _parameter(entry: MethodEntry, parameter: ParameterEntry, indent: str) -> _Line:
    value = _value(entry, parameter)
    said = parameter.text
    if value is None:
        value, indent = _INSTEAD[parameter.name], f"{indent}# "
    elif parameter.needed:
        said += " (must be given)"
    return _Line(f"{indent}{parameter.name}: {_plain(value)}", said)


def _plain(value: bool | int | float | str) -> str:
    """As YAML reads it back: 1.0e-05, since it takes 1e-05 for a word."""
    return yaml.safe_dump(value).split("\n")[0]


def _further(entry: MethodEntry) -> Iterator[list[str]]:
    """What else a recipe can say, as comments."""
    varying = _varying(entry)
    if varying is not None:
        rows = [row for line in ways(entry, varying) for row in line.rows(_WIDTH - 4)]
        yield _aside("A parameter may change over the layers, and with the tensor's name:", rows)
    if not _stacks(entry):
        yield _aside(
            "Instead of models, slices of layers; each may have a base_model and parameters:",
            list(_sliced(entry)),
        )
    if entry.deltas and entry.base == "required" and entry.name != "strip":
        rows = ["transforms:", "  - strip: {side: column, energy: 0.5, target: chance}"]
        yield _aside("What is done to each delta before the method sees it:", rows)
    words = [
        _Line("tokenizer_source: base", "or union, or a model"),
        _Line("chat_template: auto", "the one that most sources have"),
    ]
    rows = [row for line in words for row in line.rows()]
    yield _aside("Where sources differ in vocabulary or chat template:", rows)


def _aside(said: str, rows: Sequence[str]) -> list[str]:
    return _comment([said, "", *(f"  {row}" for row in rows)])


def _varying(entry: MethodEntry) -> ParameterEntry | None:
    """A parameter to show it with, a number before a switch; those of the transform do not vary."""
    own = [p for p in entry.parameters if p.each or entry.name != "strip"]
    return next((p for kind in ("number", "true or false") for p in own if p.type == kind), None)


def ways(entry: MethodEntry, parameter: ParameterEntry) -> list[_Line]:
    """A parameter as one value, as a gradient, and by filters."""
    name, value = parameter.name, _value(entry, parameter)
    if parameter.type == "true or false":
        low, high, between = "false", "true", "the last point below counts"
    else:
        number = float(_INSTEAD[name] if value is None else value)
        low, high, between = _plain(number / 2), _plain(number), "numbers between are interpolated"
    return [
        _Line(f"{name}: {high}", "the same everywhere"),
        _Line(
            f"{name}: [{low}, {high}]",
            f"a gradient from the first layer to the last; {between}; tensors outside the layers "
            "have the first",
        ),
        _Line(f"{name}:", "the first entry whose filter is part of the tensor's name"),
        _Line("  - filter: self_attn"),
        _Line(f"    value: [{low}, {high}]"),
        _Line("  - filter: mlp"),
        _Line(f"    value: {high}"),
        _Line(f"  - value: {low}", "no filter: any other tensor"),
    ]


def _sliced(entry: MethodEntry) -> Iterator[str]:
    names = ["base"] if entry.base == "required" else []
    names += _LABELS[: _shown_sources(entry)]
    yield "slices:"
    yield "  - sources:"
    for name in names:
        yield f"      - model: org/{name}"
        yield "        layer_range: [0, 16]      # from the first to before the second"
