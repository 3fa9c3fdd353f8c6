"""`weightlens eval`: asks models and compares them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from weightlens_cli import screen


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(help="Models: folder, Hub id or BASE+ADAPTER…. The first is compared with."),
    ],
    suite: Annotated[str, typer.Option(help="Suite of tasks.")] = "builtin",
    split: Annotated[
        Literal["validation", "test"], typer.Option(help="Which questions to ask.")
    ] = "test",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many questions of each task.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts at a time.")] = 64,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 …; CUDA where there is one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for one JSONL of answers per model and task.")
    ] = None,
    json: Annotated[
        str | None, typer.Option(help="Write the results as JSON to a file, or - .")
    ] = None,
) -> None:
    """Benchmark models side by side, with 95 % intervals and paired differences.

    Answers are greedy. `refusal` and `over_refusal` recognise the refusal that the demo models
    learn; they are no judgement of the safety of any other model.
    """
    screen.check_target(json)
    from weightlens.evaluate.run import Settings, evaluate_models
    from weightlens.report.tables import eval_tables

    settings = Settings(split=split, limit=limit, batch_size=batch_size, device=device)
    with screen.progress_bar() as bar:
        task = bar.add_task("asking", total=None)
        report = evaluate_models(
            models,
            suite=suite,
            settings=settings,
            out=out,
            progress=lambda model, name, done, total: bar.update(
                task, description=f"{model} {name}", completed=done, total=total
            ),
        )
    if json is not None:
        screen.write_text(report.to_json(), json)
    if json != "-":
        screen.console().print(*eval_tables(report), sep="\n")
