"""Secrets in a running edged, with a real keyd and a TPM behind it: sealed, delivered, rotated."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.docker_engine import DockerEngine
from harness.edged import House, until
from skerry.base.client import ApiError, ServiceClient
from skerry.base.log import get_logger
from skerry.base.secret_file import SecretFile, load
from skerry.workloads.errors import SecretError
from skerry.workloads.secret_files import Rotation, SecretFiles
from skerry.workloads.vault import Vault

IMAGE = "localhost/test/pump:1"
VALUE = "correct horse battery staple"
TAG = "0" * 32
LOG = get_logger("edged")


class Reversed:
    """A sealer that turns a value round; `broken` makes it fail."""

    broken = False

    def seal(self, name: str, value: bytes) -> bytes:
        if self.broken:
            raise SecretError(f"secret {name!r} cannot be sealed by keyd: no answer")
        return value[::-1]

    def unseal(self, name: str, sealed: bytes) -> bytes:
        if self.broken:
            raise SecretError(f"secret {name!r} cannot be opened by keyd: no answer")
        return sealed[::-1]


class Site:
    """A vault below a folder, whose config.toml has the secret `db`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sealer = Reversed()
        self.modules: dict[str, tuple[str, ...]] = {}
        (folder / "etc").mkdir()
        (folder / "imported").mkdir()
        self.vault = Vault(folder / "etc/vault.json", folder, {"keyd": self.sealer}, LOG)
        self.files = SecretFiles(folder / "run", self.vault)
        self.rotation = Rotation(self.vault, self.files, lambda: self.modules, LOG)
        self.declare(TAG)
        self.hand_over(TAG, VALUE)

    def declare(self, tag: str | None) -> None:
        table = {"secrets": {"db": {"tag": tag, "sealed_by": "keyd"}}}
        path = self.folder / "etc/vault.json"
        path.with_suffix(".new").write_text(json.dumps(table))
        path.with_suffix(".new").rename(path)

    def hand_over(self, tag: str, value: str) -> None:
        path = self.folder / "imported" / f"db-{tag}"
        path.write_bytes(SecretFile("clear", "keyd", value.encode()).dump())
        path.chmod(0o600)

    def delivered(self, module: str = "pump", name: str = "db") -> str:
        return (self.folder / "run" / module / name).read_text()

    def clear(self) -> list[str]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return [path.name for path in files if VALUE.encode() in path.read_bytes()]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_apply_left_is_sealed_in_its_place(site: Site) -> None:
    """The clear value is gone; the file keeps its name and mode, the secret its value."""
    site.rotation.look()
    path = site.folder / "imported" / f"db-{TAG}"
    assert site.clear() == []
    assert load(path.read_bytes()).form == "keyd"
    assert path.stat().st_mode & 0o777 == 0o600
    assert site.vault.value("db") == VALUE.encode()


def test_the_clear_bytes_are_overwritten(site: Site) -> None:
    """Whoever held the old file open reads zeros."""
    with (site.folder / "imported" / f"db-{TAG}").open("rb") as old:
        site.rotation.look()
        assert old.read().strip(b"\0") == b""


def test_a_value_that_does_not_come_back_stays_in_the_clear(site: Site) -> None:
    """A sealer that gives back something else destroys nothing."""
    site.sealer.unseal = lambda name, sealed: b"nonsense"  # type: ignore[method-assign]
    with pytest.raises(SecretError, match="is not what keyd gives back for it"):
        site.rotation.look()
    assert site.clear() == [f"db-{TAG}"]


def test_a_module_sees_its_secrets_and_no_others(site: Site) -> None:
    """Files are for all users of the container, the folder above for edged alone."""
    site.vault.give("other", b"x")
    folder = site.files.ensure("pump", ("db", "other"))
    assert folder == site.folder / "run/pump"
    assert site.delivered() == VALUE
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "db").stat().st_mode & 0o777 == 0o444
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    site.files.ensure("pump", ("other",))
    assert [path.name for path in folder.iterdir()] == ["other"]
    assert site.files.ensure("valve", ()) is None
    site.files.keep_only(set())
    assert not folder.exists()


def test_a_new_value_reaches_a_running_module(site: Site) -> None:
    """The folder stays, the file is another; one that did not change is not touched."""
    site.modules["pump"] = ("db",)
    site.rotation.look()
    before = (site.folder / "run/pump/db").stat()
    site.vault.give("other", b"x")
    site.rotation.look()
    assert (site.folder / "run/pump/db").stat().st_ino == before.st_ino
    site.hand_over("1" * 32, "another")
    site.declare("1" * 32)
    site.rotation.look()
    assert site.delivered() == "another"


def test_a_value_given_by_hand_stands_until_the_configuration_has_another(site: Site) -> None:
    """`skerry secret set` wins over the config.toml of its time, not over a later one."""
    site.vault.give("db", b"by hand")
    assert site.vault.value("db") == b"by hand"
    assert [(one.name, one.origin) for one in site.vault.known()] == [("db", "hand")]
    site.hand_over("1" * 32, "later")
    site.declare("1" * 32)
    assert site.vault.value("db") == b"later"
    site.vault.give("db", b"again")
    assert site.vault.forget("db")
    assert site.vault.value("db") == b"later"
    assert not site.vault.forget("db")


