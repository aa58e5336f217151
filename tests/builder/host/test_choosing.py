"""Choosing on every recorded machine: a golden table, what was asked for, and laws that hold for any manifest."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import cli
from builder.actions.measurements import Latency, OutputParity, Percentiles
from builder.cli import choice_text
from builder.errors import UsageError
from builder.host import demands
from builder.host.choose import Asked, Choice, Timed, choose, device_of, same_class, tier_of
from builder.host.pull import nothing
from builder.platforms import machines
from builder.platforms.machines import Machine
from builder.platforms.platform import cannot_run
from builder.store import versions
from builder.store.layout import Layout
from builder.store.manifest import Entry, TaskResult, Verdict
from tests.fact_machines import MACHINES
from tests.fakes import GTX1060, LAPTOP, REPOSITORY, RTX3090, entry, manifest, with_version

GOLDEN = REPOSITORY / "tests" / "golden" / "choices.txt"


def target(
    cell: str, runtime: str, version: str, sm: str = "", machine: str = "any", portability: str = "", **more: object
) -> Entry:
    made = entry(cell, runtime=runtime, version=version, sm=sm or None, **more)  # type: ignore[arg-type]
    assert made.artifact is not None
    artifact = dataclasses.replace(made.artifact, portability=portability)
    return dataclasses.replace(made, machine=machine, artifact=artifact)


def with_digest(made: Entry, number: int) -> Entry:
    assert made.artifact is not None
    return dataclasses.replace(made, artifact=dataclasses.replace(made.artifact, digest=f"sha256:{number:064x}"))


TIMED = {"p50": 2.0, "naive": 80.0}
EVERYTHING = (
    target("m-dense-fp16-trt3090", "tensorrt", "10.16", "8.6", "RTX 3090", "gpu-model", measured_on="RTX 3090", **TIMED),
    target("m-dense-fp16-trtampere", "tensorrt", "10.16", "8.6", "RTX 3090", "ampere-plus", measured_on="RTX 3090", **TIMED),
    target("m-dense-fp16-trta100", "tensorrt", "10.16", "8.0", "A100 SXM4", "gpu-model", measured_on="A100 SXM4", **TIMED),
    target("m-dense-int8-trt1060", "tensorrt", "8.6", "6.1", "GTX 1060", "gpu-model", measured_on="GTX 1060", **TIMED),
    target("m-dense-fp16-rtx4070", "tensorrt-rtx", "1.7", "8.9", "RTX 4070", "", measured_on="RTX 4070", **TIMED),
    target("m-dense-fp16-rtx75", "tensorrt-rtx", "1.7", "7.5", "RTX 2080", "", measured_on="RTX 2080", **TIMED),
    target("m-dense-fp32-ortgpu", "onnxruntime-gpu", "1.26", "6.1", "GTX 1060", measured_on="GTX 1060", p50=9.0, naive=80.0),
    target("m-dense-fp16-orin", "tensorrt", "10.3", "8.7", "Jetson Orin", "gpu-model", arch="aarch64", measured_on="Jetson Orin", **TIMED),
    target("m-dense-fp16-xavier", "tensorrt", "8.5.2", "7.2", "Jetson Xavier NX", "gpu-model", arch="aarch64", measured_on="Jetson Xavier NX", **TIMED),
    target("m-dense-fp16-thor", "tensorrt", "10.13", "11.0", "Jetson Thor", "gpu-model", arch="aarch64", status="waiting", **TIMED),
    target("m-dense-int8-ov", "openvino", "2026.4.1", measured_on="AMD EPYC x2", p50=66.0, naive=269.0),
    target("m-dense-bf16-ov", "openvino", "2026.4.1", compute="bf16", measured_on="AMD EPYC x2", p50=123.0, naive=269.0),
    target("m-dense-int8-ort", "onnxruntime", "1.31.1", measured_on="AMD EPYC x2", p50=88.0, naive=269.0),
    target("m-dense-int8-arm", "onnxruntime", "1.31.1", arch="aarch64", measured_on="Cortex-A76 x4", p50=400.0, naive=900.0),
    target("m-dense-fp32-arm", "onnxruntime", "1.31.1", arch="aarch64", p50=None),
    target("m-dense-fp16-bad", "onnxruntime", "1.31.1", status="failed", measured_on="AMD EPYC x2"),
)  # fmt: skip


def _table() -> str:
    lines: List[str] = []
    for name, machine in MACHINES.items():
        lines.append(f"== {name}")
        choice = choose(manifest(*EVERYTHING), machine, "dense")
        lines += choice_text.explained(choice, manifest(*EVERYTHING), "dense").splitlines()[1:]
        if choice.standings:
            lines += choice_text.notes(choice, machine)
        for flag, asked in (("--no-fallback", Asked(no_fallback=True)), ("--require-gpu", Asked(require_gpu=True))):
            strict = choose(manifest(*EVERYTHING), machine, "dense", asked)
            first = strict.ranked[0].cell if strict.ranked else f"nothing{nothing(strict)}"
            lines.append(f"{flag}: {first}")
    return "\n".join(lines) + "\n"


def test_what_every_recorded_machine_gets(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        GOLDEN.write_text(_table(), encoding="utf-8")
    assert _table() == GOLDEN.read_text(encoding="utf-8"), "if this is meant: pytest --update-golden"


# ---------------------------------------------------------------------------------------------- tiers


@pytest.mark.parametrize(
    ("machine", "named", "sm", "tier"),
    [
        ("rtx3090", "RTX 3090", "8.6", "gpu-model"),
        ("rtx3090", "RTX 3090 Ti", "8.6", "compute-capability"),
        ("rtx3090", "RTX A6000", "8.6", "compute-capability"),
        ("gtx1060", "GTX 1060", "6.1", "gpu-model"),
        ("orin-jetpack6", "Jetson Orin", "8.7", "gpu-model"),
        ("xavier-nx-jetpack5", "Jetson Xavier NX", "7.2", "gpu-model"),
        ("t4", "T4", "7.5", "gpu-model"),
        ("a100-mig-kubernetes", "A100", "8.0", "compute-capability"),
        ("rtx5090", "RTX 3090", "8.6", "gpu-family"),
        ("rtx3090", "", "8.6", "compute-capability"),
    ],
)
def test_the_tier_of_a_gpu(machine: str, named: str, sm: str, tier: str) -> None:
    assert tier_of(target("m-dense-fp16-a", "tensorrt", "10.16", sm, named), MACHINES[machine]).name == tier


def test_the_gpu_that_is_declared_counts_whatever_people_call_the_machine() -> None:
    made = target("m-dense-fp16-a", "tensorrt", "10.16", "8.6", "rack 4")
    assert made.platform is not None and made.latency is not None
    here, there = MACHINES["rtx3090"], dataclasses.replace(made.platform, gpu="RTX 3080")
    assert tier_of(made, here).name == "compute-capability"
    mine = dataclasses.replace(made, platform=dataclasses.replace(made.platform, gpu="RTX 3090"))
    assert tier_of(mine, here).name == "gpu-model"
    assert same_class("rack 4", mine, here) and not same_class("rack 4", made, here)
    assert same_class(here.kind, made, here), "timed on a machine of this kind, whatever it is called"
    other = dataclasses.replace(made, platform=there, machine="RTX 3090")
    assert tier_of(other, here).name == "compute-capability"
    assert not same_class("RTX 3090", other, here)


@pytest.mark.parametrize(
    ("changes", "tier"),
    [
        ({}, "cpu-model"),
        ({"cores": 16}, "cpu-cores"),
        ({"cpu": "AMD EPYC 9654"}, "cpu-features"),
        ({"cpu": "AMD EPYC 9654", "features": ("avx2",)}, "cpu"),
        ({"cpu": "Intel Xeon"}, "cpu"),
    ],
)
def test_the_tier_of_a_processor(changes: object, tier: str) -> None:
    here = MACHINES["this-kind"]
    made = entry(measured_on=here.kind)
    assert made.platform is not None
    made = dataclasses.replace(made, platform=dataclasses.replace(made.platform, features=here.features))
    assert tier_of(made, dataclasses.replace(here, **changes)).name == tier  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("timed_on", "here", "tier"),
    [
        ("13th Gen Intel(R) Core(TM) i7-1370P x20", "Intel(R) Xeon(R) Gold 6330", "cpu-features"),
        ("Cortex-A76 x4", "Cortex-A78AE", "cpu-features"),
        ("AMD EPYC x2", "amd epyc 9654", "cpu-features"),
        ("AMD EPYC x2", "Intel(R) Xeon(R) Gold 6330", "cpu"),
        ("Hygon C86 7185 x32", "Loongson 3A6000", "cpu"),  # of two vendors that have no name here
        ("Hygon C86 7185 x128", "Hygon C86 7185", "cpu-cores"),
        ("", "", "cpu"),  # never timed, and the processor has no name
    ],
)
def test_processors_of_one_vendor_with_the_same_instructions_are_alike(timed_on: str, here: str, tier: str) -> None:
    made = entry(p50=2.0 if timed_on else None, measured_on=timed_on)
    assert made.platform is not None
    made = dataclasses.replace(made, platform=dataclasses.replace(made.platform, features=LAPTOP.features))
    assert tier_of(made, dataclasses.replace(LAPTOP, cpu=here)).name == tier


def test_a_closer_gpu_comes_before_a_better_number_from_far_away() -> None:
    order = [
        target("m-dense-fp16-d", "tensorrt", "10.16", "8.6", "RTX 3090", p50=9.0, measured_on="RTX 3090"),
        target("m-dense-fp16-c", "tensorrt", "10.16", "8.6", "RTX 3090", p50=5.0, measured_on="RTX A6000"),
        target("m-dense-fp16-b", "tensorrt", "10.16", "8.6", "RTX A6000", p50=3.0, measured_on="RTX A6000"),
        target("m-dense-fp16-a", "tensorrt", "10.16", "8.0", "A100", "ampere-plus", p50=1.0, measured_on="A100"),
    ]
    assert choose(manifest(*reversed(order)), RTX3090, "dense").ranked == tuple(order)


def test_a_closer_class_comes_before_a_better_number_from_far_away() -> None:
    here = MACHINES["this-kind"]
    features = dataclasses.replace(entry().platform, features=here.features)  # type: ignore[type-var]
    order = [
        entry("m-h-fp32-a", p50=50.0, measured_on=here.kind),
        entry("m-h-fp32-b", p50=40.0, measured_on=f"{here.cpu} x64"),
        dataclasses.replace(entry("m-h-fp32-c", p50=30.0, measured_on="AMD Ryzen x8"), platform=features),
        entry("m-h-fp32-d", p50=20.0, measured_on="Intel Xeon x2"),
        entry("m-h-fp32-e", p50=None),
    ]
    assert choose(manifest(*reversed(order)), here, "dense").ranked == tuple(order)


# ---------------------------------------------------------------------------------------------- GPU and CPU


CPU = entry("m-dense-int8-cpu", p50=4.0, measured_on=RTX3090.kind)
GPU = target("m-dense-fp16-gpu", "tensorrt", "10.16", "8.6", "RTX 3090", p50=9.0, measured_on="RTX 3090")


def test_the_gpu_comes_first_unless_both_were_timed_here() -> None:
    far = dataclasses.replace(GPU, machine="RTX A6000")
    far = dataclasses.replace(far, latency=dataclasses.replace(far.latency, machine="RTX A6000"))  # type: ignore[type-var]
    assert choose(manifest(CPU, far), RTX3090, "dense").ranked == (far, CPU), (
        "the CPU's time says nothing about the GPU"
    )
    both = choose(manifest(GPU, CPU), RTX3090, "dense")
    assert both.ranked == (CPU, GPU)
    assert both.fallback is not None
    assert (both.fallback.cell, both.fallback.reason) == (GPU.cell, "timed on this class of machine, it is slower")


def test_a_move_from_gpu_to_cpu_is_told_with_its_reason() -> None:
    host = with_version(RTX3090, "tensorrt", "11.0.0")
    choice = choose(manifest(GPU, CPU), host, "dense")
    assert choice.ranked == (CPU,)
    (note, *_) = choice_text.notes(choice, host)
    assert "m-dense-fp16-gpu: it was proven with tensorrt 10.16, this host has 11.0.0" in note
    assert "NVIDIA GeForce RTX 3090 (8.6)" in note
    assert choose(manifest(CPU), host, "dense").fallback is None, "nothing was meant for a GPU"
    assert choose(manifest(GPU, CPU), LAPTOP, "dense").fallback is None, "there is no GPU that it could use"


@pytest.mark.parametrize(
    ("nearer", "other"),
    [
        ({"status": "unverified"}, {"status": "failed"}),
        ({"status": "failed"}, {"status": "waiting"}),
        ({"status": "waiting"}, {"status": "skipped"}),
        ({"cell": "m-dense-int8-z"}, {}),
        ({}, {"version": "9.9"}),
        ({"version": "9.9"}, {"sm": "7.5"}),
        ({"sm": "7.5"}, {"sm": "7.5", "arch": "aarch64"}),
    ],
    ids=["unchecked", "measured", "made-elsewhere", "usually-faster", "runs-here", "this-gpu", "this-processor"],
)
def test_the_fallback_names_the_artifact_that_most_nearly_would_be_used(
    nearer: Dict[str, str], other: Dict[str, str]
) -> None:
    """On a host with two kinds of GPU; by name and in the manifest, the other one comes first."""
    usual = {"cell": "m-dense-fp16-z", "runtime": "tensorrt", "version": "10.16", "sm": "8.6", "status": "failed"}
    near = target(**{**usual, **nearer})  # type: ignore[arg-type]
    far = target(**{**usual, "cell": "m-dense-fp16-a", **other})  # type: ignore[arg-type]
    host = dataclasses.replace(RTX3090, gpus=(*RTX3090.gpus, *GTX1060.gpus))
    fallback = choose(manifest(far, near, CPU), host, "dense").fallback
    assert fallback is not None and fallback.cell == near.cell


def test_a_host_without_a_gpu_that_it_can_use_is_told_of_that_gpu_and_of_other_versions() -> None:
    host = dataclasses.replace(with_version(LAPTOP, "onnxruntime", "1.20.1"), gpu_problem="libcuda.so.1 is not found")
    first, second = choice_text.notes(choose(manifest(GPU, CPU), host, "dense"), host)
    assert first.startswith("note: this host has a GPU that cannot be used, and m-dense-int8-cpu runs on the CPU.")
    assert second == "note: it was proven with onnxruntime 1.23.2; this host has 1.20.1"


def test_no_fallback_takes_no_step_down() -> None:
    other_model = dataclasses.replace(GPU, cell="m-dense-fp16-other", machine="RTX A6000")
    strict = Asked(no_fallback=True)
    assert choose(manifest(CPU, GPU, other_model), RTX3090, "dense", strict).ranked == (GPU,)
    assert choose(manifest(CPU, other_model), RTX3090, "dense", strict).ranked == ()
    assert choose(manifest(CPU), LAPTOP, "dense", strict).ranked == (CPU,), "a CPU is the best that a laptop has"
    older = entry("m-dense-fp32-old", version="1.19.0")
    (rejected,) = choose(manifest(older), LAPTOP, "dense", strict).rejected
    assert rejected.reason.startswith("it was proven with onnxruntime 1.19.0, this host has 1.23.2")


def test_require_gpu_also_where_the_gpu_is_not_even_seen() -> None:
    """A container that was started without its GPU looks like a machine without one."""
    choice = choose(manifest(CPU, GPU), LAPTOP, "dense", Asked(require_gpu=True))
    assert choice.ranked == ()
    assert choice.fallback is not None
    assert "it needs compute capability 8.6, this host has no NVIDIA GPU" in nothing(choice)
    assert choose(manifest(CPU, GPU), LAPTOP, "dense", Asked(no_fallback=True)).ranked == (CPU,)


def test_a_gpu_that_no_program_can_use_is_a_gpu_for_no_fallback() -> None:
    host = dataclasses.replace(LAPTOP, gpu_problem="libcuda.so.1 is not found")
    assert choose(manifest(CPU, GPU), host, "dense").fallback is not None
    assert choose(manifest(CPU, GPU), host, "dense", Asked(no_fallback=True)).ranked == ()


# ---------------------------------------------------------------------------------------------- accuracy


def scored(cell: str, value: Optional[float], *cosines: Optional[float], problem: Optional[str] = None) -> Entry:
    rows = tuple(OutputParity("scores", f"s{i}", problem, cosine=cosine) for i, cosine in enumerate(cosines))
    tasks = (TaskResult("views", "repeatability_1px", value, 0.96), TaskResult("views", "error", 0.1, 0.1, True))
    return dataclasses.replace(entry(cell), tasks=tasks, parity=rows)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("views.repeatability_1px>=0.94", None),
        ("views.repeatability_1px>=0.96", "views.repeatability_1px >= 0.96 is asked for, and it has 0.95"),
        ("views.error<=0.1", None),
        ("scores.cosine>=0.99", None),
        ("parity.cosine>=0.999", "parity.cosine >= 0.999 is asked for, and it has 0.99"),
        ("descriptors.cosine>=0.9", "descriptors.cosine >= 0.9 is asked for, and it states no descriptors.cosine"),
    ],
)
def test_what_is_asked_of_accuracy(word: str, reason: Optional[str]) -> None:
    assert demands.unmet([demands.read(word)], scored("m-dense-int8-a", 0.95, 0.9999, 0.99)) == reason


def test_what_is_broken_on_one_photograph_meets_nothing() -> None:
    broken = scored("m-dense-int8-a", None, 1.0, problem="3 of 4 values are NaN or Inf")
    assert "states no" in str(demands.unmet([demands.read("parity.cosine>=0.1")], broken))
    assert "states no" in str(demands.unmet([demands.read("views.repeatability_1px>=0")], broken))


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_one_broken_sample_outweighs_the_others(broken: int) -> None:
    problems = ["1 of 4 values is NaN or Inf" if at == broken else None for at in range(3)]
    rows = tuple(OutputParity("scores", f"s{at}", problem, cosine=1.0) for at, problem in enumerate(problems))
    made = dataclasses.replace(
        entry("m-dense-int8-a"), parity=(*rows, OutputParity("descriptors", "s0", None, cosine=1.0))
    )
    for metric in ("scores.cosine", "parity.cosine"):
        reason = demands.unmet([demands.read(f"{metric}>=0.5")], made)
        assert reason == f"{metric} >= 0.5 is asked for, and it states no {metric}"
    assert demands.unmet([demands.read("descriptors.cosine>=0.5")], made) is None, "another output is whole"


def test_accuracy_is_asked_of_what_else_could_run() -> None:
    good, bad = scored("m-dense-fp32-a", 0.96, 0.9999), scored("m-dense-int8-b", 0.7, 0.9)
    asked = Asked(accuracy=(demands.read("views.repeatability_1px>=0.9"),))
    choice = choose(manifest(bad, good), LAPTOP, "dense", asked)
    assert choice.ranked == (good,)
    assert [r.cell for r in choice.rejected] == [bad.cell]


def test_a_metric_of_which_less_is_better_counts_at_its_largest() -> None:
    rows = tuple(OutputParity("scores", f"s{i}", None, max_abs=found) for i, found in enumerate((0.02, 0.05, 0.01)))
    made = dataclasses.replace(entry(), parity=rows)
    assert demands.unmet([demands.read("scores.max_abs<=0.05")], made) is None
    assert str(demands.unmet([demands.read("parity.max_abs<=0.04")], made)).endswith("and it has 0.05")


def test_a_score_that_is_no_finite_number_meets_nothing() -> None:
    for value in (math.inf, math.nan):
        said = demands.unmet([demands.read("views.repeatability_1px>=0.9")], scored("m-dense-int8-a", value))
        assert "it states no views.repeatability_1px" in str(said)


@pytest.mark.parametrize(
    "word", ["views.repeatability_1px>=0.9", "scores.cosine>=0.9", "parity.snr_db>=9", "parity.problem>=1"]
)
def test_a_demand_for_what_no_artifact_states_names_what_they_do(word: str) -> None:
    """Each of them was measured, and gave no number."""
    made = scored("m-dense-int8-a", None, None, problem="3 of 4 values are NaN or Inf")
    with pytest.raises(UsageError, match=f"no artifact of this head states {word.split('>')[0]}") as caught:
        demands.check([demands.read(word)], [made])
    assert caught.value.hint == "did you mean: views.error?"


def test_a_demand_that_is_like_nothing_is_shown_some_of_what_there_is() -> None:
    made = scored("m-dense-int8-a", 0.95, 0.99)
    with pytest.raises(UsageError) as caught:
        demands.check([demands.read("xyz.q>=1")], [made])
    assert caught.value.hint == ("did you mean: parity.cosine, scores.cosine, views.error, views.repeatability_1px?")
    with pytest.raises(UsageError) as caught:
        demands.check([demands.read("score.cosine>=1")], [made])
    assert caught.value.hint == "did you mean: scores.cosine, parity.cosine?"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("0.9", "not a metric"),
        ("cosine>=0.9", "not a metric"),
        ("parity.cosine>0.9", "not a metric"),
        ("parity.cosine=0.9", "not a metric"),
        ("parity.cosine>=high", "'high' is not a number"),
        ("parity.cosine>=nan", "'nan' is not a number"),
        ("parity.cosine>=inf", "'inf' is not a number"),
        ("views.repeatability_2px>=0.9", "views.repeatability_1px"),
        ("parity.cosine<=0.9", "more is better"),
        ("views.error>=0.9", "less is better"),
        ("views.repeatability_1px<=0.9", "more is better"),
    ],
)
def test_a_demand_that_makes_no_sense_is_no_silence(word: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        demands.check([demands.read(word)], [scored("m-dense-int8-a", 0.95, 0.99)])
    assert said in str(caught.value)


# ---------------------------------------------------------------------------------------------- measured here


def benched(of: Entry, p50: float, problem: str = "") -> Timed:
    assert of.artifact is not None
    times = Percentiles(p50, p50, p50, 9)
    return Timed(
        of.artifact.digest, None if problem else Latency(times, None, (1, 1, 32, 32), 0, "here", "bench"), problem
    )


def test_what_was_measured_on_this_class_comes_before_what_the_manifest_says() -> None:
    one, two, three = (with_digest(entry(f"m-dense-fp32-{n}", p50=float(i)), i) for i, n in enumerate("abc", 1))
    offered = manifest(one, two, three)
    assert choose(offered, LAPTOP, "dense").ranked == (one, two, three)
    choice = choose(offered, LAPTOP, "dense", measured=(benched(three, 7.0), benched(two, 8.0)))
    assert choice.ranked == (three, two, one)
    assert [standing.benched for standing in choice.standings] == [True, True, False]
    failed = choose(offered, LAPTOP, "dense", measured=(benched(one, 0.0, "it ended with code 1"),))
    assert failed.ranked == (two, three)
    assert failed.rejected[0].reason.endswith("could not run it: it ended with code 1")


def test_what_was_measured_here_says_on_what_and_by_whom() -> None:
    """A GPU's artifact keeps the tier of what it was made for; for a processor, being timed here is all there is."""
    far = with_digest(entry("m-dense-int8-far", p50=8.0, naive=9.0, measured_on="Another CPU x2"), 1)
    offered = manifest(with_digest(GPU, 2), with_digest(CPU, 3), far)
    choice = choose(offered, RTX3090, "dense", measured=(benched(with_digest(GPU, 2), 1.0), benched(far, 2.0)))
    told: Any = choice_text.as_json(choice)
    assert [(one["cell"], one["tier"], one["timed"]["by"]) for one in told["ranked"]] == [
        (GPU.cell, "gpu-model", "build bench"),
        (far.cell, "cpu-model", "build bench"),
        (CPU.cell, "cpu-model", "the manifest"),
    ]
    assert told["ranked"][0]["made_for"] == "this GPU model, RTX 3090"
    assert told["ranked"][1]["made_for"].endswith("timed on this class of machine by build bench")
    told = choice_text.as_json(choose(manifest(far), LAPTOP, "dense"))
    timed = {"p50_ms": 8.0, "machine": "Another CPU x2", "speedup": 1.125, "by": "the manifest", "this_class": False}
    assert told["ranked"][0]["timed"] == timed


