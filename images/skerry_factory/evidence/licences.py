"""Licences of Debian packages, from their copyright files, as SPDX identifiers where one fits.

A file in the machine-readable form (DEP-5) names the licences of its parts: all are returned. Of
any other file only the texts of /usr/share/common-licenses that it refers to are known. What has no
identifier in SPDX is `LicenseRef-` and the name.
"""

import re

FORMAT = re.compile(r"^Format(-Specification)?:", re.IGNORECASE | re.MULTILINE)
LICENCE = re.compile(r"^License:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)
COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z][\w.-]*\w)")
WORDS = re.compile(r",?\s+(?:and|or)\s+|\s*[,|/]\s*", re.IGNORECASE)
UNKNOWN_PREFIX = "LicenseRef-"

SPDX = {
    "apache-2": "Apache-2.0", "apache-2.0": "Apache-2.0", "artistic": "Artistic-1.0-Perl",
    "artistic-2": "Artistic-2.0", "artistic-2.0": "Artistic-2.0", "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause", "bsl-1.0": "BSL-1.0",
    "cc0": "CC0-1.0", "cc0-1.0": "CC0-1.0", "expat": "MIT", "mit": "MIT", "isc": "ISC",
    "gfdl-1.3+": "GFDL-1.3-or-later", "gpl-1+": "GPL-1.0-or-later", "gpl-2": "GPL-2.0-only",
    "gpl-2+": "GPL-2.0-or-later", "gpl-3": "GPL-3.0-only", "gpl-3+": "GPL-3.0-or-later",
    "lgpl-2": "LGPL-2.0-only", "lgpl-2+": "LGPL-2.0-or-later", "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-2.1+": "LGPL-2.1-or-later", "lgpl-3": "LGPL-3.0-only", "lgpl-3+": "LGPL-3.0-or-later",
    "mpl-2.0": "MPL-2.0", "mpl-1.1": "MPL-1.1", "python-2.0": "Python-2.0", "psf-2": "PSF-2.0",
    "unicode-dfs-2016": "Unicode-DFS-2016", "zlib": "Zlib", "openssl": "OpenSSL",
    "ofl-1.1": "OFL-1.1", "gpl-2.0": "GPL-2.0-only", "lgpl-2.0": "LGPL-2.0-only", "x11": "X11",
    "psf-2.0": "PSF-2.0", "0bsd": "0BSD", "unlicense": "Unlicense", "wtfpl": "WTFPL",
}  # fmt: skip


def licences_of_copyright(text: str) -> tuple[str, ...]:
    """Return the identifiers of all licences that a copyright file names, sorted."""
    if FORMAT.search(text[:2000]):
        named = [part for found in LICENCE.findall(text) for part in WORDS.split(found.strip())]
        return tuple(sorted({identifier(name) for name in named if name}))
    common = {f"{UNKNOWN_PREFIX}common-licenses-{name}" for name in COMMON.findall(text)}
    return tuple(sorted(common))


def identifier(name: str) -> str:
    """Return the SPDX identifier of a licence's short name."""
    known = SPDX.get(name.strip().lower().removesuffix(" license"))
    return known or UNKNOWN_PREFIX + (re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "unnamed")


def is_listed(name: str) -> bool:
    """Tell whether an identifier is one of SPDX's list."""
    return not name.startswith(UNKNOWN_PREFIX)
