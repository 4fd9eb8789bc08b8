"""Why files are anomalous, in terms of the files."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.testing import assert_array_equal
from PIL import Image
from problems import LABELS, listed, quick
from scipy.ndimage import label

from oddkind import Detector, InputError, PromiseWarning, explain_files, save, score_files, source_of
from oddkind.file_fitting import fit_files
from oddkind.files.explain import as_json, as_text, connected
from oddkind.files.reading import read
from oddkind.files.score import settings_of
from oddkind.model.explain import explain


def samples_of(model, files):
    return read(files, settings_of(model))


def test_the_evidence_is_at_the_overtone_and_the_nearest_recordings_are_named(data, fitted):
    anomalous = [entry for entry in listed(data, "test") if entry.anomalous]
    found = explain_files(anomalous, fitted, most=12)
    hits = []
    for of in found:
        overtone = 2.7 * 300 * (1 + LABELS.index(of.verdict.label))
        low, high = map(float, re.match(r"(\d+)–(\d+) Hz", of.places[0].text).groups())
        hits.append(low <= overtone <= high)
        assert of.explanation.claimed == of.verdict.label
        assert all(name.startswith(f"{of.verdict.label}/train/normal/") for name in of.nearest)
        assert re.fullmatch(r".*/\d+\.wav at [01] s", of.nearest[0])
        assert (of.windows, of.end - of.start, of.unit) == (2, 1, "s")
        assert sum(place.share for place in of.places) <= 1 + 1e-9
    assert np.mean(hits) > 0.8


def test_the_most_anomalous_are_explained_first_by_their_most_anomalous_window(data, fitted):
    files = listed(data, "test")
    progress = []
    found = explain_files(files, fitted, most=5, on_progress=lambda *step: progress.append(step))
    verdicts = sorted(score_files(files, fitted), key=lambda verdict: (verdict.p_value, -verdict.score))
    assert [of.verdict for of in found] == verdicts[:5]
    for of in found:
        windows = samples_of(fitted, [entry for entry in files if entry.name == of.verdict.path])
        scores = fitted.anomaly_score(windows.inputs, windows.labels)
        assert of.window == scores.argmax()
        assert of.explanation.score == pytest.approx(scores.max())
        assert_array_equal(of.sample, windows.inputs[of.window])
    assert list(dict.fromkeys(stage for stage, _ in progress)) == ["scoring", "explaining"]
    assert progress[-1] == ("explaining", 1)
    with pytest.raises(InputError, match="--most 0; it must be at least 1"):
        explain_files(files, fitted, most=0)


def test_the_row_of_a_neighbour_is_its_file_and_window(data, fitted):
    train = listed(data, "train")
    samples = samples_of(fitted, train)
    row = int(fitted.report.training_rows[5])
    (of,) = explain(fitted, samples.inputs[row : row + 1])
    assert of.neighbours[0].row == row
    (explained,) = explain_files([entry for entry in train if entry.name == samples.files[row]], fitted)
    windows = [f"{samples.files[row]} at {second} s" for second in (0, 1)]
    assert explained.nearest[0] in windows


def test_a_label_that_was_not_learnt_is_named_as_such(data, fitted):
    entry = listed(data, "test")[0]
    unknown, bare = (explain_files([replace(entry, label=label)], fitted, most=1)[0] for label in ("fan 9", None))
    assert "\n  label: fan 9, which was not learnt; it looks like " in as_text(unknown)
    assert "\n  label: unknown; it looks like " in as_text(bare)
    assert as_json(unknown)["claimed"] is None


def test_a_rate_that_cannot_be_promised_is_reported_and_files_are_explained_all_the_same(data, fitted):
    with pytest.warns(PromiseWarning, match="999"):
        (of,) = explain_files(listed(data, "test"), replace(fitted, false_alarm_rate=0.001), most=1)
    assert not of.verdict.anomalous
    assert of.places


def learn(data, model, **settings):
    source = source_of(data, **settings)
    save(fit_files(source.entries(data)[0], source, quick(epochs=10)), model)


def test_sensors_are_named_with_the_time_and_pictures_with_the_region(command, tmp_path):
    draw = np.random.default_rng(0)
    for number in range(26):
        folder = tmp_path / "logs" / ("normal" if number < 25 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        log = np.sin(np.arange(40) / 4)[:, None] + 0.1 * draw.normal(size=(40, 3))
        log[20:25, 1] += 3 * (number == 25)
        rows = "\n".join(",".join(map(str, row)) for row in log)
        (folder / f"{number}.csv").write_text(f"pump,valve,oil\n{rows}\n")
    learn(tmp_path / "logs", tmp_path / "rig", sample_rate=2)
    code, printed, _ = command("explain", tmp_path / "rig", tmp_path / "logs" / "odd", "--out", tmp_path / "why")
    assert code == 0
    first = re.search(r"evidence: (\w+), ([\d.]+)–([\d.]+) s", printed)
    assert first[1] == "valve"
    assert float(first[2]) < 12.5
    assert float(first[3]) > 10
    assert len(list((tmp_path / "why").iterdir())) == 1

    for number in range(26):
        folder = tmp_path / "pictures" / ("normal" if number < 25 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.linspace(0, 200, 16)[:, None] + draw.integers(30, size=(16, 16))
        pixels[2:6, 9:13] = np.where(number == 25, 230, pixels[2:6, 9:13])
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    learn(tmp_path / "pictures", tmp_path / "tile", size=(16, 16))
    code, printed, _ = command("explain", tmp_path / "tile", tmp_path / "pictures" / "odd", "--out", tmp_path / "why")
    assert code == 0
    top, bottom, left, right = map(int, re.search(r"rows (\d+)–(\d+), columns (\d+)–(\d+)", printed).groups())
    assert top <= 6
    assert bottom >= 2
    assert left <= 12
    assert right >= 9
    assert len(list((tmp_path / "why").iterdir())) == 2


def test_numbers_without_names_and_rows_without_a_rate_are_named(command, tmp_path):
    draw = np.random.default_rng(0)
    for kind in ("arrays", "tables"):
        for number in range(26):
            folder = tmp_path / kind / ("normal" if number < 25 else "odd")
            folder.mkdir(parents=True, exist_ok=True)
            values = draw.normal(size=6)
            values[3] += 9 * (number == 25)
            if kind == "arrays":
                np.save(folder / f"{number}.npy", values)
            else:
                (folder / f"{number}.csv").write_text("load\n" + "\n".join(map(str, values)))
        learn(tmp_path / kind, tmp_path / f"{kind}.oddkind")
        words = tmp_path / f"{kind}.oddkind", tmp_path / kind / "odd", "--out", tmp_path / "why"
        code, printed, _ = command("explain", *words)
        assert code == 0
        first = re.search(r"evidence: (.*?) \(", printed)[1]
        if kind == "arrays":
            assert first == "value 3"
        else:
            start, end = map(float, re.fullmatch(r"load, ([\d.]+)–([\d.]+) rows", first).groups())
            assert start <= 3 < end
    assert len(list((tmp_path / "why").iterdir())) == 2


def test_a_window_is_found_where_it_is_although_windows_before_it_lack_values(tmp_path):
    draw = np.random.default_rng(0)
    for number in range(30):
        values = [f"{one:.3f},{two:.3f}" for one, two in draw.normal(size=(12, 2))]
        values[1] = "-,0"
        values[8:] = ["90,-90"] * 4 if number == 29 else values[8:]
        (tmp_path / f"{number:02}.csv").write_text("\n".join(["a,b", *values]))
    source = source_of(tmp_path, window=4, missing="drop-window")
    files, _ = source.entries(tmp_path)
    model = fit_files(files[:-1], source, Detector(epochs=2, false_alarm_rate=0.2, random_state=0))
    (found,) = explain_files(files[-1:], model)
    assert (found.window, found.windows, found.start, found.end) == (1, 2, 8, 12)


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=7)))
def test_connected_regions_are_those_of_scipy(flags):
    numbered, count = label(flags)
    found = connected(flags)
    assert len(found) == count
    for points in found:
        number = numbered[tuple(points[0])]
        assert {*map(tuple, points.tolist())} == {*map(tuple, np.argwhere(numbered == number).tolist())}
