"""Public corpora as sources of almtok: hub ids that need no loading script, splits, licences.

Ids and columns are taken from dataset cards; none of the corpora was downloaded here. For a corpus
on disk, give its folder as a source (docs/data.md).
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from almtok.core.data.sources import split_domain
from almtok.core.options import option

from .run import RecipeOptions


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Sources of a corpus by part, its size and its licence."""

    train: tuple[str, ...]  # sources
    valid: tuple[str, ...]
    test: tuple[str, ...]
    hours: float  # of the training part, about
    licence: str
    note: str = ""


def _corpus(
    domain: str,
    name: str,
    splits: tuple[str, str, str],
    *,
    hours: float,
    licence: str,
    note: str = "",
) -> Corpus:
    """Return a corpus whose parts are splits of one dataset of the hub."""
    train, valid, test = ((f"{domain}=hf:{name}:{split}",) for split in splits)
    return Corpus(train=train, valid=valid, test=test, hours=hours, licence=licence, note=note)


CORPORA = {
    "ljspeech": _corpus(
        "speech",
        "MikhailT/lj-speech",
        ("full[:12500]", "full[12500:12800]", "full[12800:]"),
        hours=23,
        licence="public domain",
        note="one voice; one split, cut here",
    ),
    "libritts": Corpus(
        train=(
            "speech=hf:mythicinfinity/libritts/clean:train.clean.100",
            "speech=hf:mythicinfinity/libritts/clean:train.clean.360",
        ),
        valid=("speech=hf:mythicinfinity/libritts/clean:dev.clean",),
        test=("speech=hf:mythicinfinity/libritts/clean:test.clean",),
        hours=245,
        licence="CC BY 4.0",
        note="1,151 voices",
    ),
    "librispeech": Corpus(
        train=(
            "speech=hf:openslr/librispeech_asr/clean:train.100",
            "speech=hf:openslr/librispeech_asr/clean:train.360",
            "speech=hf:openslr/librispeech_asr/other:train.500",
        ),
        valid=("speech=hf:openslr/librispeech_asr/clean:validation",),
        test=(
            "speech=hf:openslr/librispeech_asr/clean:test",
            "speech=hf:openslr/librispeech_asr/other:test",
        ),
        hours=960,
        licence="CC BY 4.0",
        note="upper-case texts: use text_form plain",
    ),
    "commonvoice": _corpus(
        "speech",
        "fixie-ai/common_voice_17_0/en",
        ("train", "validation", "test"),
        hours=1700,
        licence="CC0",
        note="a mirror; other languages by their code instead of en",
    ),
    "mls_english": _corpus(
        "speech",
        "parler-tts/mls_eng",
        ("train", "dev", "test"),
        hours=44_500,
        licence="CC BY 4.0",
    ),
    "vctk": _corpus(
        "speech",
        "sanchit-gandhi/vctk",
        ("train[:95%]", "train[95%:97%]", "train[97%:]"),
        hours=84,
        licence="CC BY 4.0",
        note="every utterance twice, from two microphones",
    ),
    "audioset": Corpus(
        train=("sound=hf:agkphysics/AudioSet/unbalanced:train",),
        valid=("sound=hf:agkphysics/AudioSet/balanced:train[:1000]",),
        test=("sound=hf:agkphysics/AudioSet/balanced:test",),
        hours=4830,
        licence="CC BY 4.0 (labels)",
        note="labels as texts; 2.4 TB",
    ),
    "audiocaps": _corpus(
        "sound",
        "OpenSound/AudioCaps",
        ("train", "validation", "test"),
        hours=125,
        licence="MIT (captions)",
        note="five captions are five rows",
    ),
    "clotho": _corpus(
        "sound",
        "CLAPv2/Clotho",
        ("train", "validation", "test"),
        hours=24,
        licence="non-commercial (captions)",
        note="five captions joined to one text",
    ),
    "esc50": _corpus(
        "sound",
        "ashraq/esc50",
        ("train[:80%]", "train[80%:90%]", "train[90%:]"),
        hours=2.2,
        licence="CC BY-NC 3.0",
        note="2,000 clips of 50 classes, not by its folds",
    ),
    "musiccaps": _corpus(
        "music",
        "mahendra0203/musiccaps_processed_full",
        ("train[:90%]", "train[90%:95%]", "train[95%:]"),
        hours=13,
        licence="CC BY-SA 4.0 (captions)",
        note="a mirror with sound",
    ),
    "fma": _corpus(
        "music",
        "benjamin-paine/free-music-archive-large",
        ("train[:98%]", "train[98%:99%]", "train[99%:]"),
        hours=857,
        licence="one for each track",
        note="no captions: for the codec only",
    ),
}


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(RecipeOptions):
    """Audio of a recipe: public corpora, or your own sources.

    Attributes:
        domain: Of sources that name none, in recipes of one domain.
    """

    domain: ClassVar[str] = ""
    corpus: list[str] = option([], "public corpora from the hub, see recipes/corpora.py")
    train: list[str] = option([], "your own sources instead, such as speech=DIR", metavar="SOURCE")
    valid: list[str] = option(
        [], "held-out sources for validation losses (default: part of --train)", metavar="SOURCE"
    )
    test: list[str] = option([], "test sources (default: part of --train)", metavar="SOURCE")

    @property
    def divides_itself(self) -> bool:
        """Whether validation and test data are parts of ``train``; see ``division.py``."""
        return bool(self.train) and not self.valid and not self.test

    def sources(self, part: str) -> list[str]:
        """Return the sources of a part (train, valid, test): your own if given, else the corpora's.

        Raises:
            ValueError: there are no sources for the part.
        """
        if self.divides_itself:
            return self._divided(part)
        mine = self._named(getattr(self, part))
        if self.train and not mine:
            raise ValueError(
                f"--{part} is missing: sources beside --train, such as speech=more/, or give"
                " neither --valid nor --test to divide --train"
            )
        if not self.train and not self.corpus:
            raise ValueError("--train is missing: sources such as speech=voices/, or give --corpus")
        return mine if self.train else corpora(self.corpus, part)

    def sources_by_part(self) -> dict[str, list[str]]:
        """Return the sources of training, validation and test; all as training if undivided."""
        if self.divides_itself:
            return {"train": self._named(self.train)}
        return {part: self.sources(part) for part in ("train", "valid", "test")}

    def by_domain(self) -> dict[str, list[str]]:
        """Return the training sources by the domain that they name ('' for none)."""
        found: dict[str, list[str]] = {}
        for source in self._named(self.train):
            found.setdefault(split_domain(source)[0] or "", []).append(source)
        return found

    def _divided(self, part: str) -> list[str]:
        """The manifests that the recipe divides its training sources into, one for each domain."""
        for source in self.train:
            if split_domain(source)[1].startswith("hf:"):
                raise ValueError(
                    f"--valid is missing: {source} is not divided here; name splits of it, such as"
                    " --valid speech=hf:NAME:validation --test speech=hf:NAME:test"
                )
        return [
            f"{domain}={split_file(self.out, domain, part)}"
            if domain
            else str(split_file(self.out, domain, part))
            for domain in self.by_domain()
        ]

    def _named(self, sources: list[str]) -> list[str]:
        """Sources with the domain of the recipe, where neither they nor their rows name one."""
        if not self.domain:
            return sources
        return [
            source
            if split_domain(source)[0]
            or split_domain(source)[1].startswith("hf:")
            or names_domains(Path(os.path.expanduser(source)))
            else f"{self.domain}={source}"
            for source in sources
        ]


def split_file(out: str, domain: str, part: str) -> Path:
    """Return the manifest of a part of the training sources of one domain."""
    return Path(out, "split", domain, f"{part}.jsonl")


def names_domains(place: Path) -> bool:
    """Whether the rows of a manifest, or of the manifest of a folder, name their domains."""
    from almtok.core.data.columns import ROLES
    from almtok.core.data.folders import find_manifest
    from almtok.core.data.tables import TABLE_SUFFIXES, has_column

    table = find_manifest(place) if place.is_dir() else place
    if table is None or not table.is_file() or table.suffix.lower() not in TABLE_SUFFIXES:
        return False
    return has_column(table, ROLES["domain"])


def corpora(names: list[str], part: str) -> list[str]:
    """Return the sources of one part (train, valid, test) of several corpora.

    Raises:
        ValueError: there is no corpus of that name.
    """
    for name in names:
        if name not in CORPORA:
            raise ValueError(f"unknown corpus {name!r}; there are {', '.join(CORPORA)}")
    return [source for name in names for source in getattr(CORPORA[name], part)]
