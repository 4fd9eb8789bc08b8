"""From files to verdicts, in Python and from the command line."""

import csv
import json
import re
import warnings

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from problems import quick
from pyarrow import parquet
from sklearn.metrics import roc_auc_score

from oddkind import InputError, load
from oddkind.calibration import discoveries, p_values, promise_kept
from oddkind.errors import ConcernWarning
from oddkind.explanations import explain_files
from oddkind.file_commands import promise_line
from oddkind.readers import Entry, Source, read, source_of
from oddkind.recordings import (
    Promise,
    Verdict,
    evaluate,
    fit_files,
    promise,
    read_as_learnt,
    score_files,
    to_evaluate,
    write_verdicts,
)

RATE = 4000
LABELS = ("팬 1", "fan 2")


def record(folder, name, tone, seed, *, odd=False, seconds=2):
    """A tone in noise; an odd one has an overtone."""
    draw, time = np.random.default_rng(seed), np.arange(RATE * seconds) / RATE
    sound = np.sin(2 * np.pi * tone * time) + odd * np.sin(2 * np.pi * 2.7 * tone * time)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, 0.3 * sound + 0.02 * draw.normal(size=len(time)), RATE)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two machines: 24 normal recordings each to learn from, 6 normal and 6 odd ones to test."""
    folder = tmp_path_factory.mktemp("sounds")
    for machine, label in enumerate(LABELS):
        tone, first = 300 * (machine + 1), 1000 * machine  # no two recordings share their noise
        for number in range(24):
            record(folder, f"{label}/train/normal/{number}.wav", tone, first + number)
        for number in range(6):
            record(folder, f"{label}/test/normal/{number}.wav", tone, first + 100 + number)
            record(folder, f"{label}/test/abnormal/{number}.wav", tone, first + 200 + number, odd=True)
    return folder


@pytest.fixture(scope="module")
def fitted(data):
    source = source_of(data)
    detector = quick(epochs=20)
    fit_files(source.entries(data)[0], source, detector)
    return detector


def listed(data, split=None):
    return [entry for entry in source_of(data).entries(data)[0] if split in (None, entry.split)]


# --- In Python -------------------------------------------------------------------------------------------


def test_what_was_read_is_kept_in_the_cache_and_gives_the_same(data, fitted, tmp_path, monkeypatch):
    source = source_of(data)
    files = source.entries(data)[0]
    again = quick(epochs=20)
    fit_files(files, source, again, cache=tmp_path)
    assert again.source_ == fitted.source_
    first = score_files(listed(data, "test"), fitted, cache=tmp_path)
    monkeypatch.setattr("oddkind.readers.source._inputs", None)  # nothing is read anew
    assert score_files(listed(data, "test"), fitted, cache=tmp_path) == first
    monkeypatch.undo()
    assert score_files(listed(data, "test"), fitted) == first


def test_a_cache_that_cannot_be_written_is_refused(data, fitted, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file: cannot be written"):
        score_files(listed(data, "test"), fitted, cache=tmp_path / "file")


def test_odd_recordings_are_found_and_normal_ones_are_not(data, fitted):
    verdicts = score_files(listed(data, "test"), fitted)
    odd = np.array(["abnormal" in verdict.path for verdict in verdicts])
    assert roc_auc_score(odd, [verdict.score for verdict in verdicts]) > 0.95
    assert np.mean([verdict.anomalous for verdict in verdicts][: len(odd)] == odd) > 0.7
    assert {verdict.label for verdict in verdicts} == {*LABELS}


def test_only_normal_files_of_the_training_split_are_learnt_from(data, fitted):
    assert len(fitted.source_["learnt"]) == 48
    assert fitted.classes_.tolist() == sorted(LABELS)
    assert fitted.source_["settings"]["sample_rate"] == RATE


def test_whole_recordings_are_held_out_and_a_p_value_compares_with_them(data, fitted):
    normal = np.array(fitted.source_["held_out"]["scores"]["labelled"])
    assert len(fitted.validation_rows_) == 2 * len(normal)  # two windows each
    verdicts = score_files(listed(data, "test"), fitted)
    scores = np.array([verdict.score for verdict in verdicts])
    found = [verdict.p_value for verdict in verdicts]
    assert_allclose(found, p_values(scores, normal))
    assert [verdict.anomalous for verdict in verdicts] == [p <= fitted.false_alarm_rate for p in found]


def test_a_files_verdict_does_not_depend_on_what_is_read_beside_it(data, fitted, monkeypatch):
    files = listed(data, "test")
    together = score_files(files, fitted)
    monkeypatch.setattr("oddkind.recordings.SCORED_AT_ONCE", 1)
    alone = score_files(files[::-1], fitted)[::-1]
    assert [verdict.path for verdict in alone] == [verdict.path for verdict in together]
    assert_allclose([v.score for v in alone], [v.score for v in together], rtol=1e-5)


def test_an_unknown_label_is_scored_without(data, fitted):
    known = listed(data, "test")[0]
    unknown = Entry(known.path, known.name, label="fan 9")
    (verdict,) = score_files([unknown], fitted)
    (bare,) = score_files([Entry(known.path, known.name)], fitted)
    assert verdict.score == bare.score
    assert verdict.label == "fan 9"


def test_a_file_that_cannot_be_read_is_told_of_and_the_others_are_scored(data, fitted, tmp_path):
    (tmp_path / "broken.wav").write_text("no sound")
    broken = Entry(tmp_path / "broken.wav", "broken.wav")
    refused = {}
    files = [broken, *listed(data, "test")[:2]]
    assert len(score_files(files, fitted, on_refused=refused.__setitem__)) == 2
    assert "broken.wav" in refused
    with pytest.raises(InputError, match=r"^broken\.wav: "):
        score_files(files, fitted)


def test_what_was_learnt_from_is_not_evaluated(data, fitted):
    assert {entry.split for entry in to_evaluate(listed(data), fitted)} == {"test"}
    renamed = [Entry(entry.path, entry.name, anomalous=False) for entry in listed(data, "train")]
    with pytest.raises(InputError, match="learnt from all 48 files"):
        to_evaluate(renamed, fitted)
    with pytest.raises(InputError, match="none is known to be normal or anomalous"):
        to_evaluate([Entry(entry.path, entry.name) for entry in listed(data, "test")], fitted)


def test_an_evaluation_is_scikit_learns_file_by_file_and_label_by_label():
    draw = np.random.default_rng(0)
    odd, label, scores = np.arange(40) % 4 == 0, np.repeat(["a", "b"], 20), draw.normal(size=40)
    files = [Entry(None, str(n), anomalous=bool(odd[n])) for n in range(40)]
    verdicts = [Verdict(str(n), label[n], scores[n], 0.5, bool(scores[n] > 1)) for n in range(40)]
    rows = evaluate(files, verdicts)
    assert [row.label for row in rows] == ["all", "a", "b"]
    for row in rows:
        own = np.ones(40, bool) if row.label == "all" else label == row.label
        assert row.auc == pytest.approx(roc_auc_score(odd[own], scores[own]))
        assert row.partial_auc == pytest.approx(roc_auc_score(odd[own], scores[own], max_fpr=0.1))
        assert row.false_alarms == pytest.approx((scores > 1)[own & ~odd].mean())
        assert row.found == pytest.approx((scores > 1)[own & odd].mean())
        assert (row.n_normal, row.n_anomalous) == ((own & ~odd).sum(), (own & odd).sum())
    (only,) = evaluate(files[1:4], verdicts[1:4])
    assert (only.auc, only.found) == (None, None)


def test_too_few_files_for_the_false_alarm_rate_are_refused_before_training(data):
    source = source_of(data)
    with pytest.raises(InputError, match=r"0\.01 can be promised from 198 normal groups on.*there are 48"):
        fit_files(listed(data), source, quick(false_alarm_rate=0.01))
    with pytest.raises(InputError, match="none of 12 files is normal"):
        fit_files([entry for entry in listed(data) if entry.anomalous], source, quick())


@pytest.mark.parametrize("how", ["max", "0.25"])
def test_a_files_windows_may_be_pooled_otherwise(data, fitted, how):
    source, detector = source_of(data), quick(epochs=20)
    fit_files(source.entries(data)[0], source, detector, how=how)
    quantile = {"max": 1, "0.25": 0.25}[how]
    scores = detector.held_out_[True].scores.reshape(-1, 2)  # two windows each
    expected = np.sort(np.quantile(scores, quantile, axis=1))
    assert_allclose(np.sort(detector.source_["held_out"]["scores"]["labelled"]), expected)
    found, means = (
        np.array([verdict.score for verdict in score_files(listed(data, "test"), one)]) for one in (detector, fitted)
    )
    assert (found > means).all() if how == "max" else (found < means).all()
    with pytest.raises(InputError, match=r"pool='median'; it must be 'mean', 'max' or a quantile"):
        fit_files(source.entries(data)[0], source, quick(), how="median")


def test_the_rate_may_change_after_fitting_and_each_label_may_have_its_own(data):
    source, detector = source_of(data), quick(epochs=5, false_alarm_rate=0.1, per_label=True)
    fit_files(source.entries(data)[0], source, detector)
    held_out = detector.source_["held_out"]
    assert [held_out["labels"].count(label) for label in LABELS] == [9, 9]
    verdicts = score_files(listed(data, "test"), detector)
    labels, normal = np.array(held_out["labels"]), np.array(held_out["scores"]["labelled"])
    for verdict in verdicts:
        assert verdict.p_value == p_values(np.array([verdict.score]), normal[labels == verdict.label])[0]
        assert verdict.anomalous == (verdict.p_value <= 0.1)
    detector.set_params(false_alarm_rate=0.5)
    assert [verdict.anomalous for verdict in score_files(listed(data, "test"), detector)] == [
        verdict.p_value <= 0.5 for verdict in verdicts
    ]
    with pytest.raises(InputError, match=r"0\.01 can be promised from 99 .*of label 'fan 2' on; there are 9"):
        score_files(listed(data, "test"), detector.set_params(false_alarm_rate=0.01))


def test_the_promise_is_kept_by_files_like_those_held_out_and_broken_by_others(fitted):
    def told(p_values, groups=None):
        groups = groups or [None] * len(p_values)
        names = [str(number) for number in range(len(p_values))]
        files = [Entry(None, name, group=of, anomalous=False) for name, of in zip(names, groups, strict=True)]
        files.append(Entry(None, "odd", anomalous=True))
        verdicts = [Verdict(name, None, 0.0, p, p <= 0.2) for name, p in zip(names, p_values, strict=True)]
        return promise(files, [*verdicts, Verdict("odd", None, 9.0, 0.01, True)], fitted)

    kept = told([0.5, 0.9, 0.1, 0.7])
    assert (kept.n_alarms, kept.n_normal, kept.rate) == (1, 4, 0.2)
    n = len(fitted.source_["held_out"]["groups"])
    assert kept.chance == promise_kept(1, 4, n, 0.2)
    assert told([0.05] * 20).chance < 1e-4
    assert told([0.05] * 20, ["session"] * 20).chance > 0.1  # one session, once unlucky
    assert promise([Entry(None, "odd", anomalous=True)], [Verdict("odd", None, 9.0, 0.01, True)], fitted) is None


def test_among_many_files_so_many_are_called_that_few_of_those_are_normal(data, fitted):
    verdicts = score_files(listed(data, "test"), fitted, false_discovery_rate=0.3)
    p = np.array([verdict.p_value for verdict in verdicts])
    assert [verdict.anomalous for verdict in verdicts] == discoveries(p, 0.3).tolist()
    assert any(verdict.anomalous for verdict in verdicts)


def test_a_detector_saved_with_a_source_of_its_own_scores_no_files(data):
    detector = quick().fit(np.random.default_rng(0).normal(size=(60, 4)))
    detector.source_ = {"made by": "me"}
    with pytest.raises(InputError, match="learnt from arrays, not files"):
        score_files(listed(data, "test"), detector)


def test_arrays_of_another_type_are_refused_and_groups_are_read_again(tmp_path):
    for name in ("a_s1.npy", "b_s1.npy", "c_s2.npy"):
        np.save(tmp_path / name, np.zeros(4, np.uint8 if name[0] == "b" else np.float32))
    source = source_of(tmp_path, pattern="{number}_{session}.npy", group="session")
    refused = {}
    samples = read(source.entries(tmp_path)[0], source, on_refused=refused.__setitem__)
    assert len(samples) == 2
    assert refused == {"b_s1.npy": "gives uint8 samples of shape (4,); those before it float32 (4,)"}
    detector = quick()
    detector.source_ = {"settings": source.model_dump(mode="json"), "held_out": {}, "learnt": []}
    assert [entry.group for entry in read_as_learnt(detector, tmp_path)[0]] == ["s1", "s1", "s2"]
    assert [entry.group for entry in read_as_learnt(detector, tmp_path, pattern="{number}.npy")[0]] == [None] * 3


def test_recordings_at_another_rate_are_said_to_be_resampled(command, data, fitted, tmp_path):
    record(tmp_path, "normal/a.wav", 300, 1)
    soundfile.write(tmp_path / "normal" / "b.wav", np.random.default_rng(0).normal(size=2 * RATE) * 0.1, 2 * RATE)
    said = "1 of 2 recordings are not at 4000 Hz but at 8000 Hz and are resampled"
    with pytest.warns(ConcernWarning, match=said):
        score_files(listed(tmp_path), fitted)
    out = command("check", tmp_path)[1]
    assert said in out


def test_a_detector_of_arrays_scores_no_files(data):
    detector = quick().fit(np.random.default_rng(0).normal(size=(60, 4)))
    with pytest.raises(InputError, match="learnt from arrays, not files"):
        score_files(listed(data, "test"), detector)


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_verdicts_are_written_whole_or_not_at_all(tmp_path, name):
    verdicts = [Verdict("소리 1.wav", "팬", 1.5, 0.25, False), Verdict('a,"b.wav', None, -2.0, 0.01, True)]
    write_verdicts(verdicts, tmp_path / name)
    if name.endswith("csv"):
        rows = list(csv.DictReader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        assert [row["path"] for row in rows] == ["소리 1.wav", 'a,"b.wav']
        assert [row["anomalous"] for row in rows] == ["False", "True"]
    else:
        assert parquet.read_table(tmp_path / name).to_pylist() == [vars(verdict) for verdict in verdicts]
    for file in (tmp_path / "scores.txt", tmp_path / "none" / name):
        with pytest.raises(InputError, match=file.name):
            write_verdicts(verdicts, file)
    assert [path.name for path in tmp_path.iterdir()] == [name]


# --- From the command line -------------------------------------------------------------------------------


def test_check_says_what_was_understood(command, data):
    code, out, err = command("check", data)
    assert (code, err.strip()) == (0, "")
    for word in (*LABELS, "train", "test", "anomalous", "48", f"sample rate: {RATE}", "0 of 72 files cannot be read"):
        assert word in out
    facts = json.loads(command("check", data, "--json")[1])
    assert sum(part["files"] for part in facts["parts"]) == 72
    assert facts["refused"] == {}


def test_check_says_what_is_doubtful(command, tmp_path):
    draw = np.random.default_rng(0)

    def write(name, sound):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, sound, RATE)

    for number in range(12):
        for label in LABELS:
            write(f"{label}/train/normal/{number}.wav", 0.2 * draw.normal(size=2 * RATE).clip(-4, 4))
    told = command("check", tmp_path)
    assert (told[0], "Look at this" in told[1]) == (0, False)
    assert json.loads(command("check", tmp_path, "--json")[1])["concerns"] == []
    loud = (0.6 * draw.normal(size=2 * RATE)).clip(-1, 1 - 2**-15)
    write("fan 2/test/normal/loud.wav", loud)
    write("fan 2/test/normal/once.wav", loud.clip(-0.5, 0.5) + (np.arange(2 * RATE) == 9) / 2)  # loudest sample at 1
    write("fan 2/test/normal/copy.wav", soundfile.read(tmp_path / "fan 2/train/normal/3.wav")[0])
    code, out, err = command("check", tmp_path)
    assert (code, err.strip()) == (0, "")
    assert "Look at this: 1 of 27 recordings clip at full scale: fan 2/test/normal/loud.wav." in out
    assert "exact copies of one in another split, such as fan 2/test/normal/copy.wav" in out
    assert [row["kind"] for row in json.loads(command("check", tmp_path, "--json")[1])["concerns"]] == [
        "copies",
        "copies",
        "clipped",
    ]


def test_a_detector_is_fitted_saved_used_and_evaluated(command, data, tmp_path):
    model, scores = tmp_path / "fan.oddkind", tmp_path / "scores.csv"
    code, out, err = command("fit", data, "--out", model, "--false-alarm-rate", "0.1")
    assert (code, err.strip()) == (0, "")
    assert "learnt from 48 files" in out
    assert load(model).false_alarm_rate == 0.1
    code, out, err = command("score", model, data, "--out", scores)
    assert (code, err.strip()) == (0, "")
    assert "72 files" in out
    printed = command("score", model, data)[1]
    assert_array_equal(printed.splitlines(), scores.read_text(encoding="utf-8").splitlines())
    lines = command("score", model, data, "--json")[1].splitlines()
    assert [json.loads(line)["path"] for line in lines] == [row.split(",")[0] for row in printed.splitlines()[1:]]
    code, out, err = command("evaluate", model, data, "--json")
    assert (code, err.strip()) == (0, "")
    facts = json.loads(out)
    assert [row["label"] for row in facts["rows"]] == ["all", *sorted(LABELS)]
    assert facts["rows"][0]["n_normal"] == facts["rows"][0]["n_anomalous"] == 12
    assert facts["rows"][0]["auc"] > 0.9
    assert facts["promise"]["rate"] == 0.1
    code, out, _ = command("evaluate", model, data, "--false-alarm-rate", "0.5")
    assert code == 0
    assert "harmonic mean" in out
    assert "of 12 normal files or groups raise a false alarm; 0.5 was promised" in out
    loose, strict = (
        command("score", model, data, "--out", scores, *words)[1]
        for words in (("--false-alarm-rate", "0.5"), ("--false-discovery-rate", "0.1"))
    )
    assert "at a false-alarm rate of 0.5" in loose
    assert "at a false discovery rate of 0.1" in strict
    code, out, err = command("score", model, data, "--false-alarm-rate", "0.001")
    assert (code, out) == (2, "")
    assert "0.001 can be promised from 999" in err


def test_files_that_have_drifted_are_said_to_break_the_promise():
    text = promise_line(Promise(30, 60, 0.05, 1e-12))
    assert "30 of 60 normal files or groups raise a false alarm; 0.05 was promised" in text
    assert "the promise does not hold for these files" in text
    assert "does not hold" not in promise_line(Promise(3, 60, 0.05, 0.4))


def test_settings_are_chosen_by_hiding_one_machine_after_another(command, tmp_path):
    for machine in range(3):
        for number in range(8):
            record(tmp_path, f"m{machine}/{number}.wav", 200 * 2**machine, 10 * machine + number)
    words = ("choose", tmp_path, "--score", "msp,joint-neighbours", "--task", "auto", "--seeds", "1")
    code, out, err = command(*words)
    assert (code, err.strip()) == (0, "")
    assert "Hidden, one after another: m0, m1, m2." in out
    assert "label smoothing 0.1 changes the AUC of msp" in out
    facts = json.loads(command(*words, "--json")[1])
    assert facts["labels"] == ["m0", "m1", "m2"]
    assert len(facts["rows"]) == 4
    found = {(row["score"], row["label_smoothing"]): row["auc_mean"] for row in facts["rows"]}
    assert found["joint-neighbours", 0.0] > 0.9
    assert [row["auc_mean"] for row in facts["rows"]] == sorted(found.values(), reverse=True)
    code, out, err = command("choose", tmp_path, "--score", "magic")
    assert (code, out) == (2, "")
    assert "score='magic'; known are" in err


def test_files_that_cannot_be_read_are_named_or_end_it_all(command, data, tmp_path):
    for number in range(4):
        record(tmp_path, f"normal/{number}.wav", 300, number)
    (tmp_path / "normal" / "망가진 것.wav").write_text("no sound")
    code, out, err = command("check", tmp_path)
    assert code == 0
    assert "1 of 5 files cannot be read" in out
    assert "망가진 것.wav" in err
    code, out, err = command("check", tmp_path, "--strict")
    assert (code, out) == (2, "")
    assert err.strip().startswith("oddkind: normal/망가진 것.wav: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "NONE"), "not there; pass a folder"),
        (("fit", "DATA", "--out", "MODEL", "--size", "64,64"), "--size does not suit sounds"),
        (("fit", "DATA", "--out", "MODEL", "--window", "-1"), "--window -1.0: Input should be greater than 0"),
        (("fit", "DATA", "--out", "MODEL", "--front-end", "mfcc"), "'mfcc'"),
        (("fit", "DATA", "--out", "MODEL", "--false-alarm-rate", "0.001"), "can be promised from 1998 normal groups"),
        (("fit", "DATA", "--out", "MODEL", "--label", "load"), "no field 'load' for --label"),
        (("score", "DATA/fan 2/test/normal/0.wav", "DATA"), "not a saved detector"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_writes_nothing(command, data, tmp_path, words, message):
    places = {"NONE": tmp_path / "none", "MODEL": tmp_path / "model", "DATA": data}
    line = "\n".join(words)
    for name, place in places.items():
        line = line.replace(name, str(place))
    code, out, err = command(*line.split("\n"))
    assert (code, out) == (2, "")
    (line,) = err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_warning_is_one_line(command, tmp_path):
    for number in range(60):
        Image.fromarray(np.full((10, 10), number, np.uint8)).save(tmp_path / f"{number}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = command("fit", tmp_path, "--out", tmp_path / "model", "--size", "10,10", "--task", "rotations")
    assert code == 0
    (line,) = [line for line in err.splitlines() if "leave" in line]
    assert line.startswith("oddkind: rotations leave 100% of the samples as they are")


# --- Explanations ----------------------------------------------------------------------------------------


def test_an_overtone_is_heard_where_it_is_and_the_nearest_recordings_are_named(data, fitted):
    odd = [entry for entry in listed(data, "test") if entry.anomalous]
    found = explain_files(odd, fitted, most=12)
    hits = []
    for of in found:
        overtone = 2.7 * 300 * (1 + LABELS.index(of.verdict.label))
        low, high = map(float, re.match(r"(\d+)–(\d+) Hz", of.places[0].text).groups())
        hits.append(low <= overtone <= high)
        assert of.diagnosis.claimed == of.verdict.label
        assert all(name.startswith(f"{of.verdict.label}/train/normal/") for name in of.nearest)
        assert re.fullmatch(r".*/\d+\.wav at [01] s", of.nearest[0])
        assert (of.windows, of.end - of.start, of.unit) == (2, 1, "s")
        assert sum(place.share for place in of.places) <= 1 + 1e-9
    assert np.mean(hits) > 0.8


def test_the_most_anomalous_are_explained_first_by_their_oddest_window(data, fitted):
    files = listed(data, "test")
    found = explain_files(files, fitted, most=5)
    verdicts = sorted(score_files(files, fitted), key=lambda verdict: (verdict.p_value, -verdict.score))
    assert [of.verdict for of in found] == verdicts[:5]
    for of in found:
        windows = read(
            [entry for entry in files if entry.name == of.verdict.path], Source(**fitted.source_["settings"])
        )
        scores = fitted.anomaly_score(windows.inputs, windows.labels)
        assert of.window == scores.argmax()
        assert of.diagnosis.score == pytest.approx(scores.max())
        assert_array_equal(of.sample, windows.inputs[of.window])
    with pytest.raises(InputError, match="--most 0"):
        explain_files(files, fitted, most=0)


def test_the_row_of_a_neighbour_is_its_file_and_window(data, fitted):
    train = listed(data, "train")
    samples = read(train, Source(**fitted.source_["settings"]))
    row = int(fitted.training_rows_[5])
    (of,) = fitted.diagnose(samples.inputs[row : row + 1])
    assert of.neighbours[0].row == row
    (explained,) = explain_files([entry for entry in train if entry.name == samples.files[row]], fitted)
    windows = [f"{samples.files[row]} at {second} s" for second in (0, 1)]
    assert explained.nearest[0] in windows


def test_a_model_without_names_tells_rows(data, fitted, monkeypatch):
    monkeypatch.setattr(fitted, "source_", {key: of for key, of in fitted.source_.items() if key != "files"})
    (of,) = explain_files(listed(data, "test")[:1], fitted)
    assert [name.split() for name in of.nearest] == [["sample", str(near.row)] for near in of.diagnosis.neighbours]


def test_explain_prints_lines_or_json_and_draws(command, data, fitted, tmp_path):
    model, out = tmp_path / "fan.oddkind", tmp_path / "why"
    fitted.save(model, source=fitted.source_)
    code, printed, err = command("explain", model, data / LABELS[1], "--most", "2", "--out", out)
    assert (code, err.strip()) == (0, "")
    for words in ("p-value", "looks like", "nearest normal: ", "evidence: ", " Hz, ", "most anomalous 2 of 36 files"):
        assert words in printed
    pictures = sorted(out.iterdir())
    assert [path.suffix for path in pictures] == [".png", ".png"]
    with Image.open(pictures[0]) as picture:
        assert len(np.unique(np.asarray(picture))) > 20
    code, printed, _ = command("explain", model, data / LABELS[1], "--most", "2", "--json")
    facts = json.loads(printed)
    assert code == 0
    assert len(facts["files"]) == 2
    assert {"path", "p_value", "looks_like", "probabilities", "views", "nearest", "evidence"} <= facts["files"][
        0
    ].keys()
    (tmp_path / "file").write_text("")
    code, printed, err = command("explain", model, data / LABELS[1], "--most", "1", "--out", tmp_path / "file" / "why")
    assert (code, printed) == (2, "")
    assert "cannot be written" in err


def learn(data, model, **settings):
    source, detector = source_of(data, **settings), quick(epochs=10)
    fit_files(source.entries(data)[0], source, detector)
    detector.save(model, source=detector.source_)


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


def test_numbers_without_names_and_rows_without_a_rate_are_told(command, tmp_path):
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


def test_settings_are_read_back_as_they_were(fitted):
    assert Source.model_validate(fitted.source_["settings"]).model_dump(mode="json") == fitted.source_["settings"]
