"""Where the system runs: on a board, in a container, or in the Windows Subsystem for Linux."""

from __future__ import annotations

from builder.detect.probe import Probe

# In a control group's path, written by the engine that made it.
_GROUPS = (("kubepods", "kubernetes"), ("libpod", "podman"), ("docker", "docker"), ("containerd", "containerd"))


def board(probe: Probe) -> str:
    """What the device tree calls the machine: `NVIDIA Jetson AGX Orin Developer Kit`, `Raspberry Pi 5 Model B Rev 1.0`."""
    return probe.text("/proc/device-tree/model").strip("\0\n ")


def is_jetson(probe: Probe) -> bool:
    """Containers hide the device tree; the release file is mounted into NVIDIA's."""
    return "nvidia,tegra" in probe.text("/proc/device-tree/compatible") or probe.exists("/etc/nv_tegra_release")


def wsl(probe: Probe) -> bool:
    return "microsoft" in probe.text("/proc/version").lower()


def container(probe: Probe) -> str:
    """docker, podman, kubernetes, lxc, apptainer, ...; nothing outside of one. What says so is left by the engine,
    so an image that was turned into a machine of its own may still say `docker`."""
    if "KUBERNETES_SERVICE_HOST" in probe.environ:
        return "kubernetes"
    if "APPTAINER_CONTAINER" in probe.environ or "SINGULARITY_CONTAINER" in probe.environ:
        return "apptainer"
    if probe.exists("/run/.containerenv"):
        return "podman"
    if probe.exists("/.dockerenv"):
        return "docker"
    said = probe.text("/run/systemd/container").strip() or probe.environ.get("container", "")  # systemd-nspawn, lxc
    if said:
        return said
    groups = probe.text("/proc/1/cgroup")
    return next((engine for mark, engine in _GROUPS if mark in groups), "lxc" if "/lxc" in groups else "")
