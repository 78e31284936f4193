"""A service as teams write it: FastAPI, torchvision, pictures batched in the process. `benches/serving.py` measures it.

Pictures are decoded on a thread pool; one thread computes whatever has gathered, up to a batch, having waited a moment for more.
Started as `fastapi_service.py WEIGHTS PORT`.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import torch
import uvicorn
from fastapi import FastAPI, Request

import resnet

MAX_BATCH = 8
WAIT_SECONDS = 0.005

model = resnet.load(sys.argv[1])
waiting = asyncio.Queue()
computing = ThreadPoolExecutor(1)


def forward(pictures):
    with torch.inference_mode():
        return model(torch.stack(pictures))


async def batches():
    loop = asyncio.get_running_loop()
    while True:
        batch = [await waiting.get()]
        end = loop.time() + WAIT_SECONDS
        while len(batch) < MAX_BATCH:
            try:
                batch.append(await asyncio.wait_for(waiting.get(), end - loop.time()))
            except TimeoutError:
                break
        logits = await loop.run_in_executor(computing, forward, [picture for picture, _ in batch])
        for (_, answer), row in zip(batch, logits):
            answer.set_result(row)


@asynccontextmanager
async def life(_):
    task = asyncio.create_task(batches())
    yield
    task.cancel()


app = FastAPI(lifespan=life)


@app.post("/predict")
async def predict(request: Request):
    file = await request.body()
    picture = await asyncio.to_thread(resnet.prepare, file)
    answer = asyncio.get_running_loop().create_future()
    await waiting.put((picture, answer))
    return resnet.answer(await answer)


@app.get("/health")
async def health():
    return "ok"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
