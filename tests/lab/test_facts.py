import base64
import io
import json

import numpy as np
import pytest
from lab_results import HOSTILE, result_of, samples_of, shown_of
from PIL import Image

from oddkind.lab.facts import ACROSS, N_EXTREME, SIDE, gather, sprite
from oddkind.lab.shown import ROTNETS, SMOOTHED
from oddkind.model.formulas import msp
from oddkind.pages.encoding import TYPES, as_json

pytestmark = pytest.mark.slow


def unpacked(of):
    return np.frombuffer(base64.b64decode(of["base64"]), TYPES[of["type"]]).reshape(of["shape"])


def read(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition("base64,")[2]))))


@pytest.fixture(scope="module")
def made():
    draw = np.random.default_rng(0)
    samples = samples_of(draw, name="<img src=x> & co")
    result, shown, steps = result_of(draw, 3), shown_of(draw, samples), []
    return gather(result, samples, shown, on_progress=steps.append), result, samples, shown, steps


def test_pictures_are_read_back_as_drawn(draw):
    inputs = draw.integers(0, 256, (ACROSS + 2, 1, SIDE, SIDE)).astype(np.uint8)
    inputs[1] = 0
    sheet = read(sprite(inputs))
    assert sheet.shape == (2 * SIDE, ACROSS * SIDE)
    for number, (own,) in enumerate(inputs):
        x, y = SIDE * (number % ACROSS), SIDE * (number // ACROSS)
        assert sheet[y : y + SIDE, x : x + SIDE] == pytest.approx(255 * (own / max(1, own.max())), abs=9)


def test_all_pictures_that_are_named_are_there(made):
    facts, _, samples, shown, _ = made
    pictured = set(unpacked(facts["pictures"]["rows"]).tolist())
    named = {*unpacked(facts["mapped"]).tolist(), *np.ravel(facts["extremes"]).tolist()}
    assert named <= pictured
    for name in ROTNETS:
        predicted = shown[name].test.transform_logits().argmax(-1)
        mistaken = (predicted != np.arange(4)).any(1)
        for label in np.unique(samples.labels):
            wrong = np.flatnonzero(mistaken & (samples.labels == label))
            assert not len(wrong) or pictured & set(wrong.tolist())


def test_the_networks_are_there_bit_by_bit(made):
    facts, _, samples, shown, _ = made
    for (smoothing, name), of in zip(SMOOTHED.items(), facts["networks"], strict=True):
        assert (of["name"], of["smoothing"]) == (name, smoothing)
        assert np.array_equal(unpacked(of["logits"]), shown[name].test.logits[:, 0])
        assert np.array_equal(unpacked(of["held_out"]), shown[name].held_out.logits[:, 0])
        assert np.array_equal(unpacked(of["targets"]), shown[name].held_out.targets[:, 0])
    labels = [facts["labels"][number] for number in unpacked(facts["label"])]
    assert labels == [str(label) for label in samples.labels]


def test_extremes_are_in_order(made):
    facts, _, samples, shown, _ = made
    scores = msp(shown["initial"].test.logits).mean(1)
    most, least, alarms, missed = (scores[rows].tolist() for rows in facts["extremes"])
    assert most == sorted(scores, reverse=True)[:N_EXTREME]
    assert least == sorted(scores)[:N_EXTREME]
    assert alarms == sorted(scores[~samples.anomalous], reverse=True)[:N_EXTREME]
    assert missed == sorted(scores[samples.anomalous])[:N_EXTREME]


def test_the_rows_are_those_of_the_result(made):
    facts, result, _, _, _ = made
    assert [row["name"] for row in facts["rows"]][-1] == HOSTILE
    for of, row in zip(facts["rows"], result.rows, strict=True):
        assert (of["mean"], of["runs"], of["interval"]) == (row.auc_mean, list(row.auc), list(row.auc_ci95))


def test_everything_is_json_and_progress_ends_at_one(made):
    facts, _, _, _, steps = made
    assert json.loads(as_json(facts))["data"] == "<img src=x> & co"
    assert steps == sorted(steps)
    assert steps[-1] == 1
