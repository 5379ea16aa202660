"""docs/paper.md has every section that the code cites, and its grades are A to D."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "paper.md"
FOLDERS = ("codec", "lm", "tasks", "recipes", "core", "benchmarks", "docs", "tests")
FILES = sorted(
    [ROOT / "README.md"]
    + [
        file
        for folder in FOLDERS
        for suffix in ("py", "md")
        for file in (ROOT / folder).rglob(f"*.{suffix}")
        if file != Path(__file__).resolve()
    ]
)
HEADING = re.compile(r"^(#{2,3}) (\d+(?:\.\d+)?) \S", re.MULTILINE)
NUMBER = r"\d+(?:\.\d+)?(?![\w%])"
# "paper.md 2.2", "`paper.md` 8", "paper.md 3 and 4.2": a list of numbers is a list of sections.
# A comment may break between them.
GAP = r"[\s#]+"
CITATION = re.compile(rf"\bpaper\.md`?{GAP}({NUMBER}(?:(?:,{GAP}|{GAP}and{GAP}){NUMBER})*)")
MENTION = re.compile(r"(?<!docs/)\bpaper\.md\b")
# A few of the citations must be found, or the pattern above has gone blind.
LEAST_CITATIONS = 50


def sections(page: str) -> list[str]:
    """Numbers of the headings `## N Title` and `### N.M Title`."""
    return [number for _, number in HEADING.findall(page)]


def citations(text: str) -> list[str]:
    """Sections of the paper page that a text names."""
    return [number for found in CITATION.findall(text) for number in re.findall(NUMBER, found)]


def graded_rows(page: str) -> list[tuple[str, str]]:
    """(first cell, grade) of each row in the tables that have a column `Grade`."""
    rows, column = [], None
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            column = None
        elif "Grade" in cells:
            column = cells.index("Grade")
        elif column is not None and set(line) - set("|-: "):
            rows.append((cells[0], cells[column]))
    return rows


def test_headings_are_numbered_in_order_and_nested():
    headings = HEADING.findall(PAGE.read_text())
    numbers = [tuple(map(int, number.split("."))) for _, number in headings]
    assert numbers == sorted(set(numbers))
    assert all(level.count("#") == 1 + len(number.split(".")) for level, number in headings)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Layout (paper.md 2.2, A), for w = 2 frames", ["2.2"]),
        ("(paper.md 3 and 4.2, D for all)", ["3", "4.2"]),
        ("carry their grade (`paper.md` 8): A", ["8"]),
        ("(`block_causal`,\npaper.md 2.2 D)", ["2.2"]),
        ("# as in paper.md\n# 5.1, 5.2 and 7", ["5.1", "5.2", "7"]),
        ("paper.md 10.1, defect 7", ["10.1"]),
        ("the source in `docs/paper.md`:\nA confirmed", []),
        ("whitepaper.md 3", []),
    ],
)
def test_citations_are_read(text, named):
    assert citations(text) == named


def test_every_citation_names_a_section():
    known = sections(PAGE.read_text())
    lost, found = [], 0
    for file in FILES:
        for number in citations(file.read_text(encoding="utf-8")):
            found += 1
            if number not in known:
                lost.append(f"{file.relative_to(ROOT).as_posix()}: paper.md {number}")
    assert not lost, f"docs/paper.md has sections {', '.join(known)}"
    assert found >= LEAST_CITATIONS


def test_no_citation_of_the_code_is_unreadable():
    """`paper.md, section 2` would escape the test above; the whole page is `docs/paper.md`."""
    wrong = []
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".py" and len(MENTION.findall(text)) != len(CITATION.findall(text)):
            wrong.append(file.relative_to(ROOT).as_posix())
    assert not wrong, "cite sections as `paper.md 2.2` or `paper.md 3 and 4.2`"


def test_the_page_refers_to_its_own_sections():
    page = PAGE.read_text()
    named = re.findall(rf"\bsections? ({NUMBER})", page)
    assert named and set(named) <= set(sections(page))


def test_rows_are_graded_a_to_d():
    rows = graded_rows(PAGE.read_text())
    wrong = [f"{grade!r}: {what}" for what, grade in rows if grade not in ("A", "B", "C", "D")]
    assert not wrong
    assert {grade for _, grade in rows} == set("ABCD")
