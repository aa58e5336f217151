"""One job at a time on a GPU, and none beside one that needs the processor."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path
from typing import List

import pytest

from builder.errors import StepFailed
from builder.execution import local
from builder.platforms.gpus import Gpu
from builder.platforms.platform import Platform
from tests.fakes import LAPTOP, ORIN, RTX3090, _with

ONE, TWO = Gpu("NVIDIA GeForce RTX 3090", "8.6", uuid="GPU-1"), Gpu("NVIDIA GeForce RTX 3090", "8.6", uuid="GPU-2")
GTX = Gpu("NVIDIA GeForce GTX 1060", "6.1", uuid="GPU-3")
BOTH = _with(RTX3090, gpus=(ONE, TWO, GTX))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def _never() -> None:
    raise AssertionError("nobody is in the way")


def _busy() -> None:
    raise StepFailed("it is taken")


def test_a_job_needs_a_gpu_of_its_platform_or_the_processor() -> None:
    rtx = Platform("tensorrt", "10.16", "linux", "x86_64", "8.6")
    assert local.fitting(rtx, BOTH) == (ONE, TWO)
    assert local.fitting(Platform("onnxruntime", "any", "linux", "x86_64"), BOTH) == ()
    assert local.fitting(rtx, LAPTOP) == (), "built ahead of time: the processor does it"
    other = Gpu("NVIDIA GeForce RTX 3080", "8.6", uuid="GPU-4")
    declared = dataclasses.replace(rtx, gpu="RTX 3090")
    assert local.fitting(declared, _with(RTX3090, gpus=(other, TWO))) == (TWO,)


def test_two_gpus_take_two_jobs_and_each_sees_its_own() -> None:
    with local.alone((ONE, TWO), _never, _busy) as first, local.alone((ONE, TWO), _never, _busy) as second:
        assert (first.environ, second.environ) == (
            {"CUDA_VISIBLE_DEVICES": "GPU-1"},
            {"CUDA_VISIBLE_DEVICES": "GPU-2"},
        )
        with local.alone((GTX,), _never, _busy):
            pass
        with pytest.raises(StepFailed), local.alone((ONE, TWO), list, _busy):
            pass
    with local.alone((ONE, TWO), _never, _busy) as again:
        assert again.gpu == ONE


def test_a_job_that_needs_the_processor_is_alone() -> None:
    with local.alone((), _never, _busy) as whole:
        assert whole.environ == {}
        for gpus in ((), (ONE,)):
            with pytest.raises(StepFailed), local.alone(gpus, list, _busy):
                pass
    with local.alone((ONE,), _never, _busy), pytest.raises(StepFailed), local.alone((), list, _busy):
        pass


def test_a_jetson_has_one_gpu_without_a_number() -> None:
    with local.alone(ORIN.gpus, _never, _busy) as seat:
        assert seat.environ == {}
        with pytest.raises(StepFailed), local.alone(ORIN.gpus, list, _busy):
            pass


def test_who_waits_is_told_once_and_goes_on_when_the_other_has_ended() -> None:
    told: List[str] = []
    waits, done = threading.Event(), threading.Event()

    def wait() -> None:
        def tell() -> None:
            told.append("busy")
            waits.set()

        with local.alone((ONE,), tell, lambda: None):
            done.set()

    with local.alone((ONE,), _never, _busy):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waits.wait(10) and not done.is_set()
    thread.join(10)
    assert done.is_set() and told == ["busy"]


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import tempfile, time\n"
        f"tempfile.tempdir = {str(tmp_path)!r}\n"
        "from builder.execution import local as site_lock\n"
        "with site_lock.alone((), print, print):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    with pytest.raises(StepFailed), local.alone((), list, _busy):
        pass
    holder.kill()
    holder.wait()
    with local.alone((), _never, _busy):
        pass
