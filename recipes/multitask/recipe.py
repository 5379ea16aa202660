"""One language model for six tasks on the codes of a trained codec.

Functions return configurations; the loop is the library's. Values that the paper does not give are
ours (paper.md 8, D); those of `mini` are chosen for two hours of CPU, and say why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.core.training.config import option
from almtok.lm.train import config as train

from ..corpora import CorpusOptions
from ..language import codec_or_shipped, tokenize
from ..mini import recipe as demo
from ..run import Stage

TASKS = ("tts", "asr", "text_to_audio", "text_to_music", "audio_caption", "music_caption")


_MODEL = {
    # Few texts: pieces of words would each be seen too seldom, so texts are nearly spelled. Smaller
    # than `mini`, for more steps in an hour of two cores (not compared like for like).
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
    # An utterance has four times as many codes as pieces, and reading is learned from these.
    "text_weight": 2.0,
    "ctc_weight": 0.3,
    # What is heard is there as a whole: 0.02 to 0.03 nats of transcripts and captions after 300
    # steps of a trained causal model (README).
    "bidirectional_conditions": True,
}
_COMMON: dict[str, Any] = {
    # Small corpora: capitals and commas would be learned from a few hundred sentences, and how
    # words are pronounced from a few thousand of them.
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


def listening(
    pieces: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """Speech of 1 to 6 words, in and out: which sound belongs to which letters.

    With whole sentences from the beginning, attention had found no letter after 1000 steps (the
    README has the losses); in pieces there is little else to look at.
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
        "input_noise": 0.15,  # without it, 28,000 pieces were learned by heart in 1,600 steps
        "steps": 2000,
        "validate_every": 500,
    }
    return train.pretrain(**{**ours, **changes})


def mini(
    tokens: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """Goes on from :func:`listening` with all tasks, on real recordings and readings."""
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
        # Recordings are learned by heart (README): spans of them are hidden.
        "input_noise": 0.15,
        "input_noise_span": 4,
        "voices": 0.3,  # so many examples are told who speaks, by another recording
        "validate_every": 500,
    }
    return train.pretrain(**{**ours, **changes})


