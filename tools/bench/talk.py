# SPDX-License-Identifier: MIT
"""So many sockets, in pairs, that send and receive one after the other: talk.py SOCKETS SECONDS. Says "ready"."""
import resource
import socket
import sys
import time


def talk(sockets, seconds):
    resource.setrlimit(resource.RLIMIT_NOFILE, (sockets + 100, max(sockets + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    pairs = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        while 2 * len(pairs) < sockets:
            a = socket.create_connection(server.getsockname())
            pairs.append((a, server.accept()[0]))
    print("ready", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for a, b in pairs:
            a.send(b"x" * 64)
            b.recv(64)


if __name__ == "__main__":
    talk(int(sys.argv[1]), float(sys.argv[2]))
