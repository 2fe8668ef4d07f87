"""When the initramfs and the module index are made again, and when they are kept.

A whole dracut takes a whole OS; here a few lines of shell stand in its place
and say that they ran. What they pack is a real archive of two names.
"""

from dataclasses import replace

import pytest
from composeworld import EPOCH, TREEFILE, job_of, text_of

from cosa.compose.native import compose
from cosa.core import events

KERNEL = "usr/lib/modules/1.0"
DRACUT = """#!/bin/sh
case $(cat /usr/lib/os-release) in *OSTREE_VERSION*) echo a version; exit 9;; esac
for last; do :; done
cat /usr/lib/dracut/image > "$last"
"""
DEPMOD = "#!/bin/sh\necho index > /usr/lib/modules/$2/modules.dep\n"


def member(name, data=b""):
    raw = name.encode() + b"\0"
    values = (0, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
    head = b"070701" + "".join(f"{value:08X}" for value in values).encode()
    body = head + raw + bytes(-(len(head) + len(raw)) % 4)
    return body + data + bytes(-len(data) % 4)


@pytest.fixture
def packages(maker):
    image = member("usr/lib/os-release") + member("usr/lib/inside", b"x") + member("TRAILER!!!")
    programs = {"/usr/bin/dracut": DRACUT, "/usr/sbin/depmod": DEPMOD}
    return [
        maker.base,
        maker.rpm("dracut", files=programs, attr="%attr(755, root, root)"),
        maker.rpm("dracut-image", files={"/usr/lib/dracut/image": image.decode()}),
        maker.rpm("kernel", files={f"/{KERNEL}/vmlinuz": "k"}),
        maker.rpm("inside", version="1", files={"/usr/lib/inside": "1"}),
        maker.rpm("outside", version="1", files={"/usr/lib/outside": "1"}),
    ]


def made(job):
    """Compose; the commit, and how the initramfs came about."""
    seen = []
    with events.sink(seen.append):
        commit = compose(job)
    ends = [event for event in seen if event.kind == "end" and event.name.startswith("initramfs")]
    return commit, [event.outcome for event in ends]


def test_only_what_goes_in_counts(room, maker, packages):
    def job(rpms, text=TREEFILE):
        return job_of(room, rpms, text)

    first, how = made(job(packages))
    assert how == ["ran"]
    assert text_of(job(packages), first, f"/{KERNEL}/modules.dep") == "index\n"
    over = room / "over/usr/share"
    over.mkdir(parents=True)
    (over / "new").write_text("new")
    newer = [*packages[:-1], maker.rpm("outside", version="2", files={"/usr/lib/outside": "2"})]
    for other in (
        replace(job(packages), version="13.2"),
        replace(job(packages), epoch=EPOCH + 100_000),
        replace(job(packages), overrides_rootfs=room / "over"),
        job(newer),
        job(packages, TREEFILE.replace("echo done", "echo undone")),
    ):
        assert made(other)[1] == ["reused"]
    inside = maker.rpm("inside", version="2", files={"/usr/lib/inside": "2"})
    assert made(job([*packages[:-2], inside, packages[-1]]))[1] == ["ran"]
    assert made(job(packages, TREEFILE + "initramfs-args: [--verbose]\n"))[1] == ["ran"]


def test_a_kept_image_is_the_one_a_cold_cache_makes(room, packages):
    warm = job_of(room / "warm", packages)
    compose(replace(warm, version="12", epoch=EPOCH - 100_000))
    kept, how = made(warm)
    cold, again = made(job_of(room / "cold", packages))
    assert (how, again) == (["reused"], ["ran"])
    assert kept.checksum == cold.checksum


def test_a_postprocess_script_that_changes_what_went_in(room, packages):
    text = TREEFILE.replace("echo done > /etc/postprocessed", "echo changed > /usr/lib/inside")
    commit, how = made(job_of(room, packages, text))
    assert how == ["ran"]
    assert made(job_of(room, packages, text))[0].checksum == commit.checksum
