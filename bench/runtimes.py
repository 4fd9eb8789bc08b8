"""Does a model that was exported decide as torch does, and what does scoring without torch cost?

    python bench/runtimes.py [--decisions] [--costs]

Decisions: models are fitted to every set of this folder's benchmarks, with every network, task and score that suits the
kind of data, and with every front end, then exported. The decisions on all test samples, with the labels known and not
known, at false-alarm rates of 10, 5 and 1 %, are compared between torch and ONNX. Training is short, because an
unfinished network rounds as a finished one does.

Costs, each as a ratio to torch in the same run: processor time of `oddkind score` of one recording in a new process,
beside `import torch`; time to score one sample and 1,024 samples with a loaded model, beside `Detector`; size of the
file. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from quality import DATA, hydraulic, tiles
from sklearn.datasets import load_digits
from vectors import tabular

from oddkind import SCORES, Detector, fit_files, load, load_mnist, save, source_of
from oddkind.arrays import Array
from oddkind.files.front_ends import FRONT_ENDS
from oddkind.files.reading import read
from oddkind.files.score import settings_of
from oddkind.model.model import Model
from oddkind.train.onnx_export import with_graphs

RATES = 0.1, 0.05, 0.01
TASKS = {
    1: ("labels", "affine", "labels+affine"),
    2: ("labels",),
    3: ("labels", "rotations", "labels+rotations", "pastes", "defects"),
}
NETWORKS = {1: ("mlp", "branches"), 2: ("signal",), 3: ("lecture", "picture", "local", "unet", "spectrogram")}
Case = tuple[str, Array, Array | None, Array, Array | None, dict[str, Any]]


def cases() -> Iterator[Case]:
    """Name, samples and labels to learn from and to test, and parameters."""
    for file in sorted((DATA / "tabular").glob("*.npz")):
        problem = tabular(file.stem, 0)
        yield file.stem, problem.learnt, None, problem.tested, None, {}
    X, y = load_digits(return_X_y=True)
    train, test = load_mnist()
    some = np.isin(train.labels, (0, 1, 2, 3)).nonzero()[0][:1500]
    rig, tile = hydraulic(0), tiles(0)
    sets: list[tuple[str, Array, Array | None, Array, Array | None]] = [
        ("digits", X[y < 5], y[y < 5], X[y >= 5], y[y >= 5] - 5),
        ("mnist", train.inputs[some], train.labels[some], test.inputs[:600], test.labels[:600] % 4),
        ("rig", rig.train.inputs, rig.train.labels, rig.test.inputs, None),
        ("tiles", tile.train.inputs[:300], tile.train.labels[:300], tile.test.inputs[:300], None),
        ("signals", rig_signals()[:400], None, rig_signals()[400:800], None),
    ]
    for name, x, labels, new, new_labels in sets:
        axes = x.ndim - 1
        yield f"{name}, default", x, labels, new, new_labels, {}
        for task in TASKS[axes]:
            if labels is not None or "labels" not in task:
                yield f"{name}, task {task}", x, labels, new, new_labels, {"task": task}
        for network in NETWORKS[axes]:
            yield f"{name}, network {network}", x, labels, new, new_labels, {"network": network}
        for score in SCORES:
            if name in ("digits", "mnist", "signals"):
                yield f"{name}, score {score}", x, labels, new, new_labels, {"score_function": score}


def rig_signals() -> Array:
    """The hydraulic rig as signals [N, 17, 60]."""
    return np.asarray(np.load(DATA / "hydraulic.npz")["X"])


def heard() -> Iterator[tuple[str, Model, Array]]:
    """Name, model and new samples for each front end, from the motors."""
    data = DATA / "bldc_motor"
    for front_end in FRONT_ENDS:
        source = source_of(
            data, pattern="{condition}_{label}_{rpm}.wav", normal="condition=Healthy", front_end=(front_end,)
        )
        files, _ = source.entries(data)
        model = fit_files(files, source, Detector(epochs=3, random_state=0, false_alarm_rate=0.2), folds=None)
        assert isinstance(model, Model)
        odd = [entry for entry in files if entry.anomalous]
        yield f"motors, front end {front_end}", model, np.asarray(read(odd, settings_of(model)).inputs)


def compare(model: Model, exported: Model, x: Array, labels: Array | None) -> dict[str, float]:
    """Decisions compared and those that differ, and the largest difference of scores in their usual deviation."""
    made, differ, apart = 0, 0, 0.0
    known = [labels] if labels is not None and model.task.labels is not None else []
    for y in [*known, *([None] if model.calibration.unlabelled is not None else [])]:
        scores = [one.anomaly_score(x, y) for one in (model, exported)]
        spread = np.std(model.calibration.of(with_labels=y is not None).scores) or 1.0
        apart = max(apart, float(np.abs(scores[0] - scores[1]).max() / spread))
        for rate in RATES:
            decisions = [replace(one, false_alarm_rate=rate).decide(x, y) for one in (model, exported)]
            made, differ = made + len(x), differ + int((decisions[0] != decisions[1]).sum())
    return {"decisions": made, "differ": differ, "apart": apart}


def decisions() -> dict[str, dict[str, float]]:
    """Compare the decisions in every case."""
    found = {}
    for name, x, y, new, new_labels, parameters in cases():
        x, new = (one if one.dtype == np.uint8 else one.astype(np.float32) for one in (x, new))
        epochs = 1 if x[0].size > 500 else 3
        try:
            model = Detector(epochs=epochs, random_state=0, **parameters).fit(x, y).model
        except ValueError as error:
            print(f"{name}: not fitted ({error})")
            continue
        labels = None if new_labels is None or model.task.labels is None else new_labels
        found[name] = compare(model, with_graphs(model), new, labels)
        print(f"{name}: {found[name]}", flush=True)
    for name, model, new in heard():
        found[name] = compare(model, with_graphs(model), new, None)
        print(f"{name}: {found[name]}", flush=True)
    return found


def processor_seconds(command: list[str]) -> float:
    """Least processor time of three runs of a command."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of some work."""
    work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(1000 * (time.perf_counter() - start))
    return statistics.median(found)


