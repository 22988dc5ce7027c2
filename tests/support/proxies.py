"""Real proxies with the configurations that the documentation prints."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "proxies.md"
NODE = "127.0.0.1:8080"
"""Address of the service in the documentation."""

TIMEOUT = 20.0
"""Timeout for a proxy to listen, in seconds."""


def documented(title: str) -> str:
    """Return the configuration in the section of this *title*."""
    section = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```\w+\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return block


@attrs.frozen
class Frontend:
    """What a configuration is changed to: address, certificate, key and nodes."""

    port: int
    certificate: Path
    key: Path
    nodes: Sequence[str]
    has_tls: bool = True

    @property
    def url(self) -> str:
        return f"http{'s' if self.has_tls else ''}://127.0.0.1:{self.port}"

    @property
    def pem(self) -> Path:
        """Write the file that HAProxy wants: certificate and key together."""
        pem = self.key.with_name("both.pem")
        pem.write_text(self.certificate.read_text() + self.key.read_text())
        return pem


def _per_node(text: str, line: str, site: Frontend) -> str:
    """Repeat the *line* of the documented node for each node."""
    assert line in text
    lines = [
        line.replace(NODE, n).replace("node1", f"n{i}")
        for i, n in enumerate(site.nodes)
    ]
    return text.replace(line, "\n".join(lines))


def nginx(folder: Path, site: Frontend) -> list[str]:
    text = _per_node(documented("nginx"), f"    server {NODE} max_fails=0;", site)
    text = text.replace("listen 443", f"listen 127.0.0.1:{site.port}")
    text = text.replace("/etc/ssl/roundel.crt", str(site.certificate))
    text = text.replace("/etc/ssl/roundel.key", str(site.key))
    user = "user root;" if os.geteuid() == 0 else ""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    file = folder / "nginx.conf"
    file.write_text(
        f"{user} daemon off; pid {folder}/pid; worker_processes 1;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}{text}}}\n"
    )
    return ["nginx", "-p", str(folder), "-c", str(file), "-e", f"{folder}/error.log"]


def caddy(folder: Path, site: Frontend) -> list[str]:
    text = documented("Caddy").replace(NODE, " ".join(site.nodes))
    tls = f"    tls {site.certificate} {site.key}\n"
    address = f"https://127.0.0.1:{site.port} {{\n"
    text = text.replace("badges.example.org {\n", address + tls)
    file = folder / "Caddyfile"
    file.write_text("{\n    admin off\n    auto_https disable_redirects\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


def haproxy(folder: Path, site: Frontend) -> list[str]:
    text = _per_node(documented("HAProxy"), f"    server node1 {NODE}", site)
    text = text.replace("bind :443", f"bind 127.0.0.1:{site.port}")
    text = text.replace("/etc/ssl/roundel.pem", str(site.pem))
    if not site.has_tls:
        text = re.sub(r" ssl crt .*", "", text)
    file = folder / "haproxy.cfg"
    file.write_text(text)
    return ["haproxy", "-db", "-f", str(file)]


PROXIES = {"nginx": nginx, "caddy": caddy, "haproxy": haproxy}


@contextmanager
def running_proxy(
    name: str, folder: Path, site: Frontend, lacking: Callable[[str], None]
) -> Iterator[str]:
    """Run a proxy; yield the URL of its site."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    if (program := shutil.which(name, path=path)) is None:
        lacking(f"{name} is not installed")
        return
    command = [program, *PROXIES[name](folder, site)[1:]]
    home = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, env=home, stdout=output, stderr=output)
    try:
        _wait_until_it_listens(process, site.port, folder / "output")
        yield site.url
    finally:
        process.terminate()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_it_listens(
    process: subprocess.Popen[bytes], port: int, output: Path
) -> None:
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"the proxy has exited: {output.read_text()[-2_000:]}")
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail(f"the proxy does not listen: {output.read_text()[-2_000:]}")
