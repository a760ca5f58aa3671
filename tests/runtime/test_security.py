"""Tokens and certificates: what is admitted, and what a wrong file is told."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import PlantError
from trimtab.runtime.security import Security, read_security

TOKEN = "0123456789abcdef"


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate and its key in files of `folder`, with that of who issued it in `ca.pem`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued = authority.issue_cert("localhost", "127.0.0.1")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


def _token_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "token"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("authorization", "admitted"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (None, False),
        ("", False),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer {TOKEN}x", False),
        ("Bearer", False),
    ],
)
def test_who_is_admitted(authorization: str | None, admitted: bool) -> None:
    assert Security(token=TOKEN).admits(authorization) is admitted
    assert Security().admits(authorization)


@given(st.text())
def test_no_text_is_admitted_or_breaks_it(text: str) -> None:
    assert not Security(token=TOKEN).admits(f"Bearer x{text}")


def test_the_token_is_not_shown() -> None:
    assert TOKEN not in repr(Security(token=TOKEN))


def test_a_token_comes_from_its_file(tmp_path: Path) -> None:
    assert read_security(token_file=_token_file(tmp_path, TOKEN + "\n")).token == TOKEN


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("", 0o600, "empty"),
        ("short", 0o600, "too short"),
        ("two words in one line", 0o600, "header"),
        (TOKEN, 0o666, "chmod 600"),
    ],
)
def test_a_token_that_cannot_be_used(tmp_path: Path, text: str, mode: int, told: str) -> None:
    with pytest.raises(PlantError, match=told):
        read_security(token_file=_token_file(tmp_path, text, mode))


def test_a_secret_that_all_may_read_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_security(token_file=_token_file(tmp_path, TOKEN, 0o644))
    assert ["chmod 600" in record.getMessage() for record in caplog.records] == [True]


def test_a_certificate_and_its_key(tmp_path: Path) -> None:
    context = read_security(*write_certificate(tmp_path)).ssl_context()
    assert context is not None
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert Security().ssl_context() is None


def test_a_key_of_another_certificate(tmp_path: Path) -> None:
    certificate, _ = write_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, key = write_certificate(tmp_path / "other")
    with pytest.raises(PlantError, match="does not belong"):
        read_security(certificate, key)


def test_files_that_are_not_there_or_not_certificates(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    with pytest.raises(PlantError, match="cannot read the certificate"):
        read_security(tmp_path / "none.pem", key)
    with pytest.raises(PlantError, match="without a certificate"):
        read_security(None, key)
    with pytest.raises(PlantError, match="not a certificate"):
        read_security(_token_file(tmp_path, TOKEN), key)
    with pytest.raises(PlantError, match="not a certificate"):
        read_security(certificate)  # the key is not in it
