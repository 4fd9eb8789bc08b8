"""Made-up outputs of networks, on which every score was recorded before scores learnt once (golden.npz)."""

from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_suffix(".npz")

# Number of views, labels, features and inputs.
SHAPES = {
    "vectors": (1, 3, 6, 5),
    "vectors in views": (8, 1, 6, 5),
    "labelled vectors in views": (8, 3, 6, 5),
    "labelled signals": (2, 3, 8, 24),
    "labelled pictures": (4, 2, 12, 36),
    "pictures": (4, 1, 12, 36),
}


def problem(shape, n_members, make):
    """Normal samples, held-out ones and new ones, each as outputs of every member; `make` builds an Outputs."""
    views, labels, features, inputs = SHAPES[shape]
    draw = np.random.RandomState([list(SHAPES).index(shape), n_members])  # the legacy stream never changes
    centre = 2 * draw.normal(size=(labels, features))

    def outputs(n):
        label = draw.randint(labels, size=n)
        targets = label[:, None] * views + np.arange(views)
        x = (draw.normal(size=(n, inputs)) + 2 * label[:, None]).astype(np.float32)
        members = []
        for _ in range(n_members):
            logits = draw.normal(size=(n, views, labels * views)) + 3 * (
                np.arange(labels * views) == targets[..., None]
            )
            located = draw.normal(size=(n, views, features)) + centre[label][:, None]
            members.append(make(logits.astype(np.float32), located.astype(np.float32), targets, x))
        return members

    return outputs(48), outputs(21), outputs(8)
