"""Which front end labelled sounds get, from normal recordings alone."""

import json
import re

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose
from PIL import Image
from problems import RATE, quick
from sklearn.metrics import roc_auc_score

from oddkind import Entry, explain_files, fit_files, load, save, score_files, source_of
from oddkind.files.figures import write_pictures
from oddkind.front_end_choice import PICTURE, USUAL, choose_front_end, compare


def clusters(draw, apart, n=40, dimensions=6):
    """Three labels of `n` vectors each, `apart` from each other on axes of their own."""
    labels = np.repeat(["a", "b", "c"], n)
    return draw.normal(size=(3 * n, dimensions)) + apart * np.eye(3, dimensions)[np.repeat(range(3), n)], labels


def test_the_aucs_are_those_of_nearest_neighbours_with_one_label_hidden(draw):
    vectors, labels = clusters(draw, 2)
    rows = np.arange(len(labels))
    compared = compare((vectors, vectors[:, :2]), labels, rows, rows)
    for found, own in zip(compared.aucs, (vectors, vectors[:, :2]), strict=True):
        apart = np.linalg.norm(own[:, None] - own, axis=2)
        np.fill_diagonal(apart, np.inf)
        expected = [roc_auc_score(labels == label, apart[:, labels != label].min(1)) for label in np.unique(labels)]
        assert_allclose(found, np.mean(expected))


def test_the_better_one_is_significant_and_the_worse_and_the_same_are_not(draw):
    good, labels = clusters(draw, 6)
    bad, _ = clusters(draw, 0.5)
    rows = np.arange(len(labels))
    assert compare((bad, good), labels, rows, rows).p_value < 1e-6
    assert compare((good, bad), labels, rows, rows).p_value > 0.999
    assert compare((good, good), labels, rows, rows).p_value == 1


def test_without_a_difference_few_are_significant():
    found = []
    for seed in range(200):
        draw = np.random.default_rng(seed)
        one, labels = clusters(draw, 1, n=20)
        other, _ = clusters(draw, 1, n=20)
        rows = np.arange(len(labels))
        found.append(compare((one, other), labels, rows, rows).p_value)
    assert 0.01 < np.mean(np.array(found) <= 0.05) < 0.12
    assert abs(np.mean(found) - 0.5) < 0.08


def test_samples_of_one_group_are_not_compared_and_windows_count_as_their_file(draw):
    vectors, labels = clusters(draw, 3, n=20)
    windows = np.repeat(vectors, 3, axis=0)  # each file is three equal windows
    rows, files = np.arange(len(labels)), np.repeat(np.arange(len(labels)), 3)
    once = compare((vectors, vectors[:, :3]), labels, rows, rows)
    thrice = compare((windows, windows[:, :3]), np.repeat(labels, 3), files, files)
    assert_allclose(once.aucs, thrice.aucs)
    assert_allclose(once.p_value, thrice.p_value)


def test_nothing_is_compared_if_no_label_can_be_hidden(draw):
    vectors, labels = clusters(draw, 3)
    rows = np.arange(len(labels))
    assert compare((vectors, vectors), labels, np.zeros(len(labels)), rows) is None  # a single group
    assert compare((vectors[:1], vectors[:1]), labels[:1], rows[:1], rows[:1]) is None


def say(folder, name, notes, seed):
    """Notes one after another, each speaker with another filter and speed, in a little noise."""
    draw = np.random.default_rng(seed)
    length = draw.uniform(0.06, 0.12)
    now = np.arange(round(length * RATE)) / RATE
    sound = np.concatenate([np.sin(2 * np.pi * note * now + draw.uniform(0, 6)) for note in notes])
    sound = np.convolve(sound + 0.003 * draw.normal(size=len(sound)), draw.normal(size=8) / 8)
    soundfile.write(folder / name, draw.uniform(0.1, 0.5) * sound, RATE)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """Three words of the same three notes in other orders: only when a note sounds tells them apart."""
    folder = tmp_path_factory.mktemp("words")
    orders = {"up": (400, 800, 1500), "down": (1500, 800, 400), "arch": (400, 1500, 800)}
    for number, (word, notes) in enumerate(orders.items()):
        for take in range(30):
            say(folder, f"{word}_{take}.wav", notes, 100 * number + take)
    return folder


