"""A machine that lies: what it answers is never taken for more than its word, and the store stays as it was."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from builder import digest
from builder.actions.action import Action
from builder.actions.recipes import Engine, Made
from builder.config.remote_machines import Reached, SshWorker
from builder.config.tensorrt import TensorRtOptions
from builder.digest import Json
from builder.errors import DeployError, StoreDamaged, Unreachable
from builder.execution.ssh.executor import Machines
from builder.platforms import machines as facts
from builder.platforms.platform import Pinned, Platform, cannot_run
from builder.records import to_json
from builder.store.layout import Layout
from tests.sshd import Sshd, sshd

LIAR = """
import json, sys
stdin, out = sys.stdin.buffer, sys.stdout.buffer
def say(line):
    out.write(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\\n"); out.flush()
stdin.read(int(stdin.readline()))
say(b"#deploymatrix\\n"); say({"python": "3.11.0"}); stdin.readline(); say({"worker": True})
script = json.load(open(sys.argv[0] + ".json"))
while True:
    line = stdin.readline()
    if not line: break
    it = json.loads(line)["it"]
    if it["ask"] == "put": stdin.read(sum(f["size"] - f.get("start", 0) for f in it["files"]))
    for answer in script.get(it["ask"], []):
        say(answer.encode() if isinstance(answer, str) else answer)
"""
MADE = b"made"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("ssh") / "sshd") as running:
        yield running


def _action() -> Action:
    here = facts.here()
    platform = Platform("onnxruntime", "any", here.os, here.arch)
    if cannot_run(platform, here):
        pytest.skip(f"{cannot_run(platform, here)}")
    return Action(Engine("fp32", "f32", (), 0, TensorRtOptions(), ""), (Pinned("model.onnx", digest.of_bytes(b"x")),), (), platform)  # fmt: skip


def _result(action: Action, name: str = "model.onnx", **changes: Any) -> Dict[str, Json]:
    result = {
        "key": action.key,
        "outputs": [{"name": name, "digest": digest.of_bytes(MADE), "size": len(MADE)}],
        "facts": to_json(Made(nodes=0, remarks=())),
        "seconds": 1.0,
        "peak_mib": 1,
        **changes,
    }
    return {"it": {"says": "made", "result": result}}


def _asked(server: Sshd, folder: Path, answers: Dict[str, List[Any]], said: List[str]) -> Layout:
    """Perform an action on the liar's machine."""
    script = folder / "liar"
    script.write_text(f"#!{sys.executable}\n{LIAR}")
    script.chmod(0o755)
    honest = {
        "facts": [{"it": {"says": "facts", "machine": to_json(facts.here()), "folder": "/", "free": 1 << 40}}],
        "need": [{"it": {"says": "needed", "files": [{"digest": digest.of_bytes(b"x"), "size": 1}]}}],
        "put": [{"it": {"says": "taken"}}],
        "perform": [_result(_action())],
        "get": [{"it": {"says": "sending"}}, MADE.decode()],
    }
    (folder / "liar.json").write_text(json.dumps({**honest, **answers}))
    (folder / "given").write_bytes(b"x")
    store = Layout(folder / "artifacts")
    with Machines(server.environ, pauses=(0.05,)) as machines:
        ssh = machines.at(Reached("ssh://there", SshWorker(python=str(script))))
        ssh.perform(_action(), {"model.onnx": folder / "given"}, folder, store, said.append)
    return store


def test_an_honest_answer_is_taken(server: Sshd, tmp_path: Path) -> None:
    assert _asked(server, tmp_path, {}, []).holds(digest.of_bytes(MADE))


def test_what_it_prints_cannot_speak_to_the_terminal(server: Sshd, tmp_path: Path) -> None:
    said: List[str] = []
    line = {"it": {"says": "line", "text": "\x1b]0;title\x07 50 %\r\x9b2J"}}
    _asked(server, tmp_path, {"perform": [line, _result(_action())]}, said)
    assert "?]0;title? 50 %??2J" in said


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", ".hidden", "", "a\nb"])
def test_its_outputs_cannot_lead_elsewhere(server: Sshd, tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreDamaged, match="names that lead elsewhere"):
        _asked(server, tmp_path, {"perform": [_result(_action(), name)]}, [])
    assert _files(tmp_path) == []


@pytest.mark.parametrize(
    ("answers", "what"),
    [
        ({"get": [{"it": {"says": "sending"}}, "evil"]}, "arrived with other content"),
        ({"perform": [{"it": {"says": "made", "result": 7}}]}, "expected a mapping"),
        ({"perform": ["this is no JSON\n"]}, "something else than was expected"),
        ({"perform": [{"it": {"says": "sending"}}]}, "something else than was asked"),
        ({"facts": [{"it": {"says": "facts"}}]}, "missing key"),
        (
            {"need": [{"it": {"says": "needed", "files": [{"digest": "sha256:" + "0" * 64, "size": 9}]}}]},
            "none of the inputs",
        ),
        (
            {
                "need": [
                    {"it": {"says": "needed", "files": [{"digest": digest.of_bytes(b"x"), "size": 1, "start": -5}]}}
                ]
            },
            "none of the inputs",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_refused_with_what_is_wrong(server: Sshd, tmp_path: Path, answers: Dict[str, List[Any]], what: str) -> None:  # fmt: skip
    with pytest.raises((StoreDamaged, Unreachable)) as problem:
        _asked(server, tmp_path, answers, [])
    assert what in str(problem.value)
    assert "ssh://there" in str(problem.value)
    assert not (tmp_path / "artifacts" / "blobs" / "sha256" / digest.of_bytes(MADE)[7:]).exists()


def test_the_result_of_another_action_is_not_taken(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="its result is of another action"):
        _asked(server, tmp_path, {"perform": [_result(_action(), key=digest.of_bytes(b"other"))]}, [])


def _files(folder: Path) -> List[str]:
    """What is in the store, and beside it, that was not given."""
    return [p.name for p in folder.rglob("*") if p.is_file() and p.name not in ("liar", "liar.json", "given")]
