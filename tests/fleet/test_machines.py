"""Which file is from which machine."""

import pytest
from fleet_machines import listed, table

from oddkind import InputError, source_of
from oddkind.fleet.machines import by_machine


def test_each_machine_has_a_folder(tmp_path):
    for name in ("pump 2/a.csv", "pump 10/deep/b.csv", "pump 10/c.csv", "d.csv"):
        table(tmp_path / name)
    machines, refused = by_machine(*listed(tmp_path))
    assert {name: [entry.name for entry in own] for name, own in machines.items()} == {
        "pump 10": ["pump 10/c.csv", "pump 10/deep/b.csv"],
        "pump 2": ["pump 2/a.csv"],
    }
    assert [*refused] == ["d.csv"]
    assert "lies in no folder" in refused["d.csv"]


@pytest.mark.parametrize("field", ["machine", "unit"])
def test_a_manifest_names_the_machines(tmp_path, field):
    for name in ("x/a.csv", "x/b.csv", "c.csv"):
        table(tmp_path / name)
    (tmp_path / "manifest.csv").write_text(f"path,{field}\nx/a.csv,fan\nx/b.csv,pump\nc.csv,\n")
    files, source = listed(tmp_path / "manifest.csv")
    if field != "machine":
        source = source.model_copy(update={"machine": field})
        files, _ = source.entries(tmp_path / "manifest.csv")
    machines, refused = by_machine(files, source)
    assert {name: [entry.name for entry in own] for name, own in machines.items()} == {
        "fan": ["x/a.csv"],
        "pump": ["x/b.csv"],
    }
    assert f"the field '{field}' is empty" in refused["c.csv"]


def test_a_pattern_names_the_machines(tmp_path):
    for name in ("p1_a.csv", "p1_b.csv", "p2_a.csv"):
        table(tmp_path / name)
    machines, _ = by_machine(*listed(tmp_path, pattern="{machine}_{run}.csv"))
    assert {name: len(own) for name, own in machines.items()} == {"p1": 2, "p2": 1}


def test_a_field_that_is_not_there_is_refused(tmp_path):
    table(tmp_path / "a.csv")
    source = source_of(tmp_path, pattern="{run}.csv").model_copy(update={"machine": "unit"})
    with pytest.raises(
        InputError, match="--machine-field names the field 'unit', which does not exist; known fields: run"
    ):
        source.entries(tmp_path)
