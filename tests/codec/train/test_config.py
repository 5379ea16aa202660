"""The training configuration and its command line, both without torch."""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from almtok.codec.train import cli
from almtok.codec.train.config import CodecTrainConfig, adapt, for_stage, stage1, stage2
from almtok.core.options import Command


def parse(*words: str) -> argparse.Namespace:
    parser = Command()
    cli.register(parser.add_subparsers())
    return parser.parse_args(["train", *words])


def test_config_and_command_line_load_without_torch() -> None:
    code = "import almtok.codec.train.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_teacher_and_its_layers_are_options() -> None:
    words = "--stage 2 --data x --init-from y --weight-distillation 1 --teacher-speech whisper"
    config = cli.resolve(parse(*words.split(), "--teacher-layers", "2", "4"))
    assert (config.teacher_speech, config.teacher_layers) == ("whisper", [2, 4])


def test_a_weight_without_effect_is_refused() -> None:
    with pytest.raises(
        ValueError, match="weight_latent must be 0 or not given in stage 1, got 0.5"
    ):
        stage1(weight_latent=0.5)
    assert stage2(weight_latent=0.5, init_from="x").weight_latent == 0.5


def test_each_stage_has_the_losses_of_its_network() -> None:
    assert stage1().direct_weights.keys() == {"masked"}
    second = stage2(init_from="one", weight_latent=0.5)
    assert second.direct_weights == {
        "masked": 0.1,
        "autoregressive": 0.1,
        "commitment": 0.2,
        "latent": 0.5,
        "pitch": 0.3,
    }
    assert adapt(init_from="two").direct_weights == {"pitch": 0.3}
    assert stage1(adversarial_start=-1).balanced_weights == {"time": 1.0, "mel": 1.0}
    assert not stage1(adversarial_start=-1).uses_discriminators
    assert stage1(weight_adversarial=0, weight_feature_matching=0).uses_discriminators is False


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stage": "3"}, "stage must be one of 1, 2, adapt, got '3'"),
        ({"batch_sise": 4}, "unknown training option 'batch_sise'; did you mean 'batch_size'?"),
        (
            {"batch_size": 6, "accumulate": 4},
            "batch_size must be a multiple of accumulate .4., got 6",
        ),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"stage": "2"}, "stage 2 needs init_from"),
        ({"stage": "adapt"}, "stage adapt needs init_from"),
        ({"stage": "1", "heads_from": "x"}, "heads_from needs init_from"),
        (
            {"stage": "adapt", "init_from": "x", "replace_codebooks": True},
            "replace_codebooks needs stage 2",
        ),
        (
            {"precision": "fp8"},
            "precision must be one of auto, auto-all, fp32, .*, got 'fp8'",
        ),
        ({"segment_seconds": 0}, "segment_seconds must be positive, got 0"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        CodecTrainConfig.from_dict(values)


def test_a_removed_field_is_accepted_where_it_was_switched_off() -> None:
    assert CodecTrainConfig.from_dict({"weight_loudness": 0.0}) == stage1()
    assert CodecTrainConfig.from_dict({"weight_loudness": 0}) == stage1()
    with pytest.raises(ValueError, match="weight_loudness is a removed training option"):
        CodecTrainConfig.from_dict({"weight_loudness": 0.5})


@pytest.mark.parametrize("stage", ["1", "2", "adapt"])
def test_json_keeps_every_field(stage: str, tmp_path: Path) -> None:
    config = for_stage(stage, init_from="x", model={"hidden_size": 8}, lr=1e-3)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert CodecTrainConfig.from_json(path) == config


def test_differences_name_fields_that_change_the_result_only() -> None:
    config = stage1(lr=1e-3)
    other = dataclasses.replace(config, lr=2e-3, keep=9, log_every=3, out="elsewhere")
    assert config.differences(other) == ["lr: 0.001 -> 0.002"]
    longer = dataclasses.replace(config, steps=20)
    assert config.differences(longer) == ["steps: 10000 -> 20"]
    constant = stage1(schedule="constant")
    assert constant.differences(dataclasses.replace(constant, steps=20)) == []


def test_every_field_has_help_and_a_flag_or_is_of_the_file_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        parse("--help-all")
    text = capsys.readouterr().out
    for field in dataclasses.fields(CodecTrainConfig):
        flag = re.search(rf"--(\[no-\])?{field.name.replace('_', '-')}\b[^-]", text)
        assert bool(flag) is not field.metadata["file_only"]
        assert field.metadata["help"]


def test_flags_override_the_file_and_the_file_the_stage(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    given = {"stage": "2", "init_from": "one", "lr": 0.5, "steps": 7, "betas": [0.9, 0.95]}
    path.write_text(json.dumps(given))
    words = ["--config", str(path), "--lr", "0.25", "--data", "a", "speech=b", "--no-balancer"]
    config = cli.resolve(parse(*words, "--model", '{"hidden_size": 8}'))
    assert (config.stage, config.segment_seconds) == ("2", 6.0)
    assert (config.lr, config.steps) == (0.25, 7)
    assert config.data == ["a", "speech=b"]
    assert config.balancer is False
    assert config.model == {"hidden_size": 8}
    assert config.betas == [0.9, 0.95]


def test_no_data_is_an_error() -> None:
    with pytest.raises(ValueError, match="--data must be at least one"):
        cli.resolve(parse("--stage", "1"))
