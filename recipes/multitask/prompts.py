r"""Prompts in words that captions need not have, and how often what is made of them is told.

    python -c "from almtok.recipes.multitask.prompts import main; main()" \
        --classes sound=train.parquet --out OUT

Captions of a test set are written like those that a model has learned by heart. People ask in words
of their own: these are ours, for kinds of sounds that many corpora have. Two classifiers of
recordings name what is made (`tasks/evaluation/classifier.py`); prompts of a class that
they do not know are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from almtok.codec.checkpoints import shipped
from almtok.core.files import write_json, write_text
from almtok.core.metrics.bootstrap import Interval, bootstrap_interval
from almtok.core.metrics.intervals import shown
from almtok.tasks import AudioGenerator, AudioLMPipeline
from almtok.tasks.commands.evaluate import classifiers_of
from almtok.tasks.evaluation.classifier import SoundClassifier

PROMPTS = {
    "rain": ("It is raining hard.", "Rain on a roof.", "A rainy afternoon."),
    "wind": ("A strong wind.", "A windy mountain top.", "Gusts of wind."),
    "bird": ("Birds chirping in the trees.", "A bird singing.", "A garden full of birds."),
    "thunder": ("Thunder in the distance.", "A storm with thunder."),
    "footsteps": ("Someone walking on gravel.", "Steps on wood.", "A person walking in snow."),
    "door": ("A wooden door opening.", "A door being shut."),
    "glass": ("A glass shattering.", "A glass bottle being hit."),
    "metal": ("A metal bar falling.", "Metal scraping."),
    "water": ("Water dripping.", "A splash of water.", "A river."),
    "explosion": ("A big explosion.", "A bomb exploding."),
    "fire": ("A camp fire burning.", "Fire burning wood."),
    "gunshot": ("A rifle shot.", "A pistol being fired."),
    "drum": ("A drum being hit.", "A deep bass drum."),
    "cymbal": ("A crash cymbal.", "A closed hi-hat."),
    "laser": ("A laser gun.", "A laser beam in a game."),
    "whoosh": ("A sword swinging.", "A fast whoosh."),
    "voice": ("A woman shouting.", "A man grunting."),
    "zombie": ("A zombie moaning.", "An angry zombie."),
    "pig": ("A pig grunting.",),
    "rabbit": ("A rabbit squeaking.",),
    "playing cards": ("Cards being shuffled.", "A card put on the table."),
    "dice": ("Dice rolling on a table.", "Dice being thrown."),
    "poker chips": ("Poker chips being stacked.",),
    "tabla": ("A tabla being played.",),
    "bass": ("A bass guitar note.",),
    "switch": ("A light switch.", "A button being pressed."),
    "crickets": ("Crickets at night in a field.",),
    "slime": ("A slime jumping.",),
    "breaking": ("Wood breaking.", "A plate breaking."),
    "power-up": ("A power-up in a video game.",),
    "interface": ("A menu click in an interface.",),
    "impact": ("A heavy impact.", "Something hitting wood."),
    "lava": ("Lava bubbling.",),
    "bite": ("Biting into an apple.",),
}
_SECONDS = 8.0  # at most


@dataclass(frozen=True)
class Asked:
    """What was made of one prompt."""

    prompt: str
    label: str
    names: dict[str, tuple[str, ...]]  # what each classifier calls every draw

    def share(self, judge: str) -> float:
        """How often that one says the right class."""
        return float(np.mean([name == self.label for name in self.names[judge]]))


def ask(
    maker: AudioGenerator,
    judges: Mapping[str, SoundClassifier],
    prompts: Mapping[str, Sequence[str]],
    *,
    draws: int = 4,
    seed: int = 0,
) -> list[Asked]:
    """Make sounds of every prompt of a class that all judges know, and have them named.

    Args:
        maker: of a checkpoint.
        judges: classifiers by name.
        prompts: by class.
        draws: sounds of each prompt.
        seed: of the first draw of the first prompt.

    Raises:
        ValueError: no judge knows a class of the prompts, or `draws` is below 1.
    """
    if draws < 1:
        raise ValueError(f"draws must be at least 1; came {draws}")
    known = set.intersection(*(set(judge.classes) for judge in judges.values()))
    wanted = [(text, label) for label, texts in prompts.items() if label in known for text in texts]
    if not wanted:
        raise ValueError(
            f"no prompt is of a class that is known: prompts are of {', '.join(sorted(prompts))},"
            f" recordings of {', '.join(sorted(known))}"
        )
    asked = []
    for place, (text, label) in enumerate(tqdm(wanted, desc="ask", unit="prompt")):
        seeds = [seed + place * draws + draw for draw in range(draws)]
        rows = [{"text": text}] * draws
        made = maker.make("text_to_audio", rows, seconds=_SECONDS, seeds=seeds)
        names = {
            name: tuple(judge.name(sound.wav, sound.sample_rate) for sound in made)
            for name, judge in judges.items()
        }
        asked.append(Asked(text, label, names))
    return asked


def told(asked: Sequence[Asked]) -> dict[str, Interval]:
    """By classifier, the share of sounds that it tells, with its interval over prompts."""
    return {
        judge: bootstrap_interval([one.share(judge) for one in asked]) for judge in asked[0].names
    }


def to_markdown(asked: Sequence[Asked]) -> str:
    """A table of the shares, and a line for each prompt."""
    classes = len({one.label for one in asked})
    lines = [
        f"Sounds of {len(asked)} prompts for {classes} classes, told by their class, %;"
        " 95 % bootstrap intervals.",
        "",
        "| by | told |",
        "| --- | ---: |",
        *(f"| {judge} | {shown(share)} |" for judge, share in told(asked).items()),
        "",
        f"| prompt | class | {' | '.join(asked[0].names)} |",
        "| --- | --- |" + " --- |" * len(asked[0].names),
    ]
    for one in asked:
        cells = (", ".join(names) for names in one.names.values())
        lines.append(f"| {one.prompt} | {one.label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", default=str(shipped()), help="(default: almtok's own)")
    parser.add_argument("--classes", nargs="+", required=True, help="labelled recordings")
    parser.add_argument("--out", required=True, type=Path, help="folder for told.md, told.json")
    parser.add_argument("--draws", type=int, default=4, help="sounds of each prompt (default: 4)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bundle = AudioLMPipeline.from_pretrained(options.checkpoint)
    judges = classifiers_of(options.classes, bundle)
    asked = ask(AudioGenerator(bundle), judges, PROMPTS, draws=options.draws, seed=options.seed)
    write_json(options.out / "told.json", {"asked": [asdict(one) for one in asked]})
    write_text(options.out / "told.md", to_markdown(asked))
    print(to_markdown(asked))
