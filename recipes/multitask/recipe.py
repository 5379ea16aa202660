"""One language model for six tasks on the codes of a trained codec.

Values that the paper does not give are ours (paper.md 8, D); they are chosen for two hours of CPU.
The language model that comes with almtok was trained by these stages in more rounds than they have
here (README).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from almtok.core.choices import CODEC_HELP
from almtok.core.options import option
from almtok.lm.train import config as train

from ..corpora import CorpusOptions
from ..language_model import (
    LMRecipeOptions,
    codec_or_shipped,
    lm_config,
    lm_stages,
    tokenize,
)
from ..run import Stage

_DOMAINS = {
    "tts": "speech",
    "asr": "speech",
    "text_to_audio": "sound",
    "text_to_music": "music",
    "audio_caption": "sound",
    "music_caption": "music",
}
TASKS = tuple(_DOMAINS)


_MODEL = {
    # With few texts, longer subwords would be seen too rarely. Smaller than `mini`, for more steps
    # in an hour of two cores.
    "backbone": {
        "vocab_size": 512,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
    "depth_layers": 1,
    "depth_width": 128,
    "depth_heads": 4,
    # An utterance has four times as many codes as text tokens.
    "text_weight": 2.0,
    "ctc_weight": 0.3,
    # Audio conditions are complete before the text begins: transcripts and captions have 0.02 to
    # 0.03 nats less than with causal attention, after 300 steps from a causal model.
    "bidirectional_conditions": True,
}
_COMMON: dict[str, Any] = {
    # Phones, because a few hours of speech do not teach English spelling.
    "text_form": "phones",
    "batch_positions": 3072,
    # Muon: half the steps to a loss, at 1.45 times the cost of a step (docs/lm_training.md).
    "lr": 2e-3,
    "muon_lr": 5e-3,
    "warmup_steps": 100,
    "lr_floor": 0.02,
    "weight_decay": 0.1,
    "max_seconds": 12.0,
    "checkpoint_every": 0,
    "checkpoint_minutes": 6.0,
    "samples": 1,
}


def tasks_of(sources: Sequence[str], tasks: Sequence[str] = TASKS) -> list[str]:
    """Return the tasks, with or without a weight, whose domains the sources name.

    All tasks, if a source names no domain: its rows may.
    """
    named = {source.split("=")[0] for source in sources if "=" in source}
    if any("=" not in source for source in sources):
        return list(tasks)
    return [task for task in tasks if _DOMAINS[task.split("=")[0]] in named] or list(tasks)


def listening(
    pieces: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """TTS and ASR of pieces of 1 to 6 words: the model learns to align sounds and letters.

    With whole sentences from the start it had learned no alignment after 1,000 steps
    (docs/lab/language_model.md).
    """
    ours = {
        **_COMMON,
        "preset": "mini",
        "model": dict(_MODEL),
        "data": list(pieces),
        "validation_data": list(held_out),
        "tasks": ["tts", "asr"],
        "codec": codec,
        "out": str(Path(out, "listening")),
        "input_noise": 0.15,  # without it, 28,000 pieces were memorized in 1,600 steps
        "steps": 2000,
        "validate_every": 500,
    }
    return train.pretrain(**{**ours, **changes})


def mini(
    tokens: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """All tasks on recordings and synthesized readings, from the model of :func:`listening`."""
    ours = {
        **_COMMON,
        "init_from": str(Path(out, "listening")),
        "data": list(tokens),
        "validation_data": list(held_out),
        "tasks": list(TASKS),
        "codec": codec,
        "out": str(Path(out, "lm")),
        "steps": 3000,
        "lr": 1.5e-3,
        "muon_lr": 4e-3,
        # Spans of the audio are masked, because a few hours of recordings are memorized.
        "input_noise": 0.15,
        "input_noise_span": 4,
        "voices": 0.3,  # share of examples with another recording of the speaker as prompt
        "validate_every": 500,
    }
    return train.pretrain(**{**ours, **changes})


def sounds(
    tokens: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """Text to sound, from the model of :func:`mini`; all other tasks are distilled from it.

    Short sounds are minutes among hours of speech. Trained on them alone, the model forgets speech
    (docs/lab/language_model.md).
    """
    others = [name for name in TASKS if name != "text_to_audio"]
    ours = {
        **_COMMON,
        "init_from": str(Path(out, "lm")),
        "data": list(tokens),
        "validation_data": list(held_out),
        "tasks": ["text_to_audio=16", "tts=3", "asr=2.5", "text_to_music=1.5",
                  "audio_caption=1.5", "music_caption"],
        "distill_tasks": others,
        "codec": codec,
        "out": str(Path(out, "sounds")),
        "batch_positions": 2048,
        "accumulate": 2,
        "steps": 1800,
        "lr": 1e-3,
        "muon_lr": 3e-3,
        "warmup_steps": 40,
        "voices": 0.3,
        "validate_every": 500,
    }  # fmt: skip
    return train.pretrain(**{**ours, **changes})


def with_backbone(o: LMRecipeOptions, **changes: Any) -> train.LMTrainingConfig:
    """All tasks on a pretrained text model, as in the paper: LLaMA 3.2 1B and LoRA (8, B).

    Rank, alpha and dropout are those of the first author's code (8, C), the rest is ours (D), for a
    GPU; it was never run to its end.
    """
    return lm_config(o, **{"tasks": list(TASKS), "lora_alpha": 16, "lora_dropout": 0.05, **changes})


EXAMPLE = "--train speech=voices/ --valid speech=more/ --test speech=other/ --dry-run"


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Audio sources (docs/data.md), all with texts, and the codec."""

    codec: str = option("", CODEC_HELP, metavar="DIR")
    backbone: str = option(
        "", "adapt a pretrained text model by LoRA instead: hub id or folder", metavar="MODEL"
    )
    books: list[str] = option(
        [], "English books as text files: text-only training data", metavar="FILE"
    )
    classes: bool = option(False, "use classes of sounds (column label or class) as captions too")
    workers: int = option(2, "processes of the corpus transforms")


