"""The harness: same clips for all, resumable, failures counted, tables."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from almtok.codec.evaluation import harness, markdown, table
from almtok.codec.evaluation.codecs import CodecResult
from almtok.codec.evaluation.results import ClipResult, ResultStore, pack_codes, unpack_codes
from almtok.core.files import file_name

from ...pace import wait_until
from .conftest import RATE, NoisyCodec, make_voice

pytest.importorskip("pesq")


def run(codec, clips, out, **options):
    return harness.evaluate_codec(codec, clips, out, progress=False, **options)


def test_speech_scores_only_where_speech(clips, tmp_path):
    results = {r.id: r for r in run(NoisyCodec(), clips, tmp_path)}
    assert "pesq_wb" in results["speech/0"].scores
    assert set(results["music/0"].scores) == {"mel", "mel_4k", "stft", "si_sdr"}
    assert results["music/1"].peak_mb > 10
    assert unpack_codes(results["music/1"].codes).shape == (2, 100)


def test_a_second_run_does_nothing_and_a_third_finishes(clips, tmp_path):
    first = run(NoisyCodec(), clips[:2], tmp_path)
    again = NoisyCodec()
    assert run(again, clips[:2], tmp_path) == first
    assert again.calls == 0
    more = NoisyCodec()
    assert run(more, clips, tmp_path)[:2] == first
    assert more.calls == 3  # one to warm up, two new clips


def test_a_line_cut_short_is_done_again(clips, tmp_path):
    whole = run(NoisyCodec(), clips, tmp_path)
    path = tmp_path / "clips" / "noisy.jsonl"
    text = path.read_bytes()
    path.write_bytes(text[: len(text) - 40])
    after = run(NoisyCodec(), clips, tmp_path)
    assert [r.scores for r in after] == [r.scores for r in whole]
    assert len(path.read_bytes().splitlines()) == 5
    path.write_bytes(text[:20])  # killed while the very first line was written
    assert [r.scores for r in run(NoisyCodec(), clips, tmp_path)] == [r.scores for r in whole]


def test_results_of_other_data_or_coders_are_refused(clips, tmp_path):
    run(NoisyCodec(), clips[:1], tmp_path, data="a")
    with pytest.raises(ValueError, match="other settings .data"):
        run(NoisyCodec(), clips[:1], tmp_path, data="b")
    other = NoisyCodec()
    other.kbps = 9.0
    with pytest.raises(ValueError, match="other settings .kbps"):
        run(other, clips[:1], tmp_path, data="a")


def test_failures_are_counted_and_listed(clips, tmp_path):
    results = run(NoisyCodec(longest=1.5), clips, tmp_path)
    assert [r.error is None for r in results] == [True, False, True, False]
    row = table.summarise([(NoisyCodec(), results)]).codecs[0]
    assert set(row.failed) == {"speech/1", "music/1"}
    assert row.clips == 4 and row.domains["speech"].scores["mel"].n == 1
    text = markdown.to_markdown(table.summarise([(NoisyCodec(), results)]))
    assert "failed: noisy, speech/1: MemoryError: 48000 samples do not fit" in text
    # They stay failed until somebody asks for another try.
    calm = NoisyCodec()
    assert run(calm, clips, tmp_path)[1].error is not None and calm.calls == 0
    assert run(NoisyCodec(), clips, tmp_path, retry_failed=True)[1].error is None


def test_wrong_lengths_and_nan_are_failures(clips, tmp_path):
    class Short(NoisyCodec):
        def code(self, wav):
            return CodecResult(wav[:-1], None, 1, 0.0, 0.0)

    class Broken(NoisyCodec):
        def code(self, wav):
            return CodecResult(np.full_like(wav, np.nan), None, 1, 0.0, 0.0)

    assert "(23999,)" in run(Short("short"), clips[:1], tmp_path)[0].error
    assert "not finite" in run(Broken("broken"), clips[:1], tmp_path)[0].error


def test_other_rates_and_kept_audio(clips, tmp_path):
    from almtok.core.audio import read_audio

    result = run(NoisyCodec(level=0.0, sample_rate=16_000), clips[:2], tmp_path,
                 keep_audio={"speech/0"})  # fmt: skip
    assert result[0].scores["mel_4k"] < 0.2
    kept = list((tmp_path / "audio" / "noisy").iterdir())
    assert [path.name for path in kept] == [f"{file_name('speech/0')}.flac"]
    assert read_audio(kept[0]).size == RATE


def test_codes_survive_packing():
    codes = np.random.default_rng(0).integers(0, 2048, (3, 37))
    assert np.array_equal(unpack_codes(pack_codes(codes)), codes)
    assert pack_codes(None) is None


def test_paired_differences_and_intervals(clips, tmp_path):
    good, bad = NoisyCodec("good", 0.001), NoisyCodec("bad", 0.05)
    rows = [(codec, run(codec, clips, tmp_path)) for codec in (good, bad)]
    summary = table.summarise(rows, reference="bad", not_run={"absent": "not installed"})
    first = summary.codecs[0].domains["speech"].differences["pesq_wb"]
    assert first.difference.mean > 0 and first.clear and first.higher == 1.0
    assert summary.codecs[1].domains["speech"].differences == {}
    text = markdown.to_markdown(summary)
    assert "**+" in text and "not run: absent: not installed" in text and "PESQ-WB" in text
    assert json.loads(json.dumps(summary.to_dict()))["reference"] == "bad"
    assert summary.codecs[0].rtf_encode == pytest.approx(4 * 0.01 / 6)
    with pytest.raises(ValueError, match="good, bad"):
        table.summarise(rows, reference="ugly")


def test_missing_scores_are_counted(tmp_path):
    silent = [
        harness.EvaluationClip("quiet", "speech", 1.0, lambda: np.zeros(RATE, np.float32)),
        harness.EvaluationClip("loud", "speech", 1.0, lambda: make_voice(1.0)),
    ]
    rows = run(NoisyCodec(), silent, tmp_path)
    summary = table.summarise([(NoisyCodec(), rows)])
    assert summary.codecs[0].domains["speech"].scores["stoi"].n == 1
    assert "no STOI: noisy, speech, 1 clips: the original is silent" in markdown.to_markdown(
        summary
    )


def test_kill_minus_nine_loses_at_most_the_clip_in_hand(tmp_path):
    script = textwrap.dedent(
        f"""
        import time
        from almtok.codec.evaluation.results import ClipResult, ResultStore
        store = ResultStore({str(tmp_path / "r.jsonl")!r}, {{"a": 1}})
        for number in range(10_000):
            store.add(ClipResult(str(number), "speech", 1.0, scores={{"mel": 1.0}}))
            time.sleep(0.001)
        """
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    path = tmp_path / "r.jsonl"
    wait_until(lambda: path.exists() and path.stat().st_size >= 5000)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    store = ResultStore(path, {"a": 1})
    count = len(store.results)
    assert count > 10 and set(store.results) == {str(n) for n in range(count)}
    store.add(ClipResult("one more", "speech", 1.0))
    assert len(ResultStore(path, {"a": 1}).results) == count + 1


def test_clips_of_similar_names_keep_their_own_audio(clips, tmp_path):
    names = ["a/b", "a b", "a_b", "ä" * 300]
    some = [dataclasses.replace(clips[0], id=name) for name in names]
    run(NoisyCodec(), some, tmp_path, keep_audio=set(names))
    assert len(list((tmp_path / "audio" / "noisy").iterdir())) == 4