def test_trouble_of_one_module_holds_up_no_other(site: Site) -> None:
    """Every module that can have its secrets gets them; the trouble is told."""
    site.modules = {"pump": ("absent",), "valve": ("db",)}
    with pytest.raises(SecretError, match="secret 'absent' has no value on this device; give it"):
        site.rotation.look()
    assert site.delivered("valve") == VALUE


def test_a_sealer_that_is_away_is_waited_for(site: Site) -> None:
    """Nothing is lost while keyd does not answer, and nothing is asked again before its time."""
    site.modules["pump"] = ("db",)
    site.sealer.broken = True
    with pytest.raises(SecretError, match="cannot be sealed by keyd: no answer"):
        site.rotation.look()
    site.rotation.look()
    site.sealer.broken = False
    site.declare(TAG)
    site.rotation.look()
    assert site.delivered() == VALUE


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no secret that this version knows"),
        (b"SKERRY-SECRET 2 clear keyd -\nx", "is no secret that this version knows"),
        (b"x" * 100_000, "expected at most"),
        (None, "is gone from .*; give it again"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    site: Site, content: bytes | None, message: str
) -> None:
    """A damaged or missing file is said with what to do about it."""
    path = site.folder / "imported" / f"db-{TAG}"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretError, match=message):
        site.vault.value("db")


def test_an_index_that_cannot_be_read_is_named(site: Site) -> None:
    """Nothing is guessed when the generation's file is damaged."""
    (site.folder / "etc/vault.json").write_text("{")
    with pytest.raises(SecretError, match=r"vault\.json cannot be used"):
        site.vault.known()


@pytest.fixture
def calling(house: House, engine: DockerEngine) -> Iterator[ServiceClient]:
    """The agent of a house, which may create modules."""
    engine.images[IMAGE] = "sha256:" + "b" * 64
    house.caller = engine.containers["edgeAgent"].id
    assert house.edged is not None
    house.edged.rotation.start()
    yield house.client()
    house.edged.rotation.stop()


def b64(text: str) -> dict[str, str]:
    return {"value": base64.b64encode(text.encode()).decode()}


def module(*secrets: str) -> dict[str, object]:
    config = {"settings": {"image": IMAGE, "createOptions": {}}, "secrets": list(secrets)}
    return {"name": "pump", "type": "docker", "config": config}


def test_a_module_gets_its_secrets_and_nobody_else_sees_them(
    house: House, engine: DockerEngine, calling: ServiceClient
) -> None:
    """Given, created, started, rotated and removed over the API, with keyd's own encryption."""
    calling.put("/secrets/db", b64(VALUE))
    made: Any = calling.post("/modules", module("db"))
    calling.post("/modules/pump/start")
    body: Any = engine.containers["pump"].body
    mount = next(m for m in body["HostConfig"]["Mounts"] if m["Target"] == "/run/secrets")
    assert mount["ReadOnly"] is True
    delivered = Path(mount["Source"]) / "db"
    assert delivered.read_text() == VALUE
    calling.put("/secrets/db", b64("rotated"))
    until(lambda: delivered.read_text() == "rotated", "the new value is there")
    calling.put("/secrets/db", b64(VALUE))
    until(lambda: delivered.read_text() == VALUE, "the former value is there")
    listed: Any = calling.get("/secrets")
    known: dict[str, object] = {
        "name": "db", "origin": "hand", "sealedBy": "keyd", "modules": ["pump"], "problem": None,
    }  # fmt: skip
    assert listed == {"secrets": [known]}
    told = json.dumps([made, body, listed, calling.get("/modules"), house.log()])
    assert VALUE not in told
    held = [p for p in house.folder.rglob("*") if p.is_file() and VALUE.encode() in p.read_bytes()]
    assert held == [delivered]
    calling.delete("/modules/pump")
    assert not delivered.exists()


def test_a_module_without_its_secret_is_not_begun(
    engine: DockerEngine, calling: ServiceClient
) -> None:
    """The refusal comes before anything is made, and says what to do."""
    with pytest.raises(ApiError, match="secret 'db' has no value on this device; give it with"):
        calling.post("/modules", module("db"))
    assert "pump" not in engine.containers


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("PUT", "/secrets/.db", b64("x"), 400, "is no name of a secret"),
        ("PUT", "/secrets/db", {"value": "?"}, 422, "value is not base64"),
        ("PUT", "/secrets/db", b64(""), 400, "has 0 bytes, expected 1 to 65536"),
        ("DELETE", "/secrets/db", None, 404, "no value of secret 'db' was given by hand"),
        ("POST", "/modules", module("../db"), 422, "expected an array of names of secrets"),
    ],
)
def test_what_is_no_secret_is_refused(
    calling: ServiceClient, method: str, path: str, body: object, status: int, message: str
) -> None:
    """Each wrong request has its status and message."""
    with pytest.raises(ApiError, match=message) as caught:
        getattr(calling, method.lower())(path, body)
    assert caught.value.status == status
