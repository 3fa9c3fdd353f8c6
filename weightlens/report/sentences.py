"""Results in plain sentences, each true of the numbers it is made from."""

from collections.abc import Iterator

from weightlens.report.story import Row, Story


def findings(story: Story) -> Iterator[str]:
    """What the demo found, line by line."""
    rows = {row.name: row for row in story.rows}
    base = rows["base"]
    for name in ("safe-full", "safe-lora"):
        tuned = rows[name]
        lost = 100 * (base.reasoning.value - tuned.reasoning.value)
        yield (
            f"{name} refuses {_percent(tuned.refusal.value)} of held-out harmful requests and "
            f"{_percent(tuned.over_refusal.value)} of harmless ones; it reasons at "
            f"{_percent(tuned.reasoning.value)}, {lost:.1f} points below the base."
        )
    yield from (_versus(row) for row in story.rows if row.kind in ("merge", "control"))
    for model, control in zip(story.overlap.models, story.control.models, strict=True):
        mean, chance = model.summary.all, control.summary.all
        yield (
            f"Overlap of {'safe-lora' if model.kind == 'adapter' else 'safe-full'} with its base: "
            f"{mean.column_over_chance:.2f} × chance (column), {mean.row_over_chance:.2f} × (row); "
            f"with an unrelated base {chance.column_over_chance:.2f} × and "
            f"{chance.row_over_chance:.2f} ×."
        )
    for strip in story.strips:
        yield (
            f"The written merge: {strip.side} overlap {strip.before:.3f} before the strip, "
            f"{strip.merged:.1e} after it, {strip.written:.1e} as written, after rounding to "
            f"bfloat16; chance is {strip.chance:.3f}."
        )


def _versus(row: Row) -> str:
    at = f"At weight {row.weight:.3f}, {row.name}"
    if not row.reached:
        return f"{at} does not reach the wanted refusal."
    keeps = f"{at} reasons at {_percent(row.reasoning.value)}"
    if row.versus is None:
        return f"{keeps}: the yardstick for every other merge."
    low, high = row.versus.ci95
    gap = f"{100 * row.versus.difference:+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f}"
    if low > 0:
        return f"{keeps}, better than scaling only ({gap})."
    if high < 0:
        return f"{keeps}, worse than scaling only ({gap})."
    return f"{keeps}: no detectable difference from scaling only ({gap})."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
