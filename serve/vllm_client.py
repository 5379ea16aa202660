"""VLLMClient: texts and audio of a `flat` model that vLLM serves as a plain checkpoint.

    fields -AudioLMProcessor-> rows -PlainIds-> prompt ids ─ POST /v1/completions ─> ids
    ids -PlainIds-> codes [K, Q] -> AudioTokens, or text ids -> a string

The server has the checkpoint of `almtok lm export`; the client has the folder that was exported,
whose configuration, tokenizer and codec it reads, not its weights. Server and client exchange ids
only, so the server needs no tokenizer (`vllm serve --skip-tokenizer-init`).

Shapes: `K` codebooks, `Q` frames of codes.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import torch

from ..codec.tokens import AudioTokens
from ..lm.export import PlainIds
from ..lm.layouts import task_layout
from ..lm.processor import AudioLMProcessor
from ..lm.prompt_builder import PromptOptions

logger = logging.getLogger(__name__)
_SECONDS = 300.0
_SHOWN = 500  # characters of an error of the server


class VLLMClient:
    """Asks a vLLM server for the targets of tasks.

    Example:
        >>> client = VLLMClient("http://localhost:8000", "runs/flat/model")  # doctest: +SKIP
        >>> tokens = client.generate("tts", text="Good morning!", seed=0)  # doctest: +SKIP
        >>> client.processor.audio_tokenizer.detokenize(tokens)  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        checkpoint: str | os.PathLike[str],
        *,
        model: str | None = None,
        timeout: float = _SECONDS,
    ) -> None:
        """Load the processor and ask the server for its model.

        Args:
            url: of the server, such as "http://localhost:8000".
            checkpoint: folder or hub id of the model that was exported, with its processor.
            model: name of the model on the server; by default the first one that it lists.
            timeout: longest time for an answer in seconds.

        Raises:
            ValueError: the model's pattern is not `flat`.
            RuntimeError: the server does not answer, or answers with an error.
        """
        self.processor = AudioLMProcessor.from_pretrained(checkpoint)
        self.ids = PlainIds(self.processor.config)
        self._http = httpx.Client(base_url=url, timeout=timeout)
        self.model = model or self._request("GET", "/v1/models")["data"][0]["id"]

    def generate(
        self,
        task: str,
        *,
        max_tokens: int = 1500,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | None = None,
        frames_per_query: int | None = None,
        **fields: Any,
    ) -> AudioTokens | str:
        """The target of a task: tokens of audio, or a text.

        Args:
            task: such as "tts" or "asr".
            max_tokens: largest number of codes or text tokens.
            temperature: of sampling; 0 takes the most likely token.
            top_k: number of candidates; 0: all.
            top_p: probability of the candidates.
            seed: of sampling.
            frames_per_query: w of the audio, by default that of the given tokens, else the codec's.
            fields: of the task, as of :class:`~almtok.lm.processor.AudioLMProcessor`.

        Raises:
            ValueError: for unknown tasks and fields, and for an answer that is no sequence of
                frames.
            RuntimeError: the server does not answer, or answers with an error.
        """
        batch = self.processor(task=task, frames_per_query=frames_per_query, **fields)
        options = PromptOptions(frames_per_query=frames_per_query)
        w = self.processor.prompt_builder.frames_per_query(fields.values(), options)
        choice = self._request("POST", "/v1/completions", {
            "model": self.model,
            "prompt": self.ids.from_rows(batch["input_ids"][0]).tolist(),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "seed": seed,
            "return_token_ids": True,
        })["choices"][0]  # fmt: skip
        if choice.get("token_ids") is None:
            raise RuntimeError("the server does not return token_ids: vLLM does since 0.10.2")
        if choice["finish_reason"] == "length":
            logger.warning("the target did not end within %d tokens", max_tokens)
        if task_layout(task).target.kind == "text":
            return self.text(choice["token_ids"])
        return self.audio(choice["token_ids"], w)

    def text(self, ids: Sequence[int]) -> str:
        """Text of generated ids, which may end with an end token.

        Raises:
            ValueError: an id is not of the text.
        """
        own = _before(ids, {self.processor.tokenizer.eos_token_id, self.ids.audio_end})
        wrong = [token for token in own if token >= self.ids.config.vocab_size]
        if wrong:
            raise ValueError(f"generated ids must be of the text, got {wrong[0]}")
        return self.processor.text_encoder.decode(torch.tensor(own, dtype=torch.long))

    def audio(self, ids: Sequence[int], frames_per_query: int) -> AudioTokens:
        """Tokens of generated ids, which may end with an end token or within a frame.

        Raises:
            ValueError: an id is not a code of the codebook whose turn it is, or there is no frame.
        """
        config = self.ids.config
        count = config.num_codebooks
        own = _before(ids, {self.processor.tokenizer.eos_token_id, self.ids.audio_end})
        codes = []
        for number, token in enumerate(own):
            code = token - self.ids.first(1 + number % count)
            if not 0 <= code < config.codebook_size:
                raise ValueError(
                    f"generated id {number} must be a code of codebook {1 + number % count}, got"
                    f" {token}: sample with a smaller top_k or temperature"
                )
            codes.append(code)
        frames = len(codes) // count
        if not frames:
            raise ValueError("the answer has no frame of codes")
        grid = torch.tensor(codes[: frames * count]).reshape(frames, count).T  # [K, Q]
        return self.processor.audio_input.from_codes(grid.contiguous(), frames_per_query)

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            answer = self._http.request(method, path, json=body)
            answer.raise_for_status()
        except httpx.HTTPStatusError as error:
            text = error.response.text[:_SHOWN]
            raise RuntimeError(
                f"{self._http.base_url} answers {error.response.status_code}: {text}"
            ) from error
        except httpx.HTTPError as error:
            raise RuntimeError(f"{self._http.base_url} does not answer: {error}") from error
        return answer.json()


def _before(ids: Sequence[int], ends: set[int]) -> list[int]:
    """The ids before the first end."""
    end = next((number for number, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[:end])
