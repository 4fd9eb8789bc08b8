import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from sklearn.metrics import roc_auc_score

from oddkind.lab import figures
from oddkind.model.formulas import msp
from oddkind.model.outputs import Outputs
from oddkind.samples import Samples
from oddkind.study.evaluation import Configuration, Result, Row
from oddkind.study.reliability import reliability
from oddkind.train.transforms import Rotations

pytestmark = pytest.mark.slow


def digits_of(draw, normal=(2, 4), anomalous=(7,), each=12):
    labels = np.repeat([*normal, *anomalous], each)
    inputs = draw.integers(0, 256, (len(labels), 1, 8, 8)).astype(np.uint8)
    return Samples(inputs, labels, np.isin(labels, anomalous), name="noise")


def outputs_of(draw, n, views=1, classes=2):
    return Outputs(draw.normal(size=(n, views, classes)) * 3, draw.normal(size=(n, views, 5)))


def test_histograms_say_the_auc_that_sklearn_finds(draw):
    anomalous = np.arange(60) % 3 == 0
    scores = {f"score {i}": draw.normal(size=60) + i * anomalous for i in range(4)}
    figure = figures.score_histograms(anomalous, scores)
    assert len(figure.axes) == 4
    for axes, (name, values) in zip(figure.axes, scores.items(), strict=True):
        assert axes.get_title() == f"{name}\nAUC {roc_auc_score(anomalous, values):.3f}"
        shares = [patch.get_data().values.sum() for patch in axes.patches]
        assert np.allclose(shares, 1)


def test_temperatures_share_one_scale_and_lose_no_picture(draw):
    anomalous = np.arange(40) < 15
    logits = draw.normal(size=(40, 1, 3)) * 9
    figure = figures.temperature_histograms(logits, anomalous, (0.1, 1, 100))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == ["T = 0.1", "T = 1", "T = 100"]
    for axes in figure.axes:
        assert all(patch.get_data().values.sum() == pytest.approx(1) for patch in axes.patches)
        assert axes.patches[0].get_data().edges[-1] == pytest.approx(2 / 3)


def test_roc_curves_run_from_corner_to_corner(draw):
    anomalous = np.arange(50) % 2 == 0
    scores = {f"s{i}": draw.normal(size=50) for i in range(8)}
    axes = figures.roc_curves(anomalous, scores).axes[0]
    lines = axes.get_lines()
    assert len(lines) == 1 + len(scores)
    for line in lines:
        assert line.get_xydata()[[0, -1]].tolist() == [[0, 0], [1, 1]]
    assert lines[3].get_label() == f"s2, AUC {roc_auc_score(anomalous, scores['s2']):.3f}"


def test_embedding_is_the_same_for_one_seed_and_parts_what_is_apart(draw):
    features = draw.normal(size=(60, 5)) + 40 * (np.arange(60) % 2)[:, None]
    points = figures.embed(features, 3)
    assert points.shape == (60, 2)
    assert np.array_equal(points, figures.embed(features, 3))
    assert not np.array_equal(points, figures.embed(features, 4))
    assert figures.separation(points, np.arange(60) % 2) > 1.5


def test_a_dead_network_still_has_a_map():
    assert np.isfinite(figures.embed(np.zeros((12, 5)), 0)).all()


def test_scatter_shows_every_point_once_and_crosses_for_anomalies(draw):
    samples = digits_of(draw, normal=range(9), anomalous=(9,))
    figure = figures.embedding_scatter(draw.normal(size=(len(samples), 2)), samples.labels, samples.anomalous)
    groups = [group for group in figure.axes[0].collections if isinstance(group, PathCollection)]
    assert sum(len(group.get_offsets()) for group in groups) == len(samples)
    assert groups[-1].get_label() == "9 (anomalous)"
    assert len({tuple(group.get_facecolor()[0]) for group in groups}) == 10
    figure.draw_without_rendering()


def test_separation_by_hand():
    features = np.array([[0.0, 0], [2, 0], [10, 0], [12, 0]])
    assert figures.separation(features, np.array([0, 0, 1, 1])) == pytest.approx(10 / 1)
    assert figures.separation(features * 7, np.array([0, 0, 1, 1])) == pytest.approx(10 / 1)


