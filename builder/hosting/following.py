"""Following `current`: a thread that asks again and again whether another version was placed, and stops when it is told to,
or when nobody holds what it follows for any more.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any, Callable, Optional

_LOG = logging.getLogger("builder.host")


class Follower:
    """Calls `look` of `owner` every `seconds`. It holds `owner` weakly: a forgotten one is not kept alive by its thread."""

    def __init__(self, owner: Any, look: Callable[[Any], None], seconds: float) -> None:
        self._stop = threading.Event()
        weak = weakref.ref(owner, lambda _: self._stop.set())
        self._thread = threading.Thread(target=_follow, args=(weak, look, seconds, self._stop), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; a version that it is opening is opened first."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()


def _follow(weak: "weakref.ref[Any]", look: Callable[[Any], None], seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds):
        owner: Optional[Any] = weak()
        if owner is None:
            return
        try:
            look(owner)
        except Exception:  # the thread must outlive whatever a disk or a runtime does, and says it
            _LOG.exception("looking for another version failed")
        del owner
