"""What Debian packages a tree has, read from dpkg's own records."""

from pathlib import Path


def installed_packages(root: Path) -> list[dict[str, str]]:
    """Return name, version and arch of every installed package, by name."""
    text = (root / "var/lib/dpkg/status").read_text("utf-8")
    found = []
    for paragraph in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if ": " in line and not line.startswith(" ")
        )
        if fields.get("Status") == "install ok installed":
            found.append(
                {
                    "name": fields["Package"],
                    "version": fields["Version"],
                    "arch": fields["Architecture"],
                }
            )
    return sorted(found, key=lambda package: (package["name"], package["arch"]))
