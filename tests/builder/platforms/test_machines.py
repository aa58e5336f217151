"""Processor, packages, boards and surroundings, each from a tree of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Dict, Optional

import pytest

from builder.platforms import hardware, machines, packages, tables
from builder.platforms.gpus import Gpu
from builder.platforms.packages import Debian, Package
from tests.builder.platforms.stand_ins import DRIVER, RTX3090, FakeCuda, FakeSmi, probe

# ------------------------------------------------------------------------------------------- processors

EPYC = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 9V84 96-Core Processor
flags\t\t: fpu vme avx avx2 avx512f avx512bw avx512_bf16 avx512_vnni

processor\t: 1
model name\t: AMD EPYC 9V84 96-Core Processor
flags\t\t: fpu vme avx avx2 avx512f avx512bw avx512_bf16 avx512_vnni
"""


def arm(*parts: str, features: str = "fp asimd evtstrm aes crc32 atomics asimdhp asimddp", more: str = "") -> str:
    """What Linux on aarch64 prints; each part is `implementer part`."""
    cores = [
        f"processor\t: {n}\nBogoMIPS\t: 62.50\nFeatures\t: {features}\nCPU implementer\t: {part.split()[0]}\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part.split()[1]}\nCPU revision\t: 1\n"
        for n, part in enumerate(parts)
    ]
    return "\n".join(cores) + more


@pytest.mark.parametrize(
    ("cpuinfo", "name", "features"),
    [
        (EPYC, "AMD EPYC 9V84 96-Core Processor", ("avx2", "avx512f", "avx512_vnni", "avx512_bf16")),
        (arm(*["0x41 0xd42"] * 12), "Cortex-A78AE", ("asimd", "asimddp")),
        (arm(*["0x4e 0x004"] * 6, features="fp asimd aes"), "Carmel", ("asimd",)),
        (
            arm("0x41 0xd0b", more="\nRevision\t: d04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n"),
            "Cortex-A76",
            ("asimd", "asimddp"),
        ),
        (arm("0x41 0xd05", "0x41 0xd05", "0x41 0xd0b"), "Cortex-A55 + Cortex-A76", ("asimd", "asimddp")),
        (arm("0x61 0x000", features="fp asimd asimddp i8mm bf16"), "Apple silicon", ("asimd", "asimddp", "bf16")),
        (arm("0x41 0xfff", more="\nModel\t\t: A New Board\n"), "A New Board", ("asimd", "asimddp")),
        ("model name\t: ARMv8 Processor rev 1 (v8l)\n" + arm("0x41 0xd42"), "Cortex-A78AE", ("asimd", "asimddp")),
    ],
)
def test_processors(cpuinfo: str, name: str, features: object, tmp_path: Path) -> None:
    given = probe(tmp_path, {"/proc/cpuinfo": cpuinfo})
    assert hardware.name(given) == name
    assert hardware.features(given) == features


def test_a_processor_without_a_description_has_a_name_all_the_same(tmp_path: Path) -> None:
    assert hardware.name(probe(tmp_path))
    assert hardware.features(probe(tmp_path)) == ()


