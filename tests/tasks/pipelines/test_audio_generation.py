"""Sound and music: least lengths, and draws that are nearly silent."""

import dataclasses
import json
import math

import pytest
import torch
from transformers import GenerationConfig

from almtok.__main__ import main
from almtok.lm.model import AudioLM
from almtok.recipes.publish import set_task_defaults
from almtok.tasks.base import get_task
from almtok.tasks.commands import generate as command
from almtok.tasks.pipelines.audio_generation import AudioGenerator
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions

from ..conftest import RAIN, SOUND

LOOSE = GenerationOptions(temperature=1.5, guidance_scale=1.0, top_k=0, top_p=1.0)


class Quiet(AudioLMPipeline):
    """The toy model with a codec that decodes some codes, or all, to near silence."""

    share = 2  # every second sum of codes is silent; 1: all

    def decode(self, tokens):
        wav = super().decode(tokens)
        return wav * 1e-4 if int(tokens.codes.sum()) % self.share == 0 else wav


@pytest.fixture
def quiet(learned):
    return Quiet(learned.pipeline.lm, learned.pipeline.processor)


def made(pipeline, rows, **options):
    generator = AudioGenerator(pipeline, dataclasses.replace(LOOSE, **options))
    return generator.generate("text_to_audio", rows, seconds=1.0, seeds=list(range(len(rows))))


ROWS = [{"text": text} for text in (SOUND, RAIN) * 4]


def test_silent_draws_are_drawn_again_with_other_seeds(quiet):
    kept = made(quiet, ROWS, redraws=0)
    assert {one.tries for one in kept} == {1} and 0 < sum(one.silent for one in kept) < 8
    again = made(quiet, ROWS, redraws=8)
    assert not any(one.silent for one in again)
    for first, second in zip(kept, again, strict=True):
        # What was not silent is the same as without draws; the rest has other codes.
        assert first.tokens.codes.equal(second.tokens.codes) == (not first.silent)
        assert (second.tries > 1) == first.silent and not second.problems
        assert second.level_dbfs >= -50.0


def test_a_batch_is_redrawn_as_single_prompts_are(quiet):
    batch = made(quiet, ROWS, redraws=4, batch_size=5)
    for seed in (0, 3, 7):
        generator = AudioGenerator(quiet, dataclasses.replace(LOOSE, redraws=4))
        single = generator.sound(ROWS[seed]["text"], seconds=1.0, seed=seed)
        assert single.tokens.codes.equal(batch[seed].tokens.codes)
        assert single.tries == batch[seed].tries and single.level_dbfs == batch[seed].level_dbfs


def test_what_stays_silent_is_reported_and_the_loudest_is_kept(quiet):
    quiet.share = 1
    (one,) = made(quiet, ROWS[:1], redraws=3)
    assert one.silent and one.tries == 4 and one.seconds > 0
    singles = [made(quiet, ROWS[:1], redraws=n)[0].level_dbfs for n in range(4)]
    assert singles == sorted(singles) and one.level_dbfs == singles[-1]
    (problem,) = one.problems
    assert problem == f"nearly silent ({one.level_dbfs:.0f} dBFS) after 4 tries"


def test_candidates_are_redrawn_before_the_best_is_chosen(quiet):
    best = made(quiet, ROWS, best_of=2, redraws=8)
    assert not any(one.silent for one in best)


def test_greedy_draws_are_not_repeated_and_other_tasks_not_measured(quiet, learned):
    quiet.share = 1
    (one,) = made(quiet, ROWS[:1], temperature=0.0, redraws=3)
    assert one.silent and one.tries == 1
    longer = AudioGenerator(quiet, LOOSE).continue_audio(learned.tokens[SOUND], seconds=0.5)
    assert longer.level_dbfs is None and not longer.silent and longer.tries == 1


@pytest.mark.parametrize(("task", "seconds"), [("text_to_audio", 0.5), ("text_to_music", 2.0)])
def test_least_lengths_are_the_defaults_of_the_task(learned, task, seconds):
    pipeline = learned.pipeline
    for longest, frames in ((None, math.ceil(seconds * 12.5)), (0.32, 2), (0.08, 1)):
        arguments = pipeline.prompt(task, [{"text": SOUND}], seconds=[longest])
        assert arguments["min_frames"] == [frames]  # at most half of the longest
    assert get_task("tts").limits("a").min_frames == 4  # bounded by its text, as before


