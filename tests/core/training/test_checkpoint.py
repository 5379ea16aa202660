"""Checkpoints are complete or not there, and nothing that fails damages an older one."""

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from almtok.core import files
from almtok.core.training import checkpoint
from almtok.core.training.checkpoint import (
    CheckpointError,
    DamagedCheckpoint,
    complete_checkpoints,
    find_source,
    newest_checkpoint,
    read_checkpoint,
    read_newest,
    restore,
    tensors_of,
    write_checkpoint,
)

from ...loading.fuzz import fuzz_bytes, fuzz_json

TENSORS = {
    "model": {"a": torch.arange(6.0).reshape(2, 3), "flag": torch.tensor(True)},
    "balancer": {"mel": torch.tensor([0.1, 2.0], dtype=torch.float64)},
}


def test_tensors_and_state_come_back_bit_for_bit(tmp_path: Path) -> None:
    shared = TENSORS["model"]["a"]
    tensors = {**TENSORS, "empty": {}, "average": {"a": shared.T, "again": shared}}
    place = write_checkpoint(tmp_path, 7, tensors, {"usual": 0.1 + 0.2}, keep=2)
    found = read_checkpoint(place)
    assert found.step == 7
    assert found.state["usual"] == 0.1 + 0.2
    assert found.tensors.keys() == {"model", "balancer", "average"}
    for stem, group in found.tensors.items():
        for name, value in group.items():
            assert value.dtype == tensors[stem][name].dtype
            assert torch.equal(value, tensors[stem][name])


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10, 9):
        write_checkpoint(tmp_path, step, TENSORS, {}, keep=2)
    assert [path.name for path in complete_checkpoints(tmp_path)] == [
        "step-00000009",
        "step-00000010",
    ]


def test_an_incomplete_checkpoint_is_passed_over(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4):
        write_checkpoint(tmp_path, step, TENSORS, {}, keep=9)
    folder = tmp_path / "checkpoints"
    (folder / "step-00000004" / "state.json").unlink()
    whole = (folder / "step-00000003" / "model.safetensors").read_bytes()
    (folder / "step-00000003" / "model.safetensors").write_bytes(whole[:-1])
    (folder / "step-00000009.tmp").mkdir()
    assert newest_checkpoint(tmp_path) == folder / "step-00000002"
    with pytest.raises(CheckpointError, match="not a complete checkpoint"):
        read_checkpoint(folder / "step-00000003")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_clearly_and_leaves_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    old = write_checkpoint(tmp_path, 1, TENSORS, {}, keep=1)
    inner = checkpoint.save_file

    def save_file(tensors: Any, path: Path) -> None:
        inner(tensors, path)
        if path.stem == "balancer":
            raise error

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(CheckpointError, match="disk full while saving step 2") as caught:
        write_checkpoint(tmp_path, 2, TENSORS, {}, keep=1)
    assert str(old) in str(caught.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [old.name]
    assert read_checkpoint(old).step == 1


def test_what_a_crash_left_is_removed_by_the_next_save(tmp_path: Path) -> None:
    rubbish = tmp_path / "checkpoints" / ".tmp-step-00000005-123"
    rubbish.mkdir(parents=True)
    write_checkpoint(tmp_path, 6, TENSORS, {}, keep=1)
    assert not rubbish.exists()


def test_a_checkpoint_of_another_version_is_named(tmp_path: Path) -> None:
    place = write_checkpoint(tmp_path, 6, TENSORS, {}, keep=1)
    state = json.loads((place / "state.json").read_text())
    (place / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(CheckpointError, match="must be 2, got 99"):
        read_checkpoint(place)
    assert json.loads((place / "state.json").read_text())["format"] == 99, "it is left alone"


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="initial weights must be .*no such folder"):
        find_source(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="a folder without weights"):
        find_source(tmp_path)


def test_a_source_may_be_a_run_a_checkpoint_or_a_model(tmp_path: Path) -> None:
    run = tmp_path / "run"
    place = write_checkpoint(run, 3, TENSORS, {}, keep=1)
    assert find_source(run) == find_source(place) == place
    model = run / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).touch()
    assert find_source(model) == model
    shutil.rmtree(run / "checkpoints")
    assert find_source(run) == model


