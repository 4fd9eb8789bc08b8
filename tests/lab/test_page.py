import base64
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure

from oddkind.lab.figures import ink_centre
from oddkind.lab.page import ShownNetwork, centre_rule, paired, write_report
from oddkind.metrics import mean_interval
from oddkind.model.outputs import Outputs
from oddkind.samples import Samples
from oddkind.study.evaluation import Configuration, Result, Row

pytestmark = pytest.mark.slow

PICTURES = {
    "histograms", "roc", "extremes", "tsne", "temperatures", "reliability", "smoothing-or-temperature",
    "rotation-confusions", "rotation-grid", "rotation-shortcut",
}  # fmt: skip
NAMES = ("initial", "label-smoothing-0.1", "label-smoothing-0.2", "label-smoothing-0.3")


def result_of(draw, seeds):
    def line(name, task="labels", score="msp", lecture=None, max_shift=None):
        return Row(
            Configuration(name, task, 0.0, 1.0, score, lecture, max_shift=max_shift),
            tuple(draw.uniform(0.6, 0.9, seeds)),
            *[(0.9,) * seeds] * 4,
            None,
        )

    rows = [line(name, lecture=0.75) for name in NAMES] + [line("temperature-3"), line("temperature-fitted")]
    rows += [line("rotnet", "rotations", "rotation-distance", 0.856)]
    rows += [line("rotnet-neighbours", "rotations", "cosine-neighbours")]
    rows += [line("rotnet-shifted", "rotations", "rotation-distance", max_shift=2)]
    rows += [line("rotnet-shifted-larger", "rotations", "rotation-distance", max_shift=4)]
    rows += [line("initial-max-logit", score="max-logit"), line("<script>alert(1)</script>")]
    return Result(tuple(rows))


def shown_of(draw, n, normal):
    def outputs(count, views, classes):
        targets = draw.integers(0, classes, (count, views))
        return Outputs(draw.normal(size=(count, views, classes)) * 3, draw.normal(size=(count, views, 6)), targets)

    classes = {**dict.fromkeys(NAMES, (1, normal)), "rotnet": (4, 4), "rotnet-shifted": (4, 4)}
    return {name: ShownNetwork(outputs(n, *shape), outputs(20, *shape), 0.8) for name, shape in classes.items()}


def samples_of(draw, normal, anomalous, name="noise"):
    labels = np.repeat([*normal, *anomalous], 8)
    inputs = draw.integers(0, 256, (len(labels), 1, 6, 6)).astype(np.uint8)
    return Samples(inputs, labels, np.isin(labels, anomalous), name=name)


