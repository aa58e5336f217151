"""The first thing that runs on the other machine: takes in the worker's modules, unless they are there, and starts them.

Its text is sent to `python -c`, so it imports nothing of ours and nothing that is not in Python's standard library. What
Python 3.5 cannot parse must not stand here: an old Python is to be told apart from none. It checks what it unpacks by digest.
"""

import sys


def start() -> None:
    sys.path[:] = [folder for folder in sys.path if folder]  # the home folder may hold a json.py
    import json
    import os

    out = os.dup(1)
    os.dup2(2, 1)  # whatever prints from here on does not end up among the messages

    def say(value: object) -> None:
        os.write(out, json.dumps(value).encode() + b"\n")

    os.write(out, b"\n#deploymatrix\n")
    say({"python": "%d.%d.%d" % sys.version_info[:3]})
    hello = json.loads(sys.stdin.buffer.readline().decode() or "null")
    if hello is None:
        return
    folder = os.path.abspath(os.path.expanduser(hello["terms"]["folder"]))
    place = os.path.join(folder, "worker", hello["worker"])
    try:
        there = digest_of(place) == hello["worker"]
        say({"worker": there})
        if not there:
            data = sys.stdin.buffer.read(int(sys.stdin.buffer.readline() or 0))
            unpack(data, place, hello["worker"])
            say({"worker": True})
    except OSError as problem:
        say({"problem": "%s: %s" % (problem.filename or folder, problem.strerror or problem)})
        return
    sys.path.insert(0, place)
    from builder.execution.ssh import server

    server.main(out, dict(hello["terms"], folder=folder))


def digest_of(place: str) -> str:
    """As builder/execution/ssh/connection.py counts it: over the names and contents of all modules."""
    import hashlib
    import os

    sha = hashlib.sha256()
    for name in sorted(modules_in(place)):
        with open(os.path.join(place, *name.split("/")), "rb") as stream:
            sha.update(("%s %s\n" % (name, hashlib.sha256(stream.read()).hexdigest())).encode())
    return sha.hexdigest()


def modules_in(place: str) -> "list[str]":
    import os

    paths = [os.path.join(folder, file) for folder, _, files in os.walk(place) for file in files]
    return [os.path.relpath(path, place).replace(os.sep, "/") for path in paths if not path.endswith(".pyc")]


def unpack(data: bytes, place: str, digest: str) -> None:
    """A folder appears under its name only whole."""
    import io
    import os
    import shutil
    import tempfile
    import zipfile

    parent = os.path.dirname(place)
    os.makedirs(parent, 0o700, exist_ok=True)
    work = tempfile.mkdtemp(dir=parent)
    try:
        zipfile.ZipFile(io.BytesIO(data)).extractall(work)
        if digest_of(work) != digest:
            raise OSError(5, "what arrived is not what was sent", place)
        shutil.rmtree(place, ignore_errors=True)  # damaged
        try:
            os.rename(work, place)
        except OSError:  # another session was faster
            if digest_of(place) != digest:
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
