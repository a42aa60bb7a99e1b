"""Translate over HTTP with the standard library: `python examples/client.py http://localhost:8080 "Good morning."`."""

import json
import sys
from urllib.request import Request, urlopen

server, *texts = sys.argv[1:]
body = {"text": texts, "source": "auto", "target": "de"}
request = Request(f"{server}/v1/translate", json.dumps(body).encode(), {"Content-Type": "application/json"})
with urlopen(request, timeout=60) as response:
    reply = json.load(response)
for translation in reply["translations"]:
    print(translation["text"])
print(f"{reply['model']['config']}: {reply['latency_ms']['total']} ms", file=sys.stderr)
