"""What went wrong on the way to a server, as one error that says the address, what happened, and what to type next."""

from __future__ import annotations

import http.client
import socket
import ssl

from builder.errors import Unreachable, first_line
from builder.http.address import Address
from builder.http.proxies import Proxy

CA_FILE = "DEPLOYMATRIX_CA_FILE"


def explained(problem: Exception, there: Address, proxy: "Proxy | None" = None) -> Unreachable:
    """`problem` is an OSError or an HTTPException."""
    where = str(there)
    door = f"{proxy.host}:{proxy.port} (the proxy)" if proxy else f"{there.host}:{there.port}"
    check = (
        "check the proxy in HTTPS_PROXY and HTTP_PROXY"
        if proxy
        else "check the host's name and the port in the address"
    )
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Unreachable(
            f"its certificate is not accepted: {problem.verify_message}",
            where=where,
            hint=f"if an authority of your own signed it, name that one's certificate: export {CA_FILE}=ca.pem",
        )
    if isinstance(problem, ssl.SSLError):
        plain = "WRONG_VERSION_NUMBER" in str(problem)
        said = "it does not speak TLS" if plain else f"TLS failed: {problem.reason or first_line(problem)}"
        return Unreachable(
            said,
            where=where,
            hint="is it a server without https? Then its address begins with http:// or oci+http://",
            passing=not plain,
        )
    if isinstance(problem, socket.timeout):
        return Unreachable("it took too long to answer", where=where, hint="try again later", passing=True)
    if isinstance(problem, socket.gaierror):
        later = problem.errno == socket.EAI_AGAIN
        return Unreachable(
            f"the host of {door} is not known: {problem.strerror}", where=where, hint=check, passing=later
        )
    if isinstance(problem, ConnectionRefusedError):
        return Unreachable(
            f"nothing listens at {door}", where=where, hint=f"is the server running? {check}", passing=True
        )
    if isinstance(problem, OSError):  # RemoteDisconnected is one too
        said = problem.strerror or first_line(problem)
        return Unreachable(f"the connection failed: {said}", where=where, hint="try again later", passing=True)
    if isinstance(problem, http.client.IncompleteRead):
        return cut(there)
    said = f"{type(problem).__name__}: {first_line(problem)[:200]}"
    return Unreachable(f"it does not answer in HTTP: {said}", where=where, hint=check)


def cut(there: Address) -> Unreachable:
    return Unreachable("the answer ended before it was whole", where=str(there), hint="try again", passing=True)
