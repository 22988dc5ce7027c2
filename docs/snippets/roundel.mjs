// Calls a Roundel service; a failed call is repeated for 30 s while that is safe.
import { randomUUID } from "node:crypto";

const RETRIED = [429, 502, 503, 504];

export async function call(method, path, body, options = {}) {
  const { idempotencyKey = randomUUID(), repeat = true, timeout = 30_000 } = options;
  const url = new URL(process.env.ROUNDEL_URL + path);
  const headers = new Headers({ Authorization: `Bearer ${process.env.ROUNDEL_KEY}` });
  if (method === "POST") headers.set("Idempotency-Key", idempotencyKey);
  // A list is a batch: one JSON document a line.
  const isBatch = Array.isArray(body);
  const encode = (document) => `${JSON.stringify(document)}\n`;
  const content = isBatch ? body.map(encode).join("") : JSON.stringify(body);
  const deadline = Date.now() + timeout;
  for (let attempt = 0; ; attempt++) {
    let response, text, error;
    try {
      const signal = AbortSignal.timeout(10_000);
      const request = { method, headers, body: content, redirect: "manual", signal };
      response = await fetch(url, request);
      text = await response.text();
    } catch (failure) {
      [response, error] = [undefined, failure];
    }
    if (response?.ok) {
      const lines = text.split("\n").filter(Boolean);
      return isBatch ? lines.map((line) => JSON.parse(line)) : JSON.parse(text);
    }
    error ??= new Error(`${method} ${path}: ${response.status} ${text}`);
    const hadNoEffect = response?.status === 429 || error.cause?.code === "ECONNREFUSED";
    const mayPass = response === undefined || RETRIED.includes(response.status);
    const retryAfter = Number(response?.headers.get("Retry-After")) || 0;
    // Callers that failed together do not return together: a random delay is added.
    const backoff = Math.random() * Math.min(5_000, 200 * 2 ** attempt);
    const delay = 1_000 * retryAfter + backoff;
    const isSafe = repeat ? mayPass : hadNoEffect;
    if (!isSafe || Date.now() + delay > deadline) throw error;
    await new Promise((resolve) => setTimeout(resolve, delay));
  }
}