@pytest.fixture(scope="module")
def listened(words):
    source = source_of(words, pattern="{label}_{take}.wav")
    files, _ = source.entries(words)
    stages = []
    with pytest.warns(UserWarning, match=r"90 of 90 recordings are shorter than 1 s, so a window is 0\.4 s long"):
        model = fit_files(
            files, source, quick(epochs=10), folds=None, on_progress=lambda stage, done: stages.append((stage, done))
        )
    return files, model, stages


def test_words_become_spectrograms_and_the_reason_is_kept(listened):
    _, model, stages = listened
    assert model.source["settings"]["front_end"] == [*PICTURE]
    assert (
        "a label that is hidden is told from the others more clearly in mel-spectrogram"
        in (model.source["front_end_reason"])
    )
    assert model.inputs.shape == (1, 40, 32)
    assert model.describe()["task"] == "labels"
    assert model.members[0].describe()["network"] == "spectrogram"
    reading = [done for stage, done in stages if stage == "reading"]
    assert reading == sorted(reading)
    assert reading[-1] == 1


def test_a_model_of_spectrograms_scores_the_same_when_it_was_saved(listened, tmp_path):
    files, model, _ = listened
    save(model, tmp_path / "words.oddkind")
    assert score_files(files, load(tmp_path / "words.oddkind")) == score_files(files, model)


def test_a_front_end_that_is_named_is_taken_and_nothing_is_compared(words, monkeypatch):
    monkeypatch.setattr("oddkind.file_fitting.choose_front_end", None)
    source = source_of(words, pattern="{label}_{take}.wav", front_end=USUAL, window=0.1)
    model = fit_files(source.entries(words)[0], source, quick(epochs=1), folds=None)
    assert model.source["settings"]["front_end"] == [*USUAL]
    assert model.source["front_end_reason"] == "as named"


def test_a_named_task_or_network_keeps_what_it_can_read(words):
    source = source_of(words, pattern="{label}_{take}.wav", window=0.1)
    for named in ({"task": "affine"}, {"network": "mlp", "task": "labels"}):
        model = fit_files(source.entries(words)[0], source, quick(epochs=1, **named), folds=None)
        assert model.source["settings"]["front_end"] == [*USUAL]
        assert "because a task or a network is named" in model.source["front_end_reason"]


def test_machines_keep_the_statistics_of_bands(data, fitted):
    assert fitted.source["settings"]["front_end"] == [*USUAL]
    assert "a label that is hidden is not told from the others more clearly" in fitted.source["front_end_reason"]


def test_without_labels_nothing_is_read_to_choose(words):
    source = source_of(words)
    assert choose_front_end(source.entries(words)[0], source) == (
        USUAL,
        "because there are no labels to choose another one by",
    )


def test_an_odd_word_is_explained_by_when_and_where_it_differs(listened, tmp_path):
    _, model, _ = listened
    say(tmp_path, "up_0.wav", (400, 2600 / 2, 1500), 7)  # the second note is another one
    (of,) = explain_files([Entry(tmp_path / "up_0.wav", "up_0.wav", "up")], model)
    seconds = soundfile.info(tmp_path / "up_0.wav").duration
    assert_allclose([of.start, of.end], [0, seconds], atol=0.05)
    begin, end, low, high = map(float, re.fullmatch(r"([\d.]+)–([\d.]+) s, (\d+)–(\d+) Hz", of.places[0].text).groups())
    assert 0 <= begin < end <= seconds + 0.05
    assert 0 < low < high <= RATE / 2
    (file,) = write_pictures([of], model, tmp_path / "why")
    with Image.open(file) as picture:
        assert len(np.unique(np.asarray(picture))) > 20


@pytest.mark.slow
def test_fit_says_which_front_end_was_chosen_and_why(words, command, tmp_path, shown):
    how = "--pattern", "{label}_{take}.wav", "--cross", "none", "--members", "1", "--out", tmp_path / "m.oddkind"
    code, printed, complained = command("fit", words, *how)
    assert code == 0
    assert "Front end: mel-spectrogram, because a label that is hidden is told from the others more clearly" in printed
    assert "p = " in printed
    assert "; --front-end names another." in printed
    assert "90 of 90 recordings are shorter than 1 s" in complained
    code, printed, _ = command("fit", words, *how, "--front-end", "log-mel")
    assert code == 0
    assert "Front end: log-mel, as named with --front-end." in printed
    facts = json.loads(command("fit", words, *how, "--front-end", "log-mel", "--json")[1])
    assert (facts["front_end"], facts["front_end_reason"]) == (["log-mel"], "as named")
