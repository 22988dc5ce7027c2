/*
 * The peer better-sse, on Node's own HTTP server.
 *
 *     node with_better_sse.cjs PORT        (NODE_PATH tells where better-sse is)
 *
 * A channel of the library for each channel; its own ping every 15 seconds.
 */
"use strict";

const http = require("node:http");
const { createChannel, createSession } = require("better-sse");

const channels = new Map();
const options = { keepAlive: 15_000, retry: null, serializer: (data) => data };

function channel(name) {
  if (!channels.has(name)) channels.set(name, createChannel());
  return channels.get(name);
}

async function subscribe(request, response, name) {
  const session = await createSession(request, response, options);
  session.push("{}", "hello");
  channel(name).register(session);
}

function publish(request, response, name) {
  let body = "";
  request.setEncoding("utf8");
  request.on("data", (piece) => { body += piece; });
  request.on("end", () => {
    channel(name).broadcast(body);
    response.end("ok");
  });
}

const server = http.createServer((request, response) => {
  const name = request.url.slice("/sub/".length);
  (request.method === "GET" ? subscribe : publish)(request, response, name);
});
server.keepAliveTimeout = 0;
server.listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4096 });
