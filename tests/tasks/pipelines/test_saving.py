"""`save_pretrained` of a pipeline replaces a checkpoint as a whole."""

import shutil

import pytest

from almtok.codec.model import ALMTokenizer
from almtok.lm.lora import LoraSettings, add_lora, save_adapter, use_adapter
from almtok.tasks import AudioLMPipeline


def test_a_checkpoint_is_replaced_whole_and_other_files_stay(tmp_path, monkeypatch, root):
    folder = shutil.copytree(root / "checkpoints" / "mini", tmp_path / "model")
    (folder / "notes").mkdir()
    (folder / "notes" / "a.txt").write_text("mine")
    (folder / "lm" / "old.txt").write_text("old")
    pipeline = AudioLMPipeline.from_pretrained(folder)

    def fail(*args, **kwargs):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(ALMTokenizer, "save_pretrained", fail)
        with pytest.raises(OSError, match="no space left"):
            pipeline.save_pretrained(folder)
    assert (folder / "lm" / "old.txt").exists(), "nothing has changed"
    pipeline.save_pretrained(folder)  # over the files that it was loaded from
    assert (folder / "notes" / "a.txt").read_text() == "mine" and (folder / "card.json").exists()
    assert not (folder / "lm" / "old.txt").exists()
    again = AudioLMPipeline.from_pretrained(folder)
    assert again.codec.fingerprint == pipeline.codec.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_runs_is_found_by_its_models(tmp_path, root):
    for name in ("lm", "codec"):
        run = tmp_path / "runs" / name
        shutil.copytree(root / "checkpoints" / "mini" / name, run / "model")
        (run / "config.json").write_text('{"steps": 3}')  # of the training
    pipeline = AudioLMPipeline.from_pretrained(tmp_path / "runs")
    assert pipeline.codec.fingerprint == pipeline.lm.config.codec_fingerprint


def test_the_processor_knows_the_tasks_of_the_active_adapter(tmp_path, root):
    pipeline = AudioLMPipeline.from_pretrained(root / "checkpoints" / "mini")
    base = list(pipeline.lm.config.tasks)
    pipeline.lm.config.tasks.append("denoise")
    add_lora(pipeline.lm, LoraSettings(rank=1), "cleaner")
    pipeline.lm.config.tasks.pop()
    folder = save_adapter(pipeline.lm, tmp_path / "cleaner")
    other = AudioLMPipeline.from_pretrained(root / "checkpoints" / "mini", adapter=folder)
    assert other.processor.config.tasks == [*base, "denoise"]
    use_adapter(other.lm, None)
    assert other.processor.config.tasks == base