# ---------------------------------------------------------------------------------------------- laws


@st.composite
def _manifests(draw: st.DrawFn) -> Tuple[Entry, ...]:
    count, made = draw(st.integers(1, 7)), []
    for number in range(count):
        base = draw(st.sampled_from(EVERYTHING))
        p50 = draw(st.sampled_from([None, 1.0, 2.0, 2.0, 50.0]))
        naive = draw(st.sampled_from([None, 10.0, 100.0]))
        on = draw(st.sampled_from([base.machine, *(m.kind for m in MACHINES.values())]))
        latency = None
        if p50 is not None:
            yardstick = Percentiles(naive, naive, naive, 7) if naive is not None else None
            latency = Latency(Percentiles(p50, p50, p50, 7), yardstick, (1, 1, 32, 32), 0, on, "x")
        verdict = draw(st.sampled_from([e.verdict for e in (EVERYTHING[0], EVERYTHING[-1], EVERYTHING[9])]))
        made.append(
            with_digest(
                dataclasses.replace(base, cell=f"m-dense-fp32-{number}", latency=latency, verdict=verdict), number
            )
        )
    return tuple(made)  # fmt: skip


_MACHINES = st.sampled_from(list(MACHINES.values()))
_ASKED = st.builds(Asked, unverified=st.booleans(), no_fallback=st.booleans(), require_gpu=st.booleans())


