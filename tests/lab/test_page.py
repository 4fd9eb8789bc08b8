"""The page in a real browser: it counts as Python does, and a teacher can walk through it without a mouse."""

import re

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from lab_results import HOSTILE, result_of, samples_of, shown_of

from oddkind.lab.facts import SIDE, gather
from oddkind.lab.measures import found_at, rotation_confusion
from oddkind.lab.shown import ROTNETS, SHOWN, SMOOTHED
from oddkind.metrics import auc
from oddkind.model.formulas import msp, rotation_distance
from oddkind.pages.page import write_page
from oddkind.study.reliability import reliability

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
TEMPERATURES = 0.1, 0.5, 1.0, 3.0, 20.0
NAMELESS = """[...document.querySelectorAll("canvas, img, input, select, button")].filter((one) => !(
  one.getAttribute("aria-label") || one.getAttribute("aria-hidden") || one.hasAttribute("alt") || one.labels?.length
  || one.textContent
)).map((one) => one.outerHTML)"""
SETTLED = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
NUMBERS = "[...document.querySelectorAll('#second-bench dd')].map((one) => one.textContent)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def made():
    draw = np.random.default_rng(0)
    samples = samples_of(draw, side=SIDE, name="<img src=x> & co")
    shown = shown_of(draw, samples)
    return gather(result_of(draw, 3), samples, shown), samples, shown


@pytest.fixture
def opened(browser, made, tmp_path):
    write_page("oddkind.lab", made[0], tmp_path / "report.html")
    browser.look(1280, 900)
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    browser.run(SETTLED)
    return browser, made[1], made[2]


def test_the_page_asks_for_nothing_and_complains_of_nothing(opened):
    browser, *_ = opened
    assert [address for address in browser.requests if not address.startswith("data:")] == [
        browser.run("location.href")
    ]
    assert browser.problems == []
    assert browser.run(NAMELESS) == []
    assert browser.run("[...document.querySelectorAll('h2')].every((one) => one.textContent.length > 10)")
    assert browser.run("document.querySelectorAll('details .answer:empty').length") == 0


def test_names_are_text(opened):
    browser, *_ = opened
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert HOSTILE in browser.run("at('rows').textContent")
    assert "<img src=x> & co" in browser.run("at('about').textContent")


def test_the_temperature_gives_the_numbers_of_python(opened):
    browser, samples, shown = opened
    for number, name in enumerate(SMOOTHED.values()):
        held_out = shown[name].held_out
        browser.run(f"BENCHES.second.set({{network: NETWORKS[{number}]}})")
        for temperature in TEMPERATURES:
            browser.run(f"BENCHES.second.set({{temperature: {temperature}}})")
            scores = msp(shown[name].test.logits, temperature).mean(1)
            expected = auc(samples.anomalous, scores)
            assert browser.run("BENCHES.second.now().auc") == pytest.approx(expected, abs=1e-12)
            error = reliability(held_out.logits[:, 0], held_out.targets[:, 0], temperature=temperature).expected_error
            assert browser.run("BENCHES.second.now().reliability.error") == pytest.approx(error, abs=1e-12)
            shown_auc, shown_error, *_ = browser.run(NUMBERS)
            assert (shown_auc, shown_error) == (f"{expected:.4f}", f"{error:.4f}")
            assert browser.run(f"scoresOf(NETWORKS[{number}], {temperature})[7]") == pytest.approx(scores[7], rel=1e-12)


def test_the_slider_moved_by_keys_reaches_a_temperature_of_three(opened):
    browser, samples, shown = opened
    browser.run("document.querySelector('#second-bench input[type=range]').focus()")
    browser.press("Home")
    browser.press("ArrowRight", browser.run("STEPS.indexOf(3)"))
    browser.run(SETTLED)
    assert browser.run("BENCHES.second.state.temperature") == 3
    scores = msp(shown["initial"].test.logits, 3).mean(1)
    assert browser.run(NUMBERS)[0] == f"{auc(samples.anomalous, scores):.4f}"
    assert browser.run("SECTIONS[current].id") == "temperature"  # arrow keys of a slider are its own


def test_the_threshold_counts_as_python_does(opened):
    browser, samples, shown = opened
    odd, cuts = samples.anomalous, [0, 0.003, 0.01, 0.1, 0.25, 0.5, 0.74, 1]
    for number, name in enumerate(SMOOTHED.values()):
        for temperature in (1, 3):
            browser.run(f"BENCHES.second.set({{network: NETWORKS[{number}], temperature: {temperature}}})")
            scores = msp(shown[name].test.logits, temperature).mean(1)
            for cut in cuts:
                browser.run(f"BENCHES.second.set({{cut: {cut}}})")
                expected = [int((scores[~odd] > cut).sum()), int((scores[odd] > cut).sum())]
                found = browser.run("[BENCHES.second.now().falseAlarms, BENCHES.second.now().found]")
                assert found == expected
                assert browser.run(NUMBERS)[2].startswith(f"{expected[0]} of {(~odd).sum()} (")
            for rate in (0.01, 0.05, 0.1):
                assert browser.run(f"cutAt(BENCHES.second.now().normal, {rate})") == found_at(odd, scores, rate)[0]


