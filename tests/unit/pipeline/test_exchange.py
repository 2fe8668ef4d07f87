"""buildfetch and buildupload: folders and a web server on loopback."""

import gzip
import http.server
import json
import threading
from functools import partial

import pytest
from folders import ARCH, add_build, image, make_workdir

from cosa.core import store
from cosa.core.errors import CosaError
from cosa.model.meta import Meta
from cosa.pipeline import buildfetch, buildupload, tags
from cosa.pipeline.compress import Wish as Packing
from cosa.pipeline.compress import compress
from cosa.tools.bucket import FolderBucket, WebBucket, open_bucket


def fill(workdir, name, arch=ARCH):
    folder = add_build(workdir, name, arch)
    data = json.loads((folder / "meta.json").read_text())
    data["images"] = {
        "qemu": image(folder, f"os-{name}.qcow2", b"qemu " + name.encode()),
        "ostree": image(folder, f"os-{name}.ociarchive", b"ostree"),
    }
    data["coreos-assembler.meta-stamp"] = 100
    (folder / "meta.json").write_text(json.dumps(data))
    (folder / "commitmeta.json").write_text("{}")
    (folder / "extra.txt").write_text("more")
    (folder / ".meta.json.lock").write_text("")
    return folder


@pytest.fixture
def source(tmp_path):
    made = make_workdir(tmp_path / "source")
    fill(made, "42.20260101.3.0")
    fill(made, "42.20260102.3.0")
    fill(made, "42.20260102.3.0", "s390x")
    (made.builds / "42.20260102.3.0/release.json").write_text("{}")
    return made


@pytest.fixture
def bucket(tmp_path, source):
    made = FolderBucket(tmp_path / "bucket")
    for build in ("42.20260101.3.0", "42.20260102.3.0"):
        buildupload.upload(source, made, buildupload.Wish(build))
    return made


@pytest.fixture
def workdir(tmp_path):
    return make_workdir(tmp_path / "target")


class Handler(http.server.SimpleHTTPRequestHandler):
    """As a bucket that may not be listed: what is not there is forbidden."""

    def send_error(self, code, message=None, explain=None):
        super().send_error(403 if code == 404 else code, message, explain)

    def log_message(self, *_args):
        pass


