"""One version, from the file VERSION: program, Python package, sandbox, manifest, wheels."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest
import snowmelt_sandbox
from program import ROOT, SNOWMELT

import snowmelt

VERSION = (ROOT / "VERSION").read_text().strip()
METADATA = """
import sys
from scikit_build_core.build import prepare_metadata_for_build_wheel
print(prepare_metadata_for_build_wheel(sys.argv[1]))
"""


def test_program_package_and_sandbox() -> None:
    shown = subprocess.run([SNOWMELT, "--version"], check=True, capture_output=True, text=True).stdout
    assert shown.strip() == f"snowmelt {VERSION}"
    assert snowmelt.__version__ == VERSION
    assert snowmelt_sandbox.__version__ == VERSION


def test_manifest(project, sales_server) -> None:
    project.configure(snowflake=sales_server.connection_keys, tables=[{"source": "SALES.PUBLIC.ORDERS"}])
    outcome = project.run("export")
    assert outcome.code == 0, outcome.stderr
    assert json.loads(project.manifests()[0].read_text())["writer"] == f"snowmelt {VERSION}"


@pytest.mark.parametrize("directory, name", [(".", "snowmelt"), ("python", "snowmelt-sandbox")])
def test_wheel_metadata(directory: str, name: str, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", METADATA, tmp_path], cwd=ROOT / directory, check=True, capture_output=True)
    (found,) = tmp_path.glob("*.dist-info")
    metadata = importlib.metadata.Distribution.at(found).metadata
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == (name, VERSION, "Apache-2.0")
