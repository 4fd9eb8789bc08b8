import pytest

from oddkind import InputError
from oddkind.output import written_whole


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_results_appear_at_the_end_and_replace_those_of_an_earlier_run(tmp_path):
    folder = tmp_path / "runs" / "lab"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text("old")
    (folder / "notes.txt").write_text("the user's own")
    with written_whole(folder) as (unfinished, checkpoints):
        assert list(unfinished.iterdir()) == []
        (unfinished / "results.json").write_text("new")
        (unfinished / "roc.png").write_text("picture")
        checkpoints.mkdir()
        (checkpoints / "state").write_text("half")
        assert (folder / "results.json").read_text() == "old"
        assert not (folder / "roc.png").exists()
    assert names(folder) == ["notes.txt", "results.json", "roc.png"]
    assert (folder / "results.json").read_text() == "new"
    assert (folder / "notes.txt").read_text() == "the user's own"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_a_run_that_fails_leaves_nothing_but_its_checkpoints(tmp_path, error):
    def fail(folder):
        with written_whole(folder) as (unfinished, checkpoints):
            (unfinished / "results.json").write_text("new")
            checkpoints.mkdir(exist_ok=True)
            (checkpoints / "state").write_text("half")
            raise error

    (tmp_path / "results.json").write_text("old")
    with pytest.raises(error):
        fail(tmp_path)
    assert names(tmp_path) == [".checkpoints", ".checkpoints/state", "results.json"]
    assert (tmp_path / "results.json").read_text() == "old"
    with written_whole(tmp_path) as (_, checkpoints):
        assert (checkpoints / "state").read_text() == "half"
    assert names(tmp_path) == ["results.json"]


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path, below):
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / below
    with pytest.raises(InputError, match=r"file.*: cannot be written \(.+\); name a folder that can"):  # noqa: SIM117
        with written_whole(folder):
            pytest.fail("began all the same")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_folder_made_for_a_run_that_fails_at_once_goes_again(tmp_path):
    with pytest.raises(InputError), written_whole(tmp_path / "runs" / "lab"):
        raise InputError("nothing to do")
    assert not (tmp_path / "runs" / "lab").exists()
