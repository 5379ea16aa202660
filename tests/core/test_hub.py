"""Checkpoints of the hub: pinned revisions from the cache, and one sentence where there is none."""

import shutil

import pytest
from huggingface_hub import constants

from almtok import ALMTokenizer, shipped
from almtok.__main__ import main
from almtok.core.hub import hub_folder, is_hub_id
from almtok.core.loading import check_place

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """A cache of the hub that holds the shipped model as org/almtok, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--org--almtok"
    shutil.copytree(shipped(), repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    return repo / "snapshots" / COMMIT


def test_what_is_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id("org/almtok") and is_hub_id("org/almtok@v1") and is_hub_id(f"org/a@{COMMIT}")
    for place in ("almtok", "./org/almtok", "/org/almtok", "a/b/c", "~/almtok", "org/almtok@", ""):
        assert not is_hub_id(place), place
    (tmp_path / "org/almtok").mkdir(parents=True)
    assert not is_hub_id("org/almtok")


def test_a_pinned_revision_is_loaded_from_the_cache(offline):
    assert hub_folder(f"org/almtok@{COMMIT}") == hub_folder("org/almtok") == str(offline)
    assert check_place(f"org/almtok@{COMMIT}") == str(offline)
    assert check_place("org/almtok") == "org/almtok"  # transformers looks it up
    codec = ALMTokenizer.from_pretrained(f"org/almtok@{COMMIT}", subfolder="codec")
    assert codec.fingerprint == ALMTokenizer.from_pretrained(shipped() / "codec").fingerprint


def test_a_command_speaks_with_a_model_of_the_cache(offline, tmp_path):
    out = tmp_path / "hello.wav"
    pinned = f"org/almtok@{COMMIT}"
    assert main(["tts", "hello", "--checkpoint", pinned, "--out", str(out)]) == 0
    assert out.stat().st_size > 4000


@pytest.mark.parametrize("place", ["org/other", f"org/almtok@{COMMIT[::-1]}"])
def test_what_is_not_in_the_cache_is_one_sentence(offline, place, tmp_path, capsys):
    assert main(["tts", "hello", "--checkpoint", place, "--out", str(tmp_path / "a.wav")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    command = f"hf download {place.replace('@', ' --revision ')}"
    assert line.startswith(f"almtok: error: {place} is no folder") and command in line


def test_another_form_is_refused():
    with pytest.raises(ValueError, match="ORG/NAME"):
        hub_folder("a/b/c")
