"""Opening a folder or a file runs no code of it and fetches nothing that it names."""

import ast
import io
import json
import logging
import shutil
import sys
from pathlib import Path

import pytest

from almtok import ALMTokenizer
from almtok.__main__ import build_parser
from almtok.codec.config import ALMTokenizerConfig
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.text.tokenizer import load_tokenizer
from almtok.lm.train import cli
from almtok.lm.train.config import LMTrainingConfig
from almtok.lm.train.corpus import find_tasks
from almtok.recipes.run import Stage
from almtok.tasks import AudioLMPipeline, get_task

ROOT = Path(__file__).resolve().parents[2]
OURS = {"ALMTokenizer", "ALMTokenizerConfig", "AudioLM", "AudioLMConfig", "AudioLMProcessor",
        "AudioLMPipeline", "AudioGenerator", "TextToSpeech", "WhisperFeatures", "cls"}  # fmt: skip


def calls_without_trust(source: str) -> list[str]:
    """Calls that load by transformers and do not say `trust_remote_code=False`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = ast.unparse(node.func.value)
        if node.func.attr not in ("from_pretrained", "from_config"):
            continue
        if owner in OURS or owner.startswith("super("):
            continue
        if "trust_remote_code=False" not in [ast.unparse(word) for word in node.keywords]:
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "floor", ["core", "codec", "lm", "tasks", "serve", "recipes", "benchmarks"]
)
def test_every_call_of_transformers_refuses_code(floor):
    files = sorted((ROOT / floor).rglob("*.py"))
    assert files
    bad = [f"{f}: {call}" for f in files for call in calls_without_trust(f.read_text())]
    assert not bad, "\n".join(bad)


def test_the_test_before_finds_such_calls():
    assert calls_without_trust("AutoModel.from_pretrained(x)")
    assert calls_without_trust("AutoModel.from_config(x, trust_remote_code=True)")
    assert not calls_without_trust("AutoModel.from_config(x, trust_remote_code=False)")


def test_our_own_models_refuse_code_and_pickles(monkeypatch, tmp_path):
    from transformers import PreTrainedModel

    seen = {}

    def from_pretrained(cls, *args, **kwargs):
        seen.update(kwargs)
        raise OSError("enough")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(from_pretrained))
    with pytest.raises(OSError, match="enough"):
        AudioLM.from_pretrained(tmp_path, trust_remote_code=True)
    assert seen["trust_remote_code"] is False and seen["use_safetensors"] is True


# ---------------------------------------------------------------------- a folder with traps


@pytest.fixture
def trap(monkeypatch):
    """A module whose import is noticed, and a user who says yes to everything."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 50))
    monkeypatch.delattr(sys, "sprung", raising=False)

    def write(folder: Path, name: str = "trap.py") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("import sys\nsys.sprung = True\n")

    yield write
    assert not hasattr(sys, "sprung"), "code of a folder was run"
    assert sys.stdin.read() == "y\n" * 50, "somebody was asked"


def change(path: Path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_folder_without_traps_is_loaded(folder):
    assert AudioLMPipeline.from_pretrained(folder).codec.num_codebooks == 3


def test_a_tokenizer_that_names_code(folder, trap):
    lm = folder / "lm"
    trap(lm)
    path = lm / "tokenizer_config.json"
    change(path, auto_map={"AutoTokenizer": [None, "trap.Trap"]})
    load_tokenizer(lm)  # it has a class of transformers, too
    change(path, tokenizer_class="Trap")
    try:
        load_tokenizer(lm)
    except (ValueError, OSError) as error:
        assert str(lm) in str(error) and "\n" not in str(error)


def test_configurations_that_name_code(folder, trap):
    for part in ("lm", "codec"):
        trap(folder / part)
        path = folder / part / "config.json"
        known = json.loads(path.read_text())
        auto = {
            name: f"trap.{name}" for name in ("AutoConfig", "AutoModel", "AutoModelForCausalLM")
        }
        if part == "lm":
            change(path, auto_map=auto, backbone={**known["backbone"], "auto_map": auto})
        else:
            change(path, auto_map=auto)
    try:
        AudioLMPipeline.from_pretrained(folder)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error)


def test_an_unknown_backbone_with_code_is_an_error(folder, trap):
    trap(folder / "lm")
    path = folder / "lm" / "config.json"
    backbone = {"model_type": "trap", "auto_map": {"AutoConfig": "trap.TrapConfig"}}
    change(path, backbone=backbone)
    with pytest.raises(ValueError, match=r"lm: .*trap") as caught:
        AudioLM.from_pretrained(folder / "lm")
    assert "\n" not in str(caught.value)


