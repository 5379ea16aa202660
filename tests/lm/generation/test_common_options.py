"""`generate` in the words of transformers: the same as in ours, or refused with the counterpart."""

import pytest
import torch
from transformers import AutoModel, GenerationConfig, MaxLengthCriteria, TextStreamer
from transformers.generation.streamers import BaseStreamer

from almtok.lm.generation.sampling import AUDIO_SAMPLING, GREEDY, SamplingConfig
from almtok.lm.generation.settings import BeamSettings

from ..toy import EOS, toy_lm
from .conftest import EXAMPLES

TTS, ASR = EXAMPLES[0], EXAMPLES[1]


def same(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert (one.kind, one.finish, one.seed) == (other.kind, other.finish, other.seed)
        values = [row.codes if row.ids is None else row.ids for row in (one, other)]
        assert torch.equal(*values)


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (dict(max_new_tokens=3), dict(max_frames=3, max_text_tokens=3)),
        (dict(min_new_tokens=15), dict(min_frames=15, min_text_tokens=15)),
        (dict(do_sample=False), dict(audio_sampling=GREEDY, text_sampling=GREEDY)),
        (
            dict(do_sample=True, temperature=3.0, top_k=12, top_p=0.9),
            dict(
                audio_sampling=SamplingConfig(temperature=3.0, top_k=12, top_p=0.9),
                text_sampling=SamplingConfig(temperature=3.0, top_k=12, top_p=0.9),
            ),
        ),
        (
            dict(temperature=3.0),
            dict(audio_sampling=SamplingConfig(temperature=3.0, top_k=AUDIO_SAMPLING.top_k)),
        ),
        (dict(cache_implementation="dynamic"), dict(cache="dynamic")),
        (dict(guidance_scale=2.0), dict(guidance_scale=2.0)),
    ],
)
def test_words_of_transformers_mean_the_same(learned, words, ours):
    lm, prompts = learned.lm, learned.prompts()
    limits = {} if "min_new_tokens" in words or "max_new_tokens" in words else {"max_frames": 14}
    ours = lm.generate(**prompts, eos_id=EOS, seed=3, **limits, **ours)
    same(lm.generate(**prompts, eos_token_id=EOS, pad_token_id=0, seed=3, **limits, **words), ours)
    config = GenerationConfig(eos_token_id=EOS, **words)
    same(lm.generate(**prompts, seed=3, **limits, generation_config=config), ours)


def test_several_targets_of_a_prompt_are_targets_of_their_own(learned):
    lm = learned.lm
    options = dict(eos_id=EOS, temperature=3.0, max_new_tokens=9)
    out = lm.generate(**learned.prompts((TTS, TTS)), num_return_sequences=3, seed=5, **options)
    assert [row.seed for row in out] == list(range(5, 11))
    alone = lm.generate(**learned.prompts((TTS,) * 6), seed=5, **options)
    same(out, alone)


def test_sequences_are_those_of_the_rows(learned):
    lm = learned.lm
    out = lm.generate(**learned.prompts((TTS, EXAMPLES[2])), eos_id=EOS, do_sample=False)
    codes = out["sequences"]
    assert codes.shape == (2, 3, max(row.codes.shape[-1] for row in out))
    for row, values in zip(out, codes, strict=True):
        count = row.codes.shape[-1]
        assert torch.equal(values[:, :count], row.codes) and (values[:, count:] == -1).all()
    lone = lm.generate(
        **learned.prompts((ASR,)), eos_id=EOS, return_dict_in_generate=False, do_sample=False
    )
    assert tuple(lone[0].tolist()) == ASR.segments[-1].ids
    mixed = lm.generate(**learned.prompts(), eos_id=EOS, do_sample=False)
    assert "sequences" not in mixed
    with pytest.raises(ValueError, match="got both"):
        mixed.sequences  # noqa: B018


class Collected(BaseStreamer):
    def __init__(self):
        self.values, self.ended = [], False

    def put(self, value):
        self.values.append(value.flatten().tolist())

    def end(self):
        self.ended = True


