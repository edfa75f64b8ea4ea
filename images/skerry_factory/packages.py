"""What Debian packages a tree has, read from dpkg's own records."""

from pathlib import Path


def installed_packages(root: Path) -> list[dict[str, str]]:
    """Return name, version and arch of every installed package, by name."""
    return packages_of_status((root / "var/lib/dpkg/status").read_text("utf-8"))


def packages_of_status(text: str) -> list[dict[str, str]]:
    """Return the same from the text of dpkg's file."""
    return [
        {
            "name": fields["Package"],
            "version": fields["Version"],
            "arch": fields["Architecture"],
        }
        for fields in installed_paragraphs(text)
    ]


def installed_paragraphs(text: str) -> list[dict[str, str]]:
    """Return the fields of one line of every installed package, by name."""
    found = []
    for paragraph in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if ": " in line and not line.startswith(" ")
        )
        if fields.get("Status") == "install ok installed":
            found.append(fields)
    return sorted(found, key=lambda fields: (fields["Package"], fields["Architecture"]))
