"""What of a report's newer fields is in the flat table."""

import csv
import io

from samples import everything

from weightlens.survey.flat import to_csv


def test_part_path_and_step_are_columns_and_curves_are_not() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(everything()))))
    assert [row["part"] for row in rows[:4]] == ["", "query", "key", "value"]
    assert {row["subspace.path"] for row in rows} == {"exact"}
    assert [rows[0]["step"], rows[-1]["step"]] == ["100", "200"]
    assert not [name for name in rows[0] if name.startswith("curve")]
    assert all(isinstance(v, str | int | float | None) for v in everything().rows()[0].values())