def test_buffers_that_a_state_dict_omits_are_kept_too() -> None:
    def make() -> nn.Module:
        module = nn.Linear(2, 2)
        module.register_buffer("hidden", torch.rand(3), persistent=False)
        return module

    first, second = make(), make()
    restore(second, {k: v.clone() for k, v in tensors_of(first).items()}, "toy")
    assert torch.equal(first.hidden, second.hidden)  # type: ignore[arg-type]
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values.pop("bias"), "names differ from the checkpoint: bias"),
        (
            lambda values: values.update(bias=torch.ones(5)),
            r"must be \[2\], got \[5\] in the checkpoint",
        ),
    ],
)
def test_tensors_of_another_network_are_refused(
    change: Callable[[dict[str, Any]], Any], words: str
) -> None:
    module = nn.Linear(2, 2)
    values = dict(tensors_of(module))
    change(values)
    with pytest.raises(CheckpointError, match=words):
        restore(module, values, "toy")


# ---------------------------------------------------------------------- damage


def damage(path: Path, place: int, *, zero: bool = False) -> None:
    data = bytearray(path.read_bytes())
    data[place] = 0 if zero else data[place] ^ 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["model.safetensors", "balancer.safetensors"])
@pytest.mark.parametrize("zero", [False, True])
def test_a_flipped_or_zeroed_byte_is_noticed(tmp_path: Path, name: str, zero: bool) -> None:
    place = write_checkpoint(tmp_path, 1, TENSORS, {"usual": 0.5}, keep=1)
    data = (place / name).read_bytes()
    damage(place / name, max(i for i, byte in enumerate(data) if byte), zero=zero)
    assert newest_checkpoint(tmp_path) == place, "its size is right"
    with pytest.raises(DamagedCheckpoint, match=f"{name} is damaged") as caught:
        read_checkpoint(place)
    assert "\n" not in str(caught.value)


def test_any_changed_byte_of_the_state_is_noticed(tmp_path: Path) -> None:
    place = write_checkpoint(tmp_path, 1, TENSORS, {"usual": 0.1 + 0.2, "words": "é"}, keep=1)
    whole, state = (place / "state.json").read_bytes(), read_checkpoint(place).state
    for number in range(len(whole)):
        if whole[number : number + 1].isspace():
            continue
        damage(place / "state.json", number)
        try:
            assert read_checkpoint(place).state == state  # a digit beyond the precision of a float
        except CheckpointError as error:
            assert "step-00000001" in str(error) and "\n" not in str(error)
        (place / "state.json").write_bytes(whole)
    assert state["usual"] == 0.1 + 0.2


def test_the_one_before_a_damaged_one_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_newest(tmp_path) is None
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, step, TENSORS, {}, keep=9)
    damage(checkpoint.folder_of(tmp_path, 3) / "model.safetensors", -1)
    damage(checkpoint.folder_of(tmp_path, 2) / "state.json", 3)
    found = read_newest(tmp_path)
    assert found is not None and found.step == 1
    assert "step-00000003" in caplog.text and "the checkpoint before it is taken" in caplog.text
    damage(checkpoint.folder_of(tmp_path, 1) / "model.safetensors", -1)
    with pytest.raises(DamagedCheckpoint, match="every checkpoint of .* is damaged"):
        read_newest(tmp_path)


def test_a_checkpoint_without_digests_is_read(tmp_path: Path) -> None:
    place = write_checkpoint(tmp_path, 6, TENSORS, {}, keep=1)
    state = json.loads((place / "state.json").read_text())
    del state["sha256"]
    state["format"] = 1
    (place / "state.json").write_text(json.dumps(state))
    found = read_newest(tmp_path)
    assert found is not None and torch.equal(found.tensors["model"]["a"], TENSORS["model"]["a"])


def test_a_step_saved_again_is_never_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_checkpoint(tmp_path, 6, TENSORS, {"turn": 1}, keep=1)
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    rename = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if self.name.startswith(".tmp"):
            raise KeyboardInterrupt  # as a kill would: between the two renames
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, 6, TENSORS, {"turn": 2}, keep=1)
    monkeypatch.undo()
    assert not old.exists()
    found = read_newest(tmp_path)
    assert found is not None and found.state["turn"] == 1
    write_checkpoint(tmp_path, 6, TENSORS, {"turn": 3}, keep=1)
    write_checkpoint(tmp_path, 7, TENSORS, {"turn": 4}, keep=1)
    assert [path.name for path in old.parent.iterdir()] == ["step-00000007"]


def test_damage_of_checkpoints_without_digests_is_an_error_of_one_line(tmp_path: Path) -> None:
    place = write_checkpoint(tmp_path, 1, TENSORS, {"usual": 0.5}, keep=1)
    state = json.loads((place / "state.json").read_text())
    del state["sha256"]
    state["format"] = 1
    (place / "state.json").write_text(json.dumps(state))
    fuzz_json(place / "state.json", lambda: read_checkpoint(place), 100)
    fuzz_bytes(place / "model.safetensors", lambda: read_checkpoint(place), 100)
