"""`build publish` and `build pull` as processes, with a real registry between them: exit codes and what a person reads."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Iterator, Mapping

import pytest

from builder.store import versions
from builder.store.layout import Layout
from tests.builder.store.test_versions import published
from tests.fakes import REPOSITORY
from tests.ports import free_port
from tests.registries import PASSWORD, USER, registry
from tests.servers import certificate

# On the laptop of the tests, so that an artifact of theirs fits whatever machine this is.
_BUILD = "import sys; from builder import cli; from builder.platforms import machines as facts; from tests import fakes; facts.here = lambda: fakes.LAPTOP; sys.exit(cli.main())"
LOGIN = {"DEPLOYMATRIX_LOGIN": f"{USER}:{PASSWORD}"}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry"), password=True) as where:
        yield where


def build(folder: Path, *words: str, environ: Mapping[str, str] = LOGIN, code: int = 0) -> str:
    """What it prints, on both outputs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DEPLOYMATRIX")}
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, *words],
        cwd=str(folder),
        env={**kept, "HOME": str(folder), "PYTHONPATH": str(REPOSITORY), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        universal_newlines=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert "Traceback" not in done.stdout
    assert PASSWORD not in done.stdout
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    published(Layout(tmp_path / "artifacts"))
    return tmp_path


def test_published_signed_and_pulled(folder: Path, host: str, tmp_path: Path) -> None:
    build(folder, "keys", "new", "release.key", "--no-password")
    build(folder, "keys", "new", "stranger.key", "--no-password")
    build(folder, "sign", "--key", "release.key")
    address = f"oci+http://{host}/models/signed"
    said = build(folder, "publish", address)
    assert f"v1 is in {address}:" in said
    assert f"Next, on a host: build pull {address}" in said
    assert "0 files copied, the rest was there" in build(folder, "publish", address)
    elsewhere = tmp_path / "host"
    elsewhere.mkdir()
    pull = ("pull", address, "--no-self-test", "--key")
    assert "tiny-dense-fp32-or" in build(elsewhere, *pull, str(folder / "release.key.pub"))
    assert (elsewhere / "pulled" / "dense" / "current" / "deploy.json").is_file()
    said = build(elsewhere, *pull, str(folder / "stranger.key.pub"), "--to", "other", code=10)
    assert "has no valid signature by stranger.key" in said
    assert not (elsewhere / "other" / "dense").exists()


def test_a_wrong_password(folder: Path, host: str) -> None:
    wrong = {"DEPLOYMATRIX_LOGIN": f"{USER}:wr0ng"}
    said = build(folder, "publish", f"oci+http://{host}/models/x", environ=wrong, code=11)
    assert said.startswith(f"error: {host}: it does not accept the login of {USER}")
    assert "docker login" in said and "wr0ng" not in said


def test_no_login(folder: Path, host: str) -> None:
    said = build(folder, "pull", f"oci+http://{host}/models/x", environ={}, code=11)
    assert "it wants a login to read models/x" in said


def test_nobody_listens(folder: Path) -> None:
    said = build(folder, "publish", f"oci+http://127.0.0.1:{free_port()}/models/x", code=11)
    assert "nothing listens at 127.0.0.1" in said


def test_nothing_was_published_there(folder: Path, host: str) -> None:
    said = build(folder, "pull", f"oci+http://{host}/models/nothing", code=2)
    assert "models/nothing holds no version" in said
    assert f"build publish oci+http://{host}/models/nothing" in said


def test_http_where_there_is_https(folder: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "tls", certificate=certificate(tmp_path)) as guarded:
        said = build(folder, "pull", f"oci+http://{guarded}/models/x", code=11)
    assert "with https it begins with oci://" in said


def test_a_password_in_the_address_is_not_repeated(folder: Path) -> None:
    said = build(folder, "publish", f"oci://me:{PASSWORD}@registry.example/models/x", code=2)
    assert "holds no user or password" in said


def test_a_version_never_changes(folder: Path, host: str, tmp_path: Path) -> None:
    address = f"oci+http://{host}/models/changed"
    build(folder, "publish", address)
    other = Layout(tmp_path / "other")
    made = published(other)
    versions.publish(other, dataclasses.replace(made, created="another day"))
    said = build(folder, "publish", address, "--store", "other", code=2)
    assert "v1 is there already, and another one: a version never changes" in said