def test_folders_called_like_tasks_are_not_imported(folder, trap, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    trap(folder, "trap.py")
    for name in ("trap.py", "trap", "os.path"):
        (folder / "adapters" / name).mkdir(parents=True)
        (folder / "adapters" / name / "adapter.json").write_text("{}")
    with pytest.raises(ValueError, match="adapters of single tasks"):
        AudioLMPipeline.from_pretrained(folder)
    for name in ("trap.py", "trap", "trap.trap"):
        with pytest.raises(ValueError, match="unknown task"):
            get_task(name)


def test_adapters_of_peft_are_not_loaded(folder):
    (folder / "lm" / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    for place, options in ((folder / "lm", {}), (folder, {"subfolder": "lm"})):
        with pytest.raises(ValueError, match="adapter_config.json: adapters of PEFT"):
            AudioLM.from_pretrained(place, **options)


@pytest.mark.parametrize("load", [AudioLM.from_pretrained, ALMTokenizer.from_pretrained])
def test_nor_those_of_the_hub(folder, load):
    commit = "0" * 40
    hub = folder / "models--owner--model"  # the layout of the hub's cache
    snapshot = hub / "snapshots" / commit
    shutil.copytree(folder / "lm", snapshot)
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    (snapshot / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    with pytest.raises(ValueError, match="adapter_config.json: adapters of PEFT"):
        load("owner/model", cache_dir=folder, local_files_only=True)


def test_nor_those_of_a_backbone(folder):
    lm = AudioLM.from_pretrained(folder / "lm")
    lm.backbone.save_pretrained(folder / "text")
    (folder / "text" / "adapter_config.json").write_text('{"base_model_name_or_path": "a/b"}')
    with pytest.raises(ValueError, match="adapter_config.json: adapters of PEFT"):
        AudioLM.from_backbone(str(folder / "text"), lm.config)


def test_attention_from_the_hub_is_refused(folder):
    path = folder / "lm" / "config.json"
    backbone = json.loads(path.read_text())["backbone"]
    change(path, backbone={**backbone, "attn_implementation": "owner/kernel"})
    with pytest.raises(ValueError, match="names code on the hub"):
        AudioLM.from_pretrained(folder / "lm")


def test_a_codec_that_only_a_file_names_is_not_fetched(folder, monkeypatch, caplog):
    shutil.rmtree(folder / "codec")
    change(folder / "lm" / "processor_config.json", codec="owner/codec")
    monkeypatch.setattr(ALMTokenizerConfig, "from_pretrained", None)  # would be an error
    with caplog.at_level(logging.WARNING):
        processor = AudioLMProcessor.from_pretrained(folder / "lm")
    assert "names the codec 'owner/codec', which is no folder here" in caplog.text
    with pytest.raises(ValueError, match="this processor has no codec"):
        processor.audio_tokenizer  # noqa: B018


# ---------------------------------------------------------------------- training


TASK = """
from almtok.lm.layouts import Slot, TaskLayout
from almtok.tasks import Task, register_task

@register_task
class Echo(Task):
    layout = TaskLayout(
        name="echo_of_a_file",
        conditions=(Slot(name="audio", kind="audio"),),
        target=Slot(name="text", kind="text"),
    )
"""


def test_a_training_file_cannot_name_code(tmp_path, trap):
    trap(tmp_path)
    code = str(tmp_path / "trap.py")
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": ["tokens"], "tasks": ["tts=2.5", f"{code}=2"]}))
    options = build_parser().parse_args(["lm", "train", "--config", str(path)])
    with pytest.raises(ValueError, match=f"{path}: the task '{code}' is code"):
        cli.resolve(options)
    with pytest.raises(ValueError, match="unknown task"):
        find_tasks(LMTrainingConfig.from_json(path))


def test_weights_of_tasks_are_no_code(tmp_path):
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": ["tokens"], "tasks": ["tts=2.5", "asr"]}))
    options = build_parser().parse_args(["lm", "train", "--config", str(path)])
    assert cli.resolve(options).tasks == ["tts=2.5", "asr"]


def test_the_command_line_and_python_can(tmp_path):
    code = tmp_path / "echo_of_a_file.py"
    code.write_text(TASK)
    path = tmp_path / "train.json"
    path.write_text(json.dumps({"data": ["tokens"], "tasks": [str(code)]}))
    words = ["lm", "train", "--config", str(path), "--tasks", str(code)]
    config = cli.resolve(build_parser().parse_args(words))
    (weighted,) = find_tasks(config)
    assert weighted.task is get_task("echo_of_a_file")


def test_a_recipe_repeats_tasks_of_code_on_the_command_line(tmp_path):
    for tasks, flags in ((["tts"], []), (["my.task"], ["--tasks", "my.task"])):
        config = LMTrainingConfig(data=["tokens"], tasks=tasks)
        stage = Stage(name="lm", what="", command=("lm", "train"), config=config)
        assert stage.argv(tmp_path)[5:] == flags
