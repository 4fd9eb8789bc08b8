import base64
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal
from problems import LABELS, listed, record

import oddkind.report.facts
from oddkind import InputError
from oddkind.files.evaluate import evaluate_files, to_evaluate
from oddkind.files.score import calibration_files, read_as_learnt, score_files
from oddkind.model.conformal import tie_bound
from oddkind.pages.encoding import TYPES, as_json
from oddkind.pages.page import page_of
from oddkind.report.facts import gather


def unpacked(of):
    return np.frombuffer(base64.b64decode(of["base64"]), TYPES[of["type"]]).reshape(of["shape"])


@pytest.fixture(scope="module")
def facts(data, fitted):
    files, _ = read_as_learnt(fitted, data)
    return gather(files, fitted, data=data, most=4, clips=2)


def test_the_numbers_are_those_of_score(facts, data, fitted):
    files, _ = read_as_learnt(fitted, data)
    verdicts = score_files(files, fitted)
    assert facts["files"]["names"] == [verdict.path for verdict in verdicts]
    assert unpacked(facts["files"]["p"]).tolist() == [verdict.p_value for verdict in verdicts]
    assert unpacked(facts["files"]["score"]).tolist() == [verdict.score for verdict in verdicts]
    labels = facts["files"]["labels"]
    assert labels == sorted(LABELS)
    assert [labels[row] for row in unpacked(facts["files"]["label"])] == [verdict.label for verdict in verdicts]
    assert facts["files"]["group"] is None


def test_what_was_learnt_from_is_marked_and_what_counts_is_what_evaluate_counts(facts, data, fitted):
    files = listed(data)
    learnt, counted = (unpacked(facts["files"][name]).astype(bool) for name in ("learnt", "counted"))
    names = np.array(facts["files"]["names"])
    assert {*names[learnt]} == {entry.name for entry in files if entry.split == "train"}
    assert {*names[counted]} == {entry.name for entry in to_evaluate(files, fitted)}
    wanted = to_evaluate(files, fitted)
    row = evaluate_files(wanted, score_files(wanted, fitted))[0]
    truth, p = unpacked(facts["files"]["truth"]), unpacked(facts["files"]["p"])
    assert (p <= fitted.false_alarm_rate)[counted & (truth == 1)].mean() == row.found
    assert facts["said"]["kept"]["n_normal"] == row.n_normal


def test_the_held_out_scores_are_those_that_files_are_compared_with(facts, fitted):
    (own,) = calibration_files(fitted)
    assert_array_equal(unpacked(facts["held_out"]["scores"]), own.scores)
    assert_array_equal(unpacked(facts["held_out"]["bounds"]), tie_bound(own.scores))
    assert unpacked(facts["held_out"]["weights"]).sum() == own.count == facts["held_out"]["sizes"][""]


def test_the_oddest_are_explained_and_the_first_can_be_heard_beside_the_nearest_normal_one(facts):
    p, score = unpacked(facts["files"]["p"]), unpacked(facts["files"]["score"])
    ranked = sorted(range(len(p)), key=lambda row: (p[row], -score[row]))
    assert [detail["row"] for detail in facts["details"]] == ranked[:4]
    assert [detail["sound"]["clip"] is not None for detail in facts["details"]] == [True, True, False, False]
    for detail in facts["details"]:
        assert detail["evidence"]
        beside = detail["sound"]["beside"]
        assert beside["what"] == "The nearest normal one that the model learnt from"
        assert detail["nearest"][0]["name"].startswith(f"{beside['name']} at {beside['start']:g} s")
        assert unpacked(detail["sound"]["heat"]).max() == 255


def test_a_recording_whose_nearest_are_not_there_is_played_beside_the_most_usual_one(data, fitted):
    files = listed(data, "test")
    (detail,) = gather(files, fitted, data=data, most=1, clips=1)["details"]
    beside = detail["sound"]["beside"]
    assert beside["what"] == "The most usual one of its label among these files"
    assert "test/normal" in beside["name"]
    (detail,) = gather(files, fitted, data=data, most=1, clips=1, learnt_from=listed(data, "train"))["details"]
    assert detail["sound"]["beside"]["what"] == "The nearest normal one that the model learnt from"
    odd = [entry for entry in files if entry.anomalous][:1]
    (detail,) = gather(odd, fitted, data=data, most=1, clips=1)["details"]
    assert detail["sound"]["beside"] is None


def test_a_file_of_the_name_of_one_that_was_learnt_from_is_not_taken_for_it(data, fitted, tmp_path):
    files = listed(data, "test")
    others = [replace(files[0], name=entry.name) for entry in listed(data, "train")]
    (detail,) = gather(files, fitted, data=data, most=1, clips=1, learnt_from=others)["details"]
    assert detail["sound"]["beside"]["what"].startswith("The most usual one")


