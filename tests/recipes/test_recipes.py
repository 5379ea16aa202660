"""Every shipped recipe is loaded into the configuration that it is meant for."""

import importlib

import pytest

from almtok.__main__ import build_parser, main
from almtok.codec.train import CodecTrainConfig
from almtok.lm.config import TASKS, AudioLMConfig
from almtok.lm.train import LMTrainingConfig
from almtok.recipes import cli
from almtok.recipes.codec import recipe as codec
from almtok.recipes.lora_voice import recipe as lora_voice
from almtok.recipes.mini import recipe as mini
from almtok.recipes.multitask import recipe as multitask

DATA, HELD_OUT = ["speech=voices/"], ["speech=more/"]
CONFIGS = {
    "mini/stage1": lambda: mini.stage1("runs/x"),
    "mini/stage2": lambda: mini.stage2("runs/x"),
    "codec/mini_stage1": lambda: codec.mini_stage1(DATA, HELD_OUT, "runs/x"),
    "codec/mini_stage2": lambda: codec.mini_stage2(DATA, HELD_OUT, "runs/x"),
    "codec/mini_adapt": lambda: codec.mini_adapt(DATA, HELD_OUT, "runs/x"),
    "codec/full_stage1": lambda: codec.full_stage1(DATA, HELD_OUT, "runs/x"),
    "codec/full_stage2": lambda: codec.full_stage2(DATA, HELD_OUT, "runs/x", preset="paper"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_recipes_make_valid_configs(name):
    from almtok.codec.config import ALMTokenizerConfig
    from almtok.codec.losses.autoregressive import AutoregressiveDepthConfig
    from almtok.codec.losses.reconstruction import MelLossConfig
    from almtok.core.data import DataConfig

    config = CONFIGS[name]()
    assert isinstance(config, CodecTrainConfig)
    assert name.endswith(config.stage)
    assert CodecTrainConfig.from_dict(config.to_dict()) == config
    ALMTokenizerConfig.preset(config.preset, **config.model)
    DataConfig(segment_seconds=config.segment_seconds, **config.dataset)
    AutoregressiveDepthConfig(**config.autoregressive)
    MelLossConfig(**config.mel)


def test_with_words_the_first_codebook_of_mini_is_free_in_every_stage_that_has_it():
    given = "--train speech=a/ --valid speech=b/ --test speech=c/".split()
    _, plain = cli.parse("codec", given)
    _, words = cli.parse("codec", [*given, "--words"])
    names = [stage.name for stage in plain.stages]
    assert names == ["prior", "stage1", "stage2", "adapt", "sharper", "scores"]
    assert [stage.name for stage in words.stages] == ["phonemes", *names[1:]]
    configs = {stage.name: stage.config for stage in words.stages if stage.config is not None}
    for name in ("stage2", "adapt"):
        assert configs[name].prior is None
        assert configs[name].model["prior_codebooks"] == "none"
    _, full = cli.parse("codec", [*given, "--words", "--size", "base"])
    assert [stage.name for stage in full.stages][:2] == ["phonemes", "prior"]


@pytest.mark.parametrize(
    ("teachers", "padded"),
    [
        ("--teacher-speech whisper", True),
        ("--teacher-speech whisper --teacher-sound beats:b.pt", True),
        ("--teacher-speech wavlm --teacher-sound beats:b.pt", False),
        ("", False),
    ],
)
def test_teachers_of_other_widths_share_a_codebook(teachers, padded):
    given = "--train speech=a/ sound=n/ --valid speech=b/ --test speech=c/".split()
    _, run = cli.parse("codec", [*given, *teachers.split()])
    (prior,) = (stage for stage in run.stages if stage.name == "prior")
    assert ("--widths" in prior.command) == padded


def test_the_codec_that_is_judged_is_the_last_one_that_was_made():
    _, mini = cli.parse("codec", SOURCES)
    *_, adapted, sharper, scores = mini.stages
    assert sharper.command[2] == f"{adapted.config.out}/model"
    assert scores.command[scores.command.index("--checkpoint") + 1] == str(sharper.output)
    _, full = cli.parse("codec", [*SOURCES, "--size", "base"])
    *_, trained, scores = full.stages
    assert f"{trained.config.out}/model" in scores.command


def test_the_multitask_recipe_makes_valid_configs():
    config = multitask.listening(["tokens/"], ["held-out/"], "runs/x", "codec/")
    assert LMTrainingConfig.from_dict(config.to_dict()) == config
    assert AudioLMConfig.preset(config.preset, **config.model).pattern == "depth"
    assert set(config.tasks) <= set(TASKS)


def test_the_multitask_recipe_goes_on_from_words_to_all_tasks():
    given = (["tokens/"], ["held-out/"], "runs/x", "codec/")
    config = multitask.mini(*given)
    assert LMTrainingConfig.from_dict(config.to_dict()) == config
    assert config.init_from == multitask.listening(*given).out
    assert set(config.tasks) == set(multitask.TASKS) <= set(TASKS)


def test_the_multitask_recipe_trains_the_tasks_of_its_sources():
    def trained(*sources):
        given = ["--train", *sources, "--valid", "speech=b/", "--test", "speech=c/"]
        stages = {stage.name: stage.config for stage in cli.parse("multitask", given)[1].stages}
        return [list(stages[name].tasks) for name in ("lm", "sounds") if name in stages]

    assert trained("speech=a/") == [["tts", "asr"]]
    assert trained("a/") == [list(multitask.TASKS)]
    names, weighted = trained("speech=a/", "sound=n/")
    assert names == [
        task.split("=")[0] for task in ("tts", "asr", "text_to_audio", "audio_caption")
    ]
    assert {task.split("=")[0] for task in weighted} == set(names)


def test_the_multitask_recipe_adapts_a_backbone_to_all_tasks(capsys):
    given = [
        SOURCES[0],
        "sound=n/",
        "music=m/",
        *SOURCES[1:],
        "--backbone",
        "meta-llama/Llama-3.2-1B",
    ]
    _, run = cli.parse("multitask", given)
    assert [stage.name for stage in run.stages] == ["tokens", "held-out", "lm", "scores"]
    config = run.stages[2].config
    assert tuple(config.tasks) == multitask.TASKS and config.backbone == given[-1]
    assert (config.lora_rank, config.lora_alpha, config.lora_dropout) == (32, 16, 0.05)
    assert main(["run", "multitask", *given, "--classes"]) == 1
    assert "not --backbone" in capsys.readouterr().err


def test_the_multitask_recipe_ends_with_sounds_if_there_are_any():
    given = "--train speech=a/ sound=n/ music=m/ --valid speech=b/ --test speech=c/ --out o".split()
    given.append("--classes")
    stages = {stage.name: stage for stage in cli.parse("multitask", given)[1].stages}
    config = stages["sounds"].config
    assert LMTrainingConfig.from_dict(config.to_dict()) == config
    assert config.init_from == stages["lm"].config.out == "o/lm"
    assert set(config.distill_tasks) == set(multitask.TASKS) - {"text_to_audio"}
    # Sounds are learned from what was searched for, and from nothing else.
    assert config.data == [
        *("o/tokens", "o/searched", "o/retold", "o/named", "o/variants"),
    ]
    assert "sound=n/" not in stages["tokens"].command
    assert "sound=n/" in stages["searched"].command and "o/sounds" in stages["scores"].command
    assert "o/sounds-tokens" in stages["lm"].config.data
    unnamed = {stage.name: stage for stage in cli.parse("multitask", given[:-1])[1].stages}
    assert unnamed["sounds"].config.data == ["o/tokens", "o/searched", "o/retold", "o/variants"]
    assert "named" not in unnamed
    plain = cli.parse("multitask", SOURCES)[1].stages
    assert not {"sounds", "searched", "retold", "named"} & {stage.name for stage in plain}


def test_books_of_the_multitask_recipe_become_texts_without_those_of_the_tests():
    given = [f"--{part} speech={part}/" for part in ("train", "valid", "test")]
    words = " ".join(given).split()
    _, plain = cli.parse("multitask", words)
    assert plain.stages[0].name == "readings" and plain.stages[-2].config.texts == []
    _, run = cli.parse("multitask", [*words, "--books", "one.txt", "two.txt", "--out", "o"])
    stages = {stage.name: stage for stage in run.stages}
    assert stages["texts"].command[:5] == (
        "one.txt", "two.txt", "--held-out", "speech=valid/", "speech=test/",
    )  # fmt: skip
    for name in ("listening", "lm"):
        assert stages[name].config.texts == ["o/texts.txt"]


def test_a_voice_is_an_adapter_on_the_trained_model():
    config = lora_voice.voice(["tokens/"], [], "runs/x/lm", "runs/x")
    assert config.lora_rank > 0 and config.init_from == "runs/x/lm"


def test_the_second_stage_goes_on_from_the_first():
    for first, second in (
        ("mini/stage1", "mini/stage2"),
        ("codec/mini_stage1", "codec/mini_stage2"),
        ("codec/mini_stage2", "codec/mini_adapt"),
    ):
        assert CONFIGS[second]().init_from == CONFIGS[first]().out


SOURCES = ["--train", "speech=a/", "--valid", "speech=b/", "--test", "speech=c/"]
ASKED = {
    "mini": [],
    "tts": [],
    "asr": ["--backbone", "Qwen/Qwen3-0.6B"],
    "text_to_audio": [],
    "text_to_music": SOURCES,
    "captioning": [],
    "codec": SOURCES,
    "codec_ablation": [*SOURCES, "--recognizer", "pocketsphinx", "--predictability", "9"],
    "multitask": [*SOURCES[:2], "sound=n/", *SOURCES[2:], "--classes"],
    "lora_voice": ["--base", "runs/lm", "--voice", "speech=me/"],
}


@pytest.mark.parametrize("name", cli.recipe_names())
def test_every_recipe_has_commands_that_almtok_understands(name, tmp_path):
    _, run = cli.parse(name, [*ASKED[name], "--out", str(tmp_path)])
    assert len({stage.name for stage in run.stages}) == len(run.stages)
    for stage in run.stages:
        words = stage.argv(tmp_path)
        if stage.program == "almtok":
            options = build_parser().parse_args(words[1:])
            assert callable(options.run)
        else:
            module, function = stage.program.split(":")
            assert callable(getattr(importlib.import_module(module), function))
        if stage.config is not None:
            assert type(stage.config).from_dict(stage.config.to_dict()) == stage.config


@pytest.mark.parametrize(
    ("sources", "weights"),
    [
        (["speech=a", "sound=b", "music=c"], {"speech": 0.7, "music": 0.15, "sound": 0.15}),
        (["speech=a", "sound=b"], {"speech": 0.7, "sound": 0.15}),
        (["speech=a"], None),
        (["speech=a", "b/manifest.jsonl"], None),
    ],
)
def test_domains_are_weighed_that_the_sources_name(sources, weights):
    dataset = codec.mini_stage1(sources, ["speech=d"], "runs/x").dataset
    assert dataset.get("domain_weights") == weights


def test_a_codec_that_keeps_words_learns_its_phonemes_first():
    _, words = cli.parse("codec", [*SOURCES, "--words"])
    configs = {stage.name: stage.config for stage in words.stages}
    file = words.stages[0].command[-1]
    assert configs["stage2"].phoneme_classifier == configs["adapt"].phoneme_classifier == file
    assert configs["stage2"].weight_phones > 0 and configs["adapt"].weight_recognition > 0
    assert configs["stage1"].phoneme_classifier is None
