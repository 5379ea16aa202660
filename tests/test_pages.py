"""The tests that the pages name exist."""

import re
from pathlib import Path

import pytest


@pytest.mark.parametrize("page", ["data.md", "errors.md"])
def test_every_kind_on_the_page_has_its_test(page: str) -> None:
    root = Path(__file__).resolve().parents[1]
    text = (root / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    defined = set()
    for file in (root / "tests").rglob("test_*.py"):
        defined |= set(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.M))
    assert len(named) > 25 and named <= defined, named - defined
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (root / path).exists(), path
