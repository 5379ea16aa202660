"""Scores of any task on rows of a token corpus: generate, then `Task.score`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...core.metrics.intervals import Score
from ...lm.data.rows import TokenRow
from ..base import Task, get_task
from ..pipelines.options import DEFAULT, GenerationOptions
from ..pipelines.speech_recognition import SpeechRecognizer

if TYPE_CHECKING:
    from ..pipelines.base import AudioLMPipeline, TaskOutput

logger = logging.getLogger(__name__)


def score_task(
    pipeline: AudioLMPipeline,
    task: str | Task,
    rows: Iterable[TokenRow],
    *,
    seed: int = 0,
    options: GenerationOptions = DEFAULT,
) -> list[Score]:
    """Run a task on rows and score its outputs by `Task.score`.

    A text is compared with the target of the row. Generated audio is transcribed by the model's own
    ASR and compared with the text of the row. Rows that do not fit the task are skipped and counted
    in the log.

    Args:
        pipeline: the model.
        task: a task or its name.
        rows: of a token corpus, such as `TokenDataset("tokens/", split="test")`.
        seed: row i is sampled with `seed + i`.
        options: these replace defaults of the task.

    Raises:
        ValueError: if no row fits the task, or the tokens are of another codec.
    """
    task = get_task(task) if isinstance(task, str) else task
    fitting: list[TokenRow] = []
    prompts: list[dict[str, Any]] = []
    refusals: list[str] = []
    for row in rows:
        try:
            prompts.append(_prompt(pipeline, task, row))
        except ValueError as error:
            refusals.append(str(error))
        else:
            fitting.append(row)
    if not fitting:
        reason = f", the first: {refusals[0]}" if refusals else ""
        raise ValueError(f"none of {len(refusals)} rows fits the task {task.name!r}{reason}")
    if refusals:
        count = len(refusals) + len(fitting)
        logger.warning("skipped: %d of %d rows, the first: %s", len(refusals), count, refusals[0])
    is_text = task.layout.target.kind == "text"
    seconds = [row.duration or None for row in fitting] if is_text else None
    outputs = pipeline.run(task, prompts, seed=seed, seconds=seconds, options=options)
    references = [_reference(task, row) for row in fitting]
    languages = [row.language for row in fitting]
    return task.score(_texts(pipeline, outputs), references, languages)


def _prompt(pipeline: AudioLMPipeline, task: Task, row: TokenRow) -> dict[str, Any]:
    """The conditions of a row by slot, codes as tokens."""
    pipeline.tokens(row.tokens)  # refuses tokens of another codec
    _reference(task, row)
    if task.domains and row.domain and row.domain not in task.domains:
        raise ValueError(f"{row.id}: the domain is {row.domain}, not {' or '.join(task.domains)}")
    from_codes = pipeline.processor.audio_input.from_codes
    return {
        name: from_codes(value, row.frames_per_query) if isinstance(value, Tensor) else value
        for name, value in task.fields(row).items()
        if isinstance(value, Tensor) or value
    }


def _reference(task: Task, row: TokenRow) -> str:
    target = task.target(row)
    return target if isinstance(target, str) else row.text


def _texts(pipeline: AudioLMPipeline, outputs: Sequence[TaskOutput]) -> list[str]:
    if all(output.text is not None for output in outputs):
        return [str(output.text) for output in outputs]
    recognizer = SpeechRecognizer(pipeline)
    return [found.text for found in recognizer.transcribe_all([out.tokens for out in outputs])]
