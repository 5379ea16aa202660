"""Every snippet of the README and the docs is run: what is printed there works.

``python`` blocks of one page run one after another in one process, as a reader would type them.
``sh`` and ``console`` lines that start ``almtok`` must parse; those that are cheap, or become cheap
by flags added at the end, are run as well. The folders and files that the snippets name are made
small here: ``runs/demo/codec`` is a tiny untrained codec, ``talk.wav`` a few seconds of tones.
"""

import ast
import contextlib
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.__main__ import build_parser, main
from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.recipes import cli as recipes

from .codec.tiny_whisper import save_whisper

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    page
    for pattern in ("*.md", "codec/*.md", "recipes/*/*.md", "docs/*.md", "docs/*/*.md")
    for page in ROOT.glob(pattern)
)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Flags that make a command of the documentation small; a flag given twice counts the last time.
SMALLER = {
    "codec train": "--preset tiny --steps 2 --batch-size 2 --segment-seconds 0.5 --num-workers 0"
    " --validate-every 0 --tracker none --no-progress",
    "codec prior --data": "--codebook-size 256 --spectral-width 128",
    "codec evaluate": "--limit 1 --fad spectral",  # embeddings of the hub are out of reach
    "lm finetune --data": "--steps 2 --warmup-steps 1 --tracker none --no-progress --device cpu",
}
# What has been run: a command that a second page repeats says nothing new.
DONE: list[list[str]] = []
# Pages whose blocks train or speak for long: their imports are run here, what they call is tested
# in tests/lm and tests/tasks.
# What a page needs a server for is run by tests/serve/test_page.py.
LONG = (
    "docs/extending.md", "docs/lm_training.md", "docs/lora.md", "docs/serving.md",
    "docs/serving_routes.md", "docs/tasks.md",
)  # fmt: skip
# Of the README these are run too, with the models that come with almtok.
SPOKEN = ("tts", "asr", "show", "sound", "caption", "lm finetune")
# And wherever they stand; `almtok codec plan` is run by tests/test_cli.py.
RUN = ("encode", "decode", "lm prepare", "lm tokenize", "--version")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [code for language, code in BLOCK.findall(page.read_text()) if language in languages]


def command_of(words: list[str]) -> str:
    """``tts``, or ``lm finetune`` for commands of a group."""
    return " ".join(words[: 2 if words[0] in ("codec", "lm") else 1])


def almtok_lines(page: Path) -> list[list[str]]:
    """The ``almtok`` commands of a page, continued lines joined, comments and prompts removed."""
    lines = []
    for code in blocks(page, "sh", "bash", "console"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["almtok"]:
                lines.append(words[1:])
    return lines


@pytest.fixture(scope="module")
def reader_folder(tmp_path_factory) -> Path:
    """A folder as a reader of the documentation has it."""
    from almtok import ALMTokenizer, ALMTokenizerConfig

    folder = tmp_path_factory.mktemp("reader")
    tiny = ALMTokenizer(ALMTokenizerConfig.preset("tiny"))
    for checkpoint in ("runs/demo/codec", "runs/mine/codec"):
        tiny.save_pretrained(folder / checkpoint)
    rng = np.random.default_rng(0)
    folders = ("more", "other", "more-noises", "more-tunes", "me", "me-later", "me-held-out")
    names = ("talk", "voices/a", "voices/b", "noises/a", "tunes/a")
    for name in (*names, *(f"{folder}/a" for folder in folders)):
        time_axis = np.arange(4 * 24_000) / 24_000
        tone = 0.3 * np.sin(2 * np.pi * 220 * time_axis) + 0.05 * rng.standard_normal(96_000)
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / f"{name}.wav", tone, 24_000)
    with_texts = ("voices/a", "voices/b", "noises/a", "tunes/a", *(f"{one}/a" for one in folders))
    for name in with_texts:
        (folder / f"{name}.txt").write_text(f"words of recording {name}")
    for name in ("a", "b"):
        row = {"audio": f"{name}.wav", "text": f"words of recording {name}"}
        with open(folder / "voices/manifest.jsonl", "a") as manifest:
            manifest.write(json.dumps(row) + "\n")
    PhonemeClassifier(PhonemeClassifierConfig(width=16)).save(folder / "phonemes.safetensors")
    save_whisper(folder / "openai/whisper-base", max_source_positions=1500)  # found before the hub
    return folder


