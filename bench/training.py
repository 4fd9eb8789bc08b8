"""How long does it take to train and test a network of the lecture: with its code, in the usual ways, and with oddkind?

    python bench/training.py [--repeats 3] [--device cpu] [--stacks 1,4,16,64,256] [--fleet 1000]

Every contestant learns from the same number of MNIST digits 0-3 (batch 32, Adam 1e-3, 5 epochs) and scores the same
7,168 test digits, one after another and each in its own process. Importing and reading MNIST are not counted.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the lecture's name
from torch import nn
from torch.utils.data import DataLoader, Dataset

from oddkind import Detector, fit_fleet, fit_together, load_mnist
from oddkind.lab import figures
from oddkind.lab.exercises import run_lab
from oddkind.metrics import auc
from oddkind.study.evaluation import LECTURE
from oddkind.train.networks import LectureCNN

EPOCHS, BATCH = 5, 32
NORMAL, ANOMALOUS = [0, 1, 2, 3], [7, 8, 9]
TRAIN, TEST = load_mnist(NORMAL, ANOMALOUS)
LIKE: dict[str, Any] = {"task": "labels", "score_function": "msp", "epochs": EPOCHS, **LECTURE}
PHASES: list[tuple[float, float]] = []  # (time, finished fraction) at each step of training
# A Detector holds out a tenth for its threshold; the others learn from as many samples as it does.
LEARNT = len(TRAIN) - round(0.1 * len(TRAIN))


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """Return one sample at a time, as the usual picture data sets do."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[i]).float() / 255, int(self.labels[i])


