"""What do more processes cost, and what survives when they are killed: sweeps on joblib's engines, archives in shards?

    python bench/scale.py [--stacks 8] [--epochs 5] [--shards 100] [--recordings 1000] [--part sweeps,kills,archive]

A sweep trains stacks of 64 networks of the lecture on MNIST digits 0-3 and scores them, in one process and in two
processes with a thread each: loky, Dask with two workers, Ray with two nodes of one processor each. Each engine has a
driver process of its own, and starts before the clock does. The processor time is that of all processes, the engine's
included (except Ray's, which are no children of the driver); on a computer with other work to do it says more than the
time that passes. Then the same sweep runs on Dask and Ray with a worker killed after the first stack, and with the
driver killed and started again; the checkpoints of stacks that were finished must not have been written anew. Last, an
archive of short recordings is scored in shards. Ten of them are processes of their own that are killed at random and
resumed. The rows are compared with those of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ENGINES = "loky", "dask", "ray"
ALONE = "one thread", "two threads"
SETTINGS = {"normal": [0, 1, 2, 3], "anomalous": [7, 8, 9]}
KILLED = 10
RATE = 4000


# --- A sweep, in a driver process of its own ----------------------------------------------------------------


@contextlib.contextmanager
def started(engine: str) -> Iterator[None]:
    """Two processes of an engine; for Ray each is a node of its own."""
    import joblib

    from oddkind.distributed import workers

    if engine in ALONE:
        yield
    elif engine != "ray":
        with workers(2, engine):
            yield
    else:
        import ray
        from ray.cluster_utils import Cluster
        from ray.util.joblib import register_ray

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        register_ray()
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        assert len([node for node in ray.nodes() if node["Alive"]]) == 2
        try:
            with joblib.parallel_config("ray", n_jobs=2):
                yield
        finally:
            ray.shutdown()
            cluster.shutdown()


def sweep(engine: str, stacks: int, epochs: int, checkpoints: Path | None) -> dict[str, Any]:
    """Train and score, and return the seconds and a digest of all results."""
    import torch

    from oddkind import Configuration, evaluate_settings, load_mnist, train_settings

    torch.set_num_threads(1 if engine == "one thread" else 2)
    warnings.simplefilter("ignore")
    train, test = load_mnist(**SETTINGS)
    settings = [Configuration("msp"), Configuration("max-logit", score="max-logit")]
    began = time.perf_counter()
    with started(engine):
        start, processor = time.perf_counter(), processor_seconds()
        trained = train_settings(
            settings,
            train,
            seeds=range(64 * stacks),
            epochs=epochs,
            checkpoints=checkpoints,
            on_progress=lambda done: print(f"progress {done}", flush=True),
        )
        middle = time.perf_counter()
        result = evaluate_settings(settings, trained, train, test)
        end, processor = time.perf_counter(), processor_seconds() - processor
    digest = hashlib.sha256()
    for group in trained.values():
        for detector in group:
            for parameter in detector.model_.members[0].network.parameters():
                digest.update(parameter.detach().numpy().tobytes())
    for row in result.rows:
        digest.update(np.array([row.auc, row.accuracy, row.nll, row.ece]).tobytes())
    seconds = {"start": start - began, "training": middle - start, "scoring": end - middle, "processor": processor}
    return {"engine": engine, "digest": digest.hexdigest()[:16], **seconds}


def processor_seconds() -> float:
    """Processor time of this process and all that it has started, those that have ended included."""
    own = psutil.Process()
    return sum(sum(process.cpu_times()[:4]) for process in (own, *own.children(recursive=True)))


def driver(engine: str, stacks: int, epochs: int, checkpoints: Path | None = None) -> subprocess.Popen[str]:
    """Start a sweep in a process of its own; its last line is the result."""
    words = ["--driver", engine, "--stacks", str(stacks), "--epochs", str(epochs)]
    words += [] if checkpoints is None else ["--checkpoints", str(checkpoints)]
    command = [sys.executable, __file__, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # noqa: S603


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a driver."""
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return found


