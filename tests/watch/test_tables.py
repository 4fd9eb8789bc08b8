import pytest
from watching import model_of

from oddkind import InputError
from oddkind.watch.parts import Parts
from oddkind.watch.tables import MARK, GrowingTable

HEAD = "time;a\n"


def rows(start, stop):
    return "".join(f"{number};{number},5\n" for number in range(start, stop))


@pytest.fixture
def opened():
    """A source of a growing table, which remembers its marks."""

    def open_(file, marks, length=4, step=4, heard=None, **given):
        model = model_of("tables", columns=["a"], delimiter=";", decimal=",", front_end=[], window=length)
        options = {
            "label": None,
            "notify": (heard if heard is not None else []).append,
            "once": True,
            "new_only": False,
            "remember": marks.update,
        }
        return GrowingTable(file, model, Parts(length, step, None, ""), marks, **options | given)

    return open_


def taken(source, marks, most=99):
    """The names and rows of the next parts; their marks are kept."""
    found = []
    while len(found) < most and (items := source.poll(0.0)) is not None:
        for item in items:
            found.append((item.name, item.entries[0].path.read_text()))
            marks.update(item.marks)
            source.done(item)
    return found


def test_complete_rows_become_parts_and_the_rest_waits(tmp_path, opened):
    file, marks = tmp_path / "log.csv", {}
    file.write_text(HEAD + rows(0, 10) + "10;1")
    assert taken(opened(file, marks), marks) == [
        ("log.csv, rows 1–4", HEAD + rows(0, 4)),
        ("log.csv, rows 5–8", HEAD + rows(4, 8)),
    ]
    with file.open("a") as log:
        log.write("0,5\n" + rows(11, 12))
    assert taken(opened(file, marks), marks) == [
        ("log.csv, rows 9–12", HEAD + rows(8, 10) + "10;10,5\n" + rows(11, 12))
    ]


def test_parts_overlap_as_blocks_do(tmp_path, opened):
    file, marks = tmp_path / "log.csv", {}
    file.write_text(HEAD + rows(0, 10))
    found = taken(opened(file, marks, length=4, step=3), marks)
    assert [name for name, _ in found] == ["log.csv, rows 1–4", "log.csv, rows 4–7", "log.csv, rows 7–10"]


def test_it_continues_after_each_part(tmp_path, opened):
    file, marks, found = tmp_path / "log.csv", {}, []
    file.write_text(HEAD + rows(0, 20))
    for _ in range(5):
        found += taken(opened(file, marks, step=3), marks, most=1)
    assert [name for name, _ in found] == [f"log.csv, rows {row + 1}–{row + 4}" for row in range(0, 15, 3)]


@pytest.mark.parametrize("later", [HEAD + rows(50, 54), HEAD + rows(50, 80), "time;b\n" + rows(0, 30)])
def test_a_file_that_begins_anew_is_read_from_its_first_row(tmp_path, opened, later):
    file, marks, heard = tmp_path / "log.csv", {}, []
    file.write_text(HEAD + rows(0, 8))
    assert len(taken(opened(file, marks), marks)) == 2
    file.write_text(later)
    found = taken(opened(file, marks, heard=heard), marks)
    assert found[0][0] == "log.csv, rows 1–4"
    assert "begins anew" in heard[0]


def test_rows_that_are_there_are_passed_over_if_asked_for(tmp_path, opened):
    file, marks = tmp_path / "log.csv", {}
    file.write_text(HEAD + rows(0, 9))
    opened(file, marks, new_only=True)
    assert MARK in marks
    with file.open("a") as log:
        log.write(rows(9, 13))
    assert taken(opened(file, marks), marks) == [("log.csv, rows 10–13", HEAD + rows(9, 13))]


def test_a_file_whose_header_is_not_complete_is_waited_for(tmp_path, opened):
    file, marks = tmp_path / "log.csv", {}
    file.write_text("time")
    source = opened(file, marks, once=False)
    assert source.poll(0.0) == []
    file.write_text(HEAD + rows(0, 4))
    assert len(source.poll(0.0)) == 1
    file.unlink()
    assert source.poll(0.0) == []


def test_empty_lines_are_no_rows(tmp_path, opened):
    file, marks = tmp_path / "log.csv", {}
    file.write_bytes((HEAD + "\n".join(rows(0, 4).splitlines(keepends=True)) + "\n").replace("\n", "\r\n").encode())
    ((name, _),) = taken(opened(file, marks), marks)
    assert name == "log.csv, rows 1–4"


@pytest.mark.parametrize(
    ("name", "kind", "message"), [("a.wav", "sounds", "the model learnt from sounds"), ("a.parquet", "tables", "grow")]
)
def test_what_does_not_grow_is_refused(tmp_path, opened, name, kind, message):
    model = model_of(kind, columns=["a"]) if kind == "tables" else model_of(kind)
    with pytest.raises(InputError, match=message):
        GrowingTable(
            tmp_path / name,
            model,
            Parts(1, 1, None, ""),
            {},
            label=None,
            notify=print,
            once=True,
            new_only=False,
            remember=print,
        )


def test_a_line_without_end_is_refused(tmp_path, opened, monkeypatch):
    monkeypatch.setattr("oddkind.watch.tables.READ", 100)
    file = tmp_path / "log.csv"
    file.write_text(HEAD + "1" * 500)
    with pytest.raises(InputError, match="longer than 100 bytes"):
        opened(file, {}).poll(0.0)
