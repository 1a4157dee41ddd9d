"""What messages and hints name exists: each flag, key, section, command, variable and make target in the source's own texts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program import ROOT, SNOWMELT

COMMANDS = ("run", "export", "import", "login", "types")
# After "snowmelt", words that are no command but go on with the sentence.
PROSE = {
    "again", "can", "does", "gave", "is", "ledger", "logs", "make", "makes", "needs", "process", "staging", "to", "tries", "was",
    "with", "writes",
}  # fmt: skip
VALUES = {
    "programmatic_access_token", "snowflake_jwt", "oauth_authorization_code", "oauth_client_credentials", "username_password_mfa",
    "workload_identity",
}  # fmt: skip
AFTER_SECTION = {"of", "with"}  # "[[table]] of the configuration"
# Words with an underscore that are no keys: settings of PostgreSQL, names of other programs and of functions.
FOREIGN = {
    "default_transaction_read_only", "idle_in_transaction_session_timeout", "idle_session_timeout", "search_path",
    "statement_timeout", "lock_timeout", "https_proxy", "application_name", "pg_prepared_xacts",
    "get_connection", "is_from_converted_type", "set_result_row_reader",
}  # fmt: skip
SQL = re.compile(
    r"select |pg_catalog|l\.locktype|table_oid|delete from |\$1|savepoint |^\s*(set local|set transaction|show|alter|create) "
)
LITERALS = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"\((?P<raw>.*?)\)"|`(?P<go>[^`]*)`|"(?P<text>(?:[^"\\\n]|\\.)*)"|\'(?:[^\'\\\n]|\\.)+\'', re.DOTALL
)


def sources() -> list[Path]:
    files = [
        f for folder in ("src", "bridge", "python") for f in (ROOT / folder).rglob("*") if f.suffix in (".cc", ".h", ".go", ".py")
    ]
    return [f for f in files if "_test." not in f.name and not f.name.startswith("test_") and "snowmelt_sandbox" not in f.parts]


def texts(file: Path) -> Iterator[str]:
    """Every text of a source file; literals side by side are one, docstrings are none."""
    source = file.read_text()
    if file.suffix == ".py":
        tree = ast.parse(source)
        docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        yield from (
            n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docs
        )
        return
    joined, end = "", 0
    for match in LITERALS.finditer(source):
        kind = match.lastgroup
        if kind is None:  # a comment, a character
            continue
        if source[end : match.start()].strip():
            yield joined
            joined = ""
        joined += re.sub(r"\\(.)", r"\1", match[kind]) if kind == "text" else match[kind]
        end = match.end()
    yield joined


TEXTS = [(file, text) for file in sources() for text in texts(file)]
MESSAGES = [(file, text) for file, text in TEXTS if " " in text and not SQL.search(text)]


@pytest.fixture(scope="module")
def keys() -> dict[str, set[str]]:
    """The keys of each section, as docs/configuration.md lists them."""
    found: dict[str, set[str]] = {}
    section = ""
    for line in (ROOT / "docs" / "configuration.md").read_text().splitlines():
        if line.startswith("## "):
            sections = re.findall(r"\[(\w+)\]", line)
            section = sections[0]
            found |= {name: found.setdefault(section, set()) for name in sections}
        elif line.startswith("| `"):
            found[section] |= set(re.findall(r"`(\w+)`", line.split("|")[1]))
    assert {"snowflake", "postgres", "export", "table", "defaults"} <= found.keys()
    assert "on_subsecond" in found["defaults"] and "password" in found["snowflake"]
    return found


def helps() -> str:
    done = [subprocess.run([SNOWMELT, *command, "--help"], capture_output=True, text=True) for command in [(), *zip(COMMANDS)]]
    done += [
        subprocess.run(
            [sys.executable, "-m", f"pipeline.{m}_data", "--help"], capture_output=True, text=True, cwd=ROOT / "python"
        )
        for m in ("export", "import")
    ]
    assert all(one.returncode == 0 for one in done)
    return "".join(one.stdout for one in done)


def wrong(pattern: str, known: Callable[..., bool]) -> list[str]:
    """Where a message names by `pattern` what is not `known` (asked with the groups). No name at all is a wrong pattern."""
    found = [(file, match) for file, text in MESSAGES for match in re.finditer(pattern, text)]
    assert found, f"no message has {pattern}"
    return sorted({f"{file.relative_to(ROOT)}: {match[0]}" for file, match in found if not known(*match.groups())})


def test_the_texts_are_found() -> None:
    assert len(MESSAGES) > 500
    texts = [text for _, text in MESSAGES]
    assert 'set mode = "replace", "truncate" or "append", or drop it' in texts
    # Of two literals and a letter beyond ASCII.
    assert any("SET RSA_PUBLIC_KEY), that account is right" in text for text in texts)
    assert {"bridge", "src", "python"} == {file.relative_to(ROOT).parts[0] for file, _ in MESSAGES}


def test_flags() -> None:
    known = set(re.findall(r"--[a-z][a-z-]*", helps()))
    assert "--table" in known
    assert wrong(r"(?<![\w-])(--[a-z][\w-]*)", lambda flag: flag in known) == []


def test_commands() -> None:
    commands = {line.split()[0] for line in helps().splitlines() if re.match(r"  [a-z]+ {2,}\S", line)}
    assert commands >= set(COMMANDS)
    # The label of a key that is derived from another one (docs/encryption.md) is no command.
    assert wrong(r"\bsnowmelt (?!manifest$)([a-z]+)\b", lambda word: word in commands | PROSE) == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert wrong(r"\(make ([a-z-]+)\)", lambda target: target in targets) == []


def test_sections_and_keys(keys: dict[str, set[str]]) -> None:
    every = set().union(*keys.values())
    sections = "|".join(keys)
    assert wrong(r"(?<![\w\\])\[\[?([a-z_]{3,})\]\]?(?![*+?])", lambda section: section in keys) == []
    assert wrong(rf"\[({sections})\]\]? ([a-z_]+)\b", lambda section, key: key in keys[section] | AFTER_SECTION) == []
    codes = {text for _, text in TEXTS if re.fullmatch(rf"({sections})\.\w+", text)}
    known = {f"{section}.{key}" for section in keys for key in keys[section]} | codes
    assert wrong(rf"(?<![\w.])((?:{sections})\.[a-z_]+)\b(?!\()", lambda name: name in known) == []
    assert wrong(r'(?<![\w.])([a-z_]+) = (?=["\[{])', lambda key: key in every) == []
    # A word with an underscore is a key, or known by name.
    assert wrong(r"(?<![\w./$@-])([a-z]+(?:_[a-z]+)+)\b(?![\w(.=/-])", lambda word: word in every | FOREIGN | VALUES) == []


def test_variables(keys: dict[str, set[str]]) -> None:
    read = {text for _, text in TEXTS if re.fullmatch(r"[A-Z][A-Z0-9_]+", text)}  # as getenv() takes them
    read |= {f"SNOWFLAKE_{key.upper()}" for key in keys["snowflake"]}
    assert wrong(r"(?<![\w])((?:SNOWMELT|SNOWFLAKE|SF|PG)_?[A-Z][A-Z0-9_]*)\b", lambda name: name in read) == []