@pytest.mark.parametrize(
    ("files", "mib"),
    [
        ({}, 0),
        ({"/proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\n"}, 16000),
        ({"/proc/meminfo": "MemTotal: many\n"}, 0),
        ({"/proc/meminfo": "MemTotal: 16384000 kB\n", "/sys/fs/cgroup/memory.max": "max\n"}, 16000),
        ({"/proc/meminfo": "MemTotal: 16384000 kB\n", "/sys/fs/cgroup/memory.max": "4294967296\n"}, 4096),
        (
            {
                "/proc/meminfo": "MemTotal: 16384000 kB\n",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            16000,
        ),
    ],
)
def test_memory_is_what_the_process_may_use(files: Dict[str, str], mib: int, tmp_path: Path) -> None:
    assert hardware.memory_mib(probe(tmp_path, files)) == mib


# ------------------------------------------------------------------------------------------- packages


def wheels(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    return str(folder)


def test_versions_come_from_the_names_of_metadata_folders(tmp_path: Path) -> None:
    first = wheels(tmp_path / "a", "onnx-1.21.0.dist-info", "Torch-2.9.1+cpu.dist-info", "numpy-1.26.4-py3.10.egg-info")
    second = wheels(tmp_path / "b", "onnx-1.0.dist-info", "opencv_python-4.12.0.88.dist-info", "no-metadata")
    found = packages.distributions(probe(tmp_path, path=(first, second, str(tmp_path / "gone"), "archive.zip")))
    assert packages.named(found) == [
        Package("torch", "2.9.1+cpu"),
        Package("onnx", "1.21.0"),
        Package("numpy", "1.26.4"),
        Package("opencv-python-headless", "4.12.0.88"),
    ]


@pytest.mark.parametrize(
    ("folder", "package"),
    [
        ("tensorrt_cu12-10.16.1.11.dist-info", Package("tensorrt", "10.16.1.11")),
        ("tensorrt_cu13_bindings-10.14.1.48.post1.dist-info", Package("tensorrt", "10.14.1.48.post1")),
        ("tensorrt_bindings-8.6.1.dist-info", Package("tensorrt", "8.6.1")),
        ("tensorrt_rtx_cu13-1.7.1.dist-info", Package("tensorrt_rtx", "1.7.1")),
        ("onnxruntime_gpu-1.23.2.dist-info", Package("onnxruntime", "1.23.2")),
    ],
)
def test_other_distributions_of_the_same_module_count(folder: str, package: Package, tmp_path: Path) -> None:
    found = packages.distributions(probe(tmp_path, path=(wheels(tmp_path / "site", folder),)))
    assert package in packages.named(found)


@pytest.mark.parametrize(
    ("names", "files", "cuda", "cudnn"),
    [
        ((), {}, "", ""),
        (
            ("nvidia_cuda_runtime_cu12-12.9.79.dist-info", "nvidia_cudnn_cu12-9.10.2.21.dist-info"),
            {"/usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "11.8.20220929"}}'},
            "12.9.79",
            "9.10.2.21",
        ),
        (
            (),
            {
                "/usr/local/cuda/version.json": json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.6.20240801"}}),
                "/usr/include/aarch64-linux-gnu/cudnn_version.h": "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 3\n"
                "#define CUDNN_PATCHLEVEL 0\n#define CUDNN_VERSION (CUDNN_MAJOR * 10000)\n",
            },
            "12.6.20240801",
            "9.3.0",
        ),
        ((), {"/usr/local/cuda/version.txt": "CUDA Version 10.2.89\n"}, "10.2.89", ""),
        ((), {"/usr/local/cuda/version.json": "[]"}, "", ""),
        ((), {"/usr/local/cuda/version.json": '{"cuda": {"version": 12}}'}, "", ""),
        ((), {"/usr/local/cuda/version.json": "{"}, "", ""),
    ],
)
def test_the_cuda_that_is_installed(
    names: "tuple[str, ...]", files: Dict[str, str], cuda: str, cudnn: str, tmp_path: Path
) -> None:
    given = probe(tmp_path / "root", files, path=(wheels(tmp_path / "site", *names),))
    found = packages.distributions(given)
    assert (packages.cuda(given, found), packages.cudnn(given, found)) == (cuda, cudnn)


def test_a_toolkit_that_says_its_version_only_in_the_name_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "usr/local/cuda-12.6").mkdir(parents=True)
    (tmp_path / "usr/local/cuda").symlink_to("cuda-12.6")
    assert packages.cuda(probe(tmp_path), {}) == "12.6"


STATUS = """\
Package: libnvinfer10
Status: install ok installed
Architecture: arm64
Version: 10.3.0.30-1+cuda12.5

Package: python3-libnvinfer
Status: install ok installed
Version: 10.3.0.30-1+cuda12.5

Package: libnvinfer8
Status: deinstall ok config-files
Version: 8.6.2-1

Package: nvidia-jetpack
Status: install ok installed
Version: 6.2+b77

Package: nvidia-l4t-core
Status: install ok installed
Version: 36.4.3-20250107174145

Package: python3-opencv
Status: install ok installed
Version: 1:4.5.4+dfsg-9ubuntu4"""
DPKG = "/var/lib/dpkg/status"


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("libnvinfer10", "10.3.0.30"),
        ("libnvinfer8", ""),
        ("libnvinfer", ""),
        ("nvidia-jetpack", "6.2"),
        ("nvidia-l4t-core", "36.4.3"),
        ("python3-opencv", "4.5.4"),
    ],
)
def test_debian_packages_that_are_installed(name: str, version: str, tmp_path: Path) -> None:
    assert Debian(probe(tmp_path, {DPKG: STATUS})).version(name) == version


def test_a_system_without_dpkg(tmp_path: Path) -> None:
    assert Debian(probe(tmp_path)).first("libnvinfer10", "libnvinfer8") == ""


