"""What the management and the workload API share: versions, and errors as answers."""

import base64
import binascii
from collections.abc import Callable, Mapping

from skerry.base.client import ApiError, UnreachableError
from skerry.base.fields import text
from skerry.base.http import HttpError, Response
from skerry.base.log import Logger
from skerry.engine.errors import EngineError
from skerry.workloads.deployment import DeploymentError
from skerry.workloads.errors import (
    ImageError,
    NoRoomError,
    NotReadyError,
    UnfitImageError,
    UntrustedImageError,
    WorkloadsError,
)

VERSIONS = (
    "2018-06-28",
    "2019-01-30",
    "2019-10-22",
    "2019-11-05",
    "2020-07-07",
    "2021-12-07",
    "2022-08-03",
)

_BAD_REQUEST = 400
_SERVER_ERROR = 500
_UNAVAILABLE = 503


def guarded(handler: Callable[..., Response], log: Logger) -> Callable[..., Response]:
    """Turn the errors of a handler into answers; the message tells what to do."""

    def call(*arguments: object, **parameters: str) -> Response:
        try:
            return handler(*arguments, **parameters)
        except HttpError:
            raise
        except EngineError as error:
            known = error.status if error.status >= _BAD_REQUEST else _SERVER_ERROR
            raise HttpError(known, str(error)) from error
        except ApiError as error:
            # of a native service: its refusals are about what our caller asked for
            refused = error.status == _BAD_REQUEST
            log.warning("native service refused", status=error.status, reason=error)
            raise HttpError(_BAD_REQUEST if refused else _SERVER_ERROR, str(error)) from error
        except (UnreachableError, NotReadyError) as error:
            raise HttpError(_UNAVAILABLE, str(error)) from error
        except (UnfitImageError, UntrustedImageError) as error:
            raise HttpError(422, str(error)) from error
        except NoRoomError as error:
            raise HttpError(507, str(error)) from error
        except ImageError as error:
            raise HttpError(404, str(error)) from error
        except (WorkloadsError, DeploymentError) as error:
            raise HttpError(_SERVER_ERROR, str(error)) from error

    return call


def octets(body: Mapping[str, object], name: str) -> bytes:
    """Return the bytes of a base64 field; 400 for what is not base64, as upstream answers."""
    try:
        return base64.b64decode(text(body, name), validate=True)
    except (binascii.Error, ValueError) as error:
        raise HttpError(_BAD_REQUEST, f"{name} is not base64") from error
