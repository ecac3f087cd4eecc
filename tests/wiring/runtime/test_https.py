"""A model over HTTPS: from a store whose certificate is trusted, and from one whose is not."""

import datetime as dt
import functools
import http.server
import ipaddress
import ssl
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
FOREVER = (dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2120, 1, 1, tzinfo=dt.UTC))


@dataclass
class Store:
    url: str
    certificate: Path


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def certificate(folder: Path) -> Path:
    """Write a certificate for this machine that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(FOREVER[0])
        .not_valid_after(FOREVER[1])
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "store.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return path


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory):
    path = certificate(tmp_path_factory.mktemp("https"))
    handler = functools.partial(_Quiet, directory=str(digits.folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Store(f"https://127.0.0.1:{server.server_port}", path)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_model_comes_over_https(store, start, digits):
    trust = {"SSL_CERT_FILE": str(store.certificate)}
    start(f"{store.url}/good.onnx", digest=digits.digest("good.onnx"), environment=trust).wait_ready()


def test_a_certificate_that_is_not_trusted_is_told(store, start):
    pod = start(f"{store.url}/good.onnx")
    trouble = pod.report("trouble", lambda report: report.trouble).trouble
    assert trouble.reason == "ModelStoreUnreachable"
    assert "certificate" in trouble.message
    assert store.url in trouble.message