def sweeps(engines: list[str], stacks: int, epochs: int, repeats: int) -> dict[str, Any]:
    """Compare the engines with one process, in turn."""
    runs: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for _ in range(repeats):
        for engine, found in runs.items():
            found.append(result_of(driver(engine, stacks, epochs)))
    digests = {run["digest"] for found in runs.values() for run in found}
    print(f"\n{64 * stacks} networks in {stacks} stacks, {epochs} epochs; best of {repeats}\n")
    print("| | start, s | training, s | scoring, s | processor time, s | of it, × one thread |")
    print("| --- | --- | --- | --- | --- | --- |")
    best = {engine: min(found, key=lambda run: run["training"] + run["scoring"]) for engine, found in runs.items()}
    spent = {engine: min(run["processor"] for run in found) for engine, found in runs.items() if engine != "ray"}
    for engine, run in best.items():
        seconds = " | ".join(f"{run[name]:.1f}" for name in ("start", "training", "scoring"))
        known = f"{spent[engine]:.1f} | {spent[engine] / spent['one thread']:.2f}" if engine in spent else " | "
        print(f"| {engine} | {seconds} | {known} |")
    print(f"\nbit-equal: {'yes' if len(digests) == 1 else 'NO'}")
    whole = {engine: run["training"] + run["scoring"] for engine, run in best.items()}
    shared = [engine for engine in engines if engine not in ALONE]
    alone = min(whole[engine] for engine in engines if engine in ALONE)
    ratios = {f"{engine}_time_ratio": round(whole[engine] / alone, 3) for engine in shared}
    ratios |= {
        f"{engine}_processor_ratio": round(spent[engine] / spent["one thread"], 3)
        for engine in shared
        if engine in spent
    }
    return {**ratios, "bit_equal": len(digests) == 1}


# --- Kills --------------------------------------------------------------------------------------------------


def finished_stacks(process: subprocess.Popen[str], wanted: int) -> None:
    """Wait until a driver has told of so many finished stacks."""
    assert process.stdout is not None
    told = 0
    for line in process.stdout:
        told += line.startswith("progress")
        if told == wanted:
            return
    raise RuntimeError("the driver ended early")


def stamps(checkpoints: Path) -> dict[str, tuple[int, int]]:
    """When each checkpoint was written, and how many steps it has."""
    from safetensors import safe_open

    found = {}
    for file in checkpoints.glob("*.safetensors"):
        with safe_open(file, "np") as content:
            found[file.name] = file.stat().st_mtime_ns, int(content.metadata()["steps"])
    return found


def kill_worker(engine: str) -> None:
    """Kill the busiest process of a worker."""
    mark = {"dask": "multiprocessing.spawn", "ray": "ray::PoolActor"}[engine]
    found = [process for process in psutil.process_iter(["cmdline"]) if mark in " ".join(process.info["cmdline"] or [])]
    ours = [process for process in found if engine == "ray" or _descends(process)]
    max(ours, key=lambda process: sum(process.cpu_times()[:2])).send_signal(signal.SIGKILL)


def _descends(process: psutil.Process) -> bool:
    return os.getpid() in {parent.pid for parent in process.parents()}


def kills(stacks: int, epochs: int) -> dict[str, Any]:
    """Kill a worker, and the driver, of Dask and Ray."""
    expected = result_of(driver("one thread", stacks, epochs))["digest"]
    equal, again = True, 0
    print("\n| killed | finished stacks | of these trained again | bit-equal |\n| --- | --- | --- | --- |")
    for engine in ("dask", "ray"):
        for victim in ("worker", "driver"):
            with tempfile.TemporaryDirectory() as folder:
                checkpoints = Path(folder)
                process = driver(engine, stacks, epochs, checkpoints)
                finished_stacks(process, 1)
                before = stamps(checkpoints)
                if victim == "worker":
                    kill_worker(engine)
                else:
                    children = psutil.Process(process.pid).children(recursive=True)
                    process.kill()
                    process.wait()
                    time.sleep(5)
                    for child in children:  # a cluster that outlives its driver is not what is tested
                        with contextlib.suppress(psutil.NoSuchProcess):
                            child.kill()
                    before = stamps(checkpoints)
                    process = driver(engine, stacks, epochs, checkpoints)
                digest = result_of(process)["digest"]
                after = stamps(checkpoints)
            whole = max(steps for _, steps in after.values())
            done = [name for name, (_, steps) in before.items() if steps == whole]
            repeated = sum(after[name] != before[name] for name in done)
            again, equal = again + repeated, equal and digest == expected and len(after) == stacks
            print(f"| {engine}, {victim} | {len(done)} of {stacks} | {repeated} | {digest == expected} |")
    return {"kills_bit_equal": equal, "finished_stacks_trained_again": again}


# --- An archive ---------------------------------------------------------------------------------------------


