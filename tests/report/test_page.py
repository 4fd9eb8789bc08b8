"""The page in a real browser: it runs, asks for nothing, counts as Python does, and can be used without a mouse."""

import math
import re
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from problems import LABELS, record

import oddkind.report.feature_map
from oddkind import PromiseWarning
from oddkind.files.evaluate import evaluate_files, promise, to_evaluate
from oddkind.files.score import calibration_files, read_as_learnt, score_files
from oddkind.metrics import auc, auc_difference
from oddkind.model.conformal import alarms, false_alarm_test
from oddkind.pages.encoding import packed
from oddkind.pages.page import write_page
from oddkind.report.comparison import Other
from oddkind.report.facts import gather

pytestmark = pytest.mark.slow
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
RATES = 0.02, 0.05, 0.1, 0.2, 0.25, 1 / 3, 0.5
PLAYS = """new Promise((done) => {
  const audio = at("this-one");
  audio.onplaying = () => done(true);
  audio.play();
  setTimeout(() => done(false), 5000);
})"""
NAMELESS = """[...document.querySelectorAll("canvas, img, input, select, audio")].filter((one) => !(
  one.getAttribute("aria-label") || one.getAttribute("aria-hidden") || one.hasAttribute("alt") || one.labels?.length
)).length"""
WITHOUT_VALUE = r"""[...document.querySelectorAll("body, [aria-label], [title]")].flatMap(
  (one) => [one.innerText, one.getAttribute("aria-label"), one.title].flatMap((text) => (text ?? "").split("\n"))
).filter((line) => /undefined|NaN/.test(line))"""
TABLE_OF = "[...at('%s').querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
POINT_OF_MAP = """(() => {
  const plot = at("map").querySelector("canvas"), box = plot.getBoundingClientRect();
  const all = placesOnMap(), [row, x, y] = all.find((one) => one[0] !== selected
    && all.every((other) => other === one || Math.hypot(other[1] - one[1], other[2] - one[2]) > 3));
  return [row, box.x + x, box.y + y];
})()"""
NASTY = "<script>document.title='broken'<∕script> & \"quotes\" 한국어 صوت.wav"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """The test recordings, and one with a name that a page could take for something else."""
    folder = tmp_path_factory.mktemp("new")
    for label in LABELS:
        shutil.copytree(data / label / "test", folder / label / "test")
    record(folder, f"{LABELS[0]}/test/abnormal/{NASTY}", 300, 777, odd=True)
    return folder


def written(fitted, data, file, language="en", **how):
    files, _ = read_as_learnt(fitted, data)
    facts = gather(files, fitted, **{"data": data, "most": 5, "clips": 3, "order": "name"} | how)
    write_page("oddkind.report", facts, file, language)
    return files, score_files(files, fitted)


@pytest.fixture
def opened(browser, fitted, folder, tmp_path):
    files, verdicts = written(fitted, folder, tmp_path / "report.html", learnt_from=())
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    return browser, files, verdicts


def counts(browser, rate, label=-1):
    browser.run(f"setRate({rate!r})")
    return browser.run(f"counts({label})")


@needs_browser
def test_the_page_asks_for_nothing_and_complains_of_nothing(opened):
    browser, _, _ = opened
    asked = [address for address in browser.requests if not address.startswith("data:")]
    assert asked == [browser.run("location.href")]
    assert asked[0].startswith("file://")
    assert browser.problems == []
    assert "25 files are anomalous" in browser.run("document.title")


@needs_browser
def test_text_of_users_is_text(opened):
    browser, *_ = opened
    assert browser.run("document.querySelectorAll('script').length") == 2
    shown = browser.run("[...document.querySelectorAll('.row')].map((row) => row.title)")
    assert f"{LABELS[0]}/test/abnormal/{NASTY}" in shown
    assert browser.run("document.querySelectorAll('bdi').length") > 20


