"""Results on standard output: text, or one JSON document and nothing else."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from almtok.core.printing import only_document, plain, print_result


@dataclass(frozen=True)
class Row:
    file: Path
    score: float


def test_values_become_what_json_has():
    value = {1: Row(Path("a.wav"), float("nan")), "b": (np.float32(0.5), np.int64(3), {"x"})}
    assert plain(value) == {"1": {"file": "a.wav", "score": None}, "b": [0.5, 3, ["x"]]}
    assert json.loads(json.dumps(plain(value), allow_nan=False))


def test_text_or_a_document(capsys):
    print_result(argparse.Namespace(json=False), "one row", [1])
    assert capsys.readouterr().out == "one row\n"
    print_result(argparse.Namespace(json=True), "one row", [1])
    assert json.loads(capsys.readouterr().out) == [1]


def test_what_others_print_goes_to_standard_error(capsys):
    with only_document():
        print("loading")
        print_result(argparse.Namespace(json=True), "", {"ä": 1})
    print("afterwards")
    shown = capsys.readouterr()
    assert shown.out == '{\n "ä": 1\n}\nafterwards\n'
    assert shown.err == "loading\n"
