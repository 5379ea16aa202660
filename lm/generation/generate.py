"""`AudioLM.generate`: prompts -> codes and texts.

Shapes: `B` batch, `L` rows of a prompt, `K` codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from transformers import GenerationMixin

from ..adapter_rows import adapter_rows, checked_names, copy_of, grouped
from ..heads import Choose
from ..inference import evaluating
from ..patterns import Layout, layout
from .beam_search import BeamJob, BeamSearch
from .common_options import Request, TextStream, defaults_of
from .decoding import Decoding
from .decoding_state import DecodingRow, Target
from .output import PADDING, GeneratedRow, Generation
from .prompt_batch import PromptBatch
from .prompts import Kind, Prompt, read_prompts, task_names, without_condition
from .sampling import per_stream
from .settings import GenerationSettings, LengthBounds
from .stopping_criteria import NO_LIMITS

if TYPE_CHECKING:
    from ..model import AudioLM

OnRow = Callable[[int, GeneratedRow], None]


class GenerateMixin:
    """Adds `generate` to a model, as `GenerationMixin` of transformers does.

    Its own loop takes the place of transformers', whose words it understands (common_options.py).
    """

    generation_config: Any  # of transformers: defaults, saved as `generation_config.json`
    adjust_generation_fn = GenerationMixin.adjust_generation_fn  # reads it

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        on_row: OnRow | None = None,
        **options: Any,
    ) -> Any:
        """Generate the targets of a batch of prompts, each until its end.

        A prompt determines its target: a batch can mix text and audio targets, and a prefix of the
        target is continued. The result of a row depends on its own prompt and seed only. The model
        is in evaluation mode meanwhile.

        Args:
            input_ids: prompts as rows `[B, L, 1+K]`, see :func:`prepare`.
            attention_mask: `[B, L]`, 0 at padding, on either side.
            on_row: called as `on_row(index, row)` when a row is finished (with beam search: when
                all are).
            options: fields of :class:`GenerationSettings`. Or, as in transformers: max_new_tokens
                and min_new_tokens (a frame of codes is one token), do_sample, temperature, top_k,
                top_p, repetition_penalty, guidance_scale, num_return_sequences, num_beams (texts),
                streamer (one text), stopping_criteria, generation_config, return_dict_in_generate.
                By default texts are greedy and audio is sampled.

        Returns:
            A :class:`Generation`; its `sequences` alone if `return_dict_in_generate=False`.

        Example:
            >>> batch = processor(task="tts", text="hello")  # doctest: +SKIP
            >>> lm.generate(**batch)[0].codes  # [K, Q]  # doctest: +SKIP

        Raises:
            ValueError: see :func:`prepare`, and for options that cannot be, with their counterpart.
        """
        lm = cast("AudioLM", self)
        prompts = read_prompts(input_ids, attention_mask, lm.config)
        defaults = defaults_of(lm.generation_config, task_names(prompts, lm.config))
        request = Request.read(options, defaults)
        request.check([prompt.kind for prompt in prompts])
        if request.repeats > 1:
            input_ids = input_ids.repeat_interleave(request.repeats, dim=0)
            if attention_mask is not None:
                attention_mask = attention_mask.repeat_interleave(request.repeats, dim=0)
        with evaluating(lm, compiled=request.options.get("compile", False)):
            if request.options.get("beam") is not None:
                settings = GenerationSettings(**request.options)
                out = _beam_search(lm, input_ids, attention_mask, settings, on_row)
            else:
                decoding = prepare(lm, input_ids, attention_mask, **request.options)
                out = _run(decoding, request, on_row)
        return out.sequences if request.as_tensor else out

    @classmethod
    def can_generate(cls) -> bool:
        """Whether the model has :meth:`generate`."""
        return True

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Part of transformers' loop of generation; peft asks causal models for it.

        Raises:
            NotImplementedError: always. :meth:`generate` does not call it.
        """
        raise NotImplementedError("AudioLM writes rows: it has a loop of generation of its own")


