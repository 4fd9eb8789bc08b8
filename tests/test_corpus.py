"""Whatever users have in their folders: each command ends, with 0 or 2, says why, and leaves nothing behind."""

import json
import os
import shutil
import signal
import tempfile
import warnings
from functools import partial
from itertools import chain

import corpus
import numpy as np
import pytest
from typer.main import get_command

from oddkind import Detector, fit_files, save, source_of
from oddkind.cli import main as cli
from oddkind.files.listing import SUFFIXES

SECONDS = 20  # that a command may take
set_signal = signal.signal  # the fixture `command` replaces it
PARSER = get_command(cli.app)  # once: typer would take as long to build it as most commands here


def too_late(*_):
    raise TimeoutError(f"took more than {SECONDS} s")


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """Fits are short, temporary files are seen, and warnings of others than oddkind are errors."""
    monkeypatch.setattr("oddkind.detector.Detector", partial(Detector, epochs=1))
    monkeypatch.setattr(cli, "app", PARSER)
    monkeypatch.setattr("oddkind.files.tables.MAX_VALUES", corpus.MANY - 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with warnings.catch_warnings():
        warnings.filterwarnings("default", category=UserWarning, module=r"oddkind\b")
        yield


@pytest.fixture
def run(command, tmp_path):
    """Run a command, which must end in time with 0 or 2, say why, and leave nothing behind but `out`."""

    def there():
        return {os.path.join(folder, name) for folder, *names in os.walk(tmp_path) for name in chain(*names)}

    def run(*words, out=None):
        before, handler = there(), set_signal(signal.SIGALRM, too_late)
        signal.alarm(SECONDS)
        try:
            code, printed, said = command(*words, *([] if out is None else ["--out", out]))
        finally:
            signal.alarm(0)
            set_signal(signal.SIGALRM, handler)
        assert code in (0, 2), said
        assert all(path == str(out) or os.path.dirname(path) == str(out) for path in there() - before)
        for line in said.splitlines():
            known = line.startswith(("oddkind: ", "left out: "))
            assert known or "raise an alarm" in line or "that the model was fitted to" in line
        if code:
            assert (printed, os.path.exists(out or tmp_path / "none")) == ("", False)
            last = said.splitlines()[-1]
            assert last.startswith("oddkind: ")
            names = "--", "network", str(tmp_path), *map(os.path.basename, before)
            assert any(name in last for name in names), last
        return code, printed, said

    return run


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
    """By kind: a folder with files that are as they should be, in `data`, and a model of them, `model`."""
    folders = {}
    for kind, form in corpus.PLAIN.items():
        folders[kind] = folder = tmp_path_factory.mktemp(kind)
        corpus.write_forms(folder / "data", form, np.random.default_rng(7))
        source = source_of(folder / "data", **({"size": (8, 8)} if kind == "pictures" else {}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = fit_files(source.entries(folder / "data")[0], source, Detector(epochs=1), folds=None)
        save(model, folder / "model")
    return folders


def use(run, data, model, *words):
    """Score, evaluate and explain; return the names of the files that were scored."""
    _, scored, _ = run("score", model, data, "--json", *words)
    run("evaluate", model, data, "--json", *words)
    code, explained, _ = run("explain", model, data, "--most", "1", "--json", *words)
    rows = [json.loads(line) for line in scored.splitlines()]
    assert all(np.isfinite(row["score"]) and 0 < row["p_value"] <= 1 for row in rows)
    if code == 0:
        assert len(json.loads(explained)["files"]) == min(1, len(rows))
    return [row["path"] for row in rows]


def test_the_corpus_has_every_suffix_and_no_form_twice():
    assert {form.suffix.lower() for form in corpus.FORMS} == {name for names in SUFFIXES.values() for name in names}
    assert len({str(form) for form in corpus.FORMS}) == len(corpus.FORMS)


@pytest.mark.slow
@pytest.mark.parametrize("form", corpus.FORMS, ids=str)
def test_every_form_of_a_file_is_read_or_refused_with_a_reason(run, tmp_path, form):
    data, model = tmp_path / "data", tmp_path / "model"
    corpus.write_forms(data, form, np.random.default_rng(1))
    code, checked, said = run("check", data, *form.options, "--json")
    assert (code, form.refused in said) == (2 if form.refused else 0, True), said
    assert form.refused or json.loads(checked)["refused"] == {}
    code, _, said = run("fit", data, *form.options, "--cross", "none", "--json", out=model)
    assert code == (2 if form.refused else form.fit), said
    if code == 0:
        assert len(use(run, data, model)) == corpus.N
    if code == 0 and "name" in form.name:
        run("explain", model, data, "--most", "1", out=tmp_path / "why")
    assert not list(tmp_path.rglob(corpus.CANARY))


@pytest.mark.parametrize("kind", corpus.PLAIN)
def test_among_good_files_every_bad_one_is_named_and_the_good_ones_are_scored(run, plain, tmp_path, kind):
    data, forms = tmp_path / "data", [form for form in corpus.FORMS if form.kind == kind]
    shutil.copytree(plain[kind] / "data", data)
    for number, form in enumerate(forms):
        form.write(data / f"good/form {number}{form.suffix}", np.random.default_rng(number))
    options = corpus.PLAIN[kind].options
    for words in (("check",), ("fit", "--cross", "none")):
        assert run(*words, data, *options, out=tmp_path / "own" if words[0] == "fit" else None)[0] == 0
    printed = run("score", plain[kind] / "model", data, "--json")[1]
    named = json.loads(run("evaluate", plain[kind] / "model", data, "--json")[1])["refused"]
    scored = {os.path.basename(json.loads(line)["path"]) for line in printed.splitlines()}
    assert scored >= {path.name for path in (plain[kind] / "data/good").iterdir()}
    for number, form in enumerate(forms):
        name = f"form {number}{form.suffix}"
        assert (name in scored) != (f"good/{name}" in named), form
    assert not list(tmp_path.rglob(corpus.CANARY))
    use(run, data, plain[kind] / "model")


@pytest.mark.parametrize("layout", corpus.LAYOUTS, ids=str)
def test_every_data_set_is_used_or_refused_with_a_reason(run, plain, tmp_path, layout):
    layout.make(tmp_path, np.random.default_rng(1))
    data, model = tmp_path / layout.data, tmp_path / "model"
    code, printed, said = run("check", data, *layout.options)
    assert code == layout.code, said
    assert all(words in printed + said for words in layout.says), printed + said
    run("check", data, *layout.options, "--json")
    code, _, said = run("fit", data, *layout.options, "--cross", "none", out=model)
    assert code == (layout.code if layout.fit is None else layout.fit), said
    kind = next((kind for kind in corpus.PLAIN if kind in layout.name), "arrays")
    usual = model if code == 0 else plain[kind] / "model"
    words = [word for word in layout.options if word == "--follow"]
    scored = use(run, data, usual, *words)
    assert layout.files is None or len(scored) == layout.files
    run("score", usual, data, *words, out=tmp_path / "scores.csv")
    run("evaluate", usual, data, *words)
    run("explain", usual, data, "--most", "2", *words)
    if "drawn" in layout.name or "half" in layout.name:
        run("explain", usual, data, "--most", "9", *words, out=tmp_path / "why")
