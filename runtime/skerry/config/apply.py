"""Puts a configuration in force, or leaves the former one: nothing between the two, ever.

Order: read and check, seal, plan, compare; write a new generation beside the former; switch one
link; restart what changed; wait until each changed service answers with the digest of its new
settings; install the sealed config.toml; drop old generations. Up to the switch a crash leaves the
former configuration, from the switch on the new one. Any failure switches back and removes what was
written.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from skerry.base.clock import Clock
from skerry.base.errors import SkerryError
from skerry.base.settings import settings_digest
from skerry.config.build import build
from skerry.config.diff import diff
from skerry.config.disk import Disk
from skerry.config.document import read
from skerry.config.generations import Generation, Generations, NewGeneration
from skerry.config.hostname import Containers, hostname_finding, no_containers
from skerry.config.plan import Plan, PlannedFile, make_plan
from skerry.config.problems import Problem
from skerry.config.seal import Sealed, seal
from skerry.config.site import SERVICES, Ids, Paths, Site
from skerry.config.vault import FILE as VAULT
from skerry.config.vault import TAG_CHARACTERS, FileSource, files

_KEY_BYTES = 32
_MORE_PARTS = {
    "deployment": "deployment.json",
    "leaf_devices": "leaf_devices.json",
    "secrets": VAULT,
}


class ServiceError(SkerryError):
    """A service was not restarted, or does not run with its new settings."""


class Services(Protocol):
    """The native services of this machine."""

    def present(self, service: str) -> bool:
        """Tell whether this machine has the service at all."""
        ...

    def restart(self, services: Sequence[str]) -> None:
        """Restart services; ServiceError if that fails."""
        ...

    def await_digest(self, service: str, digest: str) -> None:
        """Wait until a service runs with these settings; ServiceError if it does not."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What apply did, as `--output json` shows it."""

    result: str
    generation: int | None = None
    changed: tuple[str, ...] = ()
    diff: str = ""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    restarted: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, object]:
        return {
            **vars(self),
            "problems": [problem.to_json() for problem in self.problems],
            "warnings": [problem.to_json() for problem in self.warnings],
        }


@dataclass(frozen=True)
class Device:
    """The machine that apply works on."""

    hostname: str
    version: str
    source: FileSource
    services: Services
    disk: Disk
    clock: Clock
    paths: Paths = field(default_factory=Paths)
    ids: Ids = field(default_factory=Ids)
    containers: Containers = no_containers

    @property
    def site(self) -> Site:
        return Site(self.hostname, self.ids, str(self.paths.state))


def render(data: bytes, file: str, device: Device) -> tuple[Plan | None, Outcome]:
    """Plan for a machine that is not this one: the files of the services, or why there are none."""
    document = read(data, file, {})
    if document.problems:
        return None, Outcome("refused", problems=document.problems, warnings=document.warnings)
    sealed = seal(document, device.site, device.source, present=False)
    if sealed.problems:
        return None, Outcome("refused", problems=sealed.problems, warnings=document.warnings)
    plan = _plan(sealed, device)
    changed = tuple(name.partition(".")[0] for name in plan.files)
    return plan, Outcome("would-change", changed=changed, warnings=document.warnings)


def apply(data: bytes, file: str, device: Device, *, dry_run: bool = False) -> Outcome:
    """Apply a configuration; with `dry_run` only say what would change."""
    if dry_run:
        return _Apply(data, file, device).compare()[0]
    with _lock(device):
        return _Apply(data, file, device).run()


def _plan(sealed: Sealed, device: Device) -> Plan:
    plan = make_plan(build(sealed.tables, device.version), replace(device.site, files=sealed.files))
    secret = files(sealed.vault, device.site, lambda path: Path(path).is_file())
    return Plan(
        {**plan.files, **secret.files},
        {**sealed.placed, **plan.placed, **secret.placed},
        secret.needed,
    )


