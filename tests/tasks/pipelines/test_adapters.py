"""Requests with adapters of their own: each result is as with that adapter alone."""

import pytest
import torch

from almtok.lm.lora import LoraSettings, add_lora, save_adapter, use_adapter, using_adapter
from almtok.tasks.pipelines.audio_captioning import AudioCaptioner
from almtok.tasks.pipelines.audio_generation import AudioGenerator
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions
from almtok.tasks.pipelines.speech_recognition import SpeechRecognizer
from almtok.tasks.pipelines.text_to_speech import TextToSpeech

from ..conftest import LINES, RAIN, SOUND

NAMES = ["anna", "__base__", "ben"]
LOOSE = GenerationOptions(temperature=0.7, guidance_scale=1.0, max_seconds=0.6, best_of=2)


@pytest.fixture(scope="module")
def pipeline(learned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    pipeline = AudioLMPipeline.from_pretrained(learned.folder, dtype="float32", device="cpu")
    for seed, name in enumerate(("anna", "ben")):
        other = AudioLMPipeline.from_pretrained(learned.folder, dtype="float32", device="cpu")
        torch.manual_seed(seed)
        add_lora(other.lm, LoraSettings(rank=2))
        with torch.no_grad():
            for parameter in other.lm.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
        pipeline.load_adapter(save_adapter(other.lm, folder / name), name)
    use_adapter(pipeline.lm, None)
    return pipeline


def check(pipeline, run):
    """`run(adapter)` is a list of codes or texts of three requests."""
    mixed = run(NAMES)
    for number, name in enumerate(NAMES):
        with using_adapter(pipeline.lm, None if name == "__base__" else name):
            assert run(None)[number] == mixed[number], name
    assert run("anna")[0] == mixed[0] and run(None) != mixed


def test_speech(pipeline):
    speaker = TextToSpeech(pipeline, LOOSE)
    texts = [*LINES, LINES[0]]

    def speak(adapter, **options):
        found = speaker.speak_all(texts, adapter=adapter, seeds=[3, 4, 5], **options)
        return [one.tokens.codes.tolist() for one in found]

    check(pipeline, speak)
    check(pipeline, lambda adapter: speak(adapter, check=True, tries=2))
    chunks = list(speaker.stream(LINES[0], seed=3, adapter="anna"))
    codes = torch.cat([chunk.codes for chunk in chunks], dim=1).tolist()
    assert codes == speak("anna")[0] != speak(None)[0]


def test_transcripts_and_captions(pipeline, learned):
    recognizer, captioner = SpeechRecognizer(pipeline, LOOSE), AudioCaptioner(pipeline, LOOSE)
    audio = [learned.tokens[LINES[0]], learned.tokens[LINES[1]], learned.tokens[LINES[0]]]
    check(
        pipeline,
        lambda adapter: [one.text for one in recognizer.transcribe_all(audio, adapter=adapter)],
    )
    check(pipeline, lambda adapter: [o.text for o in captioner.caption_all(audio, adapter=adapter)])


def test_the_best_of_some_sounds(pipeline):
    generator = AudioGenerator(pipeline, LOOSE)
    rows = [{"text": SOUND}, {"text": RAIN}, {"text": SOUND}]

    def generate(adapter):
        found = generator.generate("text_to_audio", rows, seeds=[7, 8, 9], adapter=adapter)
        return [one.tokens.codes.tolist() for one in found]

    check(pipeline, generate)
    assert (
        generator.sound(SOUND, seed=7, adapter="anna").tokens.codes.tolist() == generate(NAMES)[0]
    )


def test_mistakes_are_named(pipeline):
    speaker = TextToSpeech(pipeline, LOOSE)
    with pytest.raises(ValueError, match="adapter must hold 2 names, one per request, got 1"):
        speaker.speak_all(LINES, adapter=["anna"])
    with pytest.raises(ValueError, match="unknown adapter 'anne': did you mean 'anna'"):
        speaker.speak(LINES[0], adapter="anne")
