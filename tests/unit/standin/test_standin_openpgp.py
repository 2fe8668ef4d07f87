import json
import stat

import pytest

from cosa.core.errors import CosaError, ExitClass
from cosa.standin import openpgp
from cosa.standin.openpgp import SigningKey

KEY = SigningKey(bytes(range(32)), 1_600_000_000)


def test_the_key_is_made_once_and_private(tmp_path):
    one = openpgp.load_or_create(tmp_path / "key")
    assert openpgp.load_or_create(tmp_path / "key") == one
    assert stat.S_IMODE((tmp_path / "key/secret.json").stat().st_mode) == 0o600
    assert openpgp.load_or_create(tmp_path / "other") != one


@pytest.mark.parametrize("text", ["", "[]", '{"created": 1}', '{"ed25519": "00", "created": 1}'])
def test_a_broken_key_file_says_what_to_do(tmp_path, text):
    (tmp_path / "secret.json").write_text(text)
    with pytest.raises(CosaError) as caught:
        openpgp.load_or_create(tmp_path)
    assert caught.value.code == "standin/key"
    assert caught.value.exit_class == ExitClass.ENVIRONMENT
    assert str(tmp_path) in caught.value.what


def test_signatures_are_the_same_each_time_and_differ_by_content():
    assert KEY.sign(b"x") == KEY.sign(b"x") != KEY.sign(b"y")
    assert KEY.public_armored() == SigningKey(KEY.secret, KEY.created).public_armored()
    assert json.dumps(KEY.fingerprint)[1:-1] == KEY.fingerprint.lower()


def test_another_implementation_agrees():
    sequoia = pytest.importorskip("pysequoia")
    cert = sequoia.Cert.from_bytes(KEY.public_armored().encode())
    assert cert.fingerprint == KEY.fingerprint
    assert openpgp.USER_ID in str(cert.user_ids[0])
    store = lambda ids: [cert]  # noqa: E731
    for data in (b"", b"content\n", bytes(range(256)) * 100):
        signature = sequoia.Sig.from_bytes(KEY.sign_armored(data).encode())
        assert sequoia.verify(bytes=data, store=store, signature=signature).valid_sigs
    with pytest.raises(Exception, match=r"(?i)bad|verif|signature"):
        sequoia.verify(bytes=b"other", store=store, signature=signature)
