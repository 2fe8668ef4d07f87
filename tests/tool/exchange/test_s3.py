"""Builds to S3 and back: boto3 against moto's server on loopback."""

from __future__ import annotations

import json

import pytest

from cosa.cli.main import main
from cosa.pipeline.workdir import Workdir, basearch

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server")

ARCH = basearch()
BUILD = "42.20260101.3.0"


@pytest.fixture(scope="module")
def endpoint():
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(endpoint, monkeypatch, tmp_path):
    config = tmp_path / "aws"
    config.write_text("[default]\naws_access_key_id=a\naws_secret_access_key=b\nregion=us-east-1\n")
    for name in ("AWS_CONFIG_FILE", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a",
        aws_secret_access_key="b",
    )  # fmt: skip
    made.create_bucket(Bucket="bucket")
    yield made
    for item in made.list_objects_v2(Bucket="bucket").get("Contents", []):
        made.delete_object(Bucket="bucket", Key=item["Key"])
    made.delete_bucket(Bucket="bucket")


@pytest.fixture
def source(tmp_path):
    import hashlib

    workdir = Workdir(tmp_path / "source")
    folder = workdir.builds / BUILD / ARCH
    folder.mkdir(parents=True)
    workdir.config.mkdir(parents=True)
    workdir.tmp.mkdir()
    content = b"disk" * 3_000_000  # two parts
    (folder / "os.qcow2").write_bytes(content)
    entry = {
        "path": "os.qcow2", "sha256": hashlib.sha256(content).hexdigest(), "size": len(content),
    }  # fmt: skip
    data = {
        "buildid": BUILD, "name": "os", "ostree-commit": "a" * 64, "ostree-version": BUILD,
        "ostree-timestamp": "2026-11-22T12:00:00Z", "images": {"qemu": entry},
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(data))
    workdir.read_builds().with_build(BUILD, ARCH).write(workdir.builds_json)
    return workdir


def cosa(workdir: Workdir, *words: str) -> int:
    return main(["--log-format", "plain", "--workdir", str(workdir.root), *words])


def test_there_and_back(client, source, tmp_path, endpoint, capsys):
    config = str(tmp_path / "aws")
    upload = (
        "buildupload",
        "s3",
        "--acl",
        "public-read",
        "--aws-config",
        config,
        "bucket/prod/builds",
    )
    assert cosa(source, *upload) == 0
    keys = [item["Key"] for item in client.list_objects_v2(Bucket="bucket")["Contents"]]
    assert sorted(keys) == [
        f"prod/builds/{BUILD}/{ARCH}/meta.json", f"prod/builds/{BUILD}/{ARCH}/os.qcow2",
        "prod/builds/builds.json",
    ]  # fmt: skip
    head = client.head_object(Bucket="bucket", Key="prod/builds/builds.json")
    assert (head["CacheControl"], head["ContentType"]) == ("max-age=300", "application/json")
    head = client.head_object(Bucket="bucket", Key=f"prod/builds/{BUILD}/{ARCH}/os.qcow2")
    assert head["CacheControl"] == "max-age=31536000"
    grants = client.get_object_acl(Bucket="bucket", Key="prod/builds/builds.json")["Grants"]
    assert any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)
    capsys.readouterr()
    assert cosa(source, *upload) == 0
    assert "os.qcow2" not in capsys.readouterr().out, "it is there already"

    target = Workdir(tmp_path / "target")
    target.config.mkdir(parents=True)
    fetch = ("buildfetch", "--url", "s3://bucket/prod/builds", "--aws-config-file", config)
    assert cosa(target, *fetch, "--artifact", "all") == 0
    theirs = (source.build(BUILD) / "os.qcow2").read_bytes()
    assert (target.build(BUILD) / "os.qcow2").read_bytes() == theirs
    # And again, as a pipeline's next job does.
    assert cosa(target, *fetch) == 0


def test_nothing_there_is_no_failure(client, tmp_path, capsys):
    target = Workdir(tmp_path / "target")
    target.config.mkdir(parents=True)
    words = ("--url", "s3://bucket/prod/builds", "--aws-config-file", str(tmp_path / "aws"))
    assert cosa(target, "buildfetch", *words) == 0
    assert "no builds at s3://bucket/prod/builds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        (("bucket",), 2, "bucket/address"),
        (("nowhere/x",), 4, "bucket/network"),
        (("bucket/x", "--aws-config-file", "/nowhere"), 2, "bucket/aws-config"),
    ],
)
def test_errors(client, source, tmp_path, capsys, words, status, code):
    config = () if "--aws-config-file" in words else ("--aws-config-file", str(tmp_path / "aws"))
    assert cosa(source, "buildupload", "s3", *words, *config) == status
    assert code in capsys.readouterr().err


def test_no_credentials_is_said(client, source, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "nothing"))
    assert cosa(source, "buildupload", "s3", "bucket/x") == 2
    assert "bucket/credentials" in capsys.readouterr().err
