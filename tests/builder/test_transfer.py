"""Fetching files: cut at any byte, by a place that lies, by several processes; and never more than was asked for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Iterator, List

import pytest

from builder import digest, locks
from builder.action import Blob
from builder.descriptor import OCTETS, Descriptor
from builder.errors import StoreBusy, StoreDamaged, Unreachable
from builder.seams import Stream
from builder.stores.folder import Folder
from builder.stores.layout import Layout
from builder.stores.supply import Supply
from builder.transfers import transfer
from builder.transfers.meter import Meter
from builder.transfers.pace import Pace

SIZE = 1000


class Cutting(Folder):
    """A folder whose connection is cut after `cuts` bytes, once each; `whole`: it cannot begin in the middle."""

    def __init__(self, root: Path, cuts: List[int], whole: bool = False, quietly: bool = False) -> None:
        super().__init__(str(root), {})
        self.cuts, self.whole, self.quietly = cuts, whole, quietly
        self.starts: List[int] = []

    @contextlib.contextmanager
    def stream(self, it: Descriptor, start: int = 0) -> Iterator[Stream]:
        self.starts.append(start)
        start = 0 if self.whole else start
        data = self.store.fetch(it.digest).read_bytes()[start:]
        most = self.cuts.pop(0) if self.cuts else len(data)
        yield Stream(start, self._pieces(data, most))

    def _pieces(self, data: bytes, most: int) -> Iterator[bytes]:
        for at in range(0, min(most, len(data)), 64):
            yield data[at : min(at + 64, most)]
        if most < len(data) and not self.quietly:
            raise Unreachable("the connection was cut", where=self.name, passing=True)


def offered(root: Path, data: bytes) -> Descriptor:
    blob = Layout(root).put_bytes("model.bin", data)
    return Descriptor(OCTETS, blob.digest, blob.size, title="model.bin")


@pytest.fixture
def it(tmp_path: Path) -> Descriptor:
    return offered(tmp_path / "there", os.urandom(SIZE))


@pytest.fixture
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two tries."""
    monkeypatch.setattr(Pace, "rest", lambda self, seconds: self.go_on())


@pytest.mark.usefixtures("haste")
@pytest.mark.parametrize("quietly", [False, True])
@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 500, SIZE - 1])
def test_a_cut_goes_on_where_it_ended(store: Layout, tmp_path: Path, it: Descriptor, at: int, quietly: bool) -> None:
    place = Cutting(tmp_path / "there", [at], quietly=quietly)
    path = transfer.fetch(place, it, store)
    assert digest.of_file(path) == it.digest
    assert place.starts == [0, at]
    assert not list((store.root / ".deploymatrix" / "incoming").iterdir())


@pytest.mark.usefixtures("haste")
def test_many_cuts_that_each_bring_something(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [300, 300, 300, 99])
    assert digest.of_file(transfer.fetch(place, it, store)) == it.digest
    assert place.starts == [0, 300, 600, 900, 999]


def test_a_place_that_cannot_begin_in_the_middle(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [300, 900], whole=True)
    assert digest.of_file(transfer.fetch(place, it, store)) == it.digest


@pytest.mark.usefixtures("haste")
def test_cut_again_and_again_at_the_same_byte(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [400] + [0] * 9)
    with pytest.raises(Unreachable, match="was cut"):
        transfer.fetch(place, it, store)
    assert len(place.starts) == transfer.TRIES
    assert store.incoming(it.digest).stat().st_size == 400
    later = Cutting(tmp_path / "there", [])
    assert digest.of_file(transfer.fetch(later, it, store)) == it.digest
    assert later.starts == [400]


@pytest.mark.usefixtures("haste")
def test_a_place_that_ends_early_without_a_word(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    with pytest.raises(StoreDamaged, match=r"model\.bin ended after 0 of 1,000 bytes"):
        transfer.fetch(Cutting(tmp_path / "there", [0] * 9, quietly=True), it, store)


@pytest.mark.parametrize("left", [b"x" * 10, b"x" * SIZE, b"x" * (SIZE + 1)])
def test_what_an_earlier_process_left_is_not_believed(
    store: Layout, tmp_path: Path, it: Descriptor, left: bytes
) -> None:
    store.incoming(it.digest).write_bytes(left)
    assert digest.of_file(transfer.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


@pytest.mark.parametrize("change", ["flipped", "longer"])
def test_a_place_that_lies(store: Layout, tmp_path: Path, it: Descriptor, change: str) -> None:
    path = Layout(tmp_path / "there").fetch(it.digest)
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if change == "flipped" else data + b"x")
    with pytest.raises(StoreDamaged):
        transfer.fetch(Cutting(tmp_path / "there", []), it, store)
    assert not store.holds(it.digest)
    assert store.incoming(it.digest).stat().st_size == 0, "the next try begins anew"
    path.write_bytes(data)
    assert digest.of_file(transfer.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


@pytest.mark.usefixtures("haste")
def test_an_object_is_read_again_when_it_is_cut(tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [10, 999, 0])
    assert digest.of_bytes(transfer.read(place, it)) == it.digest
    assert place.starts == [0] * 4
    with pytest.raises(Unreachable, match="was cut"):
        transfer.read(Cutting(tmp_path / "there", [10] * 9), it)


def test_a_place_that_trickles_for_ever(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    class Trickling(Cutting):
        def _pieces(self, data: bytes, most: int) -> Iterator[bytes]:
            for at in range(len(data)):
                time.sleep(0.01)
                yield data[at : at + 1]

    with pytest.raises(Unreachable, match=r"longer than 0\.2 seconds in all"):
        transfer.fetch(Trickling(tmp_path / "there", []), it, store, Pace(seconds=0.2))
    kept = store.incoming(it.digest).stat().st_size
    assert 0 < kept < SIZE
    later = Cutting(tmp_path / "there", [])
    transfer.fetch(later, it, store)
    assert later.starts == [kept], "what arrived is kept"


def test_an_empty_file(store: Layout, tmp_path: Path) -> None:
    it = offered(tmp_path / "there", b"")
    assert transfer.fetch(Cutting(tmp_path / "there", []), it, store).read_bytes() == b""


# ------------------------------------------------------------------------------------------- several at once


def test_threads_that_want_the_same_file_fetch_it_once(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place, problems = Cutting(tmp_path / "there", []), []

    def run() -> None:
        try:
            assert digest.of_file(transfer.fetch(place, it, store)) == it.digest
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert place.starts == [0]


_HOLD = """
import sys
from builder import locks
with open(sys.argv[1], "ab") as file:
    assert locks.take(file)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_that_does_not_come_on_is_not_waited_for_for_ever(
    store: Layout, tmp_path: Path, it: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_STANDING", 0.3)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(store.incoming(it.digest))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreBusy, match="is being fetched by another process"):
        transfer.fetch(Cutting(tmp_path / "there", []), it, store)
    holder.kill()
    holder.communicate()
    assert digest.of_file(transfer.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


def test_no_file_stays_open_when_a_fetch_ends_early(
    store: Layout, tmp_path: Path, it: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Pace, seconds: float) -> None:
        raise KeyboardInterrupt

    opened: List[IO[bytes]] = []
    real = Path.open

    def watched(path: Path, *args: Any, **options: Any) -> IO[bytes]:
        opened.append(real(path, *args, **options))
        return opened[-1]

    holder = store.incoming(it.digest).open("ab")
    assert locks.take(holder)
    monkeypatch.setattr(Path, "open", watched)
    monkeypatch.setattr(Pace, "rest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transfer.fetch(Cutting(tmp_path / "there", []), it, store)
    holder.close()
    monkeypatch.setattr(transfer, "_still_grows", refused)
    with pytest.raises(PermissionError):
        transfer.fetch(Cutting(tmp_path / "there", []), it, store)
    assert len(opened) == 2 and all(file.closed for file in opened)


def refused(*_: object) -> bool:
    raise PermissionError("a disk that does not answer")


def test_a_damaged_file_of_the_cache_is_fetched_again(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [])
    supplied = Supply(store, place)
    supplied.bring([Blob("model.bin", it.digest, it.size)] * 2)
    path = store.fetch(it.digest)
    path.chmod(0o644)
    path.write_bytes(b"x" * SIZE)
    supplied.bring([Blob("model.bin", it.digest, it.size)])
    assert digest.of_file(store.fetch(it.digest)) == it.digest
    assert len(place.starts) == 2


# ------------------------------------------------------------------------------------------- pace


def threads() -> int:
    return threading.active_count()


def test_the_first_failure_stops_the_others() -> None:
    before, pace, started = threads(), Pace(jobs=4), time.monotonic()

    def do(number: int) -> None:
        if number == 2:
            raise StoreDamaged("the third")
        for _ in range(1000):
            pace.rest(0.01)

    with pytest.raises(StoreDamaged, match="the third"):
        pace.each(range(100), do)
    assert time.monotonic() - started < 2
    assert threads() == before


def test_all_are_done_and_no_thread_is_left() -> None:
    before, done = threads(), []
    Pace(jobs=3).each(range(100), done.append)
    assert sorted(done) == list(range(100))
    assert threads() == before


def test_time_is_limited() -> None:
    pace = Pace(jobs=2, seconds=0.2)
    with pytest.raises(Unreachable, match=r"longer than 0\.2 seconds"):
        pace.each(range(4), lambda number: pace.rest(60))


def test_a_call_that_hangs_does_not_hold_up_the_failure() -> None:
    hangs = threading.Event()

    def do(number: int) -> None:
        if number:
            raise StoreDamaged("at once")
        hangs.wait(30)

    started = time.monotonic()
    with pytest.raises(StoreDamaged):
        Pace(jobs=2).each([0, 1], do)
    hangs.set()
    assert time.monotonic() - started < 5


# ------------------------------------------------------------------------------------------- meter


class Screen:
    def __init__(self, terminal: bool) -> None:
        self.text, self._terminal = "", terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_told(terminal: bool) -> None:
    screen, clock = Screen(terminal), [0.0]
    meter = Meter("fetched", screen, lambda: clock[0])  # type: ignore[arg-type]
    meter.expect(2, 20_000_000)
    meter.moved(4_000_000, kept=True)
    for second in range(1, 9):
        clock[0] = float(second)
        meter.moved(1_000_000)
    meter.done()
    meter.close()
    line = "fetched 9.0 of 20.0 MB, 0 of 2 files, 1.0 MB/s"
    assert line in screen.text
    if terminal:
        assert screen.text.count("\r") == 9
        assert screen.text.endswith("\r\x1b[K"), "the line is gone afterwards"
        assert "\n" not in screen.text
    else:
        assert screen.text == line + "\n", "one line in eight seconds"
