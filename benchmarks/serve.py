"""``python -m benchmarks.serve``: first sound and throughput of the scheduler of the server.

Requests for speech of one length are submitted at once, without HTTP, to the checkpoint that comes
with almtok. Processor seconds depend little on other programs, wall-clock time does.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass

import almtok
from almtok.serve.scheduler import GenerationRequest, Scheduler
from almtok.tasks.pipelines.base import AudioLMPipeline

from .harness import markdown_table

TEXT = "Good morning, this is a sentence that has quite a few words in it."
HEAD = (
    "requests",
    "first sound, s (median)",
    "last first sound, s",
    "seconds of audio per second",
    "per processor second",
)


@dataclass(frozen=True)
class Load:
    """What a number of requests at once took."""

    first_sounds: list[float]  # seconds after submission
    audio: float  # seconds of audio of all
    seconds: float
    cpu: float

    def row(self) -> tuple[str, ...]:
        """The row of the table."""
        return (
            str(len(self.first_sounds)),
            f"{statistics.median(self.first_sounds):.2f}",
            f"{max(self.first_sounds):.2f}",
            f"{self.audio / self.seconds:.2f}",
            f"{self.audio / self.cpu:.2f}",
        )


async def measure(pipeline: AudioLMPipeline, count: int, frames: int) -> Load:
    """Submit `count` requests at once to a scheduler that has served one before."""
    scheduler = Scheduler(pipeline, max_batch=count, max_queue=count)
    scheduler.start()
    arguments = pipeline.prompt("tts", [{"text": TEXT}])
    arguments |= {"min_frames": [frames], "max_frames": [frames]}
    rate = pipeline.frame_rate(pipeline.frames_per_query())

    async def listen(seed: int) -> tuple[float, float]:
        start, first = time.perf_counter(), 0.0
        job = scheduler.submit(GenerationRequest.of(arguments, seed=seed))
        async for _ in job.chunks():
            first = first or time.perf_counter() - start
        codes = (await job.result()).codes
        assert codes is not None
        return first, codes.shape[1] / rate

    await listen(0)
    start, cpu = time.perf_counter(), time.process_time()
    heard = await asyncio.gather(*(listen(seed) for seed in range(count)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    await scheduler.stop(10)
    return Load([first for first, _ in heard], sum(audio for _, audio in heard), seconds, cpu)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 8, 32], metavar="N")
    parser.add_argument("--frames", type=int, default=50, metavar="N", help="of each request")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    pipeline = AudioLMPipeline.from_pretrained(almtok.shipped(), device=args.device)
    rows = [asyncio.run(measure(pipeline, count, args.frames)).row() for count in args.requests]
    print(markdown_table(HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
