"""Images that stand in for CIFAR-10 where it is absent: as large, and learned about as fast.

An image is a pattern of its class, shifted and of random contrast, under a smooth pattern that tells nothing and
white noise; a few labels are wrong. The classes have many patterns each, related to one another, so that a network
finds the easy part of the task within hundreds of steps and is still learning after thousands.

Every number comes from PCG64's raw words by single IEEE operations, so the set is the same on every machine and under
every NumPy. Each block of examples has its own seed, so a limited set is the beginning of the full one, and cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from stepbench.training.workload import Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAIN_EXAMPLES = 50_000
_TEST_EXAMPLES = 10_000
_BLOCK = 250
_CLASSES = 10
_SIDE = 32
_CHANNELS = 3
_SHIFTS = 9
"""A pattern is larger than an image by 8 pixels, so there are 9 places on either axis to cut an image from."""

# Tuned until the built-in network's training loss follows the one on CIFAR-10.
_PATTERNS_PER_CLASS = 12
_CLASS_SHARE = 0.39
"""How much of a pattern is common to its class."""
_CONTRAST = (0.15, 0.6)
_DISTRACTORS = 128
_DISTRACTOR_CONTRAST = (0.1, 0.8)
_WHITE_NOISE = 0.1
_WRONG_LABELS = 0.02

# What a block of random words is for; part of its seed.
_TRAIN, _TEST, _CLASS_PATTERNS, _OWN_PATTERNS, _DISTRACTOR_PATTERNS = range(5)
_DRAWS, _NOISE = range(2)


def make_synthetic(limit: int | None = None) -> Dataset:
    """The synthetic set: 10 classes, 50,000 training and 10,000 test examples.

    Args:
        limit: at most so many training examples, and as many test examples; None for all.

    Returns:
        Inputs of shape (N, 32, 32, 3), float32 in [0, 1], and labels of shape (N,), int64, 0 to 9.
    """
    patterns, distractors = _class_patterns(), _windows(_fields(_DISTRACTOR_PATTERNS, _DISTRACTORS, 6))
    train, test = (
        _examples(part, count if limit is None else min(limit, count), patterns, distractors)
        for part, count in ((_TRAIN, _TRAIN_EXAMPLES), (_TEST, _TEST_EXAMPLES))
    )
    return Dataset(*train, *test)


def _examples(
    part: int, count: int, patterns: NDArray[np.float32], distractors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x = np.empty((count, _SIDE, _SIDE, _CHANNELS), np.float32)
    y = np.empty(count, np.int64)
    for start in range(0, count, _BLOCK):
        images, labels = _block(part, start // _BLOCK, patterns, distractors)
        rows = min(_BLOCK, count - start)
        x[start : start + rows] = images[:rows]
        y[start : start + rows] = labels[:rows]
    return x, y


def _block(
    part: int, index: int, patterns: NDArray[np.float32], distractors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    draws = _words((part, index, _DRAWS), 8 * _BLOCK).reshape(8, _BLOCK)
    shown, pattern, place, contrast, distractor, distractor_place, distractor_contrast, wrong = draws
    shown = shown % _CLASSES
    images = _cut(patterns, shown * _PATTERNS_PER_CLASS + pattern % _PATTERNS_PER_CLASS, place)
    images *= _between(_CONTRAST, contrast)
    background = _cut(distractors, distractor % _DISTRACTORS, distractor_place)
    background *= _between(_DISTRACTOR_CONTRAST, distractor_contrast)
    images += background
    images += _white_noise(part, index).reshape(images.shape)
    np.clip(images, 0, 1, out=images)
    labels = np.where(wrong < _WRONG_LABELS * 2**16, wrong % _CLASSES, shown).astype(np.int64)
    return images.reshape(_BLOCK, _SIDE, _SIDE, _CHANNELS), labels


def _white_noise(part: int, index: int) -> NDArray[np.float32]:
    """Uniform noise around the middle grey, shape (a block's pixels,)."""
    words = _words((part, index, _NOISE), _BLOCK * _SIDE * _SIDE * _CHANNELS // 2)
    noise = words.view("u1").astype(np.float32)
    noise *= _WHITE_NOISE / 128
    noise += 0.5 - _WHITE_NOISE
    return noise


def _between(bounds: tuple[float, float], draws: NDArray[np.uint16]) -> NDArray[np.float32]:
    low, high = bounds
    return (draws.astype(np.float32) * ((high - low) / 2**16) + low)[:, None, None]


def _cut(windows: NDArray[np.float32], which: NDArray[np.uint16], place: NDArray[np.uint16]) -> NDArray[np.float32]:
    """A copy of one image of each pattern ``which``, shape (n, side, side x channels)."""
    return windows[which, place % _SHIFTS, place // _SHIFTS % _SHIFTS]


def _class_patterns() -> NDArray[np.float32]:
    common = _fields(_CLASS_PATTERNS, _CLASSES, 4).repeat(_PATTERNS_PER_CLASS, axis=0)
    own = _fields(_OWN_PATTERNS, _CLASSES * _PATTERNS_PER_CLASS, 6)
    return _windows(common * _CLASS_SHARE + own * (1 - _CLASS_SHARE))


def _windows(fields: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every image that can be cut from each field: a view of shape (n, shifts, shifts, side, side x channels)."""
    rows = fields.reshape(*fields.shape[:2], -1)
    return sliding_window_view(rows, (_SIDE, _SIDE * _CHANNELS), axis=(1, 2))[:, :, ::_CHANNELS]


def _fields(seed: int, count: int, cells: int) -> NDArray[np.float32]:
    """Smooth colour fields in [-1, 1]: random values on a grid of cells x cells, interpolated between."""
    words = _words((seed,), count * cells * cells * _CHANNELS)
    grid = words.astype(np.float32).reshape(count, cells, cells, _CHANNELS) * 2**-15 - 1
    along_rows = _stretched(grid)
    return _stretched(along_rows.swapaxes(1, 2)).swapaxes(1, 2)


def _stretched(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear interpolation along axis 1, from its length to a pattern's side."""
    cells = grid.shape[1]
    where = np.arange(_SIDE + _SHIFTS - 1, dtype=np.float32) * ((cells - 1) / (_SIDE + _SHIFTS - 2))
    left = np.minimum(where.astype(np.intp), cells - 2)
    weight = (where - left).astype(np.float32)[:, None, None]
    stretched: NDArray[np.float32] = grid[:, left] * (1 - weight) + grid[:, left + 1] * weight
    return stretched


def _words(seed: tuple[int, ...], count: int) -> NDArray[np.uint16]:
    """Random 16-bit words. NumPy promises that a bit generator's raw words never change, and only those."""
    raw = np.random.PCG64(seed).random_raw(-(-count // 4))
    return raw.astype("<u8", copy=False).view("<u2")[:count]
