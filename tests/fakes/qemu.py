"""QEMU and swtpm as the factory sees them: arguments, console file, QMP socket, how they end.

`install(folder, behaviour)` puts both programs into a folder for PATH. Behaviours: `boots` writes a
boot's lines to the console and serves QMP; `dies` fails as QEMU does when it lacks something;
`powers off` ends by itself after the console lines.
"""

import sys
from pathlib import Path

PROGRAM = """#!{python}
import json, os, signal, socket, sys

arguments = sys.argv[1:]
if os.path.basename(sys.argv[0]) == "swtpm":
    path = next(a for a in arguments if a.startswith("type=unixio")).split("path=")[1]
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    signal.pause()
if {behaviour!r} == "dies":
    sys.exit("qemu-system-x86_64: Could not access KVM kernel module: Permission denied")
console = next(a for a in arguments if a.startswith("file,id=console")).split("path=")[1]
qmp = next(a for a in arguments if a.startswith("unix:")).split(":", 1)[1].split(",")[0]
server = socket.socket(socket.AF_UNIX)
server.bind(qmp)
server.listen()
with open(console, "a") as file:
    file.write("Linux version 6\\r\\nbox login: ")
if {behaviour!r} == "powers off":
    sys.exit(0)
while True:
    connection, _ = server.accept()
    stream = connection.makefile("rw")
    stream.write('{{"QMP": {{"version": {{}}}}}}\\n')
    stream.flush()
    ready = False
    for line in stream:
        request = json.loads(line)
        name = request["execute"]
        if not ready and name != "qmp_capabilities":
            answer = {{"error": {{"class": "CommandNotFound", "desc": "negotiate first"}}}}
        elif name == "screendump":
            with open(request["arguments"]["filename"], "wb") as file:
                file.write(b"\\x89PNG")
            answer = {{"return": {{}}}}
        elif name in ("qmp_capabilities", "system_powerdown"):
            ready, answer = True, {{"return": {{}}}}
            if name == "system_powerdown":
                stream.write('{{"event": "POWERDOWN"}}\\n')
        else:
            answer = {{"error": {{"class": "CommandNotFound", "desc": "no such command"}}}}
        stream.write(json.dumps(answer) + "\\n")
        stream.flush()
"""


def install(folder: Path, behaviour: str) -> None:
    """Write the two programs into a folder."""
    folder.mkdir(exist_ok=True)
    for name in ("qemu-system-x86_64", "swtpm"):
        program = folder / name
        program.write_text(PROGRAM.format(python=sys.executable, behaviour=behaviour))
        program.chmod(0o755)
