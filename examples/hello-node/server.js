// A program for the Aleph network in Node.js: an HTTP server on the port that PORT names.
import { createServer } from "node:http";
import { hostname } from "node:os";

let calls = 0;

const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/health") {
    response.end("ok\n");
  } else if (pathname === "/") {
    calls += 1;
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ message: "Hello from a virtual machine on Aleph", node: process.version, host: hostname(), calls }));
  } else {
    response.statusCode = 404;
    response.end("there is nothing here\n");
  }
});

server.listen(process.env.PORT ?? 8080);
