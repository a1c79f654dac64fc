"""What run_peers.py runs: a suite is a list of configurations, which run in turn."""

import dataclasses
import shlex

# glibc gives large freed blocks back to the kernel, and the page faults on their next use are a
# fifth of PyTorch's step. These settings keep them.
MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4294967296:"
                            "glibc.malloc.trim_threshold=17179869184:"
                            "glibc.malloc.top_pad=67108864"}
# What holds a program to AVX2 on a processor that has more: Stagecoach; PyTorch's own kernels, its
# oneDNN and its MKL; NumPy's OpenBLAS.
AVX2_STAGECOACH = {"STAGECOACH_SIMD": "avx2"}
AVX2_PEERS = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
              "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}


@dataclasses.dataclass
class Configuration:
    name: str
    title: str
    command: list  # a peer's script and its options, or options of `stagecoach train`
    environment: dict = dataclasses.field(default_factory=dict)
    baseline: bool = False  # of its own ratio and of those of all behind it, up to the next one
    is_stagecoach: bool = False
    processes: int = 1  # that mpirun starts; the peers start theirs themselves

    def words(self, arguments):
        """The command behind the program's name. Stagecoach's first steps are left out afterwards."""
        steps, warmup = arguments.steps, arguments.warmup
        if self.is_stagecoach:
            return [*self.command, "--steps", str(steps + warmup)]
        return [*self.command, "--steps", str(steps), "--warmup", str(warmup)]

    def launcher(self):
        return ["mpirun", "-np", str(self.processes)] if self.processes > 1 else []

    def shown_command(self, arguments):
        program = "stagecoach train " if self.is_stagecoach else "python bench/peers/"
        settings = "".join(f"{key}={value} " for key, value in self.environment.items())
        launcher = "".join(f"{word} " for word in self.launcher())
        return settings + launcher + program + shlex.join(self.words(arguments))


def step_suite():
    def torch(name, title, *options, **more):
        return Configuration(name, title, ["torch_step.py", "--batch", "32", *options], **more)

    return [
        torch("torch", "PyTorch as used", baseline=True),
        torch("torch-channels-last", "PyTorch, channels_last", "--channels-last"),
        torch("torch-malloc", "PyTorch, malloc", environment=MALLOC),
        torch("torch-best", "PyTorch, malloc + channels_last + fused SGD", "--channels-last",
              "--fused", environment=MALLOC),
        stagecoach("stagecoach", "Stagecoach, plain loop, 2 threads", 0, 32, 1, 2),
        stagecoach("stagecoach-avx2", "the same, told to use AVX2", 0, 32, 1, 2,
                   environment={"STAGECOACH_SIMD": "avx2"}),
    ]


def pipeline_suite():
    def torch(schedule, cut, where, malloc=False):
        name = f"torch-{schedule}-cut{cut}" + ("-malloc" if malloc else "")
        title = f"torch.distributed.pipelining, {schedule}, cut after {where}"
        command = ["torch_pipeline.py", "--schedule", schedule, "--cut", str(cut)]
        return Configuration(name, title + (", malloc" if malloc else ""), command,
                             MALLOC if malloc else {})

    def deepspeed(name, title, partition, **more):
        return Configuration(name, f"DeepSpeed, {title}",
                             ["deepspeed_pipeline.py", "--partition", partition], **more)

    one_process = ["torch_step.py", "--batch", "8", "--micro-batches", "8"]
    conv3, pool2, pool1 = (8, "conv3's ReLU"), (6, "pool2"), (3, "pool1")
    return [
        Configuration("torch", "PyTorch as used: one process, gradient accumulation", one_process,
                      baseline=True),
        Configuration("torch-malloc", "PyTorch, one process, malloc", one_process, MALLOC),
        torch("gpipe", *conv3), torch("1f1b", *conv3),
        torch("gpipe", *conv3, malloc=True), torch("1f1b", *conv3, malloc=True),
        torch("gpipe", *pool2), torch("1f1b", *pool2),
        torch("gpipe", *pool2, malloc=True), torch("1f1b", *pool2, malloc=True),
        torch("gpipe", *pool1),
        deepspeed("deepspeed-parameters", "default partition (parameters), Adam", "parameters"),
        deepspeed("deepspeed-uniform", "uniform partition, Adam", "uniform"),
        deepspeed("deepspeed-uniform-malloc", "uniform partition, Adam, malloc", "uniform",
                  environment=MALLOC),
        stagecoach("stagecoach-1f1b", "Stagecoach, 2 stages, 1f1b", 2, 8, 8, 1,
                   "--schedule", "1f1b"),
        stagecoach("stagecoach-1f1b-adam", "Stagecoach, 2 stages, 1f1b, Adam", 2, 8, 8, 1,
                   "--schedule", "1f1b", "--optimizer", "adam"),
        stagecoach("stagecoach-zb-h1", "Stagecoach, 2 stages, zb-h1", 2, 8, 8, 1,
                   "--schedule", "zb-h1"),
        stagecoach("stagecoach-plain", "Stagecoach, plain loop, 2 threads", 0, 8, 8, 2),
    ]


