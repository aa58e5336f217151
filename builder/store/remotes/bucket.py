"""An S3 bucket as a repository: `s3://BUCKET/PREFIX`.

It holds the same OCI image layout as a store on disk. So `aws s3 sync` copies between a bucket and a store, and
`builder/store/remotes/web.py` reads a bucket that is served over https. boto3 finds credentials, region and endpoint:
environment, profile, role of the machine, AWS_ENDPOINT_URL for services other than Amazon's.

Tags are in index.json. Several publishers replace it with conditional writes: only one that has read the newest may
write
the next (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). A service without conditional
writes is never written to.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import threading
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from builder import digest
from builder.errors import DeployError, StoreDamaged, Unreachable, UsageError, first_line
from builder.plugins import Stream
from builder.release import VERSION, pip_install
from builder.store import copying, oci, versions
from builder.store.layout import OCI_LAYOUT
from builder.store.oci import Descriptor
from builder.store.remotes.folder import INDEX_FILE, ByPath, blob_path, whole

try:
    import boto3
    from botocore import UNSIGNED
    from botocore import exceptions as problems
    from botocore.config import Config
except ImportError:
    raise UsageError("s3:// needs boto3, which is not installed", hint=pip_install("s3")) from None

_MARKER = "oci-layout"
_PIECE = 1 << 20
_PART = 8 << 20  # bytes; S3 takes 5 MiB and more, but not more than _MOST_PARTS of them
_MOST_PARTS = 10_000
_TAGGING = 50  # tries; each failure means that another publisher wrote a tag
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_ABSENT = ("404", "NoSuchKey", "NotFound")
_BEATEN = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409", "NoSuchKey")
_UNKNOWN = ("NotImplemented", "501", "InvalidArgument", "InvalidRequest")
_BUSY = ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "500", "502", "503", "504")
_REFUSED = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem")
_CREDENTIALS = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthorizationHeaderMalformed",
)
_LOG_IN = "boto3 looks in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, ~/.aws and the machine's role"
_SETTINGS = "check the AWS_* settings, and ~/.aws/config"


class Bucket(ByPath):
    def __init__(self, address: str, environ: Mapping[str, str]) -> None:
        """`address`: `s3://BUCKET/PREFIX`; the prefix may be empty. boto3 reads the environment itself."""
        rest = address.partition("://")[2]
        self._bucket, _, prefix = rest.partition("/")
        prefix = prefix[:-1] if prefix.endswith("/") else prefix
        if not _BUCKET.fullmatch(self._bucket) or not _is_plain(prefix):
            raise UsageError(f"{address!r} is no address in a bucket", hint="s3://BUCKET/PREFIX")
        self._prefix = f"{prefix}/" if prefix else ""
        self._lock = threading.Lock()
        self._connected: Any = None
        self._anonymous = False
        self._conditional = False

    @property
    def name(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    # ------------------------------------------------------------------ reading

    def size(self, path: str) -> Optional[int]:
        with self._explained():
            try:
                return int(self._client.head_object(**self._key(path))["ContentLength"])
            except problems.ClientError as problem:
                if _code(problem) in _ABSENT:
                    return None
                raise

    @contextlib.contextmanager
    def open(self, path: str, start: int) -> Iterator[Optional[Stream]]:
        with self._explained():
            found = self._get(path, start)
        if found is None:
            yield None
            return
        with contextlib.closing(found["Body"]) as body:
            yield Stream(start, self._pieces(body))

    def _get(self, path: str, start: int = 0) -> Optional[Dict[str, Any]]:
        asked = {"Range": f"bytes={start}-"} if start else {}
        try:
            return self._client.get_object(**self._key(path), **asked)  # type: ignore[no-any-return]
        except problems.ClientError as problem:
            if _code(problem) in _ABSENT:
                return None
            raise

    def _pieces(self, body: Any) -> Iterator[bytes]:
        with self._explained():
            yield from iter(lambda: body.read(_PIECE), b"")

    # ------------------------------------------------------------------ writing

    def put(self, it: Descriptor, source: Path) -> None:
        if self.has(it):
            return
        with self._explained():
            if source.stat().st_size > 2 * _PART:
                self._put_in_parts(it, source)
            else:
                # The service verifies the body against this digest.
                said = base64.b64encode(bytes.fromhex(digest.hex_part(it.digest))).decode()
                data = source.read_bytes()
                _check(it, source, digest.of_bytes(data))
                self._client.put_object(**self._key(blob_path(it)), Body=data, ChecksumSHA256=said, **_FOREVER)

    def _put_in_parts(self, it: Descriptor, source: Path) -> None:
        """Upload in parts, without those of an earlier try.

        The object appears when all are complete.
        """
        key = self._key(blob_path(it))
        upload = self._begun(key) or self._begin(key)
        for renewed in (False, True):
            try:
                parts = self._parts(it, key, upload, source)
                self._client.complete_multipart_upload(**key, UploadId=upload, MultipartUpload={"Parts": parts})
                return
            except problems.ClientError as problem:
                if _code(problem) not in ("NoSuchUpload", "404") or renewed:
                    raise
            if self.has(
                it
            ):  # another publisher of the same file was there first, and ended the upload that both went on with
                return
            upload = self._begin(key)

    def _begin(self, key: Dict[str, str]) -> str:
        return str(self._client.create_multipart_upload(**key, ChecksumAlgorithm="SHA256", **_FOREVER)["UploadId"])

    def _begun(self, key: Dict[str, str]) -> Optional[str]:
        """An unfinished upload of the same file, found by the digest in its name."""
        try:
            found = self._client.list_multipart_uploads(Bucket=key["Bucket"], Prefix=key["Key"]).get("Uploads", ())
        except problems.ClientError:
            return None  # who may not list uploads begins anew
        fitting = [
            str(one["UploadId"])
            for one in found
            if one.get("Key") == key["Key"] and one.get("ChecksumAlgorithm", "SHA256") == "SHA256"
        ]
        return fitting[-1] if fitting else None

    def _parts(self, it: Descriptor, key: Dict[str, str], upload: str, source: Path) -> List[Dict[str, Any]]:
        """All uploaded parts, as the last request lists them.

        Raises StoreDamaged when the file differs.
        """
        there: Dict[int, str] = {}
        for page in self._client.get_paginator("list_parts").paginate(**key, UploadId=upload):
            there.update((part["PartNumber"], str(part["ETag"]).strip('"')) for part in page.get("Parts", ()))
        made: List[Dict[str, Any]] = []
        found = hashlib.sha256()
        length = max(_PART, -(-source.stat().st_size // _MOST_PARTS))
        with source.open("rb") as file:
            for number, data in enumerate(iter(lambda: file.read(length), b""), 1):
                found.update(data)
                said = base64.b64encode(hashlib.sha256(data).digest()).decode()
                etag = there.get(number)
                if etag is None or etag != _etag(data):
                    sent = self._client.upload_part(
                        **key, UploadId=upload, PartNumber=number, Body=data, ChecksumSHA256=said
                    )
                    etag = str(sent["ETag"])
                made.append({"PartNumber": number, "ETag": etag, "ChecksumSHA256": said})
        _check(it, source, f"sha256:{found.hexdigest()}")
        return made

    def tag(self, tag: str, it: Descriptor) -> None:
        with self._explained():
            self._check_conditions()
            for _ in range(_TAGGING):
                index, condition = self._index_now()
                known = oci.named(index).get(tag)
                if known is not None and known.get("digest") == it.digest:
                    return
                if known is not None and versions.numbered([tag]):  # of another publisher, a moment ago
                    raise copying.never_changes(tag, self.name)
                data = digest.canonical(oci.with_tag(index, tag, oci.entry(it)))
                try:
                    self._client.put_object(**self._key(INDEX_FILE), Body=data, **condition, **_NOT_CACHED)
                    return
                except problems.ClientError as problem:
                    if _code(problem) not in _BEATEN:
                        raise
        raise Unreachable(
            f"{_TAGGING} times somebody else wrote index.json first", where=self.name, hint="try again", passing=True
        )

    def _index_now(self) -> Tuple[Dict[str, digest.Json], Dict[str, str]]:
        """index.json, and the condition for replacing it: that it has not changed."""
        found = self._get(INDEX_FILE)
        if found is None:
            return self.parsed_index(None), {"IfNoneMatch": "*"}
        with contextlib.closing(found["Body"]) as body:
            data = whole(Stream(0, self._pieces(body)), f"{self.name}/{INDEX_FILE}")
        return self.parsed_index(data), {"IfMatch": str(found["ETag"])}

    def _check_conditions(self) -> None:
        """Check that the service obeys both conditions, with a file that is the same for all publishers."""
        if not self._conditional:
            absent, other = {"IfNoneMatch": "*"}, {"IfMatch": '"' + "0" * 32 + '"'}
            # The first request may write the file; after that, neither condition holds.
            self._conditional = (self._refuses(absent) or self._refuses(absent)) and self._refuses(other)
        if not self._conditional:
            raise UsageError(
                "this service writes without asking for a condition, "
                "so two publishers could lose each other's versions",
                where=self.name,
                hint="publish to a folder and copy that, blobs first: aws s3 sync",
            )

    def _refuses(self, condition: Dict[str, str]) -> bool:
        try:
            self._client.put_object(**self._key(_MARKER), Body=OCI_LAYOUT, **condition, **_NOT_CACHED)
        except problems.ClientError as problem:
            if _code(problem) in _BEATEN:
                return True
            if _code(problem) not in _UNKNOWN:
                raise
        return False

    # ------------------------------------------------------------------ the service

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                session = boto3.Session()
                self._anonymous = session.get_credentials() is None  # a public bucket needs no credentials
                settings = Config(
                    connect_timeout=10,
                    read_timeout=60,
                    retries={"mode": "standard"},
                    max_pool_connections=32,
                    user_agent_extra=f"deploymatrix/{VERSION}",
                    **({"signature_version": UNSIGNED} if self._anonymous else {}),
                )
                try:
                    self._connected = session.client("s3", config=settings)
                except ValueError as problem:  # an endpoint that is no URL
                    raise UsageError(first_line(problem), where=self.name, hint=_SETTINGS) from None
            return self._connected

    def _key(self, path: str) -> Dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + path}

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of boto3 into errors of this program, without secrets."""
        try:
            yield
        except problems.ClientError as problem:
            raise self._answered(_code(problem), problem) from None
        except (problems.NoCredentialsError, problems.CredentialRetrievalError, problems.PartialCredentialsError) as it:
            raise Unreachable(f"no credentials: {first_line(it)}", where=self.name, hint=_LOG_IN) from None
        except (problems.ProfileNotFound, problems.ParamValidationError, problems.InvalidRegionError) as it:
            raise UsageError(" ".join(str(it).split()), where=self.name, hint=_LOG_IN) from None
        except (problems.HTTPClientError, problems.ConnectionError, problems.IncompleteReadError) as it:
            raise Unreachable(
                f"it does not answer: {first_line(it)}",
                where=self.name,
                hint="check the network, and AWS_ENDPOINT_URL where it is not Amazon's",
                passing=not isinstance(it, problems.SSLError),
            ) from None
        except problems.BotoCoreError as it:
            raise UsageError(f"boto3 says: {first_line(it)}", where=self.name, hint=_SETTINGS) from None

    def _answered(self, code: str, problem: Any) -> DeployError:
        said = f"{problem.response.get('Error', {}).get('Message') or problem}"[:300]
        if code == "NoSuchBucket":
            return UsageError(
                f"there is no bucket {self._bucket}",
                where=self.name,
                hint=f"check its name and AWS_ENDPOINT_URL, or make it: aws s3 mb s3://{self._bucket}",
            )
        if code in _REFUSED:
            who = "no credentials were found, and it is not open to everybody" if self._anonymous else "access denied"
            need = "hosts need s3:GetObject and s3:ListBucket, publishers s3:PutObject as well"
            return Unreachable(who, where=self.name, hint=_LOG_IN if self._anonymous else need)
        if code in _CREDENTIALS:
            return Unreachable(f"the credentials are refused ({code}): {said}", where=self.name, hint=_LOG_IN)
        if code == "RequestTimeTooSkewed":
            return Unreachable("the clock of this machine is wrong", where=self.name, hint="set it: timedatectl")
        return Unreachable(f"it refuses ({code}): {said}", where=self.name, passing=code in _BUSY)


# Headers for browsers and caches: a blob never changes, index.json does.
_FOREVER = {"ContentType": "application/octet-stream", "CacheControl": "public, max-age=31536000, immutable"}
_NOT_CACHED = {"ContentType": "application/json", "CacheControl": "no-cache"}


def _etag(data: bytes) -> str:
    """The ETag of a part at most services: its MD5.

    With any other value, the part is sent again.
    """
    try:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
    except TypeError:  # Python 3.8
        return hashlib.md5(data).hexdigest()


def _check(it: Descriptor, source: Path, found: str) -> None:
    if found != it.digest:
        raise StoreDamaged(
            f"{it.title or it.digest} has other content than its name says",
            where=str(source),
            hint="the file to publish is damaged: see `build verify`",
        )


def _is_plain(prefix: str) -> bool:
    """Is it a path that means the same to a bucket, a folder and a URL?"""
    parts = prefix.split("/") if prefix else []
    return all(part and part not in (".", "..") and not set(part) & set('\\?#%"<>|*\0\n\r\t ') for part in parts)


def _code(problem: Any) -> str:
    return str(problem.response.get("Error", {}).get("Code", ""))
