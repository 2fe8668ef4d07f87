"""Builds in S3, or what speaks like it, through boto3."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosa.core.errors import CosaError, ExitClass
from cosa.tools.bucket import ABSENT, Put, network_error

_GONE = ("NoSuchKey", "NotFound", "403", "404")


@dataclass(frozen=True)
class S3Bucket:
    """A bucket and the prefix all names stand below."""

    client: Any
    bucket: str
    prefix: str
    acl: str = ""

    @classmethod
    def open(
        cls, bucket: str, prefix: str, *, aws_config: str = "", endpoint: str = "", acl: str = ""
    ) -> S3Bucket:
        """A bucket; credentials come from `aws_config`, else from where AWS's tools look.

        Raises `bucket/address`, `bucket/aws-config`, `env/missing-tool`.
        """
        prefix = prefix.strip("/")
        if not bucket or not prefix:
            raise CosaError(
                "bucket/address", f"'{bucket}/{prefix}' names no bucket and prefix",
                fix="write BUCKET/PREFIX", exit_class=ExitClass.USAGE,
            )  # fmt: skip
        if aws_config:
            if not Path(aws_config).is_file():
                raise CosaError(
                    "bucket/aws-config",
                    f"there is no file {aws_config}",
                    exit_class=ExitClass.USAGE,
                )
            os.environ["AWS_CONFIG_FILE"] = aws_config  # boto3 takes it from nowhere else
        return cls(_client(endpoint), bucket, prefix, acl)

    @property
    def address(self) -> str:
        """`s3://BUCKET/PREFIX`."""
        return f"s3://{self.bucket}/{self.prefix}"

    def read(self, name: str) -> bytes | None:
        """A small file, None when it is not there."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name))
            data: bytes = answer["Body"].read()
        except Exception as err:
            if _absent(err):
                return None
            raise self._error(name, err) from err
        return data

    def fetch(self, name: str, dest: Path) -> bool:
        """Download a file in parts side by side."""
        try:
            self.client.download_file(self.bucket, self._key(name), str(dest))
        except Exception as err:
            if _absent(err):
                return False
            raise self._error(name, err) from err
        return True

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        try:
            self.client.head_object(Bucket=self.bucket, Key=self._key(name))
        except Exception as err:
            if _absent(err):
                return False
            raise self._error(name, err) from err
        return True

    def store(self, source: Path, name: str, how: Put) -> None:
        """Upload a file in parts side by side."""
        extra = {"CacheControl": f"max-age={how.max_age}"}
        extra |= {"ACL": self.acl} if self.acl else {}
        extra |= {"ContentType": how.media} if how.media else {}
        extra |= {"ContentEncoding": how.encoding} if how.encoding else {}
        try:
            self.client.upload_file(str(source), self.bucket, self._key(name), ExtraArgs=extra)
        except Exception as err:
            raise self._error(name, err) from err

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}"

    def _error(self, name: str, err: Exception) -> CosaError:
        if "Credentials" in type(err).__name__:
            return CosaError(
                "bucket/credentials", f"there are no credentials for {self.address}", why=str(err),
                fix="give --aws-config-file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                exit_class=ExitClass.USAGE,
            )  # fmt: skip
        return network_error(f"{self.address}/{name}", str(err))


def _client(endpoint: str) -> Any:
    try:
        import boto3
    except ImportError as err:
        raise CosaError(
            "env/missing-tool", "the Python package boto3 is not installed", why=str(err),
            fix="run through bin/cosa, which brings every tool, or `pip install boto3`",
            exit_class=ExitClass.ENVIRONMENT,
        ) from err  # fmt: skip
    return boto3.session.Session().client("s3", endpoint_url=endpoint or None)


def _absent(err: Exception) -> bool:
    """Whether boto3 says in one of its ways that there is no such object."""
    answer = getattr(err, "response", {})
    code = str(answer.get("Error", {}).get("Code", ""))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return code in _GONE or status in ABSENT
