"""Secrets in text: what is masked, what stays, and what long lines and keys over lines become."""

import base64
import time

import pytest

from skerry.bundle.scrub import LINE_CHARACTERS, MASK, Scrubber

SECRET = "Zq7-hidden_Pw9"

LINES = {
    "password in a setting": f"password={SECRET}",
    "password after a colon": f"Password: {SECRET}",
    "passphrase in JSON": f'{{"passphrase": "{SECRET}"}}',
    "JSON within JSON": f'{{"log": "{{\\"password\\": \\"{SECRET}\\"}}"}}',
    "a quote in a password": f'{{"password": "a\\"{SECRET}"}}',
    "words in a password": f'{{"password": "my {SECRET} phrase"}}',
    "single quotes": f"db_password='{SECRET}'",
    "flag with a value": f"mysqld --root-password {SECRET} --port 3306",
    "flag with an equals sign": f"app --api-key={SECRET}",
    "environment variable": f"STRIPE_API_KEY={SECRET}",
    "variable that ends in KEY": f"PUMP_KEY={SECRET}",
    "PIN of a token": f"pkcs11_pin = {SECRET}",
    "PIN in a PKCS#11 URI": f"pkcs11:token=t;object=k?pin-value={SECRET}",
    "pre-shared key": f"psk={SECRET}",
    "client secret": f"client_secret: {SECRET}",
    "connection string of a device": f"HostName=h.example;DeviceId=d;SharedAccessKey={SECRET}",
    "storage account": f"AccountName=a;AccountKey={SECRET};EndpointSuffix=e",
    "connection string in a variable": f"ConnectionString=Server=x;User=y;Pwd={SECRET}",
    "SAS token": f"SharedAccessSignature sr=h&sig={SECRET}&se=1700000000",
    "signature in a URL": f"GET https://s.example/c/b?sv=1&sig={SECRET} 200",
    "primary key in camel case": f'"primaryKey":"{SECRET}"',
    "symmetric key": f"symmetric_key = {SECRET}",
    "credentials in a URL": f"clone https://bob:{SECRET}@git.example/x.git",
    "credentials of a proxy": f"https_proxy=http://u:{SECRET}@proxy:3128",
    "an at sign in a password": f"amqp://u:p@{SECRET}@broker/vhost",
    "authorization header": f"> Authorization: Token {SECRET}",
    "bearer token": f"curl sent bearer {SECRET}",
    "basic credentials": "sent Basic " + base64.b64encode(f"u:{SECRET}".encode()).decode(),
    "cookie": f"Cookie: a=b; session={SECRET}",
    "registry header": f"X-Registry-Auth: {SECRET}",
    "refresh token": f"refresh_token={SECRET}",
}

TOKENS = {
    "web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "cloud access key": "AKIAIOSFODNN7EXAMPLE",
    "forge token": "ghp_" + "a1" * 18,
    "chat token": "xoxb-1234567890-abcdef",
    "payment key": "sk_live_abcdefghijk1",
    "password hash": "$6$saltsalt$0123456789abcdefABCDEF",
    "age key": "AGE-SECRET-KEY-1QQQQQQQQ",
    "random word": "kX9vT2mQ8sLpW4nR7bYcZ1dF6gHjA3eU",
    "base64 with slashes": "q83vEjRW/Hi5AbCd+Xy9/ZzKk00Lm/NoPq12Rs3=",
    "key on one line": "-----BEGIN PRIVATE KEY-----\\nMIIabc\\n-----END PRIVATE KEY-----",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_what_follows_a_telling_name_is_masked(line: str) -> None:
    """The secret is gone, and there is a mark where it was."""
    cleaned = Scrubber().text(f"12:00:01 before\n12:00:02 {line}\n12:00:03 after")
    assert SECRET not in cleaned
    assert base64.b64encode(f"u:{SECRET}".encode()).decode() not in cleaned
    assert MASK in cleaned
    assert (cleaned.splitlines()[0], cleaned.splitlines()[2]) == (
        "12:00:01 before",
        "12:00:03 after",
    )


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_what_looks_like_a_key_is_masked(token: str) -> None:
    """Without any name beside it."""
    assert token not in Scrubber().text(f"read {token} from the queue")


@pytest.mark.parametrize(
    "line",
    [
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/usr/lib/python3/dist-packages/skerry/workloads/Management2.py line 12",
        "device 6f0c1a52-93c8-4e0e-9d1e-2f63c1a1f0b1 at 2026-11-23T12:00:00.123456Z",
        "module pump exited 137; restarted after 10 s (attempt 3)",
        "GET /modules?api-version=2022-08-03 200",
        "pull localhost:5000/site/pump:1.2.3 from https://registry.example/v2/",
    ],
)
def test_what_helps_a_technician_stays(line: str) -> None:
    """Digests, paths, times and names are no secrets."""
    assert Scrubber().text(line) == line


def test_a_known_secret_is_masked_in_every_form() -> None:
    """As it is, in JSON, in a URL, in base64 and in hex."""
    scrubber = Scrubber()
    scrubber.learn('pa"ss w/rd')
    text = 'a pa"ss w/rd b pa\\"ss w/rd c pa%22ss%20w%2Frd d cGEic3Mgdy9yZA e 70612273732077 2f7264'
    cleaned = scrubber.text(text.replace("77 2f", "772f"))
    assert cleaned == f"a {MASK} b {MASK} c {MASK} d {MASK} e {MASK}"


def test_a_key_over_many_lines_is_masked() -> None:
    """From BEGIN to END, however the stream is cut; what is around it stays."""
    body = b"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nabc=\n-----END EC PRIVATE KEY-----"
    pem = b"before\n" + body + b"\nafter\n"
    for size in (1, 7, 64, 1000):
        chunks = [pem[at : at + size] for at in range(0, len(pem), size)]
        assert b"".join(Scrubber().blocks(chunks)) == b"before\n***\nafter\n"


def test_a_certificate_stays() -> None:
    """It is public, and its dates are what a technician asks for."""
    line = "-----BEGIN CERTIFICATE-----"
    assert Scrubber().text(line) == line


def test_a_long_line_is_cut_before_its_last_word() -> None:
    """So no secret is torn in two, and memory stays bounded."""
    line = b"word " * (LINE_CHARACTERS // 5) + b"password=" + SECRET.encode() + b"x" * 100_000
    out = b"".join(Scrubber().blocks([line, b" tail\nnext\n"]))
    assert SECRET.encode() not in out
    assert b"tail" not in out
    assert out.endswith(b" [line cut]\nnext\n")
    assert len(out) < LINE_CHARACTERS + 100


def test_nothing_makes_a_rule_slow() -> None:
    """Lines made to mislead the rules take milliseconds, not minutes."""
    lines = [
        "password" * 8000,
        '"' * 60000,
        "-key" * 15000,
        "a:" * 30000,
        "\\" * 60000,
        "://" * 20000,
    ]
    lines += ["eyJ" + "a" * 60000, "$6$" * 20000, "A1a" * 20000, "--key " * 10000, "x.y-" * 15000]
    for line in lines:
        began = time.process_time()
        Scrubber().text(line)
        assert time.process_time() - began < 2, line[:20]
