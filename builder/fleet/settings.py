"""What matrix.yaml says about the fleet. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Optional, Tuple

from builder.records import described

# What Celery calls the two brokers, plain and with TLS.
SCHEMES = ("amqp", "amqps", "redis", "rediss")
WITH_TLS = ("amqps", "rediss")


@dataclass(frozen=True)
class FleetSettings:
    """Where jobs are left for workers that dial in, and where their files lie. Part of no key."""

    broker: str = field(
        metadata=described(
            "amqps://USER@HOST/VHOST (RabbitMQ) or rediss://HOST/0 (Redis), without the password: DEPLOYMATRIX_BROKER has it."
        )
    )
    store: str = field(
        metadata=described("A registry, a bucket, or a folder on a shared disk: inputs and outputs pass through it.")
    )
    key: Optional[str] = field(
        default=None, metadata=described("File with the secret key that signs orders; `build keys new` makes one.")
    )
    workers: Tuple[str, ...] = field(
        default=(),
        metadata=described(
            "Public keys of the workers that are believed, or files with one; all that the broker lets in, if none."
        ),
    )
    minutes: float = field(default=120.0, metadata=described("An action that takes longer is ended, and has failed."))
    tries: int = field(default=3, metadata=described("How often an action is begun before it has failed."))
    patience: float = field(
        default=30.0, metadata=described("Seconds that a job waits for the first worker that serves its queue.")
    )

    def beside(self, root: Path) -> "FleetSettings":
        """With the paths that are relative to the folder of matrix.yaml."""
        key = str(root / Path(self.key).expanduser()) if self.key else None
        store = self.store if "://" in self.store else str(root / self.store)
        workers = tuple(str(root / word) if (root / word).is_file() else word for word in self.workers)
        return replace(self, key=key, store=store, workers=workers)
