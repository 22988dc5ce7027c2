"""A private certificate authority for tests."""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False, content_commitment=False, key_encipherment=False,
    data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
    encipher_only=False, decipher_only=False,
)  # fmt: skip


@final
class Authority:
    """A certificate authority *name* that writes its files to *folder*."""

    def __init__(self, folder: Path, name: str = "an authority") -> None:
        self._folder = folder
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        root = self._builder(name, self._key).add_extension(constraints, critical=True)
        own_key = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        root = root.add_extension(own_key, critical=False)
        root = root.add_extension(SIGNS_CERTIFICATES, critical=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._sign(root))

    def issue(self, *names: str) -> tuple[Path, Path]:
        """Return the files of a certificate for *names* and of its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative_names = x509.SubjectAlternativeName([_host(name) for name in names])
        certificate = self._folder / f"{names[0]}.pem"
        # RFC 5280 4.2.1.1, which Python 3.13 and later verify.
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self._key.public_key()
        )
        builder = (
            self._builder(names[0], key)
            .add_extension(alternative_names, critical=False)
            .add_extension(issuer_key, critical=False)
        )
        certificate.write_bytes(self._sign(builder))
        secret = self._folder / f"{names[0]}.key"
        form = serialization.PrivateFormat.PKCS8
        secret.write_bytes(key.private_bytes(PEM, form, serialization.NoEncryption()))
        return certificate, secret

    def _builder(
        self, subject: str, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        return (
            x509.CertificateBuilder(self._name, _named(subject), key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
        )

    def _sign(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
