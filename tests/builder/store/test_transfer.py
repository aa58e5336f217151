"""Fetching files: cut at any byte, by a place that lies, by several processes; and never more than was asked for."""

from __future__ import annotations

import _thread
import contextlib
import dataclasses
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, Callable, Iterator, List

import pytest

from builder import digest, files
from builder.errors import StoreBusy, StoreDamaged, Unreachable
from builder.platforms.platform import Blob
from builder.plugins import Stream
from builder.store import transfers
from builder.store.layout import Layout
from builder.store.oci import OCTETS, Descriptor
from builder.store.remotes.folder import Folder
from builder.store.supply import Supply
from builder.store.transfers import Pace, Stopped
from builder.terminal import Meter

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
def haste(monkeypatch: pytest.MonkeyPatch) -> List[float]:
    """No pause between two tries; the pauses that there would be."""
    pauses: List[float] = []
    monkeypatch.setattr(Pace, "rest", lambda self, seconds: pauses.append(seconds) or self.go_on())
    return pauses


@pytest.mark.usefixtures("haste")
@pytest.mark.parametrize("quietly", [False, True])
@pytest.mark.parametrize("at", [0, 1, 63, 64, 65, 500, SIZE - 1])
def test_a_cut_goes_on_where_it_ended(store: Layout, tmp_path: Path, it: Descriptor, at: int, quietly: bool) -> None:
    place = Cutting(tmp_path / "there", [at], quietly=quietly)
    path = transfers.fetch(place, it, store)
    assert digest.of_file(path) == it.digest
    assert place.starts == [0, at]
    assert not list((store.root / ".deploymatrix" / "incoming").iterdir())


@pytest.mark.usefixtures("haste")
def test_many_cuts_that_each_bring_something(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [150, 150, 150, 150, 150, 150, 99])
    assert digest.of_file(transfers.fetch(place, it, store)) == it.digest
    assert place.starts == [0, 150, 300, 450, 600, 750, 900, 999]


class Refusing(Cutting):
    """It cuts the connection in a way that another try would not mend."""

    def _pieces(self, data: bytes, most: int) -> Iterator[bytes]:
        yield data[:10]
        raise Unreachable("it wants a password", where=self.name)