def stages(o: Options) -> list[Stage]:
    """Return all stages: corpus transforms, encoding, three trainings, evaluation.

    With a backbone: encoding, one training, evaluation.

    Raises:
        ValueError: An option does not apply to a backbone.
    """
    return _backbone_stages(o) if o.backbone else _stages_from_scratch(o)


def _stages_from_scratch(o: Options) -> list[Stage]:
    codec, train_on = codec_or_shipped(o.codec), o.sources("train")
    said = [source for source in train_on if source.startswith("speech=")]
    speech = said or train_on
    heard = [source for source in train_on if source.startswith("sound=")]
    others = [source for source in train_on if source not in heard]
    # The domain `listening` is used for ASR only: the model does not imitate varied recordings.
    listened = [source.replace("speech=", "listening=", 1) for source in said]
    workers = ("--workers", str(o.workers))

    def place(name: str) -> str:
        return str(Path(o.out, name))

    def codes(name: str, what: str, *sources: str, options: tuple[str, ...] = ()) -> Stage:
        return tokenize(o, name, what, sources, codec, *options)

    def make(name: str, what: str, program: str, *words: str) -> Stage:
        command = (*speech, *words, *workers, "--out", place(name))
        program = f"almtok.recipes.transforms.{program}:main"
        return Stage(name=name, what=what, program=program, command=command)

    pieces = [place("pieces-tokens"), place("cuts-tokens")]
    variants = [place("variants")] if listened else []
    noises = [place("sounds-tokens")] if heard else []
    searched = [place(name) for name in ("searched", "retold", "named")[: 2 + o.classes]]
    held_out, last = [place("held-out")], place("sounds" if heard else "lm")
    known: dict[str, Any] = {"texts": [place("texts.txt")], "text_share": 0.25} if o.books else {}
    return [
        *([Stage(name="texts", what="extract passages from books, without held-out texts",
                 program="almtok.recipes.transforms.passages:main",
                 command=(*o.books, "--held-out", *o.sources("valid"), *o.sources("test"),
                          "--out", place("texts.txt")))] if o.books else []),
        make("readings", "synthesize the texts of the corpus", "synthesize"),
        make("pieces", "synthesize pieces of a few words", "synthesize",
             *("--count", "16000", "--words", "6", "--frequent", "0.75", "--seed", "1")),
        make("cuts", "cut recordings into pieces of a few words", "cut_words"),
        make("varied-cuts", "the same at varied speed", "cut_words",
             *("--vary", "0.12", "--seed", "1")),
        codes("pieces-tokens", "encode the synthesized pieces", f"speech={place('pieces')}"),
        codes("cuts-tokens", "encode the cut pieces", f"speech={place('cuts')}",
              f"speech={place('varied-cuts')}"),
        codes("tokens", "encode the corpus", *others, f"speech={place('readings')}"),
        *(_sound_codes(o, heard, codec) if heard else []),
        *([codes("variants", "encode the recordings at varied speed, for ASR",
                 *listened, options=("--vary", "0.12"))] if listened else []),
        codes("held-out", "encode held-out recordings", *o.sources("valid")),
        Stage(name="listening", what="train TTS and ASR of short pieces",
              command=("lm", "train"),
              config=listening(pieces, held_out, o.out, codec, **known)),
        Stage(name="lm", what="train all tasks on recordings and readings", command=("lm", "train"),
              config=mini([place("tokens"), *noises, *pieces, *variants], held_out, o.out, codec,
                          tasks=tasks_of(train_on), **known)),
        *([Stage(name="sounds", what="train sounds, distill the rest", command=("lm", "train"),
                 config=sounds([place("tokens"), *searched, *variants], held_out, o.out, codec,
                               **_tasks_of_sounds(train_on)))]
          if heard else []),
        Stage(name="scores", what="evaluate all tasks on the test set",
              command=("lm", "evaluate", "--checkpoint", last, "--data", *o.sources("test"),
                       "--voices", "--html", "--out", place("scores"))),
    ]  # fmt: skip


