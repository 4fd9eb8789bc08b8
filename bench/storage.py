"""How fast is scoring from object storage compared with a local disk, and is anything lost when requests fail?

    python bench/storage.py [--recordings N] [--seconds S] [--rounds R] [--apart]

A real S3 service (moto) runs in a process of its own on this machine, so it takes processor time that a service
elsewhere would not take; that of the scoring process is printed, too. With `--apart` the service has one core and
scoring another, from the folder as well, as with a service elsewhere. Recordings are scored from a folder and from
`s3://`, in turn; listing and fetching count. Then 5 of 100 requests fail: half of them are refused (503), the others
break off in the middle of a file. Every verdict must be that of the local file. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import torch
from threadpoolctl import threadpool_limits

from oddkind import Detector, data_path, fit_files, source_of
from oddkind.files.score import read_as_learnt, score_files

RATE, MACHINES, LEARNT = 16_000, 4, 40
BAR, FAILING = 0.7, 0.05
# Where the recordings are, None for the folder, and the chance that a request for a file fails.
WAYS = {
    "from a folder": (None, 0.0),
    "from s3://": ("s3://bench/new", 0.0),
    "from s3://, 5 % of requests fail": ("s3://bench/new", FAILING),
}
Cost = tuple[float, float]  # seconds, and seconds of processor time


def record(file: Path, number: int, seconds: float) -> None:
    """Write a hum in noise, an anomalous one in twenty."""
    draw, now = np.random.default_rng(number), np.arange(round(RATE * seconds)) / RATE
    hum = 200 + 60 * (number % MACHINES)
    sound = np.sin(2 * np.pi * hum * now) + 0.4 * (number % 20 == 7) * np.sin(2 * np.pi * 2.7 * hum * now)
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, 0.2 * sound + 0.02 * draw.normal(size=len(now)), RATE, subtype="PCM_16")


def serve(failing: Any, port: Any) -> None:
    """Run the service; a request for a file fails with the chance `failing`."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # as real services, connections stay open

        def log_request(self, *_: Any) -> None:
            pass

    service, draw = DomainDispatcherApplication(create_backend_app), np.random.default_rng(0)

    def unreliable(environ: dict[str, Any], start_response: Any) -> Any:
        chance = draw.random()
        if environ["REQUEST_METHOD"] != "GET" or ".wav" not in environ["PATH_INFO"] or chance >= failing.value:
            return service(environ, start_response)
        if chance < failing.value / 2:
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        body = b"".join(service(environ, start_response))
        return [body[: len(body) // 2]]

    server = make_server("127.0.0.1", 0, unreliable, threaded=True, request_handler=Quiet)
    port.value = server.server_port
    server.serve_forever()


def upload(folder: Path, port: int) -> None:
    """Put the files of a folder into a bucket."""
    import boto3

    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    client.create_bucket(Bucket="bench")
    for file in sorted(folder.rglob("*.wav")):
        client.upload_file(str(file), "bench", f"new/{file.relative_to(folder).as_posix()}")


def main() -> None:
    """Write, upload, score, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recordings", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true", help="the service on one core, scoring on another")
    given = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
    failing, port = multiprocessing.Value("d", 0.0), multiprocessing.Value("i", 0)
    service = multiprocessing.get_context("fork").Process(target=serve, args=(failing, port), daemon=True)
    service.start()
    if given.apart:
        threadpool_limits(1)
        torch.set_num_threads(1)
        os.sched_setaffinity(0, {0})  # threads that are started later, too
        os.sched_setaffinity(service.pid or 0, {1})
    with TemporaryDirectory() as temporary:
        learnt, new = Path(temporary, "learnt"), Path(temporary, "new")
        for number in range(LEARNT):
            record(learnt / f"machine {number % MACHINES}" / f"{number}.wav", 20 * number, given.seconds)
        for number in range(given.recordings):
            record(new / f"machine {number % MACHINES}" / f"{number:06d}.wav", 10_000 + number, given.seconds)
        source = source_of(learnt, front_end=("log-mel",))
        model = fit_files(source.entries(learnt)[0], source, Detector(random_state=0), folds=None)
        while not port.value:
            time.sleep(0.05)
        os.environ["FSSPEC_S3_ENDPOINT_URL"] = f"http://127.0.0.1:{port.value}"
        import fsspec

        fsspec.config.set_conf_env(fsspec.config.conf)
        upload(new, port.value)

        def scored(where: str) -> tuple[Cost, list[Any]]:
            fsspec.filesystem("s3").invalidate_cache()
            begin, used = time.perf_counter(), time.process_time()
            refused: dict[str, str] = {}
            files, _ = read_as_learnt(model, data_path(where))
            verdicts = score_files(files, model, on_refused=refused.__setitem__)
            assert not refused, refused
            return (time.perf_counter() - begin, time.process_time() - used), verdicts

        costs: dict[str, list[Cost]] = {name: [] for name in WAYS}
        lost = differ = 0
        _, expected = scored(str(new))  # also warms up
        for _ in range(given.rounds):
            for name, (where, chance) in WAYS.items():
                failing.value = chance
                cost, verdicts = scored(where or str(new))
                costs[name].append(cost)
                lost += len(expected) - len(verdicts)
                differ += sum(one != other for one, other in zip(expected, verdicts, strict=False))
    service.terminate()
    size = RATE * given.seconds * 2 * given.recordings / 1e6
    print(f"{given.recordings} recordings of {given.seconds:g} s, {size:.0f} MB, {given.rounds} rounds")
    ratios: dict[str, list[float]] = {}
    for name, own in costs.items():
        pairs = [*zip(costs["from a folder"], own, strict=True)]
        ratios[name] = [round(median(disk[k] / one[k] for disk, one in pairs), 3) for k in (0, 1)]
        speed = given.recordings / median(wall for wall, _ in own)
        print(
            f"{name}: {speed:.0f} recordings a second, {ratios[name][0]:.2f} of the folder's; per second of processor "
            f"time of this process {ratios[name][1]:.2f}"
        )
    print(f"{lost} verdicts are lost and {differ} differ; the bars are {BAR:g} and nothing")
    print(json.dumps({"recordings": given.recordings, "throughput": ratios, "lost": lost, "differ": differ}))


if __name__ == "__main__":
    main()
