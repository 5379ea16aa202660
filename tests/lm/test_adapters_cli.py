"""`almtok lm adapters`: what folders hold, merging from disk, and what is not removed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from almtok.__main__ import main
from almtok.lm.lora import LoraSettings, add_lora, base_fingerprint, load_adapter, save_adapter
from almtok.lm.model import AudioLM

from .toy import toy_lm

FIXTURES = Path(__file__).parent / "fixtures"
ROWS = torch.tensor([[[3, 17, 17, 17], [64, 1, 2, 3], [65, 4, 5, 6], [9, 17, 17, 17]]])


@torch.no_grad()
def logits(lm: AudioLM) -> Tensor:
    return lm.eval()(input_ids=ROWS).audio_logits


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A base and its adapter, one of another base, one of peft and one of the former format."""
    base = toy_lm()
    base.save_pretrained(tmp_path / "base" / "model")
    (tmp_path / "base" / "codec").mkdir()
    (tmp_path / "base" / "codec" / "config.json").write_text("{}")
    for name, seed in (("anna", 0), ("other", 1)):
        lm = add_lora(toy_lm(seed=seed), LoraSettings(rank=2, audio=False))
        with torch.no_grad():
            for parameter in lm.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        save_adapter(lm, tmp_path / name / "adapter")
    peft = get_peft_model(toy_lm(), LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
    peft.save_pretrained(tmp_path / "peft")
    shutil.copytree(FIXTURES / "adapter_low_rank", tmp_path / "former")
    return tmp_path


def test_adapters_are_listed_with_what_fits(runs: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["lm", "adapters", "list", str(runs), "--checkpoint", str(runs / "base")]) == 0
    header, *lines = capsys.readouterr().out.strip().splitlines()
    assert header.split() == ["base", "rank", "MB", "date", "fits", "folder"]
    found = {Path(line.split()[-1]).relative_to(runs).parts[0]: line.split() for line in lines}
    assert set(found) == {"anna", "other", "peft", "former"}
    assert found["anna"][:2] == [base_fingerprint(toy_lm()), "2"]
    fits = {name: cells[4] for name, cells in found.items()}
    assert (fits["anna"], fits["other"], fits["peft"]) == ("yes", "no", "unknown")
    (runs / "anna/adapter/adapter_config.json").write_text("{")
    assert main(["lm", "adapters", "list", str(runs)]) == 1
    out, error = capsys.readouterr()
    assert len(out.splitlines()) == 4 and "anna" in error and error.count("\n") == 1


def test_an_adapter_is_shown(runs: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["lm", "adapters", "show", str(runs / "anna")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rank"], told["alpha"]) == (2, 4.0)
    assert told["tasks"] == sorted(toy_lm().config.tasks)
    assert "q_proj" in " ".join(told["targets"]) and told["parameters"] > 100
    assert main(["lm", "adapters", "show", str(runs / "base")]) == 1
    assert "holds no adapter" in capsys.readouterr().err


def test_a_merged_model_is_the_unmerged_one(runs: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["lm", "adapters", "merge", str(runs / "anna"), "--checkpoint", str(runs / "base")]
    words += ["--out", str(runs / "merged")]
    assert main(words) == 0
    unmerged = load_adapter(toy_lm(), runs / "anna")
    merged = AudioLM.from_pretrained(runs / "merged" / "model")
    assert float((logits(merged) - logits(unmerged)).abs().max()) < 1e-5
    assert float((logits(merged) - logits(toy_lm())).abs().max()) > 1e-3
    assert (runs / "merged" / "model" / "codec" / "config.json").exists()
    capsys.readouterr()
    assert main(words) == 1
    assert "is not empty" in capsys.readouterr().err
    words[3] = str(runs / "other")
    assert main([*words, "--overwrite"]) == 1
    assert "was made for base" in capsys.readouterr().err


def test_only_folders_of_adapters_are_removed(runs: Path, capsys: pytest.CaptureFixture) -> None:
    def refused(*words: str) -> str:
        assert main(["lm", "adapters", "remove", *words]) == 1
        return capsys.readouterr().err

    adapter = runs / "anna" / "adapter"
    assert "confirm with --yes" in refused(str(adapter))
    assert f"did you mean {adapter}" in refused(str(runs / "anna"), "--yes")
    assert "is not the folder of an adapter" in refused(str(runs / "base"), "--yes")
    (runs / "link").symlink_to(adapter)
    assert "no link or file" in refused(str(runs / "link"), "--yes")
    card = (adapter / "README.md").read_bytes()
    (adapter / "README.md").unlink()
    (adapter / "README.md").mkdir()
    assert "other files than an adapter (README.md)" in refused(str(adapter), "--yes")
    (adapter / "README.md").rmdir()
    (adapter / "README.md").write_bytes(card)
    (adapter / "notes.txt").write_text("mine")
    # One that cannot be removed keeps the others.
    error = refused(str(runs / "other" / "adapter"), str(adapter), "--yes")
    assert "other files than an adapter (notes.txt)" in error
    assert (runs / "other" / "adapter").is_dir()
    (adapter / "notes.txt").unlink()
    assert main(["lm", "adapters", "remove", str(adapter), f"{adapter}/", "--yes"]) == 0
    assert not adapter.exists() and (runs / "anna").is_dir()
