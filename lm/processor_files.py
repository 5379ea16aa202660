"""The folder of a processor: `processor_config.json`, the tokenizer's files, perhaps `codec/`."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from ..codec.model import ALMTokenizer
from ..core.files import replaced_folder, write_json
from .config import AudioLMConfig

NAME = "processor_config.json"
CODEC = "codec"
# Of a hub repository, what a processor needs.
_PATTERNS = [NAME, "token*", "vocab*", "merges*", "special_tokens_map.json", "*.model", "codec/*"]
_HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only", "force_download")


@dataclass(frozen=True)
class ProcessorFiles:
    """What a folder says about its processor."""

    folder: Path
    config: AudioLMConfig
    codec: Path | str | None
    text_form: Any
    language: str | None


def read_processor(source: str | os.PathLike[str], options: dict[str, Any]) -> ProcessorFiles:
    """Read the folder, or that of a hub repository.

    A codec lies in `codec/` of the folder or beside it (`run/codec`, `run/lm`); else it is where
    it was when the processor was saved.

    Raises:
        ValueError: if the folder holds no processor.
    """
    folder = Path(source)
    if not folder.is_dir():
        wanted = {name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None}
        folder = Path(snapshot_download(str(source), allow_patterns=_PATTERNS, **wanted))
    if not (folder / NAME).exists() and (folder / "lm" / NAME).exists():
        folder = folder / "lm"
    try:
        said = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{source} holds no processor: {NAME} is missing") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / NAME} is damaged: {error}") from error
    if said.get("processor_class") != "AudioLMProcessor":
        raise ValueError(
            f"{folder / NAME} is of {said.get('processor_class')!r}, expected 'AudioLMProcessor'"
        )
    places = (folder / CODEC, folder.parent / CODEC)
    codec = next((place for place in places if (place / "config.json").exists()), said["codec"])
    config = AudioLMConfig.from_dict(said["lm"])
    return ProcessorFiles(folder, config, codec, said["text_form"], said["language"])


def write_processor(folder: str | os.PathLike[str], said: dict[str, Any]) -> None:
    """Write `processor_config.json`; aside, then renamed."""
    write_json(Path(folder) / NAME, said)


def write_codec(
    folder: str | os.PathLike[str], codec: ALMTokenizer | None, source: str | None
) -> bool:
    """Put the codec into `codec/` of the folder, if it is in memory or in a local folder.

    Returns:
        Whether it lies there now.
    """
    place = Path(folder) / CODEC
    lies = Path(source) if source is not None and Path(source).is_dir() else None
    if lies is not None and place.exists() and lies.samefile(place):
        return True
    if codec is None and lies is None:
        return False
    with replaced_folder(place) as aside:
        if codec is not None:
            codec.save_pretrained(aside)
        else:
            assert lies is not None
            shutil.copytree(lies, aside, dirs_exist_ok=True)
    return True