def archive(shards: int, recordings: int) -> dict[str, Any]:
    """Score an archive in shards, some of them killed and resumed, and compare the rows with one run."""
    import pyarrow.dataset
    import soundfile

    from oddkind import Detector, source_of
    from oddkind.file_fitting import fit_files
    from oddkind.files.shards import Shard, score_into
    from oddkind.model.bundle import fingerprint_of
    from oddkind.model.saving import save
    from oddkind.train.onnx_export import checked_graphs

    warnings.simplefilter("ignore")
    n, draw = shards * recordings, np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, count in (("learnt", 200), ("new", n)):
            for number in range(count):
                path = folder / name / f"fan {number % 2}" / f"{number // 1000:04}" / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                tone = np.sin(2 * np.pi * (300 + 200 * (number % 2)) * np.arange(RATE // 4) / RATE)
                soundfile.write(path, 0.3 * tone + 0.02 * draw.normal(size=len(tone)), RATE)
        source = source_of(folder / "learnt", window=0.25, label="label")
        model = fit_files(source.entries(folder / "learnt")[0], source, Detector(epochs=3, random_state=0), folds=None)
        save(checked_graphs(model)[0], folder / "fan.oddkind")  # its shards need no torch
        words = [folder / "fan.oddkind", folder / "new", "--out", folder / "shards"]
        killed = draw.choice(shards, min(KILLED, shards), replace=False) + 1
        resumed = sum(killed_and_resumed(words, f"{number}/{shards}", folder / "shards", draw) for number in killed)
        from oddkind import load
        from oddkind.files.score import read_as_learnt

        fitted = load(folder / "fan.oddkind")
        files, _ = read_as_learnt(fitted, folder / "new")
        made_with = {"model": fingerprint_of(folder / "fan.oddkind"), "false_alarm_rate": fitted.false_alarm_rate}
        made_with |= {"pattern": None, "label": None}
        for number in range(1, shards + 1):
            own = Shard(number, shards)
            score_into(folder / "shards", [e for e in files if e.name in own], fitted, made_with=made_with, shard=own)
        began = time.perf_counter()
        score_into(folder / "one", files, fitted, made_with=made_with)
        seconds = time.perf_counter() - began
        tables = [pyarrow.dataset.dataset(folder / name).to_table().sort_by("path") for name in ("shards", "one")]
    once = tables[0].num_rows == len(set(tables[0]["path"].to_pylist())) == n
    scores = [table["score"].to_numpy() for table in tables]
    differing = int((scores[0] != scores[1]).sum())
    largest = float(np.max(np.abs(scores[0] / scores[1] - 1)))
    same = all(tables[0][name].equals(tables[1][name]) for name in tables[0].column_names if name != "score")
    print(f"\n{n} recordings in {shards} shards, {len(killed)} of them killed, {resumed} with parts that were kept")
    print(f"each scored exactly once: {once}; p-values, decisions and all else as in one run: {same}")
    print(f"scores that differ from it in any bit: {differing}, by at most {largest:.1e} of themselves")
    print(f"one run: {n / seconds:.0f} recordings/s")
    found = {"scored_once": once, "same_decisions": same, "scores_that_differ": differing}
    return {**found, "largest_difference": largest, "shards_resumed_from_parts": resumed}


def killed_and_resumed(words: list[Any], shard: str, out: Path, draw: np.random.Generator) -> bool:
    """Start a shard, kill it at random, and run it to the end; return whether the first run had left parts."""
    script = "import oddkind.files.shards as s; s.PART_FILES = 100; from oddkind.cli.main import main; main()"
    command = [sys.executable, "-c", script, "score", *map(str, words), "--shard", shard]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    number, of = shard.split("/")
    mark = f"shard-{int(number):0{len(of)}}-of-{of}-*.parquet"
    while process.poll() is None and not list(out.glob(mark)) and draw.random() > 0.002:
        time.sleep(0.01)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(draw.uniform(0, 0.4))
    process.kill()
    process.wait()
    left = bool(list(out.glob(mark)))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    return left


def main() -> None:
    """Measure, print tables, and end with one line of JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stacks", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--recordings", type=int, default=1000, help="in each shard")
    parser.add_argument("--part", default="sweeps,kills,archive")
    parser.add_argument("--engines", default=",".join((*ALONE, *ENGINES)))
    parser.add_argument("--driver", help=argparse.SUPPRESS)
    parser.add_argument("--checkpoints", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.driver:
        print(json.dumps(sweep(given.driver, given.stacks, given.epochs, given.checkpoints)))
        return
    parts, found = given.part.split(","), {}
    if "sweeps" in parts:
        found |= sweeps(given.engines.split(","), given.stacks, given.epochs, given.repeats)
    if "kills" in parts:
        found |= kills(min(given.stacks, 6), given.epochs)
    if "archive" in parts:
        found |= archive(given.shards, given.recordings)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
