"""The self-test at pull time, with artifacts that run: wrong answers, crashes, hangs, and what is remembered."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, List

import pytest

for needed in ("numpy", "onnx", "onnxruntime"):
    pytest.importorskip(needed)
from builder import cli
from builder.host import install
from builder.platforms import machines
from builder.store.layout import Layout
from tests.fakes import with_version
from tests.real_artifacts import Made, publish

FAST, SLOW = "tiny-dense-int8-ort", "tiny-dense-fp32-ort"


class Host:
    def __init__(self, store: Layout, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.store, self.to, self._capsys = store, root / "pulled", capsys

    def pull(self, *words: str) -> int:
        code = cli.main(["pull", str(self.store.root), "--to", str(self.to), *words])
        said = self._capsys.readouterr()
        self.out, self.err = said.out, said.err
        return code

    @property
    def current(self) -> List[str]:
        return [entry.cell for entry in install.described(install.find(self.to, None)).entries]

    @property
    def folders(self) -> List[str]:
        return sorted(p.name for p in (self.to / "dense").iterdir() if p.is_dir() and not p.is_symlink())


@pytest.fixture
def host(store: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(store, tmp_path, capsys)


def broken_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """An onnxruntime that does `body` as soon as it is imported, for the process that is started only."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "onnxruntime.py").write_text(body, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))


def test_what_answers_within_its_gates_is_placed(host: Host) -> None:
    publish(host.store, Made(FAST), Made(SLOW, p50=4.0))
    assert host.pull() == 0
    assert host.current == [FAST]
    assert f"self-test: {FAST} answered golden-16x16.npz within 1 limit in " in host.out


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_wrong_answer_is_rejected_and_the_next_choice_is_tried(host: Host, runtime: str) -> None:
    pytest.importorskip(runtime)
    publish(host.store, Made(FAST, wrong=True, runtime=runtime), Made(SLOW, p50=4.0))
    assert host.pull() == 0
    assert host.current == [SLOW]
    assert f"rejected: {FAST} failed its self-test: out max_abs " in host.err
    assert "> 0.001 on golden-16x16, gate *" in host.err
    assert len(host.folders) == 1, "what was rejected is not left behind"


