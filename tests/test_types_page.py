"""docs/types.md is what the program says of itself."""

from __future__ import annotations

import re
import subprocess

from program import ROOT, SNOWMELT


def test_the_page_is_current_and_its_footnotes_are_there() -> None:
    said = subprocess.run([SNOWMELT, "types"], capture_output=True, check=True).stdout.decode()
    assert (ROOT / "docs" / "types.md").read_text(encoding="utf-8") == said, "run `make docs`"
    used = set(re.findall(r"\[\^(\w+)\](?!:)", said))
    told = set(re.findall(r"^\[\^(\w+)\]:", said, re.MULTILINE))
    assert used == told
