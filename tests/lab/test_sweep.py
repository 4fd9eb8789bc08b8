import json
from itertools import product

import pytest

import oddkind.lab.sweep
from oddkind import InputError
from oddkind.lab.sweep import Grid, read_grid, run_sweep


@pytest.fixture(autouse=True)
def little_data(monkeypatch):
    def load(*digits, load=oddkind.lab.sweep.load_mnist, **more):
        train, test = load(*digits, **more)
        # All flagged anomalies, which stand at the end, and few of the others.
        few = [*range(0, (~train.anomalous).sum(), 60), *train.anomalous.nonzero()[0]]
        return train[few], test[::30]

    monkeypatch.setattr(oddkind.lab.sweep, "load_mnist", load)


def written(tmp_path, text):
    file = tmp_path / "grid.toml"
    file.write_text(text, encoding="utf-8")
    return file


# --- The grid -----------------------------------------------------------------------------------------------


def test_settings_are_every_combination_in_the_order_given():
    grid = Grid(label_smoothing=(0.1, 0.0), temperature=(3.0, "fit"), score=("energy", "msp"))
    found = [(s.label_smoothing, s.temperature, s.score) for s in grid.settings]
    assert found == list(product((0.1, 0.0), (3.0, "fit"), ("energy", "msp")))
    assert len({setting.name for setting in grid.settings}) == 8
    assert grid.settings[1].name == "smoothing 0.1, T 3, msp"


def test_a_file_is_read_and_options_win(tmp_path):
    file = written(tmp_path, 'label_smoothing = [0, 0.1]\ntemperature = [1, "fit"]\nscore = ["msp"]\nseeds = 3\n')
    grid = read_grid(file, {})
    assert (grid.label_smoothing, grid.temperature, grid.score, grid.seeds) == ((0, 0.1), (1, "fit"), ("msp",), 3)
    assert grid.epochs == Grid().epochs
    changed = read_grid(file, {"seeds": 5, "score": ["energy"]})
    assert (changed.seeds, changed.score, changed.temperature) == (5, ("energy",), (1, "fit"))
    assert read_grid(None, {}) == Grid()


BAD = {
    "seeds = 0": "seeds: .*greater than or equal to 1; got 0",
    "epochs = 0": "epochs: .*greater than or equal to 1; got 0",
    "flagged = -1": "flagged: .*got -1",
    "seeds = 1.5": "seeds: .*got 1.5",
    'seeds = "many"': "seeds: .*got 'many'",
    "label_smoothing = [0.1, 1.0]": r"label_smoothing\.1: .*less than 1; got 1\.0",
    "label_smoothing = [-0.1]": r"label_smoothing\.0: .*got -0\.1",
    "label_smoothing = [nan]": r"label_smoothing\.0: .*got nan",
    "label_smoothing = []": "label_smoothing: .*at least 1 item",
    "temperature = []": "temperature: .*at least 1 item",
    "score = []": "score: .*at least 1 item",
    "temperature = [0]": r"temperature\.0.*: .*greater than 0; got 0",
    "temperature = [inf]": r"temperature\.0.*: .*got inf",
    'temperature = ["warm"]': r"temperature\.0.*: .*got 'warm'",
    'score = ["odin"]': "score: .*unknown score 'odin'; known are msp, max-logit",
    'task = "jigsaw"': "task: .*'labels', 'rotations' or 'labels.rotations'; got 'jigsaw'",
    "sseeds = 3": "sseeds: .*got 3",
    "label_smoothing = [0.1, 0.1]": "label_smoothing: .*twice|label_smoothing: .*more than once",
    'score = ["msp", "msp"]': "score: .*twice|score: .*more than once",
    'score = ["rotation-distance"]': "rotation",  # has no meaning for the task "labels"
    'score = ["statistics-distance"]': "score: .*needs signals .*the shape",
    'score = ["target-nll"]': "target-nll",  # nor has the likelihood of a label that no one knows
}


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_tried_is_refused_naming_file_and_field(tmp_path, text):
    file = written(tmp_path, text)
    with pytest.raises(InputError, match=rf"(?s)grid\.toml: .*{BAD[text]}") as refusal:
        read_grid(file, {})
    assert "\n" not in str(refusal.value)


