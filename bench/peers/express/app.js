// The Express service, bare or with @node-idempotency/core on its Redis adapter.
//
//     node app.js bare|idempotent PORT STORE_URL
//
// The library has no middleware for Express: this one calls its two functions where its documentation says,
// and answers with the statuses that its NestJS plugin uses.
"use strict";

const express = require("express");

const [kind, port, storeUrl] = process.argv.slice(2);
const CONFLICTS = { REQUEST_IN_PROGRESS: 409, IDEMPOTENCY_FINGERPRINT_MISSMATCH: 422 };
const bodies = new Map();
let executed = 0;

function bodyOf(size) {
  const head = '{"id":"po_1","status":"settled","note":"';
  const tail = '"}';
  return size === 0 ? "" : head + "x".repeat(size - head.length - tail.length) + tail;
}

async function guard() {
  const { Idempotency } = require("@node-idempotency/core");
  const { RedisStorageAdapter } = require("@node-idempotency/storage-adapter-redis");
  const storage = new RedisStorageAdapter({ url: storeUrl });
  await storage.connect();
  const idempotency = new Idempotency(storage);
  return async (request, response, next) => {
    const asked = { method: request.method, headers: request.headers, body: request.body, path: request.path };
    try {
      const stored = await idempotency.onRequest(asked);
      if (stored) {
        response.set("idempotent-replayed", "true").type("json").send(stored.body);
        return;
      }
    } catch (error) {
      response.status(CONFLICTS[error.code] ?? 500).json({ error: error.message });
      return;
    }
    response.locals.keep = (body) => idempotency.onResponse(asked, { body });
    next();
  };
}

async function main() {
  const app = express();
  app.disable("etag");
  app.disable("x-powered-by");
  app.get("/_counts", (_, response) => response.json({ executed, held: 0 }));
  app.use(express.text({ type: "*/*", limit: "2mb" }));
  if (kind === "idempotent") app.use(await guard());
  app.post("/:size/*rest", async (request, response) => {
    executed += 1;
    const size = Number(request.params.size);
    if (!bodies.has(size)) bodies.set(size, bodyOf(size));
    const body = bodies.get(size);
    if (response.locals.keep) await response.locals.keep(body);
    response.type("json").send(body);
  });
  app.listen(Number(port), "127.0.0.1");
}

main();
