#!/usr/bin/env python3
"""NCCL on one GPU: a send and a receive to itself, in one group, captured in a graph and launched twice.

It shows that NCCL's calls can be captured with what is installed here, and how fast a launch is; there
is no other GPU to send to. The libraries are opened as Stagecoach opens them. Prints a line of JSON.
Exit status 77 where there is no NCCL or no libcudart to open, 1 where a call fails. Python's standard
library only.
"""

import ctypes
import json
import sys
import time

import machine

BYTES = 1 << 20
CHAR = 0  # ncclInt8
CAPTURE_RELAXED = 2
LAUNCHES = 100


class CallError(Exception):
    pass


class UniqueId(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 128)]


class Library:
    """A shared library whose functions return a status, 0 for success."""

    def __init__(self, path, error_text):
        self.library = ctypes.CDLL(path)
        self.error_text = getattr(self.library, error_text)
        self.error_text.restype = ctypes.c_char_p

    def __call__(self, function, *arguments):
        status = getattr(self.library, function)(*arguments)
        if status != 0:
            raise CallError(f"{function}: {self.error_text(status).decode()}")


def pointer():
    return ctypes.c_void_p()


def probe(cuda, nccl):
    identity, communicator = UniqueId(), pointer()
    cuda("cudaSetDevice", 0)
    nccl("ncclGetUniqueId", ctypes.byref(identity))
    nccl("ncclCommInitRank", ctypes.byref(communicator), 1, identity, 0)
    stream, source, target = pointer(), pointer(), pointer()
    cuda("cudaStreamCreate", ctypes.byref(stream))
    size = ctypes.c_size_t(BYTES)
    cuda("cudaMalloc", ctypes.byref(source), size)
    cuda("cudaMalloc", ctypes.byref(target), size)
    sent = bytes(i * 31 % 251 for i in range(BYTES))
    copy_kind_default = 4
    cuda("cudaMemcpy", source, ctypes.c_char_p(sent), size, copy_kind_default)

    def exchange():
        nccl("ncclGroupStart")
        nccl("ncclSend", source, size, CHAR, 0, communicator, stream)
        nccl("ncclRecv", target, size, CHAR, 0, communicator, stream)
        nccl("ncclGroupEnd")

    def arrived():
        received = ctypes.create_string_buffer(BYTES)
        cuda("cudaMemcpy", received, target, size, copy_kind_default)
        return received.raw == sent

    def clear():
        cuda("cudaMemset", target, 0, size)

    clear()
    exchange()  # connects
    cuda("cudaStreamSynchronize", stream)
    eager = arrived()

    graph, instance = pointer(), pointer()
    cuda("cudaStreamBeginCapture", stream, CAPTURE_RELAXED)
    exchange()
    cuda("cudaStreamEndCapture", stream, ctypes.byref(graph))
    cuda("cudaGraphInstantiate", ctypes.byref(instance), graph, ctypes.c_ulonglong(0))
    captured = []
    for _ in range(2):
        clear()
        cuda("cudaGraphLaunch", instance, stream)
        cuda("cudaStreamSynchronize", stream)
        captured.append(arrived())
    start = time.perf_counter()
    for _ in range(LAUNCHES):
        cuda("cudaGraphLaunch", instance, stream)
    cuda("cudaStreamSynchronize", stream)
    seconds = (time.perf_counter() - start) / LAUNCHES
    # Graphs that hold NCCL's work go first.
    cuda("cudaGraphExecDestroy", instance)
    cuda("cudaGraphDestroy", graph)
    nccl("ncclCommDestroy", communicator)
    return {"bytes": BYTES, "eager_arrived": eager, "captured_arrived": captured,
            "seconds_per_launch": seconds}


def main():
    found = {name: machine.library_version(*machine.LIBRARIES[name]) for name in ("cudart", "nccl")}
    for name, facts in found.items():
        if not facts:
            print(f"no {' or '.join(machine.LIBRARIES[name][0])} here")
            return 77
    try:
        result = probe(Library(found["cudart"]["library"], "cudaGetErrorString"),
                       Library(found["nccl"]["library"], "ncclGetErrorString"))
    except (CallError, AttributeError) as error:
        print(f"nccl_probe: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"nccl": found["nccl"]["version"], **result}))
    return 0 if result["eager_arrived"] and all(result["captured_arrived"]) else 1


if __name__ == "__main__":
    sys.exit(main())
