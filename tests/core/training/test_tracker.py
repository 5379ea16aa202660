"""Trackers: what reaches them, and that a resumed run writes every point once."""

import dataclasses
import json
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from almtok.core.training.tracker import Tracker, open_tracker


class Recorded:
    """A module with the interface of wandb and trackio; it records what it is given."""

    def __init__(self) -> None:
        self.inits: list[dict[str, Any]] = []
        self.points: list[tuple[str, Any, int]] = []
        self.finished = 0
        self.Settings = types.SimpleNamespace
        for kind in ("Image", "Audio", "Html", "Markdown"):
            setattr(self, kind, lambda value, kind=kind, **more: (kind, value, more))

    def init(self, **given: Any) -> None:
        self.inits.append(given)

    def log(self, values: dict[str, Any], step: int) -> None:
        self.points += [(name, value, step) for name, value in values.items()]

    def finish(self) -> None:
        self.finished += 1

    @property
    def keys(self) -> list[tuple[str, int]]:
        return [(name, step) for name, _, step in self.points]


@pytest.fixture(params=["wandb", "trackio"])
def hosted(request: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Recorded]:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    module = Recorded()
    monkeypatch.setitem(sys.modules, request.param, module)  # type: ignore[arg-type]
    return request.param, module


def fill(tracker: Tracker, first: int, last: int) -> None:
    for step in range(first, last + 1):
        tracker.scalars({"loss/mel": 1.0 / step, "lr": 0.1}, step)
        if step % 2 == 0:
            tracker.audio("clip0", np.full(2400, 2.0), 24_000, step)
            tracker.image("clip0_picture", np.zeros((4, 6, 3), np.uint8), step)
            tracker.text("said", "<b>five & six</b>", step)


def test_a_resumed_run_adds_every_point_once(hosted: Any, tmp_path: Path) -> None:
    name, module = hosted
    run = tmp_path / "mine" / "stage2"
    tracker = open_tracker(name, run, 0, {"lr": 0.1})
    assert tracker is not None
    fill(tracker, 1, 5)  # killed here; the newest checkpoint is that of step 3
    again = open_tracker(name, run, 3, {"lr": 0.1})
    assert again is not None
    fill(again, 4, 6)
    again.close()
    assert len(module.keys) == len(set(module.keys)) == 6 * 2 + 3 * 3
    assert {step for _, step in module.keys} == {1, 2, 3, 4, 5, 6}
    first, second = module.inits
    assert first == second and first["resume"] == "allow" and first["project"] == "almtok"
    identity = first["id"] if name == "wandb" else first["name"].rpartition("-")[2]
    assert json.loads((run / "tracker.json").read_text())["id"] == identity
    assert first["name"].startswith("mine/stage2") and module.finished == 1


def test_a_validation_that_was_cut_off_is_added(hosted: Any, tmp_path: Path) -> None:
    """The last step is kept by name: a log line of a step comes before its validation."""
    name, module = hosted
    tracker = open_tracker(name, tmp_path, 0, {})
    assert tracker is not None
    tracker.scalars({"loss": 1.0}, 5)  # killed before the validation
    again = open_tracker(name, tmp_path, 4, {})
    assert again is not None
    again.scalars({"loss": 1.0}, 5)
    again.scalars({"validation/loss": 2.0}, 5)
    assert module.keys == [("loss", 5), ("validation/loss", 5)]


def test_samples_arrive_in_the_module_s_kinds(hosted: Any, tmp_path: Path) -> None:
    name, module = hosted
    tracker = open_tracker(name, tmp_path, 0, {})
    assert tracker is not None
    fill(tracker, 2, 2)
    found = {point: value for point, value, _ in module.points}
    kind, wav, more = found["clip0"]
    assert (kind, wav.dtype, wav.max(), more) == ("Audio", np.int16, 32767, {"sample_rate": 24_000})
    assert found["clip0_picture"][1].shape == (4, 6, 3)
    text = found["said"][1]
    assert ("<b>" in text) == (name == "trackio") and "five" in text