def costs() -> dict[str, float]:
    """Costs with onnxruntime and with torch."""
    found: dict[str, float] = {}
    command, data = str(Path(sys.executable).with_name("oddkind")), DATA / "bldc_motor"
    with TemporaryDirectory() as folder:
        source = source_of(data, pattern="{condition}_{label}_{rpm}.wav", normal="condition=Healthy")
        sound = fit_files(source.entries(data)[0], source, Detector(random_state=0, false_alarm_rate=0.2), folds=None)
        picture = Detector(random_state=0, epochs=3).fit(tiles(0).train.inputs, tiles(0).train.labels).model
        new = {"sound": np.zeros((1024, *sound.inputs.shape), np.float32), "picture": tiles(0).train.inputs[:1024]}
        new["picture"] = np.concatenate([new["picture"]] * 3)[:1024]
        for name, model in (("sound", sound), ("picture", picture)):
            file, exported = Path(folder, f"{name}.oddkind"), Path(folder, f"{name}-onnx.oddkind")
            save(model, file)
            save(with_graphs(model), exported)
            found[f"{name}: MB of the file"] = file.stat().st_size / 1e6
            found[f"{name}: MB with graphs"] = exported.stat().st_size / 1e6
            for runtime in ("onnx", "torch"):
                loaded = load(exported, runtime=runtime)
                for n, repeats in ((1, 50), (1024, 5)):
                    work = lambda loaded=loaded, x=new[name][:n]: loaded.p_value(x)  # noqa: E731
                    found[f"{name}: ms for {n}, {runtime}"] = milliseconds(work, repeats)
        recording = data / "Propeller_M1_1400.wav"
        for runtime, file in (("onnx", "sound-onnx"), ("torch", "sound")):
            words = [command, "score", str(Path(folder, f"{file}.oddkind")), str(recording)]
            found[f"oddkind score: CPU s, {runtime}"] = processor_seconds(words)
    found["import torch: CPU s"] = processor_seconds([sys.executable, "-c", "import torch"])
    return found


def main() -> None:
    """Print the comparison, and JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", action="store_true", help="only compare decisions")
    parser.add_argument("--costs", action="store_true", help="only measure costs")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    result: dict[str, Any] = {}
    if not given.costs:
        found = decisions()
        total = {what: sum(one[what] for one in found.values()) for what in ("decisions", "differ")}
        worst = max(found, key=lambda name: found[name]["apart"])
        print(f"{len(found)} models, {total['decisions']:.0f} decisions, {total['differ']:.0f} differ")
        print(f"the scores differ most for {worst}: {found[worst]['apart']:.2g} of their deviation")
        result |= {"models": len(found), **total, "worst": worst, "apart": found[worst]["apart"]}
    if not given.decisions:
        cost = costs()
        for name, value in cost.items():
            print(f"{name}: {value:.3g}")
        for name, one, other in (
            ("oddkind score / import torch", "oddkind score: CPU s, onnx", "import torch: CPU s"),
            ("oddkind score, onnx / torch", "oddkind score: CPU s, onnx", "oddkind score: CPU s, torch"),
            *(
                (f"{kind}, {n}: onnx / torch", f"{kind}: ms for {n}, onnx", f"{kind}: ms for {n}, torch")
                for kind in ("sound", "picture")
                for n in (1, 1024)
            ),
        ):
            print(f"{name}: {cost[one] / cost[other]:.2f}")
            cost[name] = cost[one] / cost[other]
        result["costs"] = cost
    print(json.dumps(result))


if __name__ == "__main__":
    main()
