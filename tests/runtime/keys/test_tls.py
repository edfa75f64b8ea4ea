"""TLS client certificates whose private key stays in keyd, over real handshakes."""

import base64
import contextlib
import gc
import os
import socket
import ssl
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from harness.services import Services
from skerry.keys.client import KeydSigner, KeysClient
from skerry.keys.tls import TlsKeyError, use_key

SECONDS = 10
VERSIONS = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}
Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def name(text: str) -> x509.Name:
    """Return a name with this common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass
class Authority:
    """A root and an intermediate CA, and a server that wants certificates below them."""

    root_key: ec.EllipticCurvePrivateKey
    middle_key: ec.EllipticCurvePrivateKey
    folder: Path
    root: x509.Certificate = field(init=False)
    middle: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.issue("root", self.root_key.public_key(), "root", self.root_key)
        self.middle = self.issue("middle", self.middle_key.public_key(), "root", self.root_key)
        (self.folder / "root.pem").write_text(pem(self.root))
        key = ec.generate_private_key(ec.SECP256R1())
        server = self.leaf("server", key.public_key())
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        (self.folder / "server.pem").write_text(text + pem(server) + pem(self.middle))

    def issue(
        self, subject: str, key: object, issuer: str, by: ec.EllipticCurvePrivateKey
    ) -> x509.Certificate:
        """Return a certificate; it is a CA's unless named otherwise than those."""
        now = datetime.now(UTC)
        is_ca = subject in ("root", "middle")
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key)  # type: ignore[arg-type]  # any kind of key, as the tests need
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
            .sign(by, hashes.SHA256())
        )

    def leaf(self, subject: str, key: object) -> x509.Certificate:
        """Return a certificate signed by the intermediate CA."""
        return self.issue(subject, key, "middle", self.middle_key)

    def chain(self, key: object) -> str:
        """Return a device's chain for a public key, the intermediate CA in it."""
        return pem(self.leaf("device", key)) + pem(self.middle)

    @contextlib.contextmanager
    def server(self, version: ssl.TLSVersion) -> Iterator[tuple[int, list[str]]]:
        """Serve one connection at a port; the list gets who the client is, or why not."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(self.folder / "server.pem")
        context.load_verify_locations(self.folder / "root.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        seen: list[str] = []

        def serve() -> None:
            plain, _ = listener.accept()
            plain.settimeout(SECONDS)
            try:
                with plain, context.wrap_socket(plain, server_side=True) as connection:
                    found = x509.load_der_x509_certificate(connection.getpeercert(True) or b"")
                    seen.append(found.subject.rfc4514_string())
                    connection.sendall(b"welcome")
            except OSError as error:
                seen.append(f"refused: {error}")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve)
            thread.start()
            yield listener.getsockname()[1], seen
            thread.join(SECONDS)

    def client(self) -> ssl.SSLContext:
        """Return a client's context that trusts the root."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.folder / "root.pem")
        return context


def pem(certificate: x509.Certificate) -> str:
    """Return a certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def greet(context: ssl.SSLContext, port: int) -> bytes:
    """Connect and return what the server says."""
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.recv(100)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CAs of this file."""
    root, middle = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    return Authority(root, middle, tmp_path_factory.mktemp("authority"))


PRIVATE: dict[str, Private] = {
    "ec-p256": ec.generate_private_key(ec.SECP256R1()),
    "ec-p384": ec.generate_private_key(ec.SECP384R1()),
    "rsa-2048": rsa.generate_private_key(65537, 2048),
}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A keyd process that holds the keys."""
    running = Services(tmp_path_factory.mktemp("keyd"))
    settings = f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n[preloaded_keys]\n'
    for kind, key in PRIVATE.items():
        path = running.folder / f"{kind}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        settings += f'{kind} = "file://{path}"\n'
    running.configure("keyd", settings)
    running.start("keyd")
    yield running
    running.stop()


@pytest.fixture
def keys(services: Services) -> KeysClient:
    """A client of that keyd."""
    return KeysClient(services.socket("keyd"))


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("kind", PRIVATE)
def test_a_device_proves_itself_with_a_key_in_keyd(
    authority: Authority, keys: KeysClient, kind: str, version: ssl.TLSVersion
) -> None:
    """The server verifies the whole chain and the proof; the private key never left keyd."""
    context = authority.client()
    chain = authority.chain(PRIVATE[kind].public_key())
    use_key(context, chain, KeydSigner(keys, keys.load_key_pair(kind)))
    with authority.server(version) as (port, seen):
        assert greet(context, port) == b"welcome"
    assert seen == ["CN=device"]


@pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_the_wrong_key_proves_nothing(
    authority: Authority, keys: KeysClient, kind: str, version: ssl.TLSVersion
) -> None:
    """A certificate whose key is another one is turned away by the server."""
    other = keys.create_key_pair(f"other-{kind}", kind)
    context = authority.client()
    use_key(context, authority.chain(PRIVATE[kind].public_key()), KeydSigner(keys, other))
    with authority.server(version) as (port, seen), pytest.raises(OSError, match="decrypt error"):
        greet(context, port)
    assert "refused" in seen[0]


def test_keyd_gone_in_a_handshake_is_told(authority: Authority, tmp_path: Path) -> None:
    """The handshake ends with an error that names keyd's socket, not with OpenSSL's riddle."""
    running = Services(tmp_path)
    running.configure("keyd", f'[[principal]]\nuid = {os.getuid()}\nkeys = ["*"]\n')
    running.start("keyd")
    try:
        keys = KeysClient(running.socket("keyd"))
        handle = keys.create_key_pair("mine")
        point = keys.parameter(handle, "ec-point")
        public = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1(), base64.b64decode(point)
        )
        context = authority.client()

        class Dying(KeydSigner):
            def sign_ecdsa(self, digest: bytes) -> bytes:
                running.kill("keyd")
                return super().sign_ecdsa(digest)

        use_key(context, authority.chain(public), Dying(keys, handle))
        with (
            authority.server(ssl.TLSVersion.TLSv1_3) as (port, seen),
            pytest.raises(TlsKeyError, match=rf"no answer on {tmp_path}/keyd\.sock") as caught,
        ):
            greet(context, port)
    finally:
        running.stop()
    assert isinstance(caught.value, ssl.SSLError)
    assert "the private key cannot be used" in str(caught.value.reason)
    assert "refused" in seen[0]


class Local:
    """A signer in this process that answers whatever the test wants."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def sign_ecdsa(self, digest: bytes) -> bytes:
        """Return the answer."""
        return self.answer

    rsa_private = sign_ecdsa


