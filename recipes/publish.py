r"""Write a checkpoint for distribution: half precision, without what only training needs.

    python -c "from almtok.recipes.publish import main; main()" \
        --codec RUN/model --lm RUN --out checkpoints/mini

Rounding changes the codes slightly and with them the codec's fingerprint: publish the codec first,
then train the language model on the published codec. Card and credits are written by hand.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig

from almtok.codec.model import ALMTokenizer
from almtok.codec.phonemes import PhonemeClassifier
from almtok.codec.refine import CLASSIFIER_NAME
from almtok.core.files import replaced_folder, write_json
from almtok.core.reading import read_json_object
from almtok.lm.lora import base_fingerprint
from almtok.lm.processor_files import NAME
from almtok.tasks import AudioLMPipeline

from ..lm.generation.sampling import SamplingConfig
from ..lm.model import AudioLM
from ..tasks.base import get_task
from ..tasks.pipelines.arguments import guidance_scale
from ..tasks.pipelines.options import DEFAULT

_SUMS = ".codebook.total"  # used in training only, and computed from entries and counts


def publish(
    out: Path,
    *,
    codec: Path | None = None,
    phoneme_classifier: Path | None = None,
    lm: Path | None = None,
) -> int:
    """Write `out/codec` and `out/lm`; each folder is replaced as a whole.

    Args:
        out: the folder.
        codec: folder of a trained codec; None keeps the present one.
        phoneme_classifier: of 'almtok codec phonemes', for searches with this codec.
        lm: run folder of a language model on the codes of that codec; None keeps the present one.

    Returns:
        Size of the whole folder in bytes.

    Raises:
        ValueError: the language model was trained on the codes of another codec.
    """
    if codec is not None:
        model = ALMTokenizer.from_pretrained(str(codec), dtype=torch.float16)
        # Codebooks are float32 in any model; they are stored in half precision all the same.
        state = {
            name: value.half() if value.is_floating_point() else value
            for name, value in model.state_dict().items()
            if not name.endswith(_SUMS)
        }
        with replaced_folder(out / "codec") as place:
            model.save_pretrained(place, state_dict=state)
    if phoneme_classifier is not None:
        PhonemeClassifier.load(phoneme_classifier).half().save(out / "codec" / CLASSIFIER_NAME)
    if lm is not None:
        _publish_lm(out, lm)
    return sum(file.stat().st_size for file in out.rglob("*") if file.is_file())


def _publish_lm(out: Path, lm: Path) -> None:
    pipeline = AudioLMPipeline.from_pretrained(lm, dtype="float16")
    fingerprint = ALMTokenizer.from_pretrained(str(out / "codec")).fingerprint
    if pipeline.lm.config.codec_fingerprint != fingerprint:
        raise ValueError(
            f"{lm} was trained on codec {pipeline.lm.config.codec_fingerprint}; "
            f"{out / 'codec'} is {fingerprint}"
        )
    with replaced_folder(out / "lm") as place:
        set_task_defaults(pipeline.lm)
        pipeline.lm.save_pretrained(place)
        pipeline.processor.save_pretrained(place, include_codec=False)
        # Paths of this machine; the codec lies beside the model.
        facts = json.loads((place / NAME).read_text(encoding="utf-8"))
        facts["codec"] = None
        facts["lm"].pop("_name_or_path", None)
        write_json(place / NAME, facts)


def main(argv: Sequence[str] | None = None) -> None:
    """Run :func:`publish` from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--codec", type=Path, metavar="DIR", help="a trained codec")
    parser.add_argument(
        "--phoneme-classifier", type=Path, metavar="FILE", help="for searches with it"
    )
    parser.add_argument("--lm", type=Path, metavar="RUN", help="a language model on its codes")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(argv)
    size = publish(
        args.out, codec=args.codec, phoneme_classifier=args.phoneme_classifier, lm=args.lm
    )
    print(f"{args.out}: {size / 1e6:.1f} MB")


def copy_model(argv: Sequence[str] | None = None) -> None:
    """Copy the model of a run to another folder, from the command line."""
    parser = argparse.ArgumentParser(description="Copy the model of a run to another folder.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    with replaced_folder(args.out) as place:
        shutil.copytree(args.model, place, dirs_exist_ok=True)


def set_task_defaults(lm: AudioLM) -> None:
    """Set sampling, guidance and minimum of the model's audio tasks as its generation defaults.

    transformers has one sampling for all codebooks: that of the first.
    """
    usual = SamplingConfig()
    params = {}
    for name in lm.config.tasks:
        task = get_task(name)
        if task.layout.target.kind == "text":
            continue
        names = ("temperature", "top_k", "top_p", "repetition_penalty")
        sampling = dataclasses.asdict(task.audio_sampling)
        values = {n: sampling[n] for n in names if sampling[n] != getattr(usual, n)}
        guidance = guidance_scale(task, DEFAULT, lm.config)
        if task.min_seconds:
            values["min_new_tokens"] = task.limits().min_frames
        params[name] = values | ({"guidance_scale": guidance} if guidance != 1 else {})
    values = lm.generation_config.to_diff_dict()
    values.pop("_from_model_config", None)  # with it, transformers loads no further fields
    lm.generation_config = GenerationConfig(**{**values, "task_specific_params": params})


def card(argv: Sequence[str] | None = None) -> None:
    """Write `card.json` of a model from the tables of its evaluation, from the command line."""
    parser = argparse.ArgumentParser(description="Write card.json of the tables of an evaluation.")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR")
    parser.add_argument("--scores", type=Path, required=True, metavar="DIR")
    parser.add_argument("--command", default="", help="what made the model")
    args = parser.parse_args(argv)
    write_json(args.model / "card.json", make_card(args.model, args.scores, args.command))


def make_card(model: Path, scores: Path, command: str) -> dict[str, Any]:
    """Facts of a model and its figures, each a mean with its 95 % interval and count.

    Args:
        model: folder with `codec/` and `lm/`.
        scores: folder with `codec/table.json` and `lm/table.json`.
        command: what made the model.

    Raises:
        ValueError: a table is missing or damaged.
    """
    pipeline = AudioLMPipeline.from_pretrained(model)
    codec, lm = (read_json_object(scores / name / "table.json") for name in ("codec", "lm"))
    figures: dict[str, dict[str, list[float]]] = {}
    for figure in lm["figures"]:
        value = figure["value"]
        shown = [value["mean"], value["low"], value["high"], value["n"]]
        figures.setdefault(figure["task"], {})[figure["name"]] = shown
    config = pipeline.lm.config
    return {
        "fingerprint": pipeline.codec.fingerprint,
        "training": command,
        "codec": codec,
        "lm": {
            "fingerprint": base_fingerprint(pipeline.lm),
            "parameters_millions": round(pipeline.lm.num_parameters() / 1e6, 1),
            "voices": list(config.voices),
            "supports_cloning": config.supports_cloning,
            "settings": lm["settings"],
            "metrics": figures,
        },
    }


def check_commands(argv: Sequence[str] | None = None) -> None:
    """Check the options of the commands in a file: words after null bytes, ended by a line break.

    Raises:
        SystemExit: a command does not know one of its options.
    """
    from almtok.__main__ import build_parser

    (file,) = sys.argv[1:] if argv is None else argv
    words = Path(file).read_text(encoding="utf-8").split("\0")[:-1]
    command: list[str] = []
    for word in words:
        if word != "\n":
            command.append(word)
            continue
        build_parser(command[0]).parse_args(command)
        command = []
