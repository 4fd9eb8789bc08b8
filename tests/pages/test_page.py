"""A page is put together from a template, styles, scripts and facts, and translated."""

import json
import math

import pytest

from oddkind import InputError
from oddkind.language import Message
from oddkind.pages.page import page_of, write_page

PACKAGE = "oddkind.report"


def facts_of(page):
    return json.loads(page.partition('id="facts">')[2].partition("</script>")[0])


def test_facts_are_text_and_every_place_is_filled():
    page = page_of(PACKAGE, {"a": "</script><script>/*STYLE*/{{all}}"})
    assert facts_of(page) == {"a": "</script><script>/*STYLE*/{{all}}", "catalogue": {}}
    assert all(page.count(place) == (place == "/*STYLE*/") for place in ("/*STYLE*/", "/*SCRIPT*/", "/*FACTS*/"))
    assert '<html lang="en">' in page


def test_a_page_in_korean_has_its_texts_and_its_catalogue():
    page = page_of(PACKAGE, {"a": Message("The file is {name}", name="ä")}, "ko")
    assert '<html lang="ko">' in page
    assert "오경보율" in page
    assert "False-alarm rate</label>" not in page
    assert facts_of(page)["catalogue"]


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "report.html"
    file.write_text("before")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_page(PACKAGE, {"a": math.nan}, file)
    assert file.read_text() == "before"
    with pytest.raises(InputError, match="cannot be written"):
        write_page(PACKAGE, {}, tmp_path / "nowhere" / "report.html")
    size = write_page(PACKAGE, {}, file)
    assert size == file.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
