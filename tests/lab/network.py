"""The lab: several hosts and a switch between them, on this one machine, for as long as a `with` lasts.

The network is in a namespace of its own, with addresses that exist nowhere else: no packet leaves this machine, and several
labs may run at once. Without root, or where the kernel refuses, there is a plainer lab in `tests/lab/plain.py`.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Dict, Iterator, Mapping, Optional, Sequence, Union

from tests.lab import aarch64, spaces
from tests.lab.client import Client
from tests.lab.host import Host
from tests.lab.plain import PlainHost

_SWITCH = """
ip link set lo up
ip link add br0 type bridge
ip address add 10.77.0.1/24 dev br0
ip link set br0 up
echo up
exec sleep infinity
"""


class Lab:
    """`hosts` by name, all of them on. `environ` is for the program that works on them."""

    def __init__(
        self, client: Client, hosts: Mapping[str, Union[Host, PlainHost]], switch: Optional[spaces.Held] = None
    ) -> None:
        self.environ, self.hosts, self._client, self._switch = client.environ, hosts, client, switch

    def __getitem__(self, name: str) -> Union[Host, PlainHost]:
        return self.hosts[name]

    @property
    def switch(self) -> spaces.Held:
        """What holds the network, in which this side has the address 10.77.0.1."""
        assert self._switch is not None, "plain hosts share this machine's network"
        return self._switch

    def connected(self, name: str) -> bool:
        """Does an ssh of ours run to that host? It may not know yet that nobody is there."""
        said = (spaces.words_of(int(path.name)) for path in Path("/proc").glob("[0-9]*"))
        return any(f"-F {self._client.folder}/config " in words and f" -- {name} " in words for words in said)


@contextlib.contextmanager
def lab(
    folder: Path, names: Sequence[str], foreign: Sequence[str] = (), mib: int = 64, options: Sequence[str] = ()
) -> Iterator[Lab]:
    """Hosts of these `names`; those that are `foreign` are aarch64. `mib`: the size of each disk. `options`: lines for the
    client's configuration of ssh. Where no namespaces can be made, plain hosts."""
    why = spaces.missing()
    if why is not None:
        with plain_lab(folder, names, why, options) as made:
            yield made
        return
    folder.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        switch = spaces.Held(["unshare", "--net", "sh", "-ec", _SWITCH], folder / "switch.log")
        stack.callback(switch.end)
        client = Client(folder / "client", switch.enter("net"), options)
        hosts: Dict[str, Host] = {}
        for number, name in enumerate(names):
            root = aarch64.root() if name in foreign else None
            host = hosts[name] = Host(folder / name, name, number, client.key, switch, mib, root)
            stack.callback(host.end)
            client.learn(name, host.address, 22, host.host_key)
            host.start()
        yield Lab(client, hosts, switch)


@contextlib.contextmanager
def plain_lab(folder: Path, names: Sequence[str], why: str, options: Sequence[str] = ()) -> Iterator[Lab]:
    """`why` no better one can be made: what these hosts cannot do is skipped with it."""
    with contextlib.ExitStack() as stack:
        client = Client(folder / "client", (), options)
        hosts: Dict[str, PlainHost] = {}
        for name in names:
            host = hosts[name] = PlainHost(folder / name, name, client.key, why)
            stack.callback(host.end)
            client.learn(name, host.address, host.port, host.host_key)
            host.start()
        yield Lab(client, hosts)
