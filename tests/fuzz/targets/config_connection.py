"""Connection strings: parsed or refused without showing the key, and stable when written again."""

import base64

from skerry.config.connection import parse_connection_string

ALLOWED = (ValueError,)
SEEDS = (
    b"HostName=hub.example;DeviceId=d;SharedAccessKey=AAE=",
    b"SharedAccessKey=AAE;Other=x;DeviceId=d;HostName=h",
    b"HostName=h;DeviceId=d;SharedAccessKey=swordfish?",
)


def one(data: bytes) -> None:
    """Parse; what was found means the same when it is written as a string of its own."""
    text = data.decode("utf-8", "replace")
    try:
        found = parse_connection_string(text)
    except ValueError as error:
        if "swordfish" in str(error):
            raise AssertionError("the message shows the key") from error
        raise
    key = base64.b64encode(found.key).decode()
    again = f"HostName={found.iothub_hostname};DeviceId={found.device_id};SharedAccessKey={key}"
    if parse_connection_string(again) != found:
        raise AssertionError(f"{again!r} is another device")
