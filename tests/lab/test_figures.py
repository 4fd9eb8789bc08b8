import pytest

from oddkind.lab import figures
from oddkind.study.evaluation import Configuration, Result, Row

pytestmark = pytest.mark.slow

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