@pytest.mark.parametrize("seen", [True, False])
def test_modules_of_debian_count_only_where_this_python_sees_them(seen: bool, tmp_path: Path) -> None:
    folder = tmp_path / "dist-packages"
    (folder / "tensorrt").mkdir(parents=True)
    (folder / "cv2.cpython-310-aarch64-linux-gnu.so").touch()
    given = probe(tmp_path, {DPKG: STATUS}, path=(str(folder),) if seen else ("gone",))
    found = packages.from_debian(given, Debian(given), [])
    modules = [Package("tensorrt", "10.3.0.30"), Package("opencv-python-headless", "4.5.4")]
    assert found == [Package("libnvinfer", "10.3.0.30"), *(modules if seen else [])]
    assert Package("tensorrt", "10.3.0.30") not in packages.from_debian(
        given, Debian(given), [Package("tensorrt", "1")]
    )


# ------------------------------------------------------------------------------------------- boards

ORIN_TREE = {
    "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0",
    "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n# KERNEL_VARIANT: oot\n",
    DPKG: STATUS,
}
XAVIER_TREE = {
    "/proc/device-tree/model": "NVIDIA Jetson Xavier NX Developer Kit\0",
    "/proc/device-tree/compatible": "nvidia,p3449-0000+p3668-0000\0nvidia,tegra194\0",
    "/etc/nv_tegra_release": "# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref, EABI: aarch64, "
    "DATE: Tue Aug  1 19:57:35 UTC 2023\n",
}
PI_TREE = {
    "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "/proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
}


@pytest.mark.parametrize(
    ("tree", "found", "board"),
    [
        (ORIN_TREE, hardware.Jetson("8.7", "36.4.3", "6.2"), "NVIDIA Jetson AGX Orin Developer Kit"),
        (XAVIER_TREE, hardware.Jetson("7.2", "35.4.1", "5.1.2"), "NVIDIA Jetson Xavier NX Developer Kit"),
        (
            {**XAVIER_TREE, "/proc/device-tree/compatible": "nvidia,tegra186\0", "/etc/nv_tegra_release": ""},
            hardware.Jetson("6.2", "", ""),
            "NVIDIA Jetson Xavier NX Developer Kit",
        ),
        # in a container of NVIDIA's: no device tree, but the release file and no dpkg of the host
        ({"/etc/nv_tegra_release": ORIN_TREE["/etc/nv_tegra_release"]}, hardware.Jetson("", "36.4.3", "6.2"), ""),
        # the release file is missing, the package of the same release is there
        (
            {"/proc/device-tree/compatible": "nvidia,tegra234\0", DPKG: STATUS},
            hardware.Jetson("8.7", "36.4.3", "6.2"),
            "",
        ),
        (PI_TREE, None, "Raspberry Pi 5 Model B Rev 1.0"),
        ({}, None, ""),
        ({"/proc/device-tree/compatible": "\0\0garbage", "/proc/device-tree/model": "\0"}, None, ""),
    ],
)
def test_boards(tree: Dict[str, str], found: Optional[hardware.Jetson], board: str, tmp_path: Path) -> None:
    given = probe(tmp_path, tree)
    assert hardware.is_jetson(given) == (found is not None)
    assert hardware.board(given) == board
    if found is not None:
        assert hardware.find(given, Debian(given)) == found


@pytest.mark.parametrize(
    ("l4t", "jetpack"),
    [
        ("32.6.1", "4.6"),
        ("32.7.4", "4.6.4"),
        ("35.1", "5.0.2"),
        ("35.1.0", "5.0.2"),
        ("35.4.1", "5.1.2"),
        ("36.3", "6.0"),
        ("36.4", "6.1"),
        ("36.4.0", "6.1"),
        ("36.4.3", "6.2"),
        ("36.4.7", "6.2.1"),
        ("38.2.1", "7.0"),
        ("38.4", "7.1"),
        ("35.6.5", "5.1.7"),
        ("36.5.2", "6.2.3"),
        ("39.2.0", "7.2"),
        ("39.2.1", "7.2.1"),
        ("39.2.4", "7.2.1"),
        ("39.4", None),
        ("37.1", None),
        ("40.1", None),
        ("31.1", None),
        ("", None),
        ("garbage", None),
    ],
)
def test_jetpack_by_its_release_of_l4t(l4t: str, jetpack: Optional[str]) -> None:
    assert tables.jetpack_of(l4t) == jetpack


# ------------------------------------------------------------------------------------------- surroundings


