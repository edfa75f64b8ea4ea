"""From the errors of a service's own code to the answers of its API.

What the caller did wrong is told (400), what it may not do is not explained (401, the log has the
reason), and what failed inside is "internal error" (500, the log has it).
"""

from collections.abc import Callable
from dataclasses import dataclass

from skerry.base.errors import SkerryError
from skerry.base.http import HttpError, Request, Response
from skerry.base.log import Logger


@dataclass(frozen=True)
class Guard:
    """Wraps the handlers of one service; `trouble` is what the log says of what failed inside."""

    log: Logger
    wrong: type[SkerryError]
    forbidden: type[SkerryError]
    failed: tuple[type[Exception], ...]
    trouble: str = "request failed"

    def __call__(self, handler: Callable[..., Response]) -> Callable[..., Response]:
        """Return the handler with its errors turned into answers."""

        def call(request: Request, **parameters: str) -> Response:
            try:
                return handler(request, **parameters)
            except self.wrong as error:
                raise HttpError(400, str(error)) from error
            except self.forbidden as error:
                self.log.warning("refused", reason=error)
                raise HttpError(401, "unauthorized") from error
            except self.failed as error:
                self.log.error(self.trouble, reason=error)
                raise HttpError(500, "internal error") from error

        return call
