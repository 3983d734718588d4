"""A certificate authority of the test exchange, made when it starts, and the certificate of its server."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from streamforge_utils.model.errors import PermanentError

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

AUTHORITY = "ca.pem"
_VALID = timedelta(days=365)


def server_context(folder: Path, host: str) -> ssl.SSLContext:
    """What a server of `host` and `localhost` needs. What its clients trust is written to `AUTHORITY` in `folder`.

    Raises PermanentError: the package cryptography is not installed, or nothing can be written there.
    """
    try:
        authority, chain = _made(host)
    except ImportError as error:
        raise PermanentError("TLS needs the package cryptography: install the extra `tls`, or cryptography") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / AUTHORITY).write_bytes(authority)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # readable by this user alone
            file.write(chain)
            file.flush()
            context.load_cert_chain(file.name)
    except OSError as error:
        raise PermanentError(f"certificates cannot be written to {folder}: {error}") from error
    return context


def _made(host: str) -> tuple[bytes, bytes]:
    """A CA's certificate; and a server's key, its certificate and that of the CA. PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = serialization.Encoding.PEM
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = _name("StreamForge test exchange CA")
    ca = (
        _builder(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(host))]
    server = (
        _builder(_name("localhost"), ca_name, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    authority = ca.public_bytes(pem)
    return authority, private + server.public_bytes(pem) + authority


def _name(common: str) -> x509.Name:
    from cryptography import x509

    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    from cryptography import x509

    now = datetime.now(UTC)
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Of a CA, which signs certificates, or of a server."""
    from cryptography import x509

    no = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    return x509.KeyUsage(
        **no,
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )
