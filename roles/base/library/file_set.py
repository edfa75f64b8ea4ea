#!/usr/bin/python
"""Writes a set of small files and links in one step, where a task for each would cost more.

The parent folders are made (0755). Every file is written whole, with its final mode, or not at
all, and belongs to the user who runs the module. Check mode compares and writes nothing; diff mode
shows each file.
"""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: file_set
short_description: Write a set of small files and links
description: Parent folders are made, mode 0755; the files belong to who runs the module.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description: The whole text of the file; not used for links.
        type: str
      link:
        description: Target of a symbolic link.
        type: str
      mode:
        description: Mode of the file.
        type: str
        default: "0644"
      present:
        description: Whether the file exists at all.
        type: bool
        default: true
      validate:
        description: Command that is given the path of the new content and must exit 0.
        type: list
        elements: str
author: Skerry maintainers
"""

Wanted = dict[str, Any]
State = tuple[Any, ...] | None

OPTIONS = {
    "path": {"type": "path", "required": True},
    "content": {"type": "str"},
    "link": {"type": "str"},
    "mode": {"type": "str", "default": "0644"},
    "present": {"type": "bool", "default": True},
    "validate": {"type": "list", "elements": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": OPTIONS}
        },
        supports_check_mode=True,
    )
    diffs = []
    for wanted in module.params["files"]:
        before = state_of(Path(wanted["path"]))
        after = state_wanted(wanted)
        if before == after:
            continue
        if not module.check_mode:
            apply(module, wanted)
        header = {"before_header": wanted["path"], "after_header": wanted["path"]}
        diffs.append({"before": shown(before), "after": shown(after), **header})
    module.exit_json(changed=bool(diffs), diff=diffs)


def state_of(path: Path) -> State:
    """Return what is there: None, ('link', target) or ('file', content, mode, uid, gid)."""
    if path.is_symlink():
        return ("link", str(path.readlink()))
    if not path.exists():
        return None
    status = path.stat()
    content = path.read_text("utf-8", "replace")
    return ("file", content, status.st_mode & 0o7777, status.st_uid, status.st_gid)


def state_wanted(wanted: Wanted) -> State:
    if not wanted["present"]:
        return None
    if wanted["link"] is not None:
        return ("link", wanted["link"])
    return ("file", wanted["content"] or "", int(wanted["mode"], 8), os.geteuid(), os.getegid())


def apply(module: Any, wanted: Wanted) -> None:
    path = Path(wanted["path"])
    if not wanted["present"]:
        path.unlink()
        return
    make_folder(path.parent)
    with tempfile.TemporaryDirectory(prefix=".file_set.", dir=path.parent) as scratch:
        new = Path(scratch) / "new"
        if wanted["link"] is not None:
            new.symlink_to(wanted["link"])
        else:
            write(module, wanted, new)
        new.replace(path)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, open to readers whatever the umask is."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def write(module: Any, wanted: Wanted, new: Path) -> None:
    new.touch(mode=0o600)
    new.chmod(int(wanted["mode"], 8))
    new.write_text(wanted["content"] or "", "utf-8")
    if wanted["validate"]:
        command = [*wanted["validate"], str(new)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            told = (done.stdout + done.stderr).strip()
            module.fail_json(msg=f"new content of {wanted['path']} is refused: {told}")


def shown(state: State) -> str:
    if state is None:
        return ""
    text = f"-> {state[1]}" if state[0] == "link" else str(state[1])
    return text if text.endswith("\n") else text + "\n"


if __name__ == "__main__":
    main()
