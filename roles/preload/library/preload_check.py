#!/usr/bin/python
"""Compares the archives of a preload folder with its preload.json; changes nothing."""

import hashlib
import json
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: preload_check
short_description: Compare container archives with preload.json
description: Fails when an archive is missing, unknown, or has another sha256.
options:
  folder:
    description: Folder of the archives and preload.json.
    type: path
    required: true
author: Skerry maintainers
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={"folder": {"type": "path", "required": True}}, supports_check_mode=True
    )
    folder = Path(module.params["folder"])
    try:
        problems = problems_of(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        module.fail_json(msg=f"{folder}/preload.json cannot be used: {error!r}")
    if problems:
        module.fail_json(msg="; ".join(problems) + "; run: skerry-factory containers")
    module.exit_json(changed=False)


def problems_of(folder: Path) -> list[str]:
    images = json.loads((folder / "preload.json").read_text("utf-8"))["images"]
    named = {image["file"]: image["sha256"] for image in images}
    there = {path.name for path in folder.iterdir()} - {"preload.json"}
    problems = [f"{name} is missing" for name in sorted(set(named) - there)]
    problems += [f"{name} is not named in preload.json" for name in sorted(there - set(named))]
    for name in sorted(there & set(named)):
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != named[name]:
            problems.append(f"{name} has sha256 {found}, preload.json says {named[name]}")
    return problems


if __name__ == "__main__":
    main()
