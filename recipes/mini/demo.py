"""``almtok demo``: the mini recipe from nothing to a report, one command of almtok after another.

Every line is printed before it is run and can be run alone; each goes on where it was stopped, and
so does the demo. ``run.sh`` tells the same story to a shell.
"""

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from almtok.codec.files import write_json

from . import STEPS, recipe
from .corpus import make_corpus


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What a demo may be asked to do differently."""

    out: Path = Path("runs/demo")
    seed: int = 0
    scale: float = 1.0  # times the training steps of the recipe
    only: Sequence[str] = STEPS

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"scale must be positive, got {self.scale}")


def run_demo(config: DemoConfig) -> int:
    """Run the steps in order; the status of the first that fails, or 0."""
    actions = {
        "corpus": lambda: _make_corpus(config),
        "configs": lambda: _write_configs(config),
        "prior": lambda: _almtok("prior", *recipe.prior(config.out)),
        "stage1": lambda: _train(config, "stage1"),
        "stage2": lambda: _train(config, "stage2"),
        "codec": lambda: _copy_codec(config.out),
        "report": lambda: _almtok("evaluate", "codec", *recipe.evaluation(config.out)),
    }
    for step in STEPS:
        if step in config.only and (status := actions[step]()):
            _say(f"{step} did not finish; the same command goes on from here")
            return status
    return 0


def _make_corpus(config: DemoConfig) -> int:
    _say(f"speech, sounds and tunes, made here, in {config.out / 'corpus'}")
    minutes = recipe.CORPUS_MINUTES * min(1.0, config.scale)
    make_corpus(config.out / "corpus", config.seed, max(0.5, minutes))
    return 0


def _write_configs(config: DemoConfig) -> int:
    for stage in (recipe.stage1, recipe.stage2):
        steps = max(2, round(stage(config.out).steps * config.scale))
        settings = stage(config.out, steps=steps)
        write_json(_config_file(config.out, stage.__name__), settings.to_dict())
    return 0


def _config_file(out: Path, stage: str) -> Path:
    return out / f"{stage}.json"


def _train(config: DemoConfig, stage: str) -> int:
    return _almtok("train", "codec", "--config", str(_config_file(config.out, stage)))


def _copy_codec(out: Path) -> int:
    """The trained codec under a name of its own, apart from what only training needs."""
    aside = out / "codec.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(out / "stage2" / "model", aside)
    shutil.rmtree(out / "codec", ignore_errors=True)
    aside.replace(out / "codec")
    return 0


def _almtok(*arguments: str) -> int:
    """Run a command of almtok in a process of its own, as a reader would.

    Ctrl-C reaches that process too: it saves and ends, and is waited for.
    """
    _say(shlex.join(("almtok", *arguments)))
    process = subprocess.Popen([sys.executable, "-m", "almtok", *arguments])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def _say(text: str) -> None:
    print(f"\n=== {text}", flush=True)