@pytest.fixture
def web(bucket):
    handler = partial(Handler, directory=str(bucket.root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield WebBucket(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def listed(bucket):
    return {b["id"]: b["arches"] for b in json.loads(bucket.read("builds.json"))["builds"]}


def test_what_is_uploaded(source, bucket):
    assert listed(bucket) == {"42.20260102.3.0": [ARCH, "s390x"], "42.20260101.3.0": [ARCH]}
    names = {p.name for p in (bucket.root / "42.20260102.3.0" / ARCH).iterdir()}
    assert names == {
        "meta.json", "commitmeta.json", "extra.txt", "os-42.20260102.3.0.qcow2",
        "os-42.20260102.3.0.ociarchive",
    }  # fmt: skip
    assert bucket.has("42.20260102.3.0/release.json")


def test_order_and_what_is_there_already(source, tmp_path):
    bucket = FolderBucket(tmp_path / "b")
    sent = buildupload.upload(source, bucket, buildupload.Wish(dry_run=True, arches=(ARCH,)))
    assert not bucket.root.exists()
    names = [name.rpartition("/")[2] for name in sent]
    assert names[0].endswith(("qcow2", "ociarchive"))
    assert names[-3:] == ["meta.json", "release.json", "builds.json"]
    buildupload.upload(source, bucket, buildupload.Wish())
    again = buildupload.upload(source, bucket, buildupload.Wish())
    assert not [name for name in again if name.endswith(("qcow2", "ociarchive"))]
    forced = buildupload.upload(source, bucket, buildupload.Wish(force=True))
    assert [name for name in forced if name.endswith("qcow2")]


def test_images_neither_chosen_nor_there_are_not_promised(source, tmp_path):
    bucket = FolderBucket(tmp_path / "b")
    build = "42.20260101.3.0"
    buildupload.upload(source, bucket, buildupload.Wish(build, artefacts=("ostree",)))
    meta = json.loads(bucket.read(f"{build}/{ARCH}/meta.json"))
    assert set(meta["images"]) == {"ostree"}
    assert set(source.meta(build).images) == {"ostree", "qemu"}, "ours is as it was"
    buildupload.upload(source, bucket, buildupload.Wish(build, artefacts=("qemu",)))
    meta = json.loads(bucket.read(f"{build}/{ARCH}/meta.json"))
    assert set(meta["images"]) == {"ostree", "qemu"}


def test_what_others_put_into_the_list_stays(source, bucket):
    theirs = json.loads(bucket.read("builds.json"))
    theirs["builds"].insert(0, {"id": "42.20260103.3.0", "arches": ["aarch64"], "policy": 1})
    theirs["tags"] = [{"name": "good", "created": "x", "target": "42.20260101.3.0"}]
    (bucket.root / "builds.json").write_text(json.dumps(theirs))
    tags.update(source, "mine", "42.20260102.3.0")
    buildupload.upload(source, bucket, buildupload.Wish("42.20260102.3.0"))
    found = json.loads(bucket.read("builds.json"))
    assert found["builds"][0] == theirs["builds"][0]
    assert [tag["name"] for tag in found["tags"]] == ["good", "mine"]


@pytest.mark.parametrize("kind", ["folder", "web"])
def test_there_and_back(bucket, web, workdir, source, kind):
    place = bucket if kind == "folder" else web
    wish = buildfetch.Wish(artefacts=("all",), files=("extra.txt",), arches=("all",))
    found, arches = buildfetch.fetch(workdir, place, wish)
    assert (found, arches) == ("42.20260102.3.0", [ARCH, "s390x"])
    assert workdir.latest() == found
    for name in ("os-42.20260102.3.0.qcow2", "commitmeta.json", "extra.txt"):
        theirs = source.build(found) / name
        assert (workdir.build(found) / name).read_bytes() == theirs.read_bytes()
    assert workdir.read_builds().has("42.20260101.3.0"), "history comes, too"
    assert not workdir.has("42.20260101.3.0", ARCH)
    assert json.loads(workdir.source_json.read_text()) == json.loads(bucket.read("builds.json"))
    assert workdir.source_json.with_suffix(".txt").read_text().strip() == place.address
    before = (workdir.build(found) / "os-42.20260102.3.0.qcow2").stat().st_ino
    buildfetch.fetch(workdir, place, wish)
    assert (workdir.build(found) / "os-42.20260102.3.0.qcow2").stat().st_ino == before


def test_metadata_only_by_default(web, workdir):
    found, _ = buildfetch.fetch(workdir, web, buildfetch.Wish("42.20260101.3.0"))
    names = {p.name for p in workdir.build(found).iterdir()}
    assert {"meta.json", "commitmeta.json"} <= names
    assert not [name for name in names if name.startswith("os-")]


@pytest.mark.parametrize("address", ["web", "folder"])
def test_no_list_is_no_failure(web, bucket, workdir, address):
    (bucket.root / "builds.json").unlink()
    place = web if address == "web" else bucket
    assert buildfetch.fetch(workdir, place, buildfetch.Wish()) == ("", [])


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (buildfetch.Wish("9"), "buildfetch/unknown"),
        (buildfetch.Wish(newest_for="riscv64"), "buildfetch/unknown"),
        (buildfetch.Wish("42.20260101.3.0", arches=("s390x",)), "buildfetch/no-arch"),
        (buildfetch.Wish(artefacts=("aws",)), "buildfetch/no-artifact"),
        (buildfetch.Wish(files=("nothing",)), "buildfetch/missing"),
        (buildfetch.Wish(files=("../../../x",)), "untrusted/path"),
    ],
)
def test_refusals(bucket, workdir, wish, code):
    with pytest.raises(CosaError) as caught:
        buildfetch.fetch(workdir, bucket, wish)
    assert caught.value.code == code


def test_newest_build_of_an_architecture(bucket, source, workdir):
    fill(source, "42.20260103.3.0", "aarch64")
    buildupload.upload(source, bucket, buildupload.Wish("42.20260103.3.0", arches=("aarch64",)))
    found, _ = buildfetch.fetch(workdir, bucket, buildfetch.Wish(newest_for="s390x"))
    assert found == "42.20260102.3.0"


def test_local_builds_are_not_lost(bucket, workdir):
    fill(workdir, "mine")
    with pytest.raises(CosaError) as caught:
        buildfetch.fetch(workdir, bucket, buildfetch.Wish())
    assert caught.value.code == "buildfetch/local-changes"
    assert "mine" in caught.value.why
    buildfetch.fetch(workdir, bucket, buildfetch.Wish(force=True))
    assert workdir.read_builds().builds[0].id == "mine"
    assert workdir.read_builds().has("42.20260101.3.0")


def test_a_list_that_was_fetched_and_not_changed_may_be_replaced(bucket, source, workdir):
    buildfetch.fetch(workdir, bucket, buildfetch.Wish())
    fill(source, "42.20260104.3.0")
    buildupload.upload(source, bucket, buildupload.Wish("42.20260104.3.0"))
    assert buildfetch.fetch(workdir, bucket, buildfetch.Wish())[0] == "42.20260104.3.0"


def test_wrong_bytes_never_arrive(bucket, workdir):
    path = bucket.root / "42.20260102.3.0" / ARCH / "os-42.20260102.3.0.qcow2"
    path.write_bytes(b"something else")
    with pytest.raises(CosaError) as caught:
        buildfetch.fetch(workdir, bucket, buildfetch.Wish(artefacts=("qemu",)))
    assert caught.value.code == "untrusted/digest"
    folder = workdir.builds / "42.20260102.3.0" / ARCH
    assert not list(folder.glob("*qcow2*")) + list(folder.glob(".*partial"))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "meta/malformed"),
        (None, "buildfetch/missing"),
        ("other", "buildfetch/other-build"),
    ],
)
def test_bad_metadata_is_refused(bucket, workdir, source, text, code):
    path = bucket.root / "42.20260102.3.0" / ARCH / "meta.json"
    if text == "other":
        text = (source.build("42.20260101.3.0") / "meta.json").read_text()
    path.unlink()
    if text:
        path.write_text(text)
    with pytest.raises(CosaError) as caught:
        buildfetch.fetch(workdir, bucket, buildfetch.Wish())
    assert caught.value.code == code
    assert not workdir.read_builds().builds, "nothing is listed that did not come"


