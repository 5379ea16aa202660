"""``python -m benchmarks.lm_start``: seconds and memory until a language model begins to train.

    python -m benchmarks.lm_start --rows 10000 100000 1000000 --folder /tmp/lm_start

Shards of made-up texts and few random codes are written once and kept. A start is a process that
does what ``almtok lm train`` does until its first micro-batch, for a model of the preset `tiny` and
a text tokenizer that is given. The first start follows ``almtok lm measure``, later ones find all
that was stored; the lines say what each took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .harness import ROOT, markdown_table
from .timing import peak_mb

HEADER = (
    "rows", "start of", "seconds", "of a core", "µs per row", "peak memory, GB", "index, MB",
)  # fmt: skip
_PER_SHARD = 512
_WORDS = (
    "the of and to in a is that it was for on are as with his they at be this from have or by one"
    " had not but what all were when we there can an your which their said if do will each about"
    " how up out them then she many some so these would other into has more her two like him see"
    " time could no make than first been its who now people my made over did down only way find use"
    " may water long little very after words called just where most know"
).split()
_BOOKS, _SIZE, _RATE = 3, 2048, 24_000


def texts_of(count: int) -> Iterator[str]:
    """Different sentences of eight to fifteen words, always the same."""
    rng = np.random.default_rng(0)
    for number in range(count):
        words = rng.choice(_WORDS, size=int(rng.integers(8, 16)))
        yield f"{' '.join(words)} {_WORDS[number % 7]} {number % 97}.".capitalize()


def make_tokens(folder: Path, rows: int) -> None:
    """Write a folder of shards by the writer of ``almtok lm tokenize``."""
    from almtok.core.data.entries import AudioEntry
    from almtok.lm.data.shards import EncodedClip, ShardInfo, write_shard

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng, texts = np.random.default_rng(1), texts_of(rows)
    grid = rng.integers(_SIZE, size=(_BOOKS, 64)).astype(np.uint16)
    frames = rng.integers(20, 64, size=rows)
    for number, first in enumerate(range(0, rows, _PER_SHARD)):
        clips = []
        for place in range(first, min(rows, first + _PER_SHARD)):
            columns = int(frames[place])
            entry = AudioEntry(
                path="", id=f"row-{place}", text=next(texts), speaker=f"s{place % 1000}",
                language="en", domain="speech", split="valid" if place % 50 == 49 else "train",
            )  # fmt: skip
            codes = np.ascontiguousarray(grid[:, :columns])
            clips.append(EncodedClip(place, entry, columns * 1920, codes))
        info = ShardInfo(
            plan="benchmark", number=number, first=first, last=first + len(clips),
            fingerprint="0" * 16, sample_rate=_RATE, num_codebooks=_BOOKS, codebook_size=_SIZE,
        )  # fmt: skip
        write_shard(folder, info, clips, 6)


def make_tokenizer(folder: Path) -> None:
    """Train the text tokenizer of all starts on a part of the texts."""
    from almtok.lm.text.tokenizer import train_tokenizer

    train_tokenizer(text.lower() for text in texts_of(2000)).save_pretrained(folder)


def start(tokens: str, tokenizer: str, out: str, form: str, *tasks: str) -> dict[str, Any]:
    """Do what a training does until its first micro-batch; seconds since `LM_START_BEGAN`."""
    from almtok.lm.train.config import LMTrainingConfig
    from almtok.lm.train.corpus import (
        find_tasks,
        held_out,
        named_speakers,
        read_info,
        training_batches,
        training_texts,
    )
    from almtok.lm.train.initial_model import build_initial_model
    from almtok.lm.train.trainer import AudioLMTrainer, start_processes
    from almtok.lm.train.validation import warn_of_leaks

    config = LMTrainingConfig(
        data=[tokens], tokenizer=tokenizer, preset="tiny", tasks=[*tasks], out=out,
        text_form=form, device="cpu", num_workers=0, tracker="none",
    )  # fmt: skip
    processes = start_processes(config)
    weighted, info = find_tasks(config), read_info(config)
    names = [item.task.name for item in weighted]
    model = build_initial_model(
        config,
        info,
        names,
        lambda: training_texts(config, weighted),
        named_speakers(config, weighted),
    )
    batches = training_batches(config, weighted, model.lm.config, model.texts)
    held_out(config, weighted, model.lm.config, model.texts)
    warn_of_leaks(config)
    trainer = AudioLMTrainer(model.lm, config, batches, processes=processes)
    next(iter(trainer.batches()))
    seconds = time.time() - float(os.environ["LM_START_BEGAN"])
    return {"seconds": seconds, "cpu": time.process_time(), "mb": peak_mb()}


def run(code: list[str]) -> dict[str, Any]:
    """Run Python in a process of its own; the last line that it prints, as JSON."""
    environment = {**os.environ, "LM_START_BEGAN": str(time.time()), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(
        [sys.executable, *code], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True
    )
    lines = done.stdout.decode().strip().splitlines()
    return json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}


def rows_of(folder: Path, rows: int, args: argparse.Namespace) -> Iterator[list[str]]:
    """Rows of the table for one number of rows."""
    tokens = folder / f"tokens-{rows}"
    if not (tokens / "complete").exists():
        make_tokens(tokens, rows)
        (tokens / "complete").touch()
    shutil.rmtree(tokens / ".index", ignore_errors=True)
    places = [str(tokens), str(folder / "tokenizer"), str(folder / "out")]
    names = ("--data", "--tokenizer", "--out")
    options = [text for pair in zip(names, places, strict=True) for text in pair]
    options += ["--preset", "tiny", "--text-form", args.text_form, "--tasks", *args.tasks]
    options += ["--processes", str(args.processes)]
    began = time.time()
    run(["-m", "almtok", "lm", "measure", *options])
    cells = [("almtok lm measure", {"seconds": time.time() - began})]
    again = ["-m", "benchmarks.lm_start", "--start", *places, args.text_form, *args.tasks]
    cells += [(name, run(again)) for name in ("first start", "second start")]
    size = sum(path.stat().st_size for path in (tokens / ".index").glob("*")) / 1e6
    for name, cell in cells:
        memory = f"{cell['mb'] / 1000:.2f}" if "mb" in cell else ""
        core = f"{cell['cpu']:.1f}" if "cpu" in cell else ""
        per_row = f"{1e6 * cell['seconds'] / rows:.1f}"
        yield [f"{rows:,}", name, f"{cell['seconds']:.1f}", core, per_row, memory, f"{size:.1f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lm_start", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000], metavar="N")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lm_start"), metavar="DIR")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), metavar="N")
    text = "written: texts are only cleaned, which is faster to measure"
    parser.add_argument("--text-form", default="spoken", metavar="FORM", help=text)
    parser.add_argument("--tasks", nargs="+", default=["tts", "asr"], metavar="TASK")
    parser.add_argument("--start", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.start:
        print(json.dumps(start(*args.start)))
        return
    if not (args.folder / "tokenizer").exists():
        make_tokenizer(args.folder / "tokenizer")
    table: list[list[str]] = []
    for rows in args.rows:
        table += rows_of(args.folder, rows, args)
    print(markdown_table(HEADER, table))


if __name__ == "__main__":
    main()
