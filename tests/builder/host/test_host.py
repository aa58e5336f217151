"""The host runtime with a fake backend: what answers, and what happens outside the profile."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Dict, List

import pytest

np: Any = pytest.importorskip("numpy")
pytest.importorskip("cv2")
from builder import plugins
from builder.config.contract import Keypoints
from builder.errors import NothingFits, StoreDamaged, UsageError
from builder.host import deployment, install
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Entry
from tests.fakes import LAPTOP, entry, manifest, stored
from validation import keypoints


class FakeBackend:
    """Opens anything; its runner returns a score map with one peak and remembers what it was given."""

    def __init__(self) -> None:
        self.opened: List[str] = []
        self.fed: List[Any] = []

    def open(self, folder: Path, options: plugins.OpenOptions) -> Any:
        assert (folder / "model.bin").is_file()
        self.opened.append(folder.name)

        def run(inputs: Dict[str, Any]) -> Dict[str, Any]:
            self.fed.append(inputs["image"])
            _, _, height, width = inputs["image"].shape
            scores = np.zeros((1, height, width), np.float32)
            scores[0, 4, 4] = 1
            return {"scores": scores, "descriptors": np.ones((1, 4, height // 8, width // 8), np.float32)}

        return run


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setattr(plugins, "backend", lambda name: fake)
    monkeypatch.setattr("builder.platforms.machines.here", lambda: LAPTOP)
    return fake


def image(height: int, width: int) -> Any:
    return np.full((height, width, 3), 128, np.uint8)


FAST, WIDE = "tiny-dense-int8-ov", "tiny-dense-fp32-ort"


def chain(store: Layout) -> List[Entry]:
    return [
        entry(FAST, p50=1.0, sizes=((16, 32),), files=(stored(store, "model.bin", b"fast"),)),
        entry(WIDE, p50=4.0, sizes=((8, 64),), files=(stored(store, "model.bin", b"wide"),)),
    ]


@pytest.fixture
def pulled(store: Layout, tmp_path: Path) -> Path:
    entries = chain(store)
    install.place(manifest(*entries, postprocess=Keypoints()), entries, store, tmp_path / "pulled")
    return tmp_path / "pulled"


def test_the_fastest_answers_in_pixels_of_the_photograph(pulled: Path, backend: FakeBackend) -> None:
    deploy = deployment.open(pulled)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = deploy(image(33, 25))
    assert isinstance(found, keypoints.DetectedKeypoints)
    assert found.cell == FAST
    assert backend.fed[0].shape == (1, 1, 32, 24)
    np.testing.assert_allclose(found.points, [[4.5 * 25 / 24 - 0.5, 4.5 * 33 / 32 - 0.5]], rtol=1e-5)


@pytest.mark.parametrize("size", [(40, 40), (8, 16)])
def test_outside_the_profile_the_next_one_answers_with_a_warning(pulled: Path, backend: FakeBackend, size: Any) -> None:
    deploy = deployment.open(pulled)
    with pytest.warns(
        deployment.FallbackWarning, match=f"{size[0]}x{size[1]} is outside the profile of {FAST}; {WIDE}"
    ):
        found = deploy(image(*size))
    assert found.cell == WIDE  # type: ignore[union-attr]


def test_outside_every_profile_it_says_what_is_accepted(pulled: Path, backend: FakeBackend) -> None:
    with pytest.raises(NothingFits) as caught:
        deployment.open(pulled)(image(72, 72))
    assert "no artifact here accepts 72x72" in str(caught.value)
    assert "16x16 to 32x32; 8x8 to 64x64" in str(caught.value)
    assert deployment.open(pulled)(image(72, 72), size=(32, 32))


def test_a_size_that_the_model_cannot_take(pulled: Path, backend: FakeBackend) -> None:
    with pytest.raises(NothingFits, match="not a multiple of 8"):
        deployment.open(pulled)(image(32, 32), size=(30, 32))


def test_artifacts_are_opened_once_and_when_first_used(pulled: Path, backend: FakeBackend) -> None:
    deploy = deployment.open(pulled)
    assert backend.opened == []
    for _ in range(3):
        deploy(image(32, 32))
    assert backend.opened == [FAST]


def test_a_head_without_postprocessing_returns_its_tensors(store: Layout, tmp_path: Path, backend: FakeBackend) -> None:
    entries = chain(store)
    install.place(manifest(*entries), entries, store, tmp_path / "raw")
    found = deployment.open(tmp_path / "raw")(image(16, 16))
    assert isinstance(found, dict)
    assert found["scores"].shape == (1, 16, 16)


def test_straight_from_a_store(store: Layout, backend: FakeBackend) -> None:
    entries = chain(store)
    made = []
    for item in entries:
        assert item.artifact is not None
        versions.put_artifact(store, item.cell, item.artifact.files)
        import dataclasses

        digest = versions.put_artifact(store, item.cell, item.artifact.files).digest
        made.append(dataclasses.replace(item, artifact=dataclasses.replace(item.artifact, digest=digest)))
    versions.publish(store, manifest(*made, postprocess=Keypoints()))
    deploy = deployment.open(store.root)
    assert [e.cell for e in deploy.entries] == [FAST, WIDE]
    assert deploy(image(32, 32)).cell == FAST  # type: ignore[union-attr]


def test_a_store_without_anything_for_this_machine(store: Layout, backend: FakeBackend) -> None:
    versions.publish(store, manifest(entry(status="waiting", artifact=False, p50=None)))
    with pytest.raises(NothingFits, match="no artifact of head 'dense'"):
        deployment.open(store.root)


def test_what_is_neither_pulled_nor_a_store(tmp_path: Path, store: Layout) -> None:
    with pytest.raises(UsageError, match="nothing has been pulled"):
        deployment.open(tmp_path / "nowhere")
    (tmp_path / "deploy.json").write_text("{}")
    with pytest.raises(StoreDamaged):
        deployment.open(tmp_path)


def test_a_photograph_by_path_that_is_none(pulled: Path, backend: FakeBackend) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        deployment.open(pulled)("nowhere.png")
