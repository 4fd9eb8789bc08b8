"""Pictures of explanations."""

import numpy as np
import pytest
from PIL import Image
from problems import listed

from oddkind import InputError, explain_files
from oddkind.files.figures import write_pictures


def test_a_picture_is_drawn_for_each_file_and_written_or_refused(data, fitted, tmp_path):
    found = explain_files(listed(data, "test"), fitted, most=2)
    written = write_pictures(found, fitted, tmp_path / "why")
    assert written == sorted((tmp_path / "why").iterdir())
    names = [of.verdict.path.replace("/", " ") for of in found]
    assert [path.name for path in written] == [f"{n:02d} {name}.png" for n, name in enumerate(names, start=1)]
    with Image.open(written[0]) as picture:
        assert len(np.unique(np.asarray(picture))) > 20
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="why: cannot be written"):
        write_pictures(found, fitted, tmp_path / "file" / "why")
