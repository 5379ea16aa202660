"""Generation: what was learned comes back, exactly, whoever else is in the batch."""

import pytest
import torch

from almtok.lm.generation import sampling
from almtok.lm.generation.prompts import read_prompts, without_condition
from almtok.lm.generation.sampling import GREEDY, SamplingConfig
from almtok.lm.model import AudioLM
from almtok.lm.patterns import layout
from almtok.lm.score import score
from almtok.lm.sequences import AudioSegment, Sequence, build_prompt, collate, text_rows

from ..toy import EOS, PATTERNS, toy_codes, toy_example, toy_lm
from .conftest import EXAMPLES

LOOSE = dict(
    audio_sampling=SamplingConfig(temperature=3.0, top_k=12),
    text_sampling=SamplingConfig(temperature=3.0, top_p=0.95),
    max_frames=14,
    max_text_tokens=14,
    eos_id=EOS,
)


def same(a, b) -> bool:
    """Whether two rows hold the same codes or text and ended alike."""
    left, right = (x.codes if x.codes is not None else x.ids for x in (a, b))
    return a.kind == b.kind and a.finish == b.finish and left.tolist() == right.tolist()


def assert_learned(generation, examples=EXAMPLES):
    for row, example in zip(generation, examples, strict=True):
        target = example.segments[-1]
        if row.kind == "audio":
            assert torch.equal(row.codes, target.codes)
        else:
            assert tuple(row.ids.tolist()) == target.ids
        assert row.finish == "end" and row.ended and row.confidence > 0.5


@pytest.mark.parametrize("cache", ["static", "dynamic"])
def test_greedy_gives_what_was_learned_and_stops_by_its_own_end(learned, cache):
    out = learned.lm.generate(
        **learned.prompts(), eos_id=EOS, audio_sampling=GREEDY, cache=cache, max_frames=40
    )
    assert_learned(out)


def test_the_same_after_saving_and_loading(learned, tmp_path):
    learned.lm.save_pretrained(tmp_path)
    again = AudioLM.from_pretrained(tmp_path)
    assert_learned(again.generate(**learned.prompts(), eos_id=EOS, audio_sampling=GREEDY))


@pytest.mark.parametrize(
    "cache, guidance_scale", [("static", 1.0), ("static", 2.5), ("dynamic", 1.0)]
)
def test_a_batch_is_its_rows(learned, cache, guidance_scale):
    options = dict(LOOSE, cache=cache, guidance_scale=guidance_scale)
    together = learned.lm.generate(**learned.prompts(), seeds=[5, 6, 7, 8], **options)
    for number, example in enumerate(EXAMPLES):
        alone = learned.lm.generate(**learned.prompts([example]), seed=5 + number, **options)
        assert same(alone[0], together[number])
        assert alone[0].steps == together[number].steps
        assert alone[0].log_probability == pytest.approx(together[number].log_probability, abs=1e-3)
    again = learned.lm.generate(**learned.prompts(), seed=5, **options)
    assert all(same(a, b) for a, b in zip(together, again, strict=True))


def test_padding_may_be_on_either_side(depth):
    rows = [depth.prompt(example) for example in EXAMPLES]
    left, right = (
        depth.lm.generate(**depth.batch(*rows, side=s), **LOOSE) for s in ("left", "right")
    )
    assert all(same(a, b) for a, b in zip(left, right, strict=True))


