"""Who may call, and what others may overhear: a bearer token and TLS, for every protocol of the server.

Both come from files, so that neither stands in a command line, an environment or a log. What is wrong with a file is
told at the start, before anything listens.
"""

from __future__ import annotations

import hmac
import logging
import os
import re
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.errors import PlantError

log = logging.getLogger(__name__)

MIN_TOKEN_CHARACTERS = 16
"""Shorter tokens can be guessed."""
_MAX_FILE_BYTES = 1024 * 1024
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MAKE_TOKEN = "make one with: openssl rand -hex 32 > token && chmod 600 token"


@dataclass(frozen=True, slots=True)
class Security:
    """What protects the server; nothing does by default."""

    certificate: Path | None = None
    """PEM file with the certificate and the chain up to, without, the root; None: no TLS."""
    key: Path | None = None
    """PEM file with its private key; None: the key is in the certificate's file."""
    token: str | None = field(default=None, repr=False)
    """What clients must send as `Authorization: Bearer …`; None: anybody may call."""

    def admits(self, authorization: str | None) -> bool:
        """Whether a call with this value of the header `Authorization` may pass; takes equal time for wrong tokens."""
        if self.token is None:
            return True
        if authorization is None:
            return False
        scheme, _, credentials = authorization.strip().partition(" ")
        given = credentials.strip().encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, self.token.encode()) and scheme.lower() == "bearer"

    def ssl_context(self) -> ssl.SSLContext | None:
        """The server's side of TLS 1.2 and later for HTTP/1.1; None without a certificate.

        Raises:
            PlantError: the files hold no certificate, or no key that belongs to it.
        """
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        where = str(self.certificate) if self.key is None else f"{self.certificate} and {self.key}"
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise PlantError("the key does not belong to the certificate", where=where) from error
            raise PlantError(
                "not a certificate and its key",
                where=where,
                got=error.reason or str(error),
                wanted="PEM files; the key without a passphrase",
            ) from error
        except (OSError, _PassphraseError) as error:
            got = getattr(error, "strerror", None) or str(error)
            raise PlantError("cannot read the certificate or its key", where=where, got=got) from error
        return context


def read_security(certificate: Path | None = None, key: Path | None = None, token_file: Path | None = None) -> Security:
    """What the files say, checked.

    Raises:
        PlantError: a file is missing, empty, too open, or not what it should be; a key without a certificate.
    """
    if key is not None and certificate is None:
        raise PlantError("a TLS key without a certificate", where=str(key), next_step="name the certificate too")
    if certificate is not None:
        _read(certificate, "certificate", secret=key is None)
    if key is not None:
        _read(key, "key", secret=True)
    token = None if token_file is None else _token(token_file)
    security = Security(certificate, key, token)
    security.ssl_context()
    return security


class _PassphraseError(Exception):
    """The key is encrypted."""


def _no_password() -> str:
    """Called for an encrypted key only; without it OpenSSL would ask on the terminal and the server would hang."""
    raise _PassphraseError("the key has a passphrase")


def _token(path: Path) -> str:
    text = _read(path, "token", secret=True).decode("latin-1").strip()
    if len(text) < MIN_TOKEN_CHARACTERS:
        raise PlantError(
            "the token is too short",
            where=str(path),
            got=f"{len(text)} characters",
            wanted=f"at least {MIN_TOKEN_CHARACTERS}",
            next_step=_MAKE_TOKEN,
        )
    if not _TOKEN.fullmatch(text):
        raise PlantError(
            "the token cannot stand in a header",
            where=str(path),
            wanted="one line of letters, digits and -._~+/, with = at the end only",
            next_step=_MAKE_TOKEN,
        )
    return text


def _read(path: Path, what: str, *, secret: bool) -> bytes:
    """A file's content; one that holds a secret must be such that no other user can put another in its place."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise PlantError(f"cannot read the {what}", where=str(path), got=error.strerror) from error
    if not 0 < len(content) <= _MAX_FILE_BYTES:
        raise PlantError(f"the {what}'s file is empty or too large", where=str(path), got=f"{len(content)} bytes")
    if secret and os.name == "posix":
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PlantError(
                f"others may write the {what}'s file",
                where=str(path),
                got=f"mode {stat.S_IMODE(mode):o}",
                wanted="600 or 400",
                next_step=f"chmod 600 {path}",
            )
        if mode & stat.S_IROTH:  # how mounted secrets of Kubernetes come: not an error
            log.warning("every user of this machine may read %s, the %s: chmod 600 %s", path, what, path)
    return content
