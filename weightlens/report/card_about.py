"""What a card says first: what the model is, in one paragraph; what went in; what to beware of."""

from collections.abc import Iterator, Sequence

from weightlens.checkpoint.config import read_config
from weightlens.errors import WeightlensError
from weightlens.evaluate.safety.calibration import said
from weightlens.evaluate.safety.refusal import METRIC
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.ingredients import Ingredient
from weightlens.merge.record import MergeReport
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.transforms import Strip
from weightlens.report.card_subject import CardSubject, CardTrial
from weightlens.report.card_words import code, listed, table
from weightlens.report.licences import Derived
from weightlens.report.numbers import percent
from weightlens.report.recipe_text import methods_of, recipes_of

_SIDES = {
    "column": "writes into",
    "row": "reads from",
    "both": "reads from and writes into at once",
    "either": "reads from or writes into",
}


def paragraphs(subject: CardSubject, licence: Derived) -> Iterator[str]:
    """What it is and what was done; then how it is stored, and under which licence."""
    yield " ".join(_made(subject))
    if licence.known:
        yield f"{_stored(subject)} Licence: {licence.licence}, {licence.reason}."
    else:
        reason = f"{licence.reason[:1].upper()}{licence.reason[1:]}"
        yield f"{_stored(subject)} **Licence: unknown.** {reason}."


def _made(subject: CardSubject) -> Iterator[str]:
    record = subject.record
    if isinstance(record, ExtractReport):
        yield _extracted(subject, record)
    else:
        yield _merged(subject, record)
        for strip in strips_of(record):
            yield _stripped(strip)


def strips_of(record: MergeReport) -> list[Strip]:
    """The strips of a recipe and of its steps."""
    found: list[Strip] = []
    for text in recipes_of(record):
        try:
            found += parse_recipe(text, lenient=True).transforms
        except WeightlensError:  # a recipe that only mergekit carries out
            continue
    return found


def _merged(subject: CardSubject, record: MergeReport) -> str:
    sources = listed([code(one.name) for one in subject.sources]) or "one model"
    base = code(subject.base.name) if subject.base else "its base"
    if subject.is_adapter:
        what = f"a LoRA adapter for {base}, merged from {sources}"
    else:
        what = f"a merge of {sources} into {base}" if subject.base else f"a merge of {sources}"
    methods = [code(method) for method in methods_of(*recipes_of(record))]
    how = f"method{'s' if len(methods) > 1 else ''} {listed(methods)}"
    engine = "mergekit's own engine, called by " if record.engine == "mergekit" else ""
    return (
        f"**{subject.title}** is {what} by the {how}, made with {engine}weightlens "
        f"{record.weightlens}."
    )


def _extracted(subject: CardSubject, record: ExtractReport) -> str:
    base, tuned = (code(name) for name in _two_names(subject))
    kept, error = percent(record.totals.kept), record.totals.error
    return (
        f"**{subject.title}** is the difference between {tuned} and its base {base} as a LoRA "
        f"adapter, extracted with weightlens {record.weightlens}: it holds {kept} of the energy of "
        f"that difference (the error of the matrices is {error:.3f} of their norm)."
    )


def _two_names(subject: CardSubject) -> tuple[str, str]:
    base = subject.base.name if subject.base else "the base"
    return base, subject.sources[-1].name if subject.sources else base


def _stripped(strip: Strip) -> str:
    size = strip.size
    kind = "random directions, as a control" if strip.subspace == "random" else (
        "the directions that the base uses most")  # fmt: skip
    which = {
        "energy": f"those that hold {percent(size.value)} of the energy of each weight matrix",
        "rank": f"the first {size.value:g} singular directions of each weight matrix",
        "fraction": f"the first {percent(size.value)} of the singular directions of each matrix",
    }[size.by]
    if strip.strength is not None:
        done = "taken out" if strip.strength == 1 else f"scaled by {1 - strip.strength:g}"
    elif strip.target == "chance":
        done = "scaled down to what chance alone would put there"
    else:
        done = (
            f"scaled down to {percent(strip.target)} of the delta" if strip.target else "taken out"
        )
    return (
        "What each fine-tune changed (its *delta*: its weights minus the base's) was stripped "
        f"before it was added: the part that {_SIDES[strip.side]} {kind} ({which}) was {done}."
    )


def _stored(subject: CardSubject) -> str:
    record = subject.record
    config = read_config(subject.folder)
    dtype = config.get("dtype") or config.get("torch_dtype")
    count = "" if isinstance(record, ExtractReport) else f" in {record.tensors} tensors"
    kind = f", {dtype}" if isinstance(dtype, str) else ""
    return f"The weights take {_size(record.bytes)}{count}{kind}."


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


def went_in(subject: CardSubject) -> Iterator[str]:
    """Every model with its commit on the Hub or the hash of its bytes."""
    rows = [
        (code(one.name), "base" if one.role == "base" else "source", _where(one),
         code(one.hash) if one.hash else "–")
        for one in subject.ingredients
    ]  # fmt: skip
    yield from table(
        ["model", "role", "on the Hub, at commit", "xxh3-128 of its weights"], rows, numbers=0
    )
    if any(one.repo is None for one in subject.ingredients):
        yield ""
        yield (
            "A model without a commit was a folder on the machine of the author, and is called by "
            "the name of that folder. Its hash tells whether another copy is the same."
        )


def _where(one: Ingredient) -> str:
    if one.repo is None:
        return "not from the Hub"
    return code(one.commit) if one.commit else "yes"


def limits(subject: CardSubject, trials: Sequence[CardTrial]) -> Iterator[str]:
    """What the numbers of the card do not say."""
    metrics = {task.metric for trial in trials for task in trial.own.tasks}
    yield from _of_safety(metrics)
    asked = list(dict.fromkeys(task.task for trial in trials for task in trial.own.tasks))
    if asked:
        yield (
            f"**Nothing but {listed([code(task) for task in asked])} was measured.** Other "
            "abilities, other languages, long contexts, bias and truthfulness were not."
        )
    yield (
        "Low overlap is a measurement, not a proof that an ability is kept; whether one was kept, "
        "only an evaluation of that ability can say."
    )
    yield "It inherits what is wrong with the models that went in, and the terms of their licences."
    for warning in dict.fromkeys(subject.record.warnings):
        yield f"Warned of while it was made: {warning}."


def _of_safety(metrics: set[str]) -> Iterator[str]:
    judged = sorted({m for m in metrics if m.startswith(("judged_unsafe", "harmfulness"))})
    if METRIC in metrics:
        yield f"**Refusals were counted by rules, not by people.** {said()}."
    elif any(metric.startswith("refusal_rate") for metric in metrics):
        yield (
            "**Refusals were counted by a fixed rule of the task**, which suits the models that "
            "the task was made for and no others."
        )
    for metric in judged:
        yield f"{metric}: what a judge model says of the answers; judges err too."
    if metrics and not judged and any(m.startswith("refusal_rate") for m in metrics):
        yield "A refusal rate says nothing about how harmful the answers are that did not refuse."
    elif not judged:
        yield "**Safety was not measured.**"
