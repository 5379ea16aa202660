"""Fréchet audio distance of generated sounds in ``almtok lm evaluate``."""

import json

import numpy as np
import soundfile
import torch

from almtok.__main__ import main
from almtok.codec.evaluation.fad import ClipVectors
from almtok.codec.priors.teacher import Teacher
from almtok.tasks.evaluation.sound_distance import distance_figures

from ..conftest import RAIN, SOUND


def test_distances_of_generated_sounds_to_the_recordings(learned, tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(33):
        wav = rng.uniform(0.05, 0.5) * rng.standard_normal(7680) * np.linspace(1, 0.1, 7680)
        soundfile.write(tmp_path / f"{number}.wav", np.clip(wav, -1, 1), 24_000)
        rows.append({"audio": f"{number}.wav", "text": (SOUND, RAIN)[number % 2]})
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    arguments = [
        *("lm", "evaluate", "--checkpoint", learned.folder, "--temperature", "0"),
        *("--data", f"sound={tmp_path / 'm.jsonl'}", "--fad", "spectral:sound", "--out", str(out)),
    ]
    assert main(arguments) == 0
    table = json.loads((out / "table.json").read_text())
    found = {f["name"]: f for f in table["figures"] if f["name"].startswith("FAD")}
    coded, made = (
        found[f"FAD to the recordings, {what}"]
        for what in ("recordings through the codec", "what was made of the captions")
    )
    assert coded["value"]["n"] == made["value"]["n"] == 33
    assert made["value"]["mean"] > 0 and coded["value"]["mean"] > 0
    assert made["task"] == "text_to_audio" and "spectral" in made["note"]
    assert len(found) == 2  # halves of 33 clips are too few
    assert table["settings"]["fad"] == "spectral:sound"
    first = {path.name: path.read_bytes() for path in (out / "embeddings").iterdir()}
    assert set(first) == {"recording.jsonl", "codec.jsonl", "made.jsonl"}
    assert main(arguments) == 0  # nothing is measured again
    assert {path.name: path.read_bytes() for path in (out / "embeddings").iterdir()} == first
    assert json.loads((out / "table.json").read_text()) == table


def test_an_unknown_embedding_is_refused_before_anything_is_measured(learned, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.ones(8000, np.float32) / 4, 24_000)
    (tmp_path / "a.txt").write_text(SOUND)
    out = tmp_path / "out"
    arguments = ["lm", "evaluate", "--checkpoint", learned.folder, "--data", f"sound={tmp_path}"]
    assert main([*arguments, "--fad", "vggish", "--out", str(out)]) == 1
    assert "embedding must be one of whisper" in capsys.readouterr().err
    assert not (out / "clips.jsonl").exists() or not (out / "clips.jsonl").read_text()


class Level(Teacher):
    """Mean and spread of a clip."""

    name, dim, sample_rate, frame_rate, min_samples = "level", 2, 24_000, 10.0, 2

    def _features(self, wavs):
        return [torch.stack([wav.mean(), wav.std()])[None] for wav in wavs]


def test_halves_of_the_recordings_show_what_equal_sets_score(tmp_path):
    rng = np.random.default_rng(0)
    vectors = {
        name: ClipVectors(Level(), tmp_path / f"{name}.jsonl", {})
        for name in ("recording", "codec", "made")
    }
    clips = [str(number) for number in range(65)]
    for clip in clips:
        wav = rng.uniform(0.1, 0.3) * rng.standard_normal(480).astype(np.float32)
        for shift, of in enumerate(vectors.values()):
            of.add(clip, wav + np.float32(0.5 * shift), 24_000)
    coded, made, halves = distance_figures(vectors, "text_to_music", clips)
    assert np.isclose(coded.value.mean, 0.25, atol=1e-4) and np.isclose(made.value.mean, 1, 1e-4)
    assert "half" in halves.name and abs(halves.value.mean) < 0.01 and halves.value.n == 32
    assert len(distance_figures(vectors, "text_to_music", clips[:40])) == 2
    assert distance_figures(vectors, "text_to_music", clips[:31]) == []
