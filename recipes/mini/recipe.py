"""The demo: a tiny codec and a small language model from scratch, in minutes of CPU.

All numbers of `make demo`. Functions return configurations, and a variant changes fields:
``stage1("runs/long", steps=20_000)``.

The tiny codec shows both training stages, but its codes are not intelligible. The language model
is therefore trained on the codes of the codec that comes with almtok.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.train import config as train
from almtok.core.choices import CODEC_HELP
from almtok.core.options import option
from almtok.core.training.config import RunConfig
from almtok.lm.train import config as lm_train

from ..language_model import codec_or_shipped, tokenize
from ..lora_voice.recipe import voice as adapter
from ..run import RecipeOptions, Stage

CORPUS_MINUTES = 8.0
PRESET = "tiny"
CODEC_CODES = 2048  # of a codebook of the codec that comes with almtok
# Of the preset: the prior has to fit the first codebook.
CODEBOOK_SIZE, PRIOR_DIM = 256, 128
STAGE1_STEPS, STAGE2_STEPS = 130, 130
LANGUAGE_MINUTES, VOICE_MINUTES = 120.0, 3.0
LM_STEPS, ADAPTER_STEPS = 850, 80
HELLO = "the happy dog walked near the river"
# TTS is the hardest task, then ASR. A task is drawn in proportion to its weight times its number of
# clips, and there are 14 times as many clips of speech as of sounds.
TASKS = (
    *("tts=4", "asr=2.5", "text_to_audio=2.5", "text_to_music=2.5"),
    *("audio_caption=3", "music_caption=3"),
)


def source(out: str | Path, split: str) -> str:
    """One split (train, valid, test) of the corpus; its rows know their domain."""
    return f"{Path(out, 'corpus', 'manifest.jsonl')}:{split}"


def prior(out: str | Path) -> list[str]:
    """Arguments of ``almtok codec prior``: a small first codebook from spectra, no download."""
    return [
        *("--data", source(out, "train")),
        *("--teacher-speech", "spectral", "--teacher-sound", "spectral"),
        *("--codebook-size", str(CODEBOOK_SIZE), "--spectral-width", str(PRIOR_DIM)),
        *("--out", str(Path(out, "prior.safetensors"))),
    ]


def stage1(out: str | Path, **changes: Any) -> train.CodecTrainConfig:
    """Waveform to frames and back, no codes yet (paper.md 5.2, stage 1)."""
    return train.stage1(**{**_common(out, "stage1", STAGE1_STEPS), **changes})


def stage2(out: str | Path, **changes: Any) -> train.CodecTrainConfig:
    """Queries and codebooks on the frames of stage 1 (paper.md 5.2, stage 2)."""
    steps = changes.get("steps", STAGE2_STEPS)
    special = {
        "init_from": str(Path(out, "stage1")),
        "prior": str(Path(out, "prior.safetensors")),
        "segment_seconds": 2.0,
        "quantize_start": steps * 3 // 10,
        "balancer": False,
        "muon_lr": 6e-3,
        "weight_latent": 0.1,  # a nearer target: a small budget cannot wait for mel
        "weight_spectrum": 1.0,  # queries that carry more than loudness
        # No code of this rate can say which noise it was, only its envelope.
        "mel": {"windows": [256, 512, 1024, 2048], "mels": [16, 24, 40, 80]},
        "weight_masked": 0.0,
        "weight_commitment": 0.2,
        "weight_autoregressive": 0.01,  # more would pay for predictable codes with poorer ones
    }
    return train.stage2(**{**_common(out, "stage2", STAGE2_STEPS), **special, **changes})


def lm(out: str | Path, codec: str, **changes: Any) -> lm_train.LMTrainingConfig:
    """Six tasks on 93 words of one voice, 16 kinds of sound, 8 instruments.

    A step of Muon costs the same for 1,024 and for 2,048 positions, and in the same time the larger
    batch learns more (docs/lab/demo.md).
    """
    ours: dict[str, Any] = {
        "preset": "mini",
        "model": {
            "backbone": {
                "vocab_size": 400,  # most words are one piece
                "hidden_size": 192,
                "intermediate_size": 512,
                "num_hidden_layers": 4,
                "num_attention_heads": 3,
                "num_key_value_heads": 3,
            },
            "depth_layers": 1,
            "depth_width": 128,
            "depth_heads": 4,
            # A sentence has ten times as many codes as words; listening is the hardest to learn.
            "text_weight": 5.0,
            "ctc_weight": 1.0,
            # It is the first code that says which word.
            "first_codebook_weight": 6.0,
        },
        "text_form": "plain",
        "data": [str(Path(out, "tokens"))],  # and its rows of split "valid", to see how it goes
        "tasks": list(TASKS),
        "codec": codec,
        "out": str(Path(out, "lm")),
        "steps": LM_STEPS,
        "batch_positions": 2048,
        "lr": 2e-3,
        "muon_lr": 5e-3,
        "warmup_steps": 40,
        "lr_floor": 0.02,
        "input_noise": 0.2,
        "max_seconds": 12.0,
        "checkpoint_every": 0,
        "checkpoint_minutes": 1.0,
        "validate_every": 500,
        "validation_items": 60,
        "samples": 0,
    }
    return lm_train.pretrain(**{**ours, **changes})


def voice(out: str | Path, **changes: Any) -> lm_train.LMTrainingConfig:
    """LoRA to a new voice, from two minutes of it."""
    tokens, held_out = str(Path(out, "voice-tokens")), str(Path(out, "voice-held-out"))
    ours = {"steps": ADAPTER_STEPS}
    return adapter([tokens], [held_out], str(Path(out, "lm")), str(out), **{**ours, **changes})


@dataclass(frozen=True, kw_only=True)
class Options(RecipeOptions):
    """Size and seed of the demo."""

    seed: int = option(0, "random seed of the corpora")
    scale: float = option(1.0, "factor of all training steps")
    codec: str = option("", CODEC_HELP, metavar="DIR")

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"scale must be positive, got {self.scale}")


def stages(o: Options) -> list[Stage]:
    """Return all stages, from the corpus to the report."""
    run = ("--run", o.out)
    return [
        Stage(
            name="example",
            what="synthesize a sentence with the models that come with almtok",
            command=("tts", HELLO, "--check", "6", "--out", str(Path(o.out, "example.wav"))),
        ),
        *_codec_stages(o),
        *_language_stages(o),
        _made(
            o,
            "comparison",
            "classify the sounds, compare the model before and after LoRA",
            "judging",
            *run,
            takes_device=True,
        ),  # fmt: skip
        _made(
            o,
            "report",
            "write a page with audio players and scores",
            "report",
            *run,
            suffix=".html",
        ),
    ]


def _codec_stages(o: Options) -> list[Stage]:
    """Corpus, semantic prior, both stages of training, reconstruction of test clips."""
    out = Path(o.out)
    return [
        _corpus(o, "corpus", "generate speech, sounds and tunes", "codec", CORPUS_MINUTES),
        Stage(
            name="prior",
            what="cluster spectra",
            command=("codec", "prior", *prior(out)),
        ),
        _training(o, "stage1", "train waveform to frames and back", stage1, STAGE1_STEPS),
        _training(o, "stage2", "train frames to queries and codes", stage2, STAGE2_STEPS),
        Stage(
            name="codec",
            what="copy the trained codec to OUT/codec",
            program="almtok.recipes.publish:copy_model",
            command=(str(out / "stage2" / "model"), "--out", str(out / "codec")),
        ),
        Stage(
            name="reconstruction",
            what="reconstruct test clips, also with the codec that comes with almtok",
            command=(
                *("codec", "evaluate", "--checkpoint", str(out / "codec")),
                *("--checkpoint", codec_or_shipped("")),
                *("--data", source(out, "test"), "--limit", "6", "--html"),
                *("--out", str(out / "reconstruction")),
            ),
        ),
    ]


def _language_stages(o: Options) -> list[Stage]:
    """Corpus for the language model, training, evaluation, LoRA to a new voice."""
    out, codec = Path(o.out), codec_or_shipped(o.codec)

    def codes(name: str, what: str, folder: str, *splits: str) -> Stage:
        sources = [f"{out / folder / 'manifest.jsonl'}:{split}" for split in splits]
        return tokenize(o, name, what, sources, codec)

    def language_model(folder: str | Path, **changes: Any) -> RunConfig:
        return lm(folder, codec, **changes)

    return [
        _corpus(o, "language-corpus", "generate speech, sounds and tunes", "language",
                LANGUAGE_MINUTES),
        codes("tokens", "encode all of it", "language-corpus", "train", "validation"),
        _training(o, "lm", "train six tasks on the codes", language_model, LM_STEPS),
        Stage(
            name="scores",
            what="evaluate all tasks on test clips",
            command=(
                *("lm", "evaluate", "--checkpoint", str(out / "lm")),
                *("--data", f"{out / 'language-corpus' / 'manifest.jsonl'}:test"),
                *("--grammar", str(out / "language-corpus" / "grammar.jsgf")),
                *("--limit", "27", "--keep-audio", "27"),
                *("--out", str(out / "scores")),
            ),
        ),
        _corpus(o, "voice", "generate two minutes of another voice", "voice", VOICE_MINUTES),
        codes("voice-tokens", "encode the new voice", "voice", "train"),
        codes("voice-held-out", "encode held-out sentences of it", "voice", "test"),
        _training(o, "adapter", "train a LoRA adapter for the new voice", voice, ADAPTER_STEPS),
    ]  # fmt: skip


def _corpus(o: Options, name: str, what: str, kind: str, minutes: float) -> Stage:
    # Less than three minutes would leave kinds of sound out.
    minutes = max(3.0, minutes * min(1.0, o.scale))
    words = ("--kind", kind, "--seed", str(o.seed), "--minutes", f"{minutes:g}")
    return _made(o, name, what, "corpus", *words)


def _made(
    o: Options, name: str, what: str, program: str, *words: str,
    suffix: str = "", takes_device: bool = False,
) -> Stage:  # fmt: skip
    command = (*words, "--out", str(Path(o.out, f"{name}{suffix}")))
    program = f"almtok.recipes.mini.{program}:main"
    return Stage(
        name=name,
        what=what,
        program=program,
        program_takes_device=takes_device,
        command=command,
    )


def _training(
    o: Options, name: str, what: str, make: Callable[..., RunConfig], steps: int
) -> Stage:
    command = {"adapter": ("lm", "finetune"), "lm": ("lm", "train")}.get(name, ("codec", "train"))
    config = make(o.out, steps=max(2, round(steps * o.scale)))
    return Stage(name=name, what=what, command=command, config=config)


def _common(out: str | Path, stage: str, steps: int) -> dict[str, Any]:
    return {
        "preset": PRESET,
        "data": [source(out, "train")],
        "validation_data": [source(out, "valid")],
        "cache_dir": str(Path(out, "cache")),
        "out": str(Path(out, stage)),
        "steps": steps,
        "batch_size": 8,
        "segment_seconds": 1.0,
        "num_workers": 1,
        "lr": 5e-4,
        "warmup_steps": 50,
        "ema_decay": 0.99,
        "adversarial_start": -1,  # discriminators cost more than the codec at this size
        "precision": "fp32",  # at this size bfloat16's conversions cost more than it saves
        "validate_every": 0,
        "checkpoint_every": 100,
    }
