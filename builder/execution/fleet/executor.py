"""The fleet executor: actions are left in a queue for whichever worker is what their platform says.

Inputs and outputs pass through the store of the fleet, a place that all workers reach; the broker carries words only. What
one action has to go through is in `builder/execution/fleet/coordinator.py`.
"""

from __future__ import annotations

import contextlib
import threading
from concurrent import futures
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Callable, Dict, Mapping, Optional, Set, Tuple, Type, TypeVar

from builder import digest, plugins, terminal
from builder.actions.action import Action, Result
from builder.config.remote_machines import FleetSettings, Reached
from builder.errors import StepFailed, StoreDamaged, Unreachable, UsageError
from builder.execution.executors import Campaign
from builder.execution.fleet import broker, messages, queues
from builder.execution.fleet.coordinator import Coordinator
from builder.execution.fleet.messages import Order, Signing
from builder.execution.messages import File
from builder.platforms.platform import Blob
from builder.plugins import Executor, Repository, Store
from builder.records import RecordError, from_json
from builder.store import transfers
from builder.store.layout import Layout
from builder.store.oci import OCTETS, Descriptor

_T = TypeVar("_T")
_LARGE = 1 << 20  # bytes; the rest is there before a thread would be
_SOON = 0.2  # seconds after which it is noticed that the run was stopped
_LARGEST_RECORD = 64 << 20  # a sweep's facts are the longest


def fleet(campaign: Campaign) -> "Fleet":
    """Raises UsageError where the matrix does not say where the fleet is."""
    settings = campaign.fleet
    if settings is None:
        raise UsageError("there is no `fleet:` in this matrix", hint="fleet: {broker: tls://HOST:4222, store: PLACE}")
    found = broker.found(settings.broker, campaign.environ)
    signing = messages.signing(settings.key, settings.workers)
    found.require_private(bool(signing.key and signing.trusted), "`fleet: {key: ..., workers: [...]}` in matrix.yaml")
    return Fleet(found, plugins.repository(settings.store, campaign.environ), campaign.id, settings, signing)


class Fleet:
    """Of one run. Its own executor: a fleet is one place."""

    def __init__(
        self, found: broker.Broker, place: Repository, run: str, settings: FleetSettings, signing: Signing
    ) -> None:
        self._place, self._settings = place, settings
        self._coordinator = Coordinator(found, run, settings, signing)
        self._there: Set[str] = set()
        self._made: Dict[str, Tuple[str, str]] = {}  # digest of an output -> queue and machine that it came from
        self._opening, self._stopped = threading.Lock(), threading.Event()
        self._until = contextlib.ExitStack()
        self._opened, self._away = False, None  # type: bool, Optional[Unreachable]

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._until.close()

    @property
    def run(self) -> str:
        """The name of the run in messages."""
        return self._coordinator.run

    def at(self, place: Reached) -> Executor:
        return self

    def perform(
        self, action: Action, files: Mapping[str, Path], root: Path, store: Store, say: Callable[[str], None]
    ) -> Result:
        """Raises Unreachable when broker or store are away, or no worker serves; StepFailed."""
        self._open()
        assert action.platform is not None, "only what is of a platform is performed elsewhere"
        needed = self._brought(action, files, say)
        order = Order(action, needed, self._settings.minutes * 60)
        queue = queues.name(action.platform)
        record, machine = self._coordinator.wait_for(order, queue, say, self._maker(action, queue))
        result = self._read(record)
        if result.key != action.key:
            raise StoreDamaged("its result is of another action", where="fleet")
        self._bring(result.outputs, store)
        self._made.update((blob.digest, (queue, machine)) for blob in result.outputs)
        return result

    def stop(self) -> None:
        self._stopped.set()
        self._coordinator.stop()

    def _maker(self, action: Action, queue: str) -> str:
        """The machine that made what is to be measured, so that the numbers of a cell are of one machine; "" when it is not
        known, or is none of those that the action is for."""
        made = (self._made.get(pinned.digest, ("", "")) for pinned in action.inputs)
        return next((machine for kind, machine in made if kind == queue), "")

    def _open(self) -> None:
        """With the first job, so that a broker that is away makes jobs wait, and not the run fail. It stays away for the
        rest of the run."""
        with self._opening:
            if self._away is not None:
                raise self._away
            if not self._opened:
                try:
                    self._until.enter_context(self._coordinator)
                except Unreachable as problem:
                    self._away = problem
                    raise
                self._opened = True

    def _brought(self, action: Action, files: Mapping[str, Path], say: Callable[[str], None]) -> Tuple[File, ...]:
        """The inputs, in the store of the fleet, each sent once."""
        found = {pinned.digest: files[pinned.name] for pinned in action.inputs}
        sized = {named: Descriptor(OCTETS, named, path.stat().st_size) for named, path in found.items()}
        lacking = [it for it in sized.values() if it.digest not in self._there and not self._place.has(it)]
        if lacking:
            say(f"sending {terminal.size(sum(it.size for it in lacking))} to {self._place.name}")
        for it in lacking:
            self._unless_stopped(it, partial(self._place.put, it, found[it.digest]))
        self._there.update(sized)
        return tuple(File(it.digest, it.size) for it in sized.values())

    def _read(self, record: File) -> Result:
        named = Descriptor(OCTETS, record.digest, record.size)
        data = self._unless_stopped(named, partial(transfers.read, self._place, named, most=_LARGEST_RECORD))
        try:
            return from_json(Result, digest.loads(data))
        except (ValueError, RecordError) as problem:
            raise StoreDamaged(f"a worker left what is no result: {problem}", where=self._place.name) from None

    def _bring(self, blobs: Tuple[Blob, ...], store: Store) -> None:
        """The outputs into `store`, each under its own name and held against its digest."""
        lacking = plugins.lacking(store, blobs, "fleet")
        if not lacking:
            return
        with store.workspace() as work:
            for blob in lacking:
                named = Descriptor(OCTETS, blob.digest, blob.size, title=blob.name)
                fetched = self._unless_stopped(
                    named, partial(transfers.fetch, self._place, named, Layout(work / "fetched"))
                )
                fetched.rename(work / blob.name)
                store.put(work / blob.name)

    def _unless_stopped(self, it: Descriptor, work: Callable[[], _T]) -> _T:
        """`work`, which moves `it` to or from the place of the fleet. Nobody can cut that off in the middle, so what may take
        long is done in a thread that is left behind when the run is stopped, and ends with this process. Raises what `work`
        does, and StepFailed."""
        if it.size < _LARGE:
            return work()
        done: "futures.Future[_T]" = futures.Future()

        def perform() -> None:
            try:
                done.set_result(work())
            except BaseException as problem:  # for whoever waits
                done.set_exception(problem)

        threading.Thread(target=perform, daemon=True).start()
        while not self._stopped.is_set():
            if futures.wait([done], _SOON).done:
                return done.result()
        raise StepFailed("the run was stopped")
