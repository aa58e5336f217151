"""The worker's side alone, over pipes: what it refuses, and that it ends when nobody is there. Needs no sshd."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator

import pytest

from builder import digest
from builder.actions.action import Action
from builder.actions.recipes import CalibrationData, Engine, Recipe, Simplify
from builder.config.contract import Preprocess
from builder.config.tensorrt import TensorRtOptions
from builder.digest import Json
from builder.execution.cache import Cache
from builder.execution.messages import AskNeed, Channel, Dropped, File, Perform, Put, Request, Terms
from builder.execution.ssh import connection
from builder.platforms import tables
from builder.platforms.platform import Pinned
from builder.records import to_json
from tests.fakes import REPOSITORY

NOBODY = digest.of_bytes(b"nobody has it")


class Far:
    """A worker started as ssh would start it, and the channel to it."""

    def __init__(self, folder: Path, *, free: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", connection.COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=str(folder),
            env={**os.environ, "PYTHONPATH": "", "TMPDIR": str(folder)},
        )
        assert self.process.stdin and self.process.stdout
        self.channel = Channel(self.process.stdout.fileno(), self.process.stdin.fileno())
        self.channel.write(connection.bootstrap())
        while self.channel.line(30) != b"#deploymatrix":
            pass
        self.channel.receive(30)
        packed = connection.pack()
        terms = to_json(Terms(str(folder / "kept"), 60.0, 0, free, "0f"))
        self.channel.send({"worker": packed.digest, "terms": terms})
        if self.channel.receive(30) == {"worker": False}:
            self.channel.write(b"%d\n" % len(packed.archive) + packed.archive)
            assert self.channel.receive(30) == {"worker": True}

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()

    def says(self, message: Json) -> Dict[str, Any]:
        self.channel.send(message)
        answer = self.channel.receive(30)
        assert isinstance(answer, dict) and isinstance(answer["it"], dict)
        return answer["it"]


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    started = Far(tmp_path)
    try:
        yield started
    finally:
        started.end()


def _action(recipe: Recipe, *inputs: Pinned) -> Json:
    return to_json(Request(Perform(Action(recipe, inputs, (), None))))


_ENGINE = Engine("fp32", "f32", (), 0, TensorRtOptions(), "")


@pytest.mark.parametrize(
    "message",
    [
        {"it": {"ask": "run", "command": "touch /tmp/x"}},
        {"it": {"ask": "facts", "command": "touch /tmp/x"}},
        {"it": {"ask": "put", "files": [{"digest": 7, "size": 1}]}},
        {"command": "ls"},
        ["facts"],
        None,
        {"it": {"ask": "perform", "action": {"recipe": {"step": "shell", "version": 1}, "inputs": {}, "tools": {}}}},
    ],
    ids=str,
)
def test_what_is_no_message_is_refused_and_the_next_one_is_answered(far: Far, message: Json) -> None:
    refused = far.says(message)
    assert refused["says"] == "refused"
    assert "this is no message" in refused["what"]
    assert far.says({"it": {"ask": "facts"}})["says"] == "facts"


@pytest.mark.parametrize(
    "recipe", [Simplify((), (), (), False), CalibrationData((), "x:y", (8, 8), Preprocess())], ids=lambda r: r.step
)
def test_only_the_steps_of_a_target_are_performed(far: Far, recipe: Recipe) -> None:
    """The others read the project's own code."""
    refused = far.says(_action(recipe))
    assert (refused["says"], refused["what"]) == (
        "refused",
        f"the step {recipe.step!r} is not performed for another machine",
    )


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b", "", "a\nb"])
def test_an_input_stays_in_its_folder(far: Far, name: str) -> None:
    refused = far.says(_action(_ENGINE, Pinned(name, NOBODY)))
    assert refused["what"] == f"{name!r} is not the name of an input"


@pytest.mark.parametrize("name", ["sha256:../../etc/passwd", "sha256:" + "A" * 64, "md5:0"])
def test_a_digest_is_never_a_path(far: Far, name: str, tmp_path: Path) -> None:
    for message in (
        _action(_ENGINE, Pinned("model.onnx", name)),
        to_json(Request(AskNeed((File(name, 3),)))),
        {"it": {"ask": "get", "files": [{"digest": name, "size": 3}]}},
    ):
        assert "is not a digest" in far.says(message)["what"]


def test_bytes_that_are_not_what_their_name_says_are_not_kept(far: Far, tmp_path: Path) -> None:
    good = File(digest.of_bytes(b"good"), 4)
    far.channel.send(to_json(Request(Put((File(NOBODY, 3), good)))), lambda write: write(b"badgood"))
    answer = far.channel.receive(30)
    assert isinstance(answer, dict) and isinstance(answer["it"], dict)
    assert "other content than its name says" in str(answer["it"]["what"])
    kept = [path.name for path in (tmp_path / "kept" / "blobs" / "sha256").iterdir()]
    assert kept == [good.digest[7:]], "the good one after it was taken"