def test_a_streamer_is_given_the_ids_of_a_text_one_by_one(learned):
    streamer = Collected()
    out = learned.lm.generate(**learned.prompts((ASR,)), eos_id=EOS, streamer=streamer)
    assert streamer.values == [[]] + [[i] for i in out[0].ids.tolist()] and streamer.ended
    with pytest.raises(ValueError, match="streamer must be for one text.*streaming for audio"):
        learned.lm.generate(**learned.prompts((TTS,)), eos_id=EOS, streamer=streamer)


def test_a_text_streamer_of_transformers_prints_the_text(learned, capsys):
    class Tokenizer:
        def decode(self, ids, **_):
            return "".join(f"<{i}>" for i in ids)

    streamer = TextStreamer(Tokenizer())
    out = learned.lm.generate(**learned.prompts((ASR,)), eos_id=EOS, streamer=streamer)
    assert capsys.readouterr().out.strip() == "".join(f"<{i}>" for i in out[0].ids.tolist())


@pytest.mark.parametrize("example", [TTS, ASR], ids=["audio", "text"])
def test_stopping_criteria_end_a_target(learned, example):
    prompts = learned.prompts((example, EXAMPLES[3]))
    whole = learned.lm.generate(**prompts, eos_id=EOS, do_sample=False)
    out = learned.lm.generate(
        **prompts, eos_id=EOS, do_sample=False, stopping_criteria=[MaxLengthCriteria(4)]
    )
    for row, full in zip(out, whole, strict=True):
        values, longer = (r.codes if r.ids is None else r.ids for r in (row, full))
        assert row.finish == "stopping_criteria"
        assert values.shape[-1] >= 4 and torch.equal(values, longer[..., : values.shape[-1]])
        assert values.shape[-1] <= 4 + len(longer.shape)  # a frame of `delay` ends rows later


def test_beams(learned):
    lm = toy_lm(ctc_weight=1.0)
    lm.config.pad_token_id = 0
    prompts = learned.prompts((ASR,))
    words = dict(eos_id=EOS, max_new_tokens=6)
    same(lm.generate(**prompts, num_beams=3, **words), lm.generate(
        **prompts, beam=BeamSettings(beams=3), **words
    ))  # fmt: skip
    with pytest.raises(ValueError, match="num_beams must be 1 for audio: use num_return_seq"):
        lm.generate(**learned.prompts((TTS,)), num_beams=3, **words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(max_length=20), "takes no max_length: use max_new_tokens"),
        (dict(bad_words_ids=[[3]]), "takes no bad_words_ids: use forbidden_text_ids"),
        (dict(typical_p=0.5), "takes no typical_p"),
        (dict(max_new_tokens=3, max_frames=4), "max_frames must be given once"),
        (dict(eos_token_id=[1, 2]), "eos_token_id must be one id"),
        (dict(num_beams=2, do_sample=True), "do_sample must be False with num_beams"),
        (dict(num_return_sequences=2, seeds=[1]), "num_return_sequences must be 1 with seeds"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, words):
    from .conftest import Learned

    learned = Learned(toy_lm())
    with pytest.raises(ValueError, match=words):
        learned.lm.generate(**learned.prompts((ASR,)), **{"eos_id": EOS, **options})


def test_defaults_of_the_model_are_saved_and_give_way(tmp_path, learned):
    lm = toy_lm()
    lm.generation_config.update(max_new_tokens=2, do_sample=False)
    lm.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    prompts = learned.prompts((TTS,))
    assert again.generate(**prompts)[0].codes.shape[-1] == 2
    assert again.generate(**prompts, min_new_tokens=5, max_new_tokens=5)[0].codes.shape[-1] == 5
    assert again.generate(**prompts, min_frames=6, max_frames=6)[0].codes.shape[-1] == 6
    sampled = again.generate(**prompts, audio_sampling=SamplingConfig(temperature=9.0))
    assert not torch.equal(sampled[0].codes, again.generate(**prompts)[0].codes)