@contextmanager
def _lock(device: Device) -> Iterator[None]:
    """Keep a second apply waiting until this one has ended."""
    device.disk.make_folder(device.paths.private, 0o700)
    descriptor = os.open(
        device.paths.private / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _Apply:
    """One run: `compare` only reads, `run` goes on to write."""

    def __init__(self, data: bytes, file: str, device: Device) -> None:
        self._file = file
        self._device = device
        self._generations = Generations(device.paths, device.ids, device.disk)
        self._before = self._generations.in_force()
        self._current = self._generations.current()
        self._known_key = self._read_key()
        self._key = self._known_key or secrets.token_bytes(_KEY_BYTES)
        self._document = read(data, file, self._current.secrets if self._current else {})

    def compare(self) -> tuple[Outcome, Sealed | None, Plan | None]:
        """Say what would change; "would-change" comes with all that is needed to do it."""
        document = self._document
        refused = Outcome("refused", problems=document.problems, warnings=document.warnings)
        if document.problems:
            return refused, None, None
        sealed = seal(
            document,
            self._device.site,
            self._device.source,
            kept=self._current.kept if self._current else {},
            tagger=self._tag,
        )
        if sealed.problems:
            return replace(refused, problems=sealed.problems), None, None
        plan = _plan(sealed, self._device)
        old = self._current
        renamed = hostname_finding(old.files if old else {}, plan.files, self._device.containers)
        if renamed is not None:
            return replace(refused, problems=(document.locate(renamed),)), None, None
        changed = [n for n in (*SERVICES, *_MORE_PARTS) if _differs(_file_of(n), plan, old)]
        same_input = old is not None and old.input_digest == self._digest(sealed)
        if old is not None and old.whole and same_input and not changed:
            return Outcome("unchanged", old.number, warnings=document.warnings), sealed, plan
        texts = {name: planned.data for name, planned in plan.files.items()}
        texts["config.toml"] = sealed.text.encode()
        hidden = {*sealed.secrets.values(), *(old.secrets.values() if old else ())}
        outcome = Outcome(
            "would-change",
            generation=old.number if old else None,
            changed=(*changed, "config"),
            diff=diff(old.files if old else {}, texts, hidden),
            warnings=document.warnings,
        )
        return outcome, sealed, plan

    def run(self) -> Outcome:
        """Put the configuration in force."""
        outcome, sealed, plan = self.compare()
        if sealed is None or plan is None:
            return outcome
        if outcome.result == "unchanged":
            self._install(sealed)
            return outcome
        changed = [service for service in SERVICES if service in outcome.changed]
        restarted = [service for service in changed if self._device.services.present(service)]
        try:
            number = self._generations.write(self._new(sealed, plan))
            self._generations.switch(number)
            self._put_in_force(restarted)
            self._install(sealed)
        except (OSError, ServiceError) as error:
            return replace(
                outcome,
                result=self._undo(restarted),
                generation=self._before or None,
                problems=(Problem(self._file, 1, 1, "", f"{error}; {self._kept()}"),),
            )
        except BaseException:
            self._undo(restarted)
            raise
        self._generations.sweep()
        return replace(outcome, result="applied", generation=number, restarted=tuple(restarted))

    def _new(self, sealed: Sealed, plan: Plan) -> NewGeneration:
        # the salt keeps the digest of this file, which others may see, from telling a weak secret
        secret = {"salt": secrets.token_hex(16), "secrets": dict(sealed.secrets)}
        text = json.dumps(secret, indent=1, ensure_ascii=False) + "\n"
        made_from = {
            "config.toml": PlannedFile(sealed.text.encode(), None, None),
            "secrets.json": PlannedFile(text.encode(), None, None),
        }
        if self._known_key is None:
            self._device.disk.write(self._key_path, self._key, 0o600)
        return NewGeneration(
            files={**plan.files, **made_from},
            placed=plan.placed,
            needed=plan.needed,
            input_digest=self._digest(sealed),
            created=self._device.clock.now(),
        )

    def _put_in_force(self, restarted: Sequence[str]) -> None:
        if restarted:
            self._device.services.restart(restarted)
        for service in restarted:
            digest = settings_digest(self._device.paths.etc / service)
            self._device.services.await_digest(service, digest)

    def _undo(self, restarted: Sequence[str]) -> str:
        """Return to the former generation; say whether services had to be told."""
        switched = self._generations.in_force() != self._before
        if switched:
            self._generations.switch(self._before)
        self._generations.sweep()
        if switched and restarted:
            # the failure that is reported is the first one; systemd goes on trying
            with suppress(ServiceError):
                self._device.services.restart(restarted)
        return "rolled-back" if switched else "refused"

    def _kept(self) -> str:
        kept = f"generation {self._before}" if self._before else "no configuration"
        return f"{kept} is in force as before"

    def _install(self, sealed: Sealed) -> None:
        """Leave the sealed text as /etc/skerry/config.toml, unless that says the same already."""
        path = self._device.paths.installed
        data = sealed.text.encode()
        if not path.is_file() or path.read_bytes() != data:
            self._device.disk.write(path, data, 0o600)

    @property
    def _key_path(self) -> Path:
        return self._device.paths.private / "digest.key"

    def _read_key(self) -> bytes | None:
        try:
            return self._key_path.read_bytes()
        except FileNotFoundError:
            return None

    def _tag(self, name: str, sealer: str, value: bytes) -> str:
        text = b"\0".join((name.encode(), sealer.encode(), value))
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()[:TAG_CHARACTERS]

    def _digest(self, sealed: Sealed) -> str:
        """Return the keyed digest of the input."""
        files = {path: hashlib.sha256(data).hexdigest() for path, data in sealed.files.items()}
        text = json.dumps([sealed.tables, files], sort_keys=True)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def _file_of(part: str) -> str:
    return _MORE_PARTS.get(part, f"{part}.toml")


def _differs(name: str, plan: Plan, old: Generation | None) -> bool:
    new = plan.files.get(name)
    return (old.files.get(name) if old else None) != (new.data if new else None)