def test_the_generation_config_of_a_model_sets_its_least_lengths(learned, monkeypatch):
    lm = learned.pipeline.lm
    params = {"text_to_audio": {"min_new_tokens": 16}, "continuation": {"min_new_tokens": 2}}
    monkeypatch.setattr(lm, "generation_config", GenerationConfig(task_specific_params=params))
    generator = AudioGenerator(learned.pipeline, LOOSE)
    rows, seeds = [{"text": SOUND}] * 6, list(range(6))

    def lengths(**options):
        generator = AudioGenerator(learned.pipeline, dataclasses.replace(LOOSE, **options))
        outputs = generator.generate("text_to_audio", rows, seeds=seeds, seconds=2.6)
        return [one.tokens.codes.shape[1] for one in outputs]

    assert 16 <= min(lengths()) < 22
    assert min(lengths(min_seconds=1.76)) >= 22
    assert min(lengths(min_seconds=0.08)) < 16
    assert generator.sound(SOUND, seconds=0.4, seed=1).tokens.codes.shape[1] <= 5
    prompt = learned.pipeline.prompt("text_to_audio", [{"text": SOUND}])
    given = {name: prompt[name] for name in ("input_ids", "attention_mask")}
    assert lm.generate(**given, seed=1)[0].codes.shape[1] >= 16
    assert lm.generate(**given, seed=1, max_new_tokens=3)[0].codes.shape[1] <= 3  # a default yields


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(min_seconds=0.0), "min_seconds must be finite and positive"),
        (dict(redraws=-1), "redraws must be 0 or more"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        GenerationOptions(**options)


def test_a_minimum_above_the_maximum_is_refused(learned):
    generator = AudioGenerator(learned.pipeline, dataclasses.replace(LOOSE, min_seconds=3.0))
    with pytest.raises(ValueError, match="min_seconds must be at most 2.00, the longest duration"):
        generator.sound(SOUND, seconds=2.0)


def test_logs_from_before_these_options_have_the_same_keys():
    assert not {"min_seconds", "redraws"} & GenerationOptions(batch_size=3).facts.keys()
    assert GenerationOptions(redraws=1).facts["redraws"] == 1


def test_the_command_prints_and_logs_draws(quiet, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("almtok.tasks.commands.batch.load_pipeline", lambda args: quiet)
    assert command.AudioGenerator is AudioGenerator
    batch = tmp_path / "prompts.txt"
    batch.write_text(f"{SOUND}\n" * 6)
    flags = ["--temperature", "1.5", "--guidance", "1", "--top-k", "0", "--top-p", "1"]
    lengths = ["--seconds", "1", "--min-seconds", "0.4", "--redraws", "9", "--json"]
    out = tmp_path / "sounds"
    assert main(["sound", "--batch", str(batch), "--out", str(out), *flags, *lengths]) == 0
    shown = capsys.readouterr()
    entries = json.loads(shown.out)
    tries = [entry["tries"] for entry in entries]
    assert max(tries) > 1 and min(entry["level_dbfs"] for entry in entries) >= -50
    assert all(0.4 <= entry["seconds"] <= 1.04 and not entry["problems"] for entry in entries)
    assert f"drawn {max(tries)} times" in shown.err and " dBFS" in shown.err
    quiet.share = 1
    args = ["sound", SOUND, "--out", str(tmp_path / "a.wav"), "--redraws", "1", *flags]
    assert main([*args, "--seconds", "1"]) == 0
    assert "nearly silent (" in capsys.readouterr().err


def test_defaults_of_tasks_are_written_for_callers_of_generate(learned):
    lm = AudioLM(learned.pipeline.lm.config)
    set_task_defaults(lm)
    params = lm.generation_config.task_specific_params
    assert params["text_to_audio"]["min_new_tokens"] == 7
    assert params["text_to_music"]["min_new_tokens"] == 25
    assert "min_new_tokens" not in params["tts"] and torch.is_grad_enabled()
