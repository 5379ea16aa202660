"""What a saved model has for the Hugging Face hub: its card, and its `auto_map`.

transformers knows the models after `import almtok`. Before, it would say that it does not know the
architecture and propose to update transformers. With `auto_map` it says that the folder has code of
its own and asks for `trust_remote_code=True`; this code is one import of almtok, and without the
package transformers says `pip install almtok`. almtok itself never runs it.
"""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import write_json, write_text
from .reading import read_json_object

NAME = "README.md"
# What only the author of a model knows.
_OF_THE_AUTHOR = ("license", "datasets", "metrics")
_MODULE = "needs_almtok"
_NAMES = ("ALMTokenizer", "ALMTokenizerConfig", "AudioLM", "AudioLMConfig", "AudioLMProcessor")


_MODULE_TEXT = '''\
"""This model needs the package almtok: run pip install almtok, and import almtok."""

from almtok import {names}  # noqa: F401
'''


def write_model_card(
    folder: str | os.PathLike[str],
    *,
    title: str,
    pipeline_tag: str,
    tags: Sequence[str],
    facts: Sequence[str],
    usage: str,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write the card of a model, unless the folder has one.

    Args:
        folder: folder of the model.
        title: first heading.
        pipeline_tag: task of the hub.
        tags: besides `almtok`.
        facts: lines of a list.
        usage: Python code that loads the model.
        card: further metadata of the hub, such as `license` or `datasets`; it replaces the above,
            except that `tags` are added. What is not given is not in the card.

    Raises:
        ValueError: if `card` has a field that the hub does not know, or a value of another type.
    """
    from huggingface_hub import ModelCardData

    given = {name: value for name, value in (card or {}).items() if value not in (None, [], "")}
    known = set(inspect.signature(ModelCardData).parameters) - {"kwargs", "ignore_metadata_errors"}
    if unknown := sorted(given.keys() - known):
        raise ValueError(
            f"fields of a model card must be of {', '.join(sorted(known))}, got"
            f" {', '.join(unknown)}"
        )
    for name, value in given.items():
        if name != "eval_results" and not _is_text(value):
            raise ValueError(f"{name} of a model card must be a text or list of texts, got {value}")
    if (Path(folder) / NAME).exists():
        return
    all_tags = dict.fromkeys(["almtok", "audio", *tags, *_listed(given.pop("tags", []))])
    data = ModelCardData(
        **{"library_name": "almtok", "pipeline_tag": pipeline_tag, **given, "tags": list(all_tags)}
    )
    missing = [f"`{name}`" for name in _OF_THE_AUTHOR if name not in given]
    listed = "\n".join(f"- {fact}" for fact in facts)
    hint = f"\nAdd {', '.join(missing)} to the metadata above before publishing.\n"
    text = f"""---
{data.to_yaml().strip()}
---

# {title}

{listed}

```python
{usage}
```
{hint if missing else ""}"""
    write_text(Path(folder) / NAME, text)


def hub_datasets(sources: Iterable[str]) -> list[str]:
    """Names of the datasets of the hub among sources of audio, for `datasets` of a card.

    Example:
        >>> hub_datasets(["speech=hf:openslr/librispeech_asr/clean:train.100", "sound=birds/"])
        ['openslr/librispeech_asr']
    """
    names = (text.rpartition("hf:")[2].partition(":")[0] for text in sources if "hf:" in text)
    plain = (name.partition("@")[0].split("/") for name in names if not os.path.exists(name))
    return list(dict.fromkeys("/".join(parts[:2]) for parts in plain))


def hub_id(name: str | None) -> str | None:
    """A name that can be a repository of the hub; None for folders and files of this machine."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    if name is None or os.path.exists(name):
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


class PushesWithCard:
    """Mixin of models whose `save_pretrained` writes a card; precedes `PreTrainedModel`."""

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        **options: Any,
    ) -> str:
        """Upload the model to the hub with its card; a card that is there is kept.

        `PreTrainedModel.push_to_hub` would replace the card by one of transformers.

        Args:
            repo_id: name of the repository, which is created if it is missing.
            commit_message: of the commit.
            commit_description: of the commit.
            private: whether a new repository is private.
            token: of the user; by default the stored one.
            revision: branch.
            create_pr: open a pull request instead.
            options: of `save_pretrained`, such as `card`.

        Returns:
            Address of the commit.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        kept = [NAME] if api.file_exists(repo_id, NAME, revision=revision) else []
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, **options)  # type: ignore[attr-defined]
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                ignore_patterns=kept,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                commit_description=commit_description,
                revision=revision,
                create_pr=create_pr,
            )
        return str(done)


def auto_map(**classes: str) -> dict[str, str]:
    """Return the `auto_map` of names of classes of almtok by Auto class."""
    return {auto: f"{_MODULE}.{name}" for auto, name in classes.items()}


def write_auto_map(folder: str | os.PathLike[str], names: Mapping[str, str], file: str) -> None:
    """Add an `auto_map` to a saved configuration, and write the module that it names.

    Args:
        folder: of the model.
        names: as of `auto_map`.
        file: name of the configuration in the folder.
    """
    path = Path(folder) / file
    write_json(path, read_json_object(path) | {"auto_map": dict(names)})
    write_text(path.with_name(f"{_MODULE}.py"), _MODULE_TEXT.format(names=", ".join(_NAMES)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    )


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
