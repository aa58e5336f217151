"""A deployment as a server uses it, with artifacts that run: many threads, batches, raw tensors, and other versions that
take over under running calls."""

from __future__ import annotations

import gc
import shutil
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

for needed in ("numpy", "cv2", "onnx", "onnxruntime"):
    pytest.importorskip(needed)
np: Any = pytest.importorskip("numpy")
from builder.errors import NothingFits, StepFailed, UsageError
from builder.host import deployment, install, selftest
from builder.host.opened import Opened, Pool
from builder.platforms import machines
from builder.store.layout import Layout
from tests.real_artifacts import Made, answer, publish

FAST, WIDE = "tiny-dense-int8-ov", "tiny-dense-fp32-ort"
RANDOM = np.random.default_rng(8)


def photograph(height: int = 32, width: int = 32) -> Any:
    return RANDOM.integers(0, 255, (height, width, 3)).astype(np.uint8)


class Rig:
    """A host's folder, and the versions that are placed into it; each is tested as `build pull` does."""

    def __init__(self, store: Layout, root: Path) -> None:
        self.store, self.to = store, root / "pulled"
        self.folders: Dict[int, Path] = {}

    def place(self, version: int, *made: Made, tested: bool = True) -> Path:
        manifest = publish(self.store, *made, version=version)
        folder = install.place(manifest, manifest.entries, self.store, self.to, keep=99)
        for entry in manifest.entries if tested else ():
            selftest.proof(folder, entry, machines.here())
        self.folders[version] = folder
        return folder


@pytest.fixture
def rig(store: Layout, tmp_path: Path) -> Rig:
    return Rig(store, tmp_path)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.01)
    return False


# ------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize(
    "made",
    [Made(), Made(runtime="openvino"), Made(runtime="openvino", static=True)],
    ids=["onnxruntime", "openvino", "openvino-static"],
)
@pytest.mark.parametrize("parallel", [1, 4])
def test_many_threads_get_what_one_gets_bit_by_bit(rig: Rig, made: Made, parallel: int) -> None:
    pytest.importorskip(made.runtime)
    rig.place(1, made, tested=False)
    images = [photograph(8 * h, 8 * w) for h in (2, 3, 8) for w in (2, 5, 8)]
    with deployment.open(rig.to, threads=1) as alone:
        wanted = [alone(image)["out"] for image in images]  # type: ignore[index]
    wrong: List[str] = []
    with deployment.open(rig.to, threads=1, parallel=parallel) as deploy:

        def work(first: int) -> None:
            for turn in range(40):
                number = (first + turn) % len(images)
                found = deploy(images[number])["out"]  # type: ignore[index]
                if found.tobytes() != wanted[number].tobytes():
                    wrong.append(f"image {number} in turn {turn}")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert wrong == []


