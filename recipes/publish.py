r"""What comes with almtok, from what was trained: half precision, nothing that only training needs.

    python -c "from almtok.recipes.publish import main; main()" \
        --codec RUN/model --lm RUN --out checkpoints/mini

Rounding changes what codes mean a little, and with it the codec's fingerprint: ship the codec
first, then train the language model on what is shipped. The card and the credits are written by
people; they stay.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from almtok.codec.model import ALMTokenizer
from almtok.codec.phonemes import PhonemeClassifier
from almtok.codec.refine import LISTENER_NAME
from almtok.core.files import replaced_folder, write_json
from almtok.lm.lora import load_adapter, save_adapter
from almtok.lm.model import AudioLM
from almtok.lm.processor_files import NAME
from almtok.tasks import AudioLMPipeline, get_task
from almtok.tasks.pipelines.adapters import FOLDER as ADAPTERS

SUMS = ".codebook.total"  # of training; entries and counts say them again


def ship(
    out: Path,
    *,
    codec: Path | None = None,
    listener: Path | None = None,
    lm: Path | None = None,
    adapters: Mapping[str, Path] | None = None,
) -> int:
    """Write `out/codec`, `out/lm` and `out/adapters`, each aside and then renamed.

    Args:
        out: the folder.
        codec: folder of a trained codec; None leaves what is there.
        listener: file of 'almtok codec phonemes', for searches with this codec (codec/refine.py).
        lm: run folder of a language model on the codes of that codec; None leaves what is there.
        adapters: folders of adapters of that model, by the task that each is for.

    Returns:
        Bytes of the whole folder.

    Raises:
        ValueError: the language model was trained on the codes of another codec, or an adapter
            for another model.
    """
    if codec is not None:
        model = ALMTokenizer.from_pretrained(str(codec), dtype=torch.float16)
        # Codebooks are float32 whatever the rest is; what is shipped is read back into float32.
        state = {
            name: value.half() if value.is_floating_point() else value
            for name, value in model.state_dict().items()
            if not name.endswith(SUMS)
        }
        with replaced_folder(out / "codec") as place:
            model.save_pretrained(place, state_dict=state)
    if listener is not None:
        PhonemeClassifier.load(listener).half().save(out / "codec" / LISTENER_NAME)
    if lm is not None:
        bundle = AudioLMPipeline.from_pretrained(lm, dtype="float16")
        made_for = ALMTokenizer.from_pretrained(str(out / "codec")).fingerprint
        if bundle.lm.config.codec_fingerprint != made_for:
            raise ValueError(
                f"{lm} was trained on codec {bundle.lm.config.codec_fingerprint}; "
                f"{out / 'codec'} is {made_for}"
            )
        with replaced_folder(out / "lm") as place:
            bundle.lm.save_pretrained(place)
            bundle.processor.save_pretrained(place, include_codec=False)
            _forget_places(place / NAME)
    for task, folder in (adapters or {}).items():
        lm_there = AudioLM.from_pretrained(out / "lm", dtype=torch.float32)
        adapted = load_adapter(lm_there, folder).half()
        with replaced_folder(out / ADAPTERS / get_task(task).name) as place:
            save_adapter(adapted, place)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def _forget_places(file: Path) -> None:
    """Nobody else has the folders of this training; the codec lies beside the model."""
    said = json.loads(file.read_text(encoding="utf-8"))
    said["codec"] = None
    said["lm"].pop("_name_or_path", None)
    write_json(file, said)


def main(given: Sequence[str] | None = None) -> None:
    """Write a checkpoint as the command line asks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codec", type=Path, metavar="DIR", help="a trained codec")
    parser.add_argument("--listener", type=Path, metavar="FILE", help="for searches with it")
    parser.add_argument("--lm", type=Path, metavar="RUN", help="a language model on its codes")
    parser.add_argument(
        "--adapter", nargs=2, action="append", default=[], metavar=("TASK", "DIR"),
        help="an adapter of that model, for one task",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    o = parser.parse_args(given)
    adapters = {task: Path(folder) for task, folder in o.adapter}
    size = ship(o.out, codec=o.codec, listener=o.listener, lm=o.lm, adapters=adapters)
    print(f"{o.out}: {size / 1e6:.1f} MB")
