"""Codes on disk are the codec's codes, whatever happens on the way."""

import dataclasses
import json
import os
import subprocess

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.refine import CodeRefiner
from almtok.codec.refine_config import BY_SPECTRA
from almtok.core.audio import read_audio
from almtok.lm.audio_input import AudioInput
from almtok.lm.config import AudioLMConfig
from almtok.lm.data import TokenDataset, TokenizeConfig, tokenize_corpus
from almtok.lm.data.shards import read_info, shard_path

from .conftest import contents, replaced

# Imports once, then a child for each moment dies by SIGKILL around its third rename.
KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from almtok.codec.model import ALMTokenizer
from almtok.lm.data import TokenizeConfig, tokenize_corpus
corpus, checkpoint, out = sys.argv[1:]
codec = ALMTokenizer.from_pretrained(checkpoint).eval()
config = TokenizeConfig(rows_per_shard=3, batch_seconds=1.5, buffer_seconds=2.0)
replace = os.replace
def die(moment):
    calls = 0
    def dying_replace(*names):
        nonlocal calls
        calls += 1
        if calls == 3 and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*names)
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    os.replace = dying_replace
    tokenize_corpus([corpus], codec, os.path.join(out, moment), config, progress=False)
for moment in ("before", "after"):
    child = os.fork()
    if child == 0:
        die(moment)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