def processes_suite():
    """Two processes of one thread: first two stages, then two replicas; 64 images are a step."""
    def two_stages(name, title, *options):
        return stagecoach(name, f"Stagecoach, mpirun, 2 stages, 1f1b, {title}", 2, 8, 8, 1,
                          "--schedule", "1f1b", *options, processes=2)

    ddp = ["torch_ddp.py", "--batch", "32"]
    return [
        Configuration("torch-pipeline-malloc", "torch.distributed.pipelining, gloo, gpipe, cut "
                      "after conv3's ReLU, malloc",
                      ["torch_pipeline.py", "--schedule", "gpipe", "--cut", "8"], MALLOC,
                      baseline=True),
        Configuration("deepspeed-malloc", "DeepSpeed, gloo, uniform partition, SGD, malloc",
                      ["deepspeed_pipeline.py", "--partition", "uniform", "--optimizer", "sgd"],
                      MALLOC),
        two_stages("stagecoach-stages-cut8", "the same cut", "--partition", "8"),
        two_stages("stagecoach-stages", "split by measured time"),
        Configuration("ddp-malloc", "DDP, gloo, malloc", ddp, MALLOC, baseline=True),
        Configuration("ddp-best", "DDP, gloo, malloc + channels_last + fused SGD + bucket views",
                      [*ddp, "--channels-last", "--fused", "--bucket-views"], MALLOC),
        stagecoach("stagecoach-replicas", "Stagecoach, mpirun, 2 replicas", 1, 32, 1, 1,
                   processes=2),
    ]


def machinery_suite():
    """Stagecoach alone: what the pipeline's machinery costs, and how good its predictions are."""
    def pipeline(stages, threads, schedule):
        return stagecoach(f"{schedule}-{stages}", f"{stages} stages, {schedule}", stages, 8, 8,
                          threads, "--schedule", schedule)

    plain = stagecoach("plain", "plain loop, 2 threads", 0, 8, 8, 2)
    plain.baseline = True
    return [plain, pipeline(1, 2, "1f1b"), pipeline(2, 1, "1f1b"), pipeline(2, 1, "gpipe"),
            pipeline(2, 1, "naive")]


def schedules_suite():
    """Stagecoach alone: every schedule on two ranks, and what running F again costs."""
    def pipeline(schedule, *options, title=""):
        # One cut for all that have one stage on each rank: measured ones differ from run to run.
        cut = [] if schedule in ("interleaved", "zb-v", "dualpipe-v") else ["--partition", "7"]
        return stagecoach("-".join([schedule, *options]).replace("--", ""),
                          title or f"2 ranks, {schedule}", 2, 8, 8, 1, "--schedule", schedule,
                          *cut, *options)

    first = pipeline("1f1b")
    first.baseline = True
    return [first, *(pipeline(name) for name in ("gpipe", "interleaved", "zb-h1", "zb-v",
                                                 "dualpipe-v")),
            *(pipeline("gpipe", "--recompute", mode, title=f"2 ranks, gpipe, recompute {mode}")
              for mode in ("except_last", "always")),
            pipeline("gpipe", "--recompute", "always", "--recompute-interval", "3",
                     title="2 ranks, gpipe, recompute always, 3 layers at a time")]


def stagecoach(name, title, stages, micro_batch_size, micro_batches, threads, *options, **more):
    command = ["--stages", str(stages), "--micro-batch-size", str(micro_batch_size),
               "--micro-batches", str(micro_batches), "--threads", str(threads),
               "--data", "synthetic", "--quiet", *options]
    if "--optimizer" not in options:
        command += ["--optimizer", "sgd"]
    return Configuration(name, title, command, is_stagecoach=True, **more)


SUITES = {"step": step_suite, "pipeline": pipeline_suite, "processes": processes_suite,
          "machinery": machinery_suite, "schedules": schedules_suite}


def configurations_of(suite, simd):
    """Those of the suite; all held to AVX2 where `simd` is "avx2"."""
    configurations = SUITES[suite]()
    if simd:
        for c in configurations:
            c.environment = {**(AVX2_STAGECOACH if c.is_stagecoach else AVX2_PEERS),
                             **c.environment}
    return configurations
