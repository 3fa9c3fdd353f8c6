"""`weightlens eval`: asks models and compares them."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from weightlens_cli import evaluating


def evaluate(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Models: folder, Hub id or BASE+ADAPTER…. The first is compared with."),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Suite of tasks: builtin (the default), quick, paper.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(help="A task by name or by the path of its YAML; repeatable. See --list."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with evaluation data; what it lacks is downloaded.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many questions of each task.")
    ] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Answers to every question.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1, help="Nucleus sampling.")] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Answers are cut off there.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all draws; models share it.")] = 0,
    split: Annotated[
        Literal["validation", "test"], typer.Option(help="Which questions to ask.")
    ] = "test",
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Run programs that models write, in a sandbox.")
    ] = False,
    unsafe_code: Annotated[
        bool, typer.Option("--unsafe-code", help="Run them even where no sandbox can be had.")
    ] = False,
    traces: Annotated[
        Path | None,
        typer.Option(help="JSONL of answers that `--task drift` reads, not the first model's."),
    ] = None,
    backend: Annotated[
        Literal["static", "continuous", "vllm"], typer.Option(help="How answers are generated.")
    ] = "static",
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Prompts at a time; as many as fit.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 …; CUDA where there is one.")
    ] = None,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        typer.Option(help="auto: bfloat16 where weights and processor have it."),
    ] = "auto",
    chat_template: Annotated[
        Path | None, typer.Option(help="A chat template in the place of the models' own.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for answers and report; a run goes on there.")
    ] = None,
    answers: Annotated[
        list[Path] | None,
        typer.Option(help="Score answers made elsewhere, a JSONL a model, on one --task."),
    ] = None,
    rescore: Annotated[
        Path | None, typer.Option(help="Score the answers of such a folder again.")
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(help="Judge answers to refusal tasks: a judge by name or YAML; repeatable."),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="The judge's model, in the place of its own.")
    ] = None,
    list_tasks: Annotated[
        bool, typer.Option("--list", help="Show every task and suite, and leave.")
    ] = False,
    json: Annotated[
        str | None, typer.Option(help="Write the results as JSON to a file, or - .")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write scores and differences as CSV.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write scores and differences as Markdown.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a page of results and answers; needs --out.")
    ] = None,
) -> None:
    """Benchmark models side by side, with 95 % intervals and paired differences.

    Every model is asked the same questions with the same random numbers, and compared with the
    first question by question. Refusals are told by rules (heuristic v1), which judge no safety;
    programs that models write run only with --run-code.
    """
    if list_tasks:
        evaluating.show_catalogue()
        return
    from weightlens.errors import InputError
    from weightlens.evaluate.asked_model import Settings
    from weightlens.evaluate.chat import Loading
    from weightlens.evaluate.chosen import Changes, Wanted

    targets = evaluating.Targets(json, csv, markdown, html)
    folder = rescore or out
    if answers and (folder or html or judge):
        raise InputError("--answers are scored and kept nowhere: leave out --out, --html, --judge")
    targets.check(folder)
    evaluating.check_judges(judge or [], judge_model, folder)
    if not (suite or task or traces or rescore):
        suite = "builtin"
    wanted = Wanted(
        suite=suite,
        tasks=tuple(task or ()),
        data=data,
        traces=traces,
        code="unsafe" if unsafe_code else "sandboxed" if run_code else "never",
        changes=Changes(limit, draws, temperature, top_p, max_new_tokens),
    )
    template = None if chat_template is None else evaluating.text_of(chat_template)
    settings = Settings(split, batch_size, Loading(device, dtype, template), backend, seed)
    report = evaluating.report_of(
        models or [], answers or [], rescore, wanted=wanted, settings=settings, out=out
    )
    if folder is not None:
        for name in judge or []:
            report = evaluating.judged(report, folder, name, judge_model, settings.loading)
    evaluating.show(report, targets, folder)
