"""A server, or a line, that gives other bytes than it announced."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from program import Project
from static_server import Chunk, Result, StaticServer, arrow_chunk, column

ROWS = 1_000


def good_chunk(first: int) -> Chunk:
    return arrow_chunk(pa.table({"ID": pa.array(range(first, first + ROWS), pa.int32())}))


def exported(project: Project, chunks: list[Chunk]) -> tuple[int, str]:
    """Exit code and stderr of an export of these chunks."""
    with StaticServer({"D.PUBLIC.T": Result([column("ID", "fixed", 38, 0)], chunks=chunks)}) as server:
        project.configure(snowflake=server.connection_keys, tables=[{"source": "D.PUBLIC.T"}])
        outcome = project.run("export")
    return outcome.code, outcome.stderr


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "the checksum differs": lambda body: body[:-8] + bytes(8),
    "cut short": lambda body: body[: len(body) // 2],
    "one bit": lambda body: body[:40] + bytes([body[40] ^ 1]) + body[41:],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_chunk_is_named_and_nothing_is_kept(damage: Callable[[bytes], bytes], project: Project) -> None:
    bad = good_chunk(ROWS)
    code, stderr = exported(project, [good_chunk(0), replace(bad, body=damage(bad.read()))])
    assert code == 11, stderr
    assert "chunk 2 of 2" in stderr and "D.PUBLIC.T" in stderr
    assert project.manifests() == [] and project.unfinished() == []


class Elsewhere(StaticServer):
    """Its chunks lie at another address."""

    def __init__(self, chunks: list[Chunk], base: str) -> None:
        super().__init__({"D.PUBLIC.T": Result([column("ID", "fixed", 38, 0)], chunks=chunks)})
        self.base = base

    def answer(self, name: str) -> dict[str, Any]:
        answer = super().answer(name)
        for index, chunk in enumerate(answer["data"]["chunks"]):
            chunk["url"] = f"{self.base}/{index}?sig=canary"
        return answer


def tls_listener(folder: Path) -> tuple[socket.socket, ssl.SSLContext]:
    """One whose certificate nobody has signed."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return socket.create_server(("127.0.0.1", 0)), context


def test_an_untrusted_storage_is_asked_once_and_no_tls_key_is_written(project: Project, tmp_path: Path) -> None:
    listener, context = tls_listener(tmp_path)
    greetings = 0

    def serve() -> None:
        nonlocal greetings
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            greetings += 1
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as encrypted:
                encrypted.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    keys = tmp_path / "keys"
    with Elsewhere([good_chunk(0)], f"https://127.0.0.1:{listener.getsockname()[1]}") as server:
        project.configure(snowflake=server.connection_keys, tables=[{"source": "D.PUBLIC.T"}])
        outcome = project.run("export", SSLKEYLOGFILE=str(keys))
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    assert outcome.code == 4, outcome.stderr
    assert "chunk.untrusted" in outcome.stderr and "certificate" in outcome.stderr and "canary" not in outcome.stderr
    assert greetings == 1
    # Libraries of others may make the file when they are loaded; what matters is that no secret is in it.
    assert not keys.exists() or keys.read_text() == ""
