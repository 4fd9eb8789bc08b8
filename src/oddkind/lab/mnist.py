"""The MNIST data set, which is included in oddkind."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.samples import Samples

MNIST_FILE = Path(__file__).parents[1] / "data" / "mnist.npz"
MNIST_SHA256 = "39b9b1ffaa0ba4d8995a616551f0966941fe02a3fe79ba4a9db7373db16d53ad"


def load_mnist(
    normal: Sequence[int] = (0, 1, 2, 3),
    anomalous: Sequence[int] = (7, 8, 9),
    *,
    flagged: int = 0,
    file: Path = MNIST_FILE,
) -> tuple[Samples, Samples]:
    """Load MNIST as an anomaly-detection problem: some digits are learnt, others are anomalies.

    Parameters
    ----------
    normal : digits, at least two
        The kinds of normal. The digit is the internal label.
    anomalous : digits, at least one
        They occur in the test data only. Digits that are neither normal nor anomalous are left out.
    flagged : int
        The number of anomalous digits from MNIST's training data, the first ones, to add to `train`, flagged as such.
        They are for choosing settings, and are never learnt from.
    file : path
        The archive that is included in oddkind.

    Returns
    -------
    train : Samples
        The normal digits of MNIST's training data, then the flagged ones; inputs uint8 [N, 1, 28, 28], from 0 (paper)
        to 255 (ink).
    test : Samples
        The normal and the anomalous digits of MNIST's test data.

    Raises
    ------
    InputError
        If a digit is unknown, in both sets or given twice, if a set is too small, or if the file is damaged.
    """
    digits = [*normal, *anomalous]
    unknown = [digit for digit in digits if digit not in range(10)]
    if unknown:
        raise InputError(f"unknown digit {unknown[0]!r}; digits are 0 to 9")
    if len(normal) < 2:
        raise InputError(f"normal digits {list(normal)}: a classifier needs at least 2 kinds of normal")
    if len(anomalous) < 1:
        raise InputError("no anomalous digits; at least 1 is needed to test with")
    twice = sorted({digit for digit in digits if digits.count(digit) > 1})
    if twice:
        raise InputError(f"digit {twice[0]} is named twice; each digit is normal, anomalous or left out")

    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); reinstall oddkind") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != MNIST_SHA256:
        raise InputError(f"{file}: damaged (SHA-256 {digest[:12]}…, expected {MNIST_SHA256[:12]}…); reinstall oddkind")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        splits = {
            split: (archive[f"{split}_images"][:, None], archive[f"{split}_labels"]) for split in ("train", "test")
        }

    def samples(split: str, rows: Array) -> Samples:
        images, labels = splits[split][0][rows], splits[split][1][rows]
        return Samples(images, labels.astype(int), np.isin(labels, anomalous), name=f"MNIST {split}")

    def rows_of(split: str, wanted: Sequence[int]) -> Array:
        return np.flatnonzero(np.isin(splits[split][1], wanted))

    available = rows_of("train", anomalous)
    if not 0 <= flagged <= len(available):
        raise InputError(f"flagged={flagged}; it must lie between 0 and {len(available)}, the number of such digits")
    train = np.concatenate([rows_of("train", normal), available[:flagged]])
    return samples("train", train), samples("test", rows_of("test", digits))
