import os

import pytest

from almtok.core.files import cut_name, file_name

IDS = ["a/b", "a b", "a_b", "a\\b", "a", "A b", "", ".", "..", ".a", "x" * 300, "x" * 301]
IDS += ["ä" * 150, "ä" * 151, "日本語" * 60, "日本語" * 61, "a\u2028b", "a\ud800b", "/etc/passwd"]


def test_every_id_has_a_file_name_of_its_own(tmp_path):
    names = [file_name(one) for one in IDS]
    assert len(set(names)) == len(IDS)
    for name in names:
        assert len(name.encode()) <= 120 and "/" not in name and not name.startswith(".")
        (tmp_path / f"{name}.flac").touch()
    assert len(os.listdir(tmp_path)) == len(IDS)
    assert file_name("LJ001-0001.wav") == "LJ001-0001.wav"  # plain ids stay as they are


@pytest.mark.parametrize("most", [20, 200])
def test_long_names_are_cut_by_bytes(most):
    assert cut_name("talk (1)", most) == "talk (1)"
    for letter in ("x", "ä", "日", "😀"):
        one, two = cut_name(letter * 300, most), cut_name(letter * 301, most)
        assert one != two and len(one.encode()) <= most and len(two.encode()) <= most
        assert one.startswith(letter)
