"""The codec on real audio: `mini` for hours of CPU, `base` and `paper` for GPUs.

Values that the paper does not give are ours (paper.md 5.4, D); those of `mini` are chosen for a
small budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.priors.config import FULL_CODEBOOK, TeacherSpec
from almtok.codec.train import config as train
from almtok.core.options import option

from ..corpora import CorpusOptions
from ..run import Stage

# Losses of UnPatchify by rule.
_BY_RULE: dict[str, Any] = {
    "weight_time": 0.0,  # its phases are its own: a waveform loss would teach it silence
    "weight_pitch": 0.3,
    # Windows longer than the period of a voice: shorter ones see single pulses, whose places are as
    # free as phases. Bands of several bins: single bins of noise differ from each other by more
    # than their envelope does, and no code of this rate can say which noise it was; but the longest
    # window keeps bands fine enough to tell the harmonics of a voice from noise.
    "mel": {"windows": [512, 1024, 2048], "mels": [24, 48, 160]},
}


def mini_stage1(
    data: Sequence[str], held_out: Sequence[str], out: str, **changes: Any
) -> train.CodecTrainConfig:
    """Patchify and unpatchify of `mini`, about five minutes on two cores."""
    ours = {
        "segment_seconds": 1.0,  # convolutions need no more context, and crops stay varied
        "batch_size": 16,
        "steps": 600,
        "lr": 6e-4,
        "warmup_steps": 30,
        "lr_floor": 0.1,
        "ema_decay": 0.98,
        "balancer": False,
        "weight_time": 20.0,  # of the size of the mel distance: no quantiser stands in the way yet
        "weight_masked": 0.1,
        "masked": {"encoder_layers": 1, "decoder_layers": 1},
    }
    return train.stage1(**{**_mini(data, held_out, out, "stage1"), **ours, **changes})


def mini_stage2(
    data: Sequence[str], held_out: Sequence[str], out: str, **changes: Any
) -> train.CodecTrainConfig:
    """Queries, codebooks and UnPatchify by rule of `mini`; about an hour on two cores."""
    ours = {
        "init_from": str(Path(out, "stage1")),
        "prior": str(Path(out, "prior.safetensors")),
        "segment_seconds": 2.0,
        "batch_size": 12,
        "steps": 3000,
        "lr": 6e-4,
        "muon_lr": 6e-3,  # a third of the steps of AdamW alone
        "warmup_steps": 50,
        "ema_decay": 0.99,
        # Near the rate that will be used: half the range costs a small budget too much.
        "model": {"frames_per_query_range": [4, 8]},
        "quantize_start": 300,  # queries first learn to carry anything, then to be few
        "balancer": False,
        "weight_masked": 0.0,
        "weight_autoregressive": 0.0,  # it pays for predictable codes with poorer ones
        "weight_commitment": 0.2,
        "weight_spectrum": 0.3,  # queries that carry more than loudness
        **_BY_RULE,
    }
    return train.stage2(**{**_mini(data, held_out, out, "stage2"), **ours, **changes})


def mini_adapt(
    data: Sequence[str], held_out: Sequence[str], out: str, **changes: Any
) -> train.CodecTrainConfig:
    """The decoder side of `mini` alone, for codes that stay as they are: tokens stay valid."""
    ours = {
        "init_from": str(Path(out, "stage2")),
        "segment_seconds": 2.0,
        "batch_size": 12,
        "steps": 1500,
        "lr": 3e-4,
        "muon_lr": 3e-3,
        "warmup_steps": 20,
        "ema_decay": 0.99,
        "model": {"frames_per_query_range": [4, 8]},
        "balancer": False,
        **_BY_RULE,
        "seed": 1,
    }
    return train.adapt(**{**_mini(data, held_out, out, "adapt"), **ours, **changes})


def _mini(data: Sequence[str], held_out: Sequence[str], out: str, stage: str) -> dict[str, Any]:
    return {
        "preset": "mini",
        "data": list(data),
        "validation_data": list(held_out),
        "dataset": _mixture(data),
        "cache_dir": str(Path(out, "cache")),
        "out": str(Path(out, stage)),
        "lr": 8e-4,
        "warmup_steps": 200,
        "ema_decay": 0.995,
        "adversarial_start": -1,  # six discriminators cost several times the codec itself
        "precision": "auto-all",
        "validate_every": 500,
        "checkpoint_every": 0,
        "checkpoint_minutes": 8.0,
    }


def words_of(classifier: str) -> dict[str, Any]:
    """Fields of stage 2 for codes that keep words (docs/training.md)."""
    weights = {"weight_phones": 3.0, "weight_first_phones": 1.5, "weight_recognition": 1.5}
    return {"phoneme_classifier": classifier, **weights}


# A trainable first codebook that the phoneme classifier teaches to name phones; the frozen one of a
# prior caused half of the distortion (docs/lab/codec.md).
_FREE: dict[str, Any] = {
    "prior": None,
    "model": {"frames_per_query_range": [4, 8], "prior_codebooks": "none"},
}


def _mixture(data: Sequence[str]) -> dict[str, Any]:
    """Mostly speech, where every source names its domain; else as much of each as there is."""
    named = {source.split("=")[0] for source in data if "=" in source}
    unnamed = any("=" not in source for source in data)
    weights = {"speech": 0.7, "music": 0.15, "sound": 0.15}
    if unnamed or not named <= weights.keys() or len(named) < 2:
        return {}
    return {"domain_weights": {name: weights[name] for name in weights if name in named}}


def full_stage1(
    data: Sequence[str], held_out: Sequence[str], out: str, preset: str = "base", **changes: Any
) -> train.CodecTrainConfig:
    """Stage 1 with every loss of the paper, for a GPU; never run to its end by us."""
    return train.stage1(**{**_full(data, held_out, out, preset, "stage1"), **changes})


def full_stage2(
    data: Sequence[str], held_out: Sequence[str], out: str, preset: str = "base", **changes: Any
) -> train.CodecTrainConfig:
    """Stage 2 with every loss of the paper, for a GPU; never run to its end by us."""
    ours = {
        "init_from": str(Path(out, "stage1")),
        "prior": str(Path(out, "prior.safetensors")),
    }
    return train.stage2(**{**_full(data, held_out, out, preset, "stage2"), **ours, **changes})


def _full(
    data: Sequence[str], held_out: Sequence[str], out: str, preset: str, stage: str
) -> dict[str, Any]:
    return {
        "preset": preset,
        "data": list(data),
        "validation_data": list(held_out),
        "out": str(Path(out, stage)),
        "steps": 400_000,
        "batch_size": 64,
        "num_workers": 8,
    }


EXAMPLE = "--train speech=voices/ --valid speech=more/ --test speech=other/ --dry-run"


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Audio sources (docs/data.md); texts are needed for --words only."""

    size: str = option("mini", "mini: hours on a CPU; base, paper: all losses of the paper, a GPU")
    words: bool = option(
        False,
        "also train on phonemes: needs speech with English texts, in manifests or Parquet; the"
        " first codebook of mini then has no prior",
    )
    teacher_speech: str = option("spectral", "speech teacher of 'almtok codec prior'")
    teacher_sound: str = option("spectral", "sound teacher of 'almtok codec prior'")


