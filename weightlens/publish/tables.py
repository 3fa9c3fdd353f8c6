"""A push, done or planned, on the screen."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.publish.record import PushReport

_HOW = {"regular": "git", "lfs": "LFS", "xet": "Xet"}


def push_tables(report: PushReport) -> list[RenderableType]:
    """A plan: every file with its size and its way, what stays here, and where to. A push that is
    done: where it lies."""
    parts: list[RenderableType] = [f"warning: {warning}" for warning in report.warnings]
    if report.planned:
        parts += [_files(report), *_left_out(report)]
    parts += [f"deletes {path} there" for path in report.removed] if report.planned else []
    return [*parts, _target(report), *_addresses(report)]


def _files(report: PushReport) -> Table:
    title = "would be sent"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right")
    table.add_column("as")
    table.add_column("there")
    for file in report.files:
        table.add_row(file.path, f"{file.size:,}", _HOW[file.how], file.state)
    return table


def _left_out(report: PushReport) -> list[RenderableType]:
    if not report.left_out:
        return []
    title = "stays here"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("file", overflow="fold")
    table.add_column("because it is")
    for left in report.left_out:
        table.add_row(left.path, left.reason)
    return [table]


def _target(report: PushReport) -> str:
    kind = "private" if report.private else "public"
    if report.planned:
        state = f"which would be made, {kind}" if report.created else f"which is there, {kind}"
    else:
        state = f"made for it, {kind}" if report.created else kind
    sent = sum(file.state != "unchanged" for file in report.files)
    size = f"{sent} of {len(report.files)} files, {report.bytes / 1e6:,.1f} MB"
    checked = "verified" if report.verified else "headers and sizes checked"
    return f"{report.kind}, {checked}: {size}; to {report.repo}@{report.revision}, {state}"


def _addresses(report: PushReport) -> list[str]:
    if report.planned:
        return ["Nothing was sent."]
    request = [f"pull request: {report.pull_request}"] if report.pull_request else []
    return [f"commit: {report.url}", *request, "Sizes and hashes there are those here."]
