"""What may be done to configurations: create, update under an etag, remove. No HTTP, no rights.

An `if_match` of None means "create", `*` any version, anything else the etag expected.
"""

import base64
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

from skerry.base.clock import Clock
from skerry_lab.configurations.model import Configuration, Content, configuration_from
from skerry_lab.configurations.store import ConfigurationStore
from skerry_lab.configurations.targeting import Targeting
from skerry_lab.registry.errors import HubError, changed_meanwhile
from skerry_lab.registry.model import checked_id
from skerry_lab.registry.service import ANY

MAX_CONFIGURATIONS = 100
"""Of deployments, and of others, as IoT Hub's standard tier."""

_ETAG_BYTES = 9


class Configurations:
    """To be called on the database's thread."""

    def __init__(
        self,
        store: ConfigurationStore,
        targeting: Targeting,
        clock: Clock,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.store = store
        self._targeting = targeting
        self._clock = clock
        self._random_bytes = random_bytes

    def get(self, configuration_id: str) -> Configuration:
        """Return a configuration. Raises: HubError 404."""
        found = self.store.get(configuration_id)
        if found is None:
            raise HubError(
                404, "ConfigurationNotFound", f"Configuration {configuration_id} is not there"
            )
        return found

    def put(
        self, configuration_id: str, body: Mapping[str, object], if_match: str | None
    ) -> Configuration:
        """Create or update a configuration; without a content it keeps the one it has.

        Raises: HubError 400, 404, 409, 412, 413.
        """
        checked_id(configuration_id, "configuration")
        if if_match is None:
            return self._create(configuration_from(body, configuration_id))
        former = self.get(configuration_id)
        _check(if_match, former.etag)
        if body.get("content") is None:
            body = {**body, "content": former.content}
        wanted = configuration_from(body, configuration_id)
        if wanted.content != former.content:
            raise HubError(
                400,
                "CannotModifyImmutableConfigurationContent",
                f"the content of {configuration_id} cannot change; make another configuration",
            )
        stored = replace(
            wanted,
            number=former.number,
            created=former.created,
            updated=self._time(),
            etag=self._etag(),
        )
        self.store.update(stored)
        if _targets(stored) != _targets(former):
            self._targeting.begin()
        return stored

    def remove(self, configuration_id: str, if_match: str = ANY) -> None:
        """Remove a configuration. Raises: HubError 404, 412."""
        former = self.get(configuration_id)
        _check(if_match, former.etag)
        self.store.remove(former.number)
        self._targeting.begin()

    def counts(self, configuration: Configuration) -> dict[str, int]:
        """Return the results of the system metrics."""
        found = self.store.counts(configuration.number)
        results = {"targetedCount": found.targeted, "appliedCount": found.applied}
        if configuration.kind is Content.EDGE:
            results["reportedSuccessfulCount"] = found.successful
            results["reportedFailedCount"] = found.failed
        return results

    def _create(self, wanted: Configuration) -> Configuration:
        present = self.store.all()
        if any(one.configuration_id == wanted.configuration_id for one in present):
            raise HubError(
                409,
                "ConfigurationAlreadyExists",
                f"A configuration with ID '{wanted.configuration_id}' is already there",
            )
        is_edge = wanted.kind is Content.EDGE
        if sum((one.kind is Content.EDGE) is is_edge for one in present) >= MAX_CONFIGURATIONS:
            what = "deployments" if is_edge else "configurations"
            raise HubError(
                413,
                "ConfigurationCountLimitExceeded",
                f"there are {MAX_CONFIGURATIONS} {what}, which is the most there may be",
            )
        time = self._time()
        stored = replace(wanted, created=time, updated=time, etag=self._etag())
        stored = replace(stored, number=self.store.add(stored))
        self._targeting.begin()
        return stored

    def _time(self) -> str:
        return f"{self._clock.now():%Y-%m-%dT%H:%M:%S.%f}Z"

    def _etag(self) -> str:
        return base64.b64encode(self._random_bytes(_ETAG_BYTES)).decode()


def _targets(configuration: Configuration) -> tuple[str, int]:
    return configuration.target_condition, configuration.priority


def _check(if_match: str, etag: str) -> None:
    if if_match not in (ANY, etag):
        raise changed_meanwhile(if_match, etag)
