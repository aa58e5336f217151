"""What a worker takes out of a job queue: messages that carry one order and nothing else. Whatever else lies there is refused.

Celery would do more than we ask of it: tasks of its own, tasks that follow a task, times to begin at; and it ends where a
message is not built as it builds them, after which that message kills the next worker. What an order says is not read here.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Optional

from celery.worker.consumer import Consumer

from builder.execution.fleet.broker import TASK
from builder.execution.fleet.sealing import LARGEST

_LOGGER = logging.getLogger("celery.deploymatrix")
_MOST = 3 * LARGEST  # bytes: an order is text in JSON, where quotes are escaped
_ELSE = ("eta", "expires", "group", "stamped_headers")  # headers by which Celery does something else than to perform it


class Taker(Consumer):  # type: ignore[misc]
    """Celery's own, for messages that it may see. `worker_consumer` names it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.loop: Callable[..., None] = _again_after_garbage(self.loop)

    def create_task_handler(self, *args: Any) -> Callable[[Any], None]:
        take = super().create_task_handler(*args)

        def taken(message: Any) -> None:
            why = wrong_with(message)
            if why is None:
                take(message)
                return
            _LOGGER.error("refused: %s", why)
            message.reject_log_error(_LOGGER, self.connection_errors)

        return taken


def wrong_with(message: Any) -> Optional[str]:
    """Why this message is not taken; None when it carries one text."""
    headers = message.headers if isinstance(message.headers, dict) else {}
    if headers.get("task") != TASK:
        return f"there is no task {str(headers.get('task'))[:80]!r} here"
    if not isinstance(headers.get("id"), str) or len(headers["id"]) > 64:
        return "this is no message: it has no id"
    if any(headers.get(name) for name in _ELSE) or any(headers.get("timelimit") or ()):
        return "this is no message: it asks for more than to be performed"
    if len(message.body or "") > _MOST:
        return f"this is no message: it has {len(message.body):,} bytes"
    try:
        body = message.payload
    except Exception as problem:  # whatever a stranger's bytes make a decoder raise
        return f"this is no message: {type(problem).__name__}: {problem}"[:300]
    return None if _is_one_text(body) else "this is no message: it is not one text"


def _is_one_text(body: object) -> bool:
    """As Celery writes it: arguments, arguments by name, and what is to follow, of which there is nothing."""
    if not isinstance(body, (list, tuple)) or len(body) != 3:
        return False
    given, named, after = body
    alone = isinstance(given, list) and len(given) == 1 and isinstance(given[0], str)
    return alone and named == {} and isinstance(after, dict) and not any(after.values())


def _again_after_garbage(loop: Callable[..., None]) -> Callable[..., None]:
    """What is not even a message of the broker's library is gone once it is read: as if the connection had been lost."""

    def careful(*args: Any) -> None:
        try:
            loop(*args)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as problem:
            _LOGGER.error("refused: this is no message: %s", type(problem).__name__)
            raise ConnectionResetError("there was no message in a queue") from None

    return careful
