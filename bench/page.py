"""How large is a report about 10,000 recordings, how soon is it there, and how fast does its slider move?

    python bench/page.py [--recordings N] [--keep report.html]

A model learns from 400 recordings of ten machines. Then recordings of a second each are written, one in a hundred with
an overtone, with time stamps in their names; `oddkind report` judges them, explains the 50 oddest, embeds clips of
them, draws the map of the features and compares with a second model. The page is opened in Chromium without a window:
the time until its script has run and the load event is over, and the time of a step of the slider with all that it
moves, layout included, at 60 rates, for all labels and for one. The counts at each rate must be those of Python.
Without Chromium only the size is measured. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from oddkind import Detector, fit_files, source_of
from oddkind.files.score import read_as_learnt, score_files
from oddkind.model.conformal import alarms
from oddkind.pages.page import write_page
from oddkind.report.comparison import Other
from oddkind.report.facts import gather

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import CHROMIUM, Browser

RATE, MACHINES, LEARNT, MOST = 8000, 10, 400, 50
OPEN_WITHIN, STEP_WITHIN = 1.0, 0.1  # seconds
MB, CLIP = 1_000_000, 20_000
OPENED = "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"
STEP = """(() => {
  const begin = performance.now();
  setRate(%r);
  document.body.getBoundingClientRect();
  return (performance.now() - begin) / 1000;
})()"""
PAINTED = "new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))"


def record(file: Path, machine: int, seed: int, *, odd: bool) -> None:
    """Write a second of a hum in noise."""
    draw, now = np.random.default_rng(seed), np.arange(RATE) / RATE
    hum = 200 + 60 * machine
    sound = np.sin(2 * np.pi * hum * now) + 0.4 * odd * np.sin(2 * np.pi * 2.7 * hum * now)
    file.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(file, 0.2 * sound + 0.02 * draw.normal(size=RATE), RATE, subtype="PCM_16")


def write(folder: Path, n: int, first: int, *, odd_every: int | None) -> None:
    """Write n recordings, a minute apart."""
    begin = datetime(2024, 3, 1)
    for number in range(n):
        odd = odd_every is not None and number % odd_every == odd_every // 2
        condition, stamp = "abnormal" if odd else "normal", begin + timedelta(minutes=number)
        name = f"machine {number % MACHINES:02d}/{condition}/{stamp:%Y-%m-%dT%H-%M-%S}_line-2.wav"
        record(folder / name, number % MACHINES, first + number, odd=odd)


def main() -> None:
    """Write, judge, open, move."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="where the page is kept")
    given = parser.parse_args()
    with TemporaryDirectory() as temporary:
        learnt, new = Path(temporary, "learnt"), Path(temporary, "new")
        write(learnt, LEARNT, 0, odd_every=None)
        source = source_of(learnt, front_end=("log-mel",))
        model, second = (
            fit_files(source.entries(learnt)[0], source, Detector(random_state=seed), folds=None) for seed in (0, 1)
        )
        write(new, given.recordings, 1_000_000, odd_every=101)
        files, _ = read_as_learnt(model, new)
        others, _ = read_as_learnt(model, learnt)
        ends = {"": time.perf_counter()}  # of each stage, in the order in which they are reached
        facts = gather(
            files,
            model,
            data=new,
            most=MOST,
            clips=MOST,
            learnt_from=others,
            other=Other(second, files, "second.oddkind"),
            on_progress=lambda stage, _: ends.update({stage: time.perf_counter()}),
        )
        took = dict(zip([*ends][1:], np.diff([*ends.values()]).round(1).tolist(), strict=True))
        seconds = time.perf_counter() - ends[""]
        page = given.keep or Path(temporary, "report.html")
        size = write_page("oddkind.report", facts, page)
        of_clips = [len(one) for one in re.findall('data:audio/wav[^"]*', page.read_text(encoding="utf-8"))]
        clips = len(of_clips)
        allowed = 2 * MB + CLIP * clips
        found = {
            "recordings": len(files),
            "bytes": size,
            "clips": clips,
            "allowed": allowed,
            "seconds": round(seconds, 1),
            "seconds_of": took,
        }
        print(f"{len(files)} recordings judged, {MOST} explained: {seconds:.0f} s, of which {took}")
        print(f"{size / MB:.2f} MB, of which {clips} clips {sum(of_clips) / MB:.2f}; allowed {allowed / MB:.2f}")
        verdicts = score_files(files, model)
        if CHROMIUM is None:
            print("no Chromium is installed, so no time was measured")
        else:
            found |= measure(page, np.array([one.p_value for one in verdicts]), Path(temporary, "browser"))
    print(json.dumps(found))


def measure(page: Path, p: np.ndarray, profile: Path) -> dict[str, object]:
    """Open the page five times, and move its slider."""
    rates = [float(f"{0.001 * 500 ** (k / 59):.3g}") for k in range(60)]
    with Browser(profile, width=1920, height=1000) as browser:
        opened = []
        for _ in range(5):
            browser.open(page)
            opened.append(browser.run(OPENED))
        steps, wrong = [], 0
        for label in (-1, 0):
            browser.run(f"at('of-label').value = '{label}'; at('of-label').dispatchEvent(new Event('change'))")
            for rate in rates:
                steps.append(browser.run(STEP % rate))
                browser.run(PAINTED)
                wrong += browser.run("counts(-1).alarms") != int(alarms(p, rate).sum())
        problems = len(browser.problems)
    print(f"open: {median(opened):.2f} s, slowest {max(opened):.2f} (bar {OPEN_WITHIN:g})")
    print(f"a step: {1000 * median(steps):.0f} ms, slowest {1000 * max(steps):.0f} (bar {1000 * STEP_WITHIN:g})")
    print(f"{wrong} of {len(steps)} counts differ from Python's; {problems} complaints of the browser")
    return {
        "open_s": [round(median(opened), 3), round(max(opened), 3)],
        "step_s": [round(median(steps), 4), round(max(steps), 4)],
        "counts_wrong": wrong,
        "problems": problems,
    }


if __name__ == "__main__":
    main()
