"""Releases read, compared, extracted, mirrored, signed: by the commands themselves."""

from __future__ import annotations

import json
import re
import subprocess
import tarfile

import pytest

from cosa.cli.main import main

OPERATOR = {"io.openshift.release.operator": "true"}
PROFILE = 'annotations: {include.release.openshift.io/self-managed-high-availability: "true"%s}'
HOLDER = (b"\x7fELF \0_RELEASE_IMAGE_LOCATION_\0" + b"X" * 300
          + b" \0_RELEASE_VERSION_LOCATION_\0" + b"X" * 64 + b" end")  # fmt: skip


def manifest(kind, name, more="", version="v1", notes=""):
    return f"apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  {PROFILE % notes}\n{more}"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """A secret key and its public half, made by GnuPG."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    env = {"GNUPGHOME": str(home), "PATH": "/usr/bin:/bin"}
    gpg = ["gpg", "--batch", "--passphrase", "", "--pinentry-mode", "loopback"]
    subprocess.run(
        [*gpg, "--quick-generate-key", "Release <r@example.org>", "ed25519", "sign", "0"],
        env=env, check=True, capture_output=True,
    )  # fmt: skip
    secret, public = home / "secret.asc", home / "public.asc"
    for path, how in ((secret, "--export-secret-keys"), (public, "--export")):
        path.write_bytes(
            subprocess.run([*gpg, "--armor", how], env=env, check=True, capture_output=True).stdout
        )
    subprocess.run(["gpgconf", "--kill", "all"], env=env, check=True)
    return secret, public


@pytest.fixture(scope="module")
def releases(images, registry, key, tmp_path_factory):
    """Two releases of four images, the second with one operator changed; made by the command."""
    public = key[1].read_text()
    keys = json.dumps({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "release-verification",
            "annotations": {
                "include.release.openshift.io/self-managed-high-availability": "true",
                "release.openshift.io/verification-config-map": "",
            },
        },
        "data": {"verifier-public-key-ours": public, "store-x": "https://store.example"},
    })  # fmt: skip
    versions = manifest(
        "ClusterOperator", "net", "status:\n  versions:\n  - {name: operator, version: 0.0.1-snapshot}",
        "config.openshift.io/v1",
    )  # fmt: skip
    job = manifest("Job", "migrate", version="batch/v1")
    common = {
        "cluster-version-operator": images.push("s-cvo", {"bin/sh": "x"}),
        "cluster-update-keys": images.push(
            "s-keys", {"manifests/0000_90_keys_00.json": keys}, labels=OPERATOR
        ),
        "cli": images.push("s-cli", {"usr/bin/oc": HOLDER}),
    }

    def network(text, **more):
        files = {
            "manifests/0000_70_network_01.yaml": manifest(
                "ConfigMap", "net", f"data: {{x: {text}}}"
            ),
            "manifests/0000_70_network_02.yaml": versions,
            "manifests/0000_70_dns_01.yaml": manifest("ConfigMap", "dns"),
            "manifests/0000_80_network_01.yaml": job,
            **more,
        }
        return images.push("s-net", files, labels=OPERATOR | {
            "io.openshift.build.commit.id": text, "io.openshift.build.source-location":
            "https://git.example/net"})  # fmt: skip

    folder = tmp_path_factory.mktemp("releases")
    made = []
    for number, operator in enumerate((
        network("one", **{"manifests/0000_70_network_03.yaml": manifest("Secret", "old")}),
        network("two", **{"manifests/0000_70_network_04.yaml": manifest("Secret", "new")}),
    )):  # fmt: skip
        words = [f"{name}={spec}" for name, spec in (common | {"network": operator}).items()]
        (folder / "map").write_text("# components\n" + "\n".join(words))
        target = f"{registry}/ship/release:{number}"
        assert main([
            "payload", "new", "--mapping-file", str(folder / "map"), "--name", f"4.20.{number}",
            "--include", "cli", "--to-image", target, *(["--previous", "4.20.0"] if number else []),
        ]) == 0  # fmt: skip
        made.append(target)
    return made


def told(capsys, *words):
    assert main(["payload", *words]) == 0
    return capsys.readouterr().out


def test_info(releases, capsys):
    text = told(capsys, "info", releases[1], "--commits")
    assert "Name:       4.20.1" in text
    assert "Upgrades:  4.20.0" in text
    assert "network" in text
    assert "https://git.example/net" in text
    data = json.loads(told(capsys, "info", releases[1], "-o", "json"))
    assert data["metadata"]["version"] == "4.20.1"
    assert set(data) == {
        "image", "digest", "contentDigest", "listDigest", "config", "metadata", "references",
        "versions", "displayVersions", "versionsTags", "images", "warnings",
    }  # fmt: skip
    assert told(capsys, "info", releases[1], "--image-for", "cli").startswith("127.0.0.1")
    assert told(capsys, "info", releases[1], "-o", "digest").strip() == data["digest"]
    assert "UNIQUE MB" in told(capsys, "info", releases[1], "--size")


def test_a_component_that_is_not_there(releases, capsys):
    assert main(["payload", "info", releases[1], "--image-for", "clj"]) != 0
    error = capsys.readouterr().err
    assert 'no image tag "clj" exists in the release image' in error
    assert "did you mean 'cli'?" in error


def test_diff(releases, capsys):
    text = told(capsys, "diff", *releases)
    assert re.search(r"^Upgrade From: +Yes$", text, re.MULTILINE)
    assert "~ 0000_70_network_01.yaml" in text
    assert "- 0000_70_network_03.yaml" in text
    assert "+ 0000_70_network_04.yaml" in text
    data = json.loads(told(capsys, "diff", *releases, "-o", "json"))
    assert list(data["changedImages"]) == ["network"]


def test_extract(releases, capsys, tmp_path):
    told(capsys, "extract", releases[1], "--to", str(tmp_path / "all"))
    assert (tmp_path / "all/0000_70_dns_01.yaml").is_file()
    assert json.loads((tmp_path / "all/release-metadata").read_text())["version"] == "4.20.1"
    assert "kind: Job" in told(capsys, "extract", releases[1], "--file", "0000_80_network_01.yaml")
    told(capsys, "extract", releases[1], "--tools", "--to", str(tmp_path / "tools"))
    (packed,) = (tmp_path / "tools").glob("*.tar.gz")
    with tarfile.open(packed) as tar:
        program = tar.extractfile("oc").read()
    assert len(program) == len(HOLDER)
    assert b"\x004.20.1\0X" in program
    assert b"/ship/release@sha256:" in program


def test_graph(releases, capsys):
    data = json.loads(told(capsys, "graph", releases[1], "-o", "json"))
    levels = [(stage["level"], [chain["component"] for chain in stage["chains"]])
              for stage in data["stages"]]  # fmt: skip
    assert levels == [(70, ["dns", "network"]), (80, ["network"]), (90, ["keys"])]
    assert "<svg" in told(capsys, "graph", releases[1], "-o", "svg")
    text = told(capsys, "graph", *releases)
    assert "created: 1\n  Secret new" in text
    assert "changed: 2" in text  # the ConfigMap, and the operator's version
    assert "left behind, because no manifest deletes them:\n  Secret old" in text
    assert "waited for: 1" in text


def test_signed_by_the_keys_that_the_older_release_trusts(releases, key, capsys, tmp_path):
    store = str(tmp_path / "store")
    assert main(["payload", "verify", releases[1], "--previous", releases[0],
                 "--signature-store", store]) == 5  # fmt: skip
    assert "unable to verify sha256:" in capsys.readouterr().err
    told(capsys, "sign", releases[1], "--key-file", str(key[0]), "--signature-store", store,
         "--to-config-map", str(tmp_path / "map.json"))  # fmt: skip
    assert "is signed by" in told(capsys, "verify", releases[1], "--previous", releases[0],
                                  "--signature-store", store)  # fmt: skip
    config = json.loads((tmp_path / "map.json").read_text())
    digest = json.loads(told(capsys, "info", releases[1], "-o", "json"))["digest"]
    assert list(config["binaryData"]) == [f"{digest.replace(':', '-')}-1"]
    assert config["metadata"]["labels"] == {"release.openshift.io/verification-signatures": ""}
    # A signature of another release does not count for this one.
    (signed,) = (tmp_path / "store").rglob("signature-1")
    other = json.loads(told(capsys, "info", releases[0], "-o", "json"))["digest"]
    place = tmp_path / "store" / other.replace(":", "=")
    place.mkdir()
    (place / "signature-1").write_bytes(signed.read_bytes())
    assert main(["payload", "verify", releases[0], "--signature-store", store]) == 5
    assert "what is signed does not hold" in capsys.readouterr().err


def test_lint(releases, capsys, tmp_path):
    text = told(capsys, "lint", releases[1])
    assert text == "nothing found\n"
    assert main(["payload", "lint", releases[1], "--previous", releases[0],
                 "--signature-store", str(tmp_path)]) == 3  # fmt: skip
    assert "clusters on 4.20.0 will refuse it" in capsys.readouterr().out


def test_mirror_to_a_folder_and_out_again(releases, capsys, tmp_path, registry, client):
    told(capsys, "mirror", "--from", releases[1], "--to-dir", str(tmp_path / "m"))
    root = tmp_path / "m/v2/openshift/release"
    tags = sorted(path.name for path in (root / "manifests").iterdir() if path.is_symlink())
    assert tags == [f"4.20.1-x86_64{name}" for name in (
        "", "-cli", "-cluster-update-keys", "-cluster-version-operator", "-network")]  # fmt: skip
    target = f"{registry}/air/gap"
    told(capsys, "mirror", "--from-dir", str(tmp_path / "m"), "--to", target)
    before = json.loads(told(capsys, "info", releases[1], "-o", "json"))
    after = json.loads(told(capsys, "info", f"{target}:4.20.1-x86_64", "-o", "json"))
    assert after["digest"] == before["digest"]
    blob = next(iter((root / "blobs").iterdir()))
    blob.write_bytes(b"other")
    assert main(["payload", "mirror", "--from-dir", str(tmp_path / "m"), "--to", f"{target}2"]) == 5
    assert "does not match its digest" in capsys.readouterr().err


def test_mirror_to_a_repository_per_component(releases, capsys, registry):
    text = told(capsys, "mirror", "--from", releases[1], "--to", f"{registry}/per/${{component}}")
    assert "kind: ImageDigestMirrorSet" in text
    assert "oc adm upgrade --to-image" in text
    name = f"{registry}/per/cli:4.20.1-x86_64-cli"
    assert main(["payload", "info", name]) != 0  # it is there, but is no release
    assert "release image did not contain an image-references file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("placeholder", manifest("A", "a", "data: 'placeholder.url.oc.will.replace.this.org/x'"),
         "placeholder-left"),
        ("duplicate", manifest("A", "a") + "\n---\n" + manifest("A", "a"), "duplicate-object"),
        ("profile", "apiVersion: v1\nkind: A\nmetadata: {name: a}", "no-profile"),
        ("versions", manifest("ClusterOperator", "a", version="config.openshift.io/v1"),
         "no-operator-versions"),
    ],
)  # fmt: skip
def test_strict_refuses_what_oc_takes(images, releases, capsys, name, data, code):
    bad = images.push(f"lint-{name}", {"manifests/0000_50_x.yaml": data}, labels=OPERATOR)
    words = ["payload", "new", "--from-release", releases[0], f"bad={bad}", "--name", "4.20.9"]
    assert main([*words, "--strict"]) == 3
    assert f"payload/{code}" in capsys.readouterr().err
