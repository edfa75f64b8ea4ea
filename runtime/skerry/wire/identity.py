"""Who a client of the hub is: a device, or a module of one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """A device, or with `module_id` one of its modules; ids are compared exactly."""

    device_id: str
    module_id: str | None = None

    def __str__(self) -> str:
        return self.device_id if self.module_id is None else f"{self.device_id}/{self.module_id}"

    @staticmethod
    def parse(text: str) -> "Identity":
        """Read `device` or `device/module`; ids hold no slash."""
        device_id, mark, module_id = text.partition("/")
        return Identity(device_id, module_id if mark else None)
