'use strict';
// A service on Node's own HTTP server. Segue sets PORT, HOST, SEGUE_RELEASE and
// SEGUE_INSTANCE, and stops an instance with SIGTERM.
const http = require('node:http');
const { setTimeout: sleep } = require('node:timers/promises');

const release = process.env.SEGUE_RELEASE || 'local';
const instance = process.env.SEGUE_INSTANCE || 'local-1';
const port = Number(process.env.PORT);
if (!Number.isInteger(port) || port < 1 || port > 65535) {
  console.error(`PORT=${process.env.PORT}: not a port from 1 to 65535`);
  process.exit(1);
}

let stopping = false;

const server = http.createServer(async (req, res) => {
  const id = req.headers['x-load-id'] || '';
  res.setHeader('X-Release', release);
  res.setHeader('X-Instance', instance);
  if (id) res.setHeader('X-Load-Id', id);
  // Who keeps the connection must know that it ends with this answer.
  if (stopping) res.setHeader('Connection', 'close');
  res.on('close', () => { if (stopping) server.closeIdleConnections(); });

  const url = new URL(req.url, 'http://localhost');
  switch (url.pathname) {
    case '/':
      return json(res, 200, { message: 'hello from Node', release, instance, load_id: id });
    case '/healthz':
      return json(res, 200, { message: 'healthy' });
    case '/slow':
      return slow(res, parseFloat(url.searchParams.get('d') || '5s'), id);
    default:
      return json(res, 404, { message: 'not found' });
  }
});

function json(res, status, value) {
  const body = JSON.stringify(value) + '\n';
  res.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  res.end(body);
}

// slow sends a line every 100 ms for so many seconds (?d=5s), and the line "end".
async function slow(res, seconds, id) {
  res.writeHead(200, { 'Content-Type': 'text/plain' });
  const lines = Math.floor(seconds * 10);
  for (let n = 1; n <= lines && !res.destroyed; n++) {
    res.write(`${n} ${release} ${id}\n`);
    await sleep(100);
  }
  res.end('end\n');
}

// Longer than any proxy keeps an idle connection: the side that reuses it should
// be the one to close it.
server.keepAliveTimeout = 75_000;
server.on('error', (err) => {
  console.error(`listen: ${err.message}`);
  process.exit(1);
});
server.listen(port, process.env.HOST || '127.0.0.1', () => console.log(`${instance} listens on port ${port}`));

// No new connections; those idle are closed, the others after their answer. Then
// nothing is left to do, and Node exits.
function stop() {
  if (stopping) return;
  stopping = true;
  console.log('stopping');
  server.close();
  server.closeIdleConnections();
}
process.on('SIGTERM', stop);
process.on('SIGINT', stop);
