"""Ten thousand machines, a model each: how long, how large, how soon opened, and is memory flat?

    python bench/fleets.py [--machines 10000] [--samples 500] [--numbers 32] [--jobs 2] [--beside 200] [--quality]

Every machine has vectors of four kinds of normal, which are not named. `write_fleet` is timed with all of them and with
a tenth, each in a process of its own, for the growth of the memory. Then machines are opened at random where torch
cannot be imported. Beside it stands what a user would write: a joblib loop over scikit-learn's estimators that dumps
each, for `--beside` machines.

`--quality`: the AUC on the 22 sets of bench/vectors.py without labels, of at most 500 normal rows to learn from. Every
second set was looked at when the compact detector was chosen ("chosen"), the others were not ("reported"). And the AUC
with 20 clips of a speaker, alone and borrowing from the five others; the score of machines that borrow was chosen with
these speakers in sight.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

OPENED = 300
OPEN = """
import json, random, resource, sys, time
class Refuse:
    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] in ("torch", "scipy", "sklearn"):
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Refuse)
from oddkind.fleet.file import Fleet
begun = time.perf_counter()
fleet = Fleet(sys.argv[1])
names = [*fleet]
opened = time.perf_counter() - begun
times = []
for name in random.Random(0).choices(names, k=int(sys.argv[2])):
    begun = time.perf_counter()
    fleet[name]
    times.append(time.perf_counter() - begun)