def _phonemes_stage(train_on: Sequence[str], out: str) -> Stage:
    """Train the phoneme classifier that --words needs."""
    return Stage(
        name="phonemes",
        what="train a phoneme classifier",
        command=("codec", "phonemes", "--data", *train_on, "--out", out),
    )


def prior_stage(
    train_on: Sequence[str], teachers: tuple[str, str], out: str, codebook_size: int = FULL_CODEBOOK
) -> Stage:
    """Cluster features; trainings take the width of their first codebook from the file.

    Args:
        train_on: audio sources.
        teachers: of speech, and of sound and music.
        out: file of the prior; decoded audio is kept in the folder `cache` beside it.
        codebook_size: entries of the first codebook.
    """
    kinds = [TeacherSpec.parse(text).kind for text in teachers]
    # These have other widths than the base models of wav2vec 2.0, HuBERT, WavLM and BEATs.
    narrow = [kind for kind in kinds if kind in ("spectral", "phonemes", "whisper")]
    widths = ("--widths", "pad") if narrow and len(set(kinds)) > 1 else ()
    # Without audio for the other half, one teacher has the whole codebook.
    domains = {source.split("=")[0] for source in train_on}
    halves = {"speech": {"speech"}, "sound": {"sound", "music"}}
    alone = [half for half, known in halves.items() if domains <= known]
    entries = {"speech": ("--num-speech", str(codebook_size)), "sound": ("--num-speech", "0")}
    share = entries[alone[0]] if alone else ()
    size = () if codebook_size == FULL_CODEBOOK else ("--codebook-size", str(codebook_size))
    return Stage(
        name="prior",
        what="cluster teacher features for the first codebook",
        command=(
            *("codec", "prior", "--data", *train_on),
            *("--teacher-speech", teachers[0], "--teacher-sound", teachers[1]),
            *(*widths, *share, *size),
            *("--cache", str(Path(out).parent / "cache"), "--out", out),
        ),
    )