@needs_browser
@pytest.mark.parametrize("per_label", [False, True])
def test_the_slider_counts_as_python_does(browser, fitted, folder, tmp_path, per_label):
    model = replace(fitted, per_label=per_label, false_alarm_rate=0.4)  # one label has few held-out files
    files, verdicts = written(model, folder, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    wanted = to_evaluate(files, model)
    for rate in RATES:
        found = counts(browser, rate)
        at_rate = replace(model, false_alarm_rate=rate)
        own = [replace(one, anomalous=bool(alarms(np.array([one.p_value]), rate)[0])) for one in verdicts]
        rows = evaluate_files(wanted, own)
        assert found["alarms"] == sum(one.anomalous for one in own)
        for number, row in zip((-1, 0, 1), rows, strict=True):
            found = counts(browser, rate, number)
            assert (found["normal"], found["anomalous"]) == (row.n_normal, row.n_anomalous)
            assert found["falseAlarms"] == round(row.false_alarms * row.n_normal)
            assert found["found"] == round(row.found * row.n_anomalous)
            assert browser.run(f"curveOf({number}).auc") == pytest.approx(row.auc, abs=1e-9)
        kept = promise(wanted, own, at_rate)
        chance = browser.run(
            "(() => { const of = counts(-1); return chanceOf(of.falseGroups, of.groups, heldOut(-1), rate); })()"
        )
        assert chance == (None if kept is None else pytest.approx(kept.chance, abs=1e-9))
        (held_out,) = calibration_files(model)
        for number, label in enumerate(LABELS if per_label else [None]):
            order = sorted(LABELS)
            threshold = browser.run(f"threshold({order.index(label) if per_label else -1})")
            expected = held_out.of_label(order.index(label) if per_label else None).threshold(rate)
            promised = browser.run(f"heldOut({order.index(label) if per_label else -1}) >= minSize(rate)")
            assert threshold == (pytest.approx(expected) if promised else None), (number, rate)
    shown = browser.run("document.getElementById('verdict').textContent")
    assert shown.startswith(f"{counts(browser, RATES[-1])['alarms']} of 25 files raise an alarm")


@needs_browser
def test_groups_count_as_python_counts_them(browser, fitted, folder, tmp_path):
    files, _ = read_as_learnt(fitted, folder)
    files = [replace(entry, group=f"{entry.label} {number % 4}") for number, entry in enumerate(files)]
    facts = gather(files, fitted, data=folder, most=1, clips=0)
    write_page("oddkind.report", facts, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    verdicts = score_files(files, fitted)
    for rate in RATES[2:]:
        own = [replace(one, anomalous=bool(alarms(np.array([one.p_value]), rate)[0])) for one in verdicts]
        kept = promise(to_evaluate(files, fitted), own, replace(fitted, false_alarm_rate=rate))
        found = counts(browser, rate)
        assert (found["falseGroups"], found["groups"]) == (kept.n_alarms, kept.n_normal)
        assert kept.unit == "groups"


@needs_browser
def test_what_was_learnt_from_is_not_counted(browser, fitted, data, tmp_path):
    files, verdicts = written(fitted, data, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    fresh = {entry.name for entry in files if entry.split == "test"}
    expected = sum(one.anomalous for one in verdicts if one.path in fresh)
    found = counts(browser, fitted.false_alarm_rate)
    assert (found["files"], found["alarms"], found["normal"]) == (24, expected, 12)
    assert expected < sum(one.anomalous for one in verdicts)
    assert browser.run("RANKED.length") == 72
    assert "48 files" in browser.run("at('doubts').textContent")


@needs_browser
def test_the_area_counts_ties_as_python_does(browser, fitted, folder, tmp_path):
    files, _ = read_as_learnt(fitted, folder)
    facts = gather(files, fitted, data=folder, most=1, clips=0)
    draw = np.random.default_rng(0)
    scores = draw.integers(0, 4, len(files)).astype(float)
    facts["files"]["score"] = packed(scores, "f8")
    write_page("oddkind.report", facts, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    truth = {entry.name: entry.anomalous for entry in files}
    flags = np.array([truth[name] for name in facts["files"]["names"]])
    assert browser.run("curveOf(-1).auc") == pytest.approx(auc(flags, scores), abs=1e-12)


@needs_browser
def test_the_chance_of_false_alarms_is_that_of_python(opened):
    browser, *_ = opened
    cases = (0, 10, 19, 0.05), (3, 40, 59, 0.05), (30, 1000, 999, 0.01), (9, 9, 9, 0.1), (5, 5000, 200, 0.3)
    for case in cases:
        found = browser.run(f"chanceOf{case}")
        assert math.isclose(found, false_alarm_test(*case), rel_tol=1e-7, abs_tol=1e-9)
    assert browser.run("chanceOf(1, 10, 8, 0.1)") is None


@needs_browser
def test_the_keyboard_walks_the_worklist_and_plays(opened):
    browser, _, verdicts = opened
    ranked = [one.path for one in sorted(verdicts, key=lambda one: (one.p_value, -one.score))]
    shown = "document.querySelector('#why h3').textContent"
    assert browser.run(shown) == ranked[0]
    browser.click("#list")
    browser.press("Home")
    assert browser.run(shown) == ranked[0]
    browser.press("ArrowDown", 2)
    assert browser.run(shown) == ranked[2]
    assert browser.run("document.getElementById(at('list').getAttribute('aria-activedescendant')).title") == ranked[2]
    browser.press("ArrowUp")
    assert browser.run(shown) == ranked[1]
    browser.press("End")
    assert browser.run(shown) == ranked[-1]
    assert "most anomalous are explained; this is number 25" in browser.run("at('why').textContent")
    browser.press("Home")
    browser.press("Enter")
    assert browser.run("document.activeElement.id") == "why"
    assert browser.run(PLAYS)
    assert browser.run("at('this-one').duration") == pytest.approx(0.93, abs=0.08)
    assert browser.run("at('normal-one').duration") == pytest.approx(0.93, abs=0.08)
    browser.press("p")
    assert browser.run("at('this-one').paused")
    browser.press("Escape")
    assert browser.run("document.activeElement.id") == "list"


@needs_browser
def test_the_slider_and_the_fields_move_everything(opened):
    browser, _, verdicts = opened
    browser.run("at('percent').value = '25'; at('percent').dispatchEvent(new Event('change'))")
    n = sum(one.p_value <= 0.25 for one in verdicts)
    assert browser.run("at('verdict').textContent").startswith(f"{n} of 25 files raise an alarm")
    browser.run("at('only').value = 'alarm'; at('only').dispatchEvent(new Event('input'))")
    assert browser.run("at('shown').textContent").startswith(f"{n} of 25 files")
    before = browser.run("at('histogram').firstChild.toDataURL()")
    browser.run("at('slider').focus()")
    browser.press("ArrowLeft", 40)
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.run("rate") < 0.25
    assert browser.run("at('histogram').firstChild.toDataURL()") != before
    browser.run("at('only').value = ''; at('only').dispatchEvent(new Event('input'))")
    browser.run("at('search').value = '한국어'; at('search').dispatchEvent(new Event('input'))")
    assert browser.run("at('shown').textContent").startswith("1 of 25 files")
    browser.run("at('timeline').firstChild.focus()")
    first = browser.run("selected")
    browser.press("ArrowRight")
    assert browser.run("selected") != first
    assert browser.problems == []


@needs_browser
def test_the_map_shows_selects_and_is_walked_by_the_keyboard(opened):
    browser, _, verdicts = opened
    browser.run("at('map').querySelector('canvas').scrollIntoView({block: 'center'})")
    row, x, y = browser.run(POINT_OF_MAP)
    move = "at('map').querySelector('canvas').dispatchEvent(new MouseEvent('mousemove', {clientX: %r, clientY: %r}))"
    tip = "at('map').querySelector('.tip')"
    assert browser.run(f"{tip}.hidden")
    browser.run(move % (x, y))
    assert not browser.run(f"{tip}.hidden")
    shown = browser.run(f"{tip}.textContent")
    assert browser.run("F.names")[row] in shown
    assert f"p-value {verdicts[row].p_value:.3g}" in shown
    browser.run(
        f"document.elementFromPoint({x!r}, {y!r}).dispatchEvent(new MouseEvent('click', "
        f"{{clientX: {x!r}, clientY: {y!r}, bubbles: true}}))"
    )
    assert browser.run("selected") == row
    assert browser.run("document.querySelector('#why h3').textContent") == verdicts[row].path
    browser.run("at('map').querySelector('canvas').focus()")
    seen, picture = {row}, "at('map').querySelector('canvas').toDataURL()"
    for key, axis, sign in (("ArrowLeft", 1, -1), ("ArrowUp", 2, -1), ("ArrowRight", 1, 1), ("ArrowDown", 2, 1)) * 3:
        from_, before = browser.run("selected"), browser.run(picture)
        browser.press(key)
        to = browser.run("selected")
        places = {place[0]: place for place in browser.run("placesOnMap()")}
        assert to == from_ or sign * (places[to][axis] - places[from_][axis]) > 0
        assert (browser.run(picture) == before) == (to == from_)
        seen.add(to)
    assert len(seen) > 1
    assert browser.run("F.names[selected]") in browser.run(
        "at('map').querySelector('canvas').getAttribute('aria-label')"
    )
    browser.press("Enter")
    assert browser.run("document.activeElement.id") == "why"
    assert browser.problems == []


@needs_browser
def test_the_colours_of_the_map_follow_the_choice_and_the_slider(opened):
    browser, *_ = opened
    picture = "at('map').querySelector('canvas').toDataURL()"
    options = browser.run("[...at('map-by').options].map((option) => option.value)")
    assert options == ["decision", "known", "label", "score"]
    seen, legends = set(), set()
    for value in options:
        browser.run(f"at('map-by').value = {value!r}; at('map-by').dispatchEvent(new Event('change'))")
        seen.add(browser.run(picture))
        legends.add(browser.run("at('map-legend').textContent"))
    assert len(seen) == len(legends) == 4
    title = browser.run("at('map-title').textContent")
    before = browser.run(picture)
    browser.run("setRate(0.5)")
    assert browser.run(picture) != before
    alarms_ = browser.run("RANKED.filter((i) => isAlarm(i)).length")
    assert f"of {alarms_} (" in browser.run("at('map-title').textContent") != title


@needs_browser
def test_many_labels_look_different(opened):
    browser, *_ = opened
    looks = browser.run("Array.from({length: 20}, (_, n) => `${n % HUES} ${FORMS[n % FORMS.length]}`)")
    assert len({*looks}) == 20
    picture = "(() => { const c = document.createElement('canvas'), p = c.getContext('2d'); c.width = c.height = 20; "
    picture += "drawPoints(p, [[10, 10, {colour: '#000', form: FORM, size: 5, alpha: 1}]]); return c.toDataURL(); })()"
    forms = browser.run("FORMS")
    assert len({browser.run(picture.replace("FORM", repr(form))) for form in [*forms, "peak"]}) == len(forms) + 1


@needs_browser
@pytest.mark.parametrize("wanted", [False, None])
def test_without_a_map_its_section_says_why_or_is_not_there(browser, fitted, folder, tmp_path, monkeypatch, wanted):
    monkeypatch.setattr(oddkind.report.feature_map, "find_spec", lambda name: None)
    written(fitted, folder, tmp_path / "report.html", feature_map=wanted)
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    assert browser.run("at('map-card').hidden") == (wanted is False)
    if wanted is None:
        assert "pip install" in browser.run("at('map-card').textContent")
    browser.run("setRate(0.3)")
    assert browser.problems == []


@needs_browser
def test_the_slider_moves_both_models_and_counts_as_python_does(browser, fitted, another, folder, tmp_path):
    there, _ = read_as_learnt(another, folder)
    other = Other(another, there, "<b>other</b>.oddkind")
    files, first = written(fitted, folder, tmp_path / "report.html", other=other)
    second = score_files(there, another)
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    truth = np.array([entry.anomalous is True for entry in files])
    below = browser.run("at('map-title').getBoundingClientRect().top + window.scrollY")
    p, q = (np.array([one.p_value for one in own]) for own in (first, second))
    seen = set()
    for rate in RATES:
        browser.run(f"setRate({rate!r})")
        here, other_alarms = alarms(p, rate), alarms(q, rate)
        n = int((here != other_alarms).sum())
        title = browser.run("at('compare-title').textContent")
        if n:
            assert title.startswith(f"{n} of 25 files are decided differently")
            assert "<b>other</b>.oddkind" in title
        rows = browser.run("[...at('compare-list').querySelectorAll('tr[data-row]')].map((row) => +row.dataset.row)")
        assert {*rows} == {*np.flatnonzero(here != other_alarms).tolist()}
        lines = {name: cells for name, *cells in browser.run(TABLE_OF % "compare-counts")}
        for number, own in enumerate((here, other_alarms)):
            assert lines["alarms"][number].startswith(f"{own.sum()} of 25")
            assert lines["false alarms"][number].startswith(f"{own[~truth].sum()} of {(~truth).sum()}")
            assert lines["anomalies found"][number].startswith(f"{own[truth].sum()} of {truth.sum()}")
        seen.add(n)
        assert browser.run("at('map-title').getBoundingClientRect().top + window.scrollY") == below
    assert len(seen) > 1
    scores = [[one.score for one in own] for own in (first, second)]
    assert lines["AUC"] == [f"{auc(truth, one):.4f}" for one in scores]
    assert f"{auc_difference(truth, *scores)[0]:.4f}".lstrip("-") in browser.run("at('compare-auc').textContent")
    assert browser.problems == []


@needs_browser
def test_a_changed_file_says_why_and_is_selected_everywhere(browser, fitted, another, folder, tmp_path):
    there, _ = read_as_learnt(another, folder)
    written(fitted, folder, tmp_path / "report.html", other=Other(another, there, "other.oddkind"))
    browser.open(tmp_path / "report.html")
    row = browser.run("+at('compare-list').querySelector('tr[data-row]').dataset.row")
    browser.run("at('compare-list').querySelector('button').focus()")
    browser.press("Enter")
    assert browser.run("selected") == row
    assert browser.run("document.querySelector('#why h3').textContent") == browser.run("F.names")[row]
    assert browser.run("at('compare-list').querySelector('tr.selected').dataset.row") == str(row)
    reasons = browser.run(
        "[...at('compare-list').querySelectorAll('tr[data-row]')].map((one) => one.lastChild.textContent)"
    )
    assert all("of the evidence" in text for text in reasons)
    before = browser.run("selected")
    browser.run("at('compare-plot').querySelector('canvas').focus()")
    for key in ("ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"):
        browser.press(key)
    assert browser.run("selected") != before
    browser.run("at('compare-card').querySelector('details').open = true")
    differs = browser.run("at('compare-models').textContent")
    assert "envelope" in differs
    assert "fingerprint" not in differs  # of files that the command line knows
    assert browser.run(WITHOUT_VALUE) == []
    assert browser.run(NAMELESS) == 0


@needs_browser
def test_without_another_model_nothing_is_compared(opened):
    browser, *_ = opened
    assert browser.run("at('compare-card').hidden")


@needs_browser
@pytest.mark.parametrize("kind", ["pictures", "tables", "vibration", "arrays", "spectrograms", "folds", "blocks"])
def test_pages_of_every_kind_open_without_complaint(browser, kinds, tmp_path, kind):
    model, folder = kinds[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)
        _, verdicts = written(model, folder, tmp_path / "report.html", order="auto" if kind == "blocks" else "name")
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    browser.run("at('list').focus()")
    browser.press("ArrowDown", 6)  # beyond what is explained
    assert "most anomalous" in browser.run("at('why').textContent")
    for rate in RATES:
        expected = [bool(alarm) for alarm in alarms(np.array([one.p_value for one in verdicts]), rate)]
        browser.run(f"setRate({rate!r})")
        assert browser.run("Array.from({length: N}, (_, i) => isAlarm(i))") == expected
    assert browser.run(WITHOUT_VALUE) == []
    assert browser.problems == []


@needs_browser
def test_a_page_in_korean_says_the_same_in_korean(browser, fitted, another, folder, tmp_path):
    other = Other(another, read_as_learnt(another, folder)[0], "b")
    _, verdicts = written(fitted, folder, tmp_path / "report.html", language="ko", other=other)
    browser.problems.clear()
    browser.open(tmp_path / "report.html")
    assert browser.run("document.documentElement.lang") == "ko"
    alarmed = sum(one.anomalous for one in verdicts)
    assert browser.run("at('verdict').textContent").startswith(f"파일 25개 중 {alarmed}개가 경보를 울립니다")
    kinds = "h1, h2, h3, label, option, th, figcaption"
    shown = browser.run(f"[...document.querySelectorAll('{kinds}')].map((one) => one.textContent)")
    same = {*map(str, fitted.task.labels), "", "AUC", "ROC: AUC 1.000", "b"}
    assert [text for text in shown if text not in same and not re.search("[가-힣]", text)] == []
    for key in ("ArrowDown", "End"):
        browser.run("at('list').focus()")
        browser.press(key)
        assert browser.run(WITHOUT_VALUE) == []
    assert browser.problems == []


@needs_browser
@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("dark", [False, True])
def test_both_themes_at_both_widths_fit_and_do_not_shift(opened, width, dark):
    browser, *_ = opened
    browser.look(width, 900, dark=dark)
    browser.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.run("document.documentElement.scrollWidth <= window.innerWidth")
    light = browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(246, 245, 242)"
    assert light != dark
    place = "at('rate-title').getBoundingClientRect().top + window.scrollY"
    before = browser.run(place)
    for key in ("ArrowDown", "ArrowDown", "End"):
        browser.run("at('list').focus({preventScroll: true})")
        browser.press(key)
        assert browser.run(place) == before
    browser.run("setRate(0.3)")
    assert browser.run(place) == before
    assert browser.run(NAMELESS) == 0
    browser.look(1280, 900)
