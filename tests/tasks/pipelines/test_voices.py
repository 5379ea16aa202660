"""TTS in the voices of a model: by name, by default, and instead of a recording."""

import copy
import json

import pytest
import torch
from transformers import pipeline as transformers_pipeline

from almtok.__main__ import main
from almtok.lm.prompt_builder import PromptOptions
from almtok.lm.sequences import build_sequence, collate
from almtok.lm.vocabulary import Vocabulary
from almtok.lm.voices import add_voices
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.text_to_speech import TextToSpeech

from ..conftest import GREEDY, LINES

FIRST, SECOND = LINES
FLAGS = ("--temperature", "0", "--guidance", "1")


@pytest.fixture(scope="module")
def named(learned, tmp_path_factory):
    """A folder of the toy model with two voices: ann says each line as joe says the other one."""
    processor = copy.deepcopy(learned.pipeline.processor)
    lm = copy.deepcopy(learned.pipeline.lm)
    torch.manual_seed(0)
    add_voices(lm, ["joe", "ann"])
    processor.config.voices = lm.config.voices
    said = {"joe": LINES, "ann": LINES[::-1]}
    examples = [
        processor.prompt_builder.example(
            "tts", {"text": text, "speaker": name}, learned.tokens[other], PromptOptions()
        )
        for name, lines in said.items()
        for text, other in zip(LINES, lines, strict=True)
    ]
    rows = [
        build_sequence(one, lm.config, eos_id=processor.text_encoder.eos_id) for one in examples
    ]
    batch = collate(rows, lm.config)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(60):
        loss = lm.train()(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2, f"the toy has not learned its voices: {float(loss)}"
    folder = tmp_path_factory.mktemp("named")
    AudioLMPipeline(lm.eval(), processor).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def speaker(named):
    return TextToSpeech(AudioLMPipeline.from_pretrained(named, device="cpu"), GREEDY)


def codes(speech):
    return speech.tokens.codes


def test_without_a_voice_the_default_one_speaks(speaker, learned):
    assert speaker.voices == ("joe", "ann")
    usual, joe, ann = (speaker.speak(FIRST, seed=3, voice=v) for v in (None, "joe", "ann"))
    assert codes(usual).equal(codes(joe)) and codes(joe).equal(learned.tokens[FIRST].codes)
    assert codes(ann).equal(learned.tokens[SECOND].codes)
    batch = speaker.speak_all([FIRST, FIRST, FIRST], seeds=[3] * 3, voice=["ann", None, "joe"])
    assert [codes(speech).tolist() for speech in batch] == [
        codes(speech).tolist() for speech in (ann, joe, joe)
    ]


def test_all_parts_and_streams_have_the_voice(speaker, monkeypatch):
    prompts = []
    run = speaker.pipeline.lm.generate

    def spy(**arguments):
        prompts.append(arguments["input_ids"])
        return run(**arguments)

    monkeypatch.setattr(speaker.pipeline.lm, "generate", spy)
    speech = speaker.speak(f"{FIRST}. {SECOND}.", voice="ann", seed=2)
    vocabulary = Vocabulary(speaker.pipeline.lm.config)
    assert all(int(rows[0, 2, 0]) == vocabulary.voice("ann") for rows in prompts)
    chunks = list(speaker.stream(f"{FIRST}. {SECOND}.", voice="ann", seed=2))
    assert torch.cat([chunk.codes for chunk in chunks], dim=1).equal(codes(speech))


@pytest.mark.parametrize("apart", [False, True])
def test_a_reference_is_not_mixed_with_a_voice(speaker, learned, monkeypatch, apart):
    seen = []
    run = speaker.pipeline.lm.generate

    def spy(**arguments):
        seen.append(arguments["input_ids"])
        return run(**arguments)

    monkeypatch.setattr(speaker.pipeline.lm, "generate", spy)
    reference = speaker.voice(learned.tokens[FIRST], FIRST, apart=apart)
    speaker.speak(SECOND, voice=reference)
    vocabulary = Vocabulary(speaker.pipeline.lm.config)
    voices = torch.tensor([vocabulary.voice("joe"), vocabulary.voice("ann")])
    assert not torch.isin(seen[0][..., 0], voices).any()


def test_unknown_voices_are_one_line(speaker, learned):
    for call in (speaker.speak, lambda *a, **k: list(speaker.stream(*a, **k))):
        with pytest.raises(ValueError, match="voice must be one of joe, ann, got 'eve'"):
            call(FIRST, voice="eve")
    with pytest.raises(ValueError, match="this model has no voices by name, got 'joe'"):
        TextToSpeech(learned.pipeline).speak(FIRST, voice="joe")


def test_the_pipeline_of_transformers_takes_a_voice(named):
    speak = transformers_pipeline("text-to-speech", model=str(named / "lm"), device="cpu")
    how = {"do_sample": False, "guidance_scale": 1.0}

    def said(**fields):
        return speak(FIRST, preprocess_params=fields, generate_kwargs=how)["audio"]

    usual, joe, ann = said(), said(speaker="joe"), said(speaker="ann")
    assert (usual == joe).all() and len(ann) > len(joe)


def test_voices_on_the_command_line(named, tmp_path, capsys):
    assert main(["tts", "--list-voices", "--checkpoint", str(named)]) == 0
    assert capsys.readouterr().out == "joe (default)\nann\n"
    lines = [{"text": FIRST, **({"voice": name} if name else {})} for name in (
        None, "joe", "ann", "eve",
    )]  # fmt: skip
    batch = tmp_path / "lines.jsonl"
    batch.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "wavs"
    arguments = ["--checkpoint", str(named), "--json", "--device", "cpu", *FLAGS]
    assert main(["tts", "--batch", str(batch), "--out", str(out), *arguments]) == 1
    shown = capsys.readouterr()
    voices = [line.get("voice") for line in json.loads(shown.out)]
    assert voices == ["joe", "joe", "ann", None]
    assert "0004: voice must be one of joe, ann, got 'eve'" in shown.err
    made = [(out / f"000{n}.wav").read_bytes() for n in (1, 2, 3)]
    assert made[0] == made[1] != made[2]
    single = tmp_path / "one.wav"
    flags = ["--voice", "ann", "--out", str(single)]
    assert main(["tts", FIRST, *flags, *arguments]) == 0
    assert single.read_bytes() == made[2]


def test_a_model_that_does_not_clone(named, learned, tmp_path, capsys):
    pipeline = AudioLMPipeline.from_pretrained(named, device="cpu")
    pipeline.lm.config.supports_cloning = False
    pipeline.save_pretrained(tmp_path / "model")
    learned.tokens[FIRST].save(tmp_path / "ref.safetensors")
    out = str(tmp_path / "a.wav")
    status = main(["tts", FIRST, "--reference", str(tmp_path / "ref.safetensors"), "--out", out,
                   "--checkpoint", str(tmp_path / "model")])  # fmt: skip
    assert status == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "does not imitate the voice of a recording" in line and "joe, ann" in line
    longer = ["continue", str(tmp_path / "ref.safetensors"), "--seconds", "0.5", "--out", out]
    assert main([*longer, "--checkpoint", str(tmp_path / "model")]) == 0