def test_a_temperature_moves_every_figure_and_no_other_thing(opened):
    browser, *_ = opened
    plots = "[...document.querySelectorAll('#second-bench canvas')].map((one) => one.toDataURL())"
    place = "document.querySelector('#temperature .gains').getBoundingClientRect().top + scrollY"
    for width in (1280, 1920):
        browser.look(width, 900)
        browser.run(SETTLED)
        browser.run("BENCHES.second.set({temperature: 1, cut: 0.2})")
        before, top = browser.run(plots), browser.run(place)
        for change in ("{temperature: 6.2}", "{temperature: 0.1}", "{cut: 0}", "{cut: 0.7}", "{network: NETWORKS[2]}"):
            browser.run(f"BENCHES.second.set({change})")
            assert browser.run(place) == top
        after = browser.run(plots)
        assert len(before) == 3
        assert all(one != other for one, other in zip(before, after, strict=True))


def test_play_walks_through_the_temperatures_and_stops(opened):
    browser, *_ = opened
    browser.run("BENCHES.second.set({temperature: STEPS[STEPS.length - 4]})")
    browser.click("#second-bench [aria-pressed]")
    browser.run("new Promise((done) => setTimeout(done, 10 * FRAME_MS))")
    assert browser.run("BENCHES.second.state.temperature") == browser.run("STEPS[STEPS.length - 1]")
    assert browser.run("document.querySelector('#second-bench [aria-pressed]').getAttribute('aria-pressed')") == "false"


def test_rotations_are_counted_as_python_counts_them(opened):
    browser, samples, shown = opened
    for number, name in enumerate(ROTNETS):
        outputs = shown[name].test
        distances = rotation_distance(outputs.transform_logits()).mean(1)
        assert browser.run(f"[...distancesOf(ROTNETS[{number}])]") == distances.tolist()
        for label in np.unique(samples.labels):
            place = f"NAMES.indexOf('{label}')"
            found = browser.run(f"confusionOf(ROTNETS[{number}], rowsOf({place})).map((line) => [...line])")
            assert np.allclose(found, rotation_confusion(outputs[samples.labels == label]))
    browser.run("at('grid-network').value = '1'; at('grid-network').dispatchEvent(new Event('change'))")
    expected = auc(samples.anomalous, rotation_distance(shown["rotnet-shifted"].test.transform_logits()).mean(1))
    assert browser.run("at('distance-roc-title').textContent") == f"rotnet-shifted: AUC {expected:.4f}"


def test_the_grid_marks_mistakes_and_shows_others(opened):
    browser, *_ = opened
    texts = """[...document.querySelectorAll(".turned .digit")].map((one) => [one.className,
      one.querySelector(".predicted").textContent, one.querySelector(".true").textContent])"""
    cells = browser.run(texts)
    assert len(cells) == 2 * 6 * 4
    for kind, predicted, true in cells:
        assert (kind == "digit mistaken") == (predicted != true)
    assert {true for *_, true in cells} == {"0°", "90°", "180°", "270°"}
    names = "[...document.querySelectorAll('.turned canvas')].map((one) => one.getAttribute('aria-label')).join()"
    before = browser.run(names)
    browser.click("#grid-more")
    assert browser.run(names) != before


def test_pictures_are_turned_as_the_task_turns_them(opened):
    browser, samples, _ = opened
    for turns in range(4):
        found = browser.run(
            f"""(() => {{
              const of = document.createElement("canvas"); of.width = of.height = SIDE;
              const pen = of.getContext("2d");
              digit(pen, PICTURED[5], 0, 0, SIDE, {turns}, 4);
              return [...pen.getImageData(0, 0, SIDE, SIDE).data].filter((_, k) => k % 4 === 3);
            }})()"""
        )
        own = samples.inputs[browser.run("PICTURED[5]"), 0].astype(float)
        expected = np.rot90(own / own.max(), turns)  # counter-clockwise, as oddkind.train.transforms.Rotations
        assert np.reshape(found, (SIDE, SIDE)) / 255 == pytest.approx(expected, abs=0.05)


def test_the_keyboard_walks_through_the_sections_and_opens_answers(opened):
    browser, *_ = opened
    here = "document.querySelector('#steps [aria-current]').getAttribute('href')"
    names = browser.run("SECTIONS.map((one) => '#' + one.id)")
    assert len(names) == 10
    assert browser.run(here) == names[0]
    for name in names[1:]:
        browser.press("ArrowRight")
        browser.run(SETTLED)
        assert browser.run(here) == name
        assert browser.run("document.activeElement.id") == f"{name[1:]}-title"
    browser.press("ArrowLeft", 2)
    browser.run(SETTLED)
    assert browser.run(here) == names[-3]
    for is_open in (True, False):
        browser.press("a")
        assert browser.run(f"document.querySelector('{names[-3]} details').open") == is_open
    assert browser.run("document.querySelectorAll('details[open]').length") == 0
    assert browser.problems == []


