"""Overfitted toys, one for each pattern, trained once."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_model, save_model

from almtok.lm.model import AudioLM
from almtok.lm.sequences import (
    AudioSegment,
    Example,
    Sequence,
    TextSegment,
    build_prompt,
    build_sequence,
    collate,
)

from ..toy import EOS, PATTERNS, toy_example, toy_lm

# Targets of other lengths and kinds, after prompts of other lengths.
EXAMPLES = (
    toy_example("tts", count=9, seed=1),
    toy_example("asr", count=7, seed=2),
    toy_example("text_to_audio", count=5, seed=3),
    toy_example("audio_caption", count=12, seed=4),
)


@dataclass(frozen=True)
class Learned:
    """A model that knows `EXAMPLES` by heart."""

    lm: AudioLM

    def sequence(self, example: Example) -> Sequence:
        return build_sequence(example, self.lm.config, eos_id=EOS)

    def prompt(self, example: Example, prefix: torch.Tensor | None = None, **kwargs):
        *conditions, target = example.segments
        kind = "text" if isinstance(target, TextSegment) else "audio"
        return build_prompt(
            example.task,
            conditions,
            kind,
            self.lm.config,
            frames_per_query=6,
            eos_id=EOS,
            prefix=None if prefix is None else AudioSegment(prefix),
            **kwargs,
        )

    def batch(self, *prompts: torch.Tensor, side: str = "left") -> dict[str, torch.Tensor]:
        padded = collate([Sequence(rows, rows) for rows in prompts], self.lm.config, side)
        return {name: padded[name] for name in ("input_ids", "attention_mask")}

    def prompts(self, examples=EXAMPLES) -> dict[str, torch.Tensor]:
        return self.batch(*(self.prompt(example) for example in examples))


def learn(pattern: str, **overrides) -> Learned:
    learned = Learned(toy_lm(pattern=pattern, **overrides))
    batch = collate([learned.sequence(e) for e in EXAMPLES], learned.lm.config)
    optimizer = torch.optim.Adam(learned.lm.parameters(), lr=3e-3)
    for _ in range(160):
        optimizer.zero_grad()
        learned.lm(**batch).loss.backward()
        optimizer.step()
    learned.lm.requires_grad_(False)
    return learned


@pytest.fixture(scope="session")
def learned_once(tmp_path_factory, worker_id) -> Callable[[str], Learned]:
    """Models by pattern; each is trained by one of the processes that run tests."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder if worker_id == "master" else folder.parent

    @cache
    def get(pattern: str) -> Learned:
        place = folder / f"learned-{pattern}.safetensors"
        with FileLock(f"{place}.lock"):
            if not place.exists():
                save_model(learn(pattern).lm, place)
        learned = Learned(toy_lm(pattern=pattern))
        load_model(learned.lm, place)
        learned.lm.requires_grad_(False)
        return learned

    return get


@pytest.fixture(scope="session", params=PATTERNS)
def learned(request, learned_once) -> Learned:
    """Of every pattern in turn."""
    return learned_once(request.param)


@pytest.fixture(scope="session")
def depth(learned_once) -> Learned:
    """Of the default pattern, where the pattern does not matter."""
    return learned_once("depth")
