"""Whole runs in this process: folders, logs, refusals, signals, skipped steps, validation."""

import functools
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.model import ALMTokenizer
from almtok.codec.priors import random_prior
from almtok.codec.train import CheckpointError, TrainingStopped, train_codec, trainer
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.update import optimizer_step
from almtok.core.data import AudioCorpus
from almtok.core.training import checkpoint
from almtok.core.training.checkpoint import newest_checkpoint, read_checkpoint
from almtok.core.training.run_folder import METRICS

Make = Callable[..., CodecTrainConfig]


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / METRICS).read_text().splitlines()]


@pytest.mark.parametrize("unpatchify", ["mirror", "harmonic", "istft"])
def test_three_stages_in_a_row_give_codecs(
    toy_config: Make, tmp_path: Path, unpatchify: str
) -> None:
    model = {**toy_config("1").model, "unpatchify": unpatchify}
    toy_config = functools.partial(toy_config, model=model)
    one = train_codec(toy_config("1", steps=2, out=str(tmp_path / "one")))
    two = train_codec(
        toy_config("2", steps=3, out=str(tmp_path / "two"), init_from=str(tmp_path / "one"))
    )
    first, second = (ALMTokenizer.from_pretrained(str(r.model)).eval() for r in (one, two))
    assert one.finished and two.finished and two.step == 3
    assert first.config.unpatchify == "mirror"  # Patchify learns by it
    assert second.config.unpatchify == unpatchify
    new = train_codec(
        toy_config(
            "adapt",
            steps=2,
            out=str(tmp_path / "new"),
            init_from=str(two.model),  # a saved model, not a run
        )
    )
    third = ALMTokenizer.from_pretrained(str(new.model)).eval()
    wav = 0.1 * torch.randn(1, 1, 9600)
    codes = second.encode(wav).audio_codes
    assert len(codes.unique()) > 1
    assert third.fingerprint == second.fingerprint != first.fingerprint
    assert torch.equal(third.encode(wav).audio_codes, codes)
    assert not torch.equal(third.decode(codes).audio_values, second.decode(codes).audio_values)
    layers = lines(tmp_path / "two")[-1]["codebooks"]
    assert len(layers) == 3
    assert {"usage", "perplexity", "speech_usage", "sound_usage"} <= layers[0].keys()


def test_stage_2_starts_from_the_averaged_weights_of_stage_1(
    toy_config: Make, tmp_path: Path
) -> None:
    one = train_codec(toy_config("1", steps=2, out=str(tmp_path / "one"), ema_decay=0.9))
    config = toy_config("2", freeze_patchify=True, init_from=str(tmp_path / "one"), steps=1)
    two = train_codec(config)
    before, after = (ALMTokenizer.from_pretrained(str(r.model)) for r in (one, two))
    for name, value in before.patchify.state_dict().items():
        assert torch.equal(value, after.patchify.state_dict()[name])