def test_names_in_a_hostile_list_stay_inside(bucket, workdir):
    data = {"schema-version": "1.0.0", "builds": [{"id": "../../x", "arches": [ARCH]}]}
    (bucket.root / "builds.json").write_text(json.dumps(data))
    with pytest.raises(CosaError) as caught:
        buildfetch.fetch(workdir, bucket, buildfetch.Wish())
    assert caught.value.code == "untrusted/path"


def test_changes_made_here_stay(bucket, workdir):
    buildfetch.fetch(workdir, bucket, buildfetch.Wish(artefacts=("qemu",)))
    (workdir.config / "image.yaml").write_text("size: 10\nextra-kargs: []\n")
    compress(workdir, Packing(artefacts=("qemu",)))
    buildfetch.fetch(workdir, bucket, buildfetch.Wish())
    assert workdir.meta().images["qemu"].path.endswith(".gz")


def test_peeled_images_are_described_and_fetched_unpacked(source, tmp_path, workdir):
    build = "42.20260101.3.0"
    plain = (source.build(build) / f"os-{build}.qcow2").read_bytes()
    compress(source, Packing(build, ("qemu",), "gzip"))
    bucket = FolderBucket(tmp_path / "b")
    buildupload.upload(source, bucket, buildupload.Wish(build, gz_peel=True))
    stored = bucket.read(f"{build}/{ARCH}/os-{build}.qcow2")
    assert gzip.decompress(stored) == plain
    buildfetch.fetch(workdir, bucket, buildfetch.Wish(build, artefacts=("qemu",)))
    assert (workdir.build(build) / f"os-{build}.qcow2").read_bytes() == plain
    assert Meta.read(workdir.build(build) / "meta.json").images["qemu"].uncompressed_size is None


def test_a_killed_upload_promises_nothing(source, tmp_path, monkeypatch):
    bucket = FolderBucket(tmp_path / "b")
    real, calls = FolderBucket.store, iter(range(100))

    def dying(self, *args):
        if next(calls) == 3:
            raise KeyboardInterrupt
        real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(FolderBucket, "store", dying)
        with pytest.raises(KeyboardInterrupt):
            buildupload.upload(source, bucket, buildupload.Wish())
    assert not bucket.has("builds.json")
    buildupload.upload(source, bucket, buildupload.Wish())
    assert "42.20260102.3.0" in listed(bucket)


def test_busy(source, bucket):
    with store.lock(source.lock_file, "a build"), pytest.raises(CosaError) as caught:
        buildupload.upload(source, bucket, buildupload.Wish())
    assert caught.value.code == "busy/locked"


@pytest.mark.parametrize("address", ["ftp://x/y", "http://", "", "s3://bucket"])
def test_addresses_that_are_none(address):
    with pytest.raises(CosaError) as caught:
        open_bucket(address)
    assert caught.value.code == "bucket/address"


@pytest.mark.parametrize("address", ["/nowhere/at/all", "file:///nowhere/at/all"])
def test_a_folder_that_is_not_there_is_not_taken_for_an_empty_one(address):
    with pytest.raises(CosaError) as caught:
        open_bucket(address)
    assert caught.value.code == "bucket/no-folder"


@pytest.mark.parametrize(
    ("build", "stream"),
    [("42.20260101.3.0", "stable"), ("42.20260101.20.0", "testing-devel"), ("", "testing-devel"),
     ("9.6.202601", "testing-devel")],
)  # fmt: skip
def test_the_stream_of_an_id(build, stream):
    assert buildfetch.stream_of(build) == stream


def test_servers_that_fail_are_told_from_what_is_absent(monkeypatch):
    monkeypatch.setattr("cosa.tools.bucket._PAUSES", (0.0,))
    with pytest.raises(CosaError) as caught:
        WebBucket("http://127.0.0.1:9").read("builds.json")
    assert caught.value.code == "bucket/network"