def prepare(
    lm: AudioLM, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> Decoding:
    """Set a batch up for step by step decoding; arguments as of :func:`prompt_batch`."""
    batch = prompt_batch(lm, input_ids, attention_mask, **options)
    decoding = Decoding(lm, compiled=batch.compiled)
    decoding.join(batch)
    return decoding


def prompt_batch(
    lm: AudioLM, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
) -> PromptBatch:
    """Check prompts, limits and seeds, and make a batch that can join a decoding.

    Args:
        lm: the model.
        input_ids: prompts as rows `[B, L, 1+K]`, of `sequences.build_prompt`.
        attention_mask: `[B, L]`, 0 at padding, on either side.
        options: fields of :class:`GenerationSettings`.

    Raises:
        ValueError: for malformed or too long prompts, prompts of other targets than given, or
            limits that contradict each other.
    """
    settings = GenerationSettings(**options)
    if settings.beam is not None:
        raise ValueError("beam must be None: beam search runs in generate only")
    prompts = read_prompts(input_ids, attention_mask, lm.config)
    kinds = _check_targets(prompts, settings.target)
    unconditional = _unconditional_prompts(prompts, lm, settings)
    seeds = settings.seeds_of(len(prompts))
    names = checked_names(lm, settings.adapter_names, len(prompts))
    work = []
    for (kind, name), numbers in grouped(zip(kinds, names, strict=True)).items():
        target = _target(lm, kind, settings, name)
        bounds = settings.bounds(kind, len(prompts))
        rows = []
        for number in numbers:
            prompt = prompts[number]
            longest = max(len(prompt), len(unconditional[number]) if unconditional else 0)
            room = lm.config.max_positions - longest
            rows.append(_row(number, prompt, target.layout, room, bounds, seeds[number]))
        work.append((target, rows))
    return PromptBatch(
        lm=lm,
        prompts=prompts,
        targets=work,
        unconditional=unconditional,
        adapter_names=names,
        cache=settings.cache,
        compiled=settings.compile,
    )


def _run(decoding: Decoding, request: Request, on_row: OnRow | None) -> Generation:
    """Run a decoding to its end."""
    stream = None if request.streamer is None else TextStream(request.streamer)
    while decoding.running:
        before = set(decoding.finished)
        decoding.step()
        request.watch(decoding)
        if stream is not None:
            for state, row in decoding.rows.values():
                stream.put(state.frames(row, 0, state.frames_ready(row))[0])
        if on_row is not None:
            for number in sorted(decoding.finished.keys() - before):
                on_row(number, decoding.finished[number])
    rows = tuple(decoding.finished[number] for number in sorted(decoding.finished))
    if stream is not None:
        stream.end(rows[0])
    padding = _text_padding(decoding.lm)
    return Generation(rows, decoding.prefill_seconds, decoding.step_seconds, padding)


def _text_padding(lm: AudioLM) -> int:
    pad, end = lm.config.pad_token_id, lm.config.eos_token_id
    end = end[0] if isinstance(end, list) else end
    return PADDING if pad is None and end is None else end if pad is None else pad


def _beam_search(
    lm: AudioLM,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    settings: GenerationSettings,
    on_row: OnRow | None,
) -> Generation:
    """Generate transcripts by beam search."""
    prompts = read_prompts(input_ids, attention_mask, lm.config)
    _check_targets(prompts, settings.target or "text")
    assert settings.beam is not None
    views = settings.beam.views
    if len(prompts) % views:
        raise ValueError(
            f"the batch must hold {views} views of each recording, got {len(prompts)} prompts"
        )
    recordings = [tuple(prompts[n : n + views]) for n in range(0, len(prompts), views)]
    seeds, jobs = settings.seeds_of(len(recordings)), []
    layout, bounds = _target(lm, "text", settings).layout, settings.bounds("text", len(recordings))
    for number, (recording, seed) in enumerate(zip(recordings, seeds, strict=True)):
        room = lm.config.max_positions - max(map(len, recording))
        limits = _row(number, recording[0], layout, room, bounds, seed)
        jobs.append(BeamJob(recording, limits.min_new, limits.max_new, limits.limit, seed))
    found: dict[int, GeneratedRow] = {}
    prefill_seconds = step_seconds = 0.0
    names = checked_names(lm, settings.adapter_names, len(jobs))
    for name, numbers in grouped(names).items():
        with adapter_rows(name):
            search = BeamSearch(
                lm,
                [jobs[number] for number in numbers],
                settings.beam,
                eos_id=_eos_id(lm, settings.eos_id),
                forbidden=settings.forbidden_text_ids,
                cache=settings.cache,
            )
            found |= zip(numbers, search.run(), strict=True)
        prefill_seconds += search.prefill_seconds
        step_seconds += search.step_seconds
    rows = tuple(found[number] for number in range(len(jobs)))
    if on_row is not None:
        for number, generated in enumerate(rows):
            on_row(number, generated)
    return Generation(rows, prefill_seconds, step_seconds, _text_padding(lm))


def _check_targets(prompts: list[Prompt], target: Kind | Sequence[Kind] | None) -> list[Kind]:
    kinds = [prompt.kind for prompt in prompts]
    expected = [target] * len(kinds) if isinstance(target, str) else target
    if expected is not None and list(expected) != kinds:
        raise ValueError(f"targets of the prompts must be {list(expected)}, got {kinds}")
    return kinds


def _unconditional_prompts(
    prompts: list[Prompt], lm: AudioLM, settings: GenerationSettings
) -> list[Prompt] | None:
    """Prompts without conditions for guidance; None without guidance."""
    if settings.guidance_scale == 1:
        return None
    if settings.unconditional_ids is None:
        return [without_condition(prompt, lm.config) for prompt in prompts]
    found = read_prompts(settings.unconditional_ids, settings.unconditional_mask, lm.config)
    if [prompt.kind for prompt in found] != [prompt.kind for prompt in prompts]:
        raise ValueError(
            f"targets of the unconditional prompts must be {[p.kind for p in prompts]}, got "
            f"{[p.kind for p in found]}"
        )
    return found


def _target(
    lm: AudioLM, kind: Kind, settings: GenerationSettings, adapter: str | None = None
) -> Target:
    limits = NO_LIMITS if settings.guards is None else settings.guards
    if kind == "audio":
        audio_layout = layout(lm.config)
        return Target(
            kind=kind,
            layout=audio_layout,
            adapter=adapter,
            sample=(lm.heads if adapter is None else copy_of(lm.heads, adapter)).sample,
            width=lm.heads.num_codes,
            sampling=per_stream(settings.audio_sampling, audio_layout.num_codebooks),
            guidance_scale=settings.guidance_scale,
            repetition_limit=limits.audio_limit,
            repetition_period=limits.audio_period,
        )
    end = _eos_id(lm, settings.eos_id)

    def sample(hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        return choose(0, lm.text_logits(hidden))[:, None]

    ids = torch.tensor([i for i in settings.forbidden_text_ids if i != end], device=lm.device)
    return Target(
        kind=kind,
        # One id per row; -1 is an empty row.
        layout=Layout(1, 1, (0,), end, -1),
        adapter=adapter,
        sample=sample,
        width=lm.config.vocab_size,
        sampling=(settings.text_sampling,),
        forbidden=ids if len(ids) else None,
        guidance_scale=settings.guidance_scale,
        repetition_limit=limits.text_limit,
        repetition_period=limits.text_period,
    )


def _eos_id(lm: AudioLM, eos_id: int | None) -> int:
    if eos_id is None:
        default = lm.config.backbone.get_text_config().eos_token_id  # type: ignore[union-attr]
        eos_id = default[0] if isinstance(default, list) else default
    if eos_id is None or not 0 <= eos_id < lm.config.vocab_size:
        raise ValueError(
            f"eos_id must be in [0, {lm.config.vocab_size}), such as the tokenizer's "
            f"eos_token_id, got {eos_id}"
        )
    return eos_id


def _row(
    number: int, prompt: Prompt, layout: Layout, room: int, bounds: LengthBounds, seed: int
) -> DecodingRow:
    unit, least, most = bounds.unit, bounds.min_length[number], bounds.max_length[number]
    if not 0 <= least <= most:
        raise ValueError(
            f"min_{unit} must be 0 or more and at most max_{unit}, got {least} and {most}"
        )
    tail = layout.num_rows(1) - 1 - layout.stride  # rows after the end row
    fits = max(0, (room - 1 - tail) // layout.stride)
    if least > fits:
        raise ValueError(
            f"min_{unit} must be at most {fits}, which fit into the positions after prompt "
            f"{number}, got {least}"
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
