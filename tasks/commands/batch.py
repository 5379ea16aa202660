"""Commands that process many inputs: resume, progress, and errors of single inputs."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

from ...core.printing import print_result
from ...core.results_log import key_of, stamp
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import GenerationOptions
from .outputs import Destination, print_problem, print_status


class Item(Protocol):
    """An input of a command."""

    @property
    def id(self) -> str:
        """Unique among the inputs; the name of its output file."""
        ...


ItemT = TypeVar("ItemT", bound=Item)
OutputT = TypeVar("OutputT")


class BatchCommand(ABC, Generic[ItemT, OutputT]):
    """Processes inputs and writes one output for each.

    If the destination has a log, finished inputs are skipped when the command is repeated. An input
    that cannot be processed is reported and logged, and the others are still processed; if it is
    the only input, its error is raised.

    Attributes:
        args: the command line.
        options: of generation.
        items: the inputs.
        destination: where outputs go.
        batch_size: inputs per call of :meth:`process`.
        unit: name of an input in the progress bar.
        pipeline: the model, once :meth:`run` has loaded it.
    """

    unit = "file"
    pipeline: AudioLMPipeline

    def __init__(
        self,
        args: argparse.Namespace,
        options: GenerationOptions,
        items: Sequence[ItemT],
        destination: Destination,
        *,
        batch_size: int = 1,
    ) -> None:
        self.args, self.options, self.items = args, options, items
        self.destination, self.batch_size = destination, batch_size
        self.single = len(items) == 1

    @abstractmethod
    def key(self, item: ItemT, model: str, sampling: Mapping[str, Any]) -> str:
        """Hash of all that an output depends on.

        Args:
            item: the input.
            model: see :func:`model_stamp`.
            sampling: the options of generation without the batch size.
        """

    def check(self, item: ItemT) -> None:
        """Raise ValueError or OSError if the input cannot be processed, before its batch is."""

    @abstractmethod
    def process(self, items: list[ItemT]) -> list[OutputT]:
        """Process a batch; if it raises ValueError or OSError, inputs are tried one by one."""

    @abstractmethod
    def write(self, item: ItemT, output: OutputT) -> dict[str, Any]:
        """Write an output to the destination; return its entry for the log and `--json`."""

    @abstractmethod
    def report(self, item: ItemT, output: OutputT, entry: Mapping[str, Any]) -> None:
        """Print an output that was written; with ``--json`` on standard error only."""

    def run(self) -> int:
        """Process all inputs that are not finished; return 1 if any failed, else 0."""
        keys = self._keys()
        waiting = [item for item in self.items if not self.destination.finished(item.id, keys)]
        if len(waiting) < len(self.items):
            print_status(f"{len(self.items) - len(waiting)} of {len(self.items)} are done already")
        found = {item.id: self.destination.entry(item.id) for item in self.items}
        failed = self._run(waiting, keys, found) if waiting else 0
        if self.args.json:
            entries = list(found.values())
            print_result(self.args, "", entries[0] if self.single else entries)
        return 1 if failed else 0

    def _run(
        self,
        waiting: list[ItemT],
        keys: Mapping[str, str],
        found: dict[str, dict[str, Any]],
    ) -> int:
        """Process inputs; put their entries into `found`, and return how many failed."""
        self.pipeline = load_pipeline(self.args)
        failed = 0
        bar = tqdm(total=len(waiting), desc=self.args.command, unit=self.unit, disable=self.single)
        with bar:
            for first in range(0, len(waiting), self.batch_size):
                batch = waiting[first : first + self.batch_size]
                for item, output in self._outputs(batch):
                    if isinstance(output, Exception):
                        failed += 1
                        print_problem(f"{item.id}: {output}")
                        entry = {"id": item.id, "error": str(output)}
                        self.destination.add(item.id, keys, entry)
                    else:
                        entry = self.write(item, output)
                        self.destination.add(item.id, keys, entry)
                        self.report(item, output, entry)
                    found[item.id] = entry
                bar.update(len(batch))
        return failed

    def _keys(self) -> dict[str, str]:
        """Keys by id; empty if the destination has no log."""
        if self.destination.log is None:
            return {}
        model = model_stamp(self.args)
        sampling = self.options.facts
        return {item.id: self.key(item, model, sampling) for item in self.items}

    def _outputs(self, batch: list[ItemT]) -> list[tuple[ItemT, OutputT | Exception]]:
        failed: list[tuple[ItemT, OutputT | Exception]] = []
        good = []
        for item in batch:
            try:
                self.check(item)
                good.append(item)
            except (ValueError, OSError) as error:
                if self.single:
                    raise
                failed.append((item, error))
        return failed + self._process(good)

    def _process(self, items: list[ItemT]) -> list[tuple[ItemT, OutputT | Exception]]:
        if not items:
            return []
        try:
            return list(zip(items, self.process(items), strict=True))
        except (ValueError, OSError) as error:
            if self.single:
                raise
            if len(items) == 1:
                return [(items[0], error)]
        return [pair for item in items for pair in self._process([item])]


def load_pipeline(args: argparse.Namespace) -> AudioLMPipeline:
    """Load the checkpoint of a command line, without the progress bars of transformers."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AudioLMPipeline.from_pretrained(
        args.checkpoint, adapter=args.adapter, device=args.device, dtype=args.dtype
    )


def model_stamp(args: argparse.Namespace) -> str:
    """Hash of checkpoint, adapter and dtype; changes when one of them does."""
    adapter = None if args.adapter is None else stamp(args.adapter)
    return key_of(stamp(args.checkpoint), adapter, args.dtype)
