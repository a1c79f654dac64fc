#!/usr/bin/env python3
"""What cuDNN knows of GPU 0, as the JSON from which it plans without one.

Prints the JSON: tests/data_files/cudnn_*.json are such files. Python's standard library only.
"""

import argparse
import ctypes
import json
import sys

import machine

# Of cudnn_graph.h, version 9.
DEVICEPROP_DESCRIPTOR = 38
DEVICE_ID, JSON = 2700, 2702
TYPE_INT32, TYPE_CHAR = 23, 24


class CudnnError(Exception):
    pass


def load():
    facts = machine.library_version(*machine.LIBRARIES["cudnn"])
    if not facts:
        raise CudnnError("cuDNN 9 (libcudnn.so.9) is not found")
    library = ctypes.CDLL(facts["library"])
    library.cudnnGetErrorString.restype = ctypes.c_char_p
    return library


def properties(library, attribute, kind, count, value):
    """The JSON of a descriptor that is made from one attribute."""
    def check(status, call):
        if status != 0:
            raise CudnnError(f"{call}: {library.cudnnGetErrorString(status).decode()}")

    descriptor = ctypes.c_void_p()
    check(library.cudnnBackendCreateDescriptor(DEVICEPROP_DESCRIPTOR, ctypes.byref(descriptor)),
          "cudnnBackendCreateDescriptor")
    try:
        check(library.cudnnBackendSetAttribute(descriptor, attribute, kind, ctypes.c_int64(count),
                                               value), "cudnnBackendSetAttribute")
        check(library.cudnnBackendFinalize(descriptor), "cudnnBackendFinalize")
        text, written = ctypes.create_string_buffer(1 << 16), ctypes.c_int64()
        check(library.cudnnBackendGetAttribute(descriptor, JSON, TYPE_CHAR,
                                               ctypes.c_int64(len(text)), ctypes.byref(written),
                                               text), "cudnnBackendGetAttribute")
        return json.loads(text.value.decode())
    finally:
        library.cudnnBackendDestroyDescriptor(descriptor)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", metavar="FILE",
                        help="read back this JSON instead of asking a GPU")
    arguments = parser.parse_args()
    try:
        library = load()
        if arguments.source:
            with open(arguments.source, "rb") as file:
                text = file.read()
            found = properties(library, JSON, TYPE_CHAR, len(text) + 1, text)
        else:
            found = properties(library, DEVICE_ID, TYPE_INT32, 1, ctypes.byref(ctypes.c_int32(0)))
    except CudnnError as error:
        print(f"device_properties: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
