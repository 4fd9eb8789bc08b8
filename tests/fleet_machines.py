"""A small fleet: ten machines that differ, two of which have too little data."""

import numpy as np
from problems import kinds

from oddkind import Samples, source_of

MACHINES = {
    **{f"pump {number}": Samples(kinds(120, number)[0] + number) for number in range(8)},
    "few": Samples(kinds(25, 50)[0] - 5),
    "fewer": Samples(kinds(7, 51)[0] - 9),
}


def later(name, n=60):
    """New samples of a machine that are as usual."""
    shift = int(name[-1]) if name.startswith("pump") else {"few": -5, "fewer": -9}[name]
    return Samples(kinds(n, 99)[0] + shift)


def content(fleet):
    """What each machine of a fleet says of the same samples, to the bit."""
    inputs = np.linspace(-9, 9, 4 * 20).reshape(20, 4)
    return {name: model.anomaly_score(inputs).tobytes() for name, model in fleet.items()}


def table(file, n=40, seed=0, shift=0.0):
    file.parent.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(seed)
    rows = "\n".join(f"{a:.4f},{b:.4f}" for a, b in draw.normal(shift, size=(n, 2)))
    file.write_text(f"a,b\n{rows}\n")


def listed(data, **settings):
    source = source_of(data, **settings)
    files, _ = source.entries(data)
    return files, source
