"""The attention network as a model: what it finds, and that it is the same each time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from streamforge.analytics.graphs.panel import Floats
from streamforge.analytics.models.boosted_trees import TreeSettings, boosted_trees
from streamforge.analytics.models.dataset import Dataset
from streamforge.analytics.models.folds import FoldRules
from streamforge.analytics.models.ladder import run_ladder
from streamforge.analytics.models.ladder_processes import LadderProcesses
from streamforge.analytics.models.model import Epoch
from streamforge.analytics.models.neighbour_mean import on_graph
from streamforge.analytics.models.prediction_metrics import information_coefficients
from streamforge.analytics.networks.attention import AttentionModel, AttentionSettings, attention, purge_of
from streamforge_utils.model.errors import InvalidInput
from tests.analytics.models.markets import dataset_of, definition, moves, panel_of
from tests.cleanenv import environment
from tests.limits import LIMIT_S
from tests.places import ROOT

QUICK = AttentionSettings(epochs=3, batch=8)
TREES = TreeSettings(trees=20, least=20)


@cache
def dataset() -> Dataset:
    return dataset_of(panel_of(moves(120, 10, 1, group=0.7)))


def learnt(settings: AttentionSettings = QUICK, seed: int = 0) -> AttentionModel:
    model = attention(settings)(seed)
    model.fit(dataset().samples[:60])
    return model


def hashed(predictions: list[Floats]) -> str:
    return hashlib.sha256(b"".join(one.tobytes() for one in predictions)).hexdigest()


def ladder_hash(processes: LadderProcesses | None = None) -> str:
    """Of the predictions of a small ladder; another process prints it."""
    contenders = [boosted_trees(TREES), *on_graph(attention(QUICK), seeded=True, settings=QUICK.text())]
    return run_ladder(dataset(), contenders, FoldRules(test=30, least_train=20), [0, 1], processes=processes).sha256


def test_it_finds_what_neighbours_tell_and_nothing_without_edges() -> None:
    market = dataset_of(panel_of(moves(200, 15, 1, group=0.7)))
    settings = AttentionSettings(epochs=20, batch=8, patience=5)
    run = run_ladder(market, on_graph(attention(settings), seeded=True), FoldRules(test=70, least_train=40), seeds=[0])
    found = {
        name: float(information_coefficients(run.tested, own[0], ranked=True).mean())
        for name, own in run.predictions.items()
    }
    assert found["graph"] > 0.15
    assert all(found["graph"] > found[name] + 0.07 for name in ("no_edges", "shuffled", "random")), found


def test_other_processes_give_the_same_predictions() -> None:
    program = "from tests.gnn.test_attention import ladder_hash; print(ladder_hash())"
    other = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        cwd=ROOT,
        env=environment(OMP_NUM_THREADS="2"),
        text=True,
        timeout=LIMIT_S,
    ).stdout.strip()
    with LadderProcesses(2) as processes:
        assert [other, ladder_hash(processes)] == [ladder_hash()] * 2


def test_a_seed_makes_a_difference() -> None:
    test = dataset().samples[60:]
    first = hashed(learnt().predict(test))
    assert hashed(learnt().predict(test)) == first
    assert hashed(learnt(seed=1).predict(test)) != first


def test_what_it_learnt_goes_through_a_file_without_a_bit_of_difference(tmp_path: Path) -> None:
    model, test = learnt(), dataset().samples[60:]
    safetensors.numpy.save_file(model.state(), tmp_path / "model.safetensors")
    other = attention(QUICK)(9)
    other.restore(safetensors.numpy.load_file(tmp_path / "model.safetensors"))
    assert hashed(other.predict(test)) == hashed(model.predict(test))
    with pytest.raises(ValueError, match="not trained yet"):
        attention(QUICK)(0).predict(test)


def test_arrays_of_another_network_are_refused() -> None:
    state = learnt().state()
    with pytest.raises(InvalidInput, match=r"0\.left has the shape \(4, 64\), \(4, 32\) is expected"):
        attention(AttentionSettings(heads=2))(0).restore(state)
    with pytest.raises(InvalidInput, match=r"2\.left has the shape None"):
        attention(AttentionSettings(layers=3))(0).restore(state)
    with pytest.raises(InvalidInput, match="weights has the shape"):
        attention(QUICK)(0).restore({**state, "weights": np.zeros(3)})
    with pytest.raises(InvalidInput, match="not of finite numbers"):
        attention(QUICK)(0).restore({**state, "last.bias": np.array([np.nan], dtype=np.float32)})


def test_no_target_and_no_other_moment_changes_a_prediction() -> None:
    model, test = learnt(), dataset().samples[60:]
    expected = hashed(model.predict(test))
    assert hashed(model.predict([one.blind() for one in test])) == expected
    assert hashed(model.predict([one.with_returns(-one.returns) for one in test])) == expected
    assert hashed([model.predict([one])[0] for one in test]) == expected


def test_targets_that_are_not_known_are_left_out() -> None:
    samples = [*dataset().samples[:40]]
    gaps = [one.returns.copy() for one in samples]
    gaps[3][:], gaps[4][2] = np.nan, np.nan
    for at in (3, 4):
        samples[at] = samples[at].with_returns(gaps[at])
    model = attention(AttentionSettings(epochs=2, batch=1))(0)
    model.fit(samples)
    assert all(np.isfinite(one).all() for one in model.predict(samples))


def test_a_batch_that_is_learnt_from_in_parts_is_learnt_from_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [*dataset().samples[:60]]
    gaps = samples[3].returns.copy()
    gaps[:7] = np.nan
    samples[3] = samples[3].with_returns(gaps)
    found = list[list[Floats]]()
    for most in (4096, 120):
        monkeypatch.setattr("streamforge.analytics.networks.attention._MOST_AT_ONCE", most)
        model = attention(QUICK)(0)
        model.fit(samples)
        found.append(model.predict(samples))
    np.testing.assert_allclose(np.concatenate(found[0]), np.concatenate(found[1]), atol=1e-4)


def test_a_network_that_diverges_is_refused_by_name() -> None:
    with pytest.raises(
        InvalidInput, match=r"attention network of seed 7 diverged in epoch \d.*lower its learning_rate"
    ) as e:
        learnt(AttentionSettings(learning_rate=1e30), seed=7)
    assert e.value.field == "learning_rate"


def test_epochs_are_told_the_best_is_kept_and_patience_ends_it() -> None:
    told, batches = list[Epoch](), list[int]()
    settings = AttentionSettings(epochs=60, batch=8, patience=3, learning_rate=0.02)
    model = attention(settings, on_epoch=told.append, on_batch=lambda: batches.append(1))(0)
    samples = dataset().samples[:60]
    model.fit(samples)
    assert [one.number for one in told] == [*range(1, len(told) + 1)]
    assert len(told) < 60, "what is held out ended it"
    assert told[-1].loss < told[0].loss
    best = min(told, key=lambda one: one.held)
    assert best.number == len(told) - 3
    assert len(batches) == 7 + 2 + 7 * len(told), "batches of 49 and of 9 moments are made, the former are steps"
    apart = np.concatenate([a - b.target for a, b in zip(model.predict(samples[51:]), samples[51:], strict=True)])
    assert np.mean(apart**2) * 12 == pytest.approx(best.held, rel=1e-4)


def test_it_can_be_ended_between_two_batches() -> None:
    told, left = list[Epoch](), [22]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attention(QUICK, on_epoch=told.append, on_batch=count)(0).fit(dataset().samples)
    assert len(told) == 1
    assert not torch.are_deterministic_algorithms_enabled(), "as before"


def test_a_purge_keeps_targets_apart() -> None:
    assert purge_of(definition()) == 2
    assert purge_of(definition(6, step=2)) == 4
    assert purge_of(definition(6, step=7)) == 1
    samples = dataset().samples[:60]  # nine of them are held out

    def after(changed: int) -> str:
        one = samples[changed]
        model = attention(QUICK)(0)
        model.fit([*samples[:changed], one.with_returns(-one.returns), *samples[changed + 1 :]])
        return hashed(model.predict(samples))

    whole = hashed(learnt().predict(samples))
    assert [after(changed) == whole for changed in (48, 49, 50)] == [False, True, True]


def test_a_gpu_that_is_not_there_is_refused_and_auto_takes_the_processor() -> None:
    assert AttentionSettings().used_device() == "cpu"
    assert "cpu" in AttentionSettings().text()
    with pytest.raises(InvalidInput, match="no GPU") as caught:
        attention(AttentionSettings(device="cuda"))
    assert caught.value.field == "device"
