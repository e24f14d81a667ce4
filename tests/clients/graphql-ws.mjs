// graphql-ws: graphql-transport-ws with the client's own retries; the variables move on with every event.
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { BATCH, INVALID, RENAME, WATCH, check, connectionParams, done, equal, fresh, newBatch, ok, rejects, survives, url } from './common.mjs';

const options = { webSocketImpl: WebSocket, connectionParams };
const client = createClient({ ...options, url: url.replace('http', 'ws') });
const single = async (payload) => {
  for await (const result of client.iterate(payload)) return result;
};
const batch = await newBatch();

await check('query', async () => {
  const { data } = await single({ query: BATCH, variables: { id: batch.id } });
  equal(data.batch.name, batch.name);
});
await check('mutation', async () => {
  const name = fresh('Renamed');
  const { data } = await single({ query: RENAME, variables: { id: batch.id, name } });
  equal(data.renameBatch.batch.name, name);
});
await check('an operation that is refused is an error', () =>
  rejects(single({ query: INVALID }), (errors) => errors[0].extensions.code === 'VALIDATION_FAILED'));
await check('a subscription that is refused is an error', () =>
  rejects(single({ query: WATCH, variables: { id: 'nonsense' } }), (errors) => errors[0].extensions.code === 'NOT_FOUND'));
await check('a query that is completed early is let go', async () => {
  const results = [];
  const stop = client.subscribe({ query: BATCH, variables: { id: batch.id } }, { next: (result) => results.push(result), error() {}, complete() {} });
  stop();
  await single({ query: BATCH, variables: { id: batch.id } });
  equal(results, []);
});
await check('a bad token is told and retried, not dropped', async () => {
  const codes = [];
  const forbidden = createClient({
    ...options,
    url: url.replace('http', 'ws'),
    connectionParams: { Authorization: 'Bearer nonsense' },
    retryAttempts: 1,
    retryWait: async () => {},
    on: { closed: (event) => codes.push(event.code) },
  });
  await rejects(new Promise((complete, error) => forbidden.subscribe({ query: BATCH, variables: { id: batch.id } }, { next() {}, error, complete })));
  equal(codes, [4403, 4403]);
});
await check('a subscription survives', () =>
  survives((through, variables, onEvent) => {
    const lasting = createClient({ ...options, url: through.ws, retryAttempts: 100, shouldRetry: () => true, retryWait: () => new Promise((resolve) => setTimeout(resolve, 50)) });
    const sink = { next: ({ data }) => onEvent(data.batchProgress), error: (error) => ok(false, error), complete() {} };
    const stop = lasting.subscribe({ query: WATCH, variables }, sink);
    return async () => {
      stop();
      await lasting.dispose();
    };
  }));
done();
