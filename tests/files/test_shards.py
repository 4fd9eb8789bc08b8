"""Archives scored in shards: each file once, whatever is killed, and the same rows as in one run."""

import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import listed, quick, record
from pyarrow import parquet

import oddkind.files.shards as shards
from oddkind import InputError, load, source_of
from oddkind.file_fitting import fit_files
from oddkind.files.score import score_files
from oddkind.files.shards import SCHEMA, Shard, score_into
from oddkind.model.saving import save

pytestmark = pytest.mark.filterwarnings("ignore::oddkind.PromiseWarning", "ignore::oddkind.ConcernWarning")

MADE_WITH = {"model": "one", "label": None}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A model, and an archive of 60 recordings of which one cannot be read."""
    folder = tmp_path_factory.mktemp("archive")
    for number in range(24):
        record(folder / "data", f"fan {number % 2}/{number}.wav", 300 + 100 * (number % 2), number, seconds=1)
    source = source_of(folder / "data", window=0.5)
    model = fit_files(source.entries(folder / "data")[0], source, quick(epochs=1), folds=None)
    save(model, folder / "fan.oddkind")
    for number in range(60):
        record(folder / "new", f"{number}.wav", 300, 100 + number, seconds=1, odd=number % 7 == 0)
    (folder / "new" / "5.wav").write_bytes(b"no sound")
    return folder, load(folder / "fan.oddkind")


def rows_of(folder):
    return pyarrow.dataset.dataset(folder).to_table().to_pylist()


# --- Which files --------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 20))
def test_each_name_is_in_exactly_one_shard(names, of):
    for name in names:
        assert sum(name in Shard(number, of) for number in range(1, of + 1)) == 1


def test_shards_are_about_equally_large_and_stay_what_they_are():
    sizes = [sum(f"machine/{n}.wav" in Shard(number, 8) for n in range(8000)) for number in range(1, 9)]
    assert sum(sizes) == 8000
    assert 900 < min(sizes) <= max(sizes) < 1100
    assert [name for name in map(str, range(40)) if name in Shard(3, 8)] == ["11", "20", "23"]


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", "-1/4", "1/4/4"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="it must be a number of all shards, from 1/64 to 64/64"):
        Shard.parse(text)


# --- What is written ----------------------------------------------------------------------------------------


def test_all_shards_have_the_rows_of_one_run(archive, tmp_path, monkeypatch):
    folder, model = archive
    monkeypatch.setattr(shards, "PART_FILES", 7)
    for number in range(1, 5):
        shard = Shard(number, 4)
        files = [entry for entry in listed(folder / "new") if entry.name in shard]
        progress = []
        found = score_into(tmp_path, files, model, made_with=MADE_WITH, shard=shard, on_progress=progress.append)
        assert found.n_scored + len(found.refused) == len(files)
        assert progress == sorted(progress)
        assert progress[-1] == 1
    expected = {
        verdict.path: vars(verdict) | {"refused": None}
        for verdict in score_files(listed(folder / "new"), model, on_refused=lambda name, reason: None)
    }
    rows = {row["path"]: row for row in rows_of(tmp_path)}
    assert len(rows) == len(rows_of(tmp_path)) == 60
    refused = rows.pop("5.wav")
    assert refused["score"] is None
    assert refused["refused"]
    assert rows == expected  # every bit of the scores
    for part in tmp_path.iterdir():
        assert parquet.read_schema(part).equals(SCHEMA)


def test_an_interrupted_shard_goes_on_behind_its_last_part(archive, tmp_path, monkeypatch):
    folder, model = archive
    files = listed(folder / "new")
    monkeypatch.setattr(shards, "PART_FILES", 20)

    def interrupt(done):
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_into(tmp_path, files, model, made_with=MADE_WITH, on_progress=interrupt)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert list(first) == ["shard-1-of-1-000001.parquet"]
    found = score_into(tmp_path, files, model, made_with=MADE_WITH)
    assert (found.n_before, found.n_scored, len(found.refused)) in ((20, 39, 1), (20, 40, 0))
    assert (tmp_path / "shard-1-of-1-000001.parquet").read_bytes() == first["shard-1-of-1-000001.parquet"]
    assert Counter(row["path"] for row in rows_of(tmp_path)) == dict.fromkeys((entry.name for entry in files), 1)
    again = score_into(tmp_path, files, model, made_with=MADE_WITH)
    assert (again.n_scored, again.n_before, again.parts) == (0, 60, [])


def test_without_a_shard_what_the_shards_left_is_scored(archive, tmp_path):
    folder, model = archive
    files, shard = listed(folder / "new"), Shard(2, 3)
    done = [entry for entry in files if entry.name in shard]
    score_into(tmp_path, done, model, made_with=MADE_WITH, shard=shard)
    found = score_into(tmp_path, files, model, made_with=MADE_WITH)
    assert found.n_before == len(done)
    assert Counter(row["path"] for row in rows_of(tmp_path)) == dict.fromkeys((entry.name for entry in files), 1)


# --- What is refused ----------------------------------------------------------------------------------------


def test_parts_of_another_model_or_another_number_of_shards_are_refused(archive, tmp_path):
    folder, model = archive
    files = listed(folder / "new")[:2]
    score_into(tmp_path, files, model, made_with=MADE_WITH, shard=Shard(1, 1))
    before = rows_of(tmp_path)
    with pytest.raises(InputError, match=r"made with another model \('one', now 'two'\); name another folder"):
        score_into(tmp_path, files, model, made_with=MADE_WITH | {"model": "two"})
    with pytest.raises(InputError, match="a part of 1 shards, not 2, whose files would overlap"):
        score_into(tmp_path, files, model, made_with=MADE_WITH, shard=Shard(1, 2))
    assert rows_of(tmp_path) == before
    (tmp_path / "shard-1-of-1-000002.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"000002\.parquet: not a part that 'oddkind score' wrote"):
        score_into(tmp_path, files, model, made_with=MADE_WITH)


def test_a_part_of_someone_else_is_refused(archive, tmp_path):
    folder, model = archive
    parquet.write_table(pa.table({"path": ["a"]}), tmp_path / "shard-1-of-1-000001.parquet")
    with pytest.raises(InputError, match=r"made with another model \(None, now 'one'\)"):
        score_into(tmp_path, listed(folder / "new"), model, made_with=MADE_WITH)


def test_strictly_the_first_file_that_cannot_be_read_ends_the_run(archive, tmp_path):
    folder, model = archive
    with pytest.raises(InputError, match=r"5\.wav"):
        score_into(tmp_path, listed(folder / "new"), model, made_with=MADE_WITH, strict=True)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(archive, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        score_into(tmp_path / "file", [], archive[1], made_with=MADE_WITH)


# --- The command --------------------------------------------------------------------------------------------


def test_the_command_scores_a_shard_into_a_folder(archive, tmp_path, command):
    folder, _ = archive
    words = "score", folder / "fan.oddkind", folder / "new", "--out", tmp_path / "scores"
    code, out, err = command(*words, "--shard", "1/2")
    assert code == 0, err
    assert "files of shard 1/2, of which" in out
    code, out, err = command(*words, "--shard", "2/2", "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert facts["scored_before"] == 0
    assert len(rows_of(tmp_path / "scores")) == 60
    code, out, _ = command(*words)
    assert "has 0 more files" in out
    assert "60 had been scored before" in out
    code, _, err = command(*words, "--false-alarm-rate", "0.5")
    assert code == 2
    assert "made with another false_alarm_rate (0.2, now 0.5)" in err


def test_a_shard_may_be_printed_too(archive, command):
    folder, _ = archive
    words = "score", folder / "fan.oddkind", folder / "new", "--json"
    printed = [command(*words, "--shard", f"{number}/3")[1] for number in range(1, 4)]
    assert sorted("".join(printed).splitlines()) == sorted(command(*words)[1].splitlines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shard", "4/3"), "shard '4/3'; it must be"),
        (("--out", "scores", "--false-discovery-rate", "0.1"), "needs the p-values of all files"),
        (("--out", "scores.txt"), "or into a folder, without a suffix"),
    ],
)
def test_options_that_cannot_be_used_are_refused(archive, tmp_path, command, monkeypatch, words, message):
    folder, _ = archive
    monkeypatch.chdir(tmp_path)
    code, _, err = command("score", folder / "fan.oddkind", folder / "new", *words)
    assert code == 2
    assert message in err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_killed_at_any_time_each_file_is_scored_once(archive, tmp_path):
    folder, model = archive
    script = (
        "import sys, oddkind.files.shards as shards; shards.PART_FILES = 5; from oddkind.cli.main import main; main()"
    )
    words = ["score", folder / "fan.oddkind", folder / "new", "--out", tmp_path / "scores", "--shard", "1/1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, *map(str, words)]
    draw = np.random.default_rng(0)
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)  # noqa: S603
        seen = len(list((tmp_path / "scores").glob("*.parquet"))) if (tmp_path / "scores").exists() else 0
        while process.poll() is None and len(list((tmp_path / "scores").glob("*.parquet"))) == seen:
            pass
        try:
            process.wait(draw.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)  # noqa: S603
    assert Counter(row["path"] for row in rows_of(tmp_path / "scores")) == {f"{n}.wav": 1 for n in range(60)}
    assert not [path for path in (tmp_path / "scores").iterdir() if path.name.startswith(".")]
    expected = score_files(listed(folder / "new"), model, on_refused=lambda name, reason: None)
    scores = {row["path"]: row["score"] for row in rows_of(tmp_path / "scores") if row["refused"] is None}
    assert scores == {verdict.path: verdict.score for verdict in expected}