def test_other_seeds_give_other_codes(depth):
    batch = depth.prompts([EXAMPLES[0]] * 3)
    a, b, c = depth.lm.generate(**batch, seeds=[1, 1, 2], **LOOSE)
    assert same(a, b) and not same(a, c)
    assert (a.seed, c.seed) == (1, 2)
    torch.manual_seed(0)
    free = depth.lm.generate(**batch, **LOOSE, seed=None)
    torch.manual_seed(0)
    again = depth.lm.generate(**batch, **LOOSE, seed=None)
    assert all(same(x, y) for x, y in zip(free, again, strict=True))


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_loop_agrees_with_plain_recomputation(pattern, scale):
    """Against the simplest loop there is: no cache, no batch, one row at a time."""
    lm = toy_lm(pattern=pattern, seed=4)
    (prompt,) = read_prompts(_prompt(lm, toy_codes(4, seed=8))["input_ids"], None, lm.config)
    free = without_condition(prompt, lm.config)
    grid, frames = layout(lm.config), 7
    out = lm.generate(
        prompt.rows[None], audio_sampling=GREEDY, guidance_scale=scale, min_frames=frames,
        max_frames=frames, guards=None,
    )[0]  # fmt: skip
    rows = prompt.prefix
    text = torch.full((1, 1), lm.embedding.vocabulary.text_empty)
    while grid.revert(rows).shape[1] < 4 + frames:
        streams = grid.streams(len(rows), 4 + frames)
        hidden = [
            lm.advance(torch.cat([p.rows[: p.opening + 1], _with(text, rows)])[None])[:, -1]
            for p in (prompt, free)
        ]

        ending = len(rows) == grid.end_row(4 + frames)

        def choose(stream, logits, ending=ending):
            if stream == 0 and ending:
                return torch.full((2,), grid.end)
            given, without = logits
            ids = (without + scale * (given - without))[:16].argmax()
            return ids.repeat(2)

        row = lm.heads.sample(torch.cat(hidden), choose, range(max(streams, default=0) + 1))[:1]
        row = row.where(torch.tensor([[k in streams for k in range(3)]]), grid.empty)
        if ending:
            row[0, 0] = grid.end
        rows = torch.cat([rows, row])
    assert torch.equal(out.codes, grid.revert(rows)) and out.finish == "max_length"


def _with(text, rows):
    return torch.cat([text.expand(len(rows), 1), rows], dim=1)


def _prompt(lm, prefix=None):
    example = toy_example("tts", seed=5)
    beginning = None if prefix is None else AudioSegment(prefix)
    rows = build_prompt(
        "tts", example.segments[:1], "audio", lm.config, frames_per_query=6, eos_id=EOS,
        prefix=beginning,
    )  # fmt: skip
    return {"input_ids": rows[None]}


def test_guidance_of_one_is_no_guidance(learned, monkeypatch):
    monkeypatch.setattr(sampling, "_PLAUSIBLE", 1e30)  # hot sampling takes what is not plausible
    plain = learned.lm.generate(**learned.prompts(), **LOOSE)
    guided = learned.lm.generate(**learned.prompts(), **LOOSE, guidance_scale=1)
    strong = learned.lm.generate(**learned.prompts(), **LOOSE, guidance_scale=1.0001)
    assert all(same(a, b) for a, b in zip(plain, guided, strict=True))
    # The guided way through the code, with next to no guidance.
    assert all(same(a, b) for a, b in zip(plain, strong, strict=True))


def test_given_unconditional_prompts_are_the_withheld_ones(depth):
    prompts = [depth.prompt(example, drop_condition=True) for example in EXAMPLES]
    free = depth.batch(*prompts)
    given = depth.lm.generate(
        **depth.prompts(), **LOOSE, guidance_scale=2, unconditional_ids=free["input_ids"],
        unconditional_mask=free["attention_mask"],
    )  # fmt: skip
    derived = depth.lm.generate(**depth.prompts(), **LOOSE, guidance_scale=2)
    assert all(same(a, b) for a, b in zip(given, derived, strict=True))


def test_a_beginning_is_continued(learned):
    examples = (EXAMPLES[0], EXAMPLES[2], EXAMPLES[0])
    lengths = (5, 2, 0)
    prompts = [
        learned.prompt(example, example.segments[-1].codes[:, :count])
        for example, count in zip(examples, lengths, strict=True)
    ]
    out = learned.lm.generate(**learned.batch(*prompts), audio_sampling=GREEDY)
    assert_learned(out, examples)
    assert tuple(row.prefix for row in out) == lengths
    for row, example, count in zip(out, examples, lengths, strict=True):
        assert torch.equal(row.content, example.segments[-1].codes[:, count:])