def _tasks_of_sounds(sources: Sequence[str]) -> dict[str, Any]:
    """The tasks of the last training, and those that are distilled, for these sources."""
    config = sounds([], [], "", "")
    distilled = tasks_of(sources, config.distill_tasks)
    return {"tasks": tasks_of(sources, config.tasks), "distill_tasks": distilled}


def _backbone_stages(o: Options) -> list[Stage]:
    if o.books or o.classes:
        raise ValueError("--books and --classes are for a model from scratch, not --backbone")
    names = {field.name for field in fields(LMRecipeOptions)} & vars(o).keys()
    given = LMRecipeOptions(**{name: getattr(o, name) for name in names})
    return lm_stages(
        given, with_backbone(given, tasks=tasks_of(given.sources("train"))), "--voices"
    )


def _sound_codes(o: Options, sources: Sequence[str], codec: str) -> list[Stage]:
    """Encode sounds: plainly, with searched codes, and the latter with other captions."""
    searched = str(Path(o.out, "searched"))
    short = "encode sounds again, with searched codes for short ones"

    def again(name: str, what: str, program: str) -> Stage:
        command = (*sources, "--tokens", searched, "--out", str(Path(o.out, name)))
        program = f"almtok.recipes.transforms.captions:{program}"
        return Stage(name=name, what=what, program=program, command=command)

    return [
        tokenize(o, "sounds-tokens", "encode sounds", sources, codec),
        tokenize(o, "searched", short, sources, codec, "--search-seconds", "7"),
        again("retold", "the same with rephrased captions", "main_rephrased"),
        *([again("named", "the same with the class as caption", "main_class_names")]
          if o.classes else []),
    ]  # fmt: skip
