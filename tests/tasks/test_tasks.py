"""Each task: its rows become the example that its layout says, and nothing else."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from almtok.lm.config import TASKS, AudioLMConfig
from almtok.lm.data import tokenize_corpus
from almtok.lm.data.rows import TokenRow
from almtok.lm.layouts import Slot, TaskLayout
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.sequences import AudioSegment, TextSegment, build_sequence
from almtok.lm.text.encoder import TextEncoder
from almtok.tasks import base, builtin, score_task
from almtok.tasks.pipelines.base import AudioLMPipeline

from ..lm.toy import EOS, toy_codes, toy_config

DOCS = Path(base.__file__).parent.parent / "docs"
OURS = [
    kind for kind in vars(builtin).values() if getattr(kind, "__module__", "") == builtin.__name__
]
BUILTIN = sorted(kind.layout.name for kind in OURS)


class Letters:
    """A tokenizer of letters: a is 2."""

    eos_token_id, unk_token_id = EOS, None

    def __len__(self):
        return 60

    def __call__(self, text, **_):
        return SimpleNamespace(input_ids=[2 + (ord(char) - 97) % 50 for char in text])

    def decode(self, ids, **_):
        return "".join(chr(97 + i - 2) for i in ids)


def row(domain="speech", text="Dr. No", **fields):
    return TokenRow(
        id="r1", codes=toy_codes(9), frames_per_query=6, num_samples=9 * 1920, sample_rate=24_000,
        fingerprint="f", text=text, domain=domain, duration=0.72, **fields,
    )  # fmt: skip


DOMAINS = {
    "text_to_audio": "sound", "text_to_music": "music", "audio_caption": "sound",
    "music_caption": "music",
}  # fmt: skip


def test_the_tasks_that_ship_are_those_of_the_model():
    assert set(TASKS) <= set(BUILTIN) <= set(base.task_names())


@pytest.mark.parametrize("name", BUILTIN)
def test_a_row_becomes_the_example_of_the_layout(name):
    task = base.get_task(name)
    example = task.to_example(row(DOMAINS.get(name, "speech")), Letters())
    kinds = ["text" if isinstance(s, TextSegment) else "audio" for s in example.segments]
    required = [slot.kind for slot in task.layout.conditions if slot.required]
    assert kinds == [*required, task.layout.target.kind]
    assert (example.task, example.frames_per_query) == (name, 6)
    for segment in example.segments:
        if isinstance(segment, AudioSegment):
            assert segment.codes.equal(toy_codes(9))
    assert len(build_sequence(example, toy_config(tasks=BUILTIN), eos_id=EOS)) > 9


@pytest.mark.parametrize("name", BUILTIN)
def test_every_task_has_sampling_for_each_codebook_and_bounds(name):
    task = base.get_task(name)
    for count in (1, 3, 8):
        assert len(task.sampling(count)) == count
    limits = task.limits("hello there", frame_rate=12.5, seconds=2.0)
    assert 0 <= limits.min_frames < limits.max_frames
    assert 0 <= limits.min_text_tokens < limits.max_text_tokens


def test_speech_is_written_out_and_captions_are_not():
    texts = TextEncoder(Letters())
    spoken = base.get_task("asr").to_example(row(), texts).segments[-1]
    assert spoken == TextSegment(tuple(Letters()("Doctor No").input_ids))
    caption = base.get_task("audio_caption").to_example(row("sound"), texts).segments[-1]
    assert caption == TextSegment(tuple(Letters()("Dr. No").input_ids))


def test_a_language_without_normaliser_is_learned_as_written():
    example = base.get_task("asr").to_example(row(language="xx", text="Dr. 5"), Letters())
    assert example.segments[-1] == TextSegment(tuple(Letters()("Dr. 5").input_ids))


def test_a_companion_is_the_voice():
    other = row(text="yes")
    example = base.get_task("tts").to_example(row(companion=other), Letters())
    kinds = [type(segment) for segment in example.segments]
    assert kinds == [TextSegment, AudioSegment, TextSegment, AudioSegment]
    assert example.segments[0] == TextSegment(tuple(Letters()("yes").input_ids))


def test_rows_to_listen_to_are_transcribed_and_not_imitated():
    task = base.get_task("asr")
    assert isinstance(task.to_example(row("listening"), Letters()).segments[-1], TextSegment)
    with pytest.raises(ValueError, match="learns from speech; this row is listening"):
        base.get_task("tts").to_example(row("listening"), Letters())


def test_rows_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match="r1: task 'tts' learns from speech; this row is music"):
        base.get_task("tts").to_example(row("music"), Letters())
    with pytest.raises(ValueError, match="empty"):
        base.get_task("asr").to_example(row(text="  "), Letters())


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'tts'"):
        base.get_task("ttss")
    with pytest.raises(ValueError, match=r"unknown task 'scores'.*load_task\(\"FILE.py\"\)"):
        base.get_task("scores")
    with pytest.raises(FileNotFoundError):
        base.load_task("nowhere.py")
    with pytest.raises(ValueError, match="no task 'no_such_package.task': there is no module"):
        base.load_task("no_such_package.task")


def test_a_slot_without_a_default_column_needs_fields():
    layout = TaskLayout(
        name="hum",
        conditions=(Slot(name="sound", kind="audio"),),
        target=Slot(name="target", kind="text"),
    )
    with pytest.raises(ValueError, match=r"'hum' must define fields\(row\) for slot 'sound'"):
        type("Hum", (base.Task,), {"layout": layout})
    kind = type("Hum", (base.Task,), {"layout": layout, "fields": lambda self, row: {}})
    with pytest.raises(ValueError, match="needs sound"):
        kind().to_example(row(), Letters())


def test_slots_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="kind of slot 'x' must be text, audio, speaker, got 'wav"):
        Slot(name="x", kind="wav")
    with pytest.raises(ValueError, match="target of task 'x' must be text or audio, got speaker"):
        TaskLayout(
            name="x",
            conditions=(Slot(name="audio", kind="audio"),),
            target=Slot(name="who", kind="speaker"),
        )


def spoken_row(learned, text, **fields):
    tokens = learned.tokens[text]
    return TokenRow(
        id=text, codes=tokens.codes, frames_per_query=6, num_samples=tokens.num_samples,
        sample_rate=24_000, fingerprint=tokens.fingerprint, text=text, duration=tokens.duration,
        **{"domain": "speech", **fields},
    )  # fmt: skip


def test_any_task_is_scored_on_rows(learned, caplog):
    lines = list(learned.tokens)[:2]
    rows = [spoken_row(learned, text) for text in lines]
    music = spoken_row(learned, lines[0], domain="music")
    for name in ("asr", "tts"):
        scores = score_task(learned.pipeline, name, [*rows, music])
        assert [score.name for score in scores] == ["WER", "CER"], name
        assert scores[0].value.mean == 0 and scores[0].value.n == 2, name
    assert "skipped: 1 of 3 rows, the first: " in caplog.text
    with pytest.raises(ValueError, match="none of 1 rows fits the task 'asr', the first: "):
        score_task(learned.pipeline, "asr", [music])


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)


@pytest.fixture
def voice_conversion(tmp_path):
    path = tmp_path / "voice_conversion.py"
    (block,) = [block for block in blocks("extending.md") if "# voice_conversion.py" in block]
    path.write_text(block)
    return str(path)


def test_the_guides_task_is_added_by_its_file(voice_conversion):
    task = base.load_task(voice_conversion)
    assert base.get_task("voice_conversion") is task
    other = row()
    example = task.to_example(row(companion=other), Letters())
    voice, words, target = (segment.codes for segment in example.segments)
    assert voice.equal(other.codes) and target.equal(toy_codes(9))
    assert words[0].equal(target[0]) and not words[1:].any()
    with pytest.raises(ValueError, match="no other recording"):
        task.to_example(row(), Letters())
    config = toy_config(tasks=[*TASKS, task.name])
    assert len(build_sequence(example, config, eos_id=EOS)) > 27
    assert torch.is_tensor(voice)


def test_a_task_is_replaced_by_one_of_the_same_layout_and_no_other():
    known = base.get_task("tts")

    class Slow(type(known)):
        max_seconds = 99.0

    try:
        assert base.register_task(Slow) is Slow
        assert base.get_task("tts").max_seconds == 99.0
        Slow.layout = TaskLayout(
            name="tts", conditions=known.layout.conditions[-1:], target=known.layout.target
        )
        with pytest.raises(ValueError, match="registered with another layout"):
            base.register_task(Slow)
    finally:
        base.register_task(known)
    assert base.get_task("tts") is known


def test_a_file_without_a_task_is_refused(tmp_path):
    path = tmp_path / "empty_task.py"
    path.write_text("")
    with pytest.raises(ValueError, match="must register one task"):
        base.load_task(str(path))


@pytest.mark.parametrize(
    ("page", "made"),
    [("tasks.md", ("lee.wav", "dog.wav")), ("extending.md", ("me_as_she.wav",))],
)
def test_the_guides_run_as_they_stand(learned, tmp_path, monkeypatch, page, made):
    """Every block, in order, in a folder where the files it names are."""
    monkeypatch.chdir(tmp_path)
    first, second = list(learned.tokens)[:2]
    for name, text in (("ref", first), ("me", first), ("she", second)):
        learned.pipeline.save(learned.tokens[text], f"{name}.wav")
    Path("voices").mkdir()  # the corpus of "Add a corpus"
    Path("voices/ref.wav").write_bytes(Path("ref.wav").read_bytes())
    row = {"audio": "ref.wav", "text": "Good morning.", "split": "test"}
    Path("voices/manifest.jsonl").write_text(json.dumps(row))
    tokenize_corpus(["speech=voices/"], learned.pipeline.codec, "tokens", progress=False)
    Path("checkpoints").mkdir()
    Path("checkpoints/mini").symlink_to(learned.folder)
    names = {}
    for block in blocks(page):
        if name := re.match(r"# (\w+\.py)", block):
            Path(name[1]).write_text(block)
        if "runs/mine" in block:
            _save_untrained(learned, [*TASKS, "voice_conversion", "first_word"])
        exec(compile(block, page, "exec"), names)
    assert all(Path(name).stat().st_size > 1000 for name in made)
    if page == "extending.md":
        assert names["output"].tokens.duration <= names["source"].duration + 0.1
        assert names["score"].name == "accuracy" and names["score"].value.n == 1


def _save_untrained(learned, tasks):
    """A model that knows one task more, and has learned nothing."""
    lm = learned.pipeline.lm
    config = AudioLMConfig(**{**_fields(lm.config), "tasks": tasks})
    processor = learned.pipeline.processor
    other = AudioLMProcessor(processor.tokenizer, config, processor.audio_tokenizer)
    AudioLMPipeline(AudioLM(config), other).save_pretrained("runs/mine")


def _fields(config):
    values = config.to_dict()
    values.pop("transformers_version", None)
    return values
