"""Plainer processors: the shipped models make there what they make here, up to roundings."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from almtok.codec.checkpoints import shipped
from almtok.codec.quantizer import ResidualQuantizer
from almtok.tasks import AudioLMPipeline

from .pace import patience
from .plain_processor import TESTS, Made, make

# A rounding is at most EPS of a value. Errors of n products that are summed grow by the root of n:
# some 40 sums of up to 512 products follow one another from samples to queries.
EPS = 2.0**-24
QUERIES = 40 * 512**0.5 * EPS
SAMPLES = 2.0**-16  # half a step of a 16-bit file
PLAINER = {
    "avx2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "default": {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}


@pytest.fixture(scope="module")
def bundle() -> AudioLMPipeline:
    return AudioLMPipeline.from_pretrained(shipped())


@pytest.fixture(scope="module")
def here(bundle: AudioLMPipeline) -> Made:
    return make(bundle)


@pytest.fixture(scope="module", params=PLAINER)
def there(request, tmp_path_factory, quiet_environment) -> Made:
    if torch.backends.cpu.get_cpu_capability() not in ("AVX512", "AVX2"):
        pytest.skip("this processor has no plainer one in it")
    folder = tmp_path_factory.mktemp(request.param)
    environment = quiet_environment | {"ATEN_CPU_CAPABILITY": request.param}
    subprocess.run(
        [sys.executable, str(TESTS / "plain_processor.py"), str(folder)],
        env=environment | PLAINER[request.param],
        check=True,
        timeout=patience(240),
    )
    made = Made.load(folder)
    assert made.capability.lower() == request.param  # or the tests below would compare nothing
    return made


def far_from_a_tie(quantizer: ResidualQuantizer, here: Made, there: Made) -> list[str]:
    """Codes that differ although the move of the query cannot have done it.

    If a point moves by d, its distance to any entry changes by at most d: another entry becomes the
    nearest only if it was within 2 d of it. What follows in the other layers is a consequence.
    """
    found = []
    rounding = 32 * EPS  # of the two distances themselves
    for q in (here.codes != there.codes).any(dim=0).nonzero()[:, 0].tolist():
        ours, theirs = here.queries[q], there.queries[q]
        for k, layer in enumerate(quantizer.layers):
            code, other = here.codes[k, q], there.codes[k, q]
            if code != other:
                point, moved, table = seen(layer, ours), seen(layer, theirs), entries(layer)
                distances = (table - point).norm(dim=1)
                reach = 2 * (moved - point).norm() + rounding * distances[other]
                if distances[other] - distances[code] > reach:
                    found.append(f"layer {k}, query {q}: {code} here, {other} there")
                break
            ours, theirs = ours - layer.decode(code), theirs - layer.decode(code)
    return found


def seen(layer, residual: Tensor) -> Tensor:
    """A residual [D] where its layer compares it with entries."""
    return layer.project_in(residual) if hasattr(layer, "project_in") else residual


def entries(layer) -> Tensor:
    return layer.codebook.entries.float() if hasattr(layer, "project_in") else layer.table()


def test_the_codes_are_the_same_but_for_ties(bundle, here, there):
    away = (there.queries - here.queries).norm(dim=1) / here.queries.norm(dim=1)
    assert away.max() <= QUERIES
    with torch.no_grad():
        assert far_from_a_tie(bundle.codec.quantizer, here, there) == []
    # Ties are as rare as queries within QUERIES of a border between two entries.
    assert (here.codes == there.codes).float().mean() >= 0.95


def test_ties_are_told_from_errors(bundle, here):
    quantizer = bundle.codec.quantizer
    noise = torch.randn(here.queries.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        queries = here.queries + 0.02 * here.queries.std() * noise
        moved = replace(here, queries=queries, codes=quantizer.quantize(queries[None])[0])
        assert (moved.codes != here.codes).any()
        assert far_from_a_tie(quantizer, here, moved) == []
        wrong = here.codes.clone()
        wrong[1, 3] = (wrong[1, 3] + 1) % bundle.codec.codebook_size
        assert len(far_from_a_tie(quantizer, here, replace(here, codes=wrong))) == 1


def test_codes_sound_the_same(bundle, here, there):
    again = make(bundle, there.codes) if (here.codes != there.codes).any() else here
    assert (again.wav - there.wav).abs().max() <= SAMPLES


def test_the_same_words_are_heard(here, there):
    card = json.loads((shipped() / "card.json").read_text())["lm"]
    assert here.text == there.text == card["transcript_of_the_test"]


def test_this_run_s_own_processor_is_the_one_it_was_asked_for():
    asked = os.environ.get("ATEN_CPU_CAPABILITY")
    found = torch.backends.cpu.get_cpu_capability().lower()
    assert found == asked or asked is None
