"""build gc: what roots lead to stays whole, whatever is removed and wherever it is killed; a next build recalls everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Set, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import digest
from builder.errors import StoreBusy, StoreDamaged, UsageError
from builder.store import channels, copying, oci, referrers, versions
from builder.store import gc as collecting
from builder.store.gc import Rule
from builder.store.layout import Layout
from builder.store.remotes.folder import Folder
from tests.builder.audit.test_audit import Desk
from tests.fakes import REPOSITORY, TASK_MATRIX, Project, entry, manifest, stored

DAY = 86400.0
ALL = Rule()


def put_version(store: Layout, number: int, contents: List[str], created: str = "2026-11-21T00:00:00+00:00") -> None:
    """A version with one artifact per content; equal contents are one blob."""
    entries = []
    for place, content in enumerate(contents):
        cell = f"tiny-dense-fp32-t{place}"
        files = (stored(store, "model.onnx", content.encode()),)
        made = entry(cell, files=files)
        assert made.artifact is not None
        artifact = made.artifact.__class__(
            **{**made.artifact.__dict__, "digest": versions.put_artifact(store, cell, files).digest}
        )
        entries.append(made.__class__(**{**made.__dict__, "artifact": artifact}))
    whole = manifest(*entries, version=number)
    versions.publish(store, whole.__class__(**{**whole.__dict__, "created": created}))


def present(store: Layout) -> Set[str]:
    return {name for name, _ in store.blobs()}


def led_to(store: Layout) -> Set[str]:
    """By the copier's own walk, which is not the collector's: what every tag leads to."""
    here = Folder(str(store.root), {})
    return {
        it.digest
        for tag in oci.all_of(store)
        for top in [here.resolve(tag)]
        if top
        for it in copying.closure(here, top)
    }


def gc(store: Layout, rule: Rule = ALL, now: float = 0.0) -> collecting.Garbage:
    with store.collecting():
        found = collecting.garbage(store, rule, now or time.time())
        collecting.remove(store, found, now or time.time())
    return found


# ---------------------------------------------------------------------------------------------- a law


_CONTENTS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4)
_STORES = st.lists(_CONTENTS, min_size=1, max_size=6)


@given(
    _STORES, st.one_of(st.none(), st.integers(1, 4)), st.sets(st.integers(1, 6)), st.lists(st.text("xyz", min_size=1))
)
def test_what_is_kept_stays_whole_and_nothing_else_stays(
    tmp_path_factory: pytest.TempPathFactory,
    made: List[List[str]],
    keep: "int | None",
    pins: Set[int],
    litter: List[str],
) -> None:
    store = Layout(tmp_path_factory.mktemp("s"))
    for number, contents in enumerate(made, 1):
        put_version(store, number, contents)
        referrers.attach_signature(store, number, "KEY", f"signature of {number}")
    for number in pins & set(range(1, len(made) + 1)):
        channels.pin(store, number)
    for text in litter:
        stored(store, "litter", text.encode())
    before = present(store)
    found = gc(store, Rule(keep))
    kept = set(versions.numbers(store))
    newest = (
        set(range(1, len(made) + 1))
        if keep is None
        else set(range(len(made) - min(keep, len(made)) + 1, len(made) + 1))
    )
    assert kept == newest | (pins & set(range(1, len(made) + 1)))
    assert led_to(store) <= present(store), "whole"
    assert present(store) == led_to(store), "and nothing else"
    assert before - present(store) == {*found.loose, *found.blobs}
    assert found.size == found.of_versions.size + found.of_nothing.size
    for number in kept:
        versions.read(store, number)
        assert len(referrers.signatures_of(store, number)) == 1
    assert gc(store, Rule(keep)).size == 0, "once is enough"


@pytest.mark.parametrize("killed_after", range(8))
def test_killed_anywhere_the_store_is_whole_and_the_next_one_goes_on(
    store: Layout, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    for number, content in enumerate("abc", 1):
        put_version(store, number, [content])
    left = [killed_after]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*args)

        return step

    with monkeypatch.context() as patched:
        patched.setattr(Layout, "replace_index", dying(Layout.replace_index))
        patched.setattr(Layout, "discard", dying(Layout.discard))
        with pytest.raises(KeyboardInterrupt):
            gc(store, Rule(keep=1))
    assert led_to(store) <= present(store)
    for number in versions.numbers(store):
        versions.read(store, number)
    gc(store, Rule(keep=1))
    assert versions.numbers(store) == (3,)
    assert present(store) == led_to(store)


# ---------------------------------------------------------------------------------------------- builds


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(Project(tmp_path / "p", TASK_MATRIX), monkeypatch, capsys)


def three_builds(desk: Desk) -> None:
    for width in (64, 65, 66):
        desk.project.edit("layers.py", f"return {width - 1 if width > 64 else 64}", f"return {width}")
        desk.build()


def recorded(desk: Desk) -> Dict[str, Path]:
    return dict(desk.project.store.recorded())


def test_a_build_after_it_recalls_everything(desk: Desk) -> None:
    three_builds(desk)
    whole = recorded(desk)
    assert desk("gc", "--keep", "1") == 0
    assert "2 versions: v1-v2" in desk.out
    assert set(recorded(desk)) < set(whole), "what only v1 and v2 were made of is forgotten"
    kept = set(recorded(desk))
    desk.build()
    assert set(recorded(desk)) == kept, "nothing was performed"
    assert versions.numbers(desk.project.store) == (3,)
    assert desk("verify") == 0
    assert desk("gc") == 0
    assert desk.out.startswith("Nothing to remove")


def test_results_of_no_version_are_kept_while_they_are_young(desk: Desk) -> None:
    desk.build()
    store, of_v1 = desk.project.store, set(recorded(desk))
    desk.project.edit("layers.py", "return 64", "return 99")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(versions, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert desk("matrix", "--quiet") == 130
    keys = set(recorded(desk))
    assert not gc(store).results
    assert set(recorded(desk)) == keys == {result.key for result in store.results()}, "each with its files"
    old = gc(store, Rule(), time.time() + 31 * DAY)
    assert set(old.results) == keys - of_v1
    assert len(old.results) > 1
    assert set(recorded(desk)) == of_v1, "every one of them is gone"
    assert old.of_results.count == len(old.blobs) > 0
    desk.project.edit("layers.py", "return 99", "return 64")
    keys = set(recorded(desk))
    desk.build()
    assert set(recorded(desk)) == keys, "v1's are all still there"


def test_what_waits_for_another_machine_can_still_be_performed(desk: Desk) -> None:
    desk.build()
    store = desk.project.store
    needed = {pin.digest for order in store.pending() for pin in order.engine.inputs} & present(store)
    assert needed
    gc(store, Rule(), time.time() + 400 * DAY)
    assert needed <= present(store)
    assert len(store.pending()) == store.orders() == 5


# ---------------------------------------------------------------------------------------------- versions


def test_channels_and_pins_keep_old_versions(store: Layout) -> None:
    for number in (1, 2, 3, 4):
        put_version(store, number, [str(number)])
    channels.pin(store, 2)
    found = gc(store, Rule(keep=1))
    assert (found.versions, found.kept) == ((1, 3), (2, 4))
    assert found.held == (collecting.RetainedVersion(2, ("pinned",)),)


def test_by_age_the_newest_always_stays(store: Layout) -> None:
    put_version(store, 1, ["a"], "2026-01-01T00:00:00+00:00")
    put_version(store, 2, ["b"], "2026-03-01T00:00:00+00:00")
    put_version(store, 3, ["c"], "2026-03-02T00:00:00")
    now = 1772496000.0  # 2026-03-03
    assert collecting.garbage(store, Rule(None, 10 * DAY), now).versions == (1,)
    assert collecting.garbage(store, Rule(2, 10 * DAY), now).versions == (1,)
    assert collecting.garbage(store, Rule(1, 400 * DAY), now).versions == ()
    assert collecting.garbage(store, Rule(None, 0.0), now + 900 * DAY).versions == (1, 2)


def test_without_a_rule_every_version_and_every_tag_stays(store: Layout) -> None:
    for number in (1, 2):
        put_version(store, number, [str(number)])
    oci.put(store, "somebody-elses", oci.all_of(store)["v1"])
    litter = stored(store, "litter", b"nobody's")
    found = gc(store)
    assert (found.versions, found.blobs, found.loose) == ((), (), (litter.digest,))
    assert "somebody-elses" in oci.all_of(store)


def test_half_fetched_files_go_after_a_day(store: Layout) -> None:
    put_version(store, 1, ["a"])
    old, fresh = (store.incoming(digest.of_bytes(name)) for name in (b"old", b"fresh"))
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(str(old), (time.time() - 2 * DAY, time.time() - 2 * DAY))
    assert gc(store).arriving.count == 1
    assert (old.exists(), fresh.exists()) == (False, True)


# ---------------------------------------------------------------------------------------------- refusals


def test_a_damaged_object_could_hide_what_it_needs(store: Layout) -> None:
    put_version(store, 1, ["a"])
    put_version(store, 2, ["b"])
    path = store.fetch(str(oci.all_of(store)["v2"]["digest"]))
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"v2", b"v3"))
    before = present(store)
    with pytest.raises(StoreDamaged, match="nothing is removed"):
        gc(store, Rule(keep=1))
    assert present(store) == before
    assert versions.numbers(store) == (1, 2)


def test_nothing_is_removed_while_somebody_reads(store: Layout) -> None:
    put_version(store, 1, ["a"])
    with store.reading(), pytest.raises(StoreBusy):
        gc(store)
    with store.locked(), pytest.raises(StoreBusy):
        gc(store)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keep", "0"], "at least 1"),
        (["--keep", "x"], "invalid int"),
        (["--older-than", "30"], "write it as 12h, 30d or 8w"),
        (["--older-than", "-3d"], "older-than"),
        (["--store", "nowhere"], "nowhere is no store"),
    ],
)
def test_wrong_words_change_nothing(desk: Desk, words: List[str], said: str) -> None:
    desk.build()
    before = present(desk.project.store)
    assert desk("gc", *words) == UsageError.exit_code
    assert said in desk.err
    assert present(desk.project.store) == before


def test_a_dry_run_says_what_the_run_then_does(desk: Desk) -> None:
    three_builds(desk)
    before = present(desk.project.store)

    def told(*words: str) -> Tuple[Any, Set[str]]:
        assert desk("gc", "--keep", "2", "--format", "json", *words) == 0
        return json.loads(desk.out), present(desk.project.store)

    dry, still = told("--dry-run")
    assert still == before
    done, after = told()
    assert {**dry, "dry_run": False} == done
    assert done["versions"] == [1]
    assert done["kept"]["files"]["count"] == len(after)
    assert sum(part["count"] for part in done["files"].values()) == len(before) - len(after)


_FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
from builder import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_where_nothing_can_be_written_it_still_makes_room(store: Layout) -> None:
    """Files of a length above zero cannot be written, as on a full disk: that is when one collects."""
    put_version(store, 1, ["a"])
    litter = stored(store, "litter", b"nobody's")
    done = subprocess.run(
        [sys.executable, "-c", _FULL, "gc", "--store", str(store.root)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not store.holds(litter.digest)
    assert led_to(store) == present(store)


def test_the_folder_of_a_clone_is_a_store_like_any_other(tmp_path: Path) -> None:
    """Its README.md is no part of the store: nothing removes it, copies it or takes it for a version."""
    readme = REPOSITORY / "artifacts" / "README.md"
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ignored[:2] == ["/artifacts/*", "!/artifacts/README.md"]
    store, there = Layout(tmp_path / "artifacts"), Folder(str(tmp_path / "there"), {})
    store.root.mkdir()
    (store.root / "README.md").write_bytes(readme.read_bytes())
    assert versions.numbers(store) == () and versions.latest(store) is None
    put_version(store, 1, ["a"])
    put_version(store, 2, ["b"])
    with store.collecting():
        now = time.time()
        collecting.remove(store, collecting.garbage(store, Rule(keep=1), now), now)
    copying.publish(store, ["v2"], there, lambda line: None)
    assert versions.numbers(store) == (2,) == versions.numbers(there.store)
    assert (store.root / "README.md").read_bytes() == readme.read_bytes()
    assert not (there.store.root / "README.md").exists()