def test_options_that_cannot_be_tried_are_refused_without_a_file():
    with pytest.raises(InputError, match=r"^seeds: .*got 0"):
        read_grid(None, {"seeds": 0})


def test_a_file_that_is_not_toml_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"grid\.toml: not a TOML file: .*line 1"):
        read_grid(written(tmp_path, "seeds = = 3"), {})
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff")
    with pytest.raises(InputError, match=r"picture\.png: not a TOML file"):
        read_grid(tmp_path / "picture.png", {})


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    for missing in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(InputError, match=r"cannot be read \(.+\)"):
            read_grid(missing, {})


@pytest.mark.parametrize(
    ("task", "scores"),
    [
        ("rotations", ("rotation-distance", "expected-rotation-distance", "target-nll")),
        ("labels+rotations", ("rotation-distance", "target-nll", "mahalanobis")),
    ],
)
def test_scores_that_need_rotations_may_be_tried_where_there_are_some(task, scores):
    assert Grid(task=task, score=scores).score == scores


# --- The run ------------------------------------------------------------------------------------------------

SMALL = Grid(label_smoothing=(0.0, 0.2), temperature=(1.0, "fit"), score=("msp", "max-logit"), seeds=2, epochs=1)


def test_a_sweep_writes_its_table_and_pictures(tmp_path):
    told = []
    result = run_sweep(tmp_path / "new", SMALL, on_progress=lambda *step: told.append(step))
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"results.json", "heat-map.png", "lines.png"}
    facts = json.loads((tmp_path / "new" / "results.json").read_text())
    assert read_grid(None, facts["grid"]) == SMALL
    assert [row["name"] for row in facts["rows"]] == [setting.name for setting in SMALL.settings]
    for row, found in zip(facts["rows"], result.rows, strict=True):
        assert row["auc"] == list(found.auc)
        assert len(row["auc"]) == 2
        assert row["held_out"]["flagged_auc"] is None
    assert set(facts["chosen_by"]) == {"nll", "ece"}
    assert list(dict.fromkeys(stage for stage, _ in told)) == ["training", "scoring"]


def test_flagged_anomalies_choose_too(tmp_path):
    result = run_sweep(tmp_path, SMALL.model_copy(update={"flagged": 40}))
    assert set(result.chosen_by) == {"nll", "ece", "flagged_auc"}
    assert all(0.3 < value <= 1 for row in result.rows for value in row.flagged_auc)


def test_interrupted_it_goes_on_to_the_same_results(tmp_path, monkeypatch):
    monkeypatch.setattr(oddkind.train.loop, "CHECKPOINT_SECONDS", 0)

    def interrupt(_, done):
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(tmp_path / "a", SMALL, on_progress=interrupt)
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".checkpoints"]
    found, expected = run_sweep(tmp_path / "a", SMALL), run_sweep(tmp_path / "b", SMALL)
    assert [row.auc for row in found.rows] == [row.auc for row in expected.rows]


@pytest.mark.parametrize(
    ("digits", "message"),
    [
        ({"normal": (0, 7)}, "digit 7 is named twice"),
        ({"normal": (0,)}, "at least 2 kinds of normal"),
        ({"anomalous": ()}, "no anomalous digits"),
        ({"flagged": 10**6}, "flagged=1000000; it must lie between 0 and"),
    ],
)
def test_digits_that_cannot_be_used_are_refused(tmp_path, digits, message):
    with pytest.raises(InputError, match=message):
        run_sweep(tmp_path, SMALL.model_copy(update=digits))
    assert not list(tmp_path.iterdir())