def test_nothing_changes_where_every_artifact_fails(host: Host) -> None:
    publish(host.store, Made(FAST))
    host.pull()
    publish(host.store, Made(FAST, wrong=True, scale=2.0), Made(SLOW, wrong=True), version=2)
    before = host.folders
    assert host.pull() == 6
    assert "no artifact passed its self-test on this machine" in host.err and "--no-self-test" in host.err
    assert host.folders == before and host.current == [FAST]
    assert host.pull("--no-self-test") == 0
    assert "was not run on this host, as --no-self-test asks" in host.out


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "was ended by SIGSEGV"),
        ("import os\nos._exit(3)", "ended with code 3"),
        ("import sys\nprint('libcuda says no', file=sys.stderr, flush=True)\nimport os\nos.abort()", "libcuda says no"),
        ("import time\ntime.sleep(600)", "no answer within 1.5 s"),
        ("raise ImportError('libgomp.so.1: cannot open')", "it does not open: ImportError: libgomp.so.1"),
    ],
    ids=["crash", "exit", "abort", "hang", "import"],
)
def test_a_runtime_that_breaks_takes_nothing_with_it(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    publish(host.store, Made(FAST))
    broken_runtime(tmp_path, monkeypatch, body)
    assert host.pull("--self-test-limit", "1.5" if "sleep" in body else "60") == 6
    assert said in host.err
    assert not (host.to / "dense" / "current").exists() and host.folders == []
    monkeypatch.delenv("PYTHONPATH")
    assert host.pull() == 0, "a failure is not remembered"


def test_an_unchanged_host_is_asked_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(host.store, Made(FAST))
    assert host.pull() == 0
    first = host.out
    monkeypatch.setattr("builder.host.selftest.ask", lambda *args: pytest.fail("asked again"))
    assert host.pull() == 0
    assert host.out == first


@pytest.mark.parametrize("change", ["runtime", "driver", "sample", "memory of it"])
def test_a_changed_host_is_asked_again(host: Host, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    publish(host.store, Made(FAST))
    host.pull()
    here = machines.here()
    now: Any = {
        "runtime": with_version(here, "onnxruntime", "99.0.0"),
        "driver": dataclasses.replace(here, driver="999.1"),
    }.get(change, here)
    monkeypatch.setattr("builder.platforms.machines.here", lambda: now)
    if change == "sample":
        publish(host.store, Made(FAST, wrong=True), version=2)
    if change == "memory of it":
        (host.to / "dense" / "self-test.json").write_text("[{")
    asked: List[str] = []
    from builder.host import selftest

    real = selftest.ask
    monkeypatch.setattr(
        "builder.host.selftest.ask", lambda folder, cell, s: asked.append(cell) or real(folder, cell, s)
    )  # type: ignore[func-returns-value]
    assert host.pull() == (6 if change == "sample" else 0)
    assert asked == [FAST]


def test_a_damaged_sample_is_never_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    made = publish(host.store, Made(FAST))
    golden = made.entries[0].golden
    assert golden is not None
    blob = host.store.fetch(golden.sample.digest)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"X")
    from builder.host import selftest

    monkeypatch.setattr(selftest, "ask", lambda folder, cell, seconds: pytest.fail(f"{cell} was asked"))
    assert host.pull() == 7
    assert f"{blob}: has the digest sha256:" in host.err
    assert f"the manifest says {golden.sample.digest}" in host.err
    assert host.folders == []


def test_what_was_never_measured_is_held_to_the_limits_it_carries(host: Host) -> None:
    publish(host.store, Made(FAST, verified=False), Made(SLOW, wrong=True, verified=False))
    assert host.pull("--unverified") == 0
    assert host.current == [FAST] and "within 1 limit" in host.out
    publish(host.store, Made(FAST, verified=False, wrong=True), version=2)
    assert host.pull("--unverified") == 6


def test_a_version_of_an_older_release_is_placed_and_says_so(host: Host) -> None:
    publish(host.store, Made(FAST, golden=False))
    assert host.pull() == 0
    assert "has no golden sample (an older release made it): not run on this host" in host.out
    assert json.loads(_json(host))["self_test"][FAST].startswith("has no golden sample")


def _json(host: Host) -> str:
    assert host.pull("--format", "json") == 0
    return host.out


def test_current_never_names_what_was_not_tested(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(host.store, Made(SLOW))
    host.pull()
    publish(host.store, Made(SLOW, scale=2.0), version=2)
    seen: List[str] = []
    from builder.host import selftest

    real = selftest.ask

    def watching(folder: Path, cell: str, seconds: float) -> Any:
        seen.append(os.readlink(str(host.to / "dense" / "current")))
        return real(folder, cell, seconds)

    monkeypatch.setattr("builder.host.selftest.ask", watching)
    assert host.pull() == 0
    assert seen[0].startswith("v1-") and os.readlink(str(host.to / "dense" / "current")).startswith("v2-")


def test_every_artifact_of_the_chain_is_asked(host: Host) -> None:
    publish(host.store, Made(FAST, sizes=(16, 32)), Made(SLOW, p50=4.0, wrong=True))
    assert host.pull() == 0, host.err
    assert host.current == [FAST], "the one beside it failed, and is left out"
    assert f"rejected: {SLOW}" in host.err


@pytest.mark.parametrize("word", ["0", "-1", "nan", "inf", "soon"])
def test_a_limit_that_is_none(host: Host, word: str) -> None:
    assert host.pull(f"--self-test-limit={word}") == 2
    assert "is not a number of seconds" in host.err


def test_nothing_in_the_folder_it_is_called_in_is_imported(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(host.store, Made(FAST))
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "numpy.py").write_text("raise SystemExit('imported from here')")
    monkeypatch.chdir(tmp_path / "work")
    assert host.pull() == 0