class Elements(HTMLParser):
    """Every element's attributes and the text between them, scripts left out."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text, self.quiet = [], "", False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.quiet = tag in ("script", "style")

    def handle_endtag(self, tag):
        self.quiet = False

    def handle_data(self, data):
        self.text += "" if self.quiet else data


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    draw = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("lab")
    result, samples = result_of(draw, 3), samples_of(draw, (0, 1, 2, 3), (7, 8), "<img src=x> & co")
    steps = []
    write_report(folder, result, samples, shown_of(draw, len(samples), 4), on_progress=steps.append)
    return folder, result, Elements((folder / "report.html").read_text(encoding="utf-8")), steps


def test_pictures_stand_beside_the_page_and_in_it(written):
    folder, _, page, _ = written
    assert {path.stem for path in folder.glob("*.png")} == PICTURES
    pictures = [attributes for tag, attributes in page.found if tag == "img"]
    embedded = {base64.b64decode(attributes["src"].partition("base64,")[2]) for attributes in pictures}
    assert embedded == {path.read_bytes() for path in folder.glob("*.png")}
    assert all(data.startswith(b"\x89PNG\r\n\x1a\n") for data in embedded)
    assert all(attributes["alt"] for attributes in pictures)


def test_the_page_loads_nothing(written):
    _, _, page, _ = written
    addresses = [value for _, found in page.found for key, value in found.items() if key in ("src", "href", "data")]
    assert all(address.startswith("data:") for address in addresses)
    policy = next(found["content"] for _, found in page.found if "http-equiv" in found)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy


def test_the_page_is_an_english_document_with_headings(written):
    _, _, page, _ = written
    tags = [tag for tag, _ in page.found]
    assert dict(page.found)["html"] == {"lang": "en"}
    assert tags.count("h1") == tags.count("title") == 1
    assert tags.count("h2") == 3


def test_the_table_holds_the_numbers(written):
    _, result, page, _ = written
    for row in result.rows:
        low, high = row.auc_ci95
        assert f"{row.auc_mean:.3f} ({low:.3f} to {high:.3f})" in page.text
        assert f"{min(row.auc):.3f} to {max(row.auc):.3f}" in page.text


def test_hostile_names_are_text(written):
    _, _, page, _ = written
    assert "<script>alert(1)</script>" in page.text
    assert "<img src=x> & co" in page.text


def test_the_story_of_the_shortcut_has_the_numbers_of_the_rows(written):
    _, result, page, _ = written
    text = " ".join(page.text.split())
    for name in ("rotnet", "rotnet-shifted", "rotnet-shifted-larger"):
        assert f"{result[name].auc_mean:.3f} with" in text
    assert "moved by up to 2 pixels" in text
    assert "moves of up to 4 pixels" in text
    low, high = min(result["rotnet-shifted"].auc), max(result["rotnet-shifted"].auc)
    where = "within" if low <= 0.856 <= high else "above" if high < 0.856 else "below"
    assert f"The lecture’s 0.856 lies {where} our single runs of rotnet-shifted ({low:.3f} to {high:.3f})" in text
    assert "The mean AUCs are: rotnet " in text
    scores_of_one_network = text.split("The mean AUCs are:")[1].split(". ")[0]
    assert "shifted" not in scores_of_one_network


def test_progress_ends_at_one(written):
    steps = written[3]
    assert steps == sorted(steps)
    assert steps[-1] == 1


def test_two_digits_against_one_in_a_single_run(tmp_path, draw, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda _, file, **__: file.write_bytes(b""))  # its text is looked at here
    samples = samples_of(draw, (2, 4), (7,))
    write_report(tmp_path, result_of(draw, 1), samples, shown_of(draw, len(samples), 2))
    text = Elements((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "in the only run; with one run, a difference cannot be distinguished from noise" in text
    assert "None" not in text
    assert "nan" not in text


def test_paired_differences_are_judged_by_their_interval():
    def result(a, b):
        return Result(tuple(Row(Configuration(name), auc, (), (), (), (), None) for name, auc in (("a", a), ("b", b))))

    found = paired(result((0.8, 0.9, 0.7), (0.7, 0.8, 0.61)), "a", "b")
    low, high = mean_interval([0.1, 0.1, 0.09])
    assert f"+0.097 on average over 3 runs (95 % interval +{low:.3f} to +{high:.3f}): this is more than noise." in found
    assert "−0.033" in paired(result((0.7, 0.8, 0.7), (0.8, 0.7, 0.8)), "a", "b")
    assert "may be noise" in paired(result((0.7, 0.8, 0.7), (0.8, 0.7, 0.8)), "a", "b")


def test_centre_rule_sees_where_the_ink_lies():
    inputs = np.zeros((3, 1, 4, 4), np.uint8)
    inputs[0, 0, 2, 2] = inputs[1, 0, 1, 2] = inputs[2, 0, 1:3, 1:3] = 9
    assert centre_rule(inputs).tolist() == [True, False, False]
    assert ink_centre(inputs).tolist() == [[0.5, 0.5], [-0.5, 0.5], [0, 0]]
    assert ink_centre(np.zeros((1, 1, 4, 4))).tolist() == [[0, 0]]
