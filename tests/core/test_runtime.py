"""What `auto` means on every kind of machine, by pretending to be one."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from almtok.codec.train.config import CodecTrainConfig
from almtok.core import runtime
from almtok.core.choices import check_device_name, check_training_device
from almtok.core.runtime import choose_dtype, choose_precision, choose_runtime, find_device
from almtok.lm.train.config import LMTrainingConfig


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    """Pretend that there is an accelerator of this kind, and of this CUDA capability."""

    def pretend(kind: str, capability: tuple[int, int] = (8, 0)) -> torch.device:
        device = torch.device(kind)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: device)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(runtime, "_is_available", lambda kind, number: number < 2)
        return device

    return pretend


@pytest.fixture
def cpu(monkeypatch: pytest.MonkeyPatch):
    """Pretend that the CPU has bfloat16, or has not."""

    def pretend(native: bool) -> torch.device:
        monkeypatch.setattr(runtime, "native_bfloat16", lambda *_: native)
        return torch.device("cpu")

    return pretend


@pytest.mark.parametrize(
    ("kind", "capability", "precision"),
    [("cuda", (9, 0), "bf16"), ("cuda", (8, 0), "bf16"), ("cuda", (7, 5), "fp16"),
     ("mps", (0, 0), "fp32"), ("xpu", (0, 0), "bf16")],
)  # fmt: skip
def test_auto_on_an_accelerator(gpu, kind, capability, precision) -> None:
    gpu(kind, capability)
    assert find_device().type == kind
    assert choose_precision("auto", torch.device(kind)) == precision


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_cpu(cpu, native, precision) -> None:
    assert choose_precision("auto", cpu(native)) == precision


def test_tf32_is_for_trainings_on_gpus_that_have_it(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    with runtime.training_products(gpu("cuda", (7, 5))):
        assert choose_runtime().needs_loss_scale and asked == []
    with runtime.training_products(gpu("cuda", (8, 6))):
        assert choose_runtime().precision == "bf16" and asked == ["high"]
    assert asked == ["high", torch.get_float32_matmul_precision()]


def test_autocast_is_off_in_fp32_whatever_is_asked(cpu) -> None:
    cpu(False)
    with choose_runtime("cpu").autocast():
        assert not torch.is_autocast_enabled("cpu")
    with choose_runtime("cpu", "bf16").autocast():
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    with choose_runtime("cpu", "bf16").autocast(False):
        assert not torch.is_autocast_enabled("cpu")


def test_what_is_emulated_is_obeyed_with_one_line(cpu, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_precision("bf16", cpu(True)) == "bf16"
        assert caplog.records == []
        assert choose_precision("bf16", cpu(False)) == "bf16"
    (record,) = caplog.records
    assert "bf16 is emulated on this cpu" in record.message and "auto is fp32" in record.message
    assert "\n" not in record.message


def test_processes_of_one_machine_have_a_gpu_each(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu("cuda")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert find_device() == torch.device("cuda:1") == find_device("cuda")
    assert find_device("cuda:0") == torch.device("cuda:0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'cuda' is not available: .*--device auto is"):
        find_device("cuda")


def test_a_training_takes_no_number_of_a_gpu() -> None:
    """Accelerate would take the first one."""
    assert check_training_device("cuda") == "cuda"
    for make in (CodecTrainConfig, LMTrainingConfig):
        with pytest.raises(
            ValueError, match="'cuda' without a number, got 'cuda:1': .*CUDA_VISIBLE_DEVICES=1"
        ):
            make(device="cuda:1")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "auto:1", "cuda:"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="device must be one of auto, cpu, cuda, mps, xpu"):
        check_device_name(name)


@pytest.mark.parametrize(
    ("parameters", "native", "dtype"),
    [(60, True, torch.bfloat16), (60, False, torch.float32), (40, True, torch.float32)],
)
def test_weights_of_small_models_stay_float32_on_a_cpu(
    cpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters, native, dtype
) -> None:
    monkeypatch.setattr(runtime, "SMALL_MODEL", 50)
    halves = {"a": torch.zeros(parameters // 2), "b": torch.zeros(2, parameters // 4)}
    for name, tensor in halves.items():
        save_file({name: tensor.half()}, tmp_path / f"{name}.safetensors")
    assert choose_dtype("auto", cpu(native), tmp_path) == dtype


def test_a_dtype_by_name(cpu, tmp_path: Path) -> None:
    assert choose_dtype("float16", cpu(True), tmp_path) == torch.float16
    with pytest.raises(ValueError, match="dtype must be one of auto, float32"):
        choose_dtype("float8", cpu(True), tmp_path)


@pytest.mark.parametrize(("variable", "value"), [("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")])
def test_a_limited_processor_has_no_bfloat16(monkeypatch, variable, value) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.delenv(variable, raising=False)
    assert runtime.native_bfloat16("cpu")
    monkeypatch.setenv(variable, value)
    assert not runtime.native_bfloat16("cpu")


def test_an_older_avx512_processor_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """OneDNN supports bfloat16 there, by emulation."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    assert not runtime.native_bfloat16("cpu")


def test_no_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(runtime, "available_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    find_device("cpu")
    assert asked == []
    monkeypatch.delenv("OMP_NUM_THREADS")
    find_device("cpu")
    assert asked == [2]


@pytest.mark.parametrize(
    ("device", "precision", "cores", "workers"),
    [("cuda", "bf16", 2, 1), ("cpu", "bf16", 2, 0), ("cpu", "fp32", 2, 1), ("cpu", "bf16", 8, 1)],
)
def test_a_worker_loads_where_a_core_is_left(monkeypatch, device, precision, cores, workers):
    monkeypatch.setattr(runtime, "available_cores", lambda: cores)
    assert runtime.choose_workers(torch.device(device), precision) == workers


def test_small_steps_have_one_thread(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with runtime.threads_for(2 * 7.5e6, torch.device("cpu")):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        with runtime.threads_for(32 * 7.5e6, torch.device("cpu")):
            assert torch.get_num_threads() == 2
        with runtime.threads_for(2 * 7.5e6, torch.device("meta")):
            assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), runtime.threads_for(1, torch.device("cpu")):
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
