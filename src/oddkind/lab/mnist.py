"""MNIST, which ships with oddkind."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from oddkind.errors import InputError
from oddkind.samples import Array, Samples

MNIST_FILE = Path(__file__).parents[1] / "data" / "mnist.npz"
MNIST_SHA256 = "39b9b1ffaa0ba4d8995a616551f0966941fe02a3fe79ba4a9db7373db16d53ad"


def load_mnist(
    normal: Sequence[int] = (0, 1, 2, 3),
    anomalous: Sequence[int] = (7, 8, 9),
    *,
    flagged: int = 0,
    file: Path = MNIST_FILE,
) -> tuple[Samples, Samples]:
    """MNIST as an anomaly-detection problem: learn some digits, be shown others.

    Parameters
    ----------
    normal : digits, at least two
        The kinds of normal; the digit is the internal label.
    anomalous : digits, at least one
        Seen in the test alone. Digits of neither kind are left out.
    flagged : int
        How many anomalous digits of MNIST's training part, the first ones, to add to `train`, flagged as such:
        to choose settings by, never to learn from.
    file : path
        The archive shipped with oddkind.

    Returns
    -------
    train : Samples
        The normal digits of MNIST's training part, then the flagged ones; inputs uint8 [N, 1, 28, 28], 0 (paper)
        to 255 (ink).
    test : Samples
        The normal and the anomalous digits of its test part.

    Raises
    ------
    InputError
        Where a digit is unknown, in both sets or given twice, a set is too small, or the file is damaged.
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
        parts = {part: (archive[f"{part}_images"][:, None], archive[f"{part}_labels"]) for part in ("train", "test")}

    def samples(part: str, *kinds: Array) -> Samples:
        images, labels = parts[part]
        rows = np.concatenate(kinds)
        return Samples(images[rows], labels[rows].astype(int), np.isin(labels[rows], anomalous), name=f"MNIST {part}")

    def of(part: str, wanted: Sequence[int]) -> Array:
        return np.flatnonzero(np.isin(parts[part][1], wanted))

    odd = of("train", anomalous)
    if not 0 <= flagged <= len(odd):
        raise InputError(f"flagged={flagged}; MNIST's training part has 0 to {len(odd)} such digits")
    return samples("train", of("train", normal), odd[:flagged]), samples("test", of("test", digits))
