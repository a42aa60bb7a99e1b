"""What KServe's SDK makes of a server, as JSON: kserve_sdk.py ADDRESS MODEL TEXT..."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from httpx import HTTPStatusError
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def main(url: str, model: str, texts: list[str]) -> dict[str, Any]:
    """Ask for health, then for translations as JSON and as binary tensors, then for a model that is not there."""
    results: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        results["live"] = await client.is_server_live(url)
        results["ready"] = await client.is_server_ready(url)
        results["model"] = await client.is_model_ready(url, model)
        for binary in (False, True):
            given = InferInput("text", [len(texts)], "BYTES")
            given.set_data_from_numpy(np.array(texts, dtype=np.object_), binary_data=binary)
            asked = InferRequest(
                model, [given], "7", request_outputs=[RequestedOutput("translation", {"binary_data": binary})]
            )
            reply = await client.infer(url, asked, model_name=model)
            read = [text.decode() if isinstance(text, bytes) else text for text in reply.outputs[0].as_numpy().tolist()]
            results["binary" if binary else "json"] = [reply.id, reply.model_name, read]
        asked.model_name = "other"
        try:
            await client.infer(url, asked, model_name="other")
        except HTTPStatusError as refusal:
            results["refusal"] = str(refusal)
    return results


print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))))