def test_the_map_is_walked_by_keys_and_pinned(opened):
    browser, samples, _ = opened
    browser.run("at('map').firstChild.focus()")
    first = browser.run("looked()")
    browser.press("ArrowLeft")
    browser.press("ArrowUp")
    browser.run(SETTLED)
    reached = browser.run("looked()")
    assert reached != first
    browser.press("Enter")
    browser.run(SETTLED)
    assert browser.run("pinned") == reached
    label = samples.labels[browser.run(f"MAPPED[{reached}]")]
    assert browser.run("at('one').querySelector('h3').textContent").startswith(f"{label} (")
    rows = browser.run("[...document.querySelectorAll('#one tbody tr')].map((one) => one.cells[1].textContent)")
    assert len(rows) == len(SMOOTHED)
    browser.press("Escape")
    browser.run(SETTLED)
    assert browser.run("pinned") == -1
    assert browser.run("SECTIONS[current].id") == "features"


def test_pointing_at_a_mark_shows_it_and_a_click_pins_it(opened):
    browser, *_ = opened
    browser.run(
        """(() => {
          const map = document.querySelector("#levels canvas"), box = map.getBoundingClientRect();
          const [x, y] = placesIn(MAPS[0], box.width, box.height);
          const where = { clientX: box.left + x(9), clientY: box.top + y(9) };
          map.dispatchEvent(new MouseEvent("mousemove", where)); map.dispatchEvent(new MouseEvent("click", where));
          map.dispatchEvent(new MouseEvent("mouseleave"));
        })()"""
    )
    browser.run(SETTLED)
    assert browser.run("Math.hypot(MAPS[0].xs[pinned] - MAPS[0].xs[9], MAPS[0].ys[pinned] - MAPS[0].ys[9])") == 0


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("dark", [False, True])
def test_both_themes_at_both_widths_fit(opened, width, dark):
    browser, *_ = opened
    browser.look(width, 900, dark=dark)
    browser.run(SETTLED)
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    wide = "[...document.querySelectorAll('.scroller')].filter((one) => one.scrollWidth > one.clientWidth).length"
    assert browser.run(wide) == 0
    assert (browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(246, 245, 242)") != dark
    picture = "at('one').querySelector('canvas')"
    drawn = browser.run(f"[...{picture}.getContext('2d').getImageData(0, 0, 168, 168).data]")
    red, alpha = np.reshape(drawn, (-1, 4))[:, [0, 3]].T
    assert red[alpha == 255] == pytest.approx(0xEC if dark else 0x1D)  # pictures are drawn with the ink of the theme


def test_on_paper_all_answers_are_open_and_then_closed_again(opened):
    browser, *_ = opened
    browser.run("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.run("document.querySelectorAll('details:not([open])').length") == 0
    browser.run("window.dispatchEvent(new Event('afterprint'))")
    assert browser.run("document.querySelectorAll('details[open]').length") == 0


def test_in_korean_nothing_is_left_in_english(browser, made, tmp_path):
    write_page("oddkind.lab", made[0], tmp_path / "report.html", "ko")
    browser.look(1280, 900)
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    browser.run(SETTLED)
    assert browser.problems == []
    assert browser.run("document.documentElement.lang") == "ko"
    assert browser.run("document.title") == "분류를 이용한 이상 탐지"
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    # Names of exercises and formulas are the same in every language.
    browser.run(
        "for (const one of document.querySelectorAll('script, style, noscript, #rows .soft, bdi')) one.remove()"
    )
    said = browser.run("document.body.textContent")
    said += browser.run(
        "[...document.querySelectorAll('[aria-label]')].map((one) => one.getAttribute('aria-label')).join('. ')"
    )
    assert re.findall(r"[A-Za-z]+(?: [A-Za-z]+){2,}", said) == []
    assert "임계값" in said


@pytest.mark.parametrize(("normal", "anomalous"), [((2, 4), (7,)), ((4, 2), (0, 1, 3, 5, 6, 7, 8, 9))])
def test_other_digits_in_a_single_run_open_without_complaint(browser, draw, tmp_path, normal, anomalous):
    samples = samples_of(draw, normal, anomalous, each=16)
    shown = shown_of(draw, samples)
    write_page("oddkind.lab", gather(result_of(draw, 1), samples, shown), tmp_path / "report.html")
    browser.look(1280, 900)
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    browser.run("BENCHES.second.set({temperature: 3, cut: 0.3})")
    scores = msp(shown["initial"].test.logits, 3).mean(1)
    assert browser.run(NUMBERS)[0] == f"{auc(samples.anomalous, scores):.4f}"
    assert browser.run("at('confusions').querySelectorAll('table').length") == len(normal) + len(anomalous)
    assert browser.run("document.querySelectorAll('.turned .digit').length") == 2 * 6 * 4
    assert "NaN" not in browser.run("document.querySelector('main').innerText")
    assert browser.problems == []


def test_every_network_that_is_shown_is_trained():
    from oddkind.lab.exercises import EXERCISES

    assert set(SHOWN) <= {setting.name for setting in EXERCISES}