times.sort()
print(json.dumps({"fleet": opened, "median": times[len(times) // 2], "p95": times[len(times) * 95 // 100],
    "slowest": times[-1], "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def samples(number: int, n: int, size: int) -> Any:
    """Return the vectors [n, size] of a machine."""
    from oddkind import Samples

    draw = np.random.default_rng(number)
    kind, middle = draw.integers(4, size=n), draw.normal(size=(4, size)) * 2
    return Samples((draw.normal(size=(n, size)) + middle[kind]).astype(np.float32))


def fit(file: Path, machines: int, given: argparse.Namespace) -> dict[str, float]:
    """Write a fleet in this process and `jobs` others; return seconds, processor seconds and peak memories in MB."""
    from joblib import parallel_config
    from joblib.externals.loky import get_reusable_executor

    from oddkind import write_fleet

    named = {f"machine {n:06}": partial(samples, n, given.samples, given.numbers) for n in range(machines)}
    begun = time.perf_counter()
    with parallel_config(n_jobs=given.jobs):
        summary = write_fleet(file, named)
    wall = time.perf_counter() - begun
    if given.jobs != 1:
        get_reusable_executor().shutdown(wait=True)  # so that the processes are counted
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "machines": summary.fitted,
        "seconds": wall,
        "cpu_seconds": sum(one.ru_utime + one.ru_stime for one in (own, others)),
        "mb": own.ru_maxrss / 1024,
        "worker_mb": others.ru_maxrss / 1024,
        "bytes_each": file.stat().st_size / machines,
    }


def in_process(file: Path, machines: int, given: argparse.Namespace) -> dict[str, float]:
    """Run `fit` in a new process, so that memory is that of this run alone."""
    options = [f"--{name}={getattr(given, name)}" for name in ("samples", "numbers", "jobs")]
    command = [sys.executable, __file__, *options, f"--machines={machines}", f"--fit={file}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])  # noqa: S603


def estimators() -> dict[str, Callable[[], Any]]:
    """Return what a user would fit to each machine."""
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    return {
        "IsolationForest": partial(IsolationForest, random_state=0),
        "LocalOutlierFactor": partial(LocalOutlierFactor, novelty=True),
    }


def loop(make: Callable[[], Any], folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """Fit and dump an estimator a machine with a joblib loop; return the seconds and bytes of each."""
    import joblib

    def one(number: int) -> None:
        x = samples(number, given.samples, given.numbers).inputs
        joblib.dump(make().fit(x), folder / f"{number}.joblib")

    folder.mkdir()
    with joblib.Parallel(n_jobs=given.jobs) as run:
        run(joblib.delayed(samples)(n, 2, 2) for n in range(2 * abs(given.jobs)))  # starts the processes
        begun = time.perf_counter()
        run(joblib.delayed(one)(number) for number in range(given.beside))
        seconds = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in folder.iterdir())
    begun = time.perf_counter()
    for file in folder.iterdir():
        joblib.load(file)
    opened = time.perf_counter() - begun
    return {name: of / given.beside for name, of in (("seconds", seconds), ("bytes", size), ("open", opened))}


def quality(seeds: int) -> dict[str, dict[str, Any]]:
    """Return the mean AUC of each contestant on the sets that were looked at and on those that were not.

    Beside it, the paired difference of the compact detector to each other, with its 95 % interval over sets.
    """
    from quality import DATA
    from vectors import tabular

    from oddkind import Detector
    from oddkind.fleet.fitting import compact_detector
    from oddkind.metrics import auc, mean_interval

    found: dict[str, dict[str, list[float]]] = {"chosen": {}, "reported": {}}
    for number, file in enumerate(sorted((DATA / "tabular").glob("*.npz"))):
        of_set: dict[str, list[float]] = {}
        for seed in range(seeds):
            problem = tabular(file.stem, seed)
            rows = problem.learnt[:500]
            middle, scale = rows.mean(0), rows.std(0) + 1e-9
            contestants: dict[str, Any] = {"compact": compact_detector(random_state=seed)}
            contestants |= {"Detector()": Detector(random_state=seed)} | {k: v() for k, v in estimators().items()}
            for name, one in contestants.items():
                fitted = one.fit((rows - middle) / scale)
                score = -fitted.score_samples((problem.tested - middle) / scale)
                of_set.setdefault(name, []).append(auc(problem.anomalous, score))
        for name, values in of_set.items():
            found["reported" if number % 2 else "chosen"].setdefault(name, []).append(float(np.mean(values)))
    result: dict[str, dict[str, Any]] = {}
    for half, own in found.items():
        apart = {name: np.subtract(own["compact"], values) for name, values in own.items() if name != "compact"}
        result[half] = {
            "auc": {name: float(np.mean(values)) for name, values in own.items()},
            "apart": {name: (float(values.mean()), mean_interval([*values])) for name, values in apart.items()},
        }
    return result


def labelled() -> dict[str, dict[str, float]]:
    """Return the AUC on the sets of bench/vectors.py with labels, of the compact detector and of the default."""
    from vectors import LABELLED

    from oddkind import Detector
    from oddkind.fleet.fitting import compact_detector
    from oddkind.metrics import auc

    found: dict[str, dict[str, float]] = {}
    for name, make in LABELLED.items():
        problem = make(0)
        for what, one in (("compact", compact_detector()), ("Detector()", Detector(random_state=0))):
            fitted = one.fit(problem.learnt, problem.labels, problem.groups)
            scores = fitted.anomaly_score(problem.tested, problem.tested_labels)
            found.setdefault(name, {})[what] = auc(problem.anomalous, scores)
    return found


def borrowing(seeds: int, few: int = 20) -> dict[str, float]:
    """Return the mean AUC for speakers of whom few clips are known, digits 0-3 normal and 7-9 anomalous.

    Each of the six speakers in turn has few clips, and the five others lend all of theirs.
    """
    from vectors import spoken

    from oddkind import CrossConformal, Detector, Samples
    from oddkind.fleet.borrowing import fit_borrowers
    from oddkind.fleet.fitting import compact_detector
    from oddkind.metrics import auc
    from oddkind.model.distances import neighbour_distances

    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        problem = spoken(None, seed)
        assert problem.labels is not None
        assert problem.tested_labels is not None
        for name in np.unique(problem.labels):
            own = np.random.default_rng(seed).permutation(np.flatnonzero(problem.labels == name))[:few]
            others = {other: Samples(problem.learnt[problem.labels == other]) for other in np.unique(problem.labels)}
            tested = problem.tested_labels == name
            new, anomalous = problem.tested[tested], problem.anomalous[tested]
            rows = problem.learnt[own]
            del others[name]
            model = fit_borrowers({name: Samples(rows)}, others, compact_detector(random_state=seed))[name]
            scores = {"borrowing": model.anomaly_score(new)}
            alone = compact_detector(random_state=seed), Detector(random_state=seed)
            scores |= {"alone, compact": alone[0].fit(rows).anomaly_score(new)}
            scores |= {"alone, Detector()": alone[1].fit(rows).anomaly_score(new)}
            scores |= {"alone, Detector() in 5 folds": CrossConformal(alone[1], folds=5).fit(rows).anomaly_score(new)}
            scores |= {"alone, 1-NN": neighbour_distances(new, rows, 1)[:, 0]}
            for what, score in scores.items():
                found.setdefault(what, []).append(auc(anomalous, score))
    return {what: float(np.mean(values)) for what, values in found.items()}


def main() -> None:
    """Measure, print tables, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("machines", 10_000), ("samples", 500), ("numbers", 32), ("jobs", 2), ("beside", 200)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.fit is not None:
        print(json.dumps(fit(given.fit, given.machines, given)))
        return
    result: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
    with TemporaryDirectory() as folder:
        few = in_process(Path(folder, "few.fleet"), max(1, given.machines // 10), given)
        all_of_them = in_process(Path(folder, "all.fleet"), given.machines, given)
        command = [sys.executable, "-c", OPEN, str(Path(folder, "all.fleet")), str(OPENED)]
        opened = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603
        beside = {name: loop(make, Path(folder, name), given) for name, make in estimators().items()}
    print(
        f"{'machines':>10} {'seconds':>8} {'ms each':>8} {'cpu ms':>8} {'kB each':>8} {'MB':>6} {'MB of a worker':>15}"
    )
    for row in (few, all_of_them):
        n = row["machines"]
        times = row["seconds"], 1000 * row["seconds"] / n, 1000 * row["cpu_seconds"] / n, row["bytes_each"] / 1000
        print(f"{n:10} {times[0]:8.1f} {times[1]:8.2f} {times[2]:8.2f} {times[3]:8.1f}", end=" ")
        print(f"{row['mb']:6.0f} {row['worker_mb']:15.0f}")
    print(f"\nopened without torch: the fleet in {1000 * opened['fleet']:.1f} ms; a machine in", end=" ")
    print(f"{1000 * opened['median']:.1f} ms (median), {1000 * opened['p95']:.1f} (95 %),", end=" ")
    print(f"{1000 * opened['slowest']:.1f} (the slowest, which starts onnxruntime); {opened['mb']:.0f} MB\n")
    each = all_of_them["seconds"] / all_of_them["machines"]
    for name, of in beside.items():
        times = 1000 * of["seconds"], of["seconds"] / each, of["bytes"] / 1000, 1000 * of["open"]
        print(f"{name}: {times[0]:.1f} ms a machine, {times[1]:.1f} × as long; {times[2]:.0f} kB; opened in", end=" ")
        print(f"{times[3]:.1f} ms")
    result |= {"tenth": few, "all": all_of_them, "opened": opened, "beside": beside}
    if given.quality:
        result["quality"] = quality(given.seeds)
        for half, own in result["quality"].items():
            print(f"\nmean AUC, {half}: " + ", ".join(f"{name} {value:.3f}" for name, value in own["auc"].items()))
            for name, (mean, (low, high)) in own["apart"].items():
                print(f"  compact − {name}: {mean:+.3f} ({low:+.3f} to {high:+.3f})")
        result["labelled"] = labelled()
        for name, own in result["labelled"].items():
            print(f"{name}, with labels: " + ", ".join(f"{what} {value:.3f}" for what, value in own.items()))
        result["borrowing"] = borrowing(given.seeds)
        print("\nmean AUC with 20 samples: " + ", ".join(f"{k} {v:.3f}" for k, v in result["borrowing"].items()))
    result["load_after"] = os.getloadavg()[0]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
