"""Machines that are fitted to files."""

import pytest
from fleet_machines import listed, table

from oddkind import ConcernWarning, Entry, InputError
from oddkind.fleet.file_machines import file_machines


def test_machines_learn_from_normal_files_only(tmp_path):
    for number in range(4):
        table(tmp_path / f"pump/good/{number}.csv")
        table(tmp_path / f"pump/bad/{number}.csv")
        table(tmp_path / f"pump/test/good/{number}.csv", seed=9)
    files, source = listed(tmp_path)
    machines, _, _ = file_machines(files, source, min_groups=19)
    assert {entry.name for entry in machines["pump"].entries} == {f"pump/good/{number}.csv" for number in range(4)}
    samples = machines["pump"].samples()
    assert len(samples) == 4
    assert samples.labels is None


def test_a_machine_without_normal_files_is_named(tmp_path):
    table(tmp_path / "pump/good/1.csv")
    table(tmp_path / "fan/bad/1.csv")
    machines, _, refused = file_machines(*listed(tmp_path), min_groups=19)
    assert [*machines] == ["pump"]
    assert refused == {"fan": "all 1 files of this machine are anomalous, so there is nothing to learn from"}


def test_labels_are_kept_if_a_machine_has_several(tmp_path):
    for load in ("low", "high"):
        for number in range(3):
            table(tmp_path / f"pump/{load}/{number}.csv")
    files, source = listed(tmp_path)
    machines, _, _ = file_machines(files, source, min_groups=19)
    assert sorted({*machines["pump"].samples().labels.tolist()}) == ["high", "low"]


def test_a_long_file_of_each_machine_is_cut_into_blocks_of_one_length(tmp_path):
    for number in range(3):
        table(tmp_path / f"pump {number}/log.csv", 4000, number)
    files, source = listed(tmp_path)
    with pytest.warns(ConcernWarning, match="the files of all machines are cut, as the first: 1 file is cut into"):
        machines, resolved, _ = file_machines(files, source, min_groups=19)
    assert resolved.block is not None
    assert {len(one.entries) for one in machines.values()} == {len(machines["pump 0"].entries)}
    assert len(machines["pump 0"].entries) >= 4 * 19


def test_files_that_cannot_be_read_are_left_out_and_named(tmp_path):
    for number in range(3):
        table(tmp_path / f"pump/{number}.csv")
    (tmp_path / "pump/3.csv").write_text("a,b\n1,x\n")
    files, source = listed(tmp_path, window="20", columns=("a", "b"))
    machines, _, _ = file_machines(files, source, min_groups=19)
    with pytest.warns(ConcernWarning, match=r"left out: pump/3\.csv"):
        assert len(machines["pump"].samples()) == 6
    strict, _, _ = file_machines(files, source, min_groups=19, strict=True)
    with pytest.raises(InputError, match=r"pump/3\.csv"):
        strict["pump"].samples()


def test_nothing_to_learn_from_is_refused(tmp_path):
    table(tmp_path / "a.csv")
    files, source = listed(tmp_path)
    with pytest.raises(InputError, match=r"none of 1 files can be learnt from; a\.csv: lies in no folder"):
        file_machines(files, source, min_groups=19)
    with pytest.raises(InputError, match="nothing to learn from"):
        file_machines([Entry(files[0].path, "p/a.csv", anomalous=True)], source, min_groups=19)
