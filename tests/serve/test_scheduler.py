"""The scheduler: many requests, one model."""

import asyncio

import pytest
import torch

import almtok
from almtok.serve.scheduler import GenerationRequest, JobCancelled, QueueFull, Scheduler
from almtok.tasks.pipelines.base import AudioLMPipeline


@pytest.fixture(scope="module")
def pipeline():
    return AudioLMPipeline.from_pretrained(almtok.shipped(), device="cpu", dtype="float32")


def speech(pipeline, text="Good morning!", seed=0):
    return GenerationRequest.of(pipeline.prompt("tts", [{"text": text}]), seed=seed)


def test_chunks_are_the_audio_of_the_row(pipeline):
    async def run():
        scheduler = Scheduler(pipeline)
        scheduler.start()
        job = scheduler.submit(speech(pipeline))
        chunks = [chunk async for chunk in job.chunks()]
        row = await job.result()
        await scheduler.stop(10)
        return chunks, row

    chunks, row = asyncio.run(run())
    alone = pipeline.run("tts", [{"text": "Good morning!"}], seed=0)[0].row
    assert torch.equal(row.codes, alone.codes)
    assert torch.equal(torch.cat([chunk.codes for chunk in chunks], dim=1), row.codes)
    assert chunks[0].codes.shape[1] == 1


def test_the_queue_is_bounded_and_waiting_requests_can_be_cancelled(pipeline):
    async def run():
        scheduler = Scheduler(pipeline, max_queue=1)  # not started: requests wait
        job = scheduler.submit(speech(pipeline))
        with pytest.raises(QueueFull) as full:
            scheduler.submit(speech(pipeline))
        assert full.value.retry_after > 0
        job.cancel()
        with pytest.raises(JobCancelled):
            await job.result()
        assert scheduler.stats.queued == 0 and scheduler.stats.rows_cancelled == 1

    asyncio.run(run())