def test_snippets_are_found():
    """The tests below would pass if none were."""
    readme = ROOT / "README.md"
    assert len(blocks(readme, "python")) == readme.read_text().count("```python") > 2
    assert {"tts", "asr", "encode", "lm finetune"} <= set(map(command_of, almtok_lines(readme)))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_snippets_run(page, reader_folder, monkeypatch):
    monkeypatch.chdir(reader_folder)
    names: dict[str, object] = {"__name__": name_of(page)}
    for number, code in enumerate(blocks(page, "python"), start=1):
        if name_of(page) in LONG:
            tree = ast.parse(code)
            tree.body = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
            code = ast.unparse(tree)
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, f"{name_of(page)}, python block {number}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_parse(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Steps for a given time take minutes to measure.
    pace = "almtok.recipes.codec_ablation.recipe.measured_pace"
    monkeypatch.setattr(pace, lambda configs, out: dict.fromkeys(configs, 1.0))
    for words in almtok_lines(page):
        try:
            build_parser().parse_args(words)
        except SystemExit as stop:
            assert words[-1] in ("--help", "--version") and not stop.code, " ".join(words)
        if words[0] == "run" and len(words) > 2 and words[-1] != "--help":
            recipes.parse(words[1], words[2:])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_run(page, reader_folder, monkeypatch, capfd):
    """All in this process: that almtok is a program too is tested by tests/test_cli.py."""
    monkeypatch.chdir(reader_folder)
    # A dry run opens what its reader has: datasets and models of the hub, a GPU.
    monkeypatch.setattr("almtok.recipes.checks.check_hub_split", lambda name, split: None)
    monkeypatch.setattr("almtok.recipes.checks.find_device", lambda device: None)
    for words in almtok_lines(page):
        command = runnable(words, page)
        if command is None or command in DONE:
            continue
        try:
            status = main(command)
        except SystemExit as stop:  # of --version
            status = stop.code
        assert not status, f"almtok {' '.join(words)}\n{capfd.readouterr().err}"
        DONE.append(command)


def runnable(words: list[str], page: Path) -> list[str] | None:
    """A command of a page with what makes it small, or None for those that are not run."""
    extra = [flags for start, flags in SMALLER.items() if " ".join(words).startswith(start)]
    if command_of(words) in SPOKEN:
        run = name_of(page) == "README.md"
    else:
        run = bool(extra) or command_of(words) in RUN or words == ["run"] or "--dry-run" in words
    if not run or "--peers" in words:  # peers need the hub
        return None
    if "--search" in words:
        extra.append("--search 1")
    return [*words, *" ".join(extra).split()]


def test_the_readme_has_something_to_run():
    page = ROOT / "README.md"
    assert len(blocks(page, "python")) >= 2
    assert len(almtok_lines(page)) >= 3


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_repository_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}"


def test_the_site_has_every_page_of_the_documentation():
    named = set(re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert all((ROOT / page).exists() for page in named)
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*/README.md")]
    assert {name_of(page) for page in pages} <= named
    index = (ROOT / "docs/index.md").read_text()
    for page in ROOT.glob("docs/**/*.md"):
        assert page.name == "index.md" or f"({page.relative_to(ROOT / 'docs')})" in index


def test_the_tree_of_the_architecture_is_the_tree_on_disk():
    """Every folder with code under codec/ is named in the tree."""
    text = (ROOT / "docs/architecture.md").read_text()
    tree = next(
        code
        for _, code in re.findall(r"^```(\w*)\n(.*?)^```", text, re.M | re.S)
        if "codec/" in code and "setup.cfg" in code
    )
    named = set(re.findall(r"(?<!\S)([\w./]+/)(?!\S)", tree))
    folders = {"codec/", "lm/", "tasks/", "recipes/", "benchmarks/", "tests/", "docs/"}
    folders |= {f"{face.parent.name}/" for face in (ROOT / "codec").glob("*/__init__.py")}
    assert folders <= named
