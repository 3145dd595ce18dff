"""What the programs that compare servers share: a server's life, and how those in Go and Rust are built."""

import os
import pathlib
import shutil
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "servers"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Running:
    """A server from its start to the end of the block; in the command, PORT stands for its port."""

    def __init__(self, command, core=None):
        self.port = free_port()
        pinned = [] if core is None else ["taskset", "-c", str(core)]
        words = [str(self.port) if word == "PORT" else str(word) for word in command]
        self.process = subprocess.Popen(pinned + words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self):
        deadline = time.monotonic() + 20
        # One that has ended may have lost its port to somebody else, who would answer in its stead.
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                time.sleep(0.02)
        self.__exit__()
        raise SystemExit(f"a server did not start: {self.process.args}")

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()


def build_go(source):
    """The program, or None where Go is missing or fails."""
    if not shutil.which("go"):
        return None
    OUT.mkdir(parents=True, exist_ok=True)
    program = OUT / f"{source.parent.name}_{source.stem}"
    environment = {**os.environ, "GO111MODULE": "off"}
    built = subprocess.run(["go", "build", "-o", program, source], env=environment, check=False)
    return program if built.returncode == 0 else None


def build_crate(source):
    """The program, from Debian's crates where those are, else from crates.io; None where cargo is missing or fails."""
    if not shutil.which("cargo"):
        return None
    crate = OUT / source.name
    shutil.copytree(source, crate, dirs_exist_ok=True)
    command = ["cargo", "build", "--release", "--quiet"]
    if pathlib.Path("/usr/share/cargo/registry").is_dir():
        config = crate / ".cargo"
        config.mkdir(exist_ok=True)
        (config / "config.toml").write_text(
            '[source.crates-io]\nreplace-with = "debian"\n'
            '[source.debian]\ndirectory = "/usr/share/cargo/registry"\n'
        )
        command.append("--offline")
    if subprocess.run(command, cwd=crate, check=False).returncode != 0:
        return None
    return crate / "target" / "release" / source.name
