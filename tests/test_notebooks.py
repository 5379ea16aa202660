"""The notebooks of docs/notebooks run from their first to their last cell, with few steps."""

import os
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parent.parent / "docs" / "notebooks"
# Values for the cell that is tagged "parameters".
FEW = {
    "1_hear_it": {"TEXT": "good morning", "TRIES": 1},
    "2_fine_tune_a_voice": {"MINUTES": 0.15, "STEPS": 1, "TEXT": "good morning"},
    "3_train_a_codec": {
        "MINUTES": 0.3, "STAGE1_STEPS": 1, "STAGE2_STEPS": 1, "SEGMENTS": 2,
    },
    "4_read_the_codes": {"READINGS": 3},
}  # fmt: skip


# All notebooks share a kernel, which imports the libraries once; `!almtok ...` runs in its process.
IN_THE_KERNEL = """
%reset -f
%cd -q FOLDER
import shlex

from almtok.__main__ import main

ipython = get_ipython()


def run_almtok(line):
    program, *words = shlex.split(ipython.var_expand(line, depth=1))
    assert program == "almtok" and main(words) == 0, line


ipython.system = run_almtok
"""


def test_every_notebook_is_run():
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(FEW)


@pytest.fixture(scope="module")
def kernel():
    """A kernel without a notebook."""
    pytest.importorskip("ipykernel")
    manager = pytest.importorskip("jupyter_client").KernelManager()
    manager.start_kernel(env={**os.environ, "MPLBACKEND": "agg"})
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
def test_a_notebook_runs(name, tmp_path, kernel):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    set_parameters(notebook, FEW[name])
    first = IN_THE_KERNEL.replace("FOLDER", str(tmp_path))
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    nbclient.NotebookClient(notebook, km=kernel, timeout=240).execute()
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())
    )
    assert "almtok: error" not in text, text


def set_parameters(notebook, values):
    """Append assignments to the cell of parameters; each must be one of them."""
    (cell,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    for name in values:
        assert name in cell.source, f"{name} is no parameter"
    cell.source += "".join(f"\n{name} = {value!r}" for name, value in values.items())


def test_notebooks_are_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        assert not any(cell.get("outputs") for cell in cells if cell.cell_type == "code"), path
