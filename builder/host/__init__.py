"""What a host does: choose, install, self-test, run. Users import `open` from here; see `builder/host/deployment.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.host.deployment import Deployment as Deployment
    from builder.host.deployment import Description as Description
    from builder.host.deployment import open as open
    from builder.host.opened import FallbackWarning as FallbackWarning

_PUBLIC = {
    "Deployment": "deployment",
    "Description": "deployment",
    "open": "deployment",
    "FallbackWarning": "opened",
}


def __getattr__(name: str) -> object:
    """Import on first use (PEP 562): `build pull` imports this package, too, and loads no runtime."""
    from importlib import import_module

    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
