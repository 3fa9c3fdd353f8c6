"""`weightlens extract`: the delta of a fine-tune as a LoRA adapter."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.selecting import selection_of

if TYPE_CHECKING:
    from weightlens.spectral.lowrank import Truncation


def extract(
    base: Annotated[str, typer.Argument(help="Base model: folder, Hub id[@revision].")],
    tuned: Annotated[
        str, typer.Argument(help="Fine-tune: folder, Hub id, PEFT adapter, sum BASE+ADAPTER….")
    ],
    out: Annotated[Path, typer.Argument(help="Output folder; must be new or empty.")],
    energy: Annotated[
        float | None,
        typer.Option(help="Smallest rank that holds this share of each ‖Δ‖²; 0.9 if none given."),
    ] = None,
    rank: Annotated[int | None, typer.Option(help="One rank for every matrix.")] = None,
    noise: Annotated[
        bool,
        typer.Option("--noise", help="Directions above what noise alone reaches, by matrix."),
    ] = False,
    max_rank: Annotated[
        int | None, typer.Option(help="No rank above this one, with --energy or --noise.")
    ] = None,
    include: Annotated[
        str | None,
        typer.Option(help="Extract tensors whose name matches this REGEX (embeddings too)."),
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(help="Leave out tensors whose name matches this REGEX.")
    ] = None,
    save_rest: Annotated[
        bool,
        typer.Option(
            "--save-rest", help="Changed embeddings, norms, biases and lm_head go in whole."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT once the new adapter is whole.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where deltas are factorised: cpu, cuda, auto (CUDA untested).")
    ] = "cpu",
    json: Annotated[
        str | None, typer.Option(help="Write the full report as JSON to a file, or - .")
    ] = None,
) -> None:
    """The delta of a fine-tune as a LoRA adapter that PEFT loads onto the base.

    Each matrix gets the nearest factors of its rank, and the table says how near: the error is that
    of the factors against the delta itself. What an adapter cannot hold is left out and named, with
    its share of the whole delta. The record lies beside the adapter as weightlens.json.
    """
    screen.check_target(json)
    size = _truncation(energy, rank, noise, max_rank)
    from weightlens.merge.extract import extract_adapter
    from weightlens.report.extract_tables import extract_tables

    with screen.progress_bar() as bar:
        task = bar.add_task("extracting", total=None)
        report = extract_adapter(
            base,
            tuned,
            out,
            size=size,
            selection=selection_of(include, exclude),
            save_rest=save_rest,
            overwrite=overwrite,
            device=device,
            progress=lambda done, total, name: bar.update(task, completed=done, total=total),
        )
    if json is not None:
        screen.write_text(report.to_json(), json)
    if json != "-":
        screen.console().print(*extract_tables(report, out), sep="\n")


def _truncation(
    energy: float | None, rank: int | None, noise: bool, max_rank: int | None
) -> "Truncation":
    """How ranks are chosen. Raises InputError for two ways at once, and values out of range."""
    from weightlens.errors import InputError
    from weightlens.spectral.lowrank import Truncation

    if sum((energy is not None, rank is not None, noise)) > 1:
        raise InputError("give one of --energy, --rank and --noise")
    if rank is not None and max_rank is not None:
        raise InputError("--max-rank goes with --energy or --noise; --rank is a bound itself")
    try:
        if noise:
            return Truncation("noise", None, max_rank)
        if rank is not None:
            return Truncation("rank", rank)
        return Truncation("energy", 0.9 if energy is None else energy, max_rank)
    except ValueError as error:
        given = "--max-rank" if max_rank is not None and max_rank < 1 else "--energy"
        raise InputError(f"{given if rank is None else '--rank'}: {error}") from None
