"""Who is connected, as the registry and twins show it; the running server says how to find out."""

from collections.abc import Callable

from skerry.wire.identity import Identity


class Presence:
    """Without a server nobody is connected. The functions are called on the database's thread."""

    def __init__(self) -> None:
        self.is_connected: Callable[[Identity], bool] = _nobody
        self.count_devices: Callable[[], int] = int


def _nobody(_: Identity) -> bool:
    return False