def test_what_another_try_would_not_mend_is_not_tried_again(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place = Refusing(tmp_path / "there", [])
    with pytest.raises(Unreachable, match="wants a password"):
        transfers.fetch(place, it, store)
    with pytest.raises(Unreachable, match="wants a password"):
        transfers.read(place, it)
    assert place.starts == [0, 0]


def test_a_place_that_cannot_begin_in_the_middle(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [300, 900], whole=True)
    assert digest.of_file(transfers.fetch(place, it, store)) == it.digest


def test_cut_again_and_again_at_the_same_byte(
    store: Layout, tmp_path: Path, it: Descriptor, haste: List[float]
) -> None:
    place = Cutting(tmp_path / "there", [400] + [0] * 9)
    with pytest.raises(Unreachable, match="was cut"):
        transfers.fetch(place, it, store)
    assert place.starts == [0, 400, 400, 400, 400]
    assert all(longest / 2 <= pause <= longest for pause, longest in zip(haste, (0.2, 0.4, 0.8, 1.6)))
    assert len(haste) == 4
    assert store.incoming(it.digest).stat().st_size == 400
    later = Cutting(tmp_path / "there", [])
    assert digest.of_file(transfers.fetch(later, it, store)) == it.digest
    assert later.starts == [400]


@pytest.mark.usefixtures("haste")
def test_a_place_that_ends_early_without_a_word(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    with pytest.raises(StoreDamaged, match=r"model\.bin ended after 0 of 1,000 bytes"):
        transfers.fetch(Cutting(tmp_path / "there", [0] * 9, quietly=True), it, store)


@pytest.mark.parametrize("left", [b"x" * 10, b"x" * SIZE, b"x" * (SIZE + 1)])
def test_what_an_earlier_process_left_is_not_believed(
    store: Layout, tmp_path: Path, it: Descriptor, left: bytes
) -> None:
    store.incoming(it.digest).write_bytes(left)
    assert digest.of_file(transfers.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


def test_what_an_earlier_process_brought_to_its_end_is_not_fetched_again(
    store: Layout, tmp_path: Path, it: Descriptor
) -> None:
    place = Cutting(tmp_path / "there", [])
    store.incoming(it.digest).write_bytes(place.store.read(it.digest))
    with pytest.raises(Unreachable, match="longer than 0 seconds"):
        transfers.fetch(place, it, store, Pace(seconds=0))
    assert store.incoming(it.digest).stat().st_size == SIZE and not store.holds(it.digest)
    assert digest.of_file(transfers.fetch(place, it, store)) == it.digest
    assert place.starts == []


@pytest.mark.parametrize("change", ["flipped", "longer"])
def test_a_place_that_lies(store: Layout, tmp_path: Path, it: Descriptor, change: str) -> None:
    path = Layout(tmp_path / "there").fetch(it.digest)
    path.chmod(0o644)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if change == "flipped" else data + b"x")
    place = Cutting(tmp_path / "there", [])
    with pytest.raises(StoreDamaged):
        transfers.fetch(place, it, store)
    assert place.starts == [0], "what was all fetched just now is not fetched again"
    assert not store.holds(it.digest)
    assert store.incoming(it.digest).stat().st_size == 0, "the next try begins anew"
    path.write_bytes(data)
    assert digest.of_file(transfers.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


def test_an_object_is_read_again_when_it_is_cut(tmp_path: Path, it: Descriptor, haste: List[float]) -> None:
    place = Cutting(tmp_path / "there", [10, 999, 0, 0])
    assert digest.of_bytes(transfers.read(place, it)) == it.digest
    assert place.starts == [0] * 5
    assert haste == pytest.approx([0.2, 0.4, 0.8, 1.6])
    place = Cutting(tmp_path / "there", [10] * 9)
    with pytest.raises(Unreachable, match="was cut"):
        transfers.read(place, it)
    assert place.starts == [0] * 5


def test_an_object_is_no_larger_than_may_be(tmp_path: Path, it: Descriptor) -> None:
    place = Cutting(tmp_path / "there", [])
    assert len(transfers.read(place, it, SIZE)) == SIZE
    place.starts.clear()
    with pytest.raises(StoreDamaged, match=r"model\.bin is said to have 1,000 bytes; at most 999 are taken"):
        transfers.read(place, it, SIZE - 1)
    with pytest.raises(StoreDamaged, match=r"16,777,217 bytes; at most 16,777,216"):
        transfers.read(place, dataclasses.replace(it, size=(16 << 20) + 1))
    assert place.starts == [], "nobody is asked for it"
    with pytest.raises(StoreDamaged, match="other content"):
        transfers.read(place, dataclasses.replace(it, size=16 << 20))


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_an_object_of_another_size_than_is_said_is_none(tmp_path: Path, it: Descriptor, size: int) -> None:
    with pytest.raises(StoreDamaged, match=r"model\.bin has other content than its name says"):
        transfers.read(Cutting(tmp_path / "there", []), dataclasses.replace(it, size=size))


@pytest.mark.parametrize("change", ["flipped", "shorter", "longer"])
def test_an_object_with_other_content_is_none(tmp_path: Path, change: str) -> None:
    """Pieces are of 64 bytes: what is too much comes in a piece of its own."""
    data = os.urandom(640)
    it, path = offered(tmp_path / "there", data), Layout(tmp_path / "there").fetch(digest.of_bytes(data))
    path.chmod(0o644)
    path.write_bytes(
        {"flipped": data[:-1] + bytes([data[-1] ^ 1]), "shorter": data[:-1], "longer": data + b"x"}[change]
    )
    with pytest.raises(StoreDamaged, match="other content than its name says"):
        transfers.read(Cutting(tmp_path / "there", []), it)


def test_an_object_without_an_end_is_not_read_to_its_end(tmp_path: Path, it: Descriptor) -> None:
    class Endless(Cutting):
        def _pieces(self, data: bytes, most: int) -> Iterator[bytes]:
            for _ in range(99):
                sent.append(64)
                yield bytes(64)

    sent: List[int] = []
    with pytest.raises(StoreDamaged, match="other content"):
        transfers.read(Endless(tmp_path / "there", []), it)
    assert sum(sent) == 1024


def test_a_place_that_trickles_for_ever(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    class Trickling(Cutting):
        def _pieces(self, data: bytes, most: int) -> Iterator[bytes]:
            for at in range(len(data)):
                time.sleep(0.01)
                yield data[at : at + 1]

    with pytest.raises(Unreachable, match=r"longer than 0\.2 seconds in all"):
        transfers.fetch(Trickling(tmp_path / "there", []), it, store, Pace(seconds=0.2))
    kept = store.incoming(it.digest).stat().st_size
    assert 0 < kept < SIZE
    later = Cutting(tmp_path / "there", [])
    transfers.fetch(later, it, store)
    assert later.starts == [kept], "what arrived is kept"


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (b"", "0.0 of 0.0 MB, 1 of 1 files, 1.0 MB/s"),
        (b"right", "0.0 of 0.0 MB, 1 of 1 files, 0.7 MB/s"),
        (b"wrong", "0.0 of 0.0 MB, 1 of 1 files, 1.7 MB/s"),
    ],
)
def test_what_is_counted_is_what_went_over_the_wire(
    store: Layout, tmp_path: Path, it: Descriptor, left: bytes, told: str
) -> None:
    """In a thousandth of a second, and beside 300 bytes of an earlier try."""
    place = Cutting(tmp_path / "there", [])
    data = place.store.read(it.digest)[:300]
    store.incoming(it.digest).write_bytes({b"right": data, b"wrong": bytes(300)}.get(left, b""))
    meter = Meter("", None, lambda: 0.0)
    meter.expect(1, SIZE)
    transfers.fetch(place, it, store, Pace(meter, jobs=1))
    assert (meter.bytes, str(meter).strip()) == (SIZE, told)
    transfers.fetch(place, it, store, Pace(meter, jobs=1))
    assert (meter.bytes, str(meter).strip()) == (2 * SIZE, told), "what is there needs no wire"


def test_an_empty_file(store: Layout, tmp_path: Path) -> None:
    it = offered(tmp_path / "there", b"")
    assert transfers.fetch(Cutting(tmp_path / "there", []), it, store).read_bytes() == b""


# ------------------------------------------------------------------------------------------- several at once


def test_threads_that_want_the_same_file_fetch_it_once(store: Layout, tmp_path: Path, it: Descriptor) -> None:
    place, problems = Cutting(tmp_path / "there", []), []

    def run() -> None:
        try:
            assert digest.of_file(transfers.fetch(place, it, store)) == it.digest
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
from builder import files as locks
with open(sys.argv[1], "ab") as file:
    assert locks.take(file)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_that_does_not_come_on_is_not_waited_for_for_ever(
    store: Layout, tmp_path: Path, it: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_STANDING", 0.3)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(store.incoming(it.digest))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StoreBusy, match=r"^\S+: model\.bin is being fetched by another process") as caught:
        transfers.fetch(Cutting(tmp_path / "there", []), it, store)
    assert os.listdir("/proc/self/fd") == before, caught
    holder.kill()
    holder.communicate()
    assert digest.of_file(transfers.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


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
    assert files.take(holder)
    monkeypatch.setattr(Path, "open", watched)
    monkeypatch.setattr(Pace, "rest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        transfers.fetch(Cutting(tmp_path / "there", []), it, store)
    holder.close()
    monkeypatch.setattr(transfers, "_still_grows", refused)
    with pytest.raises(PermissionError):
        transfers.fetch(Cutting(tmp_path / "there", []), it, store)
    assert len(opened) == 2 and all(file.closed for file in opened)


def refused(*_: object) -> bool:
    raise PermissionError("a disk that does not answer")


def held_meanwhile(
    store: Layout, it: Descriptor, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], object]
) -> None:
    """Another has the file until it was looked for five times, and each time something happens to it."""
    other, looked = store.incoming(it.digest).open("ab"), []
    assert files.take(other)

    def rest(pace: Pace, seconds: float) -> None:
        looked.append(seconds)
        happens(store.incoming(it.digest))
        if len(looked) == 5:
            other.close()

    monkeypatch.setattr(Pace, "rest", rest)


def test_another_process_is_waited_for(
    store: Layout, tmp_path: Path, it: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_meanwhile(store, it, monkeypatch, lambda path: None)
    assert digest.of_file(transfers.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


def test_another_process_is_waited_for_as_long_as_it_comes_on(
    store: Layout, tmp_path: Path, it: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers, "_STANDING", 0)
    place = Cutting(tmp_path / "there", [])
    data = place.store.read(it.digest)
    held_meanwhile(store, it, monkeypatch, lambda path: path.write_bytes(data[: path.stat().st_size + 100]))
    assert digest.of_file(transfers.fetch(place, it, store)) == it.digest
    assert place.starts == [500]


def test_a_file_that_came_another_way_meanwhile_is_not_fetched(
    store: Layout, tmp_path: Path, it: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Cutting(tmp_path / "there", [])
    data = place.store.read(it.digest)
    held_meanwhile(store, it, monkeypatch, lambda path: store.put_bytes("model.bin", data))
    assert transfers.fetch(place, it, store).read_bytes() == data
    assert place.starts == []


def test_a_file_that_was_swept_away_meanwhile_is_begun_anew(
    store: Layout, tmp_path: Path, it: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_meanwhile(store, it, monkeypatch, lambda path: path.unlink(missing_ok=True))
    assert digest.of_file(transfers.fetch(Cutting(tmp_path / "there", []), it, store)) == it.digest


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


def test_a_failure_ends_the_rest_of_the_others_and_every_further_transfer() -> None:
    before, pace, started = threads(), Pace(jobs=4), time.monotonic()

    def do(number: int) -> None:
        if number == 3:
            raise StoreDamaged("the fourth")
        pace.rest(60)

    with pytest.raises(StoreDamaged, match="the fourth"):
        pace.each(range(9), do)
    assert threads() == before
    assert time.monotonic() - started < 20
    with pytest.raises(Stopped):
        pace.go_on()


def test_where_all_fail_the_first_is_told_and_the_pace_is_stopped() -> None:
    failed, pace = threading.Event(), Pace(jobs=2)

    def do(number: int) -> None:
        if number:
            failed.wait(10)
            time.sleep(0.05)
            raise StoreDamaged("the second")
        failed.set()
        raise StoreDamaged("the first")

    with pytest.raises(StoreDamaged, match="the first"):
        pace.each([0, 1], do)
    with pytest.raises(Stopped):
        pace.go_on()


def test_a_failure_after_the_others_are_done_stops_what_comes_later() -> None:
    before, pace = threads(), Pace(jobs=2)

    def do(number: int) -> None:
        if number:
            while threads() > before + 1:
                time.sleep(0.01)
            raise StoreDamaged("the last")

    with pytest.raises(StoreDamaged, match="the last"):
        pace.each([1, 0], do)
    with pytest.raises(Stopped):
        pace.rest(60)


def test_an_interrupt_stops_all_of_them() -> None:
    before, pace, started = threads(), Pace(jobs=2), time.monotonic()

    def do(number: int) -> None:
        if number:
            _thread.interrupt_main()
        pace.rest(60)

    with pytest.raises(KeyboardInterrupt):
        pace.each([0, 1], do)
    assert threads() == before
    assert time.monotonic() - started < 20


def test_whatever_a_transfer_raises_is_raised_to_who_waits() -> None:
    def do(number: int) -> None:
        raise SystemExit(number)

    with pytest.raises(SystemExit):
        Pace(jobs=2).each([3, 3], do)


def test_a_thread_that_cannot_be_started_is_the_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def refuse(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before, pace = threads(), Pace(jobs=3)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        pace.each(range(3), lambda number: pace.rest(60))
    assert threads() == before


def test_there_are_no_more_threads_than_items(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (started.append(thread), start(thread)))
    Pace(jobs=50).each(range(3), lambda number: None)
    assert len(started) == 3


def test_all_are_done_and_no_thread_is_left() -> None:
    before, done = threads(), []
    Pace(jobs=3).each(range(100), done.append)
    assert sorted(done) == list(range(100))
    assert threads() == before


def test_so_many_at_once_and_no_more() -> None:
    """In threads that do not outlive the program, whatever they hang in."""
    pace, four, workers = Pace(), threading.Barrier(4, timeout=20), []

    def do(number: int) -> None:
        workers.append(threading.current_thread())
        four.wait()

    pace.each(range(20), do)
    assert (pace.jobs, pace.seconds) == (4, 3600)
    assert len(set(workers)) == 4 and len(workers) == 20
    assert all(worker.daemon for worker in workers)


@pytest.mark.parametrize(("jobs", "items"), [(1, 5), (4, 1)])
def test_one_at_a_time_needs_no_thread(jobs: int, items: int) -> None:
    done: List[object] = []
    Pace(jobs=jobs).each(range(items), lambda number: done.append((number, threading.current_thread())))
    assert done == [(number, threading.current_thread()) for number in range(items)]


@pytest.mark.parametrize("jobs", [1, 2])
def test_time_is_limited(jobs: int) -> None:
    pace, started = Pace(jobs=jobs, seconds=0.2), time.monotonic()
    with pytest.raises(Unreachable, match=r"longer than 0\.2 seconds"):
        pace.each(range(4), lambda number: pace.rest(60))
    assert 0.2 < time.monotonic() - started < 20


def test_a_rest_ends_with_the_time() -> None:
    started = time.monotonic()
    with pytest.raises(Unreachable, match=r"longer than 0\.1 seconds in all"):
        Pace(seconds=0.1).rest(60)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_is_begun_when_the_time_is_over(jobs: int) -> None:
    done: List[int] = []

    def do(number: int) -> None:
        done.append(number)
        time.sleep(0.05)

    with pytest.raises(Unreachable, match=r"longer than 0\.02 seconds"):
        Pace(jobs=jobs, seconds=0.02).each(range(9), do)
    assert len(done) <= jobs


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


def test_on_a_terminal_a_line_is_drawn_once_a_fifth_of_a_second_is_over() -> None:
    screen, clock = Screen(True), [0.0]
    meter = Meter("fetched", screen, lambda: clock[0])  # type: ignore[arg-type]
    for tick in range(1, 17):
        clock[0] = tick / 16
        meter.moved(1)
    assert screen.text.count("\r") == 4


def test_time_counts_from_the_first_that_is_expected_and_all_that_is_expected_counts() -> None:
    screen, clock = Screen(False), [0.0]
    meter = Meter("fetched", screen, lambda: clock[0])  # type: ignore[arg-type]
    clock[0] = 90.0
    meter.expect(1, 20_000_000)
    meter.moved(8_000_000)
    assert screen.text == "", "nothing has taken long yet"
    clock[0] = 92.0
    meter.expect(2, 5_000_000)
    assert str(meter) == "fetched 8.0 of 25.0 MB, 0 of 3 files, 4.0 MB/s"
    clock[0] = 98.0
    meter.done()
    assert screen.text == "fetched 8.0 of 25.0 MB, 1 of 3 files, 1.0 MB/s\n"
    meter.moved(-4_000_000)
    meter.moved(4_000_000, kept=True)
    meter.moved(-8_000_000)
    assert str(meter) == "fetched 0.0 of 25.0 MB, 1 of 3 files, 0.0 MB/s", "it goes at no time backwards"


def test_who_has_nowhere_to_say_it_says_nothing() -> None:
    clock = [0.0]
    meter = Meter(now=lambda: clock[0])
    meter.expect(1, 1)
    clock[0] = 60.0
    meter.moved(1)
    meter.done()
    meter.close()
    assert (meter.bytes, meter.files) == (1, 1)
