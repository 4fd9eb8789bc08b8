"""Prove that a wheel without extras scores as this installation does: arrays, pictures, sounds and tables.

    python scripts/scoring_only.py .venv-scoring/bin/python

Small models are fitted here and exported; the other Python, where torch cannot be imported, scores new files with them.
Every decision must be that of torch. The installed size is printed too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from oddkind import Detector, fit_files, load, save, score_files, source_of
from oddkind.files.score import read_as_learnt
from oddkind.train.onnx_export import checked_graphs

N, RATE = 80, 8000
KINDS = "arrays", "pictures", "sounds", "tables"
# Installs nothing that scoring does without.
REFUSED = "torch", "scipy", "sklearn", "matplotlib", "faiss", "openTSNE"


def write(folder: Path, kind: str, draw: np.random.Generator, *, shift: float) -> None:
    """Write files of two labels, a and b; the shift makes some of them anomalous."""
    now = np.arange(RATE) / RATE
    for number in range(N):
        label = number % 2
        odd = shift * (number % 4 > 1)
        name = f"{'ab'[label]}_{number}"
        if kind == "arrays":
            np.save(folder / f"{name}.npy", (draw.normal(size=6) + 4 * label + odd).astype(np.float32))
        elif kind == "pictures":
            ramp = np.add.outer(np.arange(24), np.zeros(24)) * (5 - 2 * odd)
            noise = draw.integers(0, 60, (24, 24))
            pixels = (ramp if label else ramp.T) + noise
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{name}.png")
        elif kind == "sounds":
            tone = np.sin(2 * np.pi * (300 + 200 * label + 90 * odd) * now)
            soundfile.write(folder / f"{name}.wav", 0.2 * tone + 0.02 * draw.normal(size=RATE), RATE)
        else:
            rows = np.sin(np.arange(40)[:, None] / (3 + label + odd)) + 0.1 * draw.normal(size=(40, 2))
            np.savetxt(folder / f"{name}.csv", rows, delimiter=",", header="x,y", comments="")


def main(python: Path) -> None:
    """Compare the decisions for each kind of files, and print the installed size."""
    draw = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        for kind in KINDS:
            normal, new = Path(temporary, kind, "normal"), Path(temporary, kind, "new")
            for folder, shift in ((normal, 0.0), (new, 2.0)):
                folder.mkdir(parents=True)
                write(folder, kind, draw, shift=shift)
            source = source_of(normal, pattern="{label}_{number}")
            files, _ = source.entries(normal)
            detector = Detector(epochs=3, random_state=0, false_alarm_rate=0.1)
            file = Path(temporary, f"{kind}.oddkind")
            exported, _ = checked_graphs(fit_files(files, source, detector, folds=None))
            save(exported, file)
            model = load(file, runtime="torch")
            expected = {verdict.path: verdict for verdict in score_files(read_as_learnt(model, new)[0], model)}
            command = [str(python.parent / "oddkind"), "score", str(file), str(new), "--json"]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if ended.returncode:
                raise SystemExit(f"{kind}: {ended.stderr}")
            found = [json.loads(line) for line in ended.stdout.splitlines()]
            differ = [one["path"] for one in found if one["anomalous"] != expected[one["path"]].anomalous]
            if differ or len(found) != len(expected):
                raise SystemExit(
                    f"{kind}: {len(found)} of {len(expected)} files scored, {len(differ)} decisions differ"
                )
            print(f"{kind}: {len(found)} decisions are those of torch, {sum(one['anomalous'] for one in found)} alarms")
    look = (
        "import importlib.util as u, sysconfig; print(sysconfig.get_path('purelib'));"
        f"print([n for n in {REFUSED} if u.find_spec(n)])"
    )
    packages, there = subprocess.run(  # noqa: S603
        [str(python), "-c", look], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    if there != "[]":
        raise SystemExit(f"the wheel without extras installs {there}")
    size = {
        folder.name: sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        for folder in Path(packages).iterdir()
        if folder.is_dir() and folder.name not in ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    }
    largest = sorted(size, key=lambda name: -size[name])[:5]
    print(f"installed: {sum(size.values()):.0f} MB; {', '.join(f'{name} {size[name]:.0f}' for name in largest)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