def test_a_text_is_continued(depth):
    example = EXAMPLES[1]
    ids = example.segments[-1].ids
    rows = torch.cat([depth.prompt(example), text_rows(ids[:2], depth.lm.config)])
    row = depth.lm.generate(rows[None], eos_id=EOS)[0]
    assert tuple(row.ids.tolist()) == ids and row.prefix == 2
    assert tuple(row.content.tolist()) == ids[2:]


def test_special_ids_are_never_chosen(learned):
    examples = [toy_example(task, seed=s) for s in range(6) for task in ("tts", "asr")]
    out = learned.lm.generate(
        **learned.prompts(examples),
        eos_id=EOS,
        audio_sampling=SamplingConfig(temperature=50.0),
        text_sampling=SamplingConfig(temperature=50.0),
        forbidden_text_ids=range(2, 30),
        max_frames=30,
        max_text_tokens=30,
        min_frames=3,
    )
    for row in out:
        assert row.finish in ("end", "max_length")
        if row.kind == "audio":
            assert row.codes.shape[1] >= 3
            assert 0 <= int(row.codes.min()) and int(row.codes.max()) < 16
        else:
            assert not {EOS, *range(2, 30)} & set(row.ids.tolist())
    lengths = {row.content.shape[-1] for row in out}
    assert len(lengths) > 3  # ends were drawn here and there


def test_the_model_is_left_as_it_was(depth):
    depth.lm.train()
    depth.lm.embedding.eval()
    seen = []
    out = depth.lm.generate(
        **depth.prompts(), eos_id=EOS, audio_sampling=GREEDY,
        on_row=lambda number, row: seen.append((number, row)),
    )  # fmt: skip
    assert depth.lm.training and not depth.lm.embedding.training
    depth.lm.eval()
    assert torch.is_grad_enabled()
    by_length = sorted(range(4), key=lambda number: (out[number].steps, number))
    assert [number for number, _ in seen] == by_length
    assert all(out[number] is row for number, row in seen)
    assert [row.kind for row in out] == ["audio", "text", "audio", "text"]
    with pytest.raises(ValueError, match="no codes: its target is text"):
        _ = out.codes


def test_bfloat16_gives_what_was_learned(depth, tmp_path):
    depth.lm.save_pretrained(tmp_path)
    lm = AudioLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    out = lm.generate(**depth.prompts(), eos_id=EOS, audio_sampling=GREEDY)
    assert_learned(out)


def test_scores_agree_with_generation(learned):
    out = learned.lm.generate(**learned.prompts(), eos_id=EOS, audio_sampling=GREEDY)
    scores = score(learned.lm, [learned.sequence(example) for example in EXAMPLES], batch_size=3)
    for row, value in zip(out, scores, strict=True):
        assert value.log_probability == pytest.approx(row.log_probability, abs=1e-4)
        assert value.num_targets == row.num_choices
        assert value.confidence == pytest.approx(row.confidence, abs=1e-5)
    other = [learned.sequence(toy_example("tts", seed=50))]
    assert score(learned.lm, other)[0].mean < min(value.mean for value in scores)


def test_scores_of_untrained_codes_are_the_loss(depth):
    lm = toy_lm(first_codebook_weight=1.0)
    sequences = [depth.sequence(example) for example in EXAMPLES[:2]]
    batch = collate([Sequence(s.input_ids, s.labels) for s in sequences], lm.config)
    values = score(lm, sequences)
    loss = lm(**batch).losses
    text = [v for v in values if v.text]
    assert len(text) == 1
    torch.testing.assert_close(float(loss["text"]), -text[0].text / 6, atol=1e-4, rtol=0)
    audio = next(v for v in values if not v.text)
    torch.testing.assert_close(float(loss["audio_1"]), -audio.audio[0] / 10, atol=1e-4, rtol=0)
