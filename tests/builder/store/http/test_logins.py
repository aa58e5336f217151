"""Where a login is found, and what a file or a program that holds none of use is told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Dict, Optional

import pytest

from builder.errors import UsageError
from builder.store.http.logins import Login, host_names, login_for


def packed(user: str, password: str) -> "dict[str, str]":
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, said: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said if isinstance(said, str) else json.dumps(said))
    return path


def who(found: Optional[Login]) -> "tuple[str, str] | None":
    return None if found is None else (found.user, found.password or found.token)


@pytest.fixture
def environ(tmp_path: Path) -> Dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "bin")}


def test_the_nearest_place_counts(tmp_path: Path, environ: Dict[str, str]) -> None:
    def found() -> object:
        return who(login_for("h:5000", "models/x", environ))

    assert found() is None
    write(tmp_path / "home/.docker/config.json", {"auths": {"h:5000": packed("a", "docker")}})
    assert found() == ("a", "docker")
    write(tmp_path / "docker/config.json", {"auths": {"h:5000": packed("b", "named docker")}})
    environ["DOCKER_CONFIG"] = str(tmp_path / "docker")
    assert found() == ("b", "named docker")
    write(tmp_path / "home/.config/containers/auth.json", {"auths": {"h:5000": packed("c", "podman")}})
    assert found() == ("c", "podman")
    write(tmp_path / "run/containers/auth.json", {"auths": {"h:5000": packed("d", "session")}})
    environ["XDG_RUNTIME_DIR"] = str(tmp_path / "run")
    assert found() == ("d", "session")
    environ["REGISTRY_AUTH_FILE"] = str(write(tmp_path / "auth.json", {"auths": {"h:5000": packed("e", "named")}}))
    assert found() == ("e", "named")
    environ.update(DEPLOYMATRIX_LOGIN="f:of:this:program", DEPLOYMATRIX_PASSWORD="of a key")
    assert found() == ("f", "of:this:program")
    for wrong in ("f", ":x"):
        environ["DEPLOYMATRIX_LOGIN"] = wrong
        with pytest.raises(UsageError, match="DEPLOYMATRIX_LOGIN: is not USER:PASSWORD"):
            found()


@pytest.mark.parametrize(
    ("key", "name", "fits"),
    [
        ("h", "models/x", True),
        ("https://h", "models/x", True),
        ("https://h/v2/", "models/x", True),
        ("h/models", "models/x", True),
        ("h/models/x", "models/x", True),
        ("h/models/y", "models/x", False),
        ("h:5000", "models/x", False),
        ("hh", "models/x", False),
    ],
)
def test_what_a_login_is_kept_under(tmp_path: Path, environ: Dict[str, str], key: str, name: str, fits: bool) -> None:
    write(tmp_path / "home/.docker/config.json", {"auths": {key: packed("u", "p")}})
    assert who(login_for("h", name, environ)) == (("u", "p") if fits else None)


@pytest.mark.parametrize(
    ("kept", "login"),
    [
        ({"identitytoken": "t0ken"}, ("", "", "t0ken")),
        ({"identitytoken": "t0ken", **packed("00000000-0000-0000-0000-000000000000", "")}, ("", "", "t0ken")),
        ({"identitytoken": "", **packed("u", "p")}, ("u", "p", "")),
        ({"identitytoken": 3, **packed("u", "p")}, ("u", "p", "")),
        ({"identitytoken": None, **packed("u", "p")}, ("u", "p", "")),
        ({"username": "u", "password": "p"}, ("u", "p", "")),
        ({"identitytoken": ""}, None),
    ],
)
def test_a_token_comes_before_user_and_password(
    tmp_path: Path, environ: Dict[str, str], kept: object, login: "tuple[str, str, str] | None"
) -> None:
    path = write(tmp_path / "home/.docker/config.json", {"auths": {"h": kept}})
    found = login_for("h", "x", environ)
    assert found == (Login(login[0], login[1], str(path), login[2]) if login else None)


def test_the_most_specific_login_wins(tmp_path: Path, environ: Dict[str, str]) -> None:
    kept = {"h": packed("all", "1"), "h/models": packed("models", "2")}
    write(tmp_path / "home/.docker/config.json", {"auths": kept})
    assert who(login_for("h", "models/x", environ)) == ("models", "2")
    assert who(login_for("h", "other", environ)) == ("all", "1")


def test_docker_hub_has_three_names(tmp_path: Path, environ: Dict[str, str]) -> None:
    assert host_names("docker.io") == ("registry-1.docker.io", "docker.io")
    write(tmp_path / "home/.docker/config.json", {"auths": {"https://index.docker.io/v1/": packed("u", "p")}})
    assert who(login_for("docker.io", "me/x", environ)) == ("u", "p")


def program(folder: Path, name: str, script: str) -> None:
    path = write(folder / f"docker-credential-{name}", f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


ANSWER = """read host; echo "$host" > {seen}; echo '{{"ServerURL":"h","Username":"{user}","Secret":"s3cret"}}'"""


@pytest.mark.parametrize("kept", [{"credHelpers": {"h": "mine"}}, {"credsStore": "mine", "auths": {"h": {}}}])
def test_a_credential_helper_is_asked(tmp_path: Path, environ: Dict[str, str], kept: object) -> None:
    environ["PATH"] += ":/usr/bin:/bin"
    write(tmp_path / "home/.docker/config.json", kept)
    program(tmp_path / "bin", "mine", ANSWER.format(seen=tmp_path / "seen", user="u"))
    assert who(login_for("h", "x", environ)) == ("u", "s3cret")
    assert (tmp_path / "seen").read_text() == "h\n"
    program(tmp_path / "bin", "mine", ANSWER.format(seen=tmp_path / "seen", user="<token>"))
    found = login_for("h", "x", environ)
    assert found is not None and (found.user, found.token) == ("", "s3cret")
    program(tmp_path / "bin", "mine", "echo credentials not found in native keychain; exit 1")
    assert login_for("h", "x", environ) is None


@pytest.mark.parametrize(("script", "said"), [("echo hello", "does not answer with a login"), (None, "not installed")])
def test_a_helper_that_is_broken(tmp_path: Path, environ: Dict[str, str], script: Optional[str], said: str) -> None:
    environ["PATH"] += ":/usr/bin:/bin"
    write(tmp_path / "home/.docker/config.json", {"credHelpers": {"h": "mine"}})
    if script:
        program(tmp_path / "bin", "mine", script)
    with pytest.raises(UsageError, match=said):
        login_for("h", "x", environ)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not the JSON"),
        ("[" * 100_000, "not the JSON"),
        (" " * 2_000_000, "too large"),
        ('{"auths": {"h": {"auth": "%%%"}}}', "does not read"),
        ('{"auths": {"h": {"auth": "bm9jb2xvbg=="}}}', "does not read"),
        ('{"credHelpers": {"h": "../../bin/sh"}}', "no name of a credential helper"),
    ],
    ids=range(6),
)
def test_a_file_that_does_not_read(tmp_path: Path, environ: Dict[str, str], text: str, said: str) -> None:
    path = write(tmp_path / "home/.docker/config.json", text)
    with pytest.raises(UsageError, match=said) as caught:
        login_for("h", "x", environ)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["[]", "null", '{"auths": 3}', '{"auths": {"h": "x"}}', '{"auths": {"h": {"auth": 3}}}']
)
def test_a_file_without_a_login(tmp_path: Path, environ: Dict[str, str], text: str) -> None:
    write(tmp_path / "home/.docker/config.json", text)
    assert login_for("h", "x", environ) is None


def test_a_login_does_not_show_its_secret() -> None:
    assert "s3cret" not in repr(Login("u", "s3cret", "file", "s3cret"))
