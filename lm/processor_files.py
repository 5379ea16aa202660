"""Files of a processor: `processor_config.json`, the tokenizer, optionally `codec/`."""

from __future__ import annotations

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from ..codec.model import ALMTokenizer
from ..core.files import replaced_folder, write_json
from ..core.model_card import auto_map, write_auto_map
from ..core.reading import field, read_json_object, reading
from .config import AudioLMConfig

logger = logging.getLogger(__name__)

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
    codec: Any  # the codec, its place, or None
    text_form: Any
    language: str | None


def read_processor(
    source: str | os.PathLike[str], options: dict[str, Any], codec: Any = None
) -> ProcessorFiles:
    """Read a folder, or a hub repository.

    The codec is `codec/` in the folder or beside it (`run/codec`, `run/lm`), else the folder of
    which the processor was saved.

    Args:
        source: folder or hub id.
        options: of the hub.
        codec: another codec, or its folder or hub id.

    Raises:
        ValueError: if the folder holds no processor, a damaged one, or that of another model.
        OSError: if it cannot be read, or there is no such hub id.
    """
    folder = Path(source)
    if not folder.is_dir():
        hub_options = {
            name: options[name] for name in _HUB_OPTIONS if options.get(name) is not None
        }
        with reading(source):
            folder = Path(snapshot_download(str(source), allow_patterns=_PATTERNS, **hub_options))
    if not (folder / NAME).exists() and (folder / "lm" / NAME).exists():
        folder = folder / "lm"
    path = folder / NAME
    if not path.exists():
        raise ValueError(f"{source} holds no processor: {NAME} is missing")
    with reading(path):
        values = read_json_object(path)
        if values.get("processor_class") != "AudioLMProcessor":
            raise ValueError(
                f"{path}: processor_class must be 'AudioLMProcessor', got"
                f" {values.get('processor_class')!r}"
            )
        config = AudioLMConfig.from_dict(field(values, "lm", dict, path))
        text_form = field(values, "text_form", str, path)
        language = field(values, "language", (str, type(None)), path)
        name = field(values, "codec", (str, type(None)), path)
        codec = _find_codec(folder, name) if codec is None else codec
    _refuse_other_vocabulary(folder, config)
    return ProcessorFiles(folder, config, codec, text_form, language)


def _find_codec(folder: Path, name: str | None) -> Path | None:
    """Folder of the codec; a hub id in the file is not downloaded."""
    places = [folder / CODEC, folder.parent / CODEC, *([] if name is None else [Path(name)])]
    found = next((place for place in places if (place / "config.json").exists()), None)
    if found is None and name is not None:
        logger.warning(
            "%s names the codec %r, which is no folder here: pass audio_tokenizer=",
            folder / NAME, name,
        )  # fmt: skip
    return found


def _refuse_other_vocabulary(folder: Path, config: AudioLMConfig) -> None:
    """Refuse a processor beside a model that was trained with another vocabulary."""
    path = folder / "config.json"
    if not path.exists():
        return
    theirs, ours = read_json_object(path).get("tokenizer_fingerprint"), config.tokenizer_fingerprint
    if theirs is not None and theirs != ours:
        raise ValueError(
            f"vocabulary of the processor must be {theirs}, that of the model in {path}, got {ours}"
        )


def write_processor(folder: str | os.PathLike[str], values: dict[str, Any]) -> None:
    """Write `processor_config.json` atomically, with its `auto_map`."""
    write_json(Path(folder) / NAME, values)
    write_auto_map(folder, auto_map(AutoProcessor="AudioLMProcessor"), NAME)


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
