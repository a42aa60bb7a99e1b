"""Swap a model's configuration: `SUB3_ADMIN_TOKEN=... python examples/swap.py http://localhost:8080 en-de flat-4`."""

import json
import os
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

server, model, configuration = sys.argv[1:]
headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ['SUB3_ADMIN_TOKEN']}"}
body = json.dumps({"config": configuration}).encode()
try:
    with urlopen(Request(f"{server}/admin/models/{model}/config", body, headers, method="PUT"), timeout=60) as response:
        reply = json.load(response)
except HTTPError as refusal:
    sys.exit(json.load(refusal)["error"])  # such as 409: another swap is running
print(f"{reply['before']['config']} -> {reply['after']['config']} in {reply['milliseconds']} ms")
