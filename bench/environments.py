"""What is installed or built at run time, in `bench/.cache`: peers' environments, the C++ processor."""

import asyncio
import hashlib
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.errors import UnavailableError
from bench.programs import needed

_HERE = Path(__file__).parent
_CACHE = _HERE / ".cache"
_PEERS = _HERE / "peers"
_PROTOS = _HERE.parent / "protos"
_PROTO = _PROTOS / "sidecar" / "extproc" / "wire" / "ext_proc.proto"
_CPP = _HERE / "cpp_noop.cc"
_HEADERS = (
    (Path("/usr/include/google/protobuf/wrappers.proto"), "libprotobuf-dev"),
    (Path("/usr/include/grpcpp/grpcpp.h"), "libgrpc++-dev"),
)
_WITHIN_S = 240.0


async def python_of(peer: str) -> Path:
    """The Python of a peer's virtual environment, made on the first call.

    Peers have environments of their own because they want other versions than the project has: one of them
    refuses the Redis client that the sidecar is built on.

    Raises:
        UnavailableError: It cannot be installed here.
    """
    wanted = _PEERS / f"{peer}.txt"
    directory = _CACHE / f"{peer}-{_digest([wanted])}"
    python = directory / "bin" / "python"
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        await _run(peer, [sys.executable, "-m", "venv", str(directory)])
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        await _run(peer, [*install, "--requirement", str(wanted)])
        (directory / "done").touch()
    return python


async def express() -> tuple[str, Path]:
    """Node and the script of the Express peer, with what it needs installed beside it.

    Raises:
        UnavailableError: There is no Node or npm, or the packages cannot be had.
    """
    node, npm = needed("node", "nodejs"), needed("npm", "npm")
    sources = [_PEERS / "express" / name for name in ("package.json", "app.js")]
    directory = _CACHE / f"express-{_digest(sources)}"
    if not (directory / "done").exists():
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        for source in sources:
            shutil.copy(source, directory)
        options = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"]
        await _run("express", [npm, "install", *options], directory)
        (directory / "done").touch()
    return node, directory / "app.js"


async def cpp_noop() -> Path:
    """The C++ processor, built on the first call from `cpp_noop.cc` and the project's own .proto.

    Raises:
        UnavailableError: There is no compiler or no gRPC for C++.
    """
    directory = _cpp_directory()
    program = directory / "cpp_noop"
    if program.exists():
        return program
    protoc, compiler = needed("protoc", "protobuf-compiler"), needed("g++", "g++")
    for header, package in _HEADERS:
        if not header.exists():
            raise UnavailableError(f"{header} is not there (Debian's package {package})")
    directory.mkdir(parents=True, exist_ok=True)
    await _run("C++ processor", [protoc, f"-I{_PROTOS}", f"--cpp_out={directory}", str(_PROTO)])
    generated = directory / _PROTO.relative_to(_PROTOS).with_suffix(".pb.cc")
    unfinished = program.with_suffix(".part")
    sources = [str(_CPP), str(generated)]
    libraries = ["-lgrpc++", "-lgrpc", "-lgpr", "-lprotobuf", "-lpthread"]
    compile_ = [compiler, "-std=c++17", "-O2", f"-I{directory}", *sources, "-o", str(unfinished), *libraries]
    await _run("C++ processor", compile_)
    unfinished.rename(program)
    return program


def _cpp_directory() -> Path:
    return _CACHE / f"cpp-{_digest([_CPP, _PROTO])}"


def _digest(files: Iterable[Path]) -> str:
    """What an environment is made from, in its name: another source is another directory."""
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


async def _run(what: str, command: Sequence[str], directory: Path | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(_WITHIN_S):
            output, _ = await process.communicate()
    except TimeoutError:
        raise UnavailableError(f"{what}: {command[0]} did not end within {_WITHIN_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode != 0:
        said = output.decode(errors="replace").strip().splitlines() or ["it printed nothing"]
        raise UnavailableError(f"{what} cannot be set up here: {said[-1]}")
