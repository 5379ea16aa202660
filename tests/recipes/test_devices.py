"""One `--device` of a recipe reaches every stage that computes with a model."""

import argparse
from collections.abc import Iterator

import pytest

from almtok.__main__ import build_parser
from almtok.recipes import cli
from almtok.recipes.run import DEVICE_COMMANDS


def leaves(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    inner = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not inner:
        yield words, parser
    for action in inner:
        for name, child in action.choices.items():
            yield from leaves(child, (*words, name))


def test_the_commands_with_a_device_are_known() -> None:
    # Trainings have it in their configuration; `demo` is a recipe itself; the others are no stages.
    others = {("demo",), ("codec", "train"), ("lm", "train"), ("lm", "finetune")}
    others |= {("lm", "measure"), ("show",), ("serve",), ("ui",)}
    found = {
        words for words, parser in leaves(build_parser()) if "--device" in parser.format_help()
    }
    assert found - others == set(DEVICE_COMMANDS)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("mini", []),
        ("codec", ["--train", "speech=a", "--valid", "speech=b", "--test", "speech=c"]),
        ("multitask", ["--train", "speech=a", "--valid", "speech=b", "--test", "speech=c"]),
        ("lora_voice", ["--voice", "speech=a"]),
    ],
)
def test_every_stage_with_a_model_gets_it(recipe: str, words: list[str]) -> None:
    _, plain = cli.parse(recipe, words)
    _, placed_run = cli.parse(recipe, [*words, "--device", "cuda"])
    placed = 0
    for before, stage in zip(plain.stages, placed_run.stages, strict=True):
        if stage.config is not None:
            assert stage.config.device == "cuda"  # type: ignore[attr-defined]
        elif stage.takes_device:
            assert stage.argv(placed_run.out)[-2:] == ["--device", "cuda"]
            if stage.program == "almtok":
                build_parser().parse_args(stage.argv(placed_run.out)[1:])
        placed += stage.config is not None or stage.takes_device
        # The run of a folder goes on on another device.
        assert stage.difference(before.record()) == ""
    assert placed >= 3


def test_a_stage_s_own_device_stays() -> None:
    _, placed_run = cli.parse("mini", ["--device", "cuda", "--lm.device", "cpu"])
    devices = {stage.name: stage.config.device for stage in placed_run.stages if stage.config}  # type: ignore[attr-defined]
    assert devices["lm"] == "cpu" and devices["stage1"] == "cuda"


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ValueError, match="device must be one of auto, cpu, .* got 'gpu'"):
        cli.parse("mini", ["--device", "gpu"])
