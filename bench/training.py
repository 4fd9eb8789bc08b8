"""How long does it take to train and test one lecture network: the lecture's way, the usual ways, and ours?

    python bench/training.py [--repeats 3] [--device cpu] [--stacks 1,4,16,64,256] [--fleet 1000]

Every contestant learns from as many MNIST digits 0-3 (batch 32, Adam 1e-3, 5 epochs) and scores the same 7,168
test digits, each in a process of its own, in turn. Importing and reading MNIST are not counted.
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

from oddkind import Detector, figures, fit_fleet, fit_together, load_mnist
from oddkind.lab.exercises import run_lab
from oddkind.metrics import auc
from oddkind.study.evaluation import LECTURE
from oddkind.train.networks import LectureCNN

EPOCHS, BATCH = 5, 32
NORMAL, ANOMALOUS = [0, 1, 2, 3], [7, 8, 9]
TRAIN, TEST = load_mnist(NORMAL, ANOMALOUS)
LIKE: dict[str, Any] = {"task": "labels", "score": "msp", "epochs": EPOCHS, **LECTURE}
# A Detector holds a tenth out for its threshold; the others learn from as many as it does.
LEARNT = len(TRAIN) - round(0.1 * len(TRAIN))


class Digits(Dataset[tuple[torch.Tensor, int]]):
    """One sample at a time, as the usual picture data sets give them."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[i]).float() / 255, int(self.labels[i])


def lecture(device: str) -> list[float]:
    """The lecture's listing, with the optimizer's step where it belongs."""
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
    """A careful user's loop: tensors in memory, no data loader, one model at a time."""
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
    """One process a core, each training two models as `in_memory` does."""
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        return [value for values in pool.map(_alone, range(4), chunksize=2) for value in values]


def ours(device: str, models: int) -> list[float]:
    """M detectors in one stack: 4 levels of label smoothing, the rest seeds."""
    levels = (0.0, 0.1, 0.2, 0.3)
    detectors = [
        Detector(**LIKE, label_smoothing=levels[m % 4], random_state=m // 4, device=device) for m in range(models)
    ]
    fit_together(detectors, TRAIN.inputs, TRAIN.labels)
    return [auc(TEST.anomalous, detector.anomaly_score(TEST.inputs)) for detector in detectors]


def fleet(device: str, machines: int, *, together: bool = True) -> list[float]:
    """A detector a machine, 500 digits each; together, or one after another. Gives the held-out accuracies."""
    draw = np.random.default_rng(0)
    samples = {f"{m}": TRAIN[draw.choice(len(TRAIN), 500, replace=False)] for m in range(machines)}
    like = Detector(**LIKE, label_smoothing=0.0, random_state=0, device=device)
    if together:
        return [detector.accuracy_ for detector in fit_fleet(samples, like).values()]
    return [Detector(**like.get_params()).fit(own.inputs, own.labels).accuracy_ for own in samples.values()]


def lab(seeds: int) -> float:
    """Seconds that `oddkind lab` takes for so many seeds, t-SNE not counted."""
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
    """Run the contestant of that name: its results, one a model."""
    kind, _, size = name.partition(":")
    if kind == "ours":
        return ours(device, int(size))
    if kind in ("fleet", "alone"):
        return fleet(device, int(size), together=kind == "fleet")
    return {"lecture": lecture, "in-memory": in_memory, "processes": processes}[kind](device)


def measure_here(name: str, device: str) -> None:
    """In a process of its own: print seconds a model, peak memory and the mean result."""
    if device != "cpu":
        torch.zeros(1, device=device)  # the device's start-up is not the contestant's
    start = time.perf_counter()
    if name.startswith("lab:"):
        print(json.dumps({"seconds": lab(int(name[4:]))}))
        return
    values = contest(name, device)
    seconds = time.perf_counter() - start
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    result = {"seconds": seconds / len(values), "memory_mb": peak, "mean": float(np.mean(values))}
    if device != "cpu":
        result["device_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    print(json.dumps(result))


def measure(name: str, device: str) -> dict[str, float]:
    """Start `measure_here` and read what it prints."""
    command = [sys.executable, __file__, "--only", name, "--device", device]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def matrix_rate() -> float:
    """Multiply-adds a second in a large float32 matrix product here."""
    a = torch.randn(1024, 1024)
    seconds = []
    for _ in range(10):
        start = time.perf_counter()
        a @ a
        seconds.append(time.perf_counter() - start)
    return 1024**3 / min(seconds)


def floor_seconds(rate: float) -> float:
    """Arithmetic of one model, counted by hand, at that rate.

    Multiply-adds a picture, forwards: 14·14·2·4 + 7·7·4·8 + 3·3·8·16 + 72·4 = 4,576. Backwards: as many for the
    weights and, but for the first layer, for the inputs.
    """
    first = 14 * 14 * 2 * 4
    forwards = first + 7 * 7 * 4 * 8 + 3 * 3 * 8 * 16 + 72 * 4
    return (EPOCHS * LEARNT * (3 * forwards - first) + len(TEST) * forwards) / rate


def title(name: str) -> str:
    """Name a contestant for the table."""
    kind, _, size = name.partition(":")
    return {
        "lecture": "the lecture's code",
        "in-memory": "tensors in memory, one model at a time",
        "processes": "a process a core, each 2 models so",
        "ours": f"**oddkind, {size} at once**",
        "fleet": f"oddkind, fleet of {size} machines of 500 samples",
        "alone": "oddkind, such machines one after another",
    }[kind]


def main() -> None:
    """Measure all contestants in turn, several times, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--stacks", default="1,4,16,64,256", help="sizes of our stacks; 1 and 64 are always there")
    parser.add_argument("--fleet", type=int, default=1000, help="machines of the fleet")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure_here(options.only, options.device)
        return

    sizes = sorted({1, 64, *map(int, options.stacks.split(","))})
    names = ["lecture", "in-memory", *["processes"] * (options.device == "cpu"), *(f"ours:{size}" for size in sizes)]
    names += [f"fleet:{options.fleet}", "alone:20", *["lab:16"] * (options.device == "cpu")]
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for repeat in range(options.repeats):
        for name in names:
            print(f"run {repeat + 1} of {options.repeats}: {name:12}", end="\r", file=sys.stderr, flush=True)
            runs[name].append(measure(name, options.device))
    middle = {name: {key: statistics.median(run[key] for run in of) for key in of[0]} for name, of in runs.items()}

    lecture_seconds = middle["lecture"]["seconds"]
    print("| | seconds a model | × faster than the lecture's | peak memory, MB | mean AUC (machines: accuracy) |")
    print("| --- | --- | --- | --- | --- |")
    lab_seconds = middle.pop("lab:16", {}).get("seconds")
    for name, values in middle.items():
        ratio = "" if name.startswith(("fleet", "alone")) else f"{lecture_seconds / values['seconds']:.1f}"
        cells = title(name), f"{values['seconds']:.3g}", ratio, f"{values['memory_mb']:.0f}", f"{values['mean']:.3f}"
        print(f"| {' | '.join(cells)} |")
    rate = matrix_rate()
    print(
        f"\nFloor: {floor_seconds(rate):.3f} s a model, its arithmetic at the {2 * rate / 1e9:.0f} GFLOP/s of a large"
    )
    print(f"matrix product on this processor ({torch.get_num_threads()} threads).")
    if lab_seconds is not None:
        print(f"`oddkind lab --seeds 16`, everything but t-SNE: {lab_seconds:.0f} s,")
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
            for key in ("seconds", "memory_mb", "device_memory_mb")
        },
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