def test_a_file_that_came_half_is_continued(far: Far, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4000
    file = File(digest.of_bytes(data), len(data))
    far.channel.send(to_json(Request(Put((file,)))), lambda write: write(data[:600_000]))
    assert far.process.stdin
    far.process.stdin.close()
    far.process.wait(30)
    again = Far(tmp_path)
    with contextlib.ExitStack() as stack:
        stack.callback(again.end)
        needed = again.says(to_json(Request(AskNeed((file,)))))["files"]
        assert 0 < needed[0]["start"] <= 600_000
        rest = File(file.digest, file.size, needed[0]["start"])
        again.channel.send(to_json(Request(Put((rest,)))), lambda write: write(data[rest.start :]))
        assert again.channel.receive(30) == {"it": {"says": "taken"}}


def test_what_came_half_for_another_run_is_removed_once_that_run_has_given_up(tmp_path: Path) -> None:
    other = tmp_path / "runs" / "aa"
    other.mkdir(parents=True)
    given_up, coming, done = other / "01", other / "02", other / "03.json"
    for path in (given_up, coming, done):
        path.write_bytes(b"half")
    for path in (given_up, done):
        os.utime(path, (0, time.time() - 2 * 3600))
    Cache(tmp_path, "0f", 0).sweep()
    assert sorted(other.iterdir()) == [coming, done]


def test_it_ends_when_nobody_is_there(far: Far) -> None:
    assert far.process.stdin
    far.process.stdin.close()
    assert far.process.wait(30) == 0


def test_it_ends_on_what_is_not_json(far: Far) -> None:
    far.channel.write(b"rm -rf /\n")
    with pytest.raises(Dropped):
        far.channel.receive(30)
    assert far.process.wait(30) == 0


# ------------------------------------------------------------------------------------------- what is sent


def test_the_modules_that_are_sent_are_enough_for_every_step(tmp_path: Path) -> None:
    """Whatever a step may import of ours is in the parcel: found by reading, since its runtimes may not be here."""
    import io
    import zipfile

    from builder.execution import workbench
    from builder.execution.worker import STEPS
    from builder.plugins import BUILT_IN
    from tests.test_house import MODULES, _names, _tree

    sent = set(zipfile.ZipFile(io.BytesIO(connection.pack().archive)).namelist())
    waiting = [
        "builder.execution.ssh.server",
        "builder.execution.worker",
        *(STEPS[step].partition(":")[0] for step in workbench.STEPS),
    ]
    waiting += [place.partition(":")[0] for (kind, _), place in BUILT_IN.items() if kind == "backend"]
    needed = set()
    while waiting:
        module = waiting.pop()
        if module not in needed:
            needed.add(module)
            named = set(_names(_tree(module)))
            waiting += (named | {name.rpartition(".")[0] for name in named}) & set(MODULES)
    files = {MODULES[module].relative_to(REPOSITORY).as_posix() for module in needed}
    assert files - sent == set()
    assert not {
        name for name in sent if name.startswith(("builder/cli", "builder/audit", "builder/host", "builder/trust"))
    }


def test_the_first_program_is_of_the_standard_library_and_has_old_syntax() -> None:
    import ast

    text = (REPOSITORY / "builder" / "execution" / "ssh" / "boot.py").read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 5))
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert names == {"hashlib", "io", "json", "os", "shutil", "sys", "tempfile", "zipfile"}


def test_a_digest_is_counted_alike_on_both_sides(tmp_path: Path) -> None:
    import io
    import zipfile

    from builder.execution.ssh import boot

    packed = connection.pack()
    zipfile.ZipFile(io.BytesIO(packed.archive)).extractall(tmp_path)
    assert boot.digest_of(str(tmp_path)) == packed.digest
    (tmp_path / "builder" / "more.py").write_text("")
    assert boot.digest_of(str(tmp_path)) != packed.digest


def test_what_is_sent_reads_its_tables_without_a_parser_of_toml(tmp_path: Path) -> None:
    """Python has one from 3.11 on; a machine that is worked on has only the runtime."""
    with zipfile.ZipFile(io.BytesIO(connection.pack().archive)) as packed:
        packed.extractall(tmp_path)
    assert not list(tmp_path.rglob("*.toml"))
    code = f"""
import sys
sys.modules["tomllib"] = sys.modules["tomli"] = None
from builder.platforms import dialects, tables
from builder.config.tensorrt import TensorRtOptions
print([dialects.weakly_typed(TensorRtOptions(), "tensorrt", version) for version in ("8.6", "10.3")])
print(tables.jetpack_of("36.4.3"))
for name in {tables.names()}:
    getattr(tables, name)()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=str(tmp_path),
        env={**os.environ, "PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    assert done.stdout == "[True, False]\n6.2\n"
