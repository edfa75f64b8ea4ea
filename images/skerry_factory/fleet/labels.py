"""The technician's label sheet: a PDF with a label for each device, its QR code beside its name.

A4, 3 by 7 labels of 63.5 by 38.1 mm, as label sheets with 21 labels have them. The code holds
`{"device", "seed"}` as JSON, no secrets; `seed` is the start of the digest in the ledger. The same
fleet gives the same bytes.
"""

import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import segno
from fpdf import FPDF

from skerry.base.files import write_atomic
from skerry_factory.epoch import SOURCE_DATE_EPOCH
from skerry_factory.errors import FactoryError
from skerry_factory.fleet.ledger import Entry

COLUMNS, ROWS = 3, 7
WIDTH_MM, HEIGHT_MM, PITCH_MM = 63.5, 38.1, 66.04
LEFT_MM, TOP_MM, PADDING_MM = 7.2, 15.15, 3.0
QR_MM = 28.0
NAME_POINTS, TEXT_POINTS = 11.0, 7.0
LINE_MM = 3.2
QUIET_MODULES = 2
SEED_DIGITS = 12
FONT = "DejaVu"
FONTS = Path("/usr/share/fonts/truetype/dejavu")


def write_labels(file: Path, entries: Iterable[Entry]) -> None:
    """Write the sheet for devices of a ledger. Raises: FactoryError."""
    write_atomic(file, label_sheet(entries), mode=0o644)


def label_sheet(entries: Iterable[Entry]) -> bytes:
    """Return the sheet as PDF. Raises: FactoryError when the font is not there."""
    pdf = FPDF(unit="mm", format="A4")
    pdf.set_creation_date(datetime.fromtimestamp(SOURCE_DATE_EPOCH, UTC))
    pdf.set_title("Device labels")
    pdf.set_auto_page_break(auto=False)
    for style, name in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
        if not (FONTS / name).is_file():
            raise FactoryError(f"{FONTS / name} is missing; install fonts-dejavu-core")
        pdf.add_font(FONT, style, FONTS / name)
    for number, entry in enumerate(entries):
        place = number % (COLUMNS * ROWS)
        if place == 0:
            pdf.add_page()
        row, column = divmod(place, COLUMNS)
        _label(pdf, entry, LEFT_MM + column * PITCH_MM, TOP_MM + row * HEIGHT_MM)
    return bytes(pdf.output())


def code_text(entry: Entry) -> str:
    """Return what a label's code says."""
    told = {"device": entry.device, "seed": entry.made.seed[:SEED_DIGITS]}
    return json.dumps(told, separators=(",", ":"))


def _label(pdf: FPDF, entry: Entry, x: float, y: float) -> None:
    top = y + (HEIGHT_MM - QR_MM) / 2
    pdf.image(_code(code_text(entry)), x + PADDING_MM - 1, top, QR_MM, QR_MM)
    left = x + PADDING_MM + QR_MM
    width = WIDTH_MM - 2 * PADDING_MM - QR_MM
    pdf.set_font(FONT, "B", NAME_POINTS)
    lines = _wrapped(pdf, entry.device, width)
    pdf.set_xy(left, top + 1)
    for line in lines[:2]:
        pdf.cell(width, 4.4, line, new_x="LEFT", new_y="NEXT")
    pdf.set_font(FONT, "", TEXT_POINTS)
    for text in _texts(entry):
        if pdf.get_y() + LINE_MM > top + QR_MM - LINE_MM:
            break
        pdf.cell(width, LINE_MM, _cut(pdf, text, width), new_x="LEFT", new_y="NEXT")
    pdf.set_xy(left, top + QR_MM - LINE_MM)
    pdf.cell(width, LINE_MM, _cut(pdf, f"seed {entry.made.seed[:SEED_DIGITS]}", width))


def _texts(entry: Entry) -> list[str]:
    """Return what is told below a device's name, what matters most first."""
    texts = [entry.hostname] if entry.hostname != entry.device else []
    texts += [entry.registration_id] if entry.registration_id != entry.device else []
    texts += [entry.address] if entry.address else ["DHCP"]
    return texts + [f"{name}: {text}" for name, text in entry.labels.items()]


def _wrapped(pdf: FPDF, text: str, width: float) -> list[str]:
    lines = [""]
    for character in text:
        if pdf.get_string_width(lines[-1] + character) > width - 2:
            lines.append("")
        lines[-1] += character
    return lines


def _cut(pdf: FPDF, text: str, width: float) -> str:
    if pdf.get_string_width(text) <= width - 2:
        return text
    while text and pdf.get_string_width(text + "…") > width - 2:
        text = text[:-1]
    return text + "…"


def _code(text: str) -> io.BytesIO:
    """Return a QR code as PNG, a pixel for each module."""
    data = io.BytesIO()
    segno.make_qr(text, error="m").save(data, kind="png", border=QUIET_MODULES)
    data.seek(0)
    return data
