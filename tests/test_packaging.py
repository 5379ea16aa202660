"""What an installation gets: every folder with code, a light face, the torchaudio guard."""

import ast
import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import almtok

ROOT = Path(__file__).resolve().parent.parent


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def declared(*names: str) -> set[str]:
    """Distributions in `install_requires` and the extras named, in pip's spelling."""
    cfg = setup_cfg()
    texts = [cfg["options"]["install_requires"]]
    texts += [cfg["options.extras_require"][name] for name in names]
    lines = [line for text in texts for line in text.split("\n") if line and line[0] != "#"]
    return {re.split(r"[ \[<>=!~]", line)[0].lower().replace("_", "-") for line in lines}


def imported() -> set[str]:
    """Distributions that the library imports, wherever in a file it does."""
    files = [*ROOT.glob("*.py")]
    for floor in ("core", "codec", "lm", "tasks", "serve", "recipes"):
        files += (ROOT / floor).rglob("*.py")
    found = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    ours = found - sys.stdlib_module_names - {"almtok"}
    return {"pillow" if name == "PIL" else name.lower().replace("_", "-") for name in ours}


def packages_on_disk() -> set[str]:
    """Every folder of the library that has an ``__init__.py``, by its name when imported."""
    faces = [ROOT / "__init__.py"]
    for floor in ("core", "codec", "lm", "tasks", "serve", "recipes"):
        faces += (ROOT / floor).rglob("__init__.py")
    folders = (face.parent.relative_to(ROOT).parts for face in faces)
    return {".".join(("almtok", *parts)) for parts in folders}


def run_python(code: str, environment: dict[str, str], folder: Path | None = None) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_setup_cfg_lists_every_folder_with_code():
    listed = set(setup_cfg()["options"]["packages"].split())
    assert listed == packages_on_disk()


def test_what_is_required_is_imported():
    """But for torchaudio: setup.cfg says why it comes along."""
    assert declared() - imported() == {"torchaudio"}


def test_what_is_imported_is_declared():
    extras = ("train", "eval", "judges", "tts", "synthesis", "serve", "ui", "torchcodec")
    extras += ("trackers", "completion", "ray")
    assert imported() - declared(*extras) == set()


def test_folders_with_code_have_a_face():
    for floor in ("core", "codec", "lm", "tasks", "serve", "recipes"):
        for file in (ROOT / floor).rglob("*.py"):
            assert (file.parent / "__init__.py").exists(), f"{file.parent} has no __init__.py"


