"""Secrets over the management API, ours beside upstream's routes: names for all, values for root.

A value goes in and never comes out: what it is for is a module's file.
"""

from collections.abc import Callable

from skerry.base.fields import octets
from skerry.base.http import HttpError, Request, Response, Router
from skerry.base.log import Logger
from skerry.base.secret_file import MAX_BYTES, is_name
from skerry.workloads.api import guarded
from skerry.workloads.errors import SecretError
from skerry.workloads.modules import Modules
from skerry.workloads.vault import Vault


class VaultApi:
    """Answers the routes about secrets."""

    def __init__(self, vault: Vault, modules: Modules, log: Logger) -> None:
        self._vault = vault
        self._modules = modules
        self._log = log

    def add_to(self, router: Router) -> None:
        """Add the routes."""
        router.add("GET", "/secrets", guarded(self._list, self._log))
        router.add("PUT", "/secrets/{name}", self._by_root(self._give))
        router.add("DELETE", "/secrets/{name}", self._by_root(self._forget))

    def _by_root(self, handler: Callable[[Request, str], Response]) -> Callable[..., Response]:
        def call(request: Request, name: str) -> Response:
            if request.peer.uid != 0:
                raise HttpError(403, "secrets are changed by root only; run it with sudo")
            if not is_name(name):
                raise HttpError(
                    400, f"{name!r} is no name of a secret; expected 1 to 64 letters, digits, "
                    "'-', '_' and '.', not at the beginning"
                )  # fmt: skip
            return handler(request, name)

        return guarded(call, self._log)

    def _list(self, _request: Request) -> Response:
        users: dict[str, list[str]] = {}
        for module, names in self._modules.secrets().items():
            for name in names:
                users.setdefault(name, []).append(module)
        return Response.json(
            {
                "secrets": [
                    {
                        "name": known.name,
                        "origin": known.origin,
                        "sealedBy": known.sealed_by,
                        "modules": users.get(known.name, []),
                        "problem": self._problem(known.name),
                    }
                    for known in self._vault.known()
                ]
            }
        )

    def _problem(self, name: str) -> str | None:
        try:
            self._vault.value(name)
        except SecretError as error:
            return str(error)
        return None

    def _give(self, request: Request, name: str) -> Response:
        value = octets(request.json_object(), "value")
        if not 0 < len(value) <= MAX_BYTES:
            raise HttpError(400, f"the value has {len(value)} bytes, expected 1 to {MAX_BYTES}")
        self._vault.give(name, value)
        return Response.empty()

    def _forget(self, _request: Request, name: str) -> Response:
        if not self._vault.forget(name):
            raise HttpError(404, f"no value of secret {name!r} was given by hand")
        return Response.empty()