@pytest.mark.parametrize("kind", ["ec-p256", "rsa-2048"])
@pytest.mark.parametrize("answer", [b"", bytes(5000)], ids=["empty", "too long"])
def test_an_answer_of_impossible_size_is_refused(
    authority: Authority, kind: str, answer: bytes
) -> None:
    """Nothing is copied into OpenSSL's buffer beyond its size."""
    context = authority.client()
    use_key(context, authority.chain(PRIVATE[kind].public_key()), Local(answer))
    with (
        authority.server(ssl.TLSVersion.TLSv1_3) as (port, _),
        pytest.raises(TlsKeyError, match=f"a signature of {len(answer)} bytes"),
    ):
        greet(context, port)


def test_handshakes_in_memory_tell_the_same(authority: Authority) -> None:
    """What drives TLS itself (asyncio) gets the reason as well."""
    client, server = authority.client(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    use_key(client, authority.chain(PRIVATE["ec-p256"].public_key()), Local(b""))
    server.load_cert_chain(authority.folder / "server.pem")
    server.load_verify_locations(authority.folder / "root.pem")
    server.verify_mode = ssl.CERT_REQUIRED
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname="localhost")
    far = server.wrap_bio(up, down, server_side=True)

    def drive() -> None:
        for _ in range(4):
            for side in (near, far):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()

    with pytest.raises(TlsKeyError, match="the private key cannot be used"):
        drive()


def test_other_errors_stay_what_they_are(authority: Authority) -> None:
    """A server that is not trusted is that, whatever the client's key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    use_key(context, authority.chain(PRIVATE["ec-p256"].public_key()), Local(b""))
    with (
        authority.server(ssl.TLSVersion.TLSv1_3) as (port, _),
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        greet(context, port)


def test_many_handshakes_at_once_keep_their_keys_apart(
    authority: Authority, keys: KeysClient
) -> None:
    """Contexts come and go in several threads; each proves its own key."""

    def once(number: int) -> tuple[bytes, list[str]]:
        kind = ("ec-p256", "ec-p384")[number % 2]
        context = authority.client()
        signer = KeydSigner(keys, keys.load_key_pair(kind))
        use_key(context, authority.chain(PRIVATE[kind].public_key()), signer)
        with authority.server(ssl.TLSVersion.TLSv1_3) as (port, seen):
            return greet(context, port), seen

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(once, range(24))) == [(b"welcome", ["CN=device"])] * 24


def test_a_context_that_has_gone_leaves_nothing(authority: Authority) -> None:
    """The signer goes with its context; a context given a second key uses that one."""
    context = authority.client()
    first, second = Local(b"1"), Local(b"2")
    gone = weakref.ref(first)
    for signer in (first, second):
        use_key(context, authority.chain(PRIVATE["ec-p256"].public_key()), signer)
    with (
        authority.server(ssl.TLSVersion.TLSv1_2) as (port, seen),
        pytest.raises(OSError, match=r"."),
    ):
        greet(context, port)
    assert "refused" in seen[0]
    del first, signer, context
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        pytest.param("", "is not PEM", id="empty"),
        pytest.param("-----BEGIN CERTIFICATE-----\nMII", "is not PEM", id="truncated"),
        pytest.param("ed25519", "neither RSA nor EC on P-256", id="kind of key"),
    ],
)
def test_unusable_chains_are_named(authority: Authority, chain: str, message: str) -> None:
    """The message says what a chain has to be."""
    if chain == "ed25519":
        chain = authority.chain(ed25519.Ed25519PrivateKey.generate().public_key())
    with pytest.raises(TlsKeyError, match=message):
        use_key(authority.client(), chain, Local(b""))


def test_an_unknown_interpreter_is_refused(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is looked into only where its layout is known."""
    context, chain = authority.client(), authority.chain(PRIVATE["ec-p256"].public_key())
    monkeypatch.setattr(sys, "implementation", types.SimpleNamespace(name="pypy"))
    with pytest.raises(TlsKeyError, match=r"known for CPython 3\.11 to"):
        use_key(context, chain, Local(b""))


def test_openssl_s_own_words_are_passed_on(authority: Authority) -> None:
    """What OpenSSL refuses, here a key below its security level, is told with its reason."""
    context = authority.client()
    context.set_ciphers("DEFAULT@SECLEVEL=4")
    with pytest.raises(
        TlsKeyError, match=r"OpenSSL refuses the leaf certificate: error:.*too small"
    ):
        use_key(context, authority.chain(PRIVATE["rsa-2048"].public_key()), Local(b""))
