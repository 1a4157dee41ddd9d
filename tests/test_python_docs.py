"""Every Python block of the documents runs, in order, against a sandbox and a private PostgreSQL."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest
from program import ROOT
from python_fixtures import ITEMS, ORDERS, Sales

DOCUMENTS = [ROOT / "docs" / "connections.md", ROOT / "docs" / "migration.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=[d.name for d in DOCUMENTS])
def test_examples(document: Path, configured: Path, sales: Sales, database: psycopg.Connection) -> None:
    text = document.read_text()
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) == text.count("```python") >= 4
    for block in blocks:
        line = text[: block.start()].count("\n") + 1
        # Its own lines in a traceback, and an empty world: each example says what it imports.
        exec(compile("\n" * line + block[1], str(document), "exec"), {"__name__": "example"})
        assert sales.sessions_open == 0, f"{document.name}:{line}"
    assert database.execute("select count(*) from orders").fetchone() == (ORDERS,)
    assert database.execute("select count(*) from items").fetchone()[0] in (ITEMS, ITEMS - 1)


def test_readme(configured: Path, sales: Sales) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    exec(compile(block, "README.md", "exec"), {})
    assert sales.logins == 1


def test_the_warning_is_quoted_as_it_is() -> None:
    from snowmelt import _snowmelt

    quoted = [line.strip(" ") for line in DOCUMENTS[1].read_text().splitlines()[-2:]]
    assert "\n".join(quoted) == ("WARNING: " + _snowmelt.NO_MANAGER_WARNING).replace(" \n", "\n")
