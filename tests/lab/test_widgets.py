import base64
import io

import numpy as np
import pytest
from bokeh import models
from matplotlib.image import imread
from numpy.testing import assert_allclose

from oddkind.lab import figures
from oddkind.lab.widgets import _tiny_png, hover_map, temperature_slider
from oddkind.metrics import auc
from oddkind.model.formulas import msp
from oddkind.samples import Samples


def test_the_slider_starts_at_what_python_computes(draw):
    logits = draw.normal(size=(40, 3))
    anomalous = np.arange(40) % 2 == 0
    found = {type(model).__name__: model for model in temperature_slider({"a": logits}, anomalous).references()}
    assert found["Slider"].value == 0
    axes = figures.temperature_histograms(logits[:, None], anomalous, [1.0]).axes[0]
    assert axes.get_title().split("\n")[1] in found["Div"].text
    callback = found["CustomJS"].args
    for kind, patch in (("normal", axes.patches[0]), ("anomalous", axes.patches[2])):
        assert np.allclose(callback["shares"].data[kind], patch.get_data().values)
    assert callback["logits"].data["a"].reshape(40, 3) == pytest.approx(logits, abs=1e-6)


def drawn(uri):
    return imread(io.BytesIO(base64.b64decode(uri.partition("base64,")[2])))


def test_tiny_png_is_read_back_as_drawn():
    ink = np.array([[0, 255, 128], [64, 0, 0]])
    assert drawn(_tiny_png(ink)) == pytest.approx(1 - ink / 255, abs=1 / 255)


def test_a_blank_picture_is_paper():
    assert (drawn(_tiny_png(np.zeros((2, 2)))) == 1).all()


def slid(found, logits, anomalous, log_temperature):
    """What the slider's script computes, line by line in Python: shares of both kinds, AUC."""
    temperature, given = 10**log_temperature, found["CustomJS"].args
    falling = -np.sort(-logits, axis=1)
    log = (falling[:, 1] - falling[:, 0]) / temperature
    log += np.log(np.exp((falling[:, 1:] - falling[:, 1:2]) / temperature).sum(1))
    score = np.exp(log) / (1 + np.exp(log))
    place = np.minimum(given["bins"] - 1, np.floor(score / given["top"] * given["bins"]).astype(int))
    shares = [
        np.bincount(place[anomalous == odd], minlength=given["bins"]) / (anomalous == odd).sum() for odd in (0, 1)
    ]
    return score, shares, auc(anomalous, log)


@pytest.mark.parametrize("log_temperature", [-1.0, 0.0, 1.3])
def test_the_sliders_formula_is_the_score(draw, log_temperature):
    logits, anomalous = draw.normal(size=(60, 4)) * 3, np.arange(60) % 3 == 0
    found = {type(model).__name__: model for model in temperature_slider({"a": logits}, anomalous).references()}
    score, shares, area = slid(found, logits, anomalous, log_temperature)
    expected = msp(logits, 10**log_temperature)
    assert score == pytest.approx(expected, abs=1e-12)
    assert area == pytest.approx(auc(anomalous, expected), abs=1e-3)
    if log_temperature == 0:
        shown = found["CustomJS"].args["shares"].data
        assert_allclose(shares, [shown["normal"], shown["anomalous"]])


def test_every_network_can_be_chosen_and_the_script_knows_all_it_names(draw):
    logits = {name: draw.normal(size=(20, 3)) for name in ("no smoothing", "smoothing 0.1")}
    widget = temperature_slider(logits, np.arange(20) < 9)
    found = {type(model).__name__: model for model in widget.references()}
    assert found["Select"].options == list(logits)
    assert set(found["CustomJS"].args["logits"].data) == set(logits)
    for name in ("slider", "network", "logits", "shares", "readout", "odd", "bins", "top"):
        assert name in found["CustomJS"].args
    for control in (found["Slider"], found["Select"]):
        assert control.js_property_callbacks == {"change:value": [found["CustomJS"]]}


def test_hovering_shows_each_picture_with_its_digit_and_score(draw):
    labels = np.repeat([2, 4, 7], 5)
    inputs = draw.integers(0, 256, (15, 1, 6, 6)).astype(np.uint8)
    points, scores = draw.normal(size=(15, 2)), draw.uniform(size=15)
    plot = hover_map(points, Samples(inputs, labels, labels == 7), scores)
    sources = [renderer.data_source.data for renderer in plot.renderers]
    assert [source["digit"][0] for source in sources] == ["2", "4", "7 (anomalous)"]
    assert np.concatenate([source["x"] for source in sources]) == pytest.approx(points[:, 0])
    assert [value for source in sources for value in source["score"]] == [f"{score:.2g}" for score in scores]
    assert drawn(sources[2]["picture"][4]) == pytest.approx(1 - inputs[14, 0] / inputs[14].max(), abs=1 / 255)
    assert any(isinstance(tool, models.HoverTool) and "@picture" in tool.tooltips for tool in plot.tools)