def test_wandb_is_offline_unless_the_environment_says_otherwise(
    hosted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, module = hosted
    if name == "trackio":
        pytest.skip("trackio is local by itself")
    open_tracker(name, tmp_path, 0, {})
    monkeypatch.setenv("WANDB_MODE", "online")
    open_tracker(name, tmp_path, 0, {})
    assert [given["mode"] for given in module.inits] == ["offline", "online"]
    assert module.inits[0]["dir"] == str(tmp_path)


def test_a_missing_package_and_a_wrong_name_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)  # type: ignore[arg-type]
    expected = r"needs the package trackio .*pip install 'almtok\[trackers\]'"
    with pytest.raises(ValueError, match=expected):
        open_tracker("trackio", tmp_path, 0, {})
    with pytest.raises(ValueError, match="tracker must be one of none, tensorboard, .* 'mlflow'"):
        open_tracker("mlflow", tmp_path, 0, {})
    assert open_tracker("none", tmp_path, 0, {}) is None
    assert not list(tmp_path.iterdir())


def test_tensorboard_shows_every_point_once_after_a_resume(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for start, last in ((0, 5), (3, 6)):
        tracker = open_tracker("tensorboard", tmp_path, start, {})
        assert tracker is not None
        fill(tracker, start + 1, last)
        tracker.flush()
        tracker.close()
    board = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [point.step for point in board.Scalars("loss/mel")] == [1, 2, 3, 4, 5, 6]
    assert [point.step for point in board.Audio("clip0")] == [2, 4, 6]
    (picture, *_) = board.Images("clip0_picture")
    assert (picture.width, picture.height) == (6, 4)


def test_a_configuration_with_the_former_field_is_read() -> None:
    from almtok.codec.train.config import CodecTrainConfig
    from almtok.lm.train.config import LMTrainingConfig

    for kind in (CodecTrainConfig, LMTrainingConfig):
        values = dataclasses.asdict(kind.from_dict({}))
        del values["tracker"]
        assert kind.from_dict({**values, "tensorboard": False}).tracker == "none"
        assert kind.from_dict({**values, "tensorboard": True}).tracker == "tensorboard"
        with pytest.raises(ValueError, match="tracker must be one of"):
            kind.from_dict({"tracker": "paper"})


def records(data: bytes) -> Iterator[bytes]:
    """Records of a file of wandb: LevelDB's log format after a header of 7 bytes."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if (left := 32_768 - place % 32_768) < 7:
            place += left
            continue
        length, kind = struct.unpack("<HB", data[place + 4 : place + 7])
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def test_wandb_itself_keeps_every_point_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.delenv("WANDB_MODE", raising=False)
    for start, last in ((0, 5), (3, 6)):
        tracker = open_tracker("wandb", tmp_path / "run", start, {"lr": 0.1})
        assert tracker is not None
        fill(tracker, start + 1, last)
        tracker.close()
    steps = []
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    for file in files:
        for data in records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            for item in record.history.item:
                if "/".join([item.key, *item.nested_key]).strip("/") == "loss/mel":
                    steps.append(record.history.step.num)
    assert len(files) == 2 and steps == [1, 2, 3, 4, 5, 6]
    assert list((tmp_path / "run" / "wandb").rglob("media/audio/*.wav"))


def test_trackio_itself_keeps_every_point_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "trackio" in sys.modules:
        pytest.skip("trackio reads its folder when it is imported")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    for start, last in ((0, 5), (3, 6)):
        tracker = open_tracker("trackio", tmp_path / "run", start, {"lr": 0.1})
        assert tracker is not None
        fill(tracker, start + 1, last)
        tracker.close()
    (run,) = SQLiteStorage.get_runs("almtok")
    logs = SQLiteStorage.get_logs("almtok", run)
    assert [log["step"] for log in logs if "loss/mel" in log] == [1, 2, 3, 4, 5, 6]