@pytest.mark.parametrize(
    ("files", "environ", "container"),
    [
        ({}, {}, ""),
        ({"/proc/1/cgroup": "0::/init.scope\n"}, {}, ""),
        ({"/.dockerenv": ""}, {}, "docker"),
        ({"/run/.containerenv": 'engine="podman-4.9.3"\n'}, {}, "podman"),
        ({"/run/.containerenv": "", "/.dockerenv": ""}, {}, "podman"),
        ({"/.dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, "kubernetes"),
        ({"/run/systemd/container": "systemd-nspawn\n"}, {}, "systemd-nspawn"),
        ({}, {"container": "lxc"}, "lxc"),
        ({}, {"APPTAINER_CONTAINER": "/image.sif"}, "apptainer"),
        ({"/proc/1/cgroup": "12:cpu:/docker/4f0b\n0::/system.slice/containerd.service\n"}, {}, "docker"),
        ({"/proc/1/cgroup": "11:memory:/kubepods/besteffort/pod1/4f\n"}, {}, "kubernetes"),
        ({"/proc/1/cgroup": "0::/machine.slice/libpod-4f.scope\n"}, {}, "podman"),
        ({"/proc/1/cgroup": "9:cpuset:/lxc/box\n"}, {}, "lxc"),
    ],
)
def test_containers(files: Dict[str, str], environ: Dict[str, str], container: str, tmp_path: Path) -> None:
    assert hardware.container(probe(tmp_path, files, environ=environ)) == container


@pytest.mark.parametrize(
    ("version", "wsl"),
    [
        ("Linux version 5.15.153.1-microsoft-standard-WSL2 (root@941d701f84f1) (gcc ...)", True),
        ("Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)", True),
        ("Linux version 6.8.0-45-generic (buildd@lcy02-amd64-075)", False),
        ("", False),
    ],
)
def test_windows_subsystem_for_linux(version: str, wsl: bool, tmp_path: Path) -> None:
    assert hardware.wsl(probe(tmp_path, {"/proc/version": version})) is wsl


# ------------------------------------------------------------------------------------------- whole machines


def test_an_orin(tmp_path: Path) -> None:
    dist = tmp_path / "dist-packages"
    (dist / "tensorrt").mkdir(parents=True)
    cuda = FakeCuda((RTX3090.__class__("Orin", (8, 7), 62841),))
    given = probe(tmp_path, {**ORIN_TREE, "/dev/nvmap": ""}, path=(str(dist),), cuda=cuda)
    machine = machines.here(given)
    assert machine.board == "NVIDIA Jetson AGX Orin Developer Kit"
    assert (machine.l4t, machine.jetpack, machine.cuda_driver) == ("36.4.3", "6.2", "12.6")
    assert [(gpu.name, gpu.sm, gpu.memory_mib) for gpu in machine.gpus] == [("Orin", "8.7", 62841)]
    assert (machine.version("tensorrt"), machine.version("libnvinfer")) == ("10.3.0.30", "10.3.0.30")
    assert machine.gpu_problem == ""


def test_a_container_in_windows(tmp_path: Path) -> None:
    files = {"/proc/version": "Linux version 5.15.153.1-microsoft-standard-WSL2", "/dev/dxg": "", "/.dockerenv": ""}
    machine = machines.here(probe(tmp_path, files, cuda=FakeCuda((RTX3090,)), command=FakeSmi((RTX3090,))))
    assert (machine.wsl, machine.container, machine.gpus_by, machine.driver) == (True, "docker", "libcuda", "")


def test_a_desktop_with_everything(tmp_path: Path) -> None:
    site = wheels(tmp_path / "site", "tensorrt_cu12-10.16.1.11.dist-info", "tensorrt_cu12_libs-10.16.1.11.dist-info")
    machine = machines.here(probe(tmp_path, {**DRIVER, "/proc/cpuinfo": EPYC}, path=(site,), cuda=FakeCuda((RTX3090,))))
    assert machine.cpu == "AMD EPYC 9V84 96-Core Processor"
    assert machine.gpus == (Gpu("NVIDIA GeForce RTX 3090", "8.6", 24576, f"GPU-{RTX3090.uuid}"),)
    assert (machine.driver, machine.cuda_driver) == ("560.35.03", "12.6")
    assert [package.name for package in machine.packages] == ["tensorrt", "tensorrt_cu12_libs"]


def test_an_empty_tree_is_a_machine_too(tmp_path: Path) -> None:
    machine = machines.here(probe(tmp_path))
    assert machine.gpus == () and machine.packages == () and machine.gpu_problem == ""
    assert machine.cores >= 1 and machine.cpu and machine.python
