"""`oddkind report`, as from a shell."""

import json
import re
from dataclasses import replace

import pytest

import oddkind.report.feature_map
from oddkind import save


@pytest.fixture
def model(fitted, tmp_path):
    save(fitted, tmp_path / "fan.oddkind")
    return tmp_path / "fan.oddkind"


def test_a_page_is_written_and_holds_all_it_needs(command, data, model, tmp_path):
    out = tmp_path / "report.html"
    code, printed, err = command("report", model, data, "--out", out, "--most", "3", "--clips", "1")
    assert (code, err) == (0, "")
    assert re.search(r"report.html shows 72 files, 3 of them explained, in \d\.\d MB\.", printed)
    page = out.read_text(encoding="utf-8")
    assert page.count("data:audio/wav") == 2
    assert not re.search(r"https?://|<link[^>]+href=\"(?!data:)|src=\"(?!data:)", page)
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page, re.DOTALL)[1])
    assert len(facts["model"]["fingerprint"]) == 64
    code, printed, _ = command("report", model, data, "--out", out, "--json", "--most", "1")
    content = json.loads(printed)
    assert (content["files"], content["explained"], content["bytes"]) == (72, 1, out.stat().st_size)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--most", "0"), "--most 0; it must be from 1 to"),
        (("--clips", "-1"), "--clips -1; it must be at least 0"),
        (("--order", "rpm"), "--order names the column 'rpm'"),
        (("--false-alarm-rate", "2"), "false_alarm_rate=2.0; it must lie between 0 and 1"),
        (("--learnt-from", "nowhere"), "nowhere"),
        (("--compare", "nowhere.oddkind"), "nowhere.oddkind"),
        (("--compare", "memory://nowhere/b.oddkind"), "memory://nowhere/b.oddkind"),
    ],
)
def test_what_cannot_be_is_refused_and_a_page_that_is_there_stays(command, data, model, tmp_path, words, message):
    out = tmp_path / "report.html"
    out.write_text("before")
    code, printed, err = command("report", model, data, "--out", out, *words)
    assert (code, printed) == (2, "")
    assert message in err
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "fan.oddkind"}


def test_a_page_that_cannot_be_written_is_refused_at_once(command, data, model, tmp_path):
    code, _, err = command("report", model, data, "--out", tmp_path / "nowhere" / "report.html")
    assert code == 2
    assert "cannot be written" in err


def test_another_model_decides_at_the_same_rate(command, data, fitted, model, tmp_path):
    save(replace(fitted, false_alarm_rate=0.01), tmp_path / "other.oddkind")
    out = tmp_path / "report.html"
    words = "--compare", tmp_path / "other.oddkind", "--most", "1", "--no-map", "--false-alarm-rate", "0.1"
    code, _, err = command("report", model, data, "--out", out, *words)
    assert (code, err) == (0, "")
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', out.read_text("utf-8"), re.DOTALL)[1])
    compared = facts["compare"]
    assert (compared["name"], compared["problem"], compared["reasons"]) == ("other.oddkind", None, [])
    assert compared["p"] == facts["files"]["p"]
    assert compared["model"]["fingerprint"] != facts["model"]["fingerprint"]
    assert facts["map"] == {"missing": "", "asked": False}


def test_a_model_of_another_kind_is_not_compared(command, data, fitted, model, tmp_path):
    settings = fitted.source["settings"] | {"kind": "pictures", "size": [8, 8], "front_end": None}
    for name in ("sample_rate", "window", "hop", "short", "channels", "match_loudness", "block"):
        settings.pop(name, None)
    save(replace(fitted, source=fitted.source | {"settings": settings}), tmp_path / "pictures.oddkind")
    out = tmp_path / "report.html"
    code, printed, err = command("report", model, data, "--out", out, "--compare", tmp_path / "pictures.oddkind")
    assert (code, printed, out.exists()) == (2, "", False)
    assert "pictures" in err


def test_a_map_that_cannot_be_drawn_is_refused_if_asked_for(command, data, model, tmp_path, monkeypatch):
    monkeypatch.setattr(oddkind.report.feature_map, "find_spec", lambda name: None)
    code, _, err = command("report", model, data, "--out", tmp_path / "report.html", "--map")
    assert code == 2
    assert "pip install 'oddkind[map]'" in err
