"""JobBatch: the jobs that a model generates together, and their audio."""

from __future__ import annotations

from ..lm.generation.decoding import Decoding
from ..lm.generation.output import GeneratedRow
from ..lm.generation.prompt_batch import read_together
from ..lm.generation.streaming import AudioStream
from ..tasks.pipelines.base import AudioLMPipeline
from .job import CHUNK_FRAMES, AudioChunk, Job


class JobBatch:
    """The jobs that are generated together; for one thread, under `evaluating`."""

    def __init__(self, pipeline: AudioLMPipeline):
        self.jobs: dict[int, Job] = {}  # by the number of their row
        self._decoding = Decoding(pipeline.lm, isolate=True)
        self._stream = AudioStream(pipeline.lm, pipeline.codec, self._decoding, CHUNK_FRAMES)

    def read(self, jobs: list[Job]) -> None:
        """Read the prompts of jobs that join together, in less time than one by one."""
        read_together([job.prompts for job in jobs if job.prompts is not None])

    def join(self, job: Job) -> None:
        """Let a job take part in the next step; reads its prompt if :meth:`read` did not."""
        assert job.prompts is not None
        job.prompts.read()
        (number,) = self._decoding.join(job.prompts)
        job.prompts = None  # its keys are in the cache of the decoding
        self._stream.row_chunk_frames[number] = job.request.chunk_frames
        self.jobs[number] = job

    def drop_cancelled(self) -> list[Job]:
        """Remove cancelled jobs at the next step."""
        gone = {number: job for number, job in self.jobs.items() if job.cancelled}
        self._decoding.drop(gone)
        for number in gone:
            del self.jobs[number]
        return list(gone.values())

    def step(self) -> dict[Job, GeneratedRow | BaseException]:
        """Generate one row of every job and hand over its audio.

        Returns:
            The row of each job that has ended, or its error.
        """
        if not self._decoding.running:
            return {}
        for chunk in self._stream.advance():
            job = self.jobs.get(chunk.row)
            if job is None:  # cancelled in this step
                continue
            new = chunk.without_prefix(job.prefix_frames)
            if new.codes.shape[1]:
                waveform = new.waveform.flatten().float().cpu().numpy()
                job.put_chunk(AudioChunk(waveform, new.codes, new.start))
        finished, failed = self._decoding.finished, self._decoding.failed
        ended: dict[Job, GeneratedRow | BaseException] = {
            self.jobs.pop(n): row for n, row in finished.items() if n in self.jobs
        }
        for number, error in failed.items():  # not of the request, as a ValueError would be
            if number in self.jobs:
                ended[self.jobs.pop(number)] = RuntimeError(str(error))
        finished.clear()
        failed.clear()
        return ended
