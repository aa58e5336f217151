"""A bucket keeps the contract of places, against moto's server: publishers lose nothing, uploads go on, errors say why."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Optional

import pytest

pytest.importorskip("boto3", reason="buckets need boto3")
pytest.importorskip("moto", "5.2", reason="tests of buckets run against moto's server; older ones ignore If-Match")
pytest.importorskip("moto.server", reason="tests of buckets run against moto's server")

import boto3

from builder import cli, plugins
from builder.errors import DeployError, StoreDamaged, Unreachable, UsageError
from builder.plugins import Repository
from builder.store import copying, referrers, transfers, versions
from builder.store.layout import Layout
from builder.store.oci import INDEX, Descriptor
from builder.store.remotes.folder import Folder, blob_path
from tests.builder.store.remotes import s3_server
from tests.builder.store.remotes.contract import *  # noqa: F403
from tests.builder.store.remotes.contract import Open, a_file, send
from tests.builder.store.remotes.reading import *  # noqa: F403
from tests.builder.store.remotes.reading import Filled
from tests.builder.store.test_copying import KEY, silent
from tests.builder.store.test_versions import published
from tests.fakes import REPOSITORY

_COUNT = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[s3_server.Door]:
    with s3_server.serving() as door:
        yield door


@pytest.fixture
def door(server: s3_server.Door, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[s3_server.Door]:
    """The server, with the environment that leads to it and to no account of whoever runs the tests."""
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "hidden-word",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "2",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.meddle = None
    server.seen.clear()


@pytest.fixture
def address(door: s3_server.Door) -> str:
    name = f"models-{next(_COUNT)}"
    boto3.Session().client("s3").create_bucket(Bucket=name)
    return f"s3://{name}/team/superpoint"


@pytest.fixture
def fresh(address: str) -> Open:
    return lambda: plugins.repository(address, {})


@pytest.fixture
def place(fresh: Open) -> Repository:
    return fresh()


@pytest.fixture
def filled(fresh: Open) -> Filled:
    def made(store: Layout) -> Repository:
        for version in versions.numbers(store):
            send(store, fresh(), version)
        return fresh()

    return made


def objects(address: str) -> "dict[str, bytes]":
    """What lies below the prefix, by path."""
    bucket, _, prefix = address[len("s3://") :].partition("/")
    client = boto3.Session().client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
    return {key[len(prefix) + 1 :]: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


# ------------------------------------------------------------------------------------------- the layout


def test_the_bucket_is_a_store(address: str, place: Repository, store: Layout, tmp_path: Path) -> None:
    """What lies there is what `aws s3 sync` of a store would put there, and copied to a folder it is one."""
    made = published(store)
    send(store, place)
    found = objects(address)
    copied = tmp_path / "copied"
    for path, data in found.items():
        (copied / path).parent.mkdir(parents=True, exist_ok=True)
        (copied / path).write_bytes(data)
        if path != "index.json":
            assert (store.root / path).read_bytes() == data
    assert versions.read(Layout(copied), 1).entries == made.entries
    mine = {path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()}
    assert set(found) == {path for path in mine if not path.startswith(".deploymatrix")}


def test_a_store_that_was_synced_is_a_place(address: str, fresh: Open, store: Layout) -> None:
    published(store)
    bucket, _, prefix = address[len("s3://") :].partition("/")
    client = boto3.Session().client("s3")
    for path in store.root.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(store.root).as_posix()}")
    assert fresh().tags() == ("v1",)
    assert send(store, fresh()) == 0


def test_what_caches_are_told(address: str, place: Repository, store: Layout) -> None:
    published(store)
    send(store, place)
    bucket, _, prefix = address[len("s3://") :].partition("/")
    client = boto3.Session().client("s3")
    assert client.head_object(Bucket=bucket, Key=f"{prefix}/index.json")["CacheControl"] == "no-cache"
    blob = next(path for path in objects(address) if path.startswith("blobs/"))
    assert "immutable" in client.head_object(Bucket=bucket, Key=f"{prefix}/{blob}")["CacheControl"]


def test_a_bucket_without_a_prefix(address: str, store: Layout) -> None:
    published(store)
    bucket = address.rsplit("/", 2)[0]
    for form in (bucket, f"{bucket}/"):
        place = plugins.repository(form, {})
        assert place.name == bucket
        send(store, place)
        assert place.tags() == ("v1",)


@pytest.mark.parametrize(
    "wrong",
    ["s3://", "s3:///x", "s3://a", "s3://up/../x", "s3://up//x", "s3://some body/x", "s3://up/x?y", "s3://k@up/x"],
)
def test_an_address_that_is_none(wrong: str) -> None:
    with pytest.raises(UsageError, match="is no address in a bucket"):
        plugins.repository(wrong, {})


# ------------------------------------------------------------------------------------------- two publishers


def test_publishers_at_once_lose_nothing(fresh: Open, tmp_path: Path) -> None:
    """Eight programs, each with a version and a signature of its own, all to one index.json."""
    stores = []
    for number in range(1, 9):
        stores.append(Layout(tmp_path / f"store{number}"))
        published(stores[-1], version=number)
        referrers.attach_signature(stores[-1], number, KEY.public.name, "signed")
    problems: List[BaseException] = []
    start = threading.Barrier(len(stores))

    def run(number: int, mine: Layout) -> None:
        try:
            there = fresh()
            start.wait()
            send(mine, there, number)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=run, args=(n, mine)) for n, mine in enumerate(stores, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sorted(versions.numbered(fresh().tags())) == list(range(1, 9))
    assert len(fresh().tags()) == 16


def _other_version_one(folder: Path) -> Layout:
    other = Layout(folder)
    published(other, version=1)
    versions.publish(other, dataclasses.replace(versions.read(other, 1), created="another day"))
    return other


def test_the_same_number_from_two_publishers(
    door: s3_server.Door, place: Repository, fresh: Open, store: Layout, tmp_path: Path
) -> None:
    """Both looked and found no v1. The second to write its tag is told, and the first one's stays."""
    published(store)
    other = _other_version_one(tmp_path / "other")
    first = Folder(str(store.root), {}).resolve("v1")
    done: List[int] = []

    def between(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith("index.json") and not done:
            done.append(1)
            send(store, fresh())
        return None

    door.meddle = between
    with pytest.raises(UsageError, match="a version never changes"):
        copying.publish(other, ("v1",), place, silent)
    assert done
    assert fresh().resolve("v1") == first


def test_an_answer_that_was_lost(door: s3_server.Door, place: Repository, store: Layout) -> None:
    """index.json was written, but the answer did not come: the repeated request is refused, and nothing is wrong."""
    published(store)
    lost: List[int] = []

    def lose(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith("index.json") and not lost:
            lost.append(1)
            list(door._app(environ, lambda *answer: None))
            respond("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        return None

    door.meddle = lose
    send(store, place)
    assert lost
    assert place.tags() == ("v1",)


@pytest.mark.parametrize("ignored", [("IF_MATCH",), ("IF_NONE_MATCH",), ("IF_MATCH", "IF_NONE_MATCH")])
def test_a_service_that_ignores_conditions(
    ignored: "tuple[str, ...]", door: s3_server.Door, place: Repository, store: Layout
) -> None:
    published(store)

    def ignorant(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        if environ["REQUEST_METHOD"] == "PUT":
            for name in ignored:
                environ.pop(f"HTTP_{name}", None)
        return None

    door.meddle = ignorant
    with pytest.raises(UsageError, match="two publishers could lose each other's versions"):
        send(store, place)
    assert place.tags() == ()


def test_a_service_that_says_so(door: s3_server.Door, place: Repository, store: Layout) -> None:
    published(store)

    def honest(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        if environ["REQUEST_METHOD"] == "PUT" and "HTTP_IF_NONE_MATCH" in environ:
            return _error(respond, "501 Not Implemented", "NotImplemented")
        return None

    door.meddle = honest
    with pytest.raises(UsageError, match="two publishers could lose each other's versions"):
        send(store, place)


# ------------------------------------------------------------------------------------------- large files


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "tuple[Descriptor, Path]":
    """A file of several parts. moto, as Amazon, takes no part below 5 MiB."""
    monkeypatch.setattr("builder.store.remotes.bucket._PART", 5 << 20)
    return a_file(tmp_path, (15 << 20) + 3)


def sent_parts(door: s3_server.Door) -> List[str]:
    return [one.partition("partNumber=")[2].partition("&")[0] for one in door.seen if "partNumber=" in one]


def test_a_file_in_parts(
    door: s3_server.Door, place: Repository, fresh: Open, large: "tuple[Descriptor, Path]"
) -> None:
    it, path = large
    place.put(it, path)
    assert sent_parts(door) == ["1", "2", "3", "4"]
    assert fresh().has(it)
    assert transfers.read(fresh(), it) == path.read_bytes()


def test_an_upload_that_was_cut_goes_on(
    door: s3_server.Door, place: Repository, fresh: Open, large: "tuple[Descriptor, Path]"
) -> None:
    it, path = large

    def cut(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        if "partNumber=3" in environ.get("QUERY_STRING", ""):
            return _error(respond, "503 Slow Down", "SlowDown")
        return None

    door.meddle = cut
    with pytest.raises(Unreachable, match="SlowDown"):
        place.put(it, path)
    assert not place.has(it), "nothing is visible of it"
    door.meddle = None
    door.seen.clear()
    fresh().put(it, path)
    assert sent_parts(door) == ["3", "4"]
    assert transfers.read(fresh(), it) == path.read_bytes()


def test_parts_of_other_content_are_sent_again(
    door: s3_server.Door, address: str, place: Repository, large: "tuple[Descriptor, Path]"
) -> None:
    it, path = large
    bucket, _, prefix = address[len("s3://") :].partition("/")
    client, key = boto3.Session().client("s3"), f"{prefix}/{blob_path(it)}"
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * (5 << 20))
    client.upload_part(
        Bucket=bucket, Key=key, UploadId=upload, PartNumber=2, Body=path.read_bytes()[5 << 20 : 10 << 20]
    )
    door.seen.clear()
    place.put(it, path)
    assert sent_parts(door) == ["1", "3", "4"]
    assert transfers.read(place, it) == path.read_bytes()


def test_two_send_one_large_file(
    door: s3_server.Door, place: Repository, fresh: Open, large: "tuple[Descriptor, Path]"
) -> None:
    """The second goes on with the first one's upload; the first ends it, and the second finds the file there."""
    it, path = large
    done: List[int] = []

    def between(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        if "partNumber=3" in environ.get("QUERY_STRING", "") and not done:
            done.append(1)
            fresh().put(it, path)
            return _error(respond, "404 Not Found", "NoSuchUpload")  # as Amazon says it; moto stumbles
        return None

    door.meddle = between
    place.put(it, path)
    assert done
    assert transfers.read(place, it) == path.read_bytes()


_MEMORY = """
import re, sys
from pathlib import Path
from builder import plugins as seams
from builder.store.oci import OCTETS, Descriptor

def most():  # of this program; getrusage would also count the one that started it
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1))

place = seams.repository(sys.argv[1], {})
place.tags()
before = most()
it = Descriptor(OCTETS, sys.argv[2], int(sys.argv[3]))
if sys.argv[4]:
    place.put(it, Path(sys.argv[4]))
else:
    with place.stream(it) as stream:
        assert sum(map(len, stream.pieces)) == it.size
print(most() - before)
"""


def test_the_memory_of_a_large_file(address: str, tmp_path: Path) -> None:
    """Up and down, in a process of its own: a few parts of it, whatever its size."""
    it, path = a_file(tmp_path, 120_000_000)
    for source in (str(path), ""):
        words = [sys.executable, "-c", _MEMORY, address, it.digest, str(it.size), source]
        done = subprocess.run(words, capture_output=True, text=True, cwd=str(REPOSITORY), timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 40_000, "kB"


# ------------------------------------------------------------------------------------------- what goes wrong


def _error(respond: s3_server.Respond, status: str, code: str) -> Iterable[bytes]:
    body = f"<Error><Code>{code}</Code><Message>because</Message></Error>".encode()
    respond(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
    return [body]


@pytest.mark.parametrize(
    ("status", "code", "exit_code", "said"),
    [
        ("403 Forbidden", "AccessDenied", 11, "access denied\n  hosts need s3:GetObject"),
        ("403 Forbidden", "InvalidAccessKeyId", 11, "the credentials are refused (InvalidAccessKeyId): because"),
        ("403 Forbidden", "SignatureDoesNotMatch", 11, "the credentials are refused"),
        ("400 Bad Request", "ExpiredToken", 11, "the credentials are refused"),
        ("403 Forbidden", "RequestTimeTooSkewed", 11, "the clock of this machine is wrong"),
        ("404 Not Found", "NoSuchBucket", 2, "there is no bucket models"),
        ("503 Slow Down", "SlowDown", 11, "it refuses (SlowDown)"),
        ("400 Bad Request", "Strange", 11, "it refuses (Strange): because"),
    ],
)
def test_what_a_refusal_says(
    status: str, code: str, exit_code: int, said: str, door: s3_server.Door, place: Repository
) -> None:
    door.meddle = lambda environ, respond: _error(respond, status, code)
    with pytest.raises(DeployError) as caught:
        place.tags()
    assert caught.value.exit_code == exit_code
    assert said in str(caught.value)
    assert place.name in str(caught.value)
    assert "hidden-word" not in str(caught.value)


def test_a_bucket_that_is_not_there(
    door: s3_server.Door, store: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(store)
    nowhere, to = "s3://nowhere-at-all/x", str(tmp_path / "to")
    for argv in (["publish", nowhere, "--store", str(store.root)], ["pull", nowhere, "--to", to]):
        assert cli.main(argv) == 2
        assert "there is no bucket nowhere-at-all" in capsys.readouterr().err


def test_nobody_answers(door: s3_server.Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="it does not answer") as caught:
        plugins.repository("s3://models/x", {}).tags()
    assert caught.value.passing
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no url")
    with pytest.raises(UsageError, match="Invalid endpoint"):
        plugins.repository("s3://models/x", {}).tags()


def test_without_credentials(door: s3_server.Door, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public bucket is read by anybody; of another it is said that none were found."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    seen: List[str] = []

    def private(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        seen.append(environ.get("HTTP_AUTHORIZATION", ""))
        return None if len(seen) == 1 else _error(respond, "403 Forbidden", "AccessDenied")

    door.meddle = private
    place = plugins.repository(address, {})
    assert place.tags() == ()
    assert seen == [""], "asked as nobody"
    with pytest.raises(Unreachable, match="no credentials were found"):
        place.tags()


def test_a_profile_that_is_not_there(door: s3_server.Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UsageError, match="nobody"):
        plugins.repository("s3://models/x", {}).tags()


def test_a_damaged_file_is_not_published(
    door: s3_server.Door, place: Repository, tmp_path: Path, large: "tuple[Descriptor, Path]"
) -> None:
    for it, path in (a_file(tmp_path, 1000), large):
        with path.open("r+b") as file:
            file.write(b"0123456789")
        with pytest.raises(StoreDamaged, match="has other content than its name says"):
            place.put(it, path)
        assert not place.has(it)


def test_the_service_can_hold_a_file_against_its_digest(
    door: s3_server.Door, place: Repository, tmp_path: Path, large: "tuple[Descriptor, Path]"
) -> None:
    """Amazon's S3 refuses a body that does not have the SHA-256 it was announced with; moto only keeps it."""
    said: List[str] = []

    def listen(environ: "dict[str, Any]", respond: s3_server.Respond) -> Optional[Iterable[bytes]]:
        if environ["REQUEST_METHOD"] == "PUT":
            said.append(environ.get("HTTP_X_AMZ_CHECKSUM_SHA256", ""))
        return None

    door.meddle = listen
    it, path = a_file(tmp_path, 1000)
    place.put(it, path)
    assert base64.b64decode(said[0]).hex() == it.digest[7:]
    place.put(*large)
    assert len(said) == 5
    assert all(said)


def test_an_index_that_is_none(address: str, place: Repository) -> None:
    bucket, _, prefix = address[len("s3://") :].partition("/")
    client = boto3.Session().client("s3")
    top = {"mediaType": INDEX, "digest": "sha256:" + "0" * 64, "size": 2}
    for body in (b"", b"[]", b"[" * 100_000, b"\xff", json.dumps({"manifests": [3]}).encode()):
        client.put_object(Bucket=bucket, Key=f"{prefix}/index.json", Body=body)
        for use in (
            place.tags,
            lambda: place.resolve("v1"),
            lambda: place.tag("v1", Descriptor(INDEX, str(top["digest"]), 2)),
        ):
            with pytest.raises(DeployError) as caught:
                use()
            assert caught.value.exit_code == 7
        assert objects(address)["index.json"] == body, "what does not read is not replaced"
