"""How CSV files are written is found out, whatever a logger, a spreadsheet or a country does."""

import pytest
from numpy.testing import assert_allclose

from oddkind import InputError, Source, source_of
from oddkind.files.dialects import Dialect, encoding_of, names_of, sniff
from oddkind.files.listing import Entry
from oddkind.files.reading import read
from oddkind.files.source import resolved
from oddkind.files.tables import columns_of

WANTED = [[1.5, 2.5, 3.5], [20, 10, 30]]


@pytest.mark.parametrize(
    ("content", "dialect", "names"),
    [
        (b"a,b\n1.5,20\n2.5,10\n3.5,30\n", Dialect(), ["a", "b"]),
        (b"a;b\n1,5;20\n2,5;10\n3,5;30\n", Dialect(delimiter=";", decimal=","), ["a", "b"]),
        (b"a;b\r\n1.5;20\r\n2.5;10\r\n3.5;30\r\n", Dialect(delimiter=";"), ["a", "b"]),
        (b"a\tb\n1.5\t20\n2.5\t10\n3.5\t30\n", Dialect(delimiter="\t"), ["a", "b"]),
        (b"a|b\n1.5|20\n2.5|10\n3.5|30\n", Dialect(delimiter="|"), ["a", "b"]),
        (b"1.5 20\n2.5 10\n3.5 30\n", Dialect(delimiter=" ", header=False), ["column 1", "column 2"]),
        (b"1.5,20\n2.5,10\n3.5,30\n", Dialect(header=False), ["column 1", "column 2"]),
        (b"a,b\n[bar],[rpm]\n1.5,20\n2.5,10\n3.5,30\n", Dialect(units_rows=1), ["a", "b"]),
        (b"Pump 7\n\na,b,note\n1.5,20,x\n2.5,10,y\n3.5,30,z\n", Dialect(skip_rows=2), ["a", "b", "note"]),
        (b"# a,b\n1.5,20\n2.5,10\n3.5,30\n", Dialect(), ["a", "b"]),
        (b"a,a\n1.5,20\n2.5,10\n3.5,30\n", Dialect(), ["a", "a (2)"]),
        (b"\xef\xbb\xbfa,b\n1.5,20\n2.5,10\n3.5,30\n", Dialect(), ["a", "b"]),
        ("Druck,°C\n1.5,20\n2.5,10\n3.5,30\n".encode("latin-1"), Dialect("latin-1"), ["Druck", "°C"]),
        ("압력,온도\n1.5,20\n2.5,10\n3.5,30\n".encode("cp949"), Dialect("cp949"), ["압력", "온도"]),
        ("압력,온도\n1.5,20\n2.5,10\n3.5,30\n".encode("utf-16"), Dialect("utf-16"), ["압력", "온도"]),
        ("a,b\n1.5,20\n2.5,10\n3.5,30\n".encode("utf-16-le"), Dialect("utf-16-le"), ["a", "b"]),
        (b'"a, in bar",b\n"1.5",20\n2.5,10\n3.5,30\n', Dialect(), ["a, in bar", "b"]),
    ],
)
def test_every_dialect_is_read_alike(tmp_path, content, dialect, names):
    (tmp_path / "a.csv").write_bytes(content)
    assert sniff([tmp_path / "a.csv"]) == dialect
    assert names_of(tmp_path / "a.csv", dialect) == names
    files = [Entry(tmp_path / "a.csv", "a.csv")]
    source = resolved(Source(kind="tables"), files)
    assert source.dialect == dialect
    assert_allclose(read(files, source).inputs[0], WANTED)


def test_what_is_given_is_not_guessed(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"1,5\n2,5\n")
    assert sniff([file], decimal=",").delimiter == ";"
    assert sniff([file], header=True).header
    assert sniff([file], encoding="cp949", delimiter="\t", skip_rows=1, units_rows=1) == Dialect(
        "cp949", "\t", ",", False, 1, 1
    )


def test_a_data_set_has_one_dialect_found_in_several_files(tmp_path):
    for name, content in (("a", b"a;b\n1;2\n"), ("b", b"a;b\n1,5;2,5\n"), ("c", "a;b;é\n1;2;3\n".encode("latin-1"))):
        (tmp_path / f"{name}.csv").write_bytes(content)
    files = [tmp_path / f"{name}.csv" for name in ("gone", "a", "b", "c")]
    assert sniff(files) == Dialect("latin-1", ";", ",")
    assert sniff(files[:1]) == Dialect()


def test_pandas_numbers_of_columns_are_names(tmp_path):
    (tmp_path / "a.csv").write_text(",0,1,2\n0,0.1,0.5,0.7\n1,0.3,0.2,0.9\n")
    assert sniff([tmp_path / "a.csv"]) == Dialect()
    assert names_of(tmp_path / "a.csv", Dialect()) == ["column 1", "0", "1", "2"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("Temp °C", "latin-1"), ("für Öl", "latin-1"), ("압력 °C", "cp949"), ("압력 °C", "utf-8"), ("plain", "utf-8")],
)
def test_korean_is_told_from_latin_letters(text, encoding):
    assert encoding_of([text.encode(encoding)]) == encoding


def test_a_damaged_header_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("x" * 200_000)
    with pytest.raises(InputError, match="the header is damaged: field larger than field limit"):
        columns_of(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff\xfe", b"\xef\xbb\xbf", b"#\n", b"a", b'"', b"\0" * 64, b",\n"]
)
def test_files_without_rows_are_refused_or_empty_and_never_a_traceback(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    source = source_of(tmp_path)
    with pytest.raises(InputError, match="tables"):
        resolved(source, source.entries(tmp_path)[0])


def test_tsv_is_a_table(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb\n1\t2\n3\t1\n")
    source = source_of(tmp_path)
    files, _ = source.entries(tmp_path)
    assert_allclose(read(files, resolved(source, files)).inputs, [[[1, 3], [2, 1]]])


def test_a_row_of_values_is_never_skipped_as_units(tmp_path):
    for name, units in (("a", "[s],[bar]\n"), ("b", "")):
        (tmp_path / f"{name}.csv").write_text(f"x,y\n{units}1,2\n3,1\n")
    source, refused = source_of(tmp_path), {}
    files, _ = source.entries(tmp_path)
    source = resolved(source, files)
    assert source.units_rows == 1
    assert_allclose(read(files, source, on_refused=refused.__setitem__).inputs, [[[1, 3], [2, 1]]])
    assert "b.csv" in refused
    assert "holds values where other files have units; see --units-rows" in refused["b.csv"]
