"""Federated fine-tuning of an ONNX network with Flower: `federated.py BUNDLE IMAGES OUT.onnx [--clients 4] [--rounds 2] [--mu 0.1]`.

Each client has its own share of IMAGES (a sub-folder for each class), trains the bundle for a pass with onnxruntime, and sends its weights; the server
averages them. With `--mu` it is FedProx: the bundle's L2-SP penalty holds each client near the round's weights (the bundle is made with `--start input`).
All of it is simulated on this machine; client() and strategy() are what a deployment of Flower takes.
"""
import argparse
import pathlib

import numpy as np
import onnxruntime
import spgraph
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.simulation import run_simulation

SENT = ("shared", "new", "buffer")  # weights and BatchNorm's statistics; the optimizer's state stays at home


class Client(NumPyClient):
    """One share of the images; `share(k)` of `clients` takes every `clients`-th."""

    def __init__(self, bundle: spgraph.Bundle, images: pathlib.Path, number: int, clients: int):
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = 1
        self.trainer = spgraph.Trainer(bundle, options=threads)
        self.folder = spgraph.ImageFolder(images, bundle, seed=number)
        self.folder.files = self.folder.files[number::clients]
        if not len(self.folder):
            raise spgraph.Error(f"client {number} has {len(self.folder.files)} images, fewer than a step's {self.folder.batch}")

    def take(self, weights: list[np.ndarray]) -> None:
        names = [s["name"] for s in self.trainer.bundle.named(*SENT)]
        self.trainer.state = self.trainer.bundle.start() | dict(zip(names, weights, strict=True))
        self.trainer.anchor()

    def fit(self, parameters, config):
        self.take(parameters)
        self.folder.epoch = int(config["round"])
        scalars = {"alpha": float(config["mu"])} if "alpha" in self.trainer.bundle.scalars else {}
        losses = [self.trainer.step(images, labels, **scalars).loss for images, labels in self.folder]
        return sent(self.trainer), len(self.folder.files), {"loss": float(np.mean(losses))}

    def evaluate(self, parameters, config):
        self.take(parameters)
        found = self.trainer.evaluate(self.folder)
        return 1 - found.accuracy, found.images, {"accuracy": found.accuracy}


def sent(trainer: spgraph.Trainer) -> list[np.ndarray]:
    state = trainer.state
    return [state[s["name"]] for s in trainer.bundle.named(*SENT)]


def mean(measures: list[tuple[int, dict]]) -> dict:
    """The mean over the clients, weighed by their images."""
    images = sum(n for n, _ in measures)
    return {name: sum(n * m[name] for n, m in measures) / images for name in measures[0][1]}


class Kept(FedAvg):
    """FedAvg that keeps the last weights."""

    def aggregate_fit(self, server_round, results, failures):
        if failures:
            raise spgraph.Error(f"{len(failures)} clients failed in round {server_round}: {failures[0]}")
        self.last, metrics = super().aggregate_fit(server_round, results, failures)
        return self.last, metrics


def strategy(bundle: spgraph.Bundle, clients: int, mu: float) -> Kept:
    start = bundle.start()
    return Kept(
        fraction_fit=1.0,
        min_fit_clients=clients,
        min_available_clients=clients,
        initial_parameters=ndarrays_to_parameters([start[s["name"]] for s in bundle.named(*SENT)]),
        on_fit_config_fn=lambda number: {"round": number, "mu": mu},
        fit_metrics_aggregation_fn=mean,
        evaluate_metrics_aggregation_fn=mean,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=pathlib.Path)
    parser.add_argument("images", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--mu", type=float, default=0.0)
    parser.add_argument("--weights", type=pathlib.Path, help="also write the weights, for `spgraph eval BUNDLE --weights`")
    options = parser.parse_args()
    bundle = spgraph.Bundle(options.bundle)
    if options.mu and not any(s.get("start") for s in bundle.state):
        raise SystemExit("--mu needs a bundle whose starting point is an input: rewrite with --start input --penalty l2-sp --penalize all")

    kept = strategy(bundle, options.clients, options.mu)
    folder, images, clients = options.bundle.resolve(), options.images.resolve(), options.clients

    def client(context: Context):
        return Client(spgraph.Bundle(folder), images, int(context.node_config["partition-id"]), clients).to_client()

    def server(context: Context):
        return ServerAppComponents(strategy=kept, config=ServerConfig(num_rounds=options.rounds))

    run_simulation(ServerApp(server_fn=server), ClientApp(client_fn=client), num_supernodes=clients, backend_config={"client_resources": {"num_cpus": 1}})
    trainer = spgraph.Trainer(bundle)
    names = [s["name"] for s in bundle.named(*SENT)]
    trainer.state = bundle.start() | dict(zip(names, parameters_to_ndarrays(kept.last), strict=True))
    if options.weights:
        trainer.save(options.weights)
    print(f"wrote {trainer.export(options.out, force=True)}")


if __name__ == "__main__":
    main()
