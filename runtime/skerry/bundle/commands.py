"""Programs of the system whose output goes into a bundle, as streams that end in time."""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from io import BufferedReader
from typing import cast

from skerry.base.errors import SkerryError

COMMAND_SECONDS = 120.0
_READ_BYTES = 64 * 1024
_WORDS = 500
_ENVIRONMENT = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": ""}


def output_of(command: Sequence[str], seconds: float = COMMAND_SECONDS) -> Iterator[bytes]:
    """Yield what a program prints; raises SkerryError when it is missing, fails or takes long."""
    with tempfile.TemporaryFile() as words:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=words,
                env={**os.environ, **_ENVIRONMENT},
            )
        except OSError as error:
            raise SkerryError(f"{command[0]} cannot be run: {error.strerror}") from error
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        stream = cast("BufferedReader", process.stdout)
        try:
            while chunk := stream.read1(_READ_BYTES):
                yield chunk
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            stream.close()
        if late.is_set():
            raise SkerryError(f"{command[0]} did not end within {seconds:g} s")
        if status:
            words.seek(0)
            said = words.read(_WORDS).decode("utf-8", "replace").strip().replace("\n", "; ")
            raise SkerryError(f"{command[0]}: {said or f'exit status {status}'}")


def outputs_of(*commands: Sequence[str]) -> Iterator[bytes]:
    """Yield the output of several programs, each below its command line, or why not."""
    for command in commands:
        yield f"$ {' '.join(command)}\n".encode()
        try:
            yield from output_of(command)
        except SkerryError as error:
            yield f"{error}\n".encode()
        yield b"\n"
