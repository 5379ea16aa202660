"""`save_pretrained` of a pipeline replaces a checkpoint as a whole."""

import shutil

import pytest

from almtok.codec.model import ALMTokenizer
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
