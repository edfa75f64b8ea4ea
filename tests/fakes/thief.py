"""A module that tries to be another: runs inside a container, on the standard library alone.

    thief.py SOCKETS NUMBER SEED NAME [MODULE...]

asks edged NUMBER times for the keys and certificates of the module NAME through one of the SOCKETS
(a JSON array), each time as another user, in another spelling, version and disguise. Prints
`{"seen": {status: times}, "taken": [[status, path, answer]…]}`; taken is all that was not refused.
"""

import collections
import http.client
import json
import os
import random
import socket
import sys
from typing import Any

ROUTES = (
    ("POST", "/modules/{name}/genid/{generation}/sign"),
    ("POST", "/modules/{name}/genid/{generation}/encrypt"),
    ("POST", "/modules/{name}/genid/{generation}/decrypt"),
    ("POST", "/modules/{name}/genid/{generation}/certificate/server"),
    ("POST", "/modules/{name}/certificate/identity"),
)
CHANGES = (("PUT", "/modules/{name}"), ("DELETE", "/modules/{name}"))
SPELLINGS = (
    "{0}", "{1}", "{2}", "%{3:02x}{4}", "%25{3:02x}{4}", "{0}%00", "{0}%20", "thief/../{0}",
    "thief%2F..%2F{0}", "./{0}", "/{0}", "{0}/", "{0}%2f", "{0};thief", "{0},thief", "*",
    "%24edgeAgent", "$edgeAgent", "edgeAgent", "$edgeHub", "{0}%0a", "{0}?module=thief",
)  # fmt: skip
BODY = {
    "keyId": "primary", "algo": "HMACSHA256", "data": "aGVsbG8=", "initializationVector": "AAAA",
    "plaintext": "AAAA", "ciphertext": "AgAA", "commonName": "host", "moduleId": "victim",
}  # fmt: skip
USERS = (0, 1, 1000, 13611, 13612, 13613, 13614, 13615, 13622, 13623, 65534)
VERSIONS = ("2018-06-28", "2019-01-30", "2020-07-07", "2021-12-07", "2022-08-03")
DISGUISES: tuple[dict[str, str], ...] = (
    {}, {"Host": "victim"}, {"X-Forwarded-For": "victim"}, {"X-Module-Id": "victim"},
    {"Authorization": "SharedAccessSignature sr=victim&sig=AAAA&se=9999999999"},
    {"Connection": "close"},
)  # fmt: skip

Found = tuple[int | str, str, str]


def attempt(dice: random.Random, path: str, name: str, *, own: bool) -> Found:
    """Ask once; `own` asks plainly, as the module itself would."""
    method, route = dice.choice(ROUTES if own else ROUTES + CHANGES)
    spelling = "{0}" if own else dice.choice(SPELLINGS)
    spelled = spelling.format(name, name.upper(), name.title(), ord(name[0]), name[1:])
    target = route.format(name=spelled, generation=dice.choice(("1", "2", "99999", "victim")))
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(path)
    body = json.dumps(BODY).encode()
    query = f"?api-version={dice.choice(VERSIONS)}"
    connection.putrequest(method, target + query, skip_host=True)
    for key, value in {"Host": "localhost", **dice.choice(DISGUISES)}.items():
        connection.putheader(key, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    said = answer.read(65536).decode("utf-8", "replace")
    connection.close()
    return answer.status, target, said[:300]


def as_user(uid: int, dice: random.Random, path: str, name: str, *, own: bool) -> Any:
    """Ask as another user: in a process of its own, which cannot come back."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(uid)
            os.setuid(uid)
            found = attempt(dice, path, name, own=own)
        except Exception as error:
            found = (type(error).__name__, "", str(error))
        os.write(write, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


def main() -> None:
    sockets, number, seed, name = json.loads(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5]
    own = sys.argv[5:] == ["own"]
    seen: collections.Counter[str] = collections.Counter()
    taken = []
    for turn in range(number):
        dice = random.Random(f"{seed} {turn}")  # noqa: S311  attempts, not keys
        found = as_user(dice.choice(USERS), dice, dice.choice(sockets), name, own=own)
        seen[str(found[0])] += 1
        kept_out = found[0] == "PermissionError"  # by the kernel, from the socket itself
        if not kept_out and (isinstance(found[0], str) or found[0] < http.client.BAD_REQUEST):
            taken.append(found)
    sys.stdout.write(json.dumps({"seen": seen, "taken": taken[:20]}))


if __name__ == "__main__":
    main()
