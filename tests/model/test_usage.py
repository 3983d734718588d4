"""Growth of the data, and the day on which the limit is reached."""

from __future__ import annotations

import pytest

from streamforge_utils.model.usage import DAY_MS, HOUR_MS, Sample, full_at_ms, growth_per_day, with_sample

NOW = 1_722_600_000_000


def grown(*steps: tuple[float, int]) -> list[Sample]:
    """Samples, given as days before now and bytes."""
    return [Sample(NOW - round(days * DAY_MS), used) for days, used in steps]


@pytest.mark.parametrize(
    ("samples", "growth"),
    [
        ([], None),
        (grown((0, 100)), None),
        (grown((0.2, 50), (0, 100)), None),  # less than six hours
        (grown((0.5, 50), (0, 100)), 100),
        (grown((2, 40), (1, 90), (0, 100)), 30),
        (grown((30, 0), (7, 30), (0, 100)), 10),  # what was before the last week is over
        (grown((1, 100), (0, 60)), -40),
    ],
)
def test_growth_is_that_of_the_last_week(samples: list[Sample], growth: float | None) -> None:
    assert growth_per_day(samples) == growth


def test_the_day_of_the_limit_follows_from_the_growth() -> None:
    samples = grown((2, 40), (0, 100))
    assert full_at_ms(samples, 160) == NOW + 2 * DAY_MS
    assert full_at_ms(samples, 100) == NOW
    assert full_at_ms(samples, None) is None
    assert full_at_ms(grown((0, 100)), 160) is None
    assert full_at_ms(grown((1, 100), (0, 60)), 160) is None
    assert full_at_ms([], 160) is None


def test_one_sample_an_hour_is_kept_for_thirty_days() -> None:
    samples: tuple[Sample, ...] = ()
    for quarter in range(4 * 24 * 40):
        samples = with_sample(samples, Sample(quarter * HOUR_MS // 4, quarter))
    assert len(samples) == 30 * 24 + 1
    assert samples[-1] == Sample((4 * 24 * 40 - 1) * HOUR_MS // 4, 4 * 24 * 40 - 1)
    assert len({sample.at_ms // HOUR_MS for sample in samples}) == len(samples)


def test_a_clock_that_went_back_leaves_no_sample_in_the_future() -> None:
    samples = with_sample((Sample(NOW, 1), Sample(NOW + HOUR_MS, 2)), Sample(NOW + 60_000, 3))
    assert [sample.used_bytes for sample in samples] == [3]
