"""Options of `generate` in transformers' words -> those of :class:`GenerationSettings`.

Shapes: `B` batch, `L` rows of a prompt, `K` codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from .decoding import Decoding
from .output import GeneratedRow
from .prompts import Kind
from .sampling import AUDIO_SAMPLING, GREEDY, SamplingConfig
from .settings import BeamSettings

_SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty")
# Translated, besides those of sampling.
_TRANSLATED = {
    "cache_implementation", "do_sample", "eos_token_id", "max_new_tokens", "min_new_tokens",
    "num_beams",
}  # fmt: skip
_OF_THE_CALL = {"num_return_sequences", "return_dict_in_generate", "stopping_criteria", "streamer"}
# Without a meaning here: texts have no first id, padding is not generated, there is always a cache.
_IGNORED = {"bos_token_id", "decoder_start_token_id", "pad_token_id", "use_cache"}
_SHARED = {"guidance_scale"}  # the same word and meaning
# What cannot be -> what there is.
_INSTEAD = {
    "assistant_model": "quantize (almtok.lm.quantize) for speed",
    "bad_words_ids": "forbidden_text_ids",
    "compile_config": "compile=True",
    "length_penalty": "beam=BeamSettings(length_bonus=)",
    "logits_processor": "forbidden_text_ids, repetition_penalty, guidance_scale",
    "max_length": "max_new_tokens: the prompt does not count",
    "max_time": "stopping_criteria=[MaxTimeCriteria(seconds)]",
    "min_length": "min_new_tokens: the prompt does not count",
    "negative_prompt_ids": "unconditional_ids",
    "no_repeat_ngram_size": "repetition_penalty, or guards=RepetitionLimits()",
    "output_logits": "log_probability of each row",
    "output_scores": "log_probability of each row",
    "past_key_values": "a prompt with a prefix, which is continued",
    "stop_strings": "stopping_criteria",
    "suppress_tokens": "forbidden_text_ids",
}  # fmt: skip

Criterion = Callable[[Tensor, None], Any]


@dataclass(frozen=True)
class Request:
    """A call of `generate`: its options in our words, and what concerns the call as a whole."""

    options: dict[str, Any]  # of GenerationSettings
    repeats: int = 1  # targets of each prompt
    streamer: Any = None  # of transformers
    criteria: tuple[Criterion, ...] = ()
    as_tensor: bool = False  # return only the sequences

    @classmethod
    def read(cls, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> Request:
        """Translate the options of a call.

        Args:
            options: in our words, in transformers', or as a `generation_config`.
            defaults: of the model, in transformers' words (:func:`defaults_of`); they give way to
                options in either words.

        Raises:
            ValueError: an option is given in both words, or cannot be; names what there is instead.
        """
        own = dict(options)
        config = own.pop("generation_config", None)
        names = set(vars(GenerationConfig())) - _SHARED | _OF_THE_CALL | _INSTEAD.keys()
        words = {name: own.pop(name) for name in names & own.keys()}
        words = {**_given(config), **_without_none(words)}
        _refuse(words)
        translated = _translate(words)
        if both := sorted(translated.keys() & own.keys()):
            raise ValueError(f"{both[0]} must be given once, got it in transformers' words too")
        _refuse(defaults)
        filled = {**_translate({**defaults, **words}), **own}
        _lower_minimum(filled, own.keys() | _translate(words).keys())
        if own.keys() & {"audio_sampling", "text_sampling"}:  # as a whole, without defaults
            filled = {**{k: v for k, v in filled.items() if not k.endswith("_sampling")}, **own}
        call = {**defaults, **words}
        return cls(
            options=filled,
            repeats=call.get("num_return_sequences", 1),
            streamer=words.get("streamer"),
            criteria=tuple(words.get("stopping_criteria", ())),
            as_tensor=words.get("return_dict_in_generate") is False,
        )

    def check(self, kinds: list[Kind]) -> None:
        """Check the request against the kinds of the targets.

        Raises:
            ValueError: it cannot be.
        """
        beam = self.options.get("beam")
        if beam is not None and "audio" in kinds:
            raise ValueError("num_beams must be 1 for audio: use num_return_sequences")
        if beam is not None and (self.streamer is not None or self.criteria or self.repeats > 1):
            raise ValueError(
                "beam search takes no streamer, stopping_criteria or num_return_sequences"
            )
        if self.streamer is not None and kinds != ["text"]:
            raise ValueError(
                f"streamer must be for one text, got targets {kinds}: use"
                " almtok.lm.generation.streaming for audio"
            )
        many = ("seeds", "unconditional_ids")
        if self.repeats > 1 and (given := [n for n in many if self.options.get(n) is not None]):
            raise ValueError(f"num_return_sequences must be 1 with {given[0]}, got {self.repeats}")

    def watch(self, decoding: Decoding) -> None:
        """Ask the stopping criteria after a step, for targets that are not finished."""
        for state, row in decoding.rows.values() if self.criteria else ():
            found = state.frames(row, 0, state.frames_ready(row))
            ids = found if state.target.kind == "text" else found.T[None]  # [1, T] or [1, Q, K]
            if any(bool(torch.as_tensor(stop(ids, None)).all()) for stop in self.criteria):
                state.stop(row, "stopping_criteria")


class TextStream:
    """Gives a streamer of transformers the ids of one text while they are generated."""

    def __init__(self, streamer: Any) -> None:
        self.streamer, self.sent = streamer, 0
        streamer.put(torch.empty(1, 0, dtype=torch.int64))  # the prompt; it has no text to show

    def put(self, ids: Tensor) -> None:
        """Send the new ones of all ids `[T]`."""
        for value in ids[self.sent :].cpu():
            self.streamer.put(value[None])
        self.sent = max(self.sent, len(ids))

    def end(self, row: GeneratedRow) -> None:
        """Send the rest of the ids, and the end."""
        assert row.ids is not None
        self.put(row.ids)
        self.streamer.end()


def defaults_of(config: GenerationConfig | None, tasks: Collection[str]) -> dict[str, Any]:
    """What a model's `generation_config.json` sets for prompts of these tasks.

    Its `task_specific_params` holds values by task; they count if all prompts are of one task.
    """
    values = _given(config)
    values.pop("eos_token_id", None)  # the backbone's
    by_task = getattr(config, "task_specific_params", None) or {}
    found = {name for name in tasks if name in by_task}
    return {**values, **by_task[found.pop()]} if len(found) == 1 == len(set(tasks)) else values


def _translate(words: Mapping[str, Any]) -> dict[str, Any]:
    """Options of GenerationSettings."""
    options: dict[str, Any] = {name: words[name] for name in _SHARED if name in words}
    for bound in ("max", "min"):
        if (length := words.get(f"{bound}_new_tokens")) is not None:
            options |= {f"{bound}_frames": length, f"{bound}_text_tokens": length}
    if (eos := words.get("eos_token_id")) is not None:
        ids = eos if isinstance(eos, list) else [eos]
        if len(ids) != 1:
            raise ValueError(f"eos_token_id must be one id, got {eos}")
        options["eos_id"] = ids[0]
    if (cache := words.get("cache_implementation")) is not None:
        options["cache"] = cache
    if (beams := words.get("num_beams", 1)) > 1:
        if words.get("do_sample"):
            raise ValueError("do_sample must be False with num_beams, got True")
        options["beam"] = BeamSettings(beams=beams)
    values = {name: words[name] for name in _SAMPLING if name in words}
    if words.get("do_sample") is False:
        kept = {n: v for n, v in values.items() if n == "repetition_penalty"}
        greedy = replace(GREEDY, **kept)
        options |= {"audio_sampling": greedy, "text_sampling": greedy}
    elif words.get("do_sample"):
        options["audio_sampling"] = replace(AUDIO_SAMPLING, **values)
        options["text_sampling"] = SamplingConfig(**values)
    elif values:
        options["audio_sampling"] = replace(AUDIO_SAMPLING, **values)
    return options


def _lower_minimum(options: dict[str, Any], given: Collection[str]) -> None:
    """Lower a minimum length that is a default of the model to half the maximum of the call."""
    for unit in ("frames", "text_tokens"):
        least, most = options.get(f"min_{unit}"), options.get(f"max_{unit}")
        if f"min_{unit}" in given or least is None or most is None:
            continue
        each = most if isinstance(most, list | tuple) else [most]
        options[f"min_{unit}"] = min(least, *(max(1, length // 2) for length in each))


def _given(config: GenerationConfig | None) -> dict[str, Any]:
    """What a generation config sets."""
    if config is None:
        return {}
    values = config.to_diff_dict()
    names = vars(GenerationConfig()).keys() - {"transformers_version"}
    return _without_none({n: v for n, v in values.items() if n in names and n[0] != "_"})


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _refuse(words: Mapping[str, Any]) -> None:
    known = {*_SAMPLING, *_TRANSLATED, *_OF_THE_CALL, *_IGNORED, *_SHARED}
    for name in sorted(words.keys() - known):
        if words[name] is False:  # off, as here
            continue
        instead = f": use {_INSTEAD[name]}" if name in _INSTEAD else ""
        raise ValueError(f"generate takes no {name}{instead}")