def test_smoothing_changes_the_network_and_temperature_does_not(draw):
    samples = digits_of(draw)
    networks = {s: outputs_of(draw, len(samples)) for s in (0.0, 0.1, 0.2, 0.3)}
    rows = np.arange(0, len(samples), 2)
    maps = {s: draw.normal(size=(len(rows), 2)) for s in networks}
    figure = figures.smoothing_or_temperature(networks, maps, rows, samples)
    assert len(figure.axes) == 16
    found = [axes.get_title().split()[-1] for axes in figure.axes if "separation" in axes.get_title()]
    assert len(set(found[:4])) > 1
    assert set(found[4:]) == {found[1]}
    # The dotted line: 0.3 smoothed over two classes leaves 0.15 for the wrong one.
    assert figure.axes[7].get_lines()[0].get_xdata()[0] == pytest.approx(0.15)


def test_reliability_diagrams_say_the_calibration_error(draw):
    outputs = Outputs(draw.normal(size=(200, 1, 3)) * 4, np.zeros((200, 1, 1)), draw.integers(0, 3, (200, 1)))
    figure = figures.reliability_diagrams({"a": (outputs, 2.5), "b": (outputs, 0.5)})
    assert len(figure.axes) == 4
    for axes, temperature in zip(figure.axes, (1, 2.5, 1, 0.5), strict=True):
        found = reliability(outputs.logits[:, 0], outputs.targets[:, 0], temperature=temperature)
        assert f"{found.expected_error:.4f}" in axes.get_title()
        assert len(axes.collections[0].get_offsets()) == (found.count > 0).sum()


def test_rotation_confusion_by_hand():
    logits = np.zeros((2, 4, 4))
    logits[:, [0, 1, 2, 3], [0, 1, 2, 3]] = 1
    logits[1, 2, 0] = 5  # the second sample upside down is taken for upright
    share = figures.rotation_confusion(Outputs(logits, np.zeros((2, 4, 1))))
    assert share.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("normal", "anomalous"), [((2, 4), (7,)), ((0, 1, 2, 3), (7, 8, 9)), ((2, 4), (0, 1, 3, 5, 6, 7, 8, 9))]
)
def test_rotation_pictures_suit_any_choice_of_digits(draw, normal, anomalous):
    samples = digits_of(draw, normal, anomalous)
    outputs = outputs_of(draw, len(samples), views=4, classes=4)
    assert np.allclose(figures.rotation_confusion(outputs).sum(1), 1)
    maps = figures.rotation_confusions(outputs, samples)
    shown = [axes.get_title() for axes in maps.axes if axes.get_visible()]
    assert shown == [f"{d} (normal)" for d in normal] + [f"{d} (anomalous)" for d in anomalous]
    maps.draw_without_rendering()
    grid = figures.rotation_grid(outputs, samples, 0, rows=3)
    assert len(grid.axes) == 3 * 8
    for axes in grid.axes:
        mistake = axes.get_title("left") != axes.get_title("right")
        assert axes.spines["top"].get_visible() == mistake
    grid.draw_without_rendering()


def test_the_grid_turns_pictures_as_the_task_does(draw):
    samples = digits_of(draw, each=1)
    grid = figures.rotation_grid(outputs_of(draw, 3, 4, 4), samples, 0, rows=1)
    shown = grid.axes[0].get_images()[0].get_array()
    sample = next(x for x in samples.inputs if np.array_equal(x[0], shown))
    for axes, turned in zip(grid.axes, Rotations()(torch.from_numpy(sample[None]))[0], strict=False):
        assert np.array_equal(axes.get_images()[0].get_array(), turned[0])


def test_extremes_are_in_order(draw):
    samples = digits_of(draw)
    scores = msp(outputs_of(draw, len(samples)).logits).mean(1)
    figure = figures.extremes(samples, scores, count=5)
    shown = np.reshape([axes.get_xlabel() for axes in figure.axes], (4, 5))
    order = np.sort(scores)
    wanted = [order[::-1][:5], order[:5], np.sort(scores[~samples.anomalous])[::-1][:5]]
    wanted.append(np.sort(scores[samples.anomalous])[:5])
    assert shown.tolist() == [[f"{score:.2g}" for score in line] for line in wanted]
    figure.draw_without_rendering()


