"""DeepSpeed's compressed all-reduce as oracle: writes tests/comm/exchange/golden/deepspeed.safetensors.

  python3 -m venv .venv-peers
  .venv-peers/bin/pip install torch==2.11.0 numpy safetensors setuptools wheel
  DS_BUILD_OPS=0 .venv-peers/bin/pip install --no-build-isolation deepspeed==0.19.6
  .venv-peers/bin/python tests/peers/deepspeed_onebit.py

Runs CompressedBackend.compressed_allreduce for 200 calls on 2, 3 and 4 Gloo ranks. Inputs are not
stored: message() below is exact in fp32 and repeated in tests/comm/exchange/deepspeed_ranks.cc.
Sizes are multiples of what both sides pad to, so that no padding takes part.

Written per number of ranks W and per recorded call C, the state of rank R:
  W/C/R/worker_before, worker_after [n]; W/C/R/server_before, server_after [n / W]; W/C/answer [n]
and for all calls: W/worker_norm, W/server_norm [200, W]; W/mean_error [200], the relative error of
the running mean of the answers against that of the mean inputs.

Two shims, without which 0.19.6 does not run on a CPU: PackbitsBuilder (shipped for one accelerator
only) by numpy, and all_gather of a 0-dimensional scale as one element.
"""
import os
import pathlib
import sys

os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import numpy as np
import torch
import torch.multiprocessing as mp

SIZES = {2: 2048, 3: 2304, 4: 2048}
CALLS = 200
RECORDED = (0, 1, 2, 10, 50, 199)


def uniform(i, stream):
    """[-1, 1) from element and stream number: murmur3's finalizer, exact in fp32."""
    h = (i.astype(np.uint64) * 2654435761 + stream * 40503 + 12345).astype(np.uint32)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)


def message(n, rank, call):
    i = np.arange(n)
    base = uniform(i, rank)
    noise = uniform(i, 100 + rank + 16 * call)
    return base * base * base + np.float32(0.25) * noise


class Packer:
    @staticmethod
    def packbits(buffer, numel, rank):
        return torch.from_numpy(np.packbits(buffer.numpy() >= 0))

    @staticmethod
    def unpackbits(buffer, numel, rank):
        bits = np.unpackbits(buffer.numpy().reshape(-1)).astype(np.float32)
        return torch.from_numpy(bits * 2 - 1)


def install_shims():
    import deepspeed.ops.op_builder as op_builder

    class PackbitsBuilder:
        def load(self):
            return Packer

    op_builder.PackbitsBuilder = PackbitsBuilder
    import deepspeed.runtime.comm.compressed as compressed

    all_gather = compressed.dist.all_gather
    compressed.dist.all_gather = lambda out, tensor, **kw: all_gather(out, tensor.reshape(out[0].shape), **kw)
    return compressed.CompressedBackend


def run(rank, ranks, port, path):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(ranks), LOCAL_RANK=str(rank),
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    import deepspeed
    backend_type = install_shims()
    deepspeed.init_distributed("gloo", verbose=False)
    backend = backend_type()
    n = SIZES[ranks]
    worker, server = torch.zeros(n), torch.zeros(n // ranks)
    out, norms = {}, []
    answers, inputs = np.zeros(n), np.zeros(n)
    for call in range(CALLS):
        before = worker.clone(), server.clone()
        answer = backend.compressed_allreduce(torch.from_numpy(message(n, rank, call)), worker,
                                              server, rank)
        answers += answer.numpy().astype(np.float64)
        inputs += np.mean([message(n, r, call).astype(np.float64) for r in range(ranks)], axis=0)
        error = np.linalg.norm(answers - inputs) / np.linalg.norm(inputs)
        norms.append([float(worker.norm()), float(server.norm()), error])
        if call in RECORDED:
            out[f"{ranks}/{call}/{rank}/worker_before"] = before[0]
            out[f"{ranks}/{call}/{rank}/server_before"] = before[1]
            out[f"{ranks}/{call}/{rank}/worker_after"] = worker.clone()
            out[f"{ranks}/{call}/{rank}/server_after"] = server.clone()
            if rank == 0:
                out[f"{ranks}/{call}/answer"] = answer.clone()
    out["norms"] = torch.tensor(norms)
    torch.save(out, f"{path}.{ranks}.{rank}")
    torch.distributed.barrier()


def main():
    import deepspeed
    from safetensors.torch import save_file
    torch.set_num_threads(1)
    golden = pathlib.Path(__file__).resolve().parents[1] / "comm/exchange/golden"
    path = golden / "deepspeed.safetensors"
    tensors = {}
    for ranks in SIZES:
        # Forked: importing DeepSpeed takes longer than all calls together.
        mp.start_processes(run, args=(ranks, 29600 + os.getpid() % 1000 + ranks, str(path)),
                           nprocs=ranks, start_method="fork")
        norms = []
        for rank in range(ranks):
            part = pathlib.Path(f"{path}.{ranks}.{rank}")
            saved = torch.load(part)
            part.unlink()
            norms.append(saved.pop("norms"))
            tensors.update(saved)
        tensors[f"{ranks}/worker_norm"] = torch.stack([m[:, 0] for m in norms], 1)
        tensors[f"{ranks}/server_norm"] = torch.stack([m[:, 1] for m in norms], 1)
        tensors[f"{ranks}/mean_error"] = norms[0][:, 2]
        print(ranks, "ranks: error of the running mean after 200 calls", float(norms[0][-1, 2]))
    os.umask(0o022)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              {"deepspeed": deepspeed.__version__, "torch": torch.__version__})


if __name__ == "__main__":
    sys.exit(main())