def lecture(device: str) -> list[float]:
    """Run the lecture's listing, with the step of the optimizer in the right place."""
    model = LectureCNN((1, 28, 28), len(NORMAL)).to(device)
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    train = DataLoader(Digits(TRAIN.inputs[:LEARNT], TRAIN.labels[:LEARNT]), batch_size=BATCH, shuffle=True)
    test = DataLoader(Digits(TEST.inputs, TEST.labels), batch_size=BATCH)
    for _ in range(EPOCHS):
        model.train()
        losses = []
        for images, labels in train:
            logits, _ = model(images.to(device))
            p = F.one_hot(labels, 10)[:, NORMAL].float().to(device)
            loss = loss_fn(logits, p)
            losses.append(loss.cpu().detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    truth, scores, normal_loss = [], [], []
    with torch.no_grad():
        for images, labels in test:
            logits, _ = model(images.to(device))
            score = 1 - torch.softmax(logits, 1).max(1).values
            for i in range(len(labels)):
                value = score[i].item()
                if labels[i] in NORMAL:
                    p = F.one_hot(labels[i], 10)[NORMAL].reshape(1, -1).float().to(device)
                    normal_loss.append(loss_fn(logits[i].reshape(1, -1), p).cpu())
                    truth.append(0.0)
                    scores.append(value)
                elif labels[i] in ANOMALOUS:
                    truth.append(1.0)
                    scores.append(value)
    return [auc(np.array(truth), np.array(scores))]


def in_memory(device: str, seed: int = 0) -> list[float]:
    """Run the loop of a careful user: tensors in memory, no data loader, one model at a time."""
    torch.manual_seed(seed)
    model = LectureCNN((1, 28, 28), len(NORMAL)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loss_fn = nn.CrossEntropyLoss()
    images = torch.from_numpy(TRAIN.inputs[:LEARNT]).to(device).float() / 255
    labels = torch.from_numpy(TRAIN.labels[:LEARNT]).to(device)
    for _ in range(EPOCHS):
        order = torch.randperm(LEARNT, device=device)
        for start in range(0, LEARNT, BATCH):
            batch = order[start : start + BATCH]
            optimizer.zero_grad()
            loss_fn(model(images[batch])[0], labels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        logits = model(torch.from_numpy(TEST.inputs).to(device).float() / 255)[0]
        scores = 1 - torch.softmax(logits, 1).max(1).values
    return [auc(TEST.anomalous, scores.cpu().numpy())]


def _alone(seed: int) -> list[float]:
    torch.set_num_threads(1)
    return in_memory("cpu", seed)


def processes(_: str) -> list[float]:
    """Run one process per core, each training two models as `in_memory` does."""
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        return [value for values in pool.map(_alone, range(4), chunksize=2) for value in values]


def ours(device: str, models: int) -> list[float]:
    """Train M detectors in one stack: 4 levels of label smoothing, with several seeds each."""
    levels = (0.0, 0.1, 0.2, 0.3)
    detectors = [
        Detector(**LIKE, label_smoothing=levels[m % 4], random_state=m // 4, device=device) for m in range(models)
    ]
    PHASES.append((time.perf_counter(), 0.0))
    fit_together(
        detectors, TRAIN.inputs, TRAIN.labels, on_progress=lambda done: PHASES.append((time.perf_counter(), done))
    )
    PHASES.append((time.perf_counter(), 1.0))
    return [auc(TEST.anomalous, detector.anomaly_score(TEST.inputs)) for detector in detectors]


def fleet(device: str, machines: int, *, together: bool = True) -> list[float]:
    """Train one detector per machine on 500 digits, together or one after another; return the held-out accuracies."""
    draw = np.random.default_rng(0)
    samples = {f"{m}": TRAIN[draw.choice(len(TRAIN), 500, replace=False)] for m in range(machines)}
    like = Detector(**LIKE, label_smoothing=0.0, random_state=0, device=device)
    if together:
        return [detector.model_.report.accuracy for detector in fit_fleet(samples, like).values()]
    return [
        Detector(**like.get_params()).fit(own.inputs, own.labels).model_.report.accuracy for own in samples.values()
    ]


def lab(seeds: int) -> float:
    """Return the seconds that `oddkind lab` takes for a number of seeds, without t-SNE."""
    embed, drawing = figures.embed, []

    def timed(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        points = embed(*args, **options)
        drawing.append(time.perf_counter() - start)
        return points

    figures.embed = timed
    start = time.perf_counter()
    with TemporaryDirectory() as folder:
        run_lab(Path(folder), seeds=seeds)
    return time.perf_counter() - start - sum(drawing)


def contest(name: str, device: str) -> list[float]:
    """Run the contestant of that name; return its results, one per model."""
    kind, _, size = name.partition(":")
    if kind == "ours":
        return ours(device, int(size))
    if kind in ("fleet", "alone"):
        return fleet(device, int(size), together=kind == "fleet")
    return {"lecture": lecture, "in-memory": in_memory, "processes": processes}[kind](device)


def set_epochs(epochs: int) -> None:
    """Set the number of epochs of all contestants."""
    global EPOCHS
    EPOCHS = LIKE["epochs"] = epochs


def measure_here(name: str, device: str) -> None:
    """Print seconds per model, peak memory and the mean result; called in a separate process."""
    if device != "cpu":
        torch.zeros(1, device=device)  # the start-up of the device is not counted
    start = time.perf_counter()
    if name.startswith("lab:"):
        print(json.dumps({"seconds": lab(int(name[4:]))}))
        return
    values = contest(name, device)
    seconds = time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    result = {"seconds": seconds / len(values), "memory_mb": peak, "mean": float(np.mean(values))}
    if PHASES:  # from fit called to the first step done, and from the last step done to fit returned
        times = [moment for moment, _ in PHASES]
        result |= {"before": (times[1] - times[0]) / len(values), "after": (times[-1] - times[-2]) / len(values)}
    if device != "cpu":
        result["device_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(result))


def measure(name: str, device: str) -> dict[str, float]:
    """Start `measure_here` in a process and read its output."""
    command = [sys.executable, __file__, "--only", name, "--device", device, "--epochs", str(EPOCHS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def matrix_rate() -> float:
    """Return the multiply-adds per second of a large float32 matrix product on this machine."""
    a = torch.randn(1024, 1024)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 1024**3 / min(seconds)


def floor_seconds(rate: float) -> float:
    """Return the seconds for the arithmetic of one model, counted by hand, at that rate.

    Multiply-adds per picture, forwards: 14·14·2·4 + 7·7·4·8 + 3·3·8·16 + 72·4 = 4,576. Backwards: as many for the
    weights and, except for the first layer, for the inputs.
    """
    first = 14 * 14 * 2 * 4
    forwards = first + 7 * 7 * 4 * 8 + 3 * 3 * 8 * 16 + 72 * 4
    return (EPOCHS * LEARNT * (3 * forwards - first) + len(TEST) * forwards) / rate


def title(name: str) -> str:
    """Return the name of a contestant for the table."""
    kind, _, size = name.partition(":")
    return {
        "lecture": "the lecture's code",
        "in-memory": "tensors in memory, one model at a time",
        "processes": "the same in one process per core, 2 models each",
        "ours": f"**oddkind, {size} at once**",
        "fleet": f"oddkind, fleet of {size} machines of 500 samples",
        "alone": "oddkind, the same machines one after another",
    }[kind]


def main() -> None:
    """Measure all contestants one after another, several times, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stacks", default="1,4,16,64,256", help="sizes of our stacks; 1 and 64 are always included")
    parser.add_argument("--fleet", type=int, default=1000, help="number of machines in the fleet")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--quick", action="store_true", help="leave out the lecture's code, fleets and the lab")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    set_epochs(options.epochs)
    if options.only:
        measure_here(options.only, options.device)
        return

    sizes = sorted({1, 64, *map(int, options.stacks.split(","))})
    names = ["lecture", "in-memory", *["processes"] * (options.device == "cpu"), *(f"ours:{size}" for size in sizes)]
    names += [f"fleet:{options.fleet}", "alone:20", *["lab:16"] * (options.device == "cpu")]
    if options.quick:
        names = [name for name in names if name.startswith(("in-memory", "ours"))]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for repeat in range(options.repeats):
        for name in names:
            print(f"run {repeat + 1} of {options.repeats}: {name:12}", end="\r", file=sys.stderr, flush=True)
            runs[name].append(measure(name, options.device))
    middle = {name: {key: statistics.median(run[key] for run in of) for key in of[0]} for name, of in runs.items()}

    plain = "in-memory" if options.quick else "lecture"
    lecture_seconds = middle[plain]["seconds"]
    print(f"| | seconds per model | × faster than {title(plain)} | peak memory, MB | mean AUC (machines: accuracy) |")
    print("| --- | --- | --- | --- | --- |")
    lab_seconds = middle.pop("lab:16", {}).get("seconds")
    for name, values in middle.items():
        ratio = "" if name.startswith(("fleet", "alone")) else f"{lecture_seconds / values['seconds']:.1f}"
        cells = title(name), f"{values['seconds']:.3g}", ratio, f"{values['memory_mb']:.0f}", f"{values['mean']:.3f}"
        print(f"| {' | '.join(cells)} |")
    print()
    for name in [name for name in names if name.startswith("ours")]:
        before, after = middle[name]["before"], middle[name]["after"]
        print(f"{title(name)}: {before:.4f} s per model before training, {after:.4f} s after it.")
    rate = matrix_rate()
    print(f"\nLower bound: {floor_seconds(rate):.3f} s per model, its arithmetic at the {2 * rate / 1e9:.0f} GFLOP/s")
    print(f"of a large matrix product on this processor ({torch.get_num_threads()} threads).")
    if lab_seconds is not None:
        print(f"`oddkind lab --seeds 16` without t-SNE: {lab_seconds:.0f} s,")
        print(f"as long as {lab_seconds / lecture_seconds:.1f} runs of the lecture's code.")
    facts = {
        "bench": "training",
        "device": torch.cuda.get_device_name(options.device) if options.device != "cpu" else "cpu",
        "one_vs_lecture": lecture_seconds / middle["ours:1"]["seconds"],
        "stacked_vs_lecture": lecture_seconds / middle["ours:64"]["seconds"],
        "lab16_in_lecture_runs": lab_seconds and lab_seconds / lecture_seconds,
        "floor_seconds": floor_seconds(rate),
        **{
            key: {name: of.get(key) for name, of in middle.items()}
            for key in ("seconds", "before", "after", "memory_mb", "device_memory_mb")
        },
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
