"""`AudioLM.generate`: from prompts to codes and texts.

Letters: `B` batch, `L` rows of a prompt, `K` codebooks, `C` codebook size, `V` text vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ..heads import Choose
from ..inference import evaluating
from ..patterns import Layout, layout
from .beam_search import BeamJob, BeamSearch
from .decoding import Decoding
from .decoding_state import DecodingRow, Target
from .output import GeneratedRow, Generation
from .prompts import Kind, Prompt, read_prompts, without_condition
from .sampling import per_stream
from .settings import GenerationSettings, LengthBounds
from .stopping_criteria import NO_LIMITS

if TYPE_CHECKING:
    from ..model import AudioLM

OnRow = Callable[[int, GeneratedRow], None]


class GenerateMixin:
    """Gives a model `generate`, as transformers' `GenerationMixin` does.

    It has another name on purpose: from a base class of that name transformers concludes that the
    model has a `generation_config`, and saves one.
    """

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        on_row: OnRow | None = None,
        **options: Any,
    ) -> Generation:
        """Generate the targets of a batch of prompts, each until its end.

        A prompt determines its target: text and audio targets can be mixed in one batch, and a
        given beginning of audio or text is continued. The result of a row depends on its own prompt
        and seed, not on the other rows. The model is in evaluation mode meanwhile.

        Args:
            input_ids: prompts as rows `[B, L, 1+K]`, see :func:`prepare`.
            attention_mask: `[B, L]`, 0 at padding, on either side.
            on_row: called as `on_row(index, row)` when a row is complete (with beam search: when
                all are).
            options: fields of :class:`GenerationSettings`.

        Example:
            >>> batch = processor(task="tts", text="hello")  # doctest: +SKIP
            >>> lm.generate(**batch)[0].codes  # [K, Q]  # doctest: +SKIP

        Raises:
            ValueError: see :func:`prepare`.
        """
        lm = cast("AudioLM", self)
        with evaluating(lm, compiled=options.get("compile", False)):
            if options.get("beam") is not None:
                return _search(lm, input_ids, attention_mask, GenerationSettings(**options), on_row)
            decoding = prepare(lm, input_ids, attention_mask, **options)
            while decoding.running:
                before = set(decoding.finished)
                decoding.step()
                if on_row is not None:
                    for number in sorted(decoding.finished.keys() - before):
                        on_row(number, decoding.finished[number])
        rows = tuple(decoding.finished[number] for number in sorted(decoding.finished))
        return Generation(rows, decoding.prefill_seconds, decoding.step_seconds)


def prepare(
    lm: AudioLM, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> Decoding:
    """Everything but the loop: read and check the prompts, the limits and the seeds.

    Args:
        lm: the model.
        input_ids: prompts as rows `[B, L, 1+K]`, of `sequences.build_prompt`.
        attention_mask: `[B, L]`, 0 at padding, on either side.
        options: fields of :class:`GenerationSettings`.

    Raises:
        ValueError: for prompts that are none, that the backbone has no positions for or that are
            not for the given targets; for limits that contradict each other.
    """
    settings = GenerationSettings(**options)
    if settings.beam is not None:
        raise ValueError("beams are searched by generate, all at once: there is nothing to step")
    prompts = read_prompts(input_ids, attention_mask, lm.config)
    kinds = _check_targets(prompts, settings.target)
    free = _free_prompts(prompts, lm, settings)
    seeds = settings.seeds_of(len(prompts))
    work = []
    for kind in sorted(set(kinds)):
        what = _target(lm, kind, settings)
        bounds = settings.bounds(kind, len(prompts))
        jobs = []
        for number, prompt in enumerate(prompts):
            if prompt.kind == kind:
                longest = max(len(prompt), len(free[number]) if free else 0)
                room = lm.config.max_positions - longest
                jobs.append(_job(number, prompt, what.layout, room, bounds, seeds[number]))
        work.append((what, jobs))
    return Decoding(lm, prompts, work, free, cache=settings.cache, compiled=settings.compile)


def _search(
    lm: AudioLM,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    settings: GenerationSettings,
    on_row: OnRow | None,
) -> Generation:
    """Transcripts by beams."""
    prompts = read_prompts(input_ids, attention_mask, lm.config)
    _check_targets(prompts, settings.target or "text")
    assert settings.beam is not None
    many = settings.beam.views
    if len(prompts) % many:
        raise ValueError(f"expected {many} views of each recording; came {len(prompts)} prompts")
    recordings = [tuple(prompts[at : at + many]) for at in range(0, len(prompts), many)]
    seeds, jobs = settings.seeds_of(len(recordings)), []
    grid, bounds = _target(lm, "text", settings).layout, settings.bounds("text", len(recordings))
    for number, (views, seed) in enumerate(zip(recordings, seeds, strict=True)):
        room = lm.config.max_positions - max(map(len, views))
        job = _job(number, views[0], grid, room, bounds, seed)
        jobs.append(BeamJob(views, job.min_new, job.max_new, job.limit, seed))
    search = BeamSearch(
        lm,
        jobs,
        settings.beam,
        eos_id=_end_of_text(lm, settings.eos_id),
        forbidden=settings.forbidden_text_ids,
        cache=settings.cache,
    )
    rows = search.run()
    if on_row is not None:
        for number, row in enumerate(rows):
            on_row(number, row)
    return Generation(tuple(rows), search.prefill_seconds, search.step_seconds)


def _check_targets(prompts: list[Prompt], target: Kind | Sequence[Kind] | None) -> list[Kind]:
    kinds = [prompt.kind for prompt in prompts]
    expected = [target] * len(kinds) if isinstance(target, str) else target
    if expected is not None and list(expected) != kinds:
        raise ValueError(f"the prompts are for {kinds}; expected {list(expected)}")
    return kinds


def _free_prompts(
    prompts: list[Prompt], lm: AudioLM, settings: GenerationSettings
) -> list[Prompt] | None:
    """Prompts without condition, where there is guidance."""
    if settings.guidance_scale == 1:
        return None
    if settings.unconditional_ids is None:
        return [without_condition(prompt, lm.config) for prompt in prompts]
    free = read_prompts(settings.unconditional_ids, settings.unconditional_mask, lm.config)
    if [prompt.kind for prompt in free] != [prompt.kind for prompt in prompts]:
        raise ValueError(
            f"unconditional prompts must be for the same targets, {[p.kind for p in prompts]}; "
            f"came {[p.kind for p in free]}"
        )
    return free


def _target(lm: AudioLM, kind: Kind, settings: GenerationSettings) -> Target:
    guards = NO_LIMITS if settings.guards is None else settings.guards
    if kind == "audio":
        grid = layout(lm.config)
        return Target(
            kind=kind,
            layout=grid,
            sample=lm.heads.sample,
            width=lm.heads.num_codes,
            sampling=per_stream(settings.audio_sampling, grid.num_codebooks),
            guidance_scale=settings.guidance_scale,
            repetition_limit=guards.audio_limit,
            repetition_period=guards.audio_period,
        )
    end = _end_of_text(lm, settings.eos_id)

    def sample(hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        return choose(0, lm.text_logits(hidden))[:, None]

    ids = torch.tensor([i for i in settings.forbidden_text_ids if i != end], device=lm.device)
    return Target(
        kind=kind,
        # One id a row; -1 is no id at all.
        layout=Layout(1, 1, (0,), end, -1),
        sample=sample,
        width=lm.config.vocab_size,
        sampling=(settings.text_sampling,),
        forbidden=ids if len(ids) else None,
        guidance_scale=settings.guidance_scale,
        repetition_limit=guards.text_limit,
        repetition_period=guards.text_period,
    )


def _end_of_text(lm: AudioLM, eos_id: int | None) -> int:
    if eos_id is None:
        known = lm.config.backbone.get_text_config().eos_token_id  # type: ignore[union-attr]
        eos_id = known[0] if isinstance(known, list) else known
    if eos_id is None or not 0 <= eos_id < lm.config.vocab_size:
        raise ValueError(
            f"eos_id must be a text id, 0..{lm.config.vocab_size - 1}; came {eos_id}: give the "
            f"tokenizer's eos_token_id"
        )
    return eos_id


def _job(
    number: int, prompt: Prompt, grid: Layout, room: int, bounds: LengthBounds, seed: int
) -> DecodingRow:
    unit, least, most = bounds.unit, bounds.least[number], bounds.most[number]
    if not 0 <= least <= most:
        raise ValueError(
            f"min_{unit} must be 0 or more and at most max_{unit}; came {least} and {most}"
        )
    tail = grid.num_rows(1) - 1 - grid.stride  # rows behind the end row
    fits = max(0, (room - 1 - tail) // grid.stride)
    if least > fits:
        raise ValueError(
            f"prompt {number} leaves {room} positions of the backbone, room for {fits} {unit}; "
            f"min_{unit} is {least}"
        )
    return DecodingRow(
        number=number,
        prefix=prompt.prefix,
        min_new=least,
        max_new=min(most, fits),
        limit="max_length" if most <= fits else "max_positions",
        seed=seed,
        frames_per_query=prompt.frames_per_query,
    )
