// Relay's network layer: `fetchFunction` over HTTP with uploadables, `subscribeFunction` over graphql-ws.
import { createClient } from 'graphql-ws';
import relay from 'relay-runtime';
import WebSocket from 'ws';
import {
  BATCH, CSV, IMPORT, INVALID, RENAME, WATCH, check, connectionParams, done, equal, fresh, headers, newBatch, rejects, resubscribing, survives, uploadHeaders, url,
} from './common.mjs';

const { Network, Observable } = relay;

async function fetchFunction({ text }, variables, _cache, uploadables) {
  const accept = 'application/graphql-response+json, application/json;q=0.9';
  const operation = JSON.stringify({ query: text, variables });
  let request = { body: operation, headers: { ...headers, accept, 'content-type': 'application/json' } };
  if (uploadables) {
    const body = new FormData();
    body.append('operations', operation);
    body.append('map', JSON.stringify(Object.fromEntries(Object.keys(uploadables).map((name) => [name, [name]]))));
    Object.entries(uploadables).forEach(([name, file]) => body.append(name, file));
    request = { body, headers: { ...uploadHeaders, accept } };
  }
  const response = await fetch(url, { method: 'POST', ...request });
  const result = await response.json();
  if (result.errors) throw Object.assign(new Error(result.errors[0].message), { code: result.errors[0].extensions.code, status: response.status });
  return result;
}

const subscribeOver = (socket) => ({ text }, variables) => Observable.create((sink) => socket.subscribe({ query: text, variables }, sink));
const socketOf = (address) => createClient({ url: address, webSocketImpl: WebSocket, connectionParams, retryAttempts: 0 });
const networkOf = (address) => Network.create(fetchFunction, subscribeOver(socketOf(address)));
const network = networkOf(url.replace('http', 'ws'));
const parameters = (text) => {
  const [, operationKind, name] = /^(\w+) (\w+)/.exec(text);
  return { id: null, cacheID: name, metadata: {}, name, operationKind, text };
};
const run = (text, variables, uploadables) => network.execute(parameters(text), variables, { force: true }, uploadables).toPromise();
const batch = await newBatch();

await check('query', async () => {
  const { data } = await run(BATCH, { id: batch.id });
  equal(data.batch.name, batch.name);
});
await check('mutation', async () => {
  const name = fresh('Renamed');
  const { data } = await run(RENAME, { id: batch.id, name });
  equal(data.renameBatch.batch.name, name);
});
await check('an operation that is refused has the status of its media type', () =>
  rejects(run(INVALID, {}), { code: 'VALIDATION_FAILED', status: 400 }));
await check('upload', async () => {
  const file = new File([CSV], 'projects.csv', { type: 'text/csv' });
  const { data } = await run(IMPORT, { input: { batchId: batch.id, source: { file: null } } }, { 'variables.input.source.file': file });
  equal(data.importProjects.userErrors, []);
});
await check('a subscription that is refused is an error', () =>
  rejects(run(WATCH, { id: 'nonsense' }), (errors) => errors[0].extensions.code === 'NOT_FOUND'));
await check('a subscription survives', () =>
  survives(resubscribing((through, variables, onEvent, onLost) => {
    const next = ({ data }) => onEvent(data.batchProgress);
    const observable = networkOf(through.ws).execute(parameters(WATCH), variables, { force: true });
    const subscription = observable.subscribe({ next, error: onLost, complete: onLost });
    return () => subscription.unsubscribe();
  })));
done();
