#!/usr/bin/env python3
"""The work that scripts/bench measures, in PyTorch: prints milliseconds a step, or seconds of a whole training.

Usage: bench_torch.py step KIND FEATURES HIDDEN LABELS ACTIVE BATCH STEPS [DEVICE]
       bench_torch.py model clif|dela|dela_apart FEATURES LABELS BATCH STEPS
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


def layers(widths, activation, dropout):
    made = []
    for inputs, outputs in zip(widths, widths[1:]):
        made += [torch.nn.Linear(inputs, outputs), activation(), torch.nn.Dropout(dropout)]
    return torch.nn.Sequential(*made)


class Dela(torch.nn.Module):
    """apart: the decoder's first layer over the features once for all labels, not once for each."""

    def __init__(self, features, labels, apart):
        super().__init__()
        self.features, self.apart, code = features, apart, (features + 1) // 2
        self.encoder = layers([features, 256, 512, 256], torch.nn.ReLU, 0.2)
        self.mean, self.log_variance = torch.nn.Linear(256, code), torch.nn.Linear(256, code)
        self.gates = torch.nn.Parameter(torch.rand(labels, code) * 20 - 10)
        self.scale = torch.nn.Linear(code, code)
        self.decoder = layers([features + code, 256, 512], torch.nn.ReLU, 0.2)
        self.classifiers = torch.nn.Conv1d(labels, labels, 512, groups=labels)

    def loss(self, x, y):
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        logits = self.scale(self.gates)
        u = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((logits + u.log() - (1 - u).log()) * 1.5)
        gates = (soft > 0.5).float() + soft - soft.detach()
        noise = torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        if self.apart:
            first = self.decoder[0]
            of_features, of_code = first.weight.split([self.features, mean.shape[1]], 1)
            shared = torch.addmm(first.bias, x, of_features.T) + mean @ of_code.T
            hidden = shared.unsqueeze(1) + (noise.unsqueeze(1) * gates) @ of_code.T
            hidden = self.decoder[1:](hidden)
            sums = (log_variance.exp() * (gates**2).mean(0) + mean**2 - log_variance).sum(1)
            divergence = 0.5 * (sums - 2 * torch.log(gates + 1e-6).mean(0).sum() - mean.shape[1]).mean()
        else:
            codes = mean.unsqueeze(1) + gates * noise.unsqueeze(1)
            wide = x.unsqueeze(1).expand(-1, len(gates), -1)
            hidden = self.decoder(torch.cat([wide, codes], 2))
            terms = log_variance.exp().unsqueeze(1) * gates**2 + (mean**2 - log_variance).unsqueeze(1)
            divergence = 0.5 * (terms - 2 * torch.log(gates + 1e-6) - 1).sum(2).mean()
        found = self.classifiers(hidden).squeeze(2)
        return torch.nn.functional.binary_cross_entropy_with_logits(found, y) * y.shape[1] + 1e-4 * divergence


class Clif(torch.nn.Module):
    def __init__(self, features, labels):
        super().__init__()
        leaky = lambda: torch.nn.LeakyReLU(0.1)
        half = (labels + 1) // 2

        def graph():
            return torch.nn.Sequential(
                torch.nn.Linear(labels, half), torch.nn.BatchNorm1d(half), leaky(), torch.nn.Dropout(0.2),
                torch.nn.Linear(half, labels), torch.nn.BatchNorm1d(labels), leaky(), torch.nn.Dropout(0.2))

        self.start, self.adjacency = torch.randn(labels, labels), torch.rand(labels, labels) * 0.1
        self.graph = torch.nn.ModuleList([graph(), graph()])
        self.epsilon = torch.nn.Parameter(torch.zeros(2))
        self.encoder = layers([features, 768, 768, 768], leaky, 0.2)
        self.codes, self.head = torch.nn.Linear(labels, 768), layers([768, 768], leaky, 0.2)
        self.classifiers = torch.nn.Conv1d(labels, labels, 768, groups=labels)

    def loss(self, x, y):
        embedding = self.start
        for layer, epsilon in zip(self.graph, self.epsilon):
            embedding = layer((1 + epsilon) * embedding + self.adjacency @ embedding) + embedding
        hidden = self.head(self.encoder(x).unsqueeze(1) * self.codes(embedding))
        found = self.classifiers(hidden).squeeze(2)
        unit = torch.nn.functional.normalize(embedding)
        off = self.adjacency + torch.eye(len(unit)) - unit @ unit.T
        return torch.nn.functional.binary_cross_entropy_with_logits(found, y) + 1e-3 * (off**2).mean()


def model(kind, features, labels, batch, steps):
    torch.manual_seed(0)
    made = Clif(features, labels) if kind == "clif" else Dela(features, labels, kind == "dela_apart")
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
    x, y = (torch.rand(batch, features) < 0.04).float(), (torch.rand(batch, labels) < 2 / labels).float()
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        made.loss(x, y).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    print(f"{sorted(times[2:])[steps // 2] * 1000:.4f}")


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
    elif kind == "model":
        model(arguments[0], *map(int, arguments[1:]))
    else:
        recipe(arguments[0], arguments[1], int(arguments[2]), *arguments[3:])