def _sharper_stage(codec: str, out: str) -> Stage:
    return Stage(
        name="sharper",
        what="sharpen decoded spectra; codes do not change",
        command=("codec", "postfilter", codec, "--amount", "0.4", "--overwrite", "--out", out),
    )


def stages(o: Options) -> list[Stage]:
    """Return all stages, from the first codebook to the evaluation."""
    given, place = (o.sources("train"), o.sources("valid"), o.out), Path(o.out)
    classifier = str(place / "phonemes.safetensors")
    words = words_of(classifier) if o.words else {}
    if o.size == "mini":
        words = {**words, **(_FREE if o.words else {})}
        parts = {"stage1": mini_stage1(*given), "stage2": mini_stage2(*given, **words)}
        spoken: dict[str, Any] = {}
        if o.words:
            spoken = {
                "phoneme_classifier": classifier,
                "weight_recognition": 1.5,
                "model": _FREE["model"],
            }
        parts["adapt"] = mini_adapt(*given, **spoken)
    else:
        parts = {
            "stage1": full_stage1(*given, o.size),
            "stage2": full_stage2(*given, o.size, **words),
        }
    prior, teachers = parts["stage2"].prior, (o.teacher_speech, o.teacher_sound)
    what = {
        "stage1": "train waveform to frames and back, without codes",
        "stage2": "train frames to queries and codes",
        "adapt": "train the decoder side alone; codes do not change",
    }
    data = [word for source in o.sources("test") for word in ("--data", source)]
    trained = f"{list(parts.values())[-1].out}/model"
    final = [] if o.size != "mini" else [_sharper_stage(trained, str(place / "codec"))]
    judged = final[0].output if final else trained
    return [
        *([_phonemes_stage(o.sources("train"), classifier)] if o.words else []),
        *([] if prior is None else [prior_stage(given[0], teachers, prior)]),
        *(
            Stage(name=name, what=what[name], command=("codec", "train"), config=config)
            for name, config in parts.items()
        ),
        *final,
        Stage(
            name="scores",
            what="evaluate on the test set, beside Codec2 and Opus",
            command=(
                *("codec", "evaluate", "--checkpoint", str(judged)),
                *(*data, "--html", "--out", str(place / "scores"), "--peers"),
                *("codec2-450", "codec2-700C", "codec2-1300", "codec2-2400", "opus-6k"),
            ),
        ),
    ]
