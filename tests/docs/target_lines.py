"""The sections of docs/targets.md about the shipped targets: what their machines need, from the compatibility tables."""

from __future__ import annotations

from typing import Dict, List

from builder.config.loader import load
from builder.config.matrix import Target
from builder.platforms import install
from builder.release import WHEEL
from tests.docs.doc_pages import ROOT

BEGIN, END = "<!-- generated: targets -->", "<!-- end of generated -->"

# Before anything of ours: what brings the driver, or the whole system, onto a bare machine.
_BARE: Dict[str, List[str]] = {
    "rtx3090_trt10": ["sudo ubuntu-drivers install"],
    "rtx3090_rtx": ["sudo ubuntu-drivers install"],
    "gtx1060_trt86": ["sudo ubuntu-drivers install nvidia:580  # the last driver that has this GPU"],
    "gtx1060_ort": ["sudo ubuntu-drivers install nvidia:580  # the last driver that has this GPU"],
    "orin_jp6": [],
    "xaviernx_jp5": [],
}


def _dials_out(target: Target) -> str:
    """That a worker of the fleet runs there, in the same environment."""
    return (
        f"To take its work from a queue: `{install.VENV}/bin/pip install './{WHEEL}[fleet]'`, then "
        f"[`{install.VENV}/bin/build worker`](how-to/build-with-a-fleet.md)."
    )


def targets() -> List[Target]:
    """The shipped targets that have a machine of their own."""
    return [target for target in load(ROOT / "matrix.yaml").matrix.targets if target.sm is not None]


def text() -> str:
    parts = [BEGIN, ""]
    for target in targets():
        keys = ("runtime", "version", "sm", "arch", "cuda", "cudnn", "jetpack")
        said = {key: getattr(target, key) for key in keys if getattr(target, key) not in (None, "x86_64")}
        words = ", ".join(
            f'{key}: "{value}"' if value[0].isdigit() else f"{key}: {value}" for key, value in said.items()
        )
        called = f"gpu: {target.gpu}" if target.gpu else f"machine: {target.machine}"
        parts += [
            f"## {target.machine}: {install.named(target)}",
            "",
            f"Needs {install.needs(target)}."
            + (" Flash it with that JetPack first (NVIDIA SDK Manager)." if target.jetpack else "")
            + " In `matrix.yaml`:",
            "",
            "```yaml",
            "targets:",
            f"  {target.name}: {{{words}, {called}}}",
            "```",
            "",
            "<!-- not run: it needs that machine -->",
            "```console",
            *(f"$ {line}" for line in (*_BARE[target.name], *install.commands(target, tasks=True))),
            f"$ {install.VENV}/bin/build doctor",
            f"$ {install.VENV}/bin/build perform '*-{target.name}' --store artifacts",
            "```",
            "",
            _dials_out(target),
            "",
        ]
    return "\n".join([*parts, END])