def test_a_pool_lends_each_runner_once_and_no_more_than_it_may() -> None:
    opened, working, most = [], [], []
    lock = threading.Lock()

    def open_() -> Any:
        opened.append(1)

        def run(inputs: Any) -> Any:
            assert busy.acquire(blocking=False), "one runner, two calls"
            with lock:
                working.append(1)
                most.append(len(working))
            time.sleep(0.002)
            with lock:
                working.pop()
            busy.release()
            return inputs

        busy = threading.Lock()
        return run

    pool = Pool(open_, 3)

    def work() -> None:
        for _ in range(10):
            with pool.runner() as runner:
                runner({})

    threads = [threading.Thread(target=work) for _ in range(9)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert max(most) == len(opened) == 3


def test_a_call_that_fails_gives_its_runner_back(rig: Rig) -> None:
    rig.place(1, Made(), tested=False)
    deploy, answers = deployment.open(rig.to), []

    def work() -> None:
        for _ in range(3):
            with pytest.raises(ValueError, match=r"Required inputs \(\['image'\]\) are missing"):
                deploy._opened().run(deploy.entries[0], {"other": np.zeros(1)})
        answers.append(deploy(photograph()))

    calling = threading.Thread(target=work, daemon=True)
    calling.start()
    calling.join(60)
    assert [one["out"].shape for one in answers] == [(1, 3, 16, 16)], "a runner that is not back is waited for"
    assert len(deploy._opened()._pools[deploy.entries[0].cell]._made) == 1, "or another one is made in its place"


# ------------------------------------------------------------------------------------------- batches and tensors


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_many_images_are_as_few_calls_as_the_profile_allows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, batch: int, runtime: str
) -> None:
    pytest.importorskip(runtime)
    rig.place(1, Made(batch=batch, runtime=runtime), tested=False)
    deploy = deployment.open(rig.to)
    images = np.stack([photograph() for _ in range(7)])
    alone = [deploy(image)["out"] for image in images]  # type: ignore[index]
    calls: List[int] = []
    run = deploy._opened().run
    monkeypatch.setattr(deploy._opened(), "run", lambda e, i: calls.append(len(i["image"])) or run(e, i))  # type: ignore[func-returns-value]
    for given in (images, list(images)):
        found = deploy.many(given)
        assert len(found) == 7
        for one, two in zip(found, alone):
            assert one["out"].shape == two.shape == (1, 3, 16, 16)  # type: ignore[index]
            np.testing.assert_allclose(one["out"], two, rtol=1e-5, atol=1e-6)  # type: ignore[index]
    assert calls[: len(calls) // 2] == {1: [1] * 7, 3: [3, 3, 1], 8: [7]}[batch]


def test_images_of_several_sizes_come_back_in_their_order(rig: Rig) -> None:
    rig.place(1, Made(batch=4), tested=False)
    deploy = deployment.open(rig.to)
    images = [photograph(16, 16), photograph(32, 24), photograph(16, 16), photograph(64, 64), photograph(32, 24)]
    found = deploy.many(images)
    for image, one in zip(images, found):
        np.testing.assert_allclose(one["out"], deploy(image)["out"], rtol=1e-5, atol=1e-6)  # type: ignore[index]
    assert deploy.many([]) == []


@pytest.mark.parametrize(
    "wrong",
    [[1, 2], None, np.zeros((2, 32, 32, 3), np.uint8), np.zeros((32, 32, 4), np.uint8), np.zeros((0, 8, 3), np.uint8), np.zeros((8, 8), np.float32)],
    ids=["list", "none", "batch", "four channels", "empty", "floats"],
)  # fmt: skip
def test_what_is_no_image(rig: Rig, wrong: Any) -> None:
    rig.place(1, Made(), tested=False)
    with pytest.raises(UsageError, match="an image is uint8"):
        deployment.open(rig.to)(wrong)


def test_tensors_go_in_and_come_out_as_they_are(rig: Rig) -> None:
    rig.place(1, Made(FAST, sizes=(16, 32)), Made(WIDE, p50=4.0), tested=False)
    deploy = deployment.open(rig.to)
    image = RANDOM.random((1, 1, 64, 64), dtype=np.float32)
    for given in (image, {"image": image}):
        assert deploy.tensors(given)["out"].tobytes() == answer(1.0, image).tobytes()
    for bad, said in (
        (image[0], "has 3 dimensions"),
        (image[:, :, :30], "not a multiple of 8"),
        (image.astype(np.float64), "takes float32"),
        ({"picture": image}, "the model takes image, not picture"),
    ):
        with pytest.raises(UsageError, match=said):
            deploy.tensors(bad)
    with pytest.raises(NothingFits, match=r"image \[1, 1, 128, 64\]"):
        deploy.tensors(np.zeros((1, 1, 128, 64), np.float32))


# ------------------------------------------------------------------------------------------- what answers


def test_a_description_says_what_answers(rig: Rig) -> None:
    rig.place(3, Made(FAST, sizes=(16, 32)), Made(WIDE, p50=4.0))
    with deployment.open(rig.to) as deploy:
        assert [a.loaded for a in deploy.describe().artifacts] == [False, False]
        deploy.warm()
        found = deploy.describe()
        assert (found.model, found.version, found.head, found.folder) == ("tiny", 3, "dense", rig.folders[3].name)
        first = found.artifacts[0]
        assert (first.cell, first.precision, first.runtime, first.verdict) == (FAST, "int8", "onnxruntime", "passed")
        assert (first.speedup, first.self_test, first.loaded) == (8.0, "passed", True)
        assert [(check.metric, check.kept) for check in first.checks] == [("max_abs", True)]
        assert all(a.loaded for a in found.artifacts), "warm opens every one"
    with pytest.raises(UsageError, match="was closed"):
        deploy(photograph())
    deploy.close()


@pytest.mark.parametrize(("name", "value"), [("parallel", 0), ("threads", -1), ("every", 0.0), ("every", float("nan"))])
def test_numbers_that_make_no_sense(rig: Rig, name: str, value: Any) -> None:
    rig.place(1, Made(), tested=False)
    with pytest.raises(UsageError, match="threads is 0 or more"):
        deployment.open(rig.to, **{name: value})


# ------------------------------------------------------------------------------------------- other versions


def test_another_version_takes_over(rig: Rig) -> None:
    rig.place(1, Made())
    image = photograph()
    with deployment.open(rig.to, follow=True, every=0.02, warm=True) as deploy:
        one = deploy(image)["out"]  # type: ignore[index]
        rig.place(2, Made(scale=2.0))
        assert within(20, lambda: deploy.describe().version == 2)
        found = deploy.describe()
        assert found.artifacts[0].loaded and found.artifacts[0].self_test == "passed" and deploy.problem == ""
        assert np.abs(deploy(image)["out"] - one).max() > 0.01  # type: ignore[index]


def test_a_version_that_fails_its_test_does_not_take_over(rig: Rig) -> None:
    rig.place(1, Made())
    image = photograph()
    with deployment.open(rig.to, follow=True, every=0.02) as deploy:
        one = deploy(image)["out"]  # type: ignore[index]
        folder = rig.place(2, Made(wrong=True), tested=False)
        assert within(20, lambda: folder.name in deploy.problem)
        assert "failed its self-test: out max_abs" in deploy.problem
        assert deploy(image)["out"].tobytes() == one.tobytes()  # type: ignore[index]
        assert deploy.describe().version == 1 and deploy.describe().problem == deploy.problem
        with pytest.raises(StepFailed, match="self-test"):
            deploy.reload()
        rig.place(3, Made(scale=2.0))
        assert within(20, lambda: deploy.describe().version == 3) and deploy.problem == ""


def test_a_version_that_does_not_even_open_does_not_take_over(rig: Rig) -> None:
    rig.place(1, Made())
    with deployment.open(rig.to, follow=True, every=60) as deploy:
        folder = rig.place(2, Made(scale=2.0))
        (folder / WIDE / "model.onnx").chmod(0o644)
        (folder / WIDE / "model.onnx").write_bytes(b"no model")
        with pytest.raises(StepFailed):
            deploy.reload()
        assert deploy(photograph())["out"].shape and "onnxruntime cannot open" in deploy.problem  # type: ignore[index]
        install.point(rig.folders[1])
        assert deploy.reload() is False and deploy.problem == "", "back at what answers"


class ClosedAtTheSwitch(deployment.Deployment):
    """Another thread closes it when a reload asks, after the self-test, whether it is still open."""

    proven, closing = False, threading.Thread()

    @property
    def _now(self) -> Any:
        now = self.__dict__["now"]
        if self.proven:
            self.proven = False
            self.closing = threading.Thread(target=self.close)
            self.closing.start()
            self.closing.join(0.5)
        return now

    @_now.setter
    def _now(self, value: Any) -> None:
        self.__dict__["now"] = value


def test_what_is_closed_during_a_reload_stays_closed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy = ClosedAtTheSwitch(Opened(rig.place(1, Made()), 0, 1), 0, 1, followed=(rig.to, "dense"), every=60)
    rig.place(2, Made(scale=2.0))
    prove = Opened.prove

    def proven(opened: Opened) -> None:
        prove(opened)
        deploy.proven = True

    monkeypatch.setattr(Opened, "prove", proven)
    deploy.reload()
    deploy.closing.join()
    with pytest.raises(UsageError, match="was closed"):
        deploy.describe()


def test_an_engine_that_crashes_is_met_in_another_process(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.place(1, Made())
    with deployment.open(rig.to, follow=True, every=60) as deploy:
        rig.place(2, Made(scale=2.0), tested=False)
        broken = rig.to.parent / "broken"
        broken.mkdir()
        (broken / "onnxruntime.py").write_text("import os\nos.abort()")
        monkeypatch.setenv("PYTHONPATH", str(broken))
        with pytest.raises(StepFailed, match="SIGABRT"):
            deploy.reload()
        assert deploy(photograph())


def test_a_folder_that_disappears_is_a_problem_and_no_end(rig: Rig) -> None:
    rig.place(1, Made())
    with deployment.open(rig.to, follow=True, every=0.02) as deploy:
        shutil.rmtree(rig.to)
        assert within(20, lambda: "nothing has been pulled" in deploy.problem)
        assert deploy(photograph())
        rig.place(1, Made())
        assert within(20, lambda: deploy.problem == "")


def test_no_answer_is_wrong_or_lost_while_versions_change(rig: Rig) -> None:
    scales = {1: 1.0, 2: 2.0, 3: 3.0}
    for version, scale in scales.items():
        rig.place(version, Made(scale=scale))
    image = photograph()
    known = {}
    for version, folder in rig.folders.items():
        known[deployment.open(folder)(image)["out"].tobytes()] = version  # type: ignore[index]
    assert len(known) == 3
    answers: List[int] = []
    problems: List[str] = []
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                answers.append(known[deploy(image)["out"].tobytes()])  # type: ignore[index]
            except Exception as problem:  # counted, whatever it is
                problems.append(repr(problem))

    with deployment.open(rig.to, follow=True, every=0.01, parallel=2, threads=1) as deploy:
        threads = [threading.Thread(target=work) for _ in range(4)]
        [thread.start() for thread in threads]
        for turn in range(15):
            version = turn % 3 + 1
            install.point(rig.folders[version], 99)
            assert within(20, lambda version=version: deploy.describe().version == version)  # type: ignore[misc]
        done.set()
        [thread.join() for thread in threads]
    assert problems == []
    assert set(answers) == {1, 2, 3} and len(answers) > 100


def test_the_thread_ends_with_its_deployment(rig: Rig) -> None:
    rig.place(1, Made())
    before = threading.active_count()
    deploy = deployment.open(rig.to, follow=True, every=0.01)
    assert threading.active_count() == before + 1
    deploy.close()
    assert threading.active_count() == before
    forgotten = deployment.open(rig.to, follow=True, every=0.01)
    assert threading.active_count() == before + 1
    del forgotten
    gc.collect()
    assert within(5, lambda: threading.active_count() == before)


def test_only_what_was_pulled_is_followed(rig: Rig) -> None:
    folder = rig.place(1, Made())
    with pytest.raises(UsageError, match="is a store"):
        deployment.open(rig.store.root, follow=True)
    with pytest.raises(UsageError, match="which never changes"):
        deployment.open(folder, follow=True)
    with pytest.raises(UsageError, match="follow=True"):
        deployment.open(rig.to).reload()
