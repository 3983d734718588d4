"""A run of the ladder: the same each time, also when it was ended anywhere and begun again."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.baselines import Ridge, baselines
from streamforge.analytics.models.dataset import Dataset, Sample
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.ladder import LadderRun, Part, run_ladder
from streamforge.analytics.models.ladder_processes import LadderProcesses
from streamforge.analytics.models.model import Contender, Epoch, OnEpoch
from streamforge.analytics.models.neighbour_mean import neighbour_means_on_graph
from streamforge.analytics.models.training_parameters import ModelKind, TrainingParameters
from streamforge_utils.model.errors import InvalidInput, RetryableError
from tests.analytics.models.markets import dataset_of, definition, moves, panel_of

RULES = FoldRules(test=8, least_train=10)
SEEDS = (3, 5)


class Kept(dict[Part, bytes]):
    """Checkpoints in memory. ends: after how many saves the run is ended."""

    ends = -1

    def load(self, part: Part) -> bytes | None:
        return self.get(part)

    def save(self, part: Part, predictions: bytes) -> None:
        if self.ends == 0:
            raise KeyboardInterrupt
        self.ends -= 1
        assert part not in self, "made once"
        self[part] = predictions


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return dataset_of(panel_of(moves(75, 10, 1)))


def run(
    dataset: Dataset,
    kept: Kept | None = None,
    seeds: Sequence[int] = SEEDS,
    processes: LadderProcesses | None = None,
) -> LadderRun:
    contenders = [*baselines(dataset.definition.graph)[3:], *neighbour_means_on_graph()]
    return run_ladder(dataset, contenders, RULES, seeds, kept, processes=processes)


def test_two_runs_are_the_same_and_seeds_count_where_a_model_has_them(dataset: Dataset) -> None:
    first = run(dataset)
    assert first.sha256 == run(dataset).sha256
    assert first.sha256 != run(dataset, seeds=(3, 6)).sha256
    seeds = {name: [*own] for name, own in first.predictions.items()}
    assert seeds == {name: [3, 5] if name in ("shuffled", "random") else [3] for name in seeds}
    for own in first.predictions.values():
        for values in own.values():
            assert [len(one) for one in values] == [len(one.symbols) for one in first.tested]
    np.testing.assert_allclose(first.predictions["ridge"][3][0], first.predictions["no_edges"][3][0])


def test_ended_anywhere_and_begun_again_it_is_the_same_and_nothing_is_made_twice(dataset: Dataset) -> None:
    expected = run(dataset)
    kept, ended, found = Kept(), 0, None
    while found is None:
        kept.ends = 3
        try:
            found = run(dataset, kept)
        except KeyboardInterrupt:
            ended += 1
    assert found.sha256 == expected.sha256
    assert ended == (len(kept) - 1) // 3
    assert len(kept) == 8 * 3, "models and seeds times folds"


@pytest.mark.e2e
def test_in_processes_it_is_the_same_in_the_same_order_also_when_it_was_ended_and_begun_again(
    dataset: Dataset,
) -> None:
    expected, kept = Kept(), Kept()
    whole = run(dataset, expected)
    kept.ends = 5
    with pytest.raises(KeyboardInterrupt), LadderProcesses(2) as processes:
        run(dataset, kept, processes=processes)
    assert [*kept.items()] == [*expected.items()][:5]
    kept.ends = -1
    with LadderProcesses(3) as processes:
        assert run(dataset, kept, processes=processes).sha256 == whole.sha256
    assert [*kept.items()] == [*expected.items()]


def test_cores_that_can_be_used_are_but_not_more_than_four_and_a_gpu_is_not_shared() -> None:
    usable = min(4, len(os.sched_getaffinity(0)))
    assert TrainingParameters().used_processes == usable
    assert [TrainingParameters(processes=9, device=one).used_processes for one in ("cpu", "cuda")] == [9, 9]
    assert TrainingParameters(device="cpu").used_processes == usable
    assert TrainingParameters(device="cuda").used_processes == 1
    assert TrainingParameters(model=ModelKind.NEIGHBOUR_MEAN).used_processes == 1


class Patient(Ridge):
    """Learns in three epochs."""

    on_epoch: OnEpoch

    def __init__(self, _: int) -> None:
        super().__init__()
        self.on_epoch = self._unheard

    def _unheard(self, _: Epoch) -> None:
        raise AssertionError("nobody hears it")

    def fit(self, train: Sequence[Sample]) -> None:
        for number in (1, 2, 3):
            self.on_epoch(Epoch(number, 3, 1 / number, np.nan))
        super().fit(train)


@pytest.mark.e2e
def test_epochs_are_told_with_their_part_by_this_process_and_by_others(dataset: Dataset) -> None:
    told, patient = list[tuple[str, int, int, Epoch]](), [Contender("patient", Patient, seeded=True)]

    def on_epoch(part: Part, epoch: Epoch) -> None:
        told.append((part.model, part.seed, part.fold, epoch._replace(held=0)))

    run_ladder(dataset, patient, RULES, SEEDS, on_epoch=on_epoch)
    expected = [
        ("patient", seed, fold, Epoch(number, 3, 1 / number, 0))
        for seed in SEEDS
        for fold in (0, 1, 2)
        for number in (1, 2, 3)
    ]
    assert told == expected
    told.clear()
    with LadderProcesses(2) as processes:
        run_ladder(dataset, patient, RULES, SEEDS, processes=processes, on_epoch=on_epoch)
    assert sorted(told) == sorted(expected)


class Doomed(Ridge):
    """Is killed in the midst of learning, as by a machine that has too little memory; or finds its input wrong."""

    def __init__(self, seed: int, *, killed: bool) -> None:
        super().__init__()
        self._killed = killed

    def fit(self, train: Sequence[Sample]) -> None:
        if self._killed:
            os.kill(os.getpid(), signal.SIGKILL)
        raise InvalidInput("learning_rate", "it diverged")


@pytest.mark.e2e
def test_what_ends_in_a_process_is_told_with_the_model(dataset: Dataset) -> None:
    kept = Kept()
    contenders = [*baselines(dataset.definition.graph)[4:], Contender("doomed", partial(Doomed, killed=True))]
    with (
        pytest.raises(RetryableError, match=r"killed while model doomed, seed 3, or one begun .* processes to 1"),
        LadderProcesses(1) as processes,
    ):
        run_ladder(dataset, contenders, RULES, SEEDS, kept, processes=processes)
    assert {(part.model, part.fold) for part in kept} == {("ridge", 0), ("ridge", 1), ("ridge", 2)}
    contenders[1] = Contender("doomed", partial(Doomed, killed=False))
    with pytest.raises(InvalidInput, match="it diverged") as caught, LadderProcesses(1) as processes:
        run_ladder(dataset, contenders, RULES, SEEDS, kept, processes=processes)
    assert caught.value.field == "learning_rate"


def test_what_was_kept_of_other_samples_or_was_cut_off_is_made_anew(dataset: Dataset) -> None:
    kept = Kept()
    run(dataset, kept)
    before = {*kept}
    samples = dataset.samples
    other = dataset._replace(samples=(samples[0].with_returns(-samples[0].returns), *samples[1:]))
    run(other, kept)
    assert len({*kept} - before) == len(before)
    run_ladder(dataset, baselines(dataset.definition.graph, penalty=0.5)[4:], RULES, SEEDS, kept)
    run_ladder(dataset, baselines(dataset.definition.graph)[4:], FoldRules(test=9, least_train=10), SEEDS, kept)
    assert len(kept) == 2 * len(before) + 3 + 3
    part = next(iter(kept))
    cut: dict[Part, bytes] = {**kept, part: kept[part][:-1]}

    class Cut(Kept):
        def load(self, part: Part) -> bytes | None:
            return cut.get(part)

    again = Cut()
    assert run(dataset, again).sha256 == run(dataset).sha256
    assert {*again} == {part}


def test_progress_is_told_of_each_part_and_can_end_the_run(dataset: Dataset) -> None:
    told = list[tuple[str, int, int, int]]()

    def progress(part: Part, number: int, count: int) -> None:
        told.append((part.model, part.fold, number, count))
        if number == 3:
            raise KeyboardInterrupt

    contenders = baselines(dataset.definition.graph)[:2]
    with pytest.raises(KeyboardInterrupt):
        run_ladder(dataset, contenders, RULES, SEEDS, progress=progress)
    assert told == [("zero", 0, 1, 6), ("zero", 1, 2, 6), ("zero", 2, 3, 6)]


class Odd(Ridge):
    """Looks for a target in what it predicts, and for what it learnt from that reaches into it, and finds none."""

    answer = 0.0
    learnt_ms = 0

    def fit(self, train: Sequence[Sample]) -> None:
        super().fit(train)
        self.learnt_ms = max(sample.time_ms for sample in train) + definition().span_ms

    def predict(self, test: Sequence[Sample]) -> list[Floats]:
        assert not any(np.isfinite([*sample.target, *sample.returns]).any() for sample in test)
        assert all(sample.time_ms >= self.learnt_ms for sample in test)
        return [np.full(len(sample.symbols), self.answer) for sample in test]


def test_a_model_sees_no_target_of_a_test_and_has_to_predict_numbers(dataset: Dataset) -> None:
    run_ladder(dataset, [Contender("odd", lambda _: Odd())], RULES, SEEDS)
    Odd.answer = np.nan
    with pytest.raises(InvalidInput, match="model odd predicts no number") as caught:
        run_ladder(dataset, [Contender("odd", lambda _: Odd())], RULES, SEEDS)
    assert caught.value.field == "models"
