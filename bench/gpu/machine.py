#!/usr/bin/env python3
"""What this machine's GPU and its libraries are, asked of the driver and the libraries themselves.

Prints JSON; with --shell the variables that scripts/gpu_check.sh sets. Exit status 3, and one line
on stderr, where there is no GPU. Python's standard library only.
"""

import argparse
import ctypes
import glob
import json
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig

# Attributes of cuDeviceGetAttribute (cuda.h).
MULTIPROCESSORS, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76

# Name -> libraries that may answer, and the function that returns or writes the version.
LIBRARIES = {
    "cudart": (("libcudart.so.13", "libcudart.so.12"), "cudaRuntimeGetVersion"),
    "cublaslt": (("libcublasLt.so.13", "libcublasLt.so.12"), "cublasLtGetVersion"),
    "cudnn": (("libcudnn.so.9",), "cudnnGetVersion"),
    "nccl": (("libnccl.so.2",), "ncclGetVersion"),
}
WRITES_VERSION = ("cudaRuntimeGetVersion", "ncclGetVersion")  # the others return it


class NoGpu(Exception):
    pass


def gpus():
    """Each GPU as the driver names it. Throws NoGpu with the reason when there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise NoGpu("no NVIDIA driver is installed (libcuda.so.1 is not found)") from None
    status = driver.cuInit(0)
    if status != 0:
        raise NoGpu(f"the driver does not start: cuInit returns {status}")
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    driver.cuDriverGetVersion(ctypes.byref(version))
    if count.value == 0:
        raise NoGpu("the driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)")
    return [describe_gpu(driver, index) for index in range(count.value)], version.value


def describe_gpu(driver, index):
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(128), ctypes.c_size_t()
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)

    def attribute(number):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        return value.value

    return {"name": name.value.decode(), "memory_bytes": memory.value,
            "multiprocessors": attribute(MULTIPROCESSORS),
            "capability": f"{attribute(CAPABILITY_MAJOR)}.{attribute(CAPABILITY_MINOR)}"}


def cuda_home():
    """The folder of the toolkit whose nvcc comes first: on PATH, its usual place, or a wheel."""
    candidates = [shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc",
                  *(f"{folder}/bin/nvcc" for folder in wheel_folders())]
    for nvcc in candidates:
        if nvcc and os.access(nvcc, os.X_OK):
            return pathlib.Path(nvcc).resolve().parent.parent
    return None


def wheel_folders():
    """nvidia/cudnn, nvidia/nccl, nvidia/cu13 ... of this Python's packages."""
    roots = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"], *sys.path}
    return sorted({folder.rstrip("/") for root in roots if root
                   for folder in glob.glob(f"{root}/nvidia/*/")})


def wheel_of(header):
    return next((folder for folder in wheel_folders()
                 if os.path.exists(f"{folder}/include/{header}")), None)


def library_folders():
    """Where wheels keep their libraries, for LD_LIBRARY_PATH."""
    return [f"{folder}/lib" for folder in wheel_folders() if os.path.isdir(f"{folder}/lib")]


def library_version(names, function):
    """Of the first library that loads: its own number and where it is; None without one."""
    folders = ["", *(f"{folder}/" for folder in library_folders())]
    home = cuda_home()
    if home:
        folders += [f"{home}/lib64/", f"{home}/lib/"]
    for path in (folder + name for name in names for folder in folders):
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        call = getattr(library, function)
        if function in WRITES_VERSION:
            value = ctypes.c_int()
            call(ctypes.byref(value))
            return {"version": value.value, "library": path}
        call.restype = ctypes.c_size_t
        return {"version": call(), "library": path}
    return None


def output_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe():
    found, driver_version = gpus()
    home = cuda_home()
    nvcc = output_of(f"{home}/bin/nvcc", "--version") if home else None
    fields = "driver_version,clocks.max.sm,clocks.max.memory,power.limit,mig.mode.current"
    smi = output_of("nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader", "--id=0")
    torch = output_of(sys.executable, "-c", "import torch; print(torch.__version__)")
    return {
        "gpus": found,
        "driver_cuda": driver_version,
        "nvidia_smi": dict(zip(fields.split(","), smi.split(", "))) if smi else None,
        "nvcc": nvcc.splitlines()[-2] if nvcc else None,
        **{name: library_version(*how) for name, how in LIBRARIES.items()},
        "torch": torch,
        "cpu": processor(), "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(),
    }


def shell_variables():
    """For eval: architecture, toolkit and libraries as CMake and the loader shall find them."""
    found, _ = gpus()
    home = cuda_home()
    values = {
        "gpu_name": found[0]["name"],
        "gpu_architecture": found[0]["capability"].replace(".", ""),
        "cuda_home": home or "",
        # A toolkit of nvcc alone, without the headers of cuBLAS.
        "cublas_root": "" if home and (home / "include/cublasLt.h").exists() else
        wheel_of("cublasLt.h") or "",
        "cudnn_root": wheel_of("cudnn_version.h") or "",
        "nccl_root": wheel_of("nccl.h") or "",
        "wheel_libraries": ":".join(library_folders()),
    }
    return "\n".join(f"{key}={shlex.quote(str(value))}" for key, value in values.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shell", action="store_true", help="variables for a shell, not JSON")
    arguments = parser.parse_args()
    try:
        print(shell_variables() if arguments.shell else json.dumps(describe(), indent=1))
    except NoGpu as reason:
        print(f"no GPU here: {reason}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
