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
        (grown((1, 100), (0, 95)), -5),
        (grown((1, 100), (0, 60)), None),  # much was removed, and nothing is known since
        (grown((3, 90), (2, 100), (1, 30), (0, 40)), 10),
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


def weeks_samples(falls: dict[int, int], used: int, per_hour: int) -> list[Sample]:
    """A sample an hour for a week, up to `used` now. falls: by how much, by the hour before now."""
    found = [Sample(NOW, used)]
    for hour in range(7 * 24):
        used += falls.get(hour, -per_hour)
        found.append(Sample(NOW - (hour + 1) * HOUR_MS, used))
    return found[::-1]


@pytest.mark.parametrize(
    "falls",
    [
        pytest.param({}, id="nothing"),
        pytest.param({72: 40_000}, id="at once"),
        pytest.param(dict.fromkeys(range(72, 82), 4_000), id="hour by hour"),
        pytest.param({72: 40_000, 100: 30_000}, id="twice"),
    ],
)
def test_what_was_removed_does_not_hide_that_the_rest_grows(falls: dict[int, int]) -> None:
    samples = weeks_samples(falls, used=55_000, per_hour=200)
    assert growth_per_day(samples) == pytest.approx(4_800)
    assert full_at_ms(samples, 100_000) == pytest.approx(NOW + 45 / 4.8 * DAY_MS, abs=1)


def test_where_a_little_goes_each_day_as_much_comes_nothing_grows() -> None:
    samples = weeks_samples({12 + 24 * day: 23 * 200 for day in range(7)}, used=80_000, per_hour=200)
    assert growth_per_day(samples) == 0
    assert full_at_ms(samples, 100_000) is None


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
