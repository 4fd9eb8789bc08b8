"""What the design promises about the code itself: short functions, and private names that stay private."""

import ast
from pathlib import Path

import pytest

import oddkind

ROOT = Path(oddkind.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}


def private(name):
    return name.startswith("_") and not name.startswith("__")


def test_detector_is_short():
    assert len((ROOT / "detector.py").read_text(encoding="utf-8").splitlines()) < 250


@pytest.mark.parametrize("file", [file for file in FILES if file.name != "page.py"], ids=lambda file: file.stem)
def test_functions_have_at_most_80_lines_of_code(file):
    for node in ast.walk(MODULES[file]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 80, f"{file.name}, {node.name}: {lines} lines"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_private_name_of_another_module_is_used(file):
    tree = MODULES[file]
    own = {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oddkind"):
            assert not [alias.name for alias in node.names if private(alias.name)], f"{file.name}, line {node.lineno}"
        if isinstance(node, ast.Attribute) and private(node.attr):
            assert node.attr in own, f"{file.name}, line {node.lineno}: {node.attr}"


def test_every_public_name_exists_and_is_documented():
    for name in oddkind.__all__:
        found = getattr(oddkind, name)
        assert name == "SCORES" or found.__doc__, name