def test_doubts_and_files_left_out_are_said(data, fitted, tmp_path):
    for name, seed in (("a", 501), ("b", 501), ("c", 502)):
        record(tmp_path, f"{name}.wav", 300, seed)
    (tmp_path / "d.wav").write_bytes(b"nothing")
    files, refused = read_as_learnt(fitted, tmp_path)
    facts = gather(files, fitted, data=tmp_path, most=1, clips=0, refused=refused, on_refused=refused.__setitem__)
    assert facts["checked"]
    assert any("exact copies" in doubt for doubt in facts["doubts"])
    assert (facts["n_refused"], facts["refused"][0][0]) == (1, "d.wav")
    assert facts["said"]["kept"] is None
    assert facts["said"]["excess"]["n_normal"] == 3
    broken = [one for one in files if one.name == "d.wav"]
    with pytest.raises(InputError, match=r"no file can be read; d\.wav: is not a recording"):
        gather(broken, fitted, data=tmp_path, most=1, clips=0, refused=refused, on_refused=refused.__setitem__)


def test_a_warning_is_shown_and_said_in_the_page_once(data, fitted, tmp_path):
    for number in range(3):
        record(tmp_path, f"{number}.wav", 300, 600 + number)
        wave, _ = soundfile.read(tmp_path / f"{number}.wav")
        soundfile.write(tmp_path / f"{number}.wav", wave, 8000)
    files, _ = read_as_learnt(fitted, tmp_path)
    model = replace(fitted, false_alarm_rate=0.001)
    with pytest.warns() as caught:
        facts = gather(files, model, data=tmp_path, most=1, clips=0)
    told = [str(one.message) for one in caught]
    assert facts["problem"].startswith("no alarm is raised: a false-alarm rate of 0.001 takes at least 999")
    assert facts["problem"].removesuffix(".") in told
    assert any(text.startswith("recordings at 8000 Hz are resampled to 4000 Hz") for text in told)
    assert sum("resampled" in doubt for doubt in facts["doubts"]) == 2  # when they were read, and how many they are
    assert not any("999" in doubt for doubt in facts["doubts"])


def test_many_files_are_not_read_once_more(data, fitted, monkeypatch):
    monkeypatch.setattr(oddkind.report.facts, "MAX_CHECKED", 3)
    facts = gather(listed(data, "test"), fitted, data=data, most=1, clips=0)
    assert (facts["checked"], facts["doubts"]) == (False, [])


def test_names_that_turn_or_break_text_are_shown_with_their_escapes(data, fitted, tmp_path):
    names = "<script>alert(1)</script>", "소리 1", "صوت", "a\u202eb", "x\u2028y", "\"&'"
    for seed, name in enumerate(names):
        record(tmp_path, f"{name.replace('/', '∕')}.wav", 300, seed)
    files, _ = read_as_learnt(fitted, tmp_path)
    facts = gather(files, fitted, data=tmp_path, most=6, clips=0)
    page = page_of("oddkind.report", facts)
    shown = {*json.loads(page.partition('id="facts">')[2].partition("</script>")[0])["files"]["names"]}
    assert {"소리 1.wav", "صوت.wav", "a\\u202eb.wav", "x\\u2028y.wav", "\"&'.wav"} <= shown
    assert "<script>alert" not in page


def test_an_order_that_is_not_known_is_refused_before_files_are_read(data, fitted, monkeypatch):
    monkeypatch.setattr(oddkind.report.facts, "score_files", None)
    with pytest.raises(InputError, match="--order names the column 'rpm'"):
        gather(listed(data), fitted, data=data, most=1, clips=0, order="rpm")


DRAWINGS = {
    "pictures": "picture",
    "tables": "signals",
    "vibration": "vector",
    "arrays": "vector",
    "spectrograms": "spectrogram",
    "folds": "vector",
    "blocks": "vector",
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DRAWINGS)
def test_models_of_every_kind_give_facts(kinds, kind):
    model, folder = kinds[kind]
    files, _ = read_as_learnt(model, folder)
    facts = gather(files, model, data=folder, most=3, clips=2, order="auto" if kind == "blocks" else "name")
    assert [detail["drawing"]["kind"] for detail in facts["details"]] == [DRAWINGS[kind]] * 3
    sounds = kind in ("spectrograms", "folds", "blocks")
    assert facts["clips"] == (2 if sounds else 0)
    assert [detail["sound"] is not None for detail in facts["details"]] == [sounds] * 3
    assert len(unpacked(facts["time"]["evidence"])) == len(facts["files"]["names"]) == len(files)
    assert facts["judged"] == ("blocks" if kind == "blocks" else "files")
    as_json(facts)


@pytest.mark.slow
def test_with_folds_the_p_values_decide(kinds, data):
    model, _ = kinds["folds"]
    facts = gather(listed(data, "test"), model, data=data, most=1, clips=0, order="name")
    assert facts["held_out"]["bounds"] is None
    assert facts["held_out"]["sizes"] == {"": 48}
    assert facts["time"]["n_evidence"] == 24


def test_the_fingerprint_of_the_data_changes_with_names_and_contents(data, fitted, tmp_path):
    def fingerprint():
        files, _ = read_as_learnt(fitted, tmp_path)
        return gather(files, fitted, data=tmp_path, most=1, clips=0)["data_fingerprint"]

    for number in range(2):
        record(tmp_path, f"{number}.wav", 300, number)
    before = fingerprint()
    assert fingerprint() == before
    (tmp_path / "1.wav").rename(tmp_path / "2.wav")
    renamed = fingerprint()
    record(tmp_path, "2.wav", 300, 7)
    assert len({before, renamed, fingerprint()}) == 3
