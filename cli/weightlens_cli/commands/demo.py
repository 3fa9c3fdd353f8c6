"""`weightlens demo`: the whole story on the embedded tiny models."""

from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen


def demo(
    out: Annotated[Path, typer.Argument(help="Folder for the results.")] = Path("demo"),
    models: Annotated[
        Path | None,
        typer.Option(help="Folder with base, safe-full, safe-lora, unrelated; the embedded ones."),
    ] = None,
) -> None:
    """See, strip, merge and measure on three tiny models that ship with weightlens.

    A model that reasons and complies with everything, its full and its LoRA safety fine-tune: their
    overlaps with the base, merges at matched refusal, and what each costs in reasoning. Takes
    minutes on two cores and leaves an HTML page behind.
    """
    from weightlens.experiment.demo import run_demo
    from weightlens.experiment.tiny.shipped import SHIPPED
    from weightlens.report.story_tables import story_tables

    with screen.progress_bar() as bar:
        task = bar.add_task("demo", total=None)
        story = run_demo(
            out,
            models=models or SHIPPED,
            progress=lambda step, done, total: screen.show_step(bar, task, step, done, total),
        )
    screen.console().print(*story_tables(story, out), sep="\n")
