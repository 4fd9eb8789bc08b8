"""A small fleet: ten machines that differ, two of which have too little data."""

import numpy as np
from problems import kinds

from oddkind import Samples

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
