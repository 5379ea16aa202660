"""Divide the training sources of a recipe, if no others are given, and keep that in its folder.

``OUT/split/[DOMAIN/]{train,valid,test}.jsonl`` are manifests of the original files, and
``OUT/split/split.json`` says what they were made of. A resumed run keeps them, even if recordings
were added.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

from almtok.core.data.entries import SPLITS, AudioEntry
from almtok.core.data.manifests import list_entries
from almtok.core.data.split_files import describe_split, write_manifest
from almtok.core.data.splits import CorpusSplit, split_corpus
from almtok.core.files import write_json
from almtok.core.reading import field, read_json_object

from .corpora import CorpusOptions, split_file
from .run import announce

RECORD = "split.json"
_HINT = "your own splits: --train SOURCE --valid SOURCE --test SOURCE; this one: {}"


def divide(options: CorpusOptions, *, write: bool) -> dict[str, list[AudioEntry]]:
    """Divide the training sources, or read the division of the folder; return entries by part.

    Args:
        options: With training sources only.
        write: Write the manifests; otherwise only the two lines are printed.

    Raises:
        ValueError: A source cannot be read, a domain is too small, or the folder holds a division
            of other sources.
    """
    folder = Path(options.out, "split")
    if (folder / RECORD).is_file():
        return _kept(options, folder)
    by_domain = _listed(options)
    split = split_corpus([entry for entries in by_domain.values() for entry in entries])
    own = {domain: _parts(split, entries) for domain, entries in by_domain.items()}
    _check_parts(own, options)
    summary = f"split: {describe_split(split)}"
    announce(f"{summary}\n    {_HINT.format(folder if write else f'{folder} when it runs')}")
    if write:
        for domain, parts in own.items():
            for part, entries in parts.items():
                write_manifest(split_file(options.out, domain, part), entries)
        sources = {"sources": options.by_domain(), "summary": summary}
        write_json(folder / RECORD, sources)
    return split.parts


def _parts(split: CorpusSplit, entries: list[AudioEntry]) -> dict[str, list[AudioEntry]]:
    own = {entry.id for entry in entries}
    return {part: [entry for entry in split.parts[part] if entry.id in own] for part in SPLITS}


def _check_parts(own: dict[str, dict[str, list[AudioEntry]]], options: CorpusOptions) -> None:
    """Refuse sources of which a part is empty: each part of each domain is a manifest."""
    for domain, parts in own.items():
        for part, entries in parts.items():
            if not entries:
                raise ValueError(
                    f"none of the {sum(map(len, parts.values()))} clips of"
                    f" {' '.join(options.by_domain()[domain])} is in {part}: name the same domain"
                    " for all sources of it, such as speech=DIR speech=MANIFEST, or give --valid"
                    " and --test"
                )


def _kept(options: CorpusOptions, folder: Path) -> dict[str, list[AudioEntry]]:
    record = read_json_object(folder / RECORD)
    made_of = field(record, "sources", dict, folder / RECORD)
    if made_of != options.by_domain():
        raise ValueError(
            f"{folder} was made of {_joined(made_of)}, asked for {_joined(options.by_domain())}:"
            " choose another --out"
        )
    announce(f"{field(record, 'summary', str, folder / RECORD)}\n    kept from before: {folder}")
    return {part: list_entries(options.sources(part), transcripts=True) for part in SPLITS}


def _joined(by_domain: dict[str, list[str]]) -> str:
    return " ".join(str(source) for sources in by_domain.values() for source in sources)


def _listed(options: CorpusOptions) -> dict[str, list[AudioEntry]]:
    """Entries by the domain that their source names; ids are different in all of them."""
    counts: Counter[str] = Counter()
    found: dict[str, list[AudioEntry]] = {}
    for domain, sources in options.by_domain().items():
        found[domain] = []
        for entry in list_entries(sources, transcripts=True):
            counts[entry.id] += 1
            name = entry.id if counts[entry.id] == 1 else f"{entry.id}#{domain}"
            found[domain].append(dataclasses.replace(entry, id=name))
    return found