def sounds(
    tokens: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """Goes on from :func:`mini` with sounds, while all else stays as that knows it.

    Short sounds are minutes among hours: half of those that the model made before did not end, and
    few were told by their class. Learned alone they cost it speech (README).
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


def pattern(
    name: str, tokens: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """The demo's model with another pattern of codes, speech only.

    On its few words every pattern learns to hear and to speak in minutes, so that error rates say
    something; a short run on recordings only has losses.
    """
    base = demo.lm(out, codec)
    ours = {
        "model": {**base.model, "pattern": name},
        "data": list(tokens),
        "validation_data": list(held_out),
        "tasks": ["tts", "asr"],
        "out": str(Path(out, "patterns", name, "lm")),
        "validate_every": 0,
    }
    return train.pretrain(**{**base.to_dict(), **ours, **changes})


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Where the audio is, as sources of almtok (docs/data.md); all of it with texts."""

    codec: str = option("", "codec folder (default: the codec that comes with almtok)")
    books: list[str] = option(
        [], "text files of books in English: which texts there are is learned from these too"
    )
    classes: bool = option(
        False, "sounds have a class (column 'label' or 'class'), and are called by it too"
    )
    workers: int = option(2, "processes that read aloud and cut")


def stages(o: Options) -> list[Stage]:
    """Readings and cuts, everything to codes, words, then all tasks, sounds, then the scores."""
    codec, train_on = codec_or_shipped(o.codec), o.sources("train")
    said = [source for source in train_on if source.startswith("speech=")]
    speech = said or train_on
    heard = [source for source in train_on if source.startswith("sound=")]
    others = [source for source in train_on if source not in heard]
    # Speech that is to be understood and not imitated; only of what is known to be speech.
    listened = [source.replace("speech=", "listening=", 1) for source in said]
    workers = ("--workers", str(o.workers))

    def place(name: str) -> str:
        return str(Path(o.out, name))

    def codes(name: str, what: str, *sources: str, options: tuple[str, ...] = ()) -> Stage:
        return tokenize(o, name, what, sources, codec, *options)

    def make(name: str, what: str, program: str, *words: str) -> Stage:
        command = (*speech, *words, *workers, "--out", place(name))
        program = f"almtok.recipes.multitask.{program}:main"
        return Stage(name=name, what=what, program=program, command=command)

    pieces = [place("pieces-tokens"), place("cuts-tokens")]
    variants = [place("variants")] if listened else []
    noises = [place("sounds-tokens")] if heard else []
    searched = [place(name) for name in ("searched", "retold", "named")[: 2 + o.classes]]
    held_out, last = [place("held-out")], place("sounds" if heard else "lm")
    known: dict[str, Any] = {"texts": [place("texts.txt")], "text_share": 0.25} if o.books else {}
    return [
        *([Stage(name="texts", what="books to passages that no held-out text is in",
                 program="almtok.recipes.multitask.books:main",
                 command=(*o.books, "--held-out", *o.sources("valid"), *o.sources("test"),
                          "--out", place("texts.txt")))] if o.books else []),
        make("readings", "texts of the corpus, read by a synthesiser", "readings"),
        make("pieces", "words of the corpus and others, read in pieces", "readings",
             *("--count", "16000", "--words", "6", "--frequent", "0.75", "--seed", "1")),
        make("cuts", "recordings, cut into pieces of a few words", "cutting"),
        make("varied-cuts", "the same once more, faster and slower", "cutting",
             *("--vary", "0.12", "--seed", "1")),
        codes("pieces-tokens", "the pieces to codes", f"speech={place('pieces')}"),
        codes("cuts-tokens", "the cuts to codes", f"speech={place('cuts')}",
              f"speech={place('varied-cuts')}"),
        codes("tokens", "the corpus to codes", *others, f"speech={place('readings')}"),
        *(_sound_codes(o, heard, codec) if heard else []),
        *([codes("variants", "the recordings once more, faster and slower, to be listened to",
                 *listened, options=("--vary", "0.12"))] if listened else []),
        codes("held-out", "held-out recordings to codes", *o.sources("valid")),
        Stage(name="listening", what="words: which sound belongs to which letters",
              command=("lm", "train"),
              config=listening(pieces, held_out, o.out, codec, **known)),
        Stage(name="lm", what="all tasks, on recordings and readings", command=("lm", "train"),
              config=mini([place("tokens"), *noises, *pieces, *variants], held_out, o.out, codec,
                          **known)),
        *([Stage(name="sounds", what="sounds, while all else stays", command=("lm", "train"),
                 config=sounds([place("tokens"), *searched, *variants], held_out, o.out, codec))]
          if heard else []),
        Stage(name="scores", what="what it hears, says and makes",
              command=("lm", "evaluate", "--checkpoint", last, "--data", *o.sources("test"),
                       "--voices", "--html", "--out", place("scores"))),
    ]  # fmt: skip


def _sound_codes(o: Options, sources: Sequence[str], codec: str) -> list[Stage]:
    """Sounds as they are heard, as they are to be made, in other words, and by their class."""
    searched = str(Path(o.out, "searched"))
    short = "once more, codes of short ones searched for"

    def again(name: str, what: str, program: str) -> Stage:
        command = (*sources, "--tokens", searched, "--out", str(Path(o.out, name)))
        program = f"almtok.recipes.multitask.{program}:main"
        return Stage(name=name, what=what, program=program, command=command)

    return [
        tokenize(o, "sounds-tokens", "sounds to codes", sources, codec),
        tokenize(o, "searched", short, sources, codec, "--search-seconds", "7"),
        again("retold", "the same, their captions in other words", "retelling"),
        *([again("named", "the same, called by nothing but their class", "naming")]
          if o.classes else []),
    ]  # fmt: skip
