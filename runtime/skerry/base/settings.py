"""Settings of a service: `<dir>/config.toml`, then every `<dir>/config.d/*.toml` by name.

Tables merge, arrays concatenate, scalars replace, as in Azure IoT Edge's services.
"""

import hashlib
import tomllib
from pathlib import Path

from skerry.base.errors import SettingsError
from skerry.base.files import FileTooLargeError, read_limited

_MAX_BYTES = 4 * 1024 * 1024


def load_settings(folder: Path) -> dict[str, object]:
    """Read and merge the settings in a folder; no file at all gives an empty table."""
    return read_settings(folder)[0]


def settings_digest(folder: Path) -> str:
    """Return the sha256 over names and contents of the settings files, in their order."""
    return read_settings(folder)[1]


def read_settings(folder: Path) -> tuple[dict[str, object], str]:
    """Return the merged settings and the digest of the very bytes that they came from."""
    merged: dict[str, object] = {}
    digest = hashlib.sha256()
    for path in _files(folder):
        try:
            data = read_limited(path, _MAX_BYTES)
            table = tomllib.loads(data.decode("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, FileTooLargeError) as error:
            raise SettingsError(f"settings file {path} cannot be used: {error}") from error
        digest.update(f"{path.name}\0{len(data)}\0".encode() + data)
        merged = merge(merged, table)
    return merged, digest.hexdigest()


def merge(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
    """Lay one table over another: tables merge, arrays concatenate, scalars replace."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            result[key] = merge(old, value)
        elif isinstance(old, list) and isinstance(value, list):
            result[key] = [*old, *value]
        else:
            result[key] = value
    return result


def _files(folder: Path) -> list[Path]:
    main = folder / "config.toml"
    drop_ins = sorted((folder / "config.d").glob("*.toml"))
    return [path for path in [main, *drop_ins] if path.is_file()]