def _chosen(entries: Tuple[Entry, ...], machine: Machine, asked: Asked, measured: Tuple[Timed, ...] = ()) -> Choice:
    return choose(manifest(*entries), machine, "dense", asked, measured)


@given(_manifests(), _MACHINES, _ASKED)
def test_whatever_is_ranked_can_run_and_whatever_is_not_has_a_reason(
    entries: Tuple[Entry, ...], machine: Machine, asked: Asked
) -> None:
    choice = _chosen(entries, machine, asked)
    for ranked in choice.ranked:
        assert ranked.platform is not None and ranked.artifact is not None
        assert cannot_run(ranked.platform, machine, ranked.artifact) is None
    assert {e.cell for e in choice.ranked} | {r.cell for r in choice.rejected} == {e.cell for e in entries}
    assert len(choice.ranked) + len(choice.rejected) == len(entries)
    assert all(rejected.reason for rejected in choice.rejected)
    if choice.fallback is not None and choice.ranked:
        assert device_of(choice.ranked[0]) == "cpu"
        assert choice.fallback.reason


@given(_manifests(), _MACHINES, _ASKED, st.randoms(use_true_random=False))
def test_the_order_of_the_manifest_changes_nothing(
    entries: Tuple[Entry, ...], machine: Machine, asked: Asked, shuffle: object
) -> None:
    mixed = list(entries)
    shuffle.shuffle(mixed)  # type: ignore[attr-defined]
    one, two = _chosen(entries, machine, asked), _chosen(tuple(mixed), machine, asked)
    assert (one.standings, one.fallback) == (two.standings, two.fallback)
    assert sorted(one.rejected, key=lambda r: r.cell) == sorted(two.rejected, key=lambda r: r.cell)


