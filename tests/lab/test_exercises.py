import json

import pytest

import oddkind.lab.exercises
from oddkind import InputError
from oddkind.lab.exercises import EXERCISES, run_lab

pytestmark = pytest.mark.slow

KEYS = {
    "name", "task", "label_smoothing", "temperature", "score", "lecture_auc", "network", "max_shift", "auc",
    "auc_mean", "auc_ci95", "accuracy", "train_seconds",
}  # fmt: skip
LECTURE = {"initial": 0.868, "label-smoothing-0.1": 0.927, "label-smoothing-0.2": 0.918, "rotnet": 0.856}


def shrink(patch):
    """Leave a 60th of MNIST, so that a run takes seconds."""

    def load(*digits, load=oddkind.lab.exercises.load_mnist, **more):
        train, test = load(*digits, **more)
        return train[::60], test[::30]

    patch.setattr(oddkind.lab.exercises, "load_mnist", load)


@pytest.fixture(autouse=True)
def little_data(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lab"
    told = []
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        result = run_lab(folder, epochs=1, seeds=2, on_progress=lambda *step: told.append(step))
    return folder, result, json.loads((folder / "results.json").read_text()), told


def numbers(file):
    """What results.json says, but for the times it took."""
    rows = json.loads(file.read_text())["rows"]
    return [{key: value for key, value in row.items() if key != "train_seconds"} for row in rows]


def test_the_rows_are_the_exercises(lab):
    _, result, facts, _ = lab
    names = [row["name"] for row in facts["rows"]]
    assert names[:12] == [
        "initial", "label-smoothing-0.1", "label-smoothing-0.2", "label-smoothing-0.3", "temperature-3",
        "temperature-fitted", "rotnet", "rotnet-expected-distance", "rotnet-likelihood", "rotnet-neighbours",
        "rotnet-shifted", "rotnet-shifted-larger",
    ]  # fmt: skip
    assert len(set(names)) == len(names) == len(EXERCISES)
    assert [row.setting.name for row in result.rows] == names
    assert {row["name"]: row["lecture_auc"] for row in facts["rows"] if row["lecture_auc"]} == LECTURE


def test_every_row_has_what_the_issue_asks_for(lab):
    _, result, facts, _ = lab
    assert facts["seeds"] == [0, 1]
    assert facts["normal"] == [0, 1, 2, 3]
    assert facts["anomalous"] == [7, 8, 9]
    for row, found in zip(facts["rows"], result.rows, strict=True):
        assert row.keys() >= KEYS
        assert row["auc"] == list(found.auc)
        assert len(row["auc"]) == len(row["accuracy"]) == len(row["train_seconds"]) == 2
        assert all(0 <= value <= 1 for value in row["auc"] + row["accuracy"])
        assert row["auc_mean"] == pytest.approx(sum(row["auc"]) / 2)
        assert row["auc_ci95"][0] <= row["auc_mean"] <= row["auc_ci95"][1]
        assert min(row["train_seconds"]) > 0


def test_the_settings_of_the_exercises():
    found = {setting.name: (setting.task, setting.label_smoothing, setting.temperature) for setting in EXERCISES}
    assert found["initial"] == ("labels", 0, 1)
    assert found["label-smoothing-0.3"] == ("labels", 0.3, 1)
    assert found["temperature-3"] == ("labels", 0.1, 3)
    assert found["temperature-fitted"] == ("labels", 0, "fit")
    assert found["rotnet"] == found["rotnet-shifted"] == found["rotnet-shifted-larger"] == ("rotations", 0, 1)
    shifted = {setting.name: (setting.network, setting.max_shift) for setting in EXERCISES if setting.max_shift}
    assert shifted == {"rotnet-shifted": (None, 2), "rotnet-shifted-larger": ("picture", 4)}


def test_the_folder_holds_the_page_and_no_leftovers(lab):
    folder, result, _, _ = lab
    assert {path.name for path in folder.iterdir()} == {"report.html", "results.json"}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert '<html lang="en">' in page
    facts = json.loads(page.partition('id="facts">')[2].partition("</script>")[0])
    assert [row["runs"] for row in facts["rows"]] == [list(row.auc) for row in result.rows]


def test_the_page_has_the_language_that_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(oddkind.lab.exercises, "gather", lambda *_, **__: {})
    run_lab(tmp_path, epochs=1, seeds=1, language="ko")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<html lang="ko">' in page
    assert "라벨 스무딩" in page


def test_progress_goes_through_three_stages_to_their_ends(lab):
    told = lab[-1]
    assert list(dict.fromkeys(stage for stage, _ in told)) == ["training", "scoring", "drawing"]
    for stage in ("training", "scoring", "drawing"):
        done = [part for name, part in told if name == stage]
        assert done == sorted(done)
        assert done[-1] == pytest.approx(1)


def test_the_same_seeds_give_the_same_bits_twice(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(oddkind.lab.exercises, "gather", lambda *_, **__: {})
    run_lab(tmp_path, epochs=1, seeds=2)
    assert numbers(tmp_path / "results.json") == numbers(lab[0] / "results.json")


@pytest.mark.parametrize("stage", ["training", "scoring", "drawing"])
def test_interrupted_it_leaves_no_results_and_goes_on_to_the_same(lab, tmp_path, monkeypatch, stage):
    monkeypatch.setattr(oddkind.train.loop, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(oddkind.lab.exercises, "gather", lambda *_, on_progress, **__: on_progress(0.5) or {})

    def interrupt(name, done):
        if name == stage and done > 0.4:
            raise KeyboardInterrupt

    (tmp_path / "results.json").write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        run_lab(tmp_path, epochs=1, seeds=2, on_progress=interrupt)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", ".checkpoints"}
    assert (tmp_path / "results.json").read_text() == "of an earlier run"
    told = []
    run_lab(tmp_path, epochs=1, seeds=2, on_progress=lambda *step: told.append(step))
    assert min((done for name, done in told if name == "training"), default=1) > 0.3
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "report.html"}
    assert numbers(tmp_path / "results.json") == numbers(lab[0] / "results.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds=0; at least 1 run is needed"),
        ({"normal": [0, 1, 7]}, "digit 7 is named twice"),
        ({"normal": [0]}, "at least 2 kinds of normal"),
        ({"anomalous": []}, "no anomalous digits"),
        ({"anomalous": [12]}, "unknown digit 12"),
        ({"epochs": 0}, "epochs=0; it must be"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_and_nothing_is_written(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        run_lab(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(oddkind.lab.exercises, "load_mnist", lambda *_, **__: pytest.fail("read for nothing"))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        run_lab(tmp_path / "file" / "lab")
