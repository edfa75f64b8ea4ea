"""IoT Hub's errors: `{"Message": "ErrorCode:<code>;<text>", "ExceptionMessage": …}`."""

from datetime import datetime

from skerry.heads.routes import Answer
from skerry_lab.errors import ApiError


class HubError(ApiError):
    """A refused request of the hub; `code` is IoT Hub's name for it."""

    def answer(self, tracking_id: str, now: datetime) -> Answer:
        body = {
            "Message": f"ErrorCode:{self.code};{self}",
            "ExceptionMessage": f"Tracking ID:{tracking_id}-TimeStamp:{now:%m/%d/%Y %H:%M:%S}",
        }
        return Answer.json(body, self.status, {"iothub-errorcode": str(self.code), **self.headers})


def bad_argument(message: str) -> HubError:
    """Return the error for a request of the wrong shape."""
    return HubError(400, "ArgumentInvalid", message)


def unauthorized(message: str) -> HubError:
    """Return the error for a caller that could not show who it is."""
    return HubError(401, "IotHubUnauthorizedAccess", message)


def no_device(device_id: str) -> HubError:
    """Return the error for a device that is not registered."""
    return HubError(404, "DeviceNotFound", f"Device {device_id} not registered")


def no_module(device_id: str, module_id: str) -> HubError:
    """Return the error for a module that is not registered."""
    return HubError(404, "ModuleNotFound", f"Module {module_id} not found on device {device_id}")


def changed_meanwhile(expected: str, found: str) -> HubError:
    """Return the error for an If-Match that names another version."""
    return HubError(
        412,
        "PreconditionFailed",
        f"Precondition failed: version {found} did not match the expected version {expected}",
    )
