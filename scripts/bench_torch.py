#!/usr/bin/env python3
"""The work that scripts/bench measures, in PyTorch: prints milliseconds a step, or seconds of a whole training.

Usage: bench_torch.py step KIND FEATURES HIDDEN LABELS ACTIVE BATCH STEPS [DEVICE]
       bench_torch.py recipe TRAIN TEST EPOCHS [DEVICE]
KIND: dense, bag (EmbeddingBag, dense gradients, Adam) or sparse (EmbeddingBag, sparse gradients, SparseAdam).
TRAIN, TEST: svmlight files with a header, as `train data convert` writes them. The time of a recipe is that of training
and of predicting the test file, without reading.
"""
import resource
import sys
import time

import torch


def network(kind, features, hidden, labels, device):
    output = torch.nn.Linear(hidden, labels)
    if kind == "dense":
        model = torch.nn.Sequential(torch.nn.Linear(features, hidden), torch.nn.ReLU(), output).to(device)
        return model, [torch.optim.Adam(model.parameters(), lr=1e-3)]

    class Bag(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rows = torch.nn.EmbeddingBag(features, hidden, mode="sum", sparse=kind == "sparse")
            torch.nn.init.uniform_(self.rows.weight, -(features**-0.5), features**-0.5)
            self.bias = torch.nn.Parameter(torch.zeros(hidden))
            self.output = output

        def forward(self, x):
            indices, offsets, values = x
            return self.output(torch.relu(self.rows(indices, offsets, per_sample_weights=values) + self.bias))

    model = Bag().to(device)
    if kind == "bag":
        return model, [torch.optim.Adam(model.parameters(), lr=1e-3)]
    rest = [model.bias, *model.output.parameters()]
    return model, [torch.optim.SparseAdam([model.rows.weight], lr=1e-3), torch.optim.Adam(rest, lr=1e-3)]


def update(model, optimizers, loss, x, y):
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    value = loss(model(x), y)
    value.backward()
    for optimizer in optimizers:
        optimizer.step()
    return value


def wait(device):
    if device != "cpu":
        torch.cuda.synchronize()


def step(kind, features, hidden, labels, active, batch, steps, device="cpu"):
    torch.manual_seed(0)
    model, optimizers = network(kind, features, hidden, labels, device)
    loss = torch.nn.BCEWithLogitsLoss()

    def made():
        y = (torch.rand(batch, labels) < 5 / labels).float().to(device)
        if kind == "dense":
            return torch.rand(batch, features).to(device), y
        indices = torch.randint(0, features, (batch * active,))
        offsets = torch.arange(0, batch * active, active)
        return tuple(t.to(device) for t in (indices, offsets, torch.rand(batch * active))), y

    batches = [made() for _ in range(8)]
    warm = max(3, steps // 10)
    for i in range(warm + steps):
        if i == warm:
            wait(device)
            start = time.perf_counter()
        update(model, optimizers, loss, *batches[i % 8])
    wait(device)
    print(f"{(time.perf_counter() - start) * 1000 / steps:.4f}")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB", file=sys.stderr)


def rows(path):
    """Labels and features of an svmlight file with a header, as dense tensors."""
    with open(path) as file:
        count, features, labels = map(int, next(file).split())
        x, y = torch.zeros(count, features), torch.zeros(count, labels)
        for i, line in enumerate(file):
            first, *entries = line.rstrip("\n").split(" ")
            if first:
                y[i, [int(label) for label in first.split(",")]] = 1.0
            for entry in entries:
                column, value = entry.split(":")
                x[i, int(column)] = float(value)
    return x, y


def recipe(path, test, epochs, device="cpu"):
    (x, y), (test_x, _) = rows(path), rows(test)
    x, y = x.to(device), y.to(device)
    torch.manual_seed(0)
    model, optimizers = network("dense", x.shape[1], 256, y.shape[1], device)
    loss = torch.nn.BCEWithLogitsLoss()
    start = time.perf_counter()
    for _ in range(epochs):
        order = torch.randperm(len(x), device=device)
        for at in range(0, len(x), 128):
            batch = order[at : at + 128]
            update(model, optimizers, loss, x[batch], y[batch])
    with torch.no_grad():
        torch.sigmoid(model(test_x.to(device))).mean().item()
    print(f"{time.perf_counter() - start:.4f}")


if __name__ == "__main__":
    torch.set_num_threads(len(__import__("os").sched_getaffinity(0)))
    kind, *arguments = sys.argv[1:]
    if kind == "step":
        step(arguments[0], *map(int, arguments[1:7]), *arguments[7:])
    else:
        recipe(arguments[0], arguments[1], int(arguments[2]), *arguments[3:])
