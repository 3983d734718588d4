"""The settings of the store of objects: a folder, or a bucket of an S3 server."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec

from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.object_store import check_object_name
from streamforge_utils.runtime.life.environment import variable, written

FOLDER = "objects"
"""Of the objects, in the data directory."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_FORM = "it has not the form s3://BUCKET[/PREFIX], file:///PATH or PATH"


def _place(text: str) -> str:
    """`s3://BUCKET[/PREFIX]`, or an absolute path."""
    scheme, colon, rest = text.strip().partition("://")
    if not colon:
        path = text.strip()
    elif scheme == "file":
        host, _, path = rest.partition("/")
        if host not in ("", "localhost") or not path:
            raise ValueError(_FORM)
        path = unquote(f"/{path}")
    elif scheme == "s3":
        return _bucket(rest)
    else:
        raise ValueError(_FORM)
    if not path or not path.isprintable():
        raise ValueError(_FORM)
    return str(Path(path).expanduser().absolute())


def _bucket(rest: str) -> str:
    if "@" in rest:
        raise ValueError("keys belong into STREAMFORGE_S3_ACCESS_KEY and STREAMFORGE_S3_SECRET_KEY, not into the URL")
    bucket, _, prefix = rest.rstrip("/").partition("/")
    if _BUCKET.fullmatch(bucket) is None or ".." in bucket:
        raise ValueError("the bucket's name has 3 to 63 small letters, digits, `.` or `-`")
    if set(prefix) & set("?#"):
        raise ValueError(_FORM)
    try:
        return f"s3://{bucket}/{check_object_name(prefix)}" if prefix else f"s3://{bucket}"
    except InvalidInput as error:
        raise ValueError(f"its prefix cannot be used: {error}") from None


def _endpoint(text: str) -> str:
    url = text.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("it has not the form https://HOST[:PORT]") from None
    if "@" in parts.netloc:
        raise ValueError("keys belong into STREAMFORGE_S3_ACCESS_KEY and STREAMFORGE_S3_SECRET_KEY, not into the URL")
    extra = parts.path or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or extra:
        raise ValueError("it has not the form https://HOST[:PORT]")
    return url


def _region(text: str) -> str:
    if _REGION.fullmatch(text) is None:
        raise ValueError("a region has small letters, digits and `-`")
    return text


class ObjectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where objects are kept, and how an S3 server is reached. Keys come from the environment or from files."""

    url: Annotated[
        str,
        # Unseen: somebody may have written a key into it.
        variable(
            "STREAMFORGE_OBJECTS_URL",
            "where objects are (data sets, what retention removes): `s3://BUCKET[/PREFIX]`, `file:///PATH` or a path",
            default="the folder `objects` in the data directory",
            check=_place,
            unseen=True,
            only="objects",
        ),
    ] = ""
    endpoint: Annotated[
        str,
        variable(
            "STREAMFORGE_S3_ENDPOINT",
            "the S3 server, `https://HOST[:PORT]`; http only on loopback, or with `STREAMFORGE_S3_ALLOW_HTTP`",
            default="that of AWS in the region",
            check=_endpoint,
            unseen=True,
            only="objects",
        ),
    ] = ""
    region: Annotated[
        str, variable("STREAMFORGE_S3_REGION", "the region of the bucket", check=_region, only="objects")
    ] = "us-east-1"
    path_style: Annotated[
        bool,
        variable(
            "STREAMFORGE_S3_PATH_STYLE",
            "address the bucket as `HOST/BUCKET`; false: as `BUCKET.HOST`, as AWS prefers",
            only="objects",
        ),
    ] = True
    allow_http: Annotated[
        bool,
        variable(
            "STREAMFORGE_S3_ALLOW_HTTP",
            "take http beyond loopback, too: everybody on the way can read objects",
            only="objects",
        ),
    ] = False
    ca_path: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_S3_CA_PATH",
            "PEM file of the CA that signed the server's certificate",
            default="the system's CAs",
            only="objects",
        ),
    ] = None
    access_key: Annotated[Secret | None, variable("STREAMFORGE_S3_ACCESS_KEY", "the id of the key", only="objects")] = (
        None
    )
    secret_key: Annotated[Secret | None, variable("STREAMFORGE_S3_SECRET_KEY", "the key itself", only="objects")] = None
    session_token: Annotated[
        Secret | None,
        variable("STREAMFORGE_S3_SESSION_TOKEN", "the token of a key that is valid for a time", only="objects"),
    ] = None
    access_key_file: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_S3_ACCESS_KEY_FILE", "a file with it instead; it may be replaced at any time", only="objects"
        ),
    ] = None
    secret_key_file: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_S3_SECRET_KEY_FILE", "a file with it instead; it may be replaced at any time", only="objects"
        ),
    ] = None

    @property
    def in_bucket(self) -> bool:
        """Whether objects are kept in a bucket."""
        return self.url.startswith("s3://")

    def folder_in(self, data: Path | None) -> Path | None:
        """The folder of objects, by default in the data directory; None: they are in a bucket, or there is neither."""
        if self.in_bucket:
            return None
        return Path(self.url) if self.url else None if data is None else data / FOLDER

    @property
    def bucket(self) -> tuple[str, str]:
        """The bucket and the prefix."""
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        return bucket, prefix

    @property
    def server(self) -> str:
        """The URL of the S3 server."""
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"

    def problems(self) -> list[str]:
        """What does not go together, each with the variable to change."""
        if not self.in_bucket:
            return [
                f"{name} is set, but STREAMFORGE_OBJECTS_URL names no bucket: write s3://BUCKET there, or unset {name}"
                for name in written(self)
                if name != "STREAMFORGE_OBJECTS_URL"
            ]
        found: list[str] = []
        for name, text, file in (
            ("STREAMFORGE_S3_ACCESS_KEY", self.access_key, self.access_key_file),
            ("STREAMFORGE_S3_SECRET_KEY", self.secret_key, self.secret_key_file),
        ):
            if not text and file is None:
                found.append(f"{name} is missing: STREAMFORGE_OBJECTS_URL names a bucket; set it, or {name}_FILE")
            elif text and file is not None:
                found.append(f"{name} and {name}_FILE are both set: unset one")
            elif text and not text.reveal().isprintable():
                found.append(f"{name} holds a line break or another character that is none of a key: leave that out")
        plain = self.endpoint.startswith("http:")
        if plain and not self.allow_http and not _is_loopback(urlsplit(self.endpoint).hostname or ""):
            found.append(
                "STREAMFORGE_S3_ENDPOINT: http:// is not encrypted: write https://, or set STREAMFORGE_S3_ALLOW_HTTP"
            )
        if plain and self.ca_path is not None:
            found.append(
                "STREAMFORGE_S3_ENDPOINT: http:// is not encrypted, but STREAMFORGE_S3_CA_PATH is set: unset it, or "
                "write https://"
            )
        return found

    def keys(self) -> tuple[Secret, Secret, Secret | None]:
        """The id of the key, the key, and its token, as they are now. Raises ConfigError."""
        access = self.access_key or _in_file("STREAMFORGE_S3_ACCESS_KEY_FILE", self.access_key_file)
        secret = self.secret_key or _in_file("STREAMFORGE_S3_SECRET_KEY_FILE", self.secret_key_file)
        return access, secret, self.session_token


def _in_file(name: str, path: Path | None) -> Secret:
    if path is None:
        raise ConfigError(f"{name.removesuffix('_FILE')} is missing: set it, or {name}")
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"{name}: {path} cannot be read ({reason}): name a file that holds the key") from None
    if not text or not text.isprintable() or " " in text:
        raise ConfigError(f"{name}: {path} must hold one key and nothing else")
    return Secret(text)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
