"""What a pipeline does, whatever runs it: prepare, one job per target on its own runner, finish. Pure.

    prepare   build all that any machine can, leave the orders of the rest in the store
    TARGET    on its runner: carry out the orders of its cells, without torch, matrix or code
    finish    merge what came back, judge it, audit it, sign and publish it

A job is steps, a step is lines of shell. Those that install something are marked, so that a machine on which everything
is installed can leave them out.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import List, Literal, Sequence, Tuple

from builder import release
from builder.config.cells import all_cells
from builder.config.matrix import Matrix, Target
from builder.errors import UsageError
from builder.platforms import install

STORE = "artifacts"
RETURNED = "returned"  # stores that came back from targets, one folder each
_PYTHON = "3.12"
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/-]*")
_CPU_TORCH = "python -m pip install torch --index-url https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Step:
    """Lines for a POSIX shell. `installs`: they only bring packages. `secret`: names of secrets that they read from the
    environment; `released`: only where the default branch is built."""

    name: str
    lines: Tuple[str, ...]
    installs: bool = False
    secret: Tuple[str, ...] = ()
    released: bool = False


@dataclass(frozen=True)
class Job:
    """`once` is what a person does on the runner before, if anything."""

    id: str
    title: str
    runner: Tuple[str, ...]
    steps: Tuple[Step, ...]
    once: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Pipeline:
    """`left`: targets for which no runner is named; what of them cannot be built by `prepare` waits."""

    python: str
    prepare: Job
    targets: Tuple[Job, ...]
    finish: Job
    left: Tuple[str, ...]


@dataclass(frozen=True)
class Wishes:
    """What the person asked for: `package` is what pip installs deploymatrix from, `publish` a place or empty, `sign`
    whether there is a secret with a key, `runner` the labels of the jobs that are of no target."""

    package: str = "."
    publish: str = ""
    sign: bool = False
    runner: Tuple[str, ...] = ("ubuntu-latest",)
    matrix: str = "matrix.yaml"


def pipeline(matrix: Matrix, wishes: Wishes) -> Pipeline:
    """Raises UsageError for a runner's label that is none."""
    enabled = [target for target in matrix.targets if target.disabled is None]
    known = {cell.target for cell in all_cells(matrix)}
    away = [target for target in enabled if target.runner and target.name in known]
    for target in away:
        for label in target.runner:
            if not _LABEL.fullmatch(label):
                raise UsageError(f"targets.{target.name}.runner: {label!r} is no label of a runner")
    extras = "build,rtx" if any(t.runtime == "tensorrt-rtx" for t in enabled) else "build"
    installs = Step("Install", (_CPU_TORCH, f"python -m pip install {_requirement(wishes.package, extras)}"), True)
    return Pipeline(
        _PYTHON,
        _prepare(wishes, installs),
        tuple(_of_target(target, bool(matrix.tasks)) for target in away),
        _finish(wishes, installs, [target.name for target in away]),
        tuple(target.name for target in enabled if not target.runner),
    )


def _prepare(wishes: Wishes, installs: Step) -> Job:
    wheel = f"python -m pip wheel --no-deps --wheel-dir wheel {shlex.quote(wishes.package)}"
    return Job(
        "prepare",
        "Build what any machine can",
        wishes.runner,
        (
            installs,
            Step("Make the wheel for the targets", (wheel,), True),
            Step("Check the matrix", (_build("plan", wishes),)),
            # 3: an artifact missed its gate. The other machines go on; `finish` judges again and fails then.
            Step("Build", (f"{_build('matrix', wishes)} --quiet || test $? -eq 3",)),
        ),
    )


def _of_target(target: Target, tasks: bool) -> Job:
    lines = install.commands(target, tasks)
    once = tuple(line for line in lines if line.startswith(("sudo ", "#")))
    commands = tuple(line for line in lines if line not in once)
    return Job(
        job_id(target),
        f"{target.name}: {install.named(target)}, {target.machine}",
        target.runner,
        (
            Step("Install", ("cp wheel/*.whl .", *commands), True),
            Step("Build and measure", (f".venv/bin/build perform '*-{target.name}' --store {STORE}",)),
        ),
        once,
    )


def _finish(wishes: Wishes, installs: Step, away: Sequence[str]) -> Job:
    steps: List[Step] = [installs]
    if away:
        # A target whose runner is off has sent nothing: its cells stay waiting.
        merge = f'for store in {RETURNED}/*; do test ! -d "$store" || build merge "$store" --store {STORE}; done'
        steps.append(Step("Merge", (merge,)))
    steps += [
        Step("Judge", (f"{_build('matrix', wishes)} --quiet",)),
        Step("Audit", (f"build audit --store {STORE}",)),
        Step("Report", (f"build report --store {STORE} --output report.html",)),
    ]
    if wishes.sign:
        key = "deploymatrix.key"
        lines = (
            f'(umask 077; printf "%s\\n" "$DEPLOYMATRIX_KEY" > {key})',
            f"build sign --key {key} --store {STORE} || {{ code=$?; rm -f {key}; exit $code; }}",
            f"rm -f {key}",
        )
        steps.append(Step("Sign", lines, secret=("DEPLOYMATRIX_KEY", "DEPLOYMATRIX_PASSWORD"), released=True))
    if wishes.publish:
        steps.append(Step("Publish", (f"build publish {shlex.quote(wishes.publish)} --store {STORE}",), released=True))
    return Job("finish", "Merge, judge, audit, publish", wishes.runner, tuple(steps))


def job_id(target: Target) -> str:
    return "on_" + re.sub(r"[^A-Za-z0-9_]", "_", target.name)


def _build(verb: str, wishes: Wishes) -> str:
    named = "" if wishes.matrix == "matrix.yaml" else f" -m {shlex.quote(wishes.matrix)}"
    return f"build {verb}{named} --store {STORE}"


def _requirement(package: str, extras: str) -> str:
    """A folder takes its extras behind it; a URL needs a name before it."""
    if "://" in package:
        return shlex.quote(f"deploymatrix[{extras}] @ {package}")
    return shlex.quote(f"{package}[{extras}]")


# A pipeline as the file that a CI service reads. Jinja2 is imported only here and by the report.


Service = Literal["github", "gitlab"]
USUAL = {"github": ".github/workflows/deploymatrix.yml", "gitlab": ".gitlab-ci.yml"}
_FOLDER = Path(__file__).parent / "templates"


def rendered(pipeline: Pipeline, service: Service) -> str:
    """The file's text. Raises UsageError where jinja2 is not installed."""
    try:
        import jinja2
    except ImportError:
        raise UsageError("this needs jinja2", hint=release.pip_install("report")) from None
    engine = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(_FOLDER)),
        autoescape=False,  # it is YAML; every word that is not ours goes through `quoted`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    engine.filters["quoted"] = _quoted
    engine.filters["plain"] = _plain
    engine.filters["listed"] = _listed
    return engine.get_template(f"{service}.yml.j2").render(pipeline=pipeline, store=STORE, returned=RETURNED)


def _quoted(text: str) -> str:
    """A YAML scalar: JSON's strings are YAML's."""
    return json.dumps(_plain(text), ensure_ascii=False)


def _plain(line: str) -> str:
    """One line of text, which the service does not take for an expression of its own."""
    if "${{" in line or len(line.splitlines()) > 1:
        raise UsageError(f"{line!r} would be read as an expression by the CI service")
    return line


def _listed(labels: "tuple[str, ...]") -> str:
    return "[" + ", ".join(map(_quoted, labels)) + "]"
