"""The scheduler: many requests, one model."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

import almtok
from almtok.lm.generation.kv_cache import KVCache
from almtok.serve.scheduler import GenerationRequest, JobCancelled, QueueFull, Scheduler
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions

SHORT = GenerationOptions(max_seconds=1.5)
TEXTS = ("Good morning!", "One, two, three, four.", "Yes.", "The sun is out.", "Who is there?")


@pytest.fixture(scope="module")
def pipeline():
    return AudioLMPipeline.from_pretrained(almtok.shipped(), device="cpu", dtype="float32")


@asynccontextmanager
async def running(pipeline, **options):
    scheduler = Scheduler(pipeline, **options)
    scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.stop(0)


def speech(pipeline, text="Good morning!", seed=0, options=SHORT, **changes):
    arguments = pipeline.prompt("tts", [{"text": text}], options=options)
    return GenerationRequest.of({**arguments, **changes}, seed=seed)


def alone(pipeline, request):
    (row,) = pipeline.lm.generate(request.input_ids, request.attention_mask, **request.options)
    return row


def test_requests_that_come_and_go_are_those_alone(pipeline):
    """Of several options; each is submitted when the first one before it is heard."""
    requests = [speech(pipeline, text, seed=seed) for seed, text in enumerate(TEXTS)]
    requests[1] = speech(pipeline, TEXTS[1], options=replace(SHORT, guidance_scale=1.0))
    requests.append(speech(pipeline, options=replace(SHORT, temperature=0.9, top_k=5), seed=7))

    async def run():
        async with running(pipeline, max_batch=3) as scheduler:
            jobs, heard = [], []

            async def listen(job):
                return [chunk async for chunk in job.chunks()]

            for request in requests:
                jobs.append(scheduler.submit(request))
                heard.append(asyncio.create_task(listen(jobs[-1])))
                if len(jobs) == 2:
                    await jobs[0].result()
            rows = [await job.result() for job in jobs]
            return rows, [await chunks for chunks in heard], scheduler.stats

    rows, heard, stats = asyncio.run(run())
    assert (stats.queued, stats.running, stats.rows_done) == (0, 0, len(requests))
    assert stats.audio_frames == sum(row.codes.shape[1] for row in rows)
    for request, row, chunks in zip(requests, rows, heard, strict=True):
        assert torch.equal(row.codes, alone(pipeline, request).codes)
        assert torch.equal(torch.cat([chunk.codes for chunk in chunks], dim=1), row.codes)
        assert chunks[0].codes.shape[1] == 1
        assert [c.start for c in chunks[1:]] == [c.start + c.codes.shape[1] for c in chunks[:-1]]
        wav = np.concatenate([chunk.waveform for chunk in chunks])
        whole = pipeline.codec.decode(row.codes[None]).audio_values.flatten().numpy()
        np.testing.assert_allclose(wav, whole, atol=1e-4)


def test_a_continued_target_is_heard_after_its_prefix(pipeline):
    first = pipeline.run("tts", [{"text": "Yes."}], options=SHORT)[0].audio_tokens
    fields = {"text": "No.", "prefix": first, "prefix_text": "Yes."}
    request = GenerationRequest.of(pipeline.prompt("tts", [fields], options=SHORT))

    async def run():
        async with running(pipeline) as scheduler:
            job = scheduler.submit(request)
            return [chunk async for chunk in job.chunks()], await job.result()

    chunks, row = asyncio.run(run())
    assert row.prefix == first.codes.shape[1] == chunks[0].start
    assert torch.equal(torch.cat([chunk.codes for chunk in chunks], dim=1), row.content)


@pytest.mark.parametrize("beams", [1, 2])
def test_audio_becomes_text(pipeline, beams):
    audio = pipeline.run("tts", [{"text": "Good morning!"}])[0].audio_tokens
    options = GenerationOptions(beams=beams, views=1)
    request = GenerationRequest.of(pipeline.prompt("asr", [{"audio": audio}], options=options))

    async def run():
        async with running(pipeline) as scheduler:
            job = scheduler.submit(request)
            assert [chunk async for chunk in job.chunks()] == []
            return await job.result()

    assert torch.equal(asyncio.run(run()).ids, alone(pipeline, request).ids)


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


def test_a_cancelled_request_gives_its_place_to_the_next(pipeline):
    endless = speech(pipeline, min_frames=[3000], max_frames=[3000])

    async def run():
        async with running(pipeline, max_batch=1) as scheduler:
            first, second = scheduler.submit(endless), scheduler.submit(speech(pipeline))
            await anext(first.chunks())
            first.cancel()
            with pytest.raises(JobCancelled):
                await first.result()
            await second.result()
            return scheduler.stats

    stats = asyncio.run(run())
    assert (stats.rows_cancelled, stats.rows_done) == (1, 1)


def test_an_error_in_a_prompt_is_an_error_of_its_request_only(pipeline, monkeypatch):
    read, fail = KVCache.read_prompts, speech(pipeline, "Fail.")

    together = []

    def read_or_fail(self):
        length = fail.input_ids.shape[1]  # of others that join at the same step, too
        if any(torch.equal(row[-length:], fail.input_ids[0]) for row in self._input_ids):
            together.append(len(self._input_ids))
            raise RuntimeError("out of memory")
        return read(self)

    monkeypatch.setattr(KVCache, "read_prompts", read_or_fail)

    async def run():
        async with running(pipeline) as scheduler:
            with scheduler._changed:  # both join at one step
                good = scheduler.submit(speech(pipeline))
                bad = scheduler.submit(fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                await bad.result()
            return await good.result(), scheduler.stats

    row, stats = asyncio.run(run())
    assert row.codes.shape[1] > 3 and stats.rows_failed == 1
    assert together[0] > 1 and together[-1] <= 2, "read together, then alone"


def test_nan_in_the_logits_of_a_row_is_an_error_of_its_request_only(pipeline):
    good, bad = speech(pipeline), speech(pipeline, guidance_scale=1e308)

    async def run():
        async with running(pipeline) as scheduler:
            jobs = [scheduler.submit(request) for request in (good, bad, good)]
            with pytest.raises(RuntimeError, match="logits of row 0 must be finite, got NaN"):
                await jobs[1].result()
            rows = [await job.result() for job in (jobs[0], jobs[2])]
            return rows, scheduler.stats

    rows, stats = asyncio.run(run())
    assert all(torch.equal(row.codes, alone(pipeline, good).codes) for row in rows)
    assert (stats.rows_done, stats.rows_failed, stats.running) == (2, 1, 0)


def test_an_error_in_a_step_fails_its_rows_and_the_next_request_is_served(pipeline, monkeypatch):
    read = KVCache.read

    def fail_once(self, rows):
        monkeypatch.setattr(KVCache, "read", read)
        raise RuntimeError("the device is lost")

    async def run():
        async with running(pipeline) as scheduler:
            monkeypatch.setattr(KVCache, "read", fail_once)
            with pytest.raises(RuntimeError, match="the device is lost"):
                await scheduler.submit(speech(pipeline)).result()
            return await scheduler.submit(speech(pipeline)).result()

    assert asyncio.run(run()).codes.shape[1] > 3


def test_a_stopped_scheduler_finishes_or_cancels_and_takes_nothing(pipeline):
    endless = speech(pipeline, min_frames=[3000], max_frames=[3000])

    async def run():
        scheduler = Scheduler(pipeline)
        scheduler.start()
        short, long = scheduler.submit(speech(pipeline)), scheduler.submit(endless)
        await short.result()
        await scheduler.stop(0.01)
        with pytest.raises(JobCancelled):
            await long.result()
        with pytest.raises(RuntimeError, match="the scheduler is stopping"):
            scheduler.submit(speech(pipeline))

    asyncio.run(run())


def test_requests_that_cannot_be_are_refused(pipeline):
    async def run():
        scheduler = Scheduler(pipeline)
        with pytest.raises(ValueError, match="compile must be False"):
            scheduler.submit(speech(pipeline, compile=True))
        with pytest.raises(ValueError, match="a request must be one prompt, got 2"):
            arguments = pipeline.prompt("tts", [{"text": "a"}, {"text": "b"}])
            scheduler.submit(GenerationRequest.of(arguments))
        with pytest.raises(ValueError, match="min_frames must be"):
            scheduler.submit(speech(pipeline, min_frames=[5], max_frames=[2]))

    asyncio.run(run())
    with pytest.raises(ValueError, match="max_batch must be at least 1, got 0"):
        Scheduler(pipeline, max_batch=0)
