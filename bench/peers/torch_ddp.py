"""DistributedDataParallel over gloo: AlexNet in two processes that share a batch's images and sum
their gradients while the backward pass goes on. Prints one JSON line."""

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import peer
import torch_step

REPLICAS = 2


def parse_arguments():
    parser = torch_step.options(__doc__)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--bucket-views", action="store_true",
                        help="gradients are views of what is sent: a copy less")
    return parser.parse_args()


def run_rank(rank, arguments):
    dist.init_process_group("gloo")
    network = DistributedDataParallel(torch_step.make_network(arguments),
                                      gradient_as_bucket_view=arguments.bucket_views)
    torch.manual_seed(peer.SEED + rank)  # dropout differs between the replicas
    batch = REPLICAS * arguments.batch
    images, labels = (part.chunk(REPLICAS)[rank] for part in peer.synthetic_batch(batch))
    step = torch_step.make_step(network, images, labels, arguments)
    peer.measure_ranks("torch_ddp", batch, step, arguments)


if __name__ == "__main__":
    peer.spawn_ranks(run_rank, REPLICAS, parse_arguments())