@given(_manifests(), _MACHINES, _ASKED)
def test_what_is_rejected_changes_nothing_for_the_others(
    entries: Tuple[Entry, ...], machine: Machine, asked: Asked
) -> None:
    whole = _chosen(entries, machine, asked)
    kept = {entry.cell for entry in whole.ranked}
    assert _chosen(tuple(e for e in entries if e.cell in kept), machine, asked).standings == whole.standings


@given(_manifests(), _MACHINES)
def test_asking_for_more_never_gives_what_was_not_there(entries: Tuple[Entry, ...], machine: Machine) -> None:
    free = [entry.cell for entry in _chosen(entries, machine, Asked()).ranked]
    for asked in (Asked(no_fallback=True), Asked(require_gpu=True), Asked(no_fallback=True, require_gpu=True)):
        assert {e.cell for e in _chosen(entries, machine, asked).ranked} <= set(free)


# ---------------------------------------------------------------------------------------------- the command


@pytest.fixture
def offered(store: Layout, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """A store with an artifact for the CPU and one for a GPU that waits; this machine is one with that GPU."""
    files = (store.put_bytes("model.onnx", b"cpu"),)
    made = dataclasses.replace(CPU, artifact=entry(files=files).artifact)
    assert made.artifact is not None
    artifact = dataclasses.replace(made.artifact, digest=versions.put_artifact(store, made.cell, files).digest)
    scores = (OutputParity("scores", "s", None, cosine=0.99),)
    waiting = dataclasses.replace(GPU, verdict=Verdict("waiting", "it was not built"), artifact=None, latency=None)
    versions.publish(store, manifest(dataclasses.replace(made, artifact=artifact, parity=scores), waiting))
    monkeypatch.setattr(machines, "here", lambda: RTX3090)
    return store


def test_pull_says_that_it_moves_to_the_cpu(
    offered: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [str(offered.root), "--to", str(tmp_path / "to")]
    assert cli.main(["pull", *where]) == 0
    said = capsys.readouterr()
    assert "m-dense-fp16-gpu: waiting: it was not built. With --no-fallback this is an error." in said.err
    assert "cpu-model" in said.out
    assert cli.main(["pull", *where, "--format", "json"]) == 0
    placed = json.loads(capsys.readouterr().out)
    assert (placed["tier"], placed["device"], placed["cells"]) == ("cpu-model", "cpu", ["m-dense-int8-cpu"])
    assert placed["fallback"] == {"cell": "m-dense-fp16-gpu", "reason": "waiting: it was not built"}


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--no-fallback"], 6, "m-dense-fp16-gpu: waiting: it was not built"),
        (["--require-gpu"], 6, "build pull {store} --explain --require-gpu"),
        (["--min-accuracy", "parity.cosine>=0.999"], 6, "--explain --min-accuracy 'parity.cosine>=0.999'"),
        (["--min-accuracy", "parity.cosin>=0.999"], 2, "did you mean: parity.cosine"),
        (["--min-accuracy", "0.999"], 2, "write it as --min-accuracy"),
    ],
)
def test_pull_places_nothing_that_was_not_asked_for(
    flags: List[str], code: int, said: str, offered: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["pull", str(offered.root), "--to", str(tmp_path / "to"), *flags]) == code
    assert said.format(store=offered.root) in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_explain_as_json_says_tier_and_time(offered: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pull", str(offered.root), "--explain", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (first,) = told["ranked"]
    assert (first["cell"], first["tier"], first["timed"]["p50_ms"]) == ("m-dense-int8-cpu", "cpu-model", 4.0)
    assert told["rejected"] == [{"cell": "m-dense-fp16-gpu", "reason": "waiting: it was not built"}]
    assert told["fallback"]["cell"] == "m-dense-fp16-gpu"