def test_no_other_module_lies_in_the_root():
    assert {file.name for file in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_importing_almtok_loads_no_heavy_library(quiet_environment, tmp_path):
    code = (
        "import sys, almtok;"
        "print([m for m in ('torch', 'transformers', 'torchaudio', 'numpy') if m in sys.modules])"
    )
    assert run_python(code, quiet_environment, tmp_path) == "[]"


def test_public_names_are_lazy_and_real(quiet_environment, tmp_path):
    code = (
        "import sys, almtok\n"
        "for name in almtok.__all__: assert getattr(almtok, name) is not None, name\n"
        "assert 'torch' in sys.modules\n"
        "from almtok.codec.model import ALMTokenizer\n"
        "assert almtok.ALMTokenizer is ALMTokenizer\n"
        "print(sorted(dir(almtok)) == sorted(almtok.__all__))"
    )
    assert run_python(code, quiet_environment, tmp_path) == "True"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Tokenizer'"):
        almtok.Tokenizer  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Tokenizer'"):
        almtok.codec.Tokenizer  # noqa: B018


def test_torchaudio_and_transformers_import_beside_any_torch(quiet_environment, tmp_path):
    code = (
        "import almtok, torch, torchaudio\n"
        "from transformers import MimiModel\n"
        "mel = torchaudio.transforms.MelSpectrogram(24000, n_fft=256, n_mels=8)\n"
        "print(tuple(mel(torch.zeros(1, 512)).shape))"
    )
    assert run_python(code, quiet_environment, tmp_path) == "(1, 8, 5)"


GUARDED = """
import sys
import almtok
from pathlib import Path
folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".") / "torchaudio" / "_extension"
folder.mkdir(parents=True)
(folder.parent / "__init__.py").write_text("from torchaudio._extension import fail_if_no_align\\n")
(folder / "__init__.py").write_text({extension!r})
sys.path.insert(0, str(folder.parent.parent))
import torchaudio
from torchaudio import _extension
{then}
"""


def test_the_guard_turns_a_missing_library_into_not_available(quiet_environment, tmp_path):
    code = GUARDED.format(
        extension="raise OSError('libc10_cuda.so: cannot open shared object file')",
        then=(
            "print(_extension._IS_TORCHAUDIO_EXT_AVAILABLE, _extension._IS_ALIGN_AVAILABLE)\n"
            "@torchaudio.fail_if_no_align\n"
            "def forced_align(): pass\n"
            "try: forced_align()\n"
            "except RuntimeError as error:\n"
            "    print('libc10_cuda' in str(error), 'forced_align' in str(error))"
        ),
    )
    assert run_python(code, quiet_environment, tmp_path).split("\n") == ["False False", "True True"]


def test_the_guard_leaves_a_working_library_alone(quiet_environment, tmp_path):
    code = GUARDED.format(
        extension="_IS_TORCHAUDIO_EXT_AVAILABLE = 'real'\nfail_if_no_align = 'real'\n",
        then="print(_extension._IS_TORCHAUDIO_EXT_AVAILABLE, torchaudio.fail_if_no_align)",
    )
    assert run_python(code, quiet_environment, tmp_path) == "real real"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, quiet_environment) -> Path:
    """A wheel built from what git tracks, as ``pip install .`` builds it."""
    source = tmp_path_factory.mktemp("source")
    files = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout.decode()
    # Built in a copy: in the checkout a stale build/ would be packed too.
    for name in filter(None, files.split("\0")):
        origin, copy = ROOT / name, source / name
        if origin.is_file() and not name.startswith(("tests/", "runs/")):
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(origin.read_bytes())
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(out), "."]
    result = subprocess.run(
        command, cwd=source, env=quiet_environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_exactly_the_library(wheel):
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "almtok/py.typed" in names
    assert "almtok/checkpoints/mini/codec/model.safetensors" in names
    assert "almtok/core/report/templates/base.html" in names
    code = {name for name in names if name.endswith(".py")}
    expected = {
        f"almtok/{file.relative_to(ROOT).as_posix()}"
        for package in packages_on_disk()
        for file in ROOT.joinpath(*package.split(".")[1:]).glob("*.py")
    }
    assert code == expected
    # What commands read: the model of `tts`, pages of reports, curves of `compare`, word lists.
    data = {name.removeprefix("almtok/") for name in names - code}
    tracked = {
        file.relative_to(ROOT).as_posix()
        for pattern in setup_cfg()["options.package_data"]["almtok"].split(", ")
        for file in ROOT.glob(pattern)
        if file.is_file()
    }
    assert data == tracked
    assert not [name for name in data if re.search(r"README|tests?/|\.png|\.npy|__pycache__", name)]


@pytest.mark.slow
def test_the_installed_package_runs_from_anywhere(wheel, quiet_environment, tmp_path):
    """Installed into a folder of its own, the package does not lean on the checkout."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tasks.py").write_text("raise RuntimeError('a user module of the same name')\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--no-deps", "--quiet"]
        + ["--target", str(site), str(wheel)],
        check=True,
        env=quiet_environment,
    )
    environment = {**quiet_environment, "PYTHONPATH": str(site)}
    code = (
        "import almtok, almtok.tasks, almtok.recipes.mini; print(almtok.__file__);"
        "print(almtok.ALMTokenizerConfig.preset('tiny').sample_rate)"
    )
    file, sample_rate = run_python(code, environment, elsewhere).splitlines()
    assert Path(file).is_relative_to(site)
    assert sample_rate == "24000"
    code = (
        "from almtok.__main__ import main; from almtok.recipes.curves import references\n"
        "assert main(['run']) == 0 and main(['run', 'mini', '--dry-run']) == 0\n"
        "print(*references())"
    )
    printed = run_python(code, environment, elsewhere)
    assert "almtok codec train" in printed and "asr " in printed
    assert {"mini/lm", "mini/stage1", "multitask/everything"} <= set(printed.split())
    assert os.access(site / "bin" / "almtok", os.X_OK)


def test_the_files_that_the_makefile_names_exist():
    """Or `make test-plain` would fail, which only CI runs."""
    text = (ROOT / "Makefile").read_text()
    named = re.findall(r"[\w/]+/test_\w+\.py", text)
    assert len(named) > 8
    assert not [name for name in named if not (ROOT / "tests" / name).exists()]


def test_the_citation_and_a_tag_name_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == almtok.__version__
    command = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD", "v*"]
    tags = subprocess.run(command, capture_output=True, text=True).stdout.split()
    assert set(tags) <= {f"v{almtok.__version__}"}
