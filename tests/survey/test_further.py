"""Further metrics in the report: wired to the right inputs."""

import pytest
import torch
from checkpoints import Folders

from weightlens.delta import Dense, Factored
from weightlens.spectral.basis import factorise
from weightlens.survey.further import further_metrics
from weightlens.survey.overlap import measure_overlap


def test_a_hand_worked_matrix() -> None:
    # W = diag(4, 1), Δ = diag(0, 8): the tuned spectrum is (9, 4), its top vector e_2 has cosine 1
    # with the base's second: no intruder. Amplification along e_2: 8 / 1. Change: (9−4, 4−1) over
    # ‖(4, 1)‖ = √34 / √17 = √2. Curve at k = 1: nothing along e_1.
    base = factorise(torch.diag(torch.tensor([4.0, 1.0])))
    found = further_metrics(base, Dense(torch.diag(torch.tensor([0.0, 8.0]))))
    assert found["amplification"] == pytest.approx(8)
    assert found["amplification_rank"] == 1
    assert (found["intruders_left"], found["intruders_right"]) == (0, 0)
    assert found["spectrum_change"] == pytest.approx(2**0.5)
    assert found["column_at_0.5"] == pytest.approx(0)
    assert found["rank_above_rounding"] is None


def test_a_loud_random_direction_is_an_intruder_and_above_the_noise(
    generator: torch.Generator,
) -> None:
    base = torch.randn(80, 100, generator=generator) * 0.1
    u, v = (torch.nn.functional.normalize(torch.randn(d, generator=generator), dim=0)
            for d in (80, 100))  # fmt: skip
    noise = 0.01 * torch.randn(80, 100, generator=generator)
    found = further_metrics(factorise(base), Dense(20 * torch.outer(u, v) + noise))
    assert (found["intruders_left"], found["intruders_right"]) == (1, 1)
    assert found["noise_rank"] == 1


def test_a_low_rank_delta_has_no_noise_rank(generator: torch.Generator) -> None:
    base = factorise(torch.randn(12, 15, generator=generator))
    b, a = torch.randn(12, 2, generator=generator), torch.randn(2, 15, generator=generator)
    assert further_metrics(base, Factored(b, a))["noise_rank"] is None


def test_they_reach_report_and_table_when_asked_for(folders: Folders) -> None:
    plain = measure_overlap(folders.base, [folders.full])
    assert all(m.more == {} for m in plain.models[0].matrices)
    report = measure_overlap(folders.base, [folders.full, folders.base], more=True)
    full, unchanged = report.models
    assert all(m.more["column_at_0.5"] is not None for m in full.matrices)
    assert all(m.more == {} for m in unchanged.matrices)
    assert "more.amplification" in report.rows()[0]
