"""The shape of the house: who may import whom, and how long a file and a function may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# A floor may import the floors before it.
FLOORS = ("core", "codec", "lm", "tasks", "serve", "recipes")
FACES = ("__init__.py", "__main__.py")
LIBRARY = sorted(
    [ROOT / face for face in FACES]
    + [file for floor in FLOORS for file in (ROOT / floor).rglob("*.py")]
)
MOST_LINES, MOST_FUNCTION_LINES = 400, 60


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def package_of(file: Path) -> tuple[str, ...]:
    """The package whose relative imports the file's are: ("codec", "data") for core/data/x.py."""
    return file.relative_to(ROOT).parts[:-1]


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Like `ast.walk`, without what stands under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from nodes(node)


def imported(file: Path, *, for_types: bool = True) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield (line, module inside almtok) for each import of almtok's own code."""
    package = package_of(file)
    tree = ast.parse(file.read_text(), file.name)
    for node in ast.walk(tree) if for_types else nodes(tree):
        if isinstance(node, ast.ImportFrom):
            module = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = package[: len(package) - node.level + 1] + module
            elif module[:1] == ("almtok",):
                base = module[1:]
            else:
                continue
            for alias in node.names:
                yield node.lineno, (*base, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = tuple(alias.name.split("."))
                if parts[0] == "almtok":
                    yield node.lineno, parts[1:]


def test_there_is_something_to_check():
    assert len(LIBRARY) > 10
    assert {package_of(file)[:1] for file in LIBRARY} >= {(), ("codec",), ("recipes",)}


@pytest.mark.parametrize("floor", FLOORS)
def test_no_import_goes_upward(floor):
    allowed = FLOORS[: FLOORS.index(floor) + 1]
    upward = [
        f"{name_of(file)}:{line} imports {'.'.join(module)}"
        for file in (ROOT / floor).rglob("*.py")
        for line, module in imported(file)
        if module[0] in FLOORS and module[0] not in allowed
    ]
    assert not upward, f"{floor} may import {allowed} only"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others."""
    reached = {module: _reachable(module, graph) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def _reachable(start: str, graph: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d", "a"}}
    assert circles(graph) == [["b", "c"], ["d"]]


def test_no_modules_import_each_other():
    """Imports inside functions count, too; those for type checkers do not."""
    files = [file for file in LIBRARY if package_of(file)]
    names = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    names = {name.removesuffix(".__init__"): file for name, file in names.items()}
    graph: dict[str, set[str]] = {}
    for name, file in names.items():
        wanted = [module for _, module in imported(file, for_types=False)]
        places = [".".join(module) for module in wanted]
        places = [place if place in names else place.rpartition(".")[0] for place in places]
        graph[name] = {place for place in places if place in names and place != name}
    assert not circles(graph)


def test_the_library_imports_itself_relatively():
    absolute = [
        f"{name_of(file)}:{node.lineno}"
        for file in LIBRARY
        if package_of(file)[:1] != ("recipes",)
        for node in ast.walk(ast.parse(file.read_text()))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "almtok")
        or (
            isinstance(node, ast.Import)
            and any(alias.name.split(".")[0] == "almtok" for alias in node.names)
        )
    ]
    assert not absolute, "library code writes `from ..codec import`, not `from almtok.codec import`"


def test_objectives_are_given_tensors_and_never_the_model():
    wrong = [
        f"{name_of(file)}:{line} imports {'.'.join(module)}"
        for file in (ROOT / "codec" / "objectives").rglob("*.py")
        for line, module in imported(file)
        if module[:2] in {("codec", "model"), ("codec", "ALMTokenizer")}
    ]
    assert not wrong


def test_no_private_name_crosses_a_folder():
    wrong = [
        f"{name_of(file)}:{line} imports {'.'.join(module)}"
        for file in LIBRARY
        for line, module in imported(file)
        if file.name not in FACES
        and any(part.startswith("_") and not part.startswith("__") for part in module)
        and module[:1] != package_of(file)[:1]
    ]
    assert not wrong


@pytest.mark.parametrize("file", LIBRARY, ids=name_of)
def test_files_and_functions_stay_short(file):
    text = file.read_text()
    lines = len(text.splitlines())
    assert lines <= MOST_LINES, f"{lines} lines, {MOST_LINES} allowed: a noun is missing"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= MOST_FUNCTION_LINES, f"{node.name}, line {node.lineno}: {length} lines"


@pytest.mark.parametrize("file", LIBRARY, ids=name_of)
def test_library_files_run_nothing_when_started(file):
    if file.name == "__main__.py":
        return
    assert '__name__ == "__main__"' not in file.read_text()
