"""The same service with LitServe, which batches by itself. `benches/serving.py` measures it.

Pictures come as base64 in JSON, as LitServe's own examples send them. Started as `litserve_service.py WEIGHTS PORT`.
"""

import base64
import sys

import litserve
import torch

import resnet

MAX_BATCH = 8
WAIT_SECONDS = 0.005


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.model = resnet.load(sys.argv[1]).to(device)

    def decode_request(self, request):
        return resnet.prepare(base64.b64decode(request["image"]))

    def batch(self, inputs):
        return torch.stack(inputs)

    def predict(self, x):
        with torch.inference_mode():
            return self.model(x)

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return resnet.answer(output)


if __name__ == "__main__":
    api = Classifier(max_batch_size=MAX_BATCH, batch_timeout=WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", generate_client_file=False)
