"""Folders are replaced whole: after a crash at any moment the old or the new one is found."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from almtok.core import files
from almtok.core.files import (
    cut_name,
    file_name,
    link_or_copy,
    recover_folder,
    replaced_folder,
)

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


def replace(place: Path, text: str) -> None:
    with replaced_folder(place) as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "file").write_text(text)


def content(place: Path) -> str:
    return (place / "inner" / "file").read_text()


@pytest.fixture(params=[True, False], ids=["exchange", "two renames"])
def exchanges(request, monkeypatch):
    """Whether the system exchanges folders in one step."""
    if request.param and sys.platform != "linux":
        pytest.skip("only Linux exchanges folders")
    if not request.param:
        monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    return request.param


def test_a_folder_is_made_and_replaced(tmp_path, exchanges):
    place = tmp_path / "some" / "model"
    for text in ("one", "two"):
        replace(place, text)
        assert content(place) == text
    assert [path.name for path in place.parent.iterdir()] == ["model"]


def test_an_error_inside_leaves_the_old(tmp_path, exchanges):
    place = tmp_path / "model"
    replace(place, "one")
    with pytest.raises(KeyError), replaced_folder(place):
        raise KeyError
    assert content(place) == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


CRASH = """
import os, shutil, sys
from pathlib import Path
from almtok.core import files

place, moment, exchange = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "True"
if not exchange:
    files._exchange = lambda one, other: False
count = 0

def counting(function):
    def counted(*args, **kwargs):
        global count
        count += 1
        if count == moment:
            os._exit(9)  # as a kill: nothing is tidied
        return function(*args, **kwargs)
    return counted

for owner, name in ((Path, "replace"), (shutil, "rmtree"), (files, "sync")):
    setattr(owner, name, counting(getattr(owner, name)))
if exchange:
    files._exchange = counting(files._exchange)
with files.replaced_folder(place) as aside:
    (aside / "inner").mkdir()
    (aside / "inner" / "file").write_text("two")
"""


def test_a_crash_at_any_moment_leaves_a_whole_folder(tmp_path, exchanges, quiet_environment):
    script = tmp_path / "crash.py"
    script.write_text(CRASH)
    found = []
    for moment in range(1, 20):
        place = tmp_path / str(moment) / "model"
        replace(place, "one")
        words = [sys.executable, str(script), str(place), str(moment), str(exchanges)]
        status = subprocess.run(words, env=quiet_environment, check=False).returncode
        if exchanges:
            assert place.exists(), "at no moment it is missing"
        recover_folder(place)
        found.append(content(place))
        replace(place, "three")  # and the next call works
        assert content(place) == "three"
        if status == 0:
            break
        assert status == 9
    assert status == 0 and found == sorted(found) == ["one"] * found.count("one") + ["two"] * (
        len(found) - found.count("one")
    )
    assert {"one", "two"} == set(found)


def test_what_lies_aside_is_brought_back_only_where_nothing_is(tmp_path):
    place = tmp_path / "model [1]"
    replace(place, "one")
    aside = tmp_path / "model [1].old-77"
    place.rename(aside)
    recover_folder(place)
    assert content(place) == "one" and not aside.exists()
    replace(aside, "older")
    recover_folder(place)
    assert content(place) == "one" and aside.exists()


def test_a_copy_by_links_is_a_copy(tmp_path):
    replace(tmp_path / "a", "one")
    (tmp_path / "a" / "link").symlink_to("inner")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert content(tmp_path / "b") == "one"
    assert os.readlink(tmp_path / "b" / "link") == "inner"
    replace(tmp_path / "a", "two")
    assert content(tmp_path / "b") == "one"
