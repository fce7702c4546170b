"""Augmentation: what each switch does, and that chance knows the epoch and the sample alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kd_embedded.augment import Augmentation
from kd_embedded.config import FitSpec

_X = np.random.default_rng(1).random((50, 5, 4, 2), np.float32)
_ALL = np.arange(50)
_LABELLED = np.ones(50, bool)


def _shown(epoch: int = 0, positions: NDArray[np.int64] = _ALL, **switches: object) -> NDArray[np.float32]:
    spec = FitSpec.model_validate(switches)
    return Augmentation(lambda i: _X[i], _LABELLED, spec).inputs(positions, epoch)


def test_flips_shifts_and_noise() -> None:
    flipped = _shown(augment_flip=True)
    mirrored = [bool(np.array_equal(a, b[:, ::-1])) for a, b in zip(flipped, _X, strict=True)]
    assert 10 < sum(mirrored) < 40
    assert all(m or np.array_equal(a, b) for m, a, b in zip(mirrored, flipped, _X, strict=True))
    padded = np.pad(_X, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = set()
    for found, image in zip(_shown(augment_shift=1), padded, strict=True):
        cut = [(d, r) for d in range(3) for r in range(3) if np.array_equal(found, image[d : d + 5, r : r + 4])]
        assert len(cut) == 1
        places.add(cut[0])
    assert len(places) == 9
    noise = (_shown(augment_noise=0.1) - _X).reshape(50, -1)
    assert noise.std() == pytest.approx(0.1, rel=0.1)
    assert abs(np.corrcoef(noise)[np.triu_indices(50, 1)]).mean() < 0.2  # each sample has its own


def test_mixup_mixes_inputs_and_rows_alike() -> None:
    spec = FitSpec(mixup=0.4)
    augmentation = Augmentation(lambda i: _X[i], _LABELLED, spec)
    rows = np.eye(50, dtype=np.float32)
    shares = augmentation.mixed(lambda i: rows[i], _ALL, 3)
    assert np.allclose(shares.sum(1), 1.0)
    assert (shares.argmax(1) == _ALL).all()
    assert (np.sort(shares, axis=1)[:, -3] == 0.0).all()
    assert 0.0 < np.sort(shares, axis=1)[:, -2].mean() < 0.4
    assert np.allclose(augmentation.inputs(_ALL, 3), np.tensordot(shares, _X, 1), atol=1e-6)


def test_samples_with_a_label_are_mixed_with_their_like() -> None:
    labelled = _ALL % 3 > 0
    augmentation = Augmentation(lambda i: _X[i], labelled, FitSpec(mixup=5.0))
    rows = np.eye(50, dtype=np.float32)
    shares = np.stack([augmentation.mixed(lambda i: rows[i], _ALL, epoch) for epoch in range(30)])
    mixed = (shares > 0).any(0)
    assert not mixed[labelled][:, ~labelled].any() and not mixed[~labelled][:, labelled].any()
    assert mixed[labelled][:, labelled].mean() > 0.4 and mixed[~labelled][:, ~labelled].mean() > 0.4


def test_mixed_samples_are_augmented_first() -> None:
    switches = {"augment_flip": True, "augment_shift": 1, "augment_noise": 0.1}
    rows = np.eye(50, dtype=np.float32)
    mixing = Augmentation(lambda i: _X[i], _LABELLED, FitSpec.model_validate({**switches, "mixup": 0.4}))
    shares = mixing.mixed(lambda i: rows[i], _ALL, 2)
    assert np.allclose(mixing.inputs(_ALL, 2), np.tensordot(shares, _shown(2, **switches), 1), atol=1e-6)


@pytest.mark.parametrize("mixup", [0.0, 0.3])
def test_a_sample_of_an_epoch_is_the_same_in_any_batch(mixup: float) -> None:
    switches = {"augment_flip": True, "augment_shift": 2, "augment_noise": 0.2, "mixup": mixup}
    whole = _shown(4, **switches)
    order = np.random.default_rng(0).permutation(50)
    assert np.array_equal(_shown(4, order[:7], **switches), whole[order[:7]])
    assert not np.array_equal(_shown(5, **switches), whole)
    assert not np.array_equal(_shown(4, augment_seed=2, **switches), whole)


def test_vectors_are_not_mirrored_but_noisy() -> None:
    x = np.random.default_rng(0).random((9, 6), np.float32)
    spec = FitSpec(augment_flip=True, augment_shift=2, augment_noise=0.5)
    noise = Augmentation(lambda i: x[i], np.ones(9, bool), spec).inputs(np.arange(9), 0) - x
    assert noise.std() == pytest.approx(0.5, rel=0.4)
