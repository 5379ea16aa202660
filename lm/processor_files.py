"""Files of a processor: `processor_config.json`, the tokenizer, optionally `codec/`."""

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
# Files of a hub repository that a processor needs.
_PATTERNS = [NAME, "token*", "vocab*", "merges*", "special_tokens_map.json", "*.model", "codec/*"]
_HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only", "force_download")


@dataclass(frozen=True)
class ProcessorFiles:
    """Contents of the folder of a processor."""

    folder: Path
    config: AudioLMConfig
    codec: Path | str | None
    text_form: Any
    language: str | None


def read_processor(source: str | os.PathLike[str], options: dict[str, Any]) -> ProcessorFiles:
    """Read a folder, or a hub repository.

    The codec is `codec/` in the folder or beside it (`run/codec`, `run/lm`), else the one of which
    the processor was saved.

    Raises:
        ValueError: if the folder holds no processor.
    """
    folder = Path(source)
    if not folder.is_dir():
        hub_options = {
            name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None
        }
        folder = Path(snapshot_download(str(source), allow_patterns=_PATTERNS, **hub_options))
    if not (folder / NAME).exists() and (folder / "lm" / NAME).exists():
        folder = folder / "lm"
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{source} holds no processor: {NAME} is missing") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / NAME} is damaged: {error}") from error
    if values.get("processor_class") != "AudioLMProcessor":
        raise ValueError(
            f"{folder / NAME}: processor_class must be 'AudioLMProcessor', got"
            f" {values.get('processor_class')!r}"
        )
    places = (folder / CODEC, folder.parent / CODEC)
    codec = next((place for place in places if (place / "config.json").exists()), values["codec"])
    config = AudioLMConfig.from_dict(values["lm"])
    return ProcessorFiles(folder, config, codec, values["text_form"], values["language"])


def write_processor(folder: str | os.PathLike[str], values: dict[str, Any]) -> None:
    """Write `processor_config.json` atomically."""
    write_json(Path(folder) / NAME, values)


def write_codec(
    folder: str | os.PathLike[str], codec: ALMTokenizer | None, source: str | None
) -> bool:
    """Save the codec to `codec/` of the folder, if it is loaded or in a local folder.

    Returns:
        Whether the folder has the codec now.
    """
    place = Path(folder) / CODEC
    local = Path(source) if source is not None and Path(source).is_dir() else None
    if local is not None and place.exists() and local.samefile(place):
        return True
    if codec is None and local is None:
        return False
    with replaced_folder(place) as aside:
        if codec is not None:
            codec.save_pretrained(aside)
        else:
            assert local is not None
            shutil.copytree(local, aside, dirs_exist_ok=True)
    return True
