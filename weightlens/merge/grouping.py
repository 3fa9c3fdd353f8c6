"""Which sources make which part of the output: recipes list models, or slices of layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from weightlens.merge.leniency import Complaints
from weightlens.merge.method import MergeMethod
from weightlens.merge.recipe import LayerSource, Recipe, Slice, Source
from weightlens.merge.settings import Setting
from weightlens.merge.written import Location

Scope = tuple[Location, Mapping[str, Setting]]
"""Parameters, and where they stand."""


@dataclass(frozen=True)
class Use:
    """A model as a source. at: where the recipe names it; layers: those that it gives, None for
    all."""

    model: str
    at: Location
    scope: Scope
    layers: tuple[int, int] | None = None


@dataclass(frozen=True)
class Group:
    """A part of the output with its sources in order, the base apart where the method has one.

    scopes: shared parameters, the nearest first: of the slice, of the module, of the recipe.
    module: the part of a model of several that it belongs to.
    """

    sources: tuple[Use, ...]
    base: Use | None
    scopes: tuple[Scope, ...]
    module: str | None = None

    @property
    def layers(self) -> int | None:
        """How many layers it gives the output; None for all that there are."""
        span = (self.sources[0] if self.sources else self.base or Use("", (), ((), {}))).layers
        return None if span is None else span[1] - span[0]


def grouped(recipe: Recipe, kind: type[MergeMethod], complaints: Complaints) -> tuple[Group, ...]:
    """The groups of a recipe. Raises RecipeError where the method takes more or fewer sources, or
    wants a base that is not there."""
    whole: Scope = (("parameters",), recipe.parameters)
    maker = _Maker(recipe, kind, complaints)
    if recipe.models is not None:
        return (maker.of_models(recipe.models, ("models",), (whole,), None),)
    if recipe.slices is not None:
        return maker.of_slices(recipe.slices, ("slices",), (whole,), None)
    groups: list[Group] = []
    for name, module in (recipe.modules or {}).items():
        at: Location = ("modules", name)
        scopes: tuple[Scope, ...] = (((*at, "parameters"), module.parameters), whole)
        if module.models is not None:
            groups.append(maker.of_models(module.models, (*at, "models"), scopes, name))
        else:
            groups += maker.of_slices(module.slices or [], (*at, "slices"), scopes, name)
    return tuple(groups)


class _Maker:
    def __init__(self, recipe: Recipe, kind: type[MergeMethod], complaints: Complaints) -> None:
        self.recipe, self.kind, self.complaints = recipe, kind, complaints
        self.written = complaints.written

    def of_models(
        self,
        models: Sequence[Source],
        at: Location,
        scopes: tuple[Scope, ...],
        module: str | None,
    ) -> Group:
        """One group of all layers. A base that is not listed takes part all the same."""
        uses = [self._use(source, (*at, i)) for i, source in enumerate(models)]
        named = self.recipe.base_model
        if named is not None and named not in [use.model for use in uses]:
            uses.append(Use(named, ("base_model",), (("base_model",), {})))
        return self._group(uses, named, at, scopes, module)

    def of_slices(
        self,
        slices: Sequence[Slice],
        at: Location,
        scopes: tuple[Scope, ...],
        module: str | None,
    ) -> tuple[Group, ...]:
        """One group for each slice."""
        groups = []
        for i, part in enumerate(slices):
            place = (*at, i)
            uses = [
                self._use(source, (*place, "sources", j)) for j, source in enumerate(part.sources)
            ]
            inner: Scope = ((*place, "parameters"), part.parameters)
            named = part.base_model or self.recipe.base_model
            if part.residual_weight is not None:
                self.complaints.warn((*place, "residual_weight"), "has no effect; ignored")
            groups.append(self._group(uses, named, place, (inner, *scopes), module))
        return tuple(groups)

    def _use(self, source: Source, at: Location) -> Use:
        layers = source.layer_range if isinstance(source, LayerSource) else None
        return Use(source.model, at, ((*at, "parameters"), source.parameters), layers)

    def _group(
        self,
        uses: Sequence[Use],
        named: str | None,
        at: Location,
        scopes: tuple[Scope, ...],
        module: str | None,
    ) -> Group:
        kind, name = self.kind, self.recipe.merge_method
        seen: set[str] = set()
        for use in uses:
            if use.model in seen:
                raise self.written.error(use.at, f"{use.model} is listed twice")
            seen.add(use.model)
        base = None
        if kind.base != "ignored":
            base = next((use for use in uses if use.model == named), None)
            if named is not None and base is None:
                raise self.written.error(at, f"the base {named} is not among the sources")
            if base is None and kind.base == "required":
                raise self.written.error(("merge_method",), f"{name} needs a base_model")
        sources = tuple(use for use in uses if use is not base)
        if base is not None and base.scope[1]:
            self.complaints.warn(base.scope[0], "the base's own; ignored")
        self._check_count(len(sources), at, base)
        return Group(sources, base, scopes, module)

    def _check_count(self, count: int, at: Location, base: Use | None) -> None:
        kind, name = self.kind, self.recipe.merge_method
        beside = " besides the base" if base else ""
        if count == 0:
            raise self.written.error(at, f"no model{beside}")
        if count < kind.fewest:
            raise self.written.error(at, f"{name} takes at least {kind.fewest} models{beside}, "
                                     f"not {count}")  # fmt: skip
        if kind.most is not None and count > kind.most:
            raise self.written.error(at, f"{name} takes {kind.most} model"
                                     f"{'s' * (kind.most > 1)}{beside}, not {count}")  # fmt: skip
