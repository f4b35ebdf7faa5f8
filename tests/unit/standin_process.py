"""Stands in for a process of the reference switch: `python standin_process.py MODE ROLE CONFIG.json`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def main(mode: str, role: str, config_path: str) -> int:
    config = json.loads(Path(config_path).read_text())
    if mode == "hub-dies" and role == "hub":
        print("cannot bind: address already in use", file=sys.stderr)  # noqa: T201
        return 3
    if mode == "dfsps-never-ready" and role == "dfsps":
        os.read(0, 1)
        return 0
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if mode == "slow":
        time.sleep(0.5)
    ready: dict[str, object] = {"pid": os.getpid(), "version": "stand-in", "listen": ["127.0.0.1:1"]}
    if role == "hub":
        url = "http://127.0.0.1:1"
        names = ("admin_url", "als_admin_url", "oracle_url", "als_url", "quotes_url", "transfers_url")
        ready["hub"] = dict.fromkeys(names, url)
    else:
        ready["dfsps"] = [
            {
                "fsp_id": dfsp["fsp_id"],
                "outbound_url": "http://127.0.0.1:1",
                "callback_url": "https://127.0.0.1:1",
            }
            for dfsp in config["dfsps"]
        ]
    print(f"{role} listens", file=sys.stderr, flush=True)  # noqa: T201
    path = Path(config["ready_file"])
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(ready))
    partial.replace(path)
    while os.read(0, 4096):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
