"""Model cards: the README.md of a saved model, with the metadata of the Hugging Face hub."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .files import write_text

NAME = "README.md"


def write_model_card(
    folder: str | os.PathLike[str],
    *,
    title: str,
    pipeline_tag: str,
    tags: Sequence[str],
    facts: Sequence[str],
    usage: str,
) -> None:
    """Write the card of a model, unless the folder has one.

    Licence, data and metrics are the author's to add: a model does not know them.

    Args:
        folder: folder of the model.
        title: first heading.
        pipeline_tag: task of the hub.
        tags: besides `almtok`.
        facts: lines of a list.
        usage: Python code that loads the model.
    """
    from huggingface_hub import ModelCardData

    if (Path(folder) / NAME).exists():
        return
    data = ModelCardData(
        library_name="almtok", pipeline_tag=pipeline_tag, tags=["almtok", "audio", *tags]
    )
    listed = "\n".join(f"- {fact}" for fact in facts)
    text = f"""---
{data.to_yaml().strip()}
---

# {title}

{listed}

```python
{usage}
```

Add `license`, `datasets` and `metrics` to the metadata above before publishing.
"""
    write_text(Path(folder) / NAME, text)
