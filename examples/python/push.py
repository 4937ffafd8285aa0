#!/usr/bin/env python3
"""Pushes files as one component of a channel of a Driftless server.

    pip install -r requirements.txt && ./generate
    ./push.py --server https://127.0.0.1:7443 --ca ca.crt --token-file token --channel prod --component shop shop.yaml
"""

import argparse
import os
import re
import secrets
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import zstandard

from bundle import Problem, bundle, sha256
from driftless.v1 import driftless_pb2 as v1
from driftless.v1 import driftless_pb2_grpc as v1_grpc

TRIES = 5


class Client:
    """A connection to a server, as whoever the token is."""

    def __init__(self, server, ca, token):
        address = urlsplit(server)
        if address.scheme != "https" or not address.hostname or address.path.strip("/") or "@" in address.netloc:
            raise Problem("the server's address must be https://host:port")
        credentials = grpc.ssl_channel_credentials(ca)
        bearer = grpc.access_token_call_credentials(token)
        self.connection = grpc.secure_channel(
            address.netloc if re.search(r":\d+$", address.netloc) else f"{address.netloc}:443",
            grpc.composite_channel_credentials(credentials, bearer),
        )
        self.publish = v1_grpc.PublishStub(self.connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def push(self, channel, component, content, message="", key=None):
        """Sets the component to a bundle. What the server has already is not sent; all of it is safe to repeat."""
        name = sha256(content)
        missing = repeat(lambda: self.publish.MissingObjects(v1.MissingObjectsRequest(hashes=[name]), timeout=30))
        for wanted in missing.hashes:
            if wanted == name:
                packed = v1.Object(hash=name, zstd=zstandard.compress(content))
                print(f"uploading {len(packed.zstd)} bytes", file=sys.stderr)
                repeat(lambda: self.publish.PutObjects(iter([packed]), timeout=300))
        request = v1.PublishRequest(
            channel=channel,
            components=[v1.ComponentChange(component=component, bundle=name)],
            message=message,
            # The same with every repetition: by it the server knows the push when an answer was lost.
            idempotency_key=key or secrets.token_hex(16),
        )
        return repeat(lambda: self.publish.Publish(request, timeout=30))


def repeat(call):
    """Calls again while the server is away for a moment."""
    for tried in range(1, TRIES + 1):
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE or tried == TRIES:
                raise
            time.sleep(0.1 * 2 ** (tried - 1))


def arguments():
    parser = argparse.ArgumentParser(description="Push files to a channel of a Driftless server.")
    environment = os.environ.get
    parser.add_argument("--server", default=environment("DRIFTLESS_SERVER"), help="https://host:port")
    parser.add_argument("--ca", default=environment("DRIFTLESS_CA"), help="file with the CA of the server")
    parser.add_argument("--token-file", default=environment("DRIFTLESS_TOKEN_FILE"), help="file with the token")
    parser.add_argument("--channel", required=True)
    parser.add_argument("--component", required=True)
    parser.add_argument("-m", "--message", default="", help="why")
    parser.add_argument("--idempotency-key", help="known to the server when it comes again; otherwise one is drawn")
    parser.add_argument("files", nargs="+", help="manifests, YAML or JSON")
    given = parser.parse_args()
    for option in ("server", "token_file"):
        if not getattr(given, option):
            parser.error(f"--{option.replace('_', '-')} is missing (or $DRIFTLESS_{option.upper()})")
    return given


def content_of(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Problem(f"cannot read {path}: {error.strerror}") from None


def main():
    given = arguments()
    try:
        content = bundle(given.component, given.files)
        print(f"{given.component}: bundle {sha256(content).hex()}")
        ca = content_of(given.ca) if given.ca else None
        token = content_of(given.token_file).decode("ascii", "replace").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise Problem(f"{given.token_file} holds no token: is it the right file?")
        with Client(given.server, ca, token) as client:
            pushed = client.push(given.channel, given.component, content, given.message, given.idempotency_key)
    except Problem as problem:
        return f"error: {problem}"
    except grpc.RpcError as error:
        # The server's own words say what to do; nothing of the request is in them.
        return f"error: {given.server}: {error.details()} ({error.code().name})"
    word = "stays" if pushed.unchanged else "is now"
    print(f"{given.channel} {word} at snapshot {pushed.snapshot.hex()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