def heads_of(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None
    return read_checkpoint(checkpoint).tensors["objectives"]


def test_heads_of_losses_go_on_with_the_codec_that_they_learned_beside(
    toy_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = train_codec(toy_config("1", steps=1, out=str(tmp_path / "one")))
    fields = dict(weight_spectrum=0.3, weight_autoregressive=0.0, muon_lr=0.0)
    train_codec(
        toy_config("2", steps=3, out=str(tmp_path / "two"), init_from=str(one.model), **fields)
    )
    learned = heads_of(tmp_path / "two")
    assert "spectrum.say.weight" in learned
    assert "loaded loss heads" not in capsys.readouterr().out

    def go_on(name: str, **changes: object) -> dict[str, torch.Tensor]:
        given = {"init_from": str(tmp_path / "two"), "seed": 9, **fields, **changes}
        train_codec(replace(toy_config("2", steps=1, out=str(tmp_path / name), **given), lr=0.0))
        return heads_of(tmp_path / name)

    same = go_on("three")
    assert "loaded loss heads: masked, spectrum\n" in capsys.readouterr().out
    assert torch.equal(same["spectrum.say.weight"], learned["spectrum.say.weight"])
    # The decoder side was trained in between: that run has no heads, so they are named.
    exported = str(tmp_path / "two" / "model")
    other = go_on("four", init_from=exported)
    assert not torch.equal(other["spectrum.say.weight"], learned["spectrum.say.weight"])
    named = go_on("five", init_from=exported, heads_from=str(tmp_path / "two"))
    assert torch.equal(named["spectrum.say.weight"], learned["spectrum.say.weight"])
    for name, heads in (("six", exported), ("seven", str(tmp_path / "one"))):
        with pytest.raises(CheckpointError, match=r"of stage 2 .* the same losses \(masked, spec"):
            go_on(name, heads_from=heads)


def test_going_on_with_the_same_prior_keeps_codebooks(
    toy_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = train_codec(toy_config("1", steps=1, out=str(tmp_path / "one")))
    size = ALMTokenizer.from_pretrained(str(one.model)).config
    prior = random_prior(seed=0, codebook_size=size.codebook_size, dim=size.prior_dim)
    prior.save(tmp_path / "prior.safetensors")
    fields = dict(prior=str(tmp_path / "prior.safetensors"), quantize_start=0, steps=2)
    two = train_codec(
        toy_config("2", out=str(tmp_path / "two"), init_from=str(tmp_path / "one"), **fields)
    )
    assert "codebooks are kept" not in capsys.readouterr().out
    config = toy_config("2", out=str(tmp_path / "three"), init_from=str(tmp_path / "two"), **fields)
    three = train_codec(replace(config, lr=0.0))
    assert "codebooks are kept" in capsys.readouterr().out
    before, after = (ALMTokenizer.from_pretrained(str(r.model)) for r in (two, three))
    for name, value in before.quantizer.layers[0].project_out.state_dict().items():
        assert torch.equal(value, after.quantizer.layers[0].project_out.state_dict()[name])


def test_the_width_of_the_first_codebook_is_that_of_the_prior(
    toy_config: Make, tmp_path: Path
) -> None:
    model = {name: value for name, value in toy_config().model.items() if name != "prior_dim"}
    toy = functools.partial(toy_config, model=model, quantize_start=0)
    one = toy("1", steps=1, out=str(tmp_path / "one"))
    train_codec(one)
    place = tmp_path / "prior.safetensors"
    random_prior(seed=0, codebook_size=16, dim=12).save(place)
    two = toy(
        "2", steps=1, out=str(tmp_path / "two"), init_from=one.out, prior=str(place),
        schedule="constant",
    )  # fmt: skip
    train_codec(two)
    place.unlink()  # a resumed run does not need it, nor does a later stage
    adapted = train_codec(toy("adapt", steps=1, out=str(tmp_path / "a"), init_from=two.out))
    resumed = train_codec(replace(two, steps=2))
    exported = toy("adapt", steps=1, out=str(tmp_path / "b"), init_from=str(resumed.model))
    for result in (adapted, resumed, train_codec(exported)):
        codec = ALMTokenizer.from_pretrained(str(result.model))
        assert codec.config.prior_dim == 12
        assert codec.quantizer.layers[0].codebook.entries.shape == (16, 12)


def test_codebooks_of_a_trained_codec_are_placed_anew_and_of_another_kind(
    toy_config: Make, tmp_path: Path
) -> None:
    one = train_codec(toy_config("1", steps=1, out=str(tmp_path / "one")))
    two = train_codec(toy_config("2", steps=2, out=str(tmp_path / "two"), init_from=str(one.model)))
    fields = dict(init_from=str(two.model), quantize_start=0, replace_codebooks=True, lr=0.0)
    free = {**toy_config().model, "prior_codebooks": "none"}
    new = train_codec(toy_config("2", steps=1, out=str(tmp_path / "new"), model=free, **fields))
    before, after = (ALMTokenizer.from_pretrained(str(r.model)).eval() for r in (two, new))
    assert before.quantizer.layers[0].codebook.frozen
    assert not after.quantizer.layers[0].codebook.frozen
    assert after.quantizer.initialized
    assert torch.equal(before.encoder.output.weight, after.encoder.output.weight)
    with pytest.raises(CheckpointError, match="codec of other sizes: quantizer"):
        train_codec(
            toy_config(
                "2",
                steps=1,
                out=str(tmp_path / "not"),
                model=free,
                **{**fields, "replace_codebooks": False},
            )
        )


def test_a_finished_run_is_left_as_it_is(toy_config: Make, tmp_path: Path) -> None:
    train_codec(toy_config(steps=2))
    before = (tmp_path / "run" / METRICS).read_text()
    assert train_codec(toy_config(steps=2)).finished
    assert (tmp_path / "run" / METRICS).read_text() == before


def test_another_configuration_is_refused_by_field(toy_config: Make) -> None:
    train_codec(toy_config(steps=1))
    with pytest.raises(ValueError, match=r"another configuration \(lr: 0.001 -> 0.5\)"):
        train_codec(toy_config(steps=1, lr=0.5))


def test_a_run_that_was_refused_before_its_first_step_leaves_its_folder_free(
    toy_config: Make, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        train_codec(toy_config("2", init_from=str(tmp_path / "nowhere"), steps=1))
    assert train_codec(toy_config(steps=1)).finished


def test_a_missing_start_is_an_error(toy_config: Make, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        train_codec(toy_config("2", init_from=str(tmp_path / "nowhere"), steps=1))


def test_a_start_of_other_sizes_is_an_error(toy_config: Make, tmp_path: Path) -> None:
    train_codec(toy_config(steps=1, out=str(tmp_path / "one")))
    model = {**toy_config().model, "hidden_size": 32}
    with pytest.raises(CheckpointError, match="codec of other sizes"):
        train_codec(toy_config("2", init_from=str(tmp_path / "one"), model=model, steps=1))


def test_no_usable_audio_is_an_error_that_says_why(toy_config: Make, tmp_path: Path) -> None:
    folder = tmp_path / "silence"
    folder.mkdir()
    soundfile.write(folder / "a.wav", np.zeros(24_000, np.float32), 24_000)
    with pytest.raises(ValueError, match="silent"):
        train_codec(toy_config(steps=1, data=[str(folder)]))


def test_validation_hears_held_out_clips(toy_config: Make, toy_audio: Path, tmp_path: Path) -> None:
    config = toy_config(
        steps=2,
        validate_every=1,
        validation_data=[f"speech={toy_audio}"],
        validation_clips=3,
        tracker="tensorboard",
    )
    result = train_codec(config)
    found = [line["validation"] for line in lines(tmp_path / "run") if "validation" in line]
    assert len(found) == 2
    assert found[-1]["mel"].keys() == {"all", "speech"}
    assert result.validation is not None
    assert len(result.validation.samples) == len(result.validation.targets) == 3
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Tags()
    assert {"loss/mel", "run/lr", "validation/mel/all", "gradient_norm/generator"} <= set(
        events["scalars"]
    )
    assert "clip0/reconstruction" in events["audio"]
    assert "clip0/target_above_reconstruction" in events["images"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_saves_and_the_same_call_goes_on(
    toy_config: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(state: Any, *rest: Any) -> Any:
        if state.step == 2:
            os.kill(os.getpid(), number)
        return optimizer_step(state, *rest)

    monkeypatch.setattr(trainer, "optimizer_step", interrupted)
    result = train_codec(toy_config(steps=5, checkpoint_every=0))
    assert (result.step, result.finished, result.signal) == (4, False, number)
    assert "the same command resumes" in capsys.readouterr().err
    monkeypatch.undo()
    assert train_codec(toy_config(steps=5, checkpoint_every=0)).finished
    assert [line["step"] for line in lines(tmp_path / "run")] == [1, 2, 3, 4, 5]


def test_the_log_is_cut_back_to_the_checkpoint(toy_config: Make, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = toy_config(
        steps=4, checkpoint_every=2, keep=2, schedule="constant", tracker="tensorboard"
    )
    train_codec(config)
    run = tmp_path / "run"
    newest = checkpoint.newest_checkpoint(run)
    assert newest is not None
    (newest / "state.json").unlink()  # as if step 4 had not been saved in time
    with (run / METRICS).open("a") as file:
        file.write('{"step": 5, "lo')  # and a line was cut off
    train_codec(replace(config, steps=5))
    assert [line["step"] for line in lines(run)] == [1, 2, 3, 4, 5]
    board = reader.EventAccumulator(str(run / "tensorboard")).Reload()
    assert [point.step for point in board.Scalars("loss/mel")] == [1, 2, 3, 4, 5]


def test_a_full_disk_stops_with_the_older_checkpoint(
    toy_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_codec(toy_config(steps=2, schedule="constant"))

    def save_file(tensors: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(CheckpointError, match="disk full while saving step 3.*step-00000002"):
        train_codec(toy_config(steps=3, schedule="constant"))
    monkeypatch.undo()
    assert train_codec(toy_config(steps=3, schedule="constant")).step == 3


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every clip reads as NaN from now on (a scan would have skipped it)."""
    inner = AudioCorpus.read

    def read(self: AudioCorpus, *place: Any) -> Any:
        return inner(self, *place) * np.float32("nan")

    monkeypatch.setattr(AudioCorpus, "read", read)


@pytest.mark.usefixtures("poisoned")
def test_bad_steps_are_listed_and_in_a_row_they_stop_the_run(
    toy_config: Make, tmp_path: Path
) -> None:
    with pytest.raises(TrainingStopped, match="3 steps in a row were skipped.*not finite"):
        train_codec(toy_config(steps=9, max_skips=3))
    dumps = sorted((tmp_path / "run" / "skipped").iterdir())
    assert [path.name for path in dumps] == [f"step-{n:08d}.process-0.json" for n in range(3)]
    record = json.loads(dumps[0].read_text())
    assert record["problem"] == "the audio is not finite"
    assert len(record["crops"]) == 4
    assert all(crop["ids"] and not crop["finite"] for crop in record["crops"])


def test_a_run_goes_on_on_a_processor_of_another_precision_and_says_so(
    toy_config, monkeypatch, capsys
) -> None:
    for steps, native, said in ((1, False, "cpu, fp32"), (2, True, "cpu, bf16")):
        monkeypatch.setattr("almtok.core.runtime.native_bfloat16", lambda *_, native=native: native)
        train_codec(toy_config("1", steps=steps, schedule="constant", precision="auto"))
        assert f"training on {said}" in (told := capsys.readouterr().err)
        assert ("earlier steps were trained in fp32" in told) is native
