"""A program that reads and asks models where torch and SciPy cannot be imported; `test_without_torch.py` runs it.

    python numpy_only.py FOLDER

FOLDER holds a model NAME.oddkind, its samples NAME.samples.npz and, unless it has an MLP, what its networks answered:
NAME.networks.npz. The answers of the model are written to NAME.answers.npz, the model again to NAME.again.oddkind.
"""

import sys
from pathlib import Path

import numpy as np

REFUSED = ("torch", "scipy", "sklearn", "faiss", "matplotlib")


class Refuse:
    """Finds no module of `REFUSED`."""

    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"{name} is refused here")


class Network:
    """What a file says of a network; a `Forward` without the forward pass."""

    def __init__(self, description, weights, inputs, task):
        self.description, self.arrays = description, dict(weights)

    def describe(self):
        return self.description

    def weights(self):
        return self.arrays


class Perceptron(Network):
    """The network "mlp" under affine maps, in NumPy."""

    def __call__(self, inputs):
        assert self.description == {"network": "mlp", "transform": "affine"}

        def linear(name, x):
            return x @ self.arrays[f"network.{name}.weight"].T + self.arrays[f"network.{name}.bias"]

        views = np.einsum("nd,vde->nve", inputs, self.arrays["matrices"])
        hidden = np.maximum(linear("feature_extractor.0", views), 0)
        features = np.maximum(linear("feature_extractor.2", hidden), 0)
        return linear("classifier", features), features


class Replay(Network):
    """Answers as a network did when it was recorded, sample by sample."""

    def __init__(self, recorded, *given):
        super().__init__(*given)
        self.recorded = recorded

    def __call__(self, inputs):
        found = [self.answer(sample) for sample in inputs]
        return tuple(np.stack(part) for part in zip(*found, strict=True))

    def answer(self, sample):
        return self.recorded[sample.tobytes()]


def answers(model, inputs, labels):
    """All that a model says of samples, as arrays by name."""
    from oddkind.model.explain import explain

    found = {}
    for known, y in (("labels known", labels), ("labels not known", None)):
        for method in ("anomaly_score", "p_value", "decide", "decision_function"):
            found[f"{known}, {method}"] = getattr(model, method)(inputs, y)
        for number, one in enumerate(explain(model, inputs, y)):
            name = f"{known}, explanation {number}, "
            found[name + "numbers"] = np.array([one.score, one.p_value, *one.probabilities.values()])
            found[name + "views"] = np.array([[view.probability, view.p_value, view.fails] for view in one.views])
            found[name + "names"] = np.array([name for view in one.views for name in (view.name, view.taken_for)])
            found[name + "distances"] = np.array([near.distance for near in one.neighbours])
            found[name + "rows"] = np.array([near.row for near in one.neighbours])
            found[name + "labels"] = np.array([str(label) for label in (one.claimed, one.looks_like)])
            found[name + "normal"], found[name + "evidence"] = one.normal, one.evidence
    return found


def main(folder):
    """Read every model of a folder, ask it and write it again."""
    from oddkind.model.bundle import read, save, unpack

    for file in sorted(folder.glob("*.oddkind")):
        make = Perceptron
        if file.with_suffix(".networks.npz").exists():
            recorded = np.load(file.with_suffix(".networks.npz"))
            by_network = {}
            for name in sorted({name.partition(".")[0] for name in recorded.files}, key=int):
                samples, logits, features = (recorded[f"{name}.{what}"] for what in ("samples", "logits", "features"))
                by_network[name] = {
                    sample.tobytes(): pair for sample, *pair in zip(samples, logits, features, strict=True)
                }
            remaining = iter(by_network.values())

            def make(*given, remaining=remaining):
                return Replay(next(remaining), *given)

        model, samples = unpack(read(file), make), np.load(file.with_suffix(".samples.npz"))
        np.savez(file.with_suffix(".answers.npz"), **answers(model, samples["inputs"], samples["labels"]))
        save(model, file.with_suffix(".again.oddkind"))
    assert not [name for name in sys.modules if name.partition(".")[0] in REFUSED]


if __name__ == "__main__":
    sys.meta_path.insert(0, Refuse)
    for name in REFUSED:
        try:
            __import__(name)
        except ImportError:
            continue
        raise AssertionError(f"{name} was imported")
    main(Path(sys.argv[1]))