@pytest.mark.parametrize(("shape", "shown"), [((1, 8, 8), (8, 8)), ((3, 6, 9), (6, 9)), ((7,), (1, 7))])
def test_any_sample_has_a_picture(draw, shape, shown):
    assert figures.picture(draw.normal(size=shape)).shape == shown


# --- Sweeps -------------------------------------------------------------------------------------------------

SMOOTHINGS, TEMPERATURES, NAMES = (0.0, 0.2), (1.0, 3.0, "fit"), ("msp", "energy", "entropy", "max-logit")


def sweep_of(draw, seeds, smoothings=SMOOTHINGS, temperatures=TEMPERATURES, names=NAMES):
    blank = (0.0,) * seeds
    return Result(
        tuple(
            Row(
                Configuration("", "labels", s, t, name),
                tuple(draw.uniform(0.5, 1, seeds)),
                blank,
                blank,
                blank,
                blank,
                None,
            )
            for s in smoothings
            for t in temperatures
            for name in names
        )
    )


def test_a_heat_map_shows_every_mean_in_its_place(draw):
    result = sweep_of(draw, 3)
    figure = figures.auc_heat_map(result)
    assert [axes.get_title() for axes in figure.axes] == list(NAMES)
    limits = {axes.images[0].get_clim() for axes in figure.axes}
    assert limits == {(min(row.auc_mean for row in result.rows), max(row.auc_mean for row in result.rows))}
    for axes, name in zip(figure.axes, NAMES, strict=True):
        assert [text.get_text() for text in axes.get_yticklabels()] == ["0", "0.2"]
        assert [text.get_text() for text in axes.get_xticklabels()] == ["T = 1", "T = 3", "T fitted"]
        for row in (row for row in result.rows if row.setting.score == name):
            place = SMOOTHINGS.index(row.setting.label_smoothing), TEMPERATURES.index(row.setting.temperature)
            assert axes.images[0].get_array()[place] == row.auc_mean
        assert {text.get_text() for text in axes.texts} == {
            f"{row.auc_mean:.3f}" for row in result.rows if row.setting.score == name
        }
    figure.draw_without_rendering()


def test_lines_run_through_the_means_in_bands_of_their_intervals(draw):
    result = sweep_of(draw, 3)
    figure = figures.auc_lines(result)
    assert [axes.get_title() for axes in figure.axes] == ["T = 1", "T = 3", "T fitted"]
    for axes, temperature in zip(figure.axes, TEMPERATURES, strict=True):
        for line, band, name in zip(axes.lines, axes.collections, NAMES, strict=True):
            rows = [row for row in result.rows if (row.setting.temperature, row.setting.score) == (temperature, name)]
            assert line.get_label() == name
            assert line.get_xydata().tolist() == [[row.setting.label_smoothing, row.auc_mean] for row in rows]
            edges = band.get_paths()[0].vertices[:, 1]
            assert (edges.min(), edges.max()) == (min(r.auc_ci95[0] for r in rows), max(r.auc_ci95[1] for r in rows))
    figure.draw_without_rendering()


def test_one_seed_and_one_setting_have_pictures_too(draw):
    for result in (sweep_of(draw, 1), sweep_of(draw, 2, (0.1,), ("fit",), ("msp",))):
        figures.auc_heat_map(result).draw_without_rendering()
        figures.auc_lines(result).draw_without_rendering()


def test_the_shortcut_shows_both_kinds_and_how_often_each_network_errs(draw):
    samples = digits_of(draw)
    networks = {name: outputs_of(draw, len(samples), 4, 4) for name in ("plain", "moved")}
    figure = figures.rotation_shortcut(samples, networks)
    places, bars = figure.axes
    assert sum(len(dots.get_offsets()) for dots in places.collections) == len(samples)
    expected = [
        figures.rotations_mistaken(outputs[samples.anomalous == odd]) for odd in (0, 1) for outputs in networks.values()
    ]
    assert [bar.get_height() for bar in bars.patches] == pytest.approx(expected)
    assert [text.get_text() for text in bars.get_xticklabels()] == ["plain", "moved"]
    figure.draw_without_rendering()
