from cosa.model.treefile import load_treefile
from cosa.standin.repository import names_of


def test_names_a_treefile_asks_for(tmp_path):
    (tmp_path / "more.yaml").write_text("packages: [\"'podman >= 4.1'\", bash]\n")
    (tmp_path / "manifest.yaml").write_text(
        "include: more.yaml\n"
        "packages: [bash, systemd, /usr/bin/which, \"'(a or b)'\"]\n"
        "packages-x86_64: [shim-signed]\npackages-aarch64: [other]\n"
        "repo-packages:\n  - repo: standin\n    packages: [chrony]\n"
    )
    tree = load_treefile(tmp_path / "manifest.yaml", "x86_64")
    assert names_of(tree) == ["bash", "chrony", "podman", "shim-signed", "systemd"]
