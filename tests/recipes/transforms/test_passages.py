"""Passages of books, and that no held-out text is among them."""

import sys

import pytest

from almtok.recipes.transforms.passages import extract_passages, main

BOOK = """Call me Ishmael. Some years ago\u2014never mind how long
precisely\u2014having little or no money in my purse, I thought I would sail about a little!
\u201cIt is a way I have,\u201d he said. It is a way I have. It is a way I have!
In 1851 nobody read it. Oh.
Na\u00efve readers are left out."""


def test_sentences_become_passages_of_words():
    made = extract_passages([BOOK], [], most=9)
    assert made.lines[:4] == (
        "call me ishmael",
        "some years ago never mind how long precisely having",
        "little or no money in my purse i thought",
        "i would sail about a little",
    )
    assert made.lines.count("it is a way i have") == 1  # though it comes twice
    assert not any("1851" in line or "oh" == line or "readers" in line for line in made.lines)
    assert made.words == sum(len(line.split()) for line in made.lines)


def test_what_a_test_has_is_left_out():
    held = ["Ago: never mind how long, he said.", "call me, Ishmael"]
    made = extract_passages([BOOK], held, most=9)
    assert made.held_out == 2
    assert not any("never mind" in line or "ishmael" in line for line in made.lines)
    assert "i would sail about a little" in made.lines


def test_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf-8")
    out = tmp_path / "texts.txt"
    monkeypatch.setattr(sys, "argv", ["passages", str(tmp_path / "book.txt"), "--out", str(out)])
    main()
    assert "passages" in capsys.readouterr().out
    assert out.read_text().splitlines()[0] == "call me ishmael"
    (tmp_path / "empty.txt").write_text("1 2 3")
    monkeypatch.setattr(sys, "argv", ["passages", str(tmp_path / "empty.txt"), "--out", str(out)])
    with pytest.raises(SystemExit):
        main()
    assert "texts must be English" in capsys.readouterr().err
