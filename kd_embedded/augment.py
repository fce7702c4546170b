"""Samples as an epoch shows them: mirrored, shifted, noisy, mixed in pairs.

What happens to a sample is a function of (augment_seed, epoch, its position in the training split) alone, so that it
does not depend on batches, on their order, or on the seed of the weights: a teacher's logits of an epoch can be
computed once and replayed to any student.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from kd_embedded.config import FitSpec

Inputs = Callable[[NDArray[np.int64]], NDArray[np.float32]]
_NOISE_BANK = 1 << 20


@dataclass(frozen=True, eq=False)
class _Chances:
    """What chance decides for each of N samples in one epoch; all arrays [N]."""

    mirrored: NDArray[np.bool_]
    down: NDArray[np.int64]
    right: NDArray[np.int64]
    noise: NDArray[np.float64]  # 0..1, where in the bank a sample's noise begins
    partner: NDArray[np.int64]
    share: NDArray[np.float32]  # of the sample itself, at least a half; the rest is its partner's


class Augmentation:
    """The training inputs under the switches of ``spec``: mirroring and shifts need images, [H, W, C]."""

    def __init__(self, inputs: Inputs, labelled: NDArray[np.bool_], spec: FitSpec) -> None:
        """``inputs(positions)`` gives float32 [B, ...] of a training split; ``labelled`` [N] says which have a label.

        Samples with a label are mixed with their like, and those without one with theirs.
        """
        self._inputs, self._labelled, self._spec = inputs, labelled, spec
        self._epoch = -1
        self._chances: _Chances | None = None
        self._bank = np.zeros(0, np.float32)

    def inputs(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """What epoch ``epoch`` shows of the samples at ``positions`` int64 [B]: float32 [B, ...]."""
        chances = self._drawn(epoch)
        return self.mixed(lambda which: self._alone(which, chances), positions, epoch)

    def mixed(self, rows: Inputs, positions: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """``rows(positions)`` float32 [B, ...] (weights, say), mixed as the inputs are."""
        own = rows(positions)
        if not self._spec.mixup:
            return own
        chances = self._drawn(epoch)
        share = chances.share[positions].reshape(-1, *[1] * (own.ndim - 1))
        return share * own + (1 - share) * rows(chances.partner[positions])

    def _drawn(self, epoch: int) -> _Chances:
        if self._chances is None or epoch != self._epoch:
            self._epoch, self._chances = epoch, _draw(self._spec, self._labelled, epoch)
        return self._chances

    def _alone(self, positions: NDArray[np.int64], chances: _Chances) -> NDArray[np.float32]:
        shown, spec = self._inputs(positions), self._spec
        if shown.ndim == 4 and spec.augment_flip:
            shown = np.where(chances.mirrored[positions][:, None, None, None], shown[:, :, ::-1], shown)
        if shown.ndim == 4 and spec.augment_shift:
            shown = _shifted(shown, spec.augment_shift, chances.down[positions], chances.right[positions])
        if spec.augment_noise:
            shown = shown + self._noise(chances.noise[positions], shown.shape)
        return shown

    def _noise(self, places: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A window of the bank for each sample: as good as fresh noise here, and fifty times cheaper."""
        values = int(np.prod(shape[1:]))
        if not len(self._bank):
            generator = np.random.default_rng(self._spec.augment_seed)
            self._bank = generator.standard_normal(_NOISE_BANK + values, np.float32)
            self._bank *= np.float32(self._spec.augment_noise)
        starts = (places * _NOISE_BANK).astype(np.int64)
        noise: NDArray[np.float32] = sliding_window_view(self._bank, values)[starts].reshape(shape)
        return noise


def _draw(spec: FitSpec, labelled: NDArray[np.bool_], epoch: int) -> _Chances:
    """Mixup's share: Zhang et al. 2018, "mixup", section 2; the larger part is the sample's own, which is a matter of
    naming only."""
    generator, count = np.random.default_rng((spec.augment_seed, epoch)), len(labelled)
    mirrored = generator.random(count) < 0.5
    down, right = generator.integers(0, 2 * spec.augment_shift + 1, (2, count))
    noise, partner = generator.random(count), np.arange(count)
    for alike in map(np.flatnonzero, (labelled, ~labelled)):
        partner[alike] = generator.permutation(alike)
    share = generator.beta(spec.mixup, spec.mixup, count) if spec.mixup else np.ones(count)
    return _Chances(mirrored, down, right, noise, partner, np.maximum(share, 1 - share).astype(np.float32))


def _shifted(
    images: NDArray[np.float32], most: int, down: NDArray[np.int64], right: NDArray[np.int64]
) -> NDArray[np.float32]:
    """float32 [B, H, W, C] cut from images padded with ``most`` zeros on each side, at ``down`` and ``right`` [B]."""
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (most, most), (most, most), (0, 0)))
    shifted = np.empty_like(images)
    for index, (row, column) in enumerate(zip(down.tolist(), right.tolist(), strict=True)):
        shifted[index] = padded[index, row : row + height, column : column + width]
    return shifted
