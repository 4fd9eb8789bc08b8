"""A program that reads and asks models where torch and SciPy cannot be imported; `test_without_torch.py` runs it.

    python numpy_only.py FOLDER

FOLDER holds a model NAME.oddkind with ONNX graphs and its samples NAME.samples.npz. The answers of the model are
written to NAME.answers.npz, the model again to NAME.again.oddkind.
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
            raise ModuleNotFoundError(f"{name} is refused here", name=name)


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
    from oddkind import load, save

    for file in sorted(folder.glob("*.oddkind")):
        model, samples = load(file), np.load(file.with_suffix(".samples.npz"))
        np.savez(file.with_suffix(".answers.npz"), **answers(model, samples["inputs"], samples["labels"]))
        save(model, file.with_suffix(".again.oddkind"))
    reason = ""
    try:
        load(file, runtime="torch")
    except ValueError as error:
        reason = str(error)
    assert "torch is not installed" in reason, reason
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
