"""A link between a program and a server that can be made slow, silent, or be cut, and what it has carried."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Self

_SLOW_BYTES = 256  # every tick
_TICK = 0.1


class Link:
    """Listens on loopback and passes everything on to `target`: a host and port, or the path of a unix socket."""

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._mode = "open"
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def open(self) -> None:
        self._mode = "open"

    def silence(self) -> None:
        """Whoever connects is taken, and nothing is passed on in either direction."""
        self._mode = "silent"

    def slow_down(self) -> None:
        self._mode = "slow"

    def cut(self) -> None:
        """Nobody listens any more, and every connection is reset."""
        self._mode = "gone"
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for end in self._sockets:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                    end.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        family = socket.AF_UNIX if isinstance(self._target, str) else socket.AF_INET
        far = socket.socket(family, socket.SOCK_STREAM)
        with self._lock:
            self._sockets |= {near, far}
        try:
            far.connect(self._target)
            self._pump(near, far)
        except OSError:
            pass
        finally:
            with self._lock:
                self._sockets -= {near, far}
            near.close()
            far.close()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        other = {near: far, far: near}
        with selectors.DefaultSelector() as selector:
            for end in other:
                selector.register(end, selectors.EVENT_READ)
            pause = threading.Event()
            while self._mode != "gone":
                if self._mode == "silent":
                    pause.wait(_TICK / 4)
                    continue
                for key, _ in selector.select(_TICK):
                    slow = self._mode == "slow"
                    data = key.fileobj.recv(_SLOW_BYTES if slow else 1 << 16)
                    if not data:
                        return
                    other[key.fileobj].sendall(data)
                    if slow:
                        pause.wait(_TICK)
