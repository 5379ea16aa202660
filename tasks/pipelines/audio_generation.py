"""AudioGenerator: sound and music from descriptions, and continuations of audio."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...core.audio import Waveform
from ...core.levels import measure_levels
from ...lm.score import Score
from ..base import get_task
from ..evaluation.likelihood import likelihoods
from .arguments import AdapterNames, adapter_per_request, in_adapter_groups
from .base import TaskPipeline
from .options import GenerationOptions
from .outputs import GeneratedAudio, TaskOutput

# The caption task that ranks candidates of a generation task.
_RANKED_BY = {"text_to_audio": "audio_caption", "text_to_music": "music_caption"}
_SEED_STEP = 1_000_003  # between candidates of a prompt: far from the seeds of other prompts
_REDRAW_STEP = 7_368_787  # between the draws of a candidate


@dataclass(frozen=True)
class AudioGenerator(TaskPipeline):
    """Generates audio.

    Example:
        >>> generator = AudioGenerator.from_pretrained("checkpoints/mini")  # doctest: +SKIP
        >>> generator.sound("a dog barks", seconds=3).save("dog.wav")  # doctest: +SKIP
    """

    def sound(
        self,
        prompt: str,
        *,
        seconds: float | None = None,
        seed: int = 0,
        adapter: str | None = None,
    ) -> GeneratedAudio:
        """Generate a sound.

        Args:
            prompt: a description, such as "a dog barks twice".
            seconds: longest duration; the model may end earlier.
            seed: of sampling.
            adapter: name of a loaded adapter; None: the active one.
        """
        return self._one("text_to_audio", {"text": prompt}, seconds, seed, adapter)

    def music(
        self,
        prompt: str,
        *,
        seconds: float | None = None,
        seed: int = 0,
        adapter: str | None = None,
    ) -> GeneratedAudio:
        """Generate music; arguments as of :meth:`sound`."""
        return self._one("text_to_music", {"text": prompt}, seconds, seed, adapter)

    def continue_audio(
        self,
        audio: Any,
        *,
        seconds: float | None = None,
        seed: int = 0,
        adapter: str | None = None,
    ) -> GeneratedAudio:
        """Continue audio.

        Args:
            audio: a path, samples or tokens; as decoded by the codec it begins the result.
            seconds: longest continuation.
            seed: of sampling.
            adapter: name of a loaded adapter; None: the active one.

        Raises:
            ValueError: if the audio cannot be used or is too long for the model.
        """
        start = time.perf_counter()
        tokens = self.pipeline.tokens(audio, options=self.options)
        longest = self.pipeline.capacity_seconds(0.75, tokens.frames_per_query)
        if tokens.duration > longest:
            raise ValueError(
                f"the audio has {tokens.duration:.1f} s; this model can continue at most "
                f"{longest:.1f} s: cut off its beginning"
            )
        encoding = time.perf_counter() - start
        output = self._one("continuation", {"audio": tokens}, seconds, seed, adapter)
        return replace(output, seconds=output.seconds + encoding)

    def generate(
        self,
        task: str,
        rows: Sequence[dict[str, Any]],
        *,
        seconds: float | Sequence[float | None] | None = None,
        seeds: Sequence[int] | None = None,
        adapter: AdapterNames = None,
    ) -> list[GeneratedAudio]:
        """Generate audio with any task.

        With `options.best_of`, that many candidates are generated for each sound or music prompt,
        the first with the prompt's own seed. The candidate is kept under which the description is
        most likely according to the model's caption task.

        Sound and music whose loudest 50 ms lie below `silence_dbfs` of the task are drawn again
        with another seed, up to `options.redraws` times, and the loudest draw is kept.

        Args:
            task: name of a task with an audio target.
            rows: conditions of each prompt, by slot.
            seconds: longest duration, for all prompts or for each.
            seeds: for each prompt; 0, 1, 2.. by default.
            adapter: name of a loaded adapter for all prompts, or for each; None: the active one.

        Raises:
            ValueError: for fields that the task does not take or cannot use.
        """
        if get_task(task).layout.target.kind != "audio":
            raise ValueError(f"task must be one with an audio target, got {task!r}")
        seeds = list(range(len(rows))) if seeds is None else list(seeds)
        lengths = list(seconds) if isinstance(seconds, Sequence) else [seconds] * len(rows)
        count = self.options.best_of if task in _RANKED_BY else 1
        names = adapter_per_request(adapter, len(rows))
        adapters = [name for name in names for _ in range(count)]
        draws = [
            _Draw(row, length, draw_seed(seed, k), name)
            for row, length, seed, name in zip(rows, lengths, seeds, names, strict=True)
            for k in range(count)
        ]
        made = self._made(task, draws)
        if count > 1:
            texts = [draw.row["text"] for draw in draws]
            made = self._best(made, texts, _RANKED_BY[task], adapters)
        return made

    def _one(
        self, task: str, row: dict[str, Any], seconds: float | None, seed: int, adapter: str | None
    ) -> GeneratedAudio:
        return self.generate(task, [row], seconds=seconds, seeds=[seed], adapter=adapter)[0]

    def _made(self, task: str, draws: Sequence[_Draw]) -> list[GeneratedAudio]:
        """The audio of each draw, drawn again while it is nearly silent and tries are left."""
        found: dict[int, GeneratedAudio] = {}
        waiting = list(range(len(draws)))
        for attempt in range(tries(task, self.options)):
            outputs = self.pipeline.run(
                task,
                [draws[number].row for number in waiting],
                seeds=[redraw_seed(draws[number].seed, attempt) for number in waiting],
                seconds=[draws[number].length for number in waiting],
                options=self.options,
                adapter=[draws[number].adapter for number in waiting],
            )
            for number, output in zip(waiting, outputs, strict=True):
                made, before = self._decode(task, output), found.get(number)
                if before is not None:
                    best = max(made, before, key=lambda one: one.level_dbfs or 0.0)
                    seconds = before.seconds + made.seconds
                    made = replace(best, tries=attempt + 1, seconds=seconds)
                found[number] = made
            waiting = [number for number in waiting if found[number].silent]
            if not waiting:
                break
        return [found[number] for number in range(len(draws))]

    def _best(
        self,
        made: Sequence[GeneratedAudio],
        texts: Sequence[str],
        caption_task: str,
        adapters: Sequence[str | None],
    ) -> list[GeneratedAudio]:
        """The best candidate of each prompt; candidates of a prompt follow one another."""
        start = time.perf_counter()
        count = self.options.best_of
        tokens = [audio.tokens for audio in made]
        if self.options.check_by == "sound":
            tokens = [self.pipeline.reencode(candidate) for candidate in tokens]

        def scored(own: list[int]) -> list[Score]:
            return likelihoods(
                self.pipeline,
                [tokens[number] for number in own],
                [texts[number] for number in own],
                caption_task,
                batch_size=self.options.batch_size,
            )

        scores = in_adapter_groups(self.pipeline.lm, adapters, scored)
        scoring = (time.perf_counter() - start) * count / len(made)
        best = []
        for first in range(0, len(made), count):
            candidates = range(first, first + count)
            chosen = max(candidates, key=lambda number: scores[number].log_probability)
            seconds = scoring + sum(made[number].seconds for number in candidates)
            best.append(replace(made[chosen], seconds=seconds))
        return best

    def _decode(self, task: str, output: TaskOutput) -> GeneratedAudio:
        start = time.perf_counter()
        wav, rate = self.pipeline.decode(output.audio_tokens), self.pipeline.sample_rate
        level, silent = check_level(task, wav.numpy(), rate)
        seconds = output.seconds + time.perf_counter() - start
        return GeneratedAudio(
            wav, rate, output.audio_tokens, output.row.finish, seconds,
            level_dbfs=level, silent=silent,
        )  # fmt: skip


@dataclass(frozen=True)
class _Draw:
    """One draw of a prompt."""

    row: dict[str, Any]
    length: float | None  # longest duration
    seed: int
    adapter: str | None


def draw_seed(seed: int, draw: int) -> int:
    """The seed of the draw-th candidate of a prompt with this seed."""
    return (seed + draw * _SEED_STEP) % 2**31


def redraw_seed(seed: int, attempt: int) -> int:
    """The seed with which a candidate of this seed is drawn for the attempt-th time again."""
    return (seed + attempt * _REDRAW_STEP) % 2**31


def tries(task: str, options: GenerationOptions) -> int:
    """Most draws of a candidate that is nearly silent; greedy ones would be equal."""
    sampling = get_task(task).audio_sampling
    changed = options.temperature
    greedy = (sampling.temperature if changed is None else changed) == 0
    return 1 if greedy else 1 + options.redraws


def check_level(task: str, wav: Waveform, sample_rate: int) -> tuple[float | None, bool]:
    """The level of the loudest 50 ms of a waveform `[S]` in dBFS, and whether it is nearly silent.

    None and False for a task without `silence_dbfs`.
    """
    threshold = get_task(task).silence_dbfs
    if threshold is None:
        return None, False
    level = measure_levels(wav, sample_rate).loudest_dbfs
    return level, level < threshold
