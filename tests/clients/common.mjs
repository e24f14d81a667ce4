// What the scripts share: checks with a line of output each, the documents, the driver's own requests, and a proxy that
// cuts connections. Settings come from the environment: CLAIMWRIGHT_URL and CLAIMWRIGHT_TOKEN.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

export const server = process.env.CLAIMWRIGHT_URL;
export const url = `${server}/graphql`;
export const token = process.env.CLAIMWRIGHT_TOKEN;
export const headers = { authorization: `Bearer ${token}` };
export const connectionParams = { Authorization: `Bearer ${token}` };
/// Uploads need a header that browsers ask for first.
export const uploadHeaders = { ...headers, 'graphql-require-preflight': '1' };
export const { equal, ok, rejects } = { equal: assert.deepStrictEqual, ok: assert.ok, rejects: assert.rejects };

export const BATCH = 'query ReadBatch($id: ID!) { batch(id: $id) { id name eventCursor } }';
export const RENAME =
  'mutation Rename($id: ID!, $name: String!) { renameBatch(id: $id, name: $name) { batch { id name } userErrors { code } } }';
export const IMPORT =
  'mutation Import($input: ImportProjectsInput!) { importProjects(input: $input) { import { id } userErrors { code message } } }';
export const WATCH =
  'subscription Watch($id: ID!, $after: EventCursor) { batchProgress(batchId: $id, after: $after) { __typename ... on StreamEvent { cursor sequence } } }';
export const INVALID = 'query Invalid { nothingOfThatName }';
export const CSV = 'External ref,Project name\nP-1,Barrier film\n';

/// Longest time for what must happen.
const PATIENCE = 30_000;

/// Runs a check and tells how it went.
export async function check(name, run) {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new Error('it took too long')), PATIENCE)));
  try {
    await Promise.race([run(), late]);
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`FAIL ${name}`);
    console.error(error);
    process.exitCode = 1;
  } finally {
    clearTimeout(timer);
  }
}

/// Says good-bye, whatever a client has left open.
export function done() {
  process.exit(process.exitCode ?? 0);
}

/// The driver's own requests, past every client.
export async function ask(query, variables) {
  const body = JSON.stringify({ query, variables });
  const response = await fetch(url, { method: 'POST', headers: { ...headers, 'content-type': 'application/json' }, body });
  const { data, errors } = await response.json();
  equal(errors, undefined);
  return data;
}

/// A name that no batch has.
export const fresh = (what) => `${what} ${randomUUID()}`;

/// A new batch of its own.
export async function newBatch() {
  const name = fresh('Batch');
  const query = 'mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id name eventCursor } userErrors { code } } }';
  const { createBatch } = await ask(query, { input: { name } });
  equal(createBatch.userErrors, []);
  return createBatch.batch;
}

/// A proxy before the server that can cut what is open and refuse what comes, as a network does.
export async function proxy() {
  const open = new Set();
  let isDown = false;
  const { hostname, port } = new URL(server);
  const listener = net.createServer((client) => {
    if (isDown) return client.destroy();
    const upstream = net.connect(Number(port), hostname);
    const both = [client, upstream];
    open.add(both);
    for (const socket of both) {
      socket.on('error', () => {});
      socket.on('close', () => {
        both.forEach((one) => one.destroy());
        open.delete(both);
      });
    }
    client.pipe(upstream).pipe(client);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const address = `127.0.0.1:${listener.address().port}/graphql`;
  return {
    http: `http://${address}`,
    ws: `ws://${address}`,
    down() {
      isDown = true;
      ok(open.size > 0, 'there is a connection to cut');
      open.forEach((both) => both.forEach((socket) => socket.destroy()));
    },
    up() {
      isDown = false;
    },
    close() {
      listener.close();
    },
  };
}

/// A subscription over a connection that breaks. `subscribe(proxy, variables, onEvent)` gives a function that stops it;
/// `variables.after` is always the cursor of the last event.
export async function survives(subscribe) {
  const batch = await newBatch();
  const through = await proxy();
  const variables = { id: batch.id, after: batch.eventCursor };
  const heard = [];
  let wake = () => {};
  const stop = subscribe(through, variables, (event) => {
    equal(event.__typename, 'BatchChanged');
    variables.after = event.cursor;
    heard.push(event.sequence);
    wake();
  });
  const until = async (count) => {
    while (heard.length < count) await new Promise((resolve) => (wake = resolve));
  };
  const rename = (name) => ask(RENAME, { id: batch.id, name: `${batch.name} ${name}` });
  await rename('a');
  await rename('b');
  await until(2);
  for (const round of [1, 2]) {
    through.down();
    await rename(`while it is down ${round}`);
    await rename(`still down ${round}`);
    await pause(50);
    through.up();
    await rename(`again ${round}`);
    await until(2 + 3 * round);
  }
  await rename('last');
  await until(9);
  await stop();
  through.close();
  equal(heard, heard.map((_, place) => heard[0] + place), 'nothing is lost and nothing comes twice');
  equal(heard.length, 9);
}

/// Makes a subscription that is lost begin anew after the last cursor, for clients that leave this to their users.
/// `open(proxy, variables, onEvent, onLost)` gives a function that stops it.
export function resubscribing(open) {
  return (through, variables, onEvent) => {
    let [stopped, stop] = [false, () => {}];
    const begin = () => {
      if (stopped) return;
      let lost = false;
      stop = open(through, { ...variables }, onEvent, () => {
        if (!lost) setTimeout(begin, 50);
        lost = true;
      });
    };
    begin();
    return () => {
      stopped = true;
      return stop();
    };
  };
}