"""


def run(codec, sources, out, config, **options):
    sources = sources if isinstance(sources, list) else [sources]
    return tokenize_corpus(sources, codec, out, config, progress=False, **options)


def test_rows_are_what_the_codec_says_alone(tokens, corpus, codec):
    """Batched, padded, sorted: the same codes as one file at a time."""
    rows = TokenDataset(tokens)
    assert [rows[n].id for n in range(len(rows))] == [f"r{n:02d}" for n in range(10)]
    assert len({tuple(rows[n].codes.flatten().tolist()) for n in range(10)}) == 10
    for n in range(10):
        expected = codec.tokenize(corpus / f"{n:02d}.wav")
        got = rows[n].tokens
        assert torch.equal(got.codes, expected.codes)
        assert (got.num_samples, got.frames_per_query) == (expected.num_samples, 6)
        assert got.fingerprint == expected.fingerprint and got.sample_rate == 24_000
        assert rows[n].duration == pytest.approx(expected.duration)
        assert rows[n].text == f"words of row {n}" and rows[n].split in ("train", "valid")


def test_killed_and_started_again_leaves_the_same_files(
    tokens, corpus, codec, checkpoint, config, tmp_path, quiet_environment, python
):
    words = [python, "-c", KILLED, str(corpus), str(checkpoint), str(tmp_path)]
    died = subprocess.run(words, env=quiet_environment, capture_output=True, text=True)
    assert died.returncode == 0, died.stderr[-2000:]
    for moment, shards, asides in (("before", 2, 1), ("after", 3, 0)):
        folder = tmp_path / moment
        done = contents(folder)
        assert len(done) == shards and len(list(folder.glob("*.tmp-*"))) == asides
        stamps = {name: (folder / name).stat().st_mtime_ns for name in done}
        run(codec, corpus, folder, config)
        assert contents(folder) == contents(tokens)
        assert all((folder / name).stat().st_mtime_ns == at for name, at in stamps.items())
        assert not list(folder.glob("*.tmp-*"))


def test_two_processes_leave_the_files_of_one(tokens, corpus, checkpoint, tmp_path, python):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = [
        *(
            "--no-python",
            python,
            "-m",
            "almtok",
            "lm",
            "tokenize",
            str(corpus),
            "--checkpoint",
            str(checkpoint),
        ),
        *("--out", str(tmp_path), "--rows-per-shard", "3", "--batch-seconds", "3"),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [python, *launch, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert contents(tmp_path) == contents(tokens)
    assert "10 rows" in done.stdout and done.stdout.count("10 rows") == 1
    assert "audio/s" in done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == 10


def test_batch_size_and_buffers_do_not_matter(tokens, corpus, codec, config, tmp_path):
    other = replaced(config, batch_seconds=100.0, buffer_seconds=100.0, threads=1)
    run(codec, corpus, tmp_path, other)
    assert contents(tmp_path) == contents(tokens)


def test_bad_recordings_are_skipped_counted_and_listed(make, codec, config, tmp_path):
    folder = tmp_path / "mixed"
    make.wav(folder / "good.wav")
    (folder / "corrupt.wav").write_bytes(b"no audio" * 50)
    (folder / "empty.wav").touch()
    soundfile.write(folder / "silent.wav", np.zeros(24_000), 24_000)
    make.wav(folder / "short.wav", 0.05)
    make.wav(folder / "long.wav", 3.0)
    wav = make.noise(0.5)
    wav[3] = np.nan
    soundfile.write(folder / "nan.wav", wav, 24_000, subtype="FLOAT")
    rows = [{"audio": f"{path.name}"} for path in sorted(folder.iterdir())] + [{"audio": "no.wav"}]
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run(codec, folder, tmp_path / "out", replaced(config, max_seconds=2.0))
    assert result.rows == 1
    assert {item.id.split(".")[0]: item.reason for item in result.skipped} == {
        "corrupt": "corrupt", "empty": "empty", "long": "too_long", "nan": "nan",
        "no": "missing", "short": "too_short", "silent": "silent",
    }  # fmt: skip
    assert TokenDataset(tmp_path / "out")[0].id == "good.wav"


def test_nothing_usable_says_why(codec, config, tmp_path):
    folder = tmp_path / "silence"
    folder.mkdir()
    for n in range(4):
        soundfile.write(folder / f"{n}.wav", np.zeros(24_000), 24_000)
    for _ in range(2):  # the second time from the shards
        with pytest.raises(ValueError, match=r"none of 4 recordings is usable: 4 silent .*0.wav"):
            run(codec, folder, tmp_path / "out", config)


def test_another_plan_is_refused_or_overwritten(tokens, corpus, codec, config, tmp_path):
    run(codec, corpus, tmp_path, config)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="other sources or options .*--overwrite"):
        run(codec, f"{corpus}:train", tmp_path, config)
    assert contents(tmp_path) == before
    result = run(codec, f"{corpus}:train", tmp_path, config, overwrite=True)
    assert result.rows == 8 and len(contents(tmp_path)) == 3


def test_tokens_of_another_codec_are_refused_with_both_names(codec, corpus, config, tmp_path, make):
    make.shards(tmp_path, [{}], fingerprint="another")
    with pytest.raises(ValueError, match=f"codec another, this is codec {codec.fingerprint}"):
        run(codec, corpus, tmp_path, config)


def test_a_damaged_shard_is_made_again(tokens, corpus, codec, config, tmp_path):
    run(codec, corpus, tmp_path, config)
    path = shard_path(tmp_path, 1)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"", _with_a_flipped_code(whole)):
        path.write_bytes(broken)
        run(codec, corpus, tmp_path, config)
        assert contents(tmp_path) == contents(tokens)


def _with_a_flipped_code(data: bytes) -> bytes:
    broken = bytearray(data)
    broken[len(data) // 20] ^= 0xFF
    return bytes(broken)


def test_another_rate(corpus, codec, config, tmp_path):
    run(codec, f"{corpus}:valid", tmp_path, replaced(config, frames_per_query=3))
    row = TokenDataset(tmp_path)[0]
    expected = codec.tokenize(corpus / "04.wav", frames_per_query=3)
    assert row.frames_per_query == 3 and torch.equal(row.codes, expected.codes)


def test_loudness_changes_the_plan_and_the_codes(corpus, codec, config, tmp_path):
    run(codec, f"{corpus}:valid", tmp_path, replaced(config, loudness_dbfs=-40.0))
    wav = torch.from_numpy(read_audio(corpus / "04.wav"))
    assert not torch.equal(TokenDataset(tmp_path)[0].codes, codec.tokenize(wav, 24_000).codes)
    with pytest.raises(ValueError, match="other sources or options"):
        run(codec, f"{corpus}:valid", tmp_path, config)


def test_two_passes_are_what_the_codes_sound_like(corpus, codec, config, tmp_path):
    """What is heard of speech that a model made: of its sound, not of its codes."""
    run(codec, f"listening={corpus}:valid", tmp_path, replaced(config, passes=2))
    for row in TokenDataset(tmp_path, domain="listening"):
        once = codec.tokenize(corpus / f"{row.id[1:]}.wav")
        twice = codec.tokenize(codec.detokenize(once), 24_000)
        assert torch.equal(row.codes, twice.codes) and row.tokens.num_samples == once.num_samples
    with pytest.raises(ValueError, match="passes must be positive, got 0"):
        replaced(config, passes=0)


def test_short_recordings_are_searched_for_and_long_ones_are_not(
    corpus, codec, config, tmp_path, monkeypatch
):
    lengths = sorted(len(read_audio(path)) / 24_000 for path in corpus.glob("*.wav"))
    most = lengths[len(lengths) // 2 - 1]
    quick = dataclasses.replace(BY_SPECTRA, steps=3)
    monkeypatch.setattr("almtok.lm.data.tokenize.BY_SPECTRA", quick)
    run(codec, str(corpus), tmp_path, replaced(config, search_seconds=most))
    search, rows = CodeRefiner(codec, quick), TokenDataset(tmp_path)
    plain = {row.id: codec.tokenize(corpus / f"{row.id[1:]}.wav").codes for row in rows}
    others = {row.id for row in rows if not torch.equal(row.codes, plain[row.id])}
    assert others and others <= {row.id for row in rows if row.duration <= most} != set(plain)
    for row in rows:
        short = row.duration <= most
        way = search if short else codec
        assert torch.equal(row.codes, way.tokenize(corpus / f"{row.id[1:]}.wav").codes)
    with pytest.raises(ValueError, match="other sources or options"):
        run(codec, str(corpus), tmp_path, config)
    with pytest.raises(ValueError, match="search_seconds .*; got 2 with passes 2"):
        replaced(config, search_seconds=2, passes=2)


def test_what_a_model_is_given_later_is_at_the_level_of_its_training(
    corpus, codec, config, tmp_path
):
    """The same codes from the shard, from the file, and from the file at another level."""
    run(codec, f"{corpus}:valid", tmp_path, replaced(config, loudness_dbfs=-40.0))
    (info,) = {read_info(path).loudness_dbfs for path in tmp_path.glob("*.parquet")}
    row, wav = TokenDataset(tmp_path)[0], torch.from_numpy(read_audio(corpus / "04.wav", 24_000))
    lm = AudioLMConfig.preset(
        "tiny", codebook_size=codec.codebook_size, num_codebooks=codec.num_codebooks,
        codec_fingerprint=codec.fingerprint, loudness_dbfs=info,
    )  # fmt: skip
    given = AudioInput(lm, codec)
    for audio in (str(corpus / "04.wav"), wav, 0.3 * wav):
        came = given.tokens(audio, frames_per_query=row.frames_per_query)
        assert torch.equal(came.codes, row.codes)
    silent = given.tokens(0 * wav, frames_per_query=row.frames_per_query)
    assert torch.equal(silent.codes, codec.tokenize(0 * wav).codes)


def test_recordings_of_two_levels_are_not_mixed(make, tmp_path):
    make.shards(tmp_path / "a", [{}], loudness=-20.0)
    make.shards(tmp_path / "b", [{}])
    with pytest.raises(ValueError, match="two levels .* --loudness -20.0, .* with None"):
        TokenDataset([tmp_path / "a", tmp_path / "b"])


def test_the_schema_says_what_the_codes_are(tokens, codec):
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(shard_path(tokens, 0))
    assert str(schema.field("codes").type) in ("list<element: uint16>", "list<item: uint16>")
    said = json.loads(schema.metadata[b"almtok"])
    assert said["fingerprint"] == codec.fingerprint == read_info(shard_path(tokens, 0)).fingerprint
    assert (said["sample_rate"], said["num_codebooks"], said["codebook_size"]) == (24_000, 3, 16)


def test_hugging_face_datasets_reads_the_shards(tokens):
    import datasets

    rows = datasets.load_dataset(
        "parquet", data_files=[str(path) for path in sorted(tokens.glob("*.parquet"))],
        split="train", streaming=True,
    )  # fmt: skip
    first = next(iter(rows))
    assert first["id"] == "r00" and len(first["codes"]) == 3 * first["num_frames"]


def test_options_that_make_no_sense():
    with pytest.raises(ValueError, match="min_seconds 5"):
        TokenizeConfig(min_seconds=5, max_seconds=2)
    with pytest.raises(ValueError, match="rows_per_shard must be positive"):
        TokenizeConfig(rows_per_shard=0)
    with pytest.raises(ValueError, match="frames_per_query"):
        TokenizeConfig(frames_per_query=0)


def test_variants_are_played_faster_and_slower_by_other_names(corpus, codec, tmp_path):
    config = TokenizeConfig(vary=0.2, seed=5)
    run(codec, corpus, tmp_path / "one", config)
    run(codec, corpus, tmp_path / "again", TokenizeConfig(vary=0.2, seed=5, threads=1))
    run(codec, corpus, tmp_path / "other", TokenizeConfig(vary=0.2, seed=6))
    one, again, other = (TokenDataset(tmp_path / name) for name in ("one", "again", "other"))
    speeds = []
    for n in range(len(one)):
        assert one[n].id == again[n].id and torch.equal(one[n].codes, again[n].codes)
        name, _, speed = one[n].id.partition("@")
        speeds.append(float(speed))
        wav = read_audio(corpus / f"{name.removeprefix('r')}.wav", 24_000)
        assert one[n].duration == pytest.approx(len(wav) / 24_000 / float(speed), abs=0.001)
        assert one[n].speaker == "" and one[n].text == f"words of row {int(name[1:])}"
    assert 1 / 1.2 <= min(speeds) < 0.95 < 1.05 < max(speeds) <= 1.2
    assert [row.id for row in map(other.__getitem__, range(len(other)))] != [
        one[n].id for n in range(len(one))
    ]
    with pytest.raises(ValueError, match=r"vary must lie in \[0, 1\], such as 0.1; got 10"):
        TokenizeConfig(vary=10)


def test_augmented_recordings_have_other_names_and_other_codes(corpus, codec, tmp_path):
    config = TokenizeConfig(augment={"room": 1.0, "noise": 1.0}, seed=5)
    run(codec, corpus, tmp_path / "plain", TokenizeConfig())
    run(codec, corpus, tmp_path / "one", config)
    run(codec, corpus, tmp_path / "again", dataclasses.replace(config, threads=1))
    plain, one, again = (TokenDataset(tmp_path / name) for name in ("plain", "one", "again"))
    assert len(plain) == len(one)
    for n in range(len(one)):
        assert one[n].id == again[n].id == f"{plain[n].id}~5"
        assert torch.equal(one[n].codes, again[n].codes)
        assert one[n].codes.shape == plain[n].codes.shape
        assert not torch.equal(one[n].codes, plain[n].codes)
        assert (one[n].text, one[n].speaker) == (plain[n].text, plain[n].speaker)
    with pytest.raises(ValueError, match="probabilities of room, noise, opus, got 'echo'"):
        TokenizeConfig(augment={"echo": 1.0})
