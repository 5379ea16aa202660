"""Ablations of the codec: rows that differ in one choice, trained at equal cost, in one table.

Rows: reference, trainable (first codebook), mae_ar, one_stage, pooling (instead of queries), and
mirror, mirror_gan, istft, istft_gan (vocoders, with and without small discriminators).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.config import PRESETS, ALMTokenizerConfig
from almtok.codec.train.config import CodecTrainConfig
from almtok.core.options import option

from ..codec import recipe as codec
from ..corpora import CorpusOptions
from ..run import Stage
from .pace import measured_pace
from .rows import REFERENCE, Row, chosen_rows

STAGE1_SHARE = 0.2  # of the cost of a row with two stages
EXAMPLE = "--train speech=voices/ --valid speech=more/ --test speech=other/ --rows mirror istft"
TABLE = "table.md"
_CODED_CLIPS = 500  # training clips per domain, for --predictability


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Rows and their cost."""

    rows: list[str] = option([], "rows to train (default: all)")
    size: str = option("mini", "model size: tiny, mini, base", tuple(PRESETS))
    steps: int = option(3000, "optimizer steps of each row, both stages together")
    minutes_per_row: float = option(
        0.0, "processor minutes of training of each row instead of --steps; measured once per OUT"
    )
    seed: int = option(0, "random seed of all trainings")
    limit: int = option(40, "test clips per domain")
    recognizer: str = option("none", "recognizer of word errors, see 'almtok codec word-errors'")
    predictability: int = option(
        0, "steps of a small language model on the codes of each row; 0: none"
    )
    teacher_speech: str = option("spectral", "speech teacher of 'almtok codec prior'")
    teacher_sound: str = option("spectral", "sound teacher of 'almtok codec prior'")

    def __post_init__(self) -> None:
        chosen_rows(self.rows)
        if self.steps < 10:
            raise ValueError(f"steps must be at least 10, got {self.steps}")
        for field in ("minutes_per_row", "predictability"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field} must be at least 0, got {getattr(self, field)}")


def stages(o: Options) -> list[Stage]:
    """Return all stages: prior, stage 1, each row with its scores, the table."""
    rows, out = chosen_rows(o.rows), Path(o.out)
    trainings = _trainings(o, rows)
    prior = [config.prior for config in trainings.values() if config.prior is not None]
    teachers = (o.teacher_speech, o.teacher_sound)
    size = ALMTokenizerConfig.preset(o.size).codebook_size
    return [
        *([codec.prior_stage(o.sources("train"), teachers, prior[0], size)] if prior else []),
        *(
            stage
            for name, config in trainings.items()
            for stage in (
                Stage(name=name, what=_what(name), command=("codec", "train"), config=config),
                *(_judgements(o, name) if name in rows else ()),
            )
        ),
        Stage(
            name="table",
            what="collect the scores of all rows",
            program="almtok.recipes.codec_ablation.table:main",
            command=("--run", o.out, "--rows", *rows, "--out", str(out / TABLE)),
        ),
    ]


def stage1(o: Options, steps: int) -> CodecTrainConfig:
    """Return stage 1, which all rows with two stages share."""
    return codec.mini_stage1(*_given(o), preset=o.size, steps=steps, seed=o.seed)


def row_training(o: Options, name: str, row: Row, steps: int) -> CodecTrainConfig:
    """Return stage 2 of a row, or its only stage."""
    model = {
        "frames_per_query_range": [4, 8],  # as in the recipe of the codec
        **chosen_rows([REFERENCE])[REFERENCE].model,
        **row.model,
    }
    common: dict[str, Any] = {
        "preset": o.size,
        "seed": o.seed,
        "steps": steps,
        "quantize_start": steps // 10,
        "model": model,
    }
    config = codec.mini_stage2(*_given(o), **{**common, **row.changes(steps)})
    return dataclasses.replace(config, out=str(Path(o.out, "rows", name)))


def _trainings(o: Options, rows: dict[str, Row]) -> dict[str, CodecTrainConfig]:
    """All trainings by stage: equal steps, or equal processor time."""
    counts = dict.fromkeys(("stage1", *rows), o.steps)
    if o.minutes_per_row:
        probes = {name: row_training(o, name, row, o.steps) for name, row in rows.items()}
        pace = measured_pace({"stage1": stage1(o, o.steps), **probes}, Path(o.out))
        counts = {name: round(60 * o.minutes_per_row / pace[name]) for name in counts}
    first = max(1, round(STAGE1_SHARE * counts["stage1"]))
    trainings = {}
    if not all(row.one_stage for row in rows.values()):
        trainings["stage1"] = stage1(o, first)
    for name, row in rows.items():
        share = 1.0 if row.one_stage else 1 - STAGE1_SHARE
        trainings[name] = row_training(o, name, row, max(1, round(share * counts[name])))
    return trainings


def _judgements(o: Options, name: str) -> list[Stage]:
    """Evaluate the codec of a row."""
    codec_of_row = ("--checkpoint", str(Path(o.out, "rows", name, "model")))
    given = (*codec_of_row, "--data", *o.sources("test"), "--limit", str(o.limit))
    found = [
        Stage(
            name=f"{name}-scores",
            what=f"evaluate the codec of row {name}",
            command=("codec", "evaluate", *given, "--out", str(Path(o.out, "scores", name))),
        )
    ]
    if o.recognizer != "none":
        words = ("--recognizer", o.recognizer, "--out", str(Path(o.out, "words", name)))
        found.append(
            Stage(
                name=f"{name}-words",
                what=f"word errors through the codec of row {name}",
                command=("codec", "word-errors", *given, *words),
            )
        )
    if o.predictability:
        clips = ("--data", *o.sources("train"), "--limit", str(_CODED_CLIPS))
        steps = ("--steps", str(o.predictability), "--seed", str(o.seed))
        found.append(
            Stage(
                name=f"{name}-codes",
                what=f"loss of a small language model on the codes of row {name}",
                command=(
                    *("codec", "predictability", *codec_of_row, *clips, *steps),
                    *("--out", str(Path(o.out, "predictability", name))),
                ),
            )
        )
    return found


def _given(o: Options) -> tuple[list[str], list[str], str]:
    return o.sources("train"), o.sources("valid"), o.out


def _what(name: str) -> str:
    if name == "stage1":
        return "train waveform to frames and back, shared by all rows with two stages"
    return f"train row {name}: {chosen_rows([name])[name].what}"
